//! What does a list cost over a socket: one that is known, and one that has to be read from Cloud first?
//!
//! * "warm" is getUsers of a whole group with basic details over kept connections, mode `accounts`, shown as requests a second,
//!   with the times of single answers below. Its floors are a bare warp handler and a bare hyper with the same bytes, ready, which ask
//!   nobody who they are. Everything, callers included, is in one process on loopback.
//! * "cold" is the same call of one caller where nothing is known, before a Cloud that takes L for every answer and a limit of C
//!   requests at once. Its floor is theory: L for the group's name, L for the first page of 200, which tells how many follow, and
//!   ⌈(pages − 1) ÷ C⌉ · L for these.
//!
//! Environment variables:
//!
//! * `FACADE_BENCH_MEMBERS`: members of the groups, default 100,10000; for the cold list the last one.
//! * `FACADE_BENCH_CONNECTIONS`: kept connections that ask at once, default 1,8.
//! * `FACADE_BENCH_LATENCY_MS`: L, default 100.
//! * `FACADE_BENCH_LIMIT`: C (`cloud.max_in_flight`), default 8.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use extender_facade::simulator::Options;
use tokio::runtime::Runtime;

#[path = "support/given.rs"]
mod given;
#[path = "support/line.rs"]
mod line;
#[path = "support/lines.rs"]
mod lines;
#[path = "support/turns.rs"]
mod turns;
#[path = "support/world.rs"]
mod world;

use given::{number, numbers};
use line::Line;
use lines::Lines;
use turns::{Runner, Show, Table, measure};
use world::{World, bare_hyper, bare_warp, get};

/// Rows of one page of Cloud's.
const PAGE: usize = 200;

fn whole(group: &str, members: usize) -> String {
    get(&format!("getUsers/{group}?showBasicDetails=true&maxResults={members}"))
}

fn options(members: &[usize], latency_ms: u64) -> Options {
    let group = |members: &usize| format!("team-{members}={members}").parse().unwrap();
    Options {
        users: u32::try_from(*members.iter().max().unwrap()).unwrap(),
        group: members.iter().map(group).collect(),
        latency_ms,
        ..Options::default()
    }
}

fn warm(criterion: &mut Criterion, table: &mut Table, runtime: &Runtime, sizes: &[usize]) {
    let world = runtime.block_on(World::start(options(sizes, 0), |settings| {
        // Known for as long as it takes.
        (settings.cache.members_ttl_s, settings.cache.groups_ttl_s) = (86_400, 86_400);
    }));
    for members in sizes {
        let request = whole(&format!("team-{members}"), *members);
        let mut line = Line::to(world.facade);
        let (status, body) = line.ask(request.as_bytes());
        let body = Bytes::copy_from_slice(body);
        assert_eq!(status, 200);
        let (warp, hyper) = runtime.block_on(async { (bare_warp(body.clone()).await, bare_hyper(body).await) });
        for connections in numbers("FACADE_BENCH_CONNECTIONS", &[1, 8], &[1, 2]) {
            let case = format!("warm, {connections} at once");
            let runner = |name, address| {
                let (mut lines, request) = (Lines::to(address, connections), request.clone());
                Runner::lapped(name, move |times, laps| lines.ask(request.as_bytes(), times, laps))
            };
            let floors = [runner("bare warp", warp), runner("bare hyper", hyper)];
            let mut turns = table.group(criterion, &format!("listing, warm, {connections} at once"), "members");
            turns.take(runner(&case, world.facade), *members, Show::Rate, floors);
        }
    }
}

fn cold(criterion: &mut Criterion, table: &mut Table, runtime: &Runtime, members: usize) {
    let limit = number("FACADE_BENCH_LIMIT", 8, 8);
    for latency in numbers("FACADE_BENCH_LATENCY_MS", &[100], &[5]) {
        let world = runtime.block_on(World::start(options(&[members], latency as u64), |settings| {
            settings.cloud.max_in_flight = limit;
            // Nothing is known the next time.
            (settings.cache.members_ttl_s, settings.cache.groups_ttl_s) = (0, 0);
        }));
        let request = whole(&format!("team-{members}"), members);
        let mut lines = Lines::to(world.facade, 1);
        let pages = members.div_ceil(PAGE).max(1);
        let rounds = 2 + (pages - 1).div_ceil(limit);
        let theory = Duration::from_millis(latency as u64) * u32::try_from(rounds).unwrap();
        let mut turns = table.group(criterion, "listing, cold", "members");
        turns.sampling(SamplingMode::Flat);
        turns.samples(10);
        let case = format!("cold, L {latency} ms, C {limit}");
        let figure = Runner::timed(&case, |times| lines.ask(request.as_bytes(), times, &mut Vec::new()));
        turns.take(figure, members, Show::Time(1), [Runner::theory("theory", theory)]);
    }
}

fn bench(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut table = Table::default();
    let sizes = numbers("FACADE_BENCH_MEMBERS", &[100, 10_000], &[100, 1000]);
    warm(criterion, &mut table, &runtime, &sizes);
    cold(criterion, &mut table, &runtime, *sizes.last().unwrap());
    table.print();
    // What is left needs no tidying.
    runtime.shutdown_background();
}

criterion_group! {
    name = benches;
    config = measure(30, Duration::from_secs(6));
    targets = bench
}
criterion_main!(benches);
