//! The files: `audit.jsonl` is written, `audit-<seq of its first line>.jsonl` are full.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::{Error, wire};
use crate::private;

/// The file that is written.
pub const FILE: &str = "audit.jsonl";

/// What files from before there was a chain are called.
const UNCHAINED: &str = "audit-unchained";

/// How far a first line is looked at.
const LOOK: u64 = 64 * 1024;

/// The name of a full file.
pub fn full_name(first_seq: u64) -> String {
    format!("audit-{first_seq:012}.jsonl")
}

/// An error that names `path`.
pub fn fault(path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |cause| Error::Io {
        path: path.clone(),
        cause,
    }
}

/// The full files by the number of their first line.
///
/// # Errors
/// The directory cannot be read.
pub fn full(dir: &Path) -> Result<BTreeMap<u64, PathBuf>, Error> {
    named(dir, |name| {
        let digits = name.strip_prefix("audit-")?.strip_suffix(".jsonl")?;
        let first_seq = digits.parse().ok()?;
        (full_name(first_seq) == name).then_some(first_seq)
    })
}

/// The files from before there was a chain, oldest first.
///
/// # Errors
/// The directory cannot be read.
pub fn unchained(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let found = named(dir, |name| {
        let number = name.strip_prefix(UNCHAINED)?.strip_suffix(".jsonl")?;
        match number.strip_prefix('-') {
            Some(number) => number.parse().ok(),
            None => number.is_empty().then_some(1),
        }
    })?;
    Ok(found.into_values().collect())
}

fn named(dir: &Path, number: impl Fn(&str) -> Option<u64>) -> Result<BTreeMap<u64, PathBuf>, Error> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(fault(dir))? {
        let entry = entry.map_err(fault(dir))?;
        if let Some(number) = entry.file_name().to_str().and_then(&number) {
            found.insert(number, entry.path());
        }
    }
    Ok(found)
}

/// Whether there is anything that was written with a key.
///
/// # Errors
/// It cannot be found out.
pub fn is_chained(dir: &Path) -> Result<bool, Error> {
    Ok(!full(dir)?.is_empty() || first_line(dir)?.is_some_and(|line| !wire::is_unchained(&line)))
}

/// Renames a file from before there was a chain, so that it is neither lost nor taken for damage. Returns its new path.
///
/// # Errors
/// It cannot be renamed.
pub fn set_unchained_aside(dir: &Path) -> Result<Option<PathBuf>, Error> {
    if !first_line(dir)?.is_some_and(|line| wire::is_unchained(&line)) {
        return Ok(None);
    }
    let taken = unchained(dir)?.len();
    let names = (taken + 1..).map(|number| match number {
        1 => format!("{UNCHAINED}.jsonl"),
        number => format!("{UNCHAINED}-{number}.jsonl"),
    });
    let mut free = names.map(|name| dir.join(name)).filter(|path| !path.exists());
    let Some(aside) = free.next() else { return Ok(None) };
    fs::rename(dir.join(FILE), &aside).map_err(fault(&aside))?;
    sync_dir(dir);
    Ok(Some(aside))
}

/// The beginning of the first line of `audit.jsonl`; nothing where there is none.
fn first_line(dir: &Path) -> Result<Option<Vec<u8>>, Error> {
    let path = dir.join(FILE);
    let fault = fault(&path);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(fault(cause)),
    };
    let length = file.metadata().map_err(&fault)?.len();
    let mut line = Vec::new();
    BufReader::new(file)
        .take(length.min(LOOK))
        .read_until(b'\n', &mut line)
        .map_err(&fault)?;
    // Blanks are what is left of a check for room.
    Ok(line.iter().any(|byte| *byte != b' ').then_some(line))
}

/// Opens a file to be written at its end, and makes it if it is not there.
///
/// # Errors
/// It cannot be opened or made.
pub fn append(path: &Path) -> io::Result<File> {
    private::file().create(true).append(true).read(true).open(path)
}

/// Puts names on disk, where the file system can do that; where it cannot, a power cut may bring an old name back.
pub fn sync_dir(dir: &Path) {
    if let Ok(dir) = File::open(dir) {
        let _ = dir.sync_all();
    }
}
