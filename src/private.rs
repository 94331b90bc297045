//! Files and folders that are made for their owner alone. Uses nothing else of ours.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::path::Path;

/// For a file that nobody else can reach, if it is made.
#[must_use]
pub fn file() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes a folder that nobody else can look into, with those above it, where it is not there.
///
/// # Errors
/// It cannot be made.
pub fn make_dir(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
