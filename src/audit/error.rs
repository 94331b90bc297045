//! Why there is no audit, and what is wrong with one.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::chain::Expected;

/// Why the audit cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or the directory cannot be read, made or written.
    #[error("{}: {cause}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// There are lines, and no key to go on with.
    #[error(
        "{} is missing, and the audit beside it was written with it: put the key back from a backup; if it is lost, \
         `extender-facade audit renew` sets the old files aside and begins anew",
        path.display()
    )]
    KeyMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The key cannot be used.
    #[error(
        "{}: {what}; the facade makes the audit's key itself and never replaces one (`extender-facade audit renew` begins \
         anew with another)",
        path.display()
    )]
    Key {
        /// The key's file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file of a later version.
    #[error("{} was written by a newer extender-facade (format {found}) and was left untouched: run that version", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The lines are not as they were written.
    #[error(
        "the audit in {} is damaged: {damage}. Nothing was touched. `extender-facade audit verify` tells all of it. Put \
         the files back from a backup, or, once you know what happened, stop the facade and run `extender-facade audit \
         renew{}`: it sets the damaged files aside and begins anew behind them",
        dir.display(),
        expected.as_ref().map(|head| format!(" --head {head}")).unwrap_or_default()
    )]
    Damaged {
        /// The state directory.
        dir: PathBuf,
        /// What was found first.
        damage: Box<Damage>,
        /// The head that was expected, where one was.
        expected: Option<Expected>,
    },
    /// There is nothing to read.
    #[error("there is no audit in {}", dir.display())]
    Absent {
        /// The state directory.
        dir: PathBuf,
    },
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file's name.
    pub file: String,
    /// The line in the file, from 1, the file's own header counted; 0: the file as a whole.
    pub line: u64,
    /// What is wrong.
    pub what: What,
}

/// What may be wrong with a line, or with what stands before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// No line of the audit, or one that was cut or stretched.
    Unreadable,
    /// Its bytes are not those that were written, or do not follow the line before.
    Changed {
        /// The number it bears.
        seq: u64,
    },
    /// Lines are missing before it.
    Missing {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// It stands there again, or too late.
    Misplaced {
        /// The number it bears.
        seq: u64,
    },
    /// The file's first line does not say what the file continues.
    NoHeader,
    /// The file's first line is not as it was written, or the file is another than its name says.
    HeaderChanged,
    /// The file does not continue the one before it.
    NotContinued,
    /// The audit ends before the head that is known.
    Cut {
        /// The last line that is there.
        last: u64,
        /// The last line that was there once.
        head: u64,
    },
    /// The line is whole, and not the one that was there once.
    Rewritten {
        /// Its number.
        seq: u64,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.what),
            line => write!(f, "{} line {line}: {}", self.file, self.what),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("changed: this is not a line of the audit"),
            Self::Changed { seq } => write!(f, "seq {seq} was changed, or was not written by this audit"),
            Self::Missing { from, to } if from == to => write!(f, "seq {from} is missing before it"),
            Self::Missing { from, to } => write!(f, "seq {from} to {to} are missing before it"),
            Self::Misplaced { seq } => write!(f, "seq {seq} stands there twice or in the wrong place"),
            Self::NoHeader => f.write_str("the file does not begin with the line that says what it continues"),
            Self::HeaderChanged => f.write_str("the file's first line was changed, or the file was renamed"),
            Self::NotContinued => f.write_str("the file does not continue the one before it"),
            Self::Cut { last, head } => write!(
                f,
                "the end is missing: the last line is seq {last}, and there was a seq {head}"
            ),
            Self::Rewritten { seq } => write!(f, "seq {seq} is not the line that was there when its mac was kept"),
        }
    }
}
