//! The file itself: what it must look like to be opened, and the statements that are run on it.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Row, params};

use super::{Error, Learned};
use crate::model::{AccountId, NameKey, Source, Standing};

/// Says in SQLite's header whose file it is: "exfa".
const APPLICATION: i64 = 0x6578_6661;

/// The format's number, SQLite's `user_version`. A new source or standing makes a new format too.
pub(super) const FORMAT: i64 = 1;

/// Names are compared byte by byte, as keys are. Without row ids the table is its own index.
const SCHEMA: &str = "
    CREATE TABLE identity (
        name TEXT NOT NULL,
        source TEXT NOT NULL,
        account TEXT NOT NULL,
        standing TEXT NOT NULL,
        learned_at INTEGER NOT NULL,
        PRIMARY KEY (name, source, account)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX identity_by_account ON identity (account);
";

const LEARN: &str = "
    INSERT INTO identity (name, source, account, standing, learned_at) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (name, source, account) DO UPDATE
    SET standing = excluded.standing, learned_at = excluded.learned_at
    WHERE excluded.learned_at >= learned_at
";
const FORGET: &str = "DELETE FROM identity WHERE name = ?1 AND source = ?2";
const FORGET_OLDER: &str = "DELETE FROM identity WHERE source = ?1 AND learned_at <= ?2";
const BY_NAME: &str = "
    SELECT name, source, account, standing, learned_at FROM identity WHERE name = ?1 ORDER BY source, account
";
const BY_ACCOUNT: &str = "
    SELECT name, source, account, standing, learned_at FROM identity WHERE account = ?1 ORDER BY name, source
";
pub(super) const ALL: &str = "
    SELECT name, source, account, standing, learned_at FROM identity ORDER BY name, source, account
";

/// Opens the file for its one writer, and makes it if it is not there.
pub(super) fn open(path: &Path) -> Result<Connection, Error> {
    // SQLite would make it readable for everybody; the files beside it get the rights of this one.
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|cause| Error::Io {
        path: path.to_owned(),
        cause,
    })?;
    inspect(path)?;
    let opened = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).and_then(|connection| {
        prepare(path, &connection)?;
        Ok(connection)
    });
    opened.map_err(|fault| fault.at(path))
}

/// Opens the file to look at it, also beside the process that writes it.
pub(super) fn open_read_only(path: &Path) -> Result<Connection, Error> {
    let absent = || Error::Absent { path: path.to_owned() };
    match inspect(path) {
        Ok(true) => {}
        Ok(false) => return Err(absent()),
        Err(Error::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => return Err(absent()),
        Err(error) => return Err(error),
    }
    let opened = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(|connection| {
        if recognise(path, &connection)? {
            Ok(connection)
        } else {
            Err(absent().into())
        }
    });
    opened.map_err(|fault| fault.at(path))
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
    fn at(self, path: &Path) -> Error {
        let path = path.to_owned();
        match self {
            Self::Known(error) => error,
            Self::Sqlite(cause) => match cause.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Damaged {
                    path,
                    what: cause.to_string(),
                },
                _ => Error::Open { path, cause },
            },
        }
    }
}

/// Reads the header before SQLite touches anything: SQLite would begin by recovering whatever it finds. `false`: there
/// is nothing in the file yet.
fn inspect(path: &Path) -> Result<bool, Error> {
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
    if !header.starts_with(b"SQLite format 3\0") || application != APPLICATION {
        return Err(foreign());
    }
    check_format(path, format)?;
    Ok(true)
}

fn check_format(path: &Path, found: i64) -> Result<(), Error> {
    if found > FORMAT {
        return Err(Error::Newer {
            path: path.to_owned(),
            found,
        });
    }
    Ok(())
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

/// Whether the file, as SQLite sees it together with its log, is ours and of this format; `false`: it is empty.
fn recognise(path: &Path, connection: &Connection) -> Result<bool, Fault> {
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let application = pragma(connection, "application_id")?;
    let format = pragma(connection, "user_version")?;
    if (tables, application, format) == (0, 0, 0) {
        return Ok(false);
    }
    if application != APPLICATION || format < 1 {
        return Err(Error::Foreign { path: path.to_owned() }.into());
    }
    check_format(path, format)?;
    Ok(true)
}

fn prepare(path: &Path, connection: &Connection) -> Result<(), Fault> {
    if recognise(path, connection)? {
        let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if found != "ok" {
            return Err(Error::Damaged {
                path: path.to_owned(),
                what: found,
            }
            .into());
        }
    } else {
        // Before WAL is turned on: the header must say whose file it is, and not only a log that may be lost.
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {FORMAT}; {SCHEMA} COMMIT;"
        ))?;
    }
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        tracing::warn!(%mode, "the file system of state_dir allows no WAL: learning is slower");
    }
    connection.execute_batch(
        // The log is cut back to this after a time of much learning.
        "PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 16777216;
         PRAGMA wal_autocheckpoint = 4000; PRAGMA cache_size = -32768;
         PRAGMA trusted_schema = OFF;",
    )?;
    Ok(())
}

pub(super) fn learn(connection: &Connection, row: &Learned) -> rusqlite::Result<()> {
    connection.prepare_cached(LEARN)?.execute(params![
        row.name.as_str(),
        row.source.as_str(),
        row.account.as_str(),
        row.standing.as_str(),
        row.learned_at
    ])?;
    Ok(())
}

pub(super) fn forget(connection: &Connection, name: &NameKey, source: Source) -> rusqlite::Result<()> {
    connection
        .prepare_cached(FORGET)?
        .execute(params![name.as_str(), source.as_str()])?;
    Ok(())
}

/// Whatever this source said up to then.
pub(super) fn forget_older(connection: &Connection, source: Source, until: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(FORGET_OLDER)?
        .execute(params![source.as_str(), until])?;
    Ok(())
}

pub(super) fn by_names(connection: &Connection, names: &[NameKey]) -> rusqlite::Result<Vec<Vec<Learned>>> {
    each(connection, BY_NAME, names.iter().map(NameKey::as_str))
}

pub(super) fn by_accounts(connection: &Connection, accounts: &[AccountId]) -> rusqlite::Result<Vec<Vec<Learned>>> {
    each(connection, BY_ACCOUNT, accounts.iter().map(AccountId::as_str))
}

fn each<'a>(
    connection: &Connection,
    question: &str,
    texts: impl Iterator<Item = &'a str>,
) -> rusqlite::Result<Vec<Vec<Learned>>> {
    let mut statement = connection.prepare_cached(question)?;
    texts
        .map(|text| statement.query_map([text], learned)?.collect())
        .collect()
}

pub(super) fn learned(row: &Row<'_>) -> rusqlite::Result<Learned> {
    let text = |column: usize| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
    let unknown =
        |column: usize| rusqlite::Error::InvalidColumnType(column, text_of(row, column), rusqlite::types::Type::Text);
    Ok(Learned {
        name: NameKey::stored(text(0)?),
        source: Source::named(text(1)?).ok_or_else(|| unknown(1))?,
        account: AccountId::new(text(2)?),
        standing: Standing::named(text(3)?).ok_or_else(|| unknown(3))?,
        learned_at: row.get(4)?,
    })
}

/// For the message about a word that this version does not know.
fn text_of(row: &Row<'_>, column: usize) -> String {
    row.get(column).unwrap_or_default()
}
