//! The file itself: its format, and the statements that change it.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::waits;
use crate::model::report::{Cost, State, Tally};
use crate::model::{AccountId, GroupId, GroupName, OperationId, Report, SnapshotGroup, Verdict};
use crate::store::Kept;
use crate::store::sqlite::Format;

/// Rows of names or members that are deleted at once.
const MAX_FORGOTTEN: i64 = 2000;

/// "exfj". A new kind, state or verdict makes a new format too; a new reason for waiting does not.
pub(super) const FORMAT: Format = Format {
    application: 0x6578_666a,
    number: 2,
    schema: SCHEMA,
    upgrades: &[REASONS_OF_WAITING],
    synchronous: "FULL",
    // Its end is what is written and read.
    cache_kib: 4096,
    kept: Kept::Operations,
};

/// Numbers are given in the order of beginning and never again. The tally is that of the end; until then names are
/// counted. Names and members of operations in `forgotten` wait to be deleted and are seen by nobody.
const SCHEMA: &str = "
    CREATE TABLE operation (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        caller TEXT NOT NULL,
        caller_key TEXT NOT NULL,
        visitor INTEGER NOT NULL,
        request TEXT NOT NULL,
        site TEXT NOT NULL,
        group_id TEXT,
        group_name TEXT,
        dry_run INTEGER NOT NULL,
        undo_of TEXT,
        digest BLOB NOT NULL,
        key TEXT,
        key_digest BLOB,
        started_at INTEGER NOT NULL,
        finished_at INTEGER,
        state TEXT NOT NULL,
        why TEXT,
        plan TEXT NOT NULL,
        no_access_granted INTEGER NOT NULL,
        calls INTEGER NOT NULL,
        retries INTEGER NOT NULL,
        waited_ms INTEGER NOT NULL,
        done INTEGER NOT NULL,
        skipped INTEGER NOT NULL,
        in_doubt INTEGER NOT NULL,
        unsettled INTEGER NOT NULL,
        delivered INTEGER NOT NULL DEFAULT 0,
        waits TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE INDEX operation_by_group ON operation (group_id, number);
    CREATE INDEX operation_by_kind ON operation (kind, number);
    CREATE INDEX operation_by_key ON operation (caller_key, key, number) WHERE key IS NOT NULL;
    CREATE INDEX operation_by_undone ON operation (undo_of, number) WHERE undo_of IS NOT NULL;
    CREATE INDEX operation_running ON operation (number) WHERE state = 'running';
    CREATE INDEX operation_by_end ON operation (finished_at) WHERE state <> 'running';
    CREATE TABLE name (
        operation INTEGER NOT NULL,
        place INTEGER NOT NULL,
        name TEXT NOT NULL,
        account TEXT,
        group_id TEXT,
        verdict TEXT,
        PRIMARY KEY (operation, place)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE snapshot (
        operation INTEGER NOT NULL,
        place INTEGER NOT NULL,
        group_id TEXT NOT NULL,
        group_name TEXT NOT NULL,
        externally_managed INTEGER NOT NULL,
        settings TEXT NOT NULL,
        PRIMARY KEY (operation, place)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE snapshot_member (
        operation INTEGER NOT NULL,
        place INTEGER NOT NULL,
        row INTEGER NOT NULL,
        account TEXT NOT NULL,
        PRIMARY KEY (operation, place, row)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE forgotten (operation INTEGER PRIMARY KEY) STRICT;
    CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
";

/// Format 2: what calls waited for ([`waits`]). Of operations of before only the sum is known.
const REASONS_OF_WAITING: &str = "ALTER TABLE operation ADD COLUMN waits TEXT NOT NULL DEFAULT '';";

const BEGIN: &str = "
    INSERT INTO operation (
        id, kind, caller, caller_key, visitor, request, site, group_id, group_name, dry_run, undo_of, digest, key,
        key_digest, started_at, finished_at, state, why, plan, no_access_granted, calls, retries, waited_ms, done,
        skipped, in_doubt, unsettled, waits
    ) VALUES (
        ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24,
        ?25, ?26, ?27, ?28
    )
";
const NAME: &str = "
    INSERT INTO name (operation, place, name, account, group_id, verdict) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
";
const SETTLE: &str = "
    UPDATE name SET verdict = ?3, group_id = coalesce(?4, group_id)
    WHERE operation = (SELECT number FROM operation WHERE id = ?1) AND place = ?2
";
const FINISH: &str = "
    UPDATE operation SET finished_at = ?2, state = ?3, why = ?4, calls = ?5, retries = ?6, waited_ms = ?7, waits = ?8,
        (done, in_doubt, unsettled, skipped) = (
            SELECT count(*) FILTER (WHERE verdict = 'done'), count(*) FILTER (WHERE verdict = 'in_doubt'),
                count(*) FILTER (WHERE verdict IS NULL), count(*) FILTER (WHERE verdict NOT IN ('done', 'in_doubt'))
            FROM name WHERE operation = number
        )
    WHERE id = ?1
";
const DELIVERED: &str = "UPDATE operation SET delivered = 1 WHERE id = ?1";
const SET: &str = "
    INSERT INTO setting (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value
";
const SNAPSHOT: &str = "
    INSERT INTO snapshot (operation, place, group_id, group_name, externally_managed, settings)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (operation, place) DO UPDATE SET group_id = excluded.group_id, group_name = excluded.group_name,
        externally_managed = excluded.externally_managed, settings = excluded.settings
";
const FORGET_MEMBERS: &str = "DELETE FROM snapshot_member WHERE operation = ?1 AND place = ?2";
const MEMBER: &str = "INSERT INTO snapshot_member (operation, place, row, account) VALUES (?1, ?2, ?3, ?4)";

/// The setting that holds the audit's head.
pub(super) const HEAD: &str = "audit_head";

/// The setting that is written to see whether anything can be.
pub(super) const CHECKED: &str = "checked_at";

/// Numbers in the file have a sign; nothing that is counted here comes near the end of either.
fn signed(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

fn why(state: &State) -> Option<&str> {
    match state {
        State::Interrupted(why) => Some(why),
        State::Running | State::Finished => None,
    }
}

/// Writes the operation and its names; returns how many rows.
pub(super) fn begin(connection: &Connection, report: &Report) -> rusqlite::Result<usize> {
    let Tally {
        done,
        skipped,
        in_doubt,
        left,
    } = report.tally();
    let (key, key_digest) = report.idempotency.as_ref().map(|(key, digest)| (key, digest)).unzip();
    let (group, group_name): (Option<&GroupId>, Option<&GroupName>) =
        report.group.as_ref().map(|(id, name)| (id, name)).unzip();
    connection.prepare_cached(BEGIN)?.execute(params![
        report.id.as_str(),
        report.kind.as_str(),
        report.caller,
        report.caller_key,
        report.visitor,
        report.request,
        report.site,
        group.map(GroupId::as_str),
        group_name.map(GroupName::as_str),
        report.dry_run,
        report.undo_of.as_ref().map(OperationId::as_str),
        report.digest,
        key,
        key_digest,
        report.started_at,
        report.finished_at,
        report.state.as_str(),
        why(&report.state),
        report.plan,
        report.no_access_granted,
        signed(report.cost.calls),
        signed(report.cost.retries),
        signed(report.cost.waited_ms),
        signed(done),
        signed(skipped),
        signed(in_doubt),
        signed(left),
        waits::write(report.cost.waits),
    ])?;
    let number = connection.last_insert_rowid();
    let mut statement = connection.prepare_cached(NAME)?;
    for (place, name) in report.names.iter().enumerate() {
        statement.execute(params![
            number,
            signed(place),
            name.name,
            name.account.as_ref().map(AccountId::as_str),
            name.group.as_ref().map(GroupId::as_str),
            name.verdict.map(Verdict::as_str),
        ])?;
    }
    Ok(1 + report.names.len())
}

/// How many rows it changed: 0 where there is no such name.
pub(super) fn settle(
    connection: &Connection,
    id: &OperationId,
    place: usize,
    verdict: Verdict,
    group: Option<&GroupId>,
) -> rusqlite::Result<usize> {
    connection.prepare_cached(SETTLE)?.execute(params![
        id.as_str(),
        signed(place),
        verdict.as_str(),
        group.map(GroupId::as_str)
    ])
}

/// How many rows it changed: 0 where there is no such operation.
pub(super) fn finish(
    connection: &Connection,
    id: &OperationId,
    finished_at: i64,
    state: &State,
    cost: Cost,
) -> rusqlite::Result<usize> {
    connection.prepare_cached(FINISH)?.execute(params![
        id.as_str(),
        finished_at,
        state.as_str(),
        why(state),
        signed(cost.calls),
        signed(cost.retries),
        signed(cost.waited_ms),
        waits::write(cost.waits),
    ])
}

/// How many rows it changed: 0 where there is no such operation.
pub(super) fn delivered(connection: &Connection, id: &OperationId) -> rusqlite::Result<usize> {
    connection.prepare_cached(DELIVERED)?.execute([id.as_str()])
}

pub(super) fn set(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<usize> {
    connection.prepare_cached(SET)?.execute([name, value])
}

/// Writes something.
pub(super) fn check(connection: &Connection) -> rusqlite::Result<usize> {
    set(connection, CHECKED, &jiff::Timestamp::now().to_string())
}

/// Writes a group and its members; returns how many rows.
pub(super) fn snapshot(
    connection: &Connection,
    id: &OperationId,
    place: usize,
    group: &SnapshotGroup,
    members: &[AccountId],
) -> rusqlite::Result<usize> {
    let number: i64 = connection
        .prepare_cached("SELECT number FROM operation WHERE id = ?1")?
        .query_row([id.as_str()], |row| row.get(0))?;
    let place = signed(place);
    connection.prepare_cached(SNAPSHOT)?.execute(params![
        number,
        place,
        group.id.as_str(),
        group.name.as_str(),
        group.externally_managed,
        group.settings
    ])?;
    connection.prepare_cached(FORGET_MEMBERS)?.execute([number, place])?;
    let mut statement = connection.prepare_cached(MEMBER)?;
    for (row, account) in members.iter().enumerate() {
        statement.execute(params![number, place, signed(row), account.as_str()])?;
    }
    Ok(1 + members.len())
}

/// Forgets a piece of what ended before `before`; whether there may be more.
pub(super) fn forget(connection: &Connection, before: i64) -> rusqlite::Result<bool> {
    let forgotten: Option<i64> = connection
        .prepare_cached("SELECT operation FROM forgotten LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let Some(number) = forgotten else {
        // Out of everybody's sight at once, out of the file piece by piece.
        let mut oldest = connection.prepare_cached(
            "INSERT INTO forgotten (operation) SELECT number FROM operation
             WHERE state <> 'running' AND finished_at < ?1 ORDER BY finished_at LIMIT 100",
        )?;
        let found = oldest.execute([before])?;
        connection
            .prepare_cached("DELETE FROM operation WHERE number IN (SELECT operation FROM forgotten)")?
            .execute([])?;
        return Ok(found > 0);
    };
    for piece in [
        "DELETE FROM name WHERE operation = ?1 AND place IN (SELECT place FROM name WHERE operation = ?1 LIMIT ?2)",
        "DELETE FROM snapshot_member WHERE operation = ?1
         AND (place, row) IN (SELECT place, row FROM snapshot_member WHERE operation = ?1 LIMIT ?2)",
        "DELETE FROM snapshot WHERE operation = ?1 AND place IN (SELECT place FROM snapshot WHERE operation = ?1 LIMIT ?2)",
    ] {
        if connection.prepare_cached(piece)?.execute([number, MAX_FORGOTTEN])? > 0 {
            return Ok(true);
        }
    }
    connection
        .prepare_cached("DELETE FROM forgotten WHERE operation = ?1")?
        .execute([number])?;
    Ok(true)
}
