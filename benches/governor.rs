//! What does it cost a request that it has to ask for its turn: when nobody waits, and when 10,000 others do?
//!
//! * "nobody waits" and "beside those who wait" are one request of a kind that may leave, the latter while the others wait for
//!   another kind that may not. Their floor is a bare semaphore: it counts, and learns nothing.
//! * "through" is one of the others, each a call of its own, that wait for eight places: from its question to its end, with the
//!   task it runs on. Its floor are the same tasks before the bare semaphore.
//!
//! Environment variables:
//!
//! * `FACADE_BENCH_WAITING`: how many wait, default 10000.
//! * `FACADE_BENCH_LIMIT`: places (`cloud.max_in_flight`), default 8.
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

#[path = "support/given.rs"]
mod given;
#[path = "support/turns.rs"]
mod turns;

use given::number;
use turns::{Runner, Show, Table, measure};

const FLOOR: &str = "a semaphore";

fn places() -> usize {
    number("FACADE_BENCH_LIMIT", 8, 8)
}

fn governor() -> Governor {
    let mut settings = Settings::defaults().cloud;
    (settings.max_in_flight, settings.max_waiting) = (places(), 1_000_000);
    Governor::new(&settings, Metrics::new())
}

async fn once(governor: &Governor, operation: Operation, flow: &Flow) {
    let patience = Patience::Until(Instant::now() + Duration::from_secs(600));
    let (permit, _) = governor.enter(operation, flow, &patience).await;
    // Long enough for others to queue up.
    if operation == Operation::AddMember {
        tokio::task::yield_now().await;
    }
    permit.unwrap().accepted(&HeaderMap::new(), 0);
}

/// As many who wait for the end of a pause of an hour, of one kind of request.
async fn let_wait(governor: &Governor, calls: &[RequestId]) {
    let patience = Patience::Until(Instant::now() + Duration::from_secs(60));
    let (permit, _) = governor.enter(Operation::AddMember, &calls[0].flow(), &patience).await;
    let headers = [(http::header::RETRY_AFTER, "3600".parse().unwrap())];
    permit.unwrap().too_fast(&headers.into_iter().collect());
    for call in calls {
        let (governor, flow) = (governor.clone(), call.flow());
        tokio::spawn(async move {
            let patience = Patience::Until(Instant::now() + Duration::from_secs(7200));
            let _ = governor.enter(Operation::AddMember, &flow, &patience).await;
        });
    }
    while governor.waiting() < calls.len() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What each of so many tasks takes, begun at once.
async fn all_at_once<F: Future<Output = ()> + Send + 'static>(tasks: usize, task: impl Fn(usize) -> F) -> Duration {
    let begun = Instant::now();
    let all: Vec<_> = (0..tasks).map(|n| tokio::spawn(task(n))).collect();
    for one in all {
        one.await.unwrap();
    }
    begun.elapsed()
}

fn bench(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let waiting = number("FACADE_BENCH_WAITING", 10_000, 100);
    let calls: Arc<Vec<RequestId>> = Arc::new((0..waiting).map(|_| RequestId::random()).collect());
    let flow = RequestId::random().flow();
    let mut table = Table::default();
    let mut turns = table.group(criterion, "governor", "waiting");

    let semaphore = Semaphore::new(places());
    let bare = || {
        let once = || runtime.block_on(async { drop(semaphore.acquire().await.unwrap()) });
        [Runner::of(FLOOR, once)]
    };
    let (free, busy) = (governor(), governor());
    runtime.block_on(let_wait(&busy, &calls));
    for (case, waiting, governor) in [("nobody waits", 0, &free), ("beside those who wait", waiting, &busy)] {
        let once = || runtime.block_on(once(governor, Operation::ListMembers, &flow));
        turns.take(Runner::of(case, once), waiting, Show::Time(1), bare());
    }

    let through = |times: u64| {
        let one = |_| {
            let governor = governor();
            runtime.block_on(all_at_once(waiting, |n| {
                let (governor, calls) = (governor.clone(), Arc::clone(&calls));
                async move { once(&governor, Operation::AddMember, &calls[n].flow()).await }
            }))
        };
        (0..times).map(one).sum()
    };
    let bare = |times: u64| {
        let one = |_| {
            let semaphore = Arc::new(Semaphore::new(places()));
            runtime.block_on(all_at_once(waiting, |_| {
                let semaphore = Arc::clone(&semaphore);
                async move {
                    let place = semaphore.acquire().await.unwrap();
                    tokio::task::yield_now().await;
                    drop(place);
                }
            }))
        };
        (0..times).map(one).sum()
    };
    let floor = [Runner::timed("the same tasks and a semaphore", bare)];
    turns.take(
        Runner::timed("through, one of those who wait", through),
        waiting,
        Show::Time(waiting),
        floor,
    );
    drop(turns);
    table.print();
}

criterion_group! {
    name = benches;
    config = measure(20, Duration::from_secs(4));
    targets = bench
}
criterion_main!(benches);
