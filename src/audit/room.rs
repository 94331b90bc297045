//! Whether more can be written, found out without whoever reads the file along ever seeing a trace of it.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// For so long what is reserved says that it can be written: the disk may have failed in other ways since.
const FRESH: Duration = Duration::from_secs(1);

/// Bytes that are reserved for what is written next, as every handle sees them.
#[derive(Debug)]
pub struct Room {
    bytes: AtomicU64,
    /// When something was reserved or written last, in milliseconds after `epoch`.
    at_ms: AtomicU64,
    epoch: Instant,
}

impl Room {
    /// Nothing is reserved.
    pub fn new() -> Self {
        Self {
            bytes: AtomicU64::new(0),
            at_ms: AtomicU64::new(0),
            epoch: Instant::now(),
        }
    }

    /// Whether there is room for `bytes`, by what happened a moment ago.
    pub fn is_there_for(&self, bytes: u64) -> bool {
        self.bytes.load(Ordering::Acquire) >= bytes
            && self.now_ms().saturating_sub(self.at_ms.load(Ordering::Acquire)) < FRESH.as_millis() as u64
    }

    /// So many bytes are reserved.
    pub fn reserved(&self, bytes: u64) {
        self.at_ms.store(self.now_ms(), Ordering::Release);
        self.bytes.store(bytes, Ordering::Release);
    }

    /// So many bytes were written.
    pub fn used(&self, bytes: usize) {
        let left = self.bytes.load(Ordering::Acquire).saturating_sub(bytes as u64);
        self.reserved(left);
    }

    /// Nothing is reserved any more, or nobody knows.
    pub fn lost(&self) {
        self.bytes.store(0, Ordering::Release);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Reserves `bytes` after the first `length` of `file`, whose end stays where it is.
///
/// # Errors
/// There is no room; or `Unsupported`: there is no way to reserve any in such a file.
#[cfg(target_os = "linux")]
pub fn reserve(file: &File, length: u64, bytes: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::{Errno, retry_on_intr};
    use rustix::process::{Resource, getrlimit};

    // A signal in the middle of it says nothing of the disk.
    let reserved = retry_on_intr(|| fallocate(file, FallocateFlags::KEEP_SIZE, length, bytes));
    let refused = match reserved {
        // The process's own limit counts only once the file is longer.
        Ok(()) => match getrlimit(Resource::Fsize).current {
            Some(most) if length + bytes > most => Errno::FBIG,
            _ => return Ok(()),
        },
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV | Errno::SPIPE) => Errno::OPNOTSUPP,
        Err(error) => error,
    };
    Err(refused.into())
}

/// As on Linux, where there is no way.
#[cfg(not(target_os = "linux"))]
pub fn reserve(_: &File, _: u64, _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
