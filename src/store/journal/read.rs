//! The questions that are put to the file.

use rusqlite::{Connection, OptionalExtension as _, Params, Row, ToSql};

use super::{Earlier, Later, Snapshot, Touched, waits};
use crate::model::report::{Cost, Name, State, Tally};
use crate::model::{
    AccountId, GroupId, GroupName, OperationId, OperationKind, Report, SnapshotGroup, Summary, Verdict,
};

const OF_ID: &str = "id = ?1";
const OF_KEY: &str = "caller_key = ?1 AND key = ?2 ORDER BY number DESC LIMIT 1";
const OF_THE_UNDONE: &str = "undo_of = ?1 ORDER BY number";
const OF_THE_RUNNING: &str = "state = 'running' ORDER BY number";
/// What is not running has an index, which the plus keeps SQLite from passing over for the sake of the order.
const OF_THE_UNDELIVERED: &str = "
    state <> 'running' AND state = 'finished' AND finished_at >= ?1 AND dry_run = 0 AND delivered = 0 ORDER BY +number
";
const OF_THE_ENDED: &str = "state <> 'running' AND finished_at >= ?1 AND dry_run = 0 ORDER BY +number";
const REPORT: &str = "
    SELECT number, id, kind, caller, caller_key, visitor, request, site, group_id, group_name, dry_run, undo_of, digest,
        key, key_digest, started_at, finished_at, state, why, plan, no_access_granted, calls, retries, waited_ms,
        waits, delivered
    FROM operation WHERE
";
const NAMES: &str = "SELECT name, account, group_id, verdict FROM name WHERE operation = ?1 ORDER BY place";
const LIST: &str = "
    SELECT number, id, kind, caller, group_name, dry_run, started_at, finished_at, state, why, done, skipped, in_doubt,
        unsettled
    FROM operation ORDER BY number DESC LIMIT ?1
";

/// What later operations did to the members of a group, and what they have not come to.
const LATER_MEMBERS: &str = "
    SELECT DISTINCT name.account, name.verdict IS NULL
    FROM operation CROSS JOIN name ON name.operation = operation.number
    WHERE operation.group_id = ?1 AND operation.number > ?2 AND operation.dry_run = 0
        AND (name.verdict IN ('done', 'in_doubt') OR (name.verdict IS NULL AND operation.state <> 'finished'))
";

/// What earlier operations on the same group made of their accounts: of those that had not ended when this one began, and
/// what they had left in doubt within the hour before.
const EARLIER_MEMBERS: &str = "
    SELECT operation.kind, name.account, name.verdict
    FROM operation CROSS JOIN name ON name.operation = operation.number
    WHERE operation.group_id = ?1 AND operation.number < ?2 AND operation.dry_run = 0 AND name.account IS NOT NULL
        AND (operation.finished_at IS NULL OR operation.finished_at >= ?3
            OR (operation.finished_at >= ?3 - 3600000 AND name.verdict = 'in_doubt'))
    ORDER BY operation.number
";

/// The groups that later operations made or deleted.
const LATER_GROUPS: &str = "
    SELECT name.group_id, name.name, name.verdict IS NULL
    FROM operation CROSS JOIN name ON name.operation = operation.number
    WHERE operation.kind = ?1 AND operation.number > ?2 AND operation.dry_run = 0
        AND (name.verdict IN ('done', 'in_doubt') OR (name.verdict IS NULL AND operation.state <> 'finished'))
";

/// The groups whose members later operations changed. The tally tells it of those that have ended.
const LATER_MEMBERSHIPS: &str = "
    SELECT group_id, group_name,
        NOT CASE WHEN state = 'running'
            THEN EXISTS (SELECT 1 FROM name WHERE operation = number AND verdict IN ('done', 'in_doubt'))
            ELSE done + in_doubt > 0
        END
    FROM operation
    WHERE kind = ?1 AND number > ?2 AND dry_run = 0 AND group_id IS NOT NULL
        AND CASE WHEN state = 'running' THEN 1 ELSE done + in_doubt > 0 OR (unsettled > 0 AND state <> 'finished') END
";

const SNAPSHOTS: &str = "
    SELECT snapshot.operation, place, snapshot.group_id, snapshot.group_name, externally_managed, settings
    FROM snapshot JOIN operation ON operation.number = snapshot.operation
    WHERE operation.id = ?1 ORDER BY place
";
const MEMBERS: &str = "SELECT account FROM snapshot_member WHERE operation = ?1 AND place = ?2 ORDER BY row";

pub(super) fn report(connection: &Connection, id: &OperationId) -> rusqlite::Result<Option<Report>> {
    one(connection, OF_ID, [id.as_str()])
}

pub(super) fn by_key(connection: &Connection, caller_key: &str, key: &str) -> rusqlite::Result<Option<Report>> {
    one(connection, OF_KEY, [caller_key, key])
}

pub(super) fn undos_of(connection: &Connection, id: &OperationId) -> rusqlite::Result<Vec<Report>> {
    reports(connection, OF_THE_UNDONE, [id.as_str()])
}

