//! What does it cost to turn a legacy name into an account, and an account into the name that is shown?
//!
//! The map alone, asked for one name of each kind that it knows and for one that it does not; then the whole chain, as a
//! call of one name and a bulk call walk it: names of the map, names that were learned before (in memory, and on disk), and
//! names that nobody knows. No call to Cloud is made. What loading and memory cost is told by `growth.rs` and `reload.rs`.
//!
//! The floor of each is a plain `HashMap<String, u32>` of the same rows, asked for the same names in lower case. "as sent" are
//! the same names in mixed case, as scripts send them; the floor cannot answer those. All figures are for one name.
//!
//! Environment variables, to put in your own sizes and your own people:
//!
//! * `FACADE_BENCH_MAP`: a map file of yours (as `identity.map_file`) instead of generated ones.
//! * `FACADE_BENCH_ROWS`: rows of the generated maps, default 1000,10000,100000,1000000.
//! * `FACADE_BENCH_BATCH`: names of one bulk call, default 1000.
//! * `FACADE_BENCH_LEARNED`: names that were learned before, default 100000.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use extender_facade::cloud::{Client, Confluence, Credential, Owner};
use extender_facade::directory::Change;
use extender_facade::directory::identity::{Current, Entry, Identity, Map, Own};
use extender_facade::metrics::Metrics;
use extender_facade::model::{AccountId, Caller, Context, NameKey, RequestId, Source, Standing};
use extender_facade::settings::{CredentialKind, NameKind, PrimaryRule, Settings};
use extender_facade::store::{Learned, Store};
use tokio::runtime::Runtime;

#[path = "support/given.rs"]
mod given;
#[path = "support/maps.rs"]
mod maps;
#[path = "support/turns.rs"]
mod turns;

use given::{number, numbers};
use maps::sample;
use turns::{Runner, Show, Table, Turns, measure};

const FLOOR: &str = "a plain hash map";
const ORDER: [NameKind; 3] = [NameKind::Username, NameKind::Email, NameKind::AccountId];
/// Names that are asked in turn.
const SAMPLE: usize = 1 << 16;

fn bench(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let paths = match maps::own() {
        Some(path) => vec![path],
        None => numbers("FACADE_BENCH_ROWS", &[1000, 10_000, 100_000, 1_000_000], &[1000])
            .into_iter()
            .map(|rows| maps::generated(directory.path(), rows))
            .collect(),
    };
    let known = Before::learned(number("FACADE_BENCH_LEARNED", 100_000, 1000));
    let mut table = Table::default();
    for path in paths {
        let map = Map::read(&path, PrimaryRule::First).unwrap_or_else(|faults| panic!("{faults}"));
        println!(
            "a map of {} rows, {} accounts, {} ambiguous names",
            map.rows(),
            map.len(),
            map.ambiguous()
        );
        alone(&mut table.group(criterion, "identity, the map", "rows"), &map);
        known.chain(&mut table.group(criterion, "identity, the chain", "rows"), map);
    }
    table.print();
}

/// Each of the names once, over and over.
fn in_turn<'a, T>(names: &'a [T], mut ask: impl FnMut(&'a T) -> bool + 'a) -> impl FnMut() -> bool + 'a {
    let mut turn = names.iter().cycle();
    move || turn.next().is_some_and(|name| ask(std::hint::black_box(name)))
}

/// The map, without anything around it.
fn alone(turns: &mut Turns<'_>, map: &Map) {
    let texts = |of: fn(Entry<'_>) -> Option<&str>| -> Vec<String> {
        map.entries().filter_map(of).map(str::to_owned).collect()
    };
    let usernames = texts(|entry| entry.usernames().next());
    let ids = texts(|entry| Some(entry.account()));
    let kinds = [
        ("username", usernames.clone()),
        ("user key", texts(|entry| entry.key())),
        ("e-mail address", texts(|entry| entry.email())),
    ];
    for (kind, all) in kinds {
        one_kind(turns, map, kind, &all);
    }
    let floor: HashMap<String, usize> = ids.iter().cloned().zip(0..).collect();
    let asked = sample(&ids, SAMPLE.min(ids.len()));
    let accounts: Vec<AccountId> = asked.iter().map(|id| AccountId::new(id)).collect();
    let plain = || vec![Runner::of(FLOOR, in_turn(&asked, |id| floor.contains_key(id)))];
    let figure = Runner::of("account id", in_turn(&asked, |id| map.by_account(id).is_some()));
    turns.take(figure, map.rows(), Show::Time(1), plain());
    // As a members' page asks: the id is there as one.
    let shown = in_turn(&accounts, |id| map.shown_name(id, &ORDER, true).is_some());
    turns.take(
        Runner::of("the way back: name shown", shown),
        map.rows(),
        Show::Time(1),
        plain(),
    );
    let nobody: Vec<String> = sample(&usernames, SAMPLE.min(usernames.len()))
        .iter()
        .map(|name| format!("{}-nobody", name.to_lowercase()))
        .collect();
    let floor: HashMap<String, usize> = usernames.iter().map(|name| name.to_lowercase()).zip(0..).collect();
    let plain = Runner::of(FLOOR, in_turn(&nobody, |name| floor.contains_key(name)));
    let figure = Runner::of("unknown", in_turn(&nobody, |name| map.by_name(name).is_some()));
    turns.take(figure, map.rows(), Show::Time(1), [plain]);
}

