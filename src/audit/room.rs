//! Whether more can be written, found out without whoever reads the file along ever seeing a trace of it.

use std::fs::File;
use std::io;

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
