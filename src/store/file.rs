//! The file itself: its format, and the statements that are run on it.

use rusqlite::{Connection, Row, params};

use super::sqlite::Format;
use super::{Kept, Learned};
use crate::model::{AccountId, NameKey, Source, Standing};

/// "exfa". A new source or standing makes a new format too.
pub(super) const FORMAT: Format = Format {
    application: 0x6578_6661,
    number: 1,
    schema: SCHEMA,
    upgrades: &[],
    synchronous: "NORMAL",
    // Look-ups go all over it.
    cache_kib: 32_768,
    kept: Kept::Identities,
};

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

pub(super) fn has_any(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT EXISTS (SELECT 1 FROM identity)", [], |row| row.get(0))
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
    texts: impl ExactSizeIterator<Item = &'a str>,
) -> rusqlite::Result<Vec<Vec<Learned>>> {
    let mut statement = connection.prepare_cached(question)?;
    // In one transaction, for without one every question takes and gives back the file's locks.
    let reading = if texts.len() > 1 && connection.is_autocommit() {
        Some(connection.unchecked_transaction()?)
    } else {
        None
    };
    let found = texts
        .map(|text| statement.query_map([text], learned)?.collect())
        .collect();
    // It has changed nothing.
    reading.map_or(Ok(()), rusqlite::Transaction::finish)?;
    found
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
