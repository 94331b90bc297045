//! What does it cost to turn a legacy name into an account, and an account into the name that is shown?
//!
//! Each figure stands beside its floor: a bare `HashMap<Box<str>, u32>` asked for the same names, in lower case
//! already. Environment variables, to put in your own sizes and your own people:
//!
//! * `FACADE_BENCH_ROWS`: rows of a generated map, default 100000.
//! * `FACADE_BENCH_MAP`: a map file of yours instead (as `identity.map_file`).
//! * `FACADE_BENCH_BATCH`: names of one call, default 1000.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use extender_facade::cloud::{Client, Confluence, Credential, Owner};
use extender_facade::directory::Change;
use extender_facade::directory::identity::{Identity, Map, Row, read};
use extender_facade::metrics::Metrics;
use extender_facade::model::{AccountId, Caller, Context, NameKey, RequestId};
use extender_facade::settings::{NameKind, Settings};

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| {
        text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}"))
    })
}

fn rows() -> Vec<Row> {
    if let Ok(path) = std::env::var("FACADE_BENCH_MAP") {
        return read(Path::new(&path)).unwrap_or_else(|faults| panic!("{faults}"));
    }
    (0..number("FACADE_BENCH_ROWS", 100_000))
        .map(|n| Row {
            username: Some(format!("user{n:07}").into()),
            key: Some(format!("2c9b80828{n:023x}").into()),
            email: Some(format!("User{n:07}@example.com").into()),
            account: Some(AccountId::new(&format!("5b10a2844c2016{n:010}"))),
            full_name: Some(format!("User {n}").into()),
            ..Row::default()
        })
        .collect()
}

/// `count` of the texts, spread over all of them, so that no cache of the processor makes the figure.
fn sample<T: Clone>(all: &[T], count: usize) -> Vec<T> {
    let step = 7919;
    (0..count).map(|n| all[(n * step) % all.len()].clone()).collect()
}

fn look_up(criterion: &mut Criterion) {
    let rows = rows();
    let usernames: Vec<Arc<str>> = rows.iter().filter_map(|row| row.username.clone()).collect();
    let emails: Vec<Arc<str>> = rows.iter().filter_map(|row| row.email.clone()).collect();
    let accounts: Vec<AccountId> = rows.iter().filter_map(|row| row.account.clone()).collect();
    assert!(
        !usernames.is_empty() && !accounts.is_empty(),
        "the map has no usernames or no accounts"
    );
    let floor: HashMap<Box<str>, u32> = usernames
        .iter()
        .zip(0..)
        .map(|(name, n)| (name.to_lowercase().into_boxed_str(), n))
        .collect();
    let map = Map::new(rows);
    let count = 10_000.min(usernames.len());
    let (asked, lower) = {
        let asked = sample(&usernames, count);
        let lower: Vec<Box<str>> = asked.iter().map(|name| name.to_lowercase().into_boxed_str()).collect();
        (asked, lower)
    };

    let mut group = criterion.benchmark_group("one name");
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function("floor: bare hash map", |bench| {
        bench.iter(|| {
            lower
                .iter()
                .filter(|name| floor.contains_key(black_box(&***name)))
                .count()
        });
    });
    group.bench_function("username", |bench| {
        bench.iter(|| {
            asked
                .iter()
                .filter(|name| map.by_name(&NameKey::of(black_box(name))).is_some())
                .count()
        });
    });
    if !emails.is_empty() {
        let asked = sample(&emails, count);
        group.bench_function("e-mail address", |bench| {
            bench.iter(|| {
                asked
                    .iter()
                    .filter(|name| map.by_name(&NameKey::of(black_box(name))).is_some())
                    .count()
            });
        });
    }
    let unknown: Vec<String> = (0..count).map(|n| format!("stranger{n}")).collect();
    group.bench_function("unknown", |bench| {
        bench.iter(|| {
            unknown
                .iter()
                .filter(|name| map.by_name(&NameKey::of(black_box(name))).is_some())
                .count()
        });
    });
    let order = [NameKind::Username, NameKind::Email, NameKind::AccountId];
    let shown = sample(&accounts, count);
    group.bench_function("the way back", |bench| {
        bench.iter(|| {
            shown
                .iter()
                .map(|account| map.shown_name(black_box(account), &order, true).len())
                .sum::<usize>()
        });
    });
    group.finish();

    batch(
        criterion,
        map,
        &sample(&usernames, number("FACADE_BENCH_BATCH", 1000)),
        &lower,
        &floor,
    );
}

/// The whole chain, as one bulk call walks it; no name needs Cloud.
fn batch(criterion: &mut Criterion, map: Map, names: &[Arc<str>], lower: &[Box<str>], floor: &HashMap<Box<str>, u32>) {
    let settings = Settings::defaults();
    let mut cloud = settings.cloud.clone();
    cloud.base_url = "http://127.0.0.1:9".to_owned();
    let client = Client::new(&cloud, Metrics::new()).unwrap();
    let cloud = Confluence::new(
        Arc::new(client),
        Credential::basic("nobody@example.com", "none", Owner::Facade),
    );
    let identity = Identity::new(Arc::new(map), &settings.cache, Metrics::new());
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let context = Context::new(
        RequestId::new("bench"),
        Caller { name: "bench".into() },
        Duration::from_secs(1),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut group = criterion.benchmark_group(format!("one call of {} names", names.len()));
    group.throughput(Throughput::Elements(names.len() as u64));
    let lower: Vec<&Box<str>> = lower.iter().cycle().take(names.len()).collect();
    group.bench_function("floor: bare hash map", |bench| {
        bench.iter(|| {
            lower
                .iter()
                .filter(|name| floor.contains_key(black_box(&****name)))
                .count()
        });
    });
    group.bench_function("resolve", |bench| {
        bench.to_async(&runtime).iter_batched(
            || (),
            |()| async {
                identity
                    .resolve(black_box(&names), Change::Add, &cloud, &context)
                    .await
                    .unwrap()
                    .len()
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, look_up);
criterion_main!(benches);
