//! What is left of the journal when the process that writes it is killed, at any moment.
//!
//! A child process begins operations that anybody can work out again, settles their names in order, and says what the
//! journal promised it. It is killed; then every operation must be whole and true, everything that was promised must be
//! there, and what was settled must be a beginning of what was told. Six rounds, or 200 with `FACADE_LONG=1`.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/killed.rs"]
mod killed;

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use extender_facade::metrics::Metrics;
use extender_facade::model::report::{Cost, Name, State};
use extender_facade::model::{
    AccountId, GroupId, GroupName, OperationId, OperationKind, Report, Skip, SnapshotGroup, Verdict,
};
use extender_facade::store::journal::ReadOnly;
use extender_facade::store::{Error, Journal};

/// Set for the child: with which operation it begins, and where its state directory is.
const CHILD: &str = "JOURNAL_KILL_CHILD";

fn id(n: u64) -> OperationId {
    OperationId::parse(&format!("{n:032x}")).unwrap()
}

/// The operation number `n` as it begins.
fn operation(n: u64) -> Report {
    let member = |place: u64| Name {
        name: format!("user{n}.{place}"),
        account: (!place.is_multiple_of(7)).then(|| AccountId::new(&format!("5b10a2844c2016{place:010}"))),
        group: None,
        verdict: None,
    };
    Report {
        id: id(n),
        kind: OperationKind::ALL[n as usize % OperationKind::ALL.len()],
        caller: format!("caller{}", n % 3),
        caller_key: format!("account:{}", n % 3),
        visitor: n.is_multiple_of(2),
        request: format!("r{n}"),
        site: "https://example.atlassian.net".to_owned(),
        group: Some((GroupId::new(&format!("g{}", n % 5)), GroupName::new("Group"))),
        dry_run: n.is_multiple_of(11),
        undo_of: (n > 0 && n.is_multiple_of(13)).then(|| id(n - 1)),
        digest: n.to_be_bytes().to_vec(),
        idempotency: None,
        started_at: n as i64,
        finished_at: None,
        state: State::Running,
        plan: format!("{{\"n\":{n}}}"),
        no_access_granted: false,
        delivered: false,
        cost: Cost::default(),
        names: (0..1 + n * 7919 % 500).map(member).collect(),
    }
}

fn verdict(n: u64, place: usize) -> Verdict {
    match (n as usize + place) % 4 {
        0 => Verdict::InDoubt,
        1 => Verdict::skipped(Skip::ALL[place % Skip::ALL.len()]),
        _ => Verdict::DONE,
    }
}

fn group(n: u64) -> (SnapshotGroup, Vec<AccountId>) {
    let group = SnapshotGroup {
        id: GroupId::new(&format!("g{n}")),
        name: GroupName::new("Group"),
        externally_managed: false,
        settings: "{}".to_owned(),
    };
    let members = 0..n % 300;
    (group, members.map(|n| AccountId::new(&format!("a{n}"))).collect())
}

/// Not a test of its own: what the child does until it is killed.
#[test]
fn child() {
    let Ok(order) = std::env::var(CHILD) else {
        return;
    };
    let (first, directory) = order.split_once(' ').unwrap();
    let first: u64 = first.parse().unwrap();
    let say = |text: String| {
        let mut out = std::io::stdout();
        writeln!(out, "{text}").unwrap();
        out.flush().unwrap();
    };
    say("started".to_owned());
    let journal = Journal::open(Path::new(directory), Metrics::new()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for n in first.. {
            let operation = operation(n);
            journal.begin(operation.clone()).await.unwrap();
            say(format!("begun {n}"));
            if n.is_multiple_of(3) {
                let (group, members) = group(n);
                journal.snapshot(&operation.id, 0, &group, &members).await.unwrap();
                say(format!("kept {n}"));
            }
            let pause = fastrand::usize(0..operation.names.len());
            for place in 0..operation.names.len() {
                journal.settle(&operation.id, place, verdict(n, place));
                if place == pause {
                    journal.flush().await.unwrap();
                    say(format!("settled {n} {}", place + 1));
                }
            }
            if !n.is_multiple_of(4) {
                let cost = Cost {
                    calls: n,
                    ..Cost::default()
                };
                journal.finish(&operation.id, n as i64 + 1, State::Finished, cost);
                journal.flush().await.unwrap();
                say(format!("ended {n}"));
            }
        }
    });
}

