//! One process a state directory: two would each trust caches that the other makes stale.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Error;
use super::seclusion::{self, About};
use crate::private;

/// The file's name in the state directory. It stays when the process ends; the kernel's lock on it does not.
pub const FILE: &str = "lock";

/// Held for the life of the process; ends with it, however that happens.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes the state directory, which is made if it is not there.
    ///
    /// # Errors
    /// Another process has it, others than its owner can reach it, or it cannot be made or locked.
    pub fn take(state_dir: &Path) -> Result<Self, Error> {
        make_private_dir(state_dir)?;
        seclusion::hold(state_dir, About::TakeBack)?;
        let path = state_dir.join(FILE);
        let fault = |cause| Error::Io {
            path: path.clone(),
            cause,
        };
        let mut options = private::file();
        // What stands in it is the holder's, until the lock is ours.
        options.create(true).truncate(false).write(true).read(true);
        let mut file = options.open(&path).map_err(fault)?;
        // Somebody who only asks who has it, has it for a moment.
        for _ in 0..5 {
            match file.try_lock() {
                Ok(()) => {
                    write_pid(&mut file).map_err(fault)?;
                    return Ok(Self { _file: file });
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
                Err(TryLockError::Error(cause)) => return Err(fault(cause)),
            }
        }
        Err(Error::InUse {
            dir: state_dir.to_owned(),
            pid: read_pid(&mut file),
        })
    }

    /// Asks who has the state directory, without taking it: [`Error::InUse`] tells.
    ///
    /// # Errors
    /// Another process has it, others than its owner can reach it, or that cannot be found out.
    pub fn ask(state_dir: &Path) -> Result<(), Error> {
        let path: PathBuf = state_dir.join(FILE);
        let fault = |cause| Error::Io {
            path: path.clone(),
            cause,
        };
        match seclusion::hold(state_dir, About::Leave) {
            Err(Error::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
            held => held?,
        }
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(cause) => return Err(fault(cause)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err(Error::InUse {
                dir: state_dir.to_owned(),
                pid: read_pid(&mut file),
            }),
            Err(TryLockError::Error(cause)) => Err(fault(cause)),
        }
    }
}

/// For the message to whoever comes second.
fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Makes a directory that only its owner can look into.
///
/// # Errors
/// It cannot be made.
pub(super) fn make_private_dir(path: &Path) -> Result<(), Error> {
    private::make_dir(path).map_err(|cause| Error::Io {
        path: path.to_owned(),
        cause,
    })
}
