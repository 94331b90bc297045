//! What a large operation waits for the journal: its beginning, its outcomes, its report.
//!
//! Each figure stands beside its floor: the same names in a bare SQLite file with the same settings, one transaction a
//! step. `FACADE_BENCH_ROWS` sets the names of one operation (default 10000).
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use extender_facade::metrics::Metrics;
use extender_facade::model::report::{Cost, Name, State};
use extender_facade::model::{AccountId, GroupId, GroupName, OperationId, OperationKind, Report, Verdict};
use extender_facade::store::Journal;
use rusqlite::{Connection, params};

fn account(n: usize) -> AccountId {
    AccountId::new(&format!("5b10a2844c2016{n:010}"))
}

fn user(n: usize) -> String {
    format!("user{n:010}@example.com")
}

fn operation(names: usize) -> Report {
    let member = |n: usize| Name {
        name: user(n),
        account: Some(account(n)),
        group: None,
        verdict: None,
    };
    Report {
        id: OperationId::random(),
        kind: OperationKind::AddMembers,
        caller: "script".to_owned(),
        caller_key: "account:script".to_owned(),
        visitor: false,
        request: "r1".to_owned(),
        site: "https://example.atlassian.net".to_owned(),
        group: Some((GroupId::new("g1"), GroupName::new("Group"))),
        dry_run: false,
        undo_of: None,
        digest: vec![7; 32],
        idempotency: None,
        started_at: 1_654_605_520_699,
        finished_at: None,
        state: State::Running,
        plan: "{}".to_owned(),
        no_access_granted: false,
        delivered: false,
        cost: Cost::default(),
        names: (0..names).map(member).collect(),
    }
}

/// Best, middle and worst of 20 rounds.
fn spread(step: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |n: usize| times.get(n).copied().unwrap_or_default();
    println!(
        "{step}: {:?} / {:?} / {:?}",
        at(0),
        at(times.len() / 2),
        at(times.len() - 1)
    );
}

fn timed<T>(into: &mut Vec<Duration>, step: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = step();
    into.push(begun.elapsed());
    result
}

fn journal(names: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(directory.path(), Metrics::new()).unwrap();
    let [mut begin, mut settle, mut report, mut one, mut later] = [const { Vec::new() }; 5];
    for _ in 0..20 {
        let operation = operation(names);
        let id = operation.id.clone();
        timed(&mut begin, || runtime.block_on(journal.begin(operation)).unwrap());
        timed(&mut settle, || {
            (0..names).for_each(|n| journal.settle(&id, n, Verdict::DONE));
            runtime.block_on(journal.flush()).unwrap();
        });
        let seen = timed(&mut report, || runtime.block_on(journal.report(&id)).unwrap().unwrap());
        assert_eq!(seen.settled(), names);
        timed(&mut one, || {
            journal.settle(&id, 0, Verdict::DONE);
            runtime.block_on(journal.flush()).unwrap();
        });
        timed(&mut later, || runtime.block_on(journal.later_changes(&id)).unwrap());
        journal.finish(&id, 1, State::Finished, Cost::default());
        runtime.block_on(journal.flush()).unwrap();
    }
    spread(&format!("begin {names}"), begin);
    spread(&format!("settle {names} and flush"), settle);
    spread(&format!("report of {names}"), report);
    spread("settle 1 and flush", one);
    spread("later changes", later);
}

fn floor(names: usize) {
    let directory = tempfile::tempdir().unwrap();
    let file = Connection::open(directory.path().join("floor")).unwrap();
    file.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;
         CREATE TABLE name (operation INTEGER, place INTEGER, name TEXT, account TEXT, verdict TEXT,
            PRIMARY KEY (operation, place)) STRICT, WITHOUT ROWID;",
    )
    .unwrap();
    let [mut begin, mut settle, mut report, mut one] = [const { Vec::new() }; 4];
    let change = |question: &str, with: &dyn Fn(&mut rusqlite::Statement<'_>)| {
        file.execute_batch("BEGIN IMMEDIATE").unwrap();
        with(&mut file.prepare_cached(question).unwrap());
        file.execute_batch("COMMIT").unwrap();
    };
    for round in 0..20 {
        let rows: Vec<_> = (0..names).map(|n| (user(n), account(n))).collect();
        timed(&mut begin, || {
            change("INSERT INTO name VALUES (?1, ?2, ?3, ?4, NULL)", &|statement| {
                for (n, (user, account)) in rows.iter().enumerate() {
                    statement
                        .execute(params![round, n as i64, user, account.as_str()])
                        .unwrap();
                }
            });
        });
        let done = "UPDATE name SET verdict = 'done' WHERE operation = ?1 AND place = ?2";
        timed(&mut settle, || {
            change(done, &|statement| {
                for n in 0..names {
                    statement.execute(params![round, n as i64]).unwrap();
                }
            });
        });
        let seen: Vec<(String, String, String)> = timed(&mut report, || {
            let question = "SELECT name, account, verdict FROM name WHERE operation = ?1 ORDER BY place";
            let mut statement = file.prepare_cached(question).unwrap();
            let rows = statement.query_map([round], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
            rows.unwrap().collect::<Result<_, _>>().unwrap()
        });
        assert_eq!(seen.len(), names);
        timed(&mut one, || {
            change(done, &|statement| {
                statement.execute(params![round, 0]).unwrap();
            });
        });
    }
    spread(&format!("floor: begin {names}"), begin);
    spread(&format!("floor: settle {names}"), settle);
    spread(&format!("floor: report of {names}"), report);
    spread("floor: settle 1", one);
}

fn main() {
    let names = std::env::var("FACADE_BENCH_ROWS").map_or(10_000, |text| text.parse().unwrap());
    journal(names);
    floor(names);
}