pub(super) fn unfinished(connection: &Connection) -> rusqlite::Result<Vec<Report>> {
    reports(connection, OF_THE_RUNNING, [])
}

pub(super) fn undelivered(connection: &Connection, since: i64) -> rusqlite::Result<Vec<Report>> {
    reports(connection, OF_THE_UNDELIVERED, [since])
}

pub(super) fn ended_since(connection: &Connection, since: i64) -> rusqlite::Result<Vec<Report>> {
    reports(connection, OF_THE_ENDED, [since])
}

fn one(connection: &Connection, condition: &str, of: impl Params) -> rusqlite::Result<Option<Report>> {
    Ok(reports(connection, condition, of)?.into_iter().next())
}

fn reports(connection: &Connection, condition: &str, of: impl Params) -> rusqlite::Result<Vec<Report>> {
    let mut statement = connection.prepare_cached(&format!("{REPORT} {condition}"))?;
    let found: Vec<(i64, Report)> = statement.query_map(of, operation)?.collect::<Result<_, _>>()?;
    let mut names = connection.prepare_cached(NAMES)?;
    found
        .into_iter()
        .map(|(number, mut report)| {
            report.names = names.query_map([number], name)?.collect::<Result<_, _>>()?;
            Ok(report)
        })
        .collect()
}

/// The operation without its names, and its number.
fn operation(row: &Row<'_>) -> rusqlite::Result<(i64, Report)> {
    let group: Option<GroupId> = text(row, 8)?.map(GroupId::new);
    let group_name = text(row, 9)?.map(GroupName::new);
    let key: Option<String> = row.get(13)?;
    let key_digest: Option<Vec<u8>> = row.get(14)?;
    let report = Report {
        id: word(row, 1, OperationId::parse)?,
        kind: word(row, 2, OperationKind::named)?,
        caller: row.get(3)?,
        caller_key: row.get(4)?,
        visitor: row.get(5)?,
        request: row.get(6)?,
        site: row.get(7)?,
        group: group.zip(group_name),
        dry_run: row.get(10)?,
        undo_of: text(row, 11)?.map(|_| word(row, 11, OperationId::parse)).transpose()?,
        digest: row.get(12)?,
        idempotency: key.zip(key_digest),
        started_at: row.get(15)?,
        finished_at: row.get(16)?,
        state: state(row, 17)?,
        plan: row.get(19)?,
        no_access_granted: row.get(20)?,
        delivered: row.get(25)?,
        cost: Cost {
            calls: count(row, 21)?,
            retries: count(row, 22)?,
            waited_ms: count(row, 23)?,
            waits: waits::read(row.get_ref(24)?.as_str()?),
        },
        names: Vec::new(),
    };
    Ok((row.get(0)?, report))
}

fn name(row: &Row<'_>) -> rusqlite::Result<Name> {
    Ok(Name {
        name: row.get(0)?,
        account: text(row, 1)?.map(AccountId::new),
        group: text(row, 2)?.map(GroupId::new),
        verdict: verdict(row, 3)?,
    })
}

/// The newest first.
pub(super) fn list(connection: &Connection, most: usize) -> rusqlite::Result<Vec<Summary>> {
    let mut statement = connection.prepare_cached(LIST)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let found: Vec<(i64, Summary)> = statement.query_map([most], summary)?.collect::<Result<_, _>>()?;
    let mut verdicts = connection.prepare_cached("SELECT verdict FROM name WHERE operation = ?1")?;
    found
        .into_iter()
        .map(|(number, mut summary)| {
            if summary.state == State::Running {
                summary.tally = Tally::default();
                for settled in verdicts.query_map([number], |row| verdict(row, 0))? {
                    summary.tally.count(settled?);
                }
            }
            Ok(summary)
        })
        .collect()
}

fn summary(row: &Row<'_>) -> rusqlite::Result<(i64, Summary)> {
    let summary = Summary {
        id: word(row, 1, OperationId::parse)?,
        kind: word(row, 2, OperationKind::named)?,
        caller: row.get(3)?,
        group: text(row, 4)?.map(GroupName::new),
        dry_run: row.get(5)?,
        started_at: row.get(6)?,
        finished_at: row.get(7)?,
        state: state(row, 8)?,
        tally: Tally {
            done: count(row, 10)?,
            skipped: count(row, 11)?,
            in_doubt: count(row, 12)?,
            left: count(row, 13)?,
        },
    };
    Ok((row.get(0)?, summary))
}

