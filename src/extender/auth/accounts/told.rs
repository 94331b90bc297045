//! What there is to say about a file of accounts. Nothing here quotes a value: a password's hash may stand there.

use std::fmt;
use std::path::PathBuf;

/// Every fault of a file, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub(super) Vec<Fault>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fault {
    pub(super) line: Option<usize>,
    pub(super) text: String,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            if let Some(line) = fault.line {
                write!(f, "line {line}: ")?;
            }
            f.write_str(&fault.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Something to mend that does not stand in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// Others than the owner may read or write the file.
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Verifying one account takes longer than verifying another.
    CostsDiffer,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenToOthers { path, mode } => write!(
                f,
                "{} is open to others than its owner (mode {mode:03o}, expected 600)",
                path.display()
            ),
            Self::CostsDiffer => f.write_str(
                "the passwords are hashed at different costs: the time of an answer tells which of the dearer names exist; \
                 hash them alike (extender-facade account hash)",
            ),
        }
    }
}
