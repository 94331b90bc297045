//! What is left of the store when the process that writes it is killed, at any moment.
//!
//! A child process learns truths that anybody can work out again, as fast as it can, and says which of them are
//! flushed. It is killed; then every row must be true, and everything it said must be there. Six rounds, or 250 with
//! `FACADE_LONG=1`.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/killed.rs"]
mod killed;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use extender_facade::metrics::Metrics;
use extender_facade::model::{AccountId, NameKey, Source, Standing};
use extender_facade::store::{Error, Learned, ReadOnly, Store};

/// Set for the child: where its state directory is, and with which number it begins.
const CHILD: &str = "STORE_KILL_CHILD";

/// Names that move from account to account all the time.
const MOVERS: u64 = 5;

fn account(n: u64) -> AccountId {
    AccountId::new(&format!(
        "5b10a2844c2016{:010}",
        n.wrapping_mul(2_654_435_761) % 10_000_000_000
    ))
}

/// The truth number `n`.
fn truth(n: u64) -> Learned {
    Learned {
        name: NameKey::of(&format!("user{n:08}")),
        account: account(n),
        source: Source::ALL[n as usize % Source::ALL.len()],
        standing: Standing::ALL[n as usize % Standing::ALL.len()],
        learned_at: n as i64,
    }
}

/// Where the mover `m` is at time `n`.
fn moved(m: u64, n: u64) -> Learned {
    Learned {
        name: NameKey::of(&format!("mover{m}")),
        source: Source::Jira,
        account: account(n + m),
        standing: Standing::Active,
        learned_at: n as i64,
    }
}

/// Not a test of its own: what the child does until it is killed.
#[test]
fn child() {
    let Ok(order) = std::env::var(CHILD) else {
        return;
    };
    let (first, directory) = order.split_once(' ').unwrap();
    let mut next: u64 = first.parse().unwrap();
    let say = |text: String| {
        let mut out = std::io::stdout();
        writeln!(out, "{text}").unwrap();
        out.flush().unwrap();
    };
    say("begun".to_owned());
    let metrics = Metrics::new();
    let store = Store::open(Path::new(directory), metrics.clone()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    loop {
        for _ in 0..fastrand::u32(1..20) {
            let end = next + fastrand::u64(1..200);
            store.learn((next..end).map(truth).collect());
            next = end;
            for m in 0..MOVERS {
                let mover = moved(m, next);
                store.replace(mover.name.clone(), mover.source, vec![mover]);
            }
        }
        runtime.block_on(store.flush()).unwrap();
        assert_eq!(metrics.store_dropped.get(), 0);
        say(format!("flushed {next}"));
    }
}

/// Runs a child until it is killed `after` it began, or after its first flush. Returns what it flushed.
fn round(directory: &Path, first: u64, after: Duration, wait_for_flush: bool) -> Option<u64> {
    let flushed = |line: &String| line.strip_prefix("flushed ").map(|n| n.parse::<u64>().unwrap());
    let until = if wait_for_flush { "flushed" } else { "begun" };
    let order = format!("{first} {}", directory.display());
    let said = killed::said((CHILD, &order), |line| line.contains(until), after);
    said.iter().filter_map(flushed).next_back()
}

/// Every row of the store; fails where one of them is not true.
fn truths(directory: &Path) -> (u64, BTreeMap<String, u64>) {
    let reader = match ReadOnly::open(directory) {
        Ok(reader) => reader,
        Err(Error::Absent { .. }) => return Default::default(),
        Err(error) => panic!("{error}"),
    };
    reader.check().unwrap();
    let (mut rows, mut movers) = (0, BTreeMap::new());
    reader
        .for_each(|row| {
            let n = row.learned_at as u64;
            if let Some(m) = row.name.as_str().strip_prefix("mover") {
                assert_eq!(row, moved(m.parse().unwrap(), n));
                assert_eq!(
                    movers.insert(m.to_owned(), n),
                    None,
                    "two claims where one was replaced"
                );
            } else {
                assert_eq!(row, truth(n));
                // In the order in which they were learned, so none is missing between others.
                assert_eq!(n, rows, "a hole");
                rows += 1;
            }
            Ok::<_, Error>(())
        })
        .unwrap();
    (rows, movers)
}

#[test]
fn a_killed_process_leaves_a_store_that_is_true_and_has_all_that_was_flushed() {
    let rounds = if std::env::var("FACADE_LONG").is_ok_and(|long| long == "1") {
        250
    } else {
        6
    };
    let mut directory = tempfile::tempdir().unwrap();
    // With which number the next child begins; what the last one before it said is flushed.
    let (mut first, mut said) = (0, 0);
    let (mut most, mut flushed_rounds) = (0, 0);
    for n in 0..rounds {
        if n % 6 == 0 {
            directory = tempfile::tempdir().unwrap();
            (first, said) = (0, 0);
        }
        // Half of them soon after the file was opened, or made; the others while they write.
        let early = n % 2 == 0;
        let after = Duration::from_micros(fastrand::u64(0..if early { 15_000 } else { 120_000 }));
        let flushed = round(directory.path(), first, after, !early);
        // Opening it is what the next process does.
        drop(Store::open(directory.path(), Metrics::new()).unwrap_or_else(|error| panic!("{n}: {error}")));
        let (rows, movers) = truths(directory.path());
        // What was found once is not lost any more.
        said = flushed.unwrap_or(said);
        let promised = said.max(first);
        println!("round {n}: killed {after:?} later, {promised} promised, {rows} found");
        assert!(rows >= promised, "{n}: {rows} rows of {promised}");
        if said > 0 {
            assert_eq!(movers.len() as u64, MOVERS);
            assert!(movers.values().all(|at| *at >= said), "{n}: {movers:?} {said}");
        }
        (first, most) = (rows, most.max(rows));
        flushed_rounds += u64::from(flushed.is_some());
    }
    assert!(
        most > 0 && flushed_rounds >= rounds / 2,
        "{flushed_rounds} rounds wrote"
    );
}
