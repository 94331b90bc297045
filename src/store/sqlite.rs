//! What both files have in common: a format of ours in a SQLite file, opened only if it is that and nothing else.

use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{Error, Kept};
use crate::private;

/// A kind of file, and what its connection is set to.
pub(super) struct Format {
    /// Says in SQLite's header whose file it is.
    pub(super) application: i64,
    /// The format's number, SQLite's `user_version`.
    pub(super) number: i64,
    /// The statements that make it.
    pub(super) schema: &'static str,
    /// The statements that make a file of each format one of the next, the oldest first: those of format 1 that of 2. None
    /// may be taken back once it was released.
    pub(super) upgrades: &'static [&'static str],
    /// SQLite's `synchronous`: what a commit waits for.
    pub(super) synchronous: &'static str,
    /// Memory for its pages, in KiB; it is filled as the file grows. What finds no room is with the kernel.
    pub(super) cache_kib: u32,
    /// What stands in it, for messages.
    pub(super) kept: Kept,
}

impl Format {
    /// Opens the file for its one writer, and makes it if it is not there.
    pub(super) fn open(&self, path: &Path) -> Result<Connection, Error> {
        // SQLite would make it readable for everybody; the files beside it get the rights of this one.
        let mut options = private::file();
        options.create(true).truncate(false).write(true).read(true);
        options.open(path).map_err(|cause| Error::Io {
            path: path.to_owned(),
            cause,
        })?;
        self.inspect(path)?;
        let opened = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).and_then(|connection| {
            self.prepare(path, &connection)?;
            Ok(connection)
        });
        opened.map_err(|fault| fault.at(path, self.kept))
    }

    /// Opens the file to look at it, also beside the process that writes it.
    pub(super) fn open_read_only(&self, path: &Path) -> Result<Connection, Error> {
        let absent = || Error::Absent {
            path: path.to_owned(),
            kept: self.kept,
        };
        match self.inspect(path) {
            Ok(true) => {}
            Ok(false) => return Err(absent()),
            Err(Error::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => return Err(absent()),
            Err(error) => return Err(error),
        }
        let opened = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(|connection| {
            match self.recognise(path, &connection)? {
                Some(found) if found == self.number => Ok(connection),
                Some(found) => Err(Error::Older {
                    path: path.to_owned(),
                    found,
                    known: self.number,
                }
                .into()),
                None => Err(absent().into()),
            }
        });
        opened.map_err(|fault| fault.at(path, self.kept))
    }

    /// Reads the header before SQLite touches anything: SQLite would begin by recovering whatever it finds. `false`: there
    /// is nothing in the file yet.
    fn inspect(&self, path: &Path) -> Result<bool, Error> {
        let foreign = || Error::Foreign { path: path.to_owned() };
        let read = |path: &Path| -> io::Result<Vec<u8>> {
            let mut header = Vec::with_capacity(100);
            std::fs::File::open(path)?.take(100).read_to_end(&mut header)?;
            Ok(header)
        };
        let header = read(path).map_err(|cause| Error::Io {
            path: path.to_owned(),
            cause,
        })?;
        if header.is_empty() {
            // SQLite leaves an empty file behind where it was stopped before the first transaction. A log beside it means
            // that there was one: SQLite would throw that log away.
            let mut log = path.as_os_str().to_owned();
            log.push("-wal");
            if std::fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
                return Err(Error::Damaged {
                    path: path.to_owned(),
                    kept: self.kept,
                    what: "it is empty, but its log is not".to_owned(),
                });
            }
            return Ok(false);
        }
        let number = |from: usize| -> Option<i64> {
            let bytes = header.get(from..from + 4)?;
            Some(i64::from(u32::from_be_bytes(bytes.try_into().ok()?)))
        };
        // Where SQLite's documentation of its file format says.
        let (Some(format), Some(application)) = (number(60), number(68)) else {
            return Err(foreign());
        };
        if !header.starts_with(b"SQLite format 3\0") || application != self.application {
            return Err(foreign());
        }
        self.check_format(path, format)?;
        Ok(true)
    }

    fn check_format(&self, path: &Path, found: i64) -> Result<(), Error> {
        if found > self.number {
            return Err(Error::Newer {
                path: path.to_owned(),
                kept: self.kept,
                found,
                known: self.number,
            });
        }
        Ok(())
    }

    /// The format of the file, as SQLite sees it together with its log: ours, and not newer than this one. `None`: it is
    /// empty.
    fn recognise(&self, path: &Path, connection: &Connection) -> Result<Option<i64>, Fault> {
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let application = pragma(connection, "application_id")?;
        let format = pragma(connection, "user_version")?;
        if (tables, application, format) == (0, 0, 0) {
            return Ok(None);
        }
        if application != self.application || format < 1 {
            return Err(Error::Foreign { path: path.to_owned() }.into());
        }
        self.check_format(path, format)?;
        Ok(Some(format))
    }

    /// Looks at every page and compares every index with its table; tells what is wrong.
    pub(super) fn check(&self, path: &Path, connection: &Connection) -> rusqlite::Result<Option<Error>> {
        self.damage(path, connection, "integrity_check")
    }

    /// The first thing that SQLite's own check of this name finds wrong.
    fn damage(&self, path: &Path, connection: &Connection, check: &str) -> rusqlite::Result<Option<Error>> {
        let found: String = connection.query_row(&format!("PRAGMA {check}(1)"), [], |row| row.get(0))?;
        Ok((found != "ok").then(|| Error::Damaged {
            path: path.to_owned(),
            kept: self.kept,
            what: found,
        }))
    }

    fn prepare(&self, path: &Path, connection: &Connection) -> Result<(), Fault> {
        if let Some(found) = self.recognise(path, connection)? {
            if let Some(damage) = self.damage(path, connection, "quick_check")? {
                return Err(damage.into());
            }
            self.upgrade(path, connection, found)?;
        } else {
            // Before WAL is turned on: the header must say whose file it is, and not only a log that may be lost.
            let (application, number, schema) = (self.application, self.number, self.schema);
            connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; PRAGMA application_id = {application}; PRAGMA user_version = {number}; {schema} COMMIT;"
        ))?;
        }
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            tracing::warn!(%mode, "the file system of state_dir allows no WAL: writing is slower");
        }
        // The log is cut back to this size after a time of much writing.
        connection.execute_batch(&format!(
            "PRAGMA synchronous = {}; PRAGMA journal_size_limit = 16777216;
         PRAGMA wal_autocheckpoint = 4000; PRAGMA cache_size = -{};
         PRAGMA trusted_schema = OFF;",
            self.synchronous, self.cache_kib
        ))?;
        // The log's index is made with the first reading: on a disk that is full by then nothing could be read.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(())
    }

    /// Makes a file of format `found` one of this format. Each step is there as a whole or not at all.
    fn upgrade(&self, path: &Path, connection: &Connection, found: i64) -> rusqlite::Result<()> {
        for (statements, number) in self.upgrades.iter().zip(2..) {
            if number > found {
                connection.execute_batch(&format!(
                    "BEGIN IMMEDIATE; {statements} PRAGMA user_version = {number}; COMMIT;"
                ))?;
                tracing::info!(path = %path.display(), format = number, "upgraded; older versions refuse the file now");
            }
        }
        Ok(())
    }
}

/// What goes wrong while a file is opened.
enum Fault {
    Known(Error),
    Sqlite(rusqlite::Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Known(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Fault {
    fn at(self, path: &Path, kept: Kept) -> Error {
        let path = path.to_owned();
        match self {
            Self::Known(error) => error,
            Self::Sqlite(cause) => match cause.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Damaged {
                    path,
                    kept,
                    what: cause.to_string(),
                },
                _ => Error::Open { path, cause },
            },
        }
    }
}

fn connect(path: &Path, how: OpenFlags) -> Result<Connection, Fault> {
    let connection = Connection::open_with_flags(path, how | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // Another process may be looking at the file while its log is recovered.
    connection.busy_timeout(Duration::from_secs(5))?;
    Ok(connection)
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}