fn one_kind(turns: &mut Turns<'_>, map: &Map, kind: &str, all: &[String]) {
    if all.is_empty() {
        return;
    }
    let floor: HashMap<String, usize> = all.iter().map(|text| text.to_lowercase()).zip(0..).collect();
    let mixed = sample(all, SAMPLE.min(all.len()));
    let lower: Vec<String> = mixed.iter().map(|text| text.to_lowercase()).collect();
    let ask = |name: &String| map.by_name(name).is_some();
    assert!(
        mixed.iter().chain(&lower).all(ask),
        "{kind}: a name of the map is not found"
    );
    let as_sent = format!("{kind}, as sent");
    for (case, names) in [(kind, &lower), (&*as_sent, &mixed)] {
        let plain = Runner::of(FLOOR, in_turn(&lower, |name| floor.contains_key(name)));
        turns.take(
            Runner::of(case, in_turn(names, ask)),
            map.rows(),
            Show::Time(1),
            [plain],
        );
    }
}

/// What was learned before, and whom nobody is to ask.
struct Before {
    runtime: Runtime,
    store: Store,
    learned: usize,
    settings: Settings,
    cloud: Confluence,
    _directory: tempfile::TempDir,
}

fn address(n: usize) -> String {
    format!("learned{n:07}@bench.example")
}

impl Before {
    fn learned(learned: usize) -> Self {
        let runtime = Runtime::new().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), Metrics::new()).unwrap();
        let now = jiff::Timestamp::now().as_millisecond();
        let row = |n: usize| Learned {
            name: NameKey::of(&address(n)),
            account: AccountId::new(&format!("712020:{n:08}-0000-4000-8000-000000000000")),
            source: Source::Admin,
            standing: Standing::Active,
            learned_at: now,
        };
        for start in (0..learned).step_by(10_000) {
            store.learn((start..learned.min(start + 10_000)).map(row).collect());
            runtime.block_on(store.flush()).unwrap();
        }
        let mut settings = Settings::defaults();
        settings.cloud.base_url = "http://127.0.0.1:9".to_owned();
        let client = Client::new(&settings.cloud, Metrics::new()).unwrap();
        let credential = Credential::pair(CredentialKind::ApiToken, "nobody@example.com", "none", Owner::Facade);
        Self {
            runtime,
            store,
            learned,
            settings,
            cloud: Confluence::new(Arc::new(client), credential),
            _directory: directory,
        }
    }

    /// The whole chain, as one call walks it.
    fn chain(&self, turns: &mut Turns<'_>, map: Map) {
        let rows = map.rows();
        let of_map: Vec<String> = map
            .entries()
            .filter_map(|entry| entry.usernames().next())
            .map(str::to_owned)
            .collect();
        let learned: Vec<String> = (0..self.learned).map(address).collect();
        let unknown: Vec<String> = of_map.iter().map(|name| format!("{name}-nobody")).collect();
        let current = Arc::new(Current::new(map));
        let identity = || {
            let own = Own {
                store: Some(self.store.clone()),
                ..Own::default()
            };
            Identity::new(Arc::clone(&current), own, &self.settings, Metrics::new())
        };
        for count in [1, number("FACADE_BENCH_BATCH", 1000, 100)] {
            for (kind, all) in [("map", &of_map), ("learned", &learned), ("unknown", &unknown)] {
                if all.is_empty() {
                    continue;
                }
                let rows_of_it = if kind == "learned" { &learned } else { &of_map };
                let floor: HashMap<String, usize> =
                    rows_of_it.iter().map(|name| name.to_lowercase()).zip(0..).collect();
                let names = sample(all, count);
                let lower: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
                let plain = || {
                    let known = || lower.iter().filter(|name| floor.contains_key(*name)).count();
                    vec![Runner::of(FLOOR, known)]
                };
                let resolved = |identity: &Identity| {
                    let context =
                        Context::new(RequestId::new("bench"), Caller::named("bench"), Duration::from_secs(60));
                    let map = identity.map();
                    let answers = identity.resolve(&names, Change::Add, &map, &self.cloud, &context);
                    let begun = Instant::now();
                    let answers = self.runtime.block_on(answers).unwrap();
                    (begun.elapsed(), answers)
                };
                let warm = identity();
                let case = match kind {
                    "learned" => format!("learned, in memory, call of {count}"),
                    kind => format!("{kind}, call of {count}"),
                };
                let figure = Runner::timed(&case, |times| (0..times).map(|_| resolved(&warm).0).sum());
                turns.take(figure, rows, Show::Time(count), plain());
                if kind == "learned" {
                    let case = format!("learned, on disk, call of {count}");
                    let figure = Runner::timed(&case, |times| (0..times).map(|_| resolved(&identity()).0).sum());
                    turns.take(figure, rows, Show::Time(count), plain());
                }
            }
        }
    }
}

criterion_group! {
    name = benches;
    config = measure(20, Duration::from_millis(1200));
    targets = bench
}
criterion_main!(benches);