/// Runs a child until it is killed `after` it started, or after its first operation. Returns what it said.
fn round(directory: &Path, first: u64, after: Duration, wait: bool) -> Vec<String> {
    let until = if wait { "begun" } else { "started" };
    let order = format!("{first} {}", directory.display());
    killed::said((CHILD, &order), |line| line.contains(until), after)
}

/// Fails where an operation in the journal is not the one of its number; returns how many there are.
fn operations(directory: &Path) -> u64 {
    let reader = match ReadOnly::open(directory) {
        Ok(reader) => reader,
        Err(Error::Absent { .. }) => return 0,
        Err(error) => panic!("{error}"),
    };
    reader.check().unwrap();
    let listed = reader.list(usize::MAX).unwrap();
    for (n, summary) in listed.iter().rev().enumerate() {
        let n = n as u64;
        assert_eq!(summary.id, id(n), "a hole");
        let found = reader.report(&summary.id).unwrap().unwrap();
        let mut expected = operation(n);
        let settled = found.settled();
        for (place, name) in expected.names.iter_mut().enumerate().take(settled) {
            name.verdict = Some(verdict(n, place));
        }
        if found.state != State::Running {
            assert!(!n.is_multiple_of(4), "{n}: nobody ended it");
            (expected.state, expected.finished_at, expected.cost.calls) = (State::Finished, Some(n as i64 + 1), n);
            assert_eq!(
                settled,
                expected.names.len(),
                "{n}: ended before its names were settled"
            );
        }
        assert!(found == expected, "{n}: {found:?}");
        assert_eq!(summary.tally, found.tally());
    }
    listed.len() as u64
}

#[test]
fn a_killed_process_leaves_a_journal_that_is_true_and_has_all_that_it_promised() {
    let rounds = if std::env::var("FACADE_LONG").is_ok_and(|long| long == "1") {
        200
    } else {
        6
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut directory = tempfile::tempdir().unwrap();
    let (mut first, mut begun, mut partly) = (0, 0, 0);
    for n in 0..rounds {
        if n % 6 == 0 {
            directory = tempfile::tempdir().unwrap();
            first = 0;
        }
        // Half of them soon after the file was opened, or made; the others while they write.
        let early = n % 2 == 0;
        let after = Duration::from_micros(fastrand::u64(0..if early { 20_000 } else { 120_000 }));
        let said = round(directory.path(), first, after, !early);
        // Opening it is what the next process does.
        let journal = Journal::open(directory.path(), Metrics::new()).unwrap_or_else(|error| panic!("{n}: {error}"));
        let found = operations(directory.path());
        println!("round {n}: killed {after:?} later, {found} operations");
        assert!(found >= first, "{n}: what was there before is lost");
        for line in &said {
            // The test harness writes before the child's first line, and a killed process half a line at its end.
            let words: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| words[at].parse::<u64>().unwrap();
            let Some("begun" | "kept" | "settled" | "ended") = words.first().copied() else {
                continue;
            };
            let report = runtime.block_on(journal.report(&id(number(1)))).unwrap();
            let report = report.unwrap_or_else(|| panic!("{n}: {line}, and it is not there"));
            match words[0] {
                "begun" => begun += 1,
                "kept" => {
                    let (group, members) = group(number(1));
                    let kept = runtime.block_on(journal.snapshots(&report.id)).unwrap();
                    assert_eq!(kept, [(0, group, members)], "{n}: {line}");
                }
                "settled" => assert!(report.settled() as u64 >= number(2), "{n}: {line}"),
                _ => assert_eq!(report.state, State::Finished, "{n}: {line}"),
            }
        }
        // Operations follow one another: what the next one's beginning came after is settled whole.
        for before in 0..found.saturating_sub(1) {
            let report = runtime.block_on(journal.report(&id(before))).unwrap().unwrap();
            let is_whole = report.settled() == report.names.len();
            // Nobody goes on with the last one of an earlier round.
            partly += u64::from(!is_whole);
            assert!(
                is_whole || before + 1 == first || before < first,
                "{n}: {before} was left half done"
            );
        }
        first = found;
    }
    assert!(begun >= rounds / 2, "{begun} operations begun");
    println!("{begun} operations begun, {partly} looks at one cut short");
}
