//! What does one look-up through the whole chain cost, beside the map alone?
//!
//! For those who size a machine: names of a call of one and of a hundred, that the map knows, that were learned before
//! (from the store and from memory), and that nobody knows. No call to Cloud is made.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use extender_facade::cloud::{Client, Confluence, Credential, Owner};
use extender_facade::directory::Change;
use extender_facade::directory::identity::{Current, Identity, Map, Own};
use extender_facade::metrics::Metrics;
use extender_facade::model::{AccountId, Caller, Context, NameKey, RequestId, Source, Standing};
use extender_facade::settings::{CredentialKind, PrimaryRule, Settings};
use extender_facade::store::{Learned, Store};

const PEOPLE: usize = 100_000;

fn account(n: usize) -> String {
    format!("712020:{n:08}-0000-4000-8000-000000000000")
}

fn lookups(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut text = String::from("username,account_id\n");
    for n in 0..PEOPLE {
        text.push_str(&format!("user{n:06},{}\n", account(n)));
    }
    let map = Map::parse(text.as_bytes(), PrimaryRule::First).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Metrics::new()).unwrap();
    let learned = |n: usize| Learned {
        name: NameKey::of(&format!("user{n:06}@example.com")),
        account: AccountId::new(&account(n)),
        source: Source::Admin,
        standing: Standing::Active,
        learned_at: jiff::Timestamp::now().as_millisecond(),
    };
    for chunk in 0..PEOPLE / 10_000 {
        store.learn((0..10_000).map(|n| learned(chunk * 10_000 + n)).collect());
        runtime.block_on(store.flush()).unwrap();
    }
    let mut settings = Settings::defaults();
    settings.cloud.base_url = "http://127.0.0.1:1".to_owned();
    let client = Client::new(&settings.cloud, Metrics::new()).unwrap();
    let credential = Credential::pair(CredentialKind::ApiToken, "nobody@example.com", "none", Owner::Facade);
    let cloud = Confluence::new(Arc::new(client), credential);
    let current = Arc::new(Current::new(map));
    let map = current.now();
    let identity = |remembers: bool| {
        let own = Own {
            store: remembers.then(|| store.clone()),
            ..Own::default()
        };
        Identity::new(Arc::clone(&current), own, &settings, Metrics::new())
    };
    let context = || {
        let caller = Caller::named("bench");
        Context::new(RequestId::new("bench"), caller, Duration::from_secs(60))
    };

    let mut group = criterion.benchmark_group("lookups");
    for size in [1, 100] {
        group.throughput(Throughput::Elements(size as u64));
        let names = |suffix: &str| -> Vec<String> {
            (0..size)
                .map(|n| format!("user{:06}{suffix}", n * 7919 % PEOPLE))
                .collect()
        };
        let floor = names("");
        group.bench_function(format!("map alone/{size}"), |bencher| {
            bencher.iter(|| floor.iter().filter(|name| map.by_name(name).is_some()).count());
        });
        for (case, suffix) in [("mapped", ""), ("learned", "@example.com"), ("unknown", "-nobody")] {
            let names = names(suffix);
            let warm = identity(true);
            group.bench_function(format!("{case}, warm/{size}"), |bencher| {
                bencher.iter(|| {
                    let context = context();
                    let answers = warm.resolve(&names, Change::Add, &map, &cloud, &context);
                    runtime.block_on(answers).unwrap()
                });
            });
            group.bench_function(format!("{case}, cold/{size}"), |bencher| {
                bencher.iter_batched(
                    || identity(true),
                    |cold| {
                        let context = context();
                        let answers = cold.resolve(&names, Change::Add, &map, &cloud, &context);
                        runtime.block_on(answers).unwrap()
                    },
                    BatchSize::LargeInput,
                );
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2)).without_plots();
    targets = lookups
}
criterion_main!(benches);
