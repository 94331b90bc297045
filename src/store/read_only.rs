//! The store as somebody else sees it: for exports and checks, also while a facade runs.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::{Error, FILE, Learned, file};

/// A store that is only read. It sees what is committed at the moment it looks.
#[derive(Debug)]
pub struct ReadOnly {
    connection: Connection,
    path: PathBuf,
}

impl ReadOnly {
    /// Opens the store below `state_dir`; makes nothing.
    ///
    /// # Errors
    /// There is none ([`Error::Absent`]), or it is not one that can be read.
    pub fn open(state_dir: &Path) -> Result<Self, Error> {
        let path = state_dir.join(FILE);
        Ok(Self {
            connection: file::FORMAT.open_read_only(&path)?,
            path,
        })
    }

    /// Shows every row to `see`, in order of name, source and account, until it fails. All rows are of one moment,
    /// whatever is learned meanwhile.
    ///
    /// # Errors
    /// That of `see`, or the file cannot be read.
    pub fn for_each<E: From<Error>>(&self, mut see: impl FnMut(Learned) -> Result<(), E>) -> Result<(), E> {
        let mut statement = self.connection.prepare(file::ALL).map_err(|e| self.failed(&e))?;
        let rows = statement.query_map([], file::learned).map_err(|e| self.failed(&e))?;
        for row in rows {
            see(row.map_err(|e| self.failed(&e))?)?;
        }
        Ok(())
    }

    /// How many rows there are.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn count(&self) -> Result<u64, Error> {
        let rows: i64 = self
            .connection
            .query_row("SELECT count(*) FROM identity", [], |row| row.get(0))
            .map_err(|e| self.failed(&e))?;
        Ok(rows.unsigned_abs())
    }

    /// Looks at every page and compares every index with its table.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn check(&self) -> Result<(), Error> {
        let damage = file::FORMAT.check(&self.path, &self.connection);
        damage.map_err(|e| self.failed(&e))?.map_or(Ok(()), Err)
    }

    fn failed(&self, error: &rusqlite::Error) -> Error {
        super::failed(format_args!("{}: {error}", self.path.display()))
    }
}
