//! How fast are identities learned, and what does a call of 1,000 names wait for the store, alone and beside learning?
//!
//! Each figure stands beside its floor: learning beside appending the same texts to a file and syncing it, look-ups
//! beside a `HashMap` in memory. `FACADE_BENCH_ROWS` sets the rows (default 100000), `FACADE_BENCH_BATCH` the names of
//! one call (default 1000).
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use extender_facade::metrics::Metrics;
use extender_facade::model::{AccountId, NameKey, Source, Standing};
use extender_facade::store::{Learned, ReadOnly, Store};

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| {
        text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}"))
    })
}

fn row(n: usize) -> Learned {
    // Names come in no order.
    let n = n.wrapping_mul(2_654_435_761) % 1_000_000_007;
    Learned {
        name: NameKey::of(&format!("user{n:010}@example.com")),
        account: AccountId::new(&format!("5b10a2844c2016{n:010}")),
        source: Source::Members,
        standing: Standing::Active,
        learned_at: 1_654_605_520_699,
    }
}

/// Best, middle and worst of `times`.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |n: usize| times.get(n).copied().unwrap_or_default();
    format!("{:?} / {:?} / {:?}", at(0), at(times.len() / 2), at(times.len() - 1))
}

async fn learn(store: &Store, rows: std::ops::Range<usize>) {
    let end = rows.end;
    for (n, start) in rows.step_by(250).enumerate() {
        store.learn((start..end.min(start + 250)).map(row).collect());
        // More than the queue holds would be dropped.
        if n % 40 == 39 {
            store.flush().await.unwrap();
        }
    }
    store.flush().await.unwrap();
}

fn main() {
    let (rows, batch) = (number("FACADE_BENCH_ROWS", 100_000), number("FACADE_BENCH_BATCH", 1000));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let metrics = Metrics::new();
    let store = Store::open(directory.path(), metrics.clone()).unwrap();

    let begun = Instant::now();
    runtime.block_on(learn(&store, 0..rows));
    let took = begun.elapsed();
    let begun = Instant::now();
    let mut file = std::fs::File::create(directory.path().join("floor")).unwrap();
    for start in (0..rows).step_by(25_000) {
        let mut text = String::new();
        for learned in (start..rows.min(start + 25_000)).map(row) {
            writeln!(text, "{} {}", learned.name.as_str(), learned.account).unwrap();
        }
        file.write_all(text.as_bytes()).unwrap();
        file.sync_all().unwrap();
    }
    let floor = begun.elapsed();
    let speed = |took: Duration| rows as f64 / took.as_secs_f64();
    println!("learn {rows}: {:.0} rows/s (floor {:.0})", speed(took), speed(floor));
    assert_eq!(
        (metrics.store_learned.get(), metrics.store_dropped.get()),
        (rows as u64, 0)
    );

    let names = |n: usize| -> Vec<NameKey> { (0..batch).map(|i| row((n * 7919 + i * 104_729) % rows).name).collect() };
    let ask = |n: usize| {
        let names = names(n);
        let begun = Instant::now();
        let found = runtime.block_on(store.look_up(&names)).unwrap();
        assert!(found.iter().all(|claims| claims.len() == 1));
        begun.elapsed()
    };
    let memory: HashMap<NameKey, AccountId> = (0..rows).map(row).map(|row| (row.name, row.account)).collect();
    let floor = |n: usize| {
        let names = names(n);
        let begun = Instant::now();
        let found: Vec<AccountId> = names.iter().filter_map(|name| memory.get(name).cloned()).collect();
        assert_eq!(found.len(), batch);
        begun.elapsed()
    };
    println!(
        "look up {batch} names: {} (floor {})",
        spread((0..200).map(ask).collect()),
        spread((0..200).map(floor).collect())
    );
    let accounts: Vec<AccountId> = (0..batch).map(|i| row((i * 104_729) % rows).account).collect();
    let back = |_| {
        let begun = Instant::now();
        assert_eq!(runtime.block_on(store.by_accounts(&accounts)).unwrap().len(), batch);
        begun.elapsed()
    };
    println!("look up {batch} accounts: {}", spread((0..200).map(back).collect()));
    let beside = |n: usize| {
        store.learn((rows + n * 10_000..rows + (n + 1) * 10_000).map(row).collect());
        ask(n)
    };
    println!(
        "look up {batch} names behind 10000 rows just learned: {}",
        spread((0..20).map(beside).collect())
    );

    runtime.block_on(store.flush()).unwrap();
    drop(store);
    let begun = Instant::now();
    let store = Store::open(directory.path(), Metrics::new()).unwrap();
    println!("open: {:?}", begun.elapsed());
    let (begun, reader) = (Instant::now(), ReadOnly::open(directory.path()).unwrap());
    let mut seen = 0;
    let see = |_| {
        seen += 1;
        Ok::<_, extender_facade::store::Error>(())
    };
    reader.for_each(see).unwrap();
    let size = std::fs::metadata(directory.path().join(extender_facade::store::FILE))
        .unwrap()
        .len();
    println!("export {seen} rows: {:?}; {} bytes a row", begun.elapsed(), size / seen);
    drop(store);
}
