//! What it costs a request that it has to ask for its turn: when nobody waits, and when 10,000 others do.
//!
//! The floor of the first is a semaphore and nothing else. Of the others: `beside` is a request of a kind that may leave,
//! while 10,000 wait for another kind that may not; `through` is one of 10,000 requests, each of a call of its own, that
//! wait for eight places. `FACADE_BENCH_WAITING` sets their number.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use extender_facade::cloud::{Governor, Operation, Patience};
use extender_facade::metrics::Metrics;
use extender_facade::model::{Flow, RequestId};
use extender_facade::settings::Settings;
use http::HeaderMap;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

const AT_ONCE: usize = 8;

fn governor() -> Governor {
    let mut settings = Settings::defaults().cloud;
    (settings.max_in_flight, settings.max_waiting) = (AT_ONCE, 1_000_000);
    Governor::new(&settings, Metrics::new())
}

fn waiting() -> usize {
    std::env::var("FACADE_BENCH_WAITING").map_or(10_000, |text| text.parse().unwrap())
}

async fn once(governor: &Governor, operation: Operation, flow: &Flow) {
    let patience = Patience::Until(Instant::now() + Duration::from_secs(600));
    let (permit, _) = governor.enter(operation, flow, &patience).await;
    permit.unwrap().accepted(&HeaderMap::new(), 0);
}

/// As many calls as are to wait, each with one request.
fn calls() -> Vec<RequestId> {
    (0..waiting()).map(|_| RequestId::random()).collect()
}

fn bench(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let flow = RequestId::random().flow();
    let mut group = criterion.benchmark_group("governor");

    let places = Semaphore::new(AT_ONCE);
    group.bench_function("floor: a semaphore", |b| {
        b.to_async(&runtime)
            .iter(async || drop(places.acquire().await.unwrap()));
    });
    let free = governor();
    group.bench_function("nobody waits", |b| {
        b.to_async(&runtime).iter(|| once(&free, Operation::AddMember, &flow));
    });

    let busy = governor();
    let waiters = calls();
    runtime.block_on(async {
        // A pause of an hour for this kind, and those who wait for its end.
        let patience = Patience::Until(Instant::now() + Duration::from_secs(60));
        let (permit, _) = busy.enter(Operation::AddMember, &flow, &patience).await;
        let headers = [(http::header::RETRY_AFTER, "3600".parse().unwrap())];
        permit.unwrap().too_fast(&headers.into_iter().collect());
        for call in &waiters {
            let (busy, flow) = (busy.clone(), call.flow());
            tokio::spawn(async move {
                let patience = Patience::Until(Instant::now() + Duration::from_secs(7200));
                let _ = busy.enter(Operation::AddMember, &flow, &patience).await;
            });
        }
        while busy.waiting() < waiters.len() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    group.bench_function("beside those who wait", |b| {
        b.to_async(&runtime).iter(|| once(&busy, Operation::ListMembers, &flow));
    });

    group.sample_size(10);
    group.bench_function("through, one of those who wait", |b| {
        b.to_async(&runtime).iter_custom(async |rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let governor = governor();
                let calls = Arc::new(calls());
                let from = Instant::now();
                let all = (0..calls.len()).map(|n| {
                    let (governor, calls) = (governor.clone(), Arc::clone(&calls));
                    tokio::spawn(async move {
                        let patience = Patience::Until(Instant::now() + Duration::from_secs(600));
                        let (permit, _) = governor.enter(Operation::AddMember, &calls[n].flow(), &patience).await;
                        // Long enough for the others to queue up.
                        tokio::task::yield_now().await;
                        permit.unwrap().accepted(&HeaderMap::new(), 0);
                    })
                });
                let all: Vec<_> = all.collect();
                for one in all {
                    one.await.unwrap();
                }
                spent += from.elapsed() / u32::try_from(calls.len()).unwrap();
            }
            spent
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