/// Nothing where there is no such operation.
pub(super) fn later(connection: &Connection, id: &OperationId) -> rusqlite::Result<Later> {
    let of = connection
        .prepare_cached("SELECT number, group_id FROM operation WHERE id = ?1")?
        .query_row([id.as_str()], |row| {
            Ok((row.get::<_, i64>(0)?, text(row, 1)?.map(GroupId::new)))
        })
        .optional()?;
    let Some((number, group)) = of else {
        return Ok(Later::default());
    };
    let mut later = Later::default();
    for kind in [OperationKind::CreateGroups, OperationKind::DeleteGroups] {
        groups(connection, LATER_GROUPS, &[&kind.as_str(), &number], &mut later)?;
    }
    if let Some(group) = group {
        let mut statement = connection.prepare_cached(LATER_MEMBERS)?;
        let mut rows = statement.query((group.as_str(), number))?;
        while let Some(row) = rows.next()? {
            if let Some(account) = text(row, 0)? {
                part(&mut later, row.get(1)?).accounts.insert(AccountId::new(account));
            }
        }
    } else {
        for kind in [OperationKind::AddMembers, OperationKind::RemoveMembers] {
            groups(connection, LATER_MEMBERSHIPS, &[&kind.as_str(), &number], &mut later)?;
        }
    }
    Ok(later)
}

/// In the order of their beginning; nothing where there is no such operation, or it is about groups.
pub(super) fn earlier_members(connection: &Connection, id: &OperationId) -> rusqlite::Result<Vec<Earlier>> {
    let of = connection
        .prepare_cached("SELECT number, group_id, started_at FROM operation WHERE id = ?1 AND group_id IS NOT NULL")?
        .query_row([id.as_str()], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
        })
        .optional()?;
    let Some((number, group, started_at)) = of else {
        return Ok(Vec::new());
    };
    let mut statement = connection.prepare_cached(EARLIER_MEMBERS)?;
    let earlier = statement.query_map((group, number, started_at), |row| {
        let account = AccountId::new(row.get_ref(1)?.as_str()?);
        Ok((word(row, 0, OperationKind::named)?, account, verdict(row, 2)?))
    })?;
    earlier.collect()
}

fn groups(connection: &Connection, question: &str, of: &[&dyn ToSql], later: &mut Later) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(question)?;
    let mut rows = statement.query(of)?;
    while let Some(row) = rows.next()? {
        let part = part(later, row.get(2)?);
        part.groups.extend(text(row, 0)?.map(GroupId::new));
        part.names.extend(text(row, 1)?.map(|name| GroupName::new(name).key()));
    }
    Ok(())
}

fn part(later: &mut Later, open: bool) -> &mut Touched {
    if open { &mut later.open } else { &mut later.changed }
}

pub(super) fn snapshots(connection: &Connection, id: &OperationId) -> rusqlite::Result<Vec<Snapshot>> {
    let mut statement = connection.prepare_cached(SNAPSHOTS)?;
    let mut members = connection.prepare_cached(MEMBERS)?;
    let mut rows = statement.query([id.as_str()])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (number, place): (i64, i64) = (row.get(0)?, row.get(1)?);
        let group = SnapshotGroup {
            id: GroupId::new(row.get_ref(2)?.as_str()?),
            name: GroupName::new(row.get_ref(3)?.as_str()?),
            externally_managed: row.get(4)?,
            settings: row.get(5)?,
        };
        let members = members
            .query_map([number, place], |row| Ok(AccountId::new(row.get_ref(0)?.as_str()?)))?
            .collect::<Result<_, _>>()?;
        found.push((usize::try_from(place).unwrap_or_default(), group, members));
    }
    Ok(found)
}

pub(super) fn setting(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT value FROM setting WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<Option<&'a str>> {
    Ok(row.get_ref(column)?.as_str_or_null()?)
}

/// A word that this version knows; another one is damage.
fn word<T>(row: &Row<'_>, column: usize, known: impl FnOnce(&str) -> Option<T>) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    known(text).ok_or_else(|| unknown(column, text))
}

fn unknown(column: usize, text: &str) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(column, text.to_owned(), rusqlite::types::Type::Text)
}

fn verdict(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Verdict>> {
    let Some(text) = text(row, column)? else {
        return Ok(None);
    };
    Ok(Some(Verdict::named(text).ok_or_else(|| unknown(column, text))?))
}

/// The state, with the reason of an interruption in the next column.
fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<State> {
    match row.get_ref(column)?.as_str()? {
        "running" => Ok(State::Running),
        "finished" => Ok(State::Finished),
        "interrupted" => Ok(State::Interrupted(row.get(column + 1)?)),
        other => Err(unknown(column, other)),
    }
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::unsigned_abs)
}

/// Every question that is about some operations, for the test of their cost.
#[cfg(test)]
pub(super) fn questions() -> Vec<String> {
    let reports = [
        OF_ID,
        OF_KEY,
        OF_THE_UNDONE,
        OF_THE_RUNNING,
        OF_THE_UNDELIVERED,
        OF_THE_ENDED,
    ]
    .map(|condition| format!("{REPORT} {condition}"));
    let others = [
        LATER_MEMBERS,
        EARLIER_MEMBERS,
        LATER_GROUPS,
        LATER_MEMBERSHIPS,
        SNAPSHOTS,
        MEMBERS,
        NAMES,
    ]
    .map(str::to_owned);
    reports.into_iter().chain(others).collect()
}
