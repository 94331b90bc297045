//! The journal as somebody else sees it, also while a facade runs.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::{FILE, file, read, unreadable};
use crate::model::{OperationId, Report, Summary};
use crate::store::Error;

/// A journal that is only read. It sees what is committed at the moment it looks.
#[derive(Debug)]
pub struct ReadOnly {
    connection: Connection,
    path: PathBuf,
}

impl ReadOnly {
    /// Opens the journal below `state_dir`; makes nothing.
    ///
    /// # Errors
    /// There is none ([`Error::Absent`]), its writer has not upgraded it yet ([`Error::Older`]), or it is not one that can be
    /// read.
    pub fn open(state_dir: &Path) -> Result<Self, Error> {
        let path = state_dir.join(FILE);
        Ok(Self {
            connection: file::FORMAT.open_read_only(&path)?,
            path,
        })
    }

    /// The last operations, the newest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn list(&self, most: usize) -> Result<Vec<Summary>, Error> {
        self.at_once(|connection| read::list(connection, most))
    }

    /// The operation as it stands.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn report(&self, id: &OperationId) -> Result<Option<Report>, Error> {
        self.at_once(|connection| read::report(connection, id))
    }

    /// The audit's head.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn head(&self) -> Result<Option<String>, Error> {
        self.at_once(|connection| read::setting(connection, file::HEAD))
    }

    /// Looks at every page and compares every index with its table.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn check(&self) -> Result<(), Error> {
        self.at_once(|connection| file::FORMAT.check(&self.path, connection))?
            .map_or(Ok(()), Err)
    }

    /// Everything that is read is of one moment, whatever is written meanwhile.
    fn at_once<T>(&self, question: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        let found = self.connection.unchecked_transaction().and_then(|transaction| {
            let found = question(&transaction)?;
            transaction.finish()?;
            Ok(found)
        });
        found.map_err(|error| unreadable(&self.path, &error))
    }
}
