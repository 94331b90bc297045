//! How far a transaction is brought: to the kernel, from where `kill -9` takes nothing, or to the disk, which outlives the
//! machine and costs as much as the rest of a short operation. SQLite's log is one file, so a transaction that reaches the
//! disk takes all before it along.

use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

use super::file;

/// How long a transaction may be with the kernel alone.
pub(super) const SYNC_EVERY: Duration = Duration::from_secs(1);

/// How far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum To {
    Kernel,
    Disk,
}

/// How far what was committed has come.
pub(super) struct Disk {
    /// Without a log, what is not brought to the disk could spoil the file.
    least: To,
    /// As the connection is set; none where nobody knows.
    set: Option<To>,
    /// Some of it is with the kernel alone.
    is_behind: bool,
    synced_at: Instant,
    /// The disk refused some of it. The kernel may have let go of that, and the log ends there for whoever reads it after a
    /// power cut, whatever comes later.
    is_torn: bool,
}

impl Disk {
    pub(super) fn new(connection: &Connection) -> Self {
        let mode = connection.query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0));
        let is_log = mode.is_ok_and(|mode| mode == "wal");
        Self {
            least: if is_log { To::Kernel } else { To::Disk },
            set: None,
            is_behind: false,
            synced_at: Instant::now(),
            is_torn: false,
        }
    }

    /// Whether some of what was committed is with the kernel alone.
    pub(super) fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Whether a transaction is open that is not brought so far.
    pub(super) fn falls_short(&self, connection: &Connection, to: To) -> bool {
        !connection.is_autocommit() && self.set < Some(to)
    }

    /// Opens a transaction, if none is open, that is brought so far at its end.
    pub(super) fn open(&mut self, connection: &Connection, to: To) -> rusqlite::Result<()> {
        if !connection.is_autocommit() {
            return Ok(());
        }
        if self.is_torn {
            // Into the file itself, and a new log.
            let is_busy = |row: &rusqlite::Row<'_>| row.get::<_, bool>(0);
            if connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], is_busy)? {
                return Err(rusqlite::Error::SqliteFailure(
                    rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                    None,
                ));
            }
            self.is_torn = false;
        }
        let to = to.max(self.least);
        if self.set != Some(to) {
            self.set = None;
            connection.execute_batch(match to {
                To::Kernel => "PRAGMA synchronous = NORMAL",
                To::Disk => "PRAGMA synchronous = FULL",
            })?;
            self.set = Some(to);
        }
        connection.execute_batch("BEGIN IMMEDIATE")
    }

    /// Commits the transaction, if one is open, and brings everything to the disk if it is to be there, or has not been
    /// for too long. Returns how many rows that took.
    pub(super) fn commit(&mut self, connection: &Connection, to: To) -> rusqlite::Result<usize> {
        self.end(connection)?;
        let is_due = to == To::Disk || self.synced_at.elapsed() >= SYNC_EVERY;
        if !self.is_behind || !is_due {
            return Ok(0);
        }
        self.open(connection, To::Disk)?;
        let rows = file::check(connection)?;
        self.end(connection)?;
        Ok(rows)
    }

    fn end(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if connection.is_autocommit() {
            return Ok(());
        }
        connection.execute_batch("COMMIT")?;
        self.is_behind = self.set != Some(To::Disk);
        if !self.is_behind {
            self.synced_at = Instant::now();
        }
        Ok(())
    }

    /// A transaction came to nothing.
    pub(super) fn failed(&mut self, error: &rusqlite::Error) {
        let is_disks = error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure);
        self.is_torn |= self.is_behind && is_disks;
    }
}
