//! What is asked of the files as they stand: verifying them, and handing out their lines. Reads only.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::ops::ControlFlow;
use std::path::Path;

use super::Error;
use super::chain::{Chain, Expected, Head};
use super::error::{Damage, What};
use super::files::{self, FILE};
use super::walk::{MAX_LINE, Start, Step, Walked, walk};
use super::wire::Entry;
use crate::model::{OperationId, Verdict};

/// What is told of an operation's names, by their places.
pub type Told = HashMap<usize, Verdict>;

/// Holds every line in `dir` against the chain, and its end against `expected`; tells every damage. Files before the
/// line `from` may have been taken away. Reads only; memory does not grow with the files.
///
/// # Errors
/// No audit, no key, or a file that cannot be read.
pub fn verify(
    dir: &Path,
    expected: Option<&Expected>,
    from: Option<u64>,
    mut on_damage: impl FnMut(Damage),
) -> Result<Walked, Error> {
    let chain = match Chain::load(dir) {
        Err(Error::KeyMissing { .. }) if !dir.is_dir() || !files::is_chained(dir)? => {
            return Err(Error::Absent { dir: dir.to_owned() });
        }
        other => other?,
    };
    let walked = walk(dir, Start::Oldest, Some(&chain), expected, &mut |step| {
        if let Step::Damage(damage) = step {
            on_damage(damage);
        }
        ControlFlow::Continue(())
    })?;
    // What keep_files took away, the newest file says itself.
    let wanted = walked.kept_from.max(from.unwrap_or(0));
    if walked.kept_from > 0 && walked.first_seq > wanted {
        on_damage(Damage {
            file: files::full_name(wanted),
            line: 0,
            what: What::Missing {
                from: wanted,
                to: walked.first_seq - 1,
            },
        });
    }
    Ok(walked)
}

/// What the audit in `dir` tells of the names of these operations, by operation and place. Of a name that it tells of
/// more than once, the last word counts, but that what was done stays done.
///
/// # Errors
/// As for [`each_line`].
pub fn told(dir: &Path, operations: &HashSet<OperationId>) -> Result<HashMap<OperationId, Told>, Error> {
    let mut told: HashMap<OperationId, Told> = HashMap::new();
    each_line(dir, |line| {
        // Nearly every line is of another operation.
        let text = String::from_utf8_lossy(line);
        if operations.iter().any(|id| text.contains(id.as_str()))
            && let Some(entry) = Entry::parse(line)
            && let (Some(id), Some(place)) = (entry.operation_id.as_deref().and_then(OperationId::parse), entry.index)
            && let Some(verdict) = entry.verdict()
        {
            let said = told.entry(id).or_default().entry(place).or_insert(verdict);
            if *said != Verdict::DONE {
                *said = verdict;
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(told)
}

/// Hands every line in `dir` to `visit`, oldest first, those from before there was a chain included. Nothing is held
/// against the chain, and no key is needed; returns whether every line stood where it belongs.
///
/// # Errors
/// No audit, or a file that cannot be read.
pub fn each_line(dir: &Path, mut visit: impl FnMut(&[u8]) -> ControlFlow<()>) -> Result<bool, Error> {
    if !dir.is_dir() {
        return Err(Error::Absent { dir: dir.to_owned() });
    }
    let mut in_place = true;
    let mut is_any = false;
    let unchained = files::unchained(dir)?.into_iter();
    // One that no facade of this version has set aside yet.
    let current = dir.join(FILE);
    let is_chained = files::is_chained(dir)?;
    let current = Some(current).filter(|path| !is_chained && path.exists());
    for path in unchained.chain(current) {
        is_any = true;
        let fault = files::fault(&path);
        let mut reader = BufReader::new(File::open(&path).map_err(&fault)?);
        let mut line = Vec::new();
        while (&mut reader)
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)
            .map_err(&fault)?
            > 0
        {
            if visit(line.trim_ascii()).is_break() {
                return Ok(in_place);
            }
            line.clear();
        }
    }
    if is_chained {
        is_any = true;
        walk(dir, Start::Oldest, None, None, &mut |step| match step {
            Step::Damage(_) => {
                in_place = false;
                ControlFlow::Continue(())
            }
            Step::Line(line) => visit(line),
        })?;
    }
    if is_any {
        Ok(in_place)
    } else {
        Err(Error::Absent { dir: dir.to_owned() })
    }
}

/// The last line in `dir` that can be read, whether or not it is as it was written; the very beginning if there is none.
///
/// # Errors
/// A file that cannot be read.
pub fn last_readable(dir: &Path) -> Result<Head, Error> {
    let mut ignore = |_: Step<'_>| ControlFlow::Continue(());
    Ok(walk(dir, Start::Oldest, None, None, &mut ignore)?.head)
}
