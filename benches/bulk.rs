//! What does a bulk call cost: N names, into a group of which everything or nothing is known, at Cloud's latency and our limit?
//!
//! Each round adds N people to a group and takes them out again, over one kept connection. "cold" is a group that the facade has
//! never heard of (its name and a page of members are read first); "warm" is one whose members are known. Each of the two calls has a
//! row of its own besides. The floors:
//!
//! * theory: ⌈N ÷ C⌉ · L for each of the two calls, with C requests to Cloud at once and L for every answer;
//! * straight: the same POSTs and DELETEs sent straight to the simulator over C kept connections by a client that costs next to
//!   nothing, and keeps neither journal nor audit.
//!
//! Environment variables:
//!
//! * `FACADE_BENCH_NAMES`: N, default 200.
//! * `FACADE_BENCH_LATENCY_MS`: L, default 10,50.
//! * `FACADE_BENCH_LIMIT`: C (`cloud.max_in_flight`), default 8,32.
#![allow(missing_docs, clippy::unwrap_used)]

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use extender_facade::simulator::{Options, Person, Simulator};
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
use world::{TOKEN, World};

fn request(method: &str, path: &str, authorization: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {authorization}\r\nX-Atlassian-Token: no-check\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Straight to Cloud.
fn cloud(method: &str, path: &str, body: &str) -> String {
    request(method, path, "Basic YmVuY2g6YmVuY2g=", body)
}

/// Makes groups behind the facade's back, of which nobody knows.
struct Groups {
    line: Line,
    made: usize,
}

impl Groups {
    /// Name and id of a new group.
    fn next(&mut self) -> (String, String) {
        self.made += 1;
        let name = format!("made-{}", self.made);
        let body = format!("{{\"name\":\"{name}\",\"type\":\"group\"}}");
        let (status, body) = self.line.ask(cloud("POST", "/wiki/rest/api/group", &body).as_bytes());
        assert_eq!(status, 201);
        let group: serde_json::Value = serde_json::from_slice(body).unwrap();
        (name, group["id"].as_str().unwrap().to_owned())
    }
}

/// The facade, asked to add everybody, and to take them out again.
struct Caller {
    line: Line,
    body: String,
}

impl Caller {
    fn to(address: SocketAddr, people: &[Person]) -> Self {
        let names: Vec<&str> = people.iter().map(|person| &*person.username).collect();
        Self {
            line: Line::to(address),
            body: serde_json::json!({ "users": names }).to_string(),
        }
    }

    fn change(&mut self, call: &str, group: &str, people: usize) -> Duration {
        let path = format!("/rest/extender/1.0/group/{call}/{group}");
        let request = request("POST", &path, &format!("Bearer {TOKEN}"), &self.body);
        let begun = Instant::now();
        let (status, body) = self.line.ask(request.as_bytes());
        let took = begun.elapsed();
        let answer: serde_json::Value = serde_json::from_slice(body).unwrap();
        let done = answer["usersAdded"].as_array().or(answer["usersRemoved"].as_array());
        let done = done.map_or(0, Vec::len);
        assert_eq!((status, done), (200, people), "{call}: {answer}");
        took
    }

    fn both(&mut self, group: &str, people: usize) -> [Duration; 2] {
        ["addUsers", "removeUsers"].map(|call| self.change(call, group, people))
    }
}

/// The same, straight to Cloud.
fn straight(lines: &mut Lines, group_id: &str, people: &[Person]) -> [Duration; 2] {
    let path = Simulator::path_to_add(group_id);
    let add = |n: usize| {
        cloud(
            "POST",
            &path,
            &format!("{{\"accountId\":\"{}\"}}", people[n].account_id),
        )
    };
    let remove = |n: usize| cloud("DELETE", &format!("{path}&accountId={}", people[n].account_id), "");
    let mut laps = Vec::new();
    let added = lines.ask_all(people.len(), add, &mut laps);
    [added, lines.ask_all(people.len(), remove, &mut laps)]
}

/// The two calls of each round by themselves.
#[derive(Default)]
struct Parts(RefCell<[Vec<u64>; 2]>);

impl Parts {
    /// Keeps both, and tells what they took together.
    fn keep(&self, both: [Duration; 2]) -> Duration {
        for (all, one) in self.0.borrow_mut().iter_mut().zip(both) {
            all.push(one.as_nanos() as u64);
        }
        both.into_iter().sum()
    }
}

fn cell(criterion: &mut Criterion, table: &mut Table, runtime: &Runtime, names: usize, latency: usize, limit: usize) {
    for is_warm in [false, true] {
        let options = Options {
            users: u32::try_from(names).unwrap(),
            latency_ms: latency as u64,
            ..Options::default()
        };
        let world = runtime.block_on(World::start(options, |settings| {
            settings.cloud.max_in_flight = limit;
            let cache = &mut settings.cache;
            let life = if is_warm { 3600 } else { 0 };
            cache.members_ttl_s = life;
            cache.members_write_ttl_s = life;
            (cache.groups_ttl_s, cache.group_id_write_ttl_s) = (life, life);
        }));
        let people = &world.people;
        let mut groups = Groups {
            line: Line::to(world.cloud),
            made: 0,
        };
        let mut caller = Caller::to(world.facade, people);
        let (known, beside) = (groups.next(), groups.next());
        if is_warm {
            caller.both(&known.0, names);
        }
        let mut direct = Lines::to(world.cloud, limit);
        straight(&mut direct, &beside.1, people);

        let theory = 2 * names.div_ceil(limit) * latency;
        let theory = Duration::from_millis(theory as u64);
        let state = if is_warm { "warm" } else { "cold" };
        let (parts, its_parts) = (Parts::default(), Parts::default());
        let case = format!("{state}, {names} names added and removed, L {latency} ms");
        let figure = Runner::timed(&case, |times| {
            let mut one = || {
                let group = if is_warm { known.0.clone() } else { groups.next().0 };
                parts.keep(caller.both(&group, names))
            };
            (0..times).map(|_| one()).sum()
        });
        let floor = Runner::timed("straight", |times| {
            let mut one = || its_parts.keep(straight(&mut direct, &beside.1, people));
            (0..times).map(|_| one()).sum()
        });
        let mut turns = table.group(criterion, &format!("bulk, {state}, {latency} ms"), "at once");
        turns.sampling(SamplingMode::Flat);
        let floors = [Runner::theory("theory", theory), floor];
        turns.take(figure, limit, Show::Time(1), floors);
        drop(turns);
        for (number, call) in ["addUsers", "removeUsers"].into_iter().enumerate() {
            let case = format!("{state}, {call} of {names}, L {latency} ms, {limit} at once");
            table.beside(
                case,
                &parts.0.borrow()[number],
                "straight",
                &its_parts.0.borrow()[number],
            );
        }
    }
}

fn bench(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut table = Table::default();
    let names = number("FACADE_BENCH_NAMES", 200, 20);
    for latency in numbers("FACADE_BENCH_LATENCY_MS", &[10, 50], &[2]) {
        for limit in numbers("FACADE_BENCH_LIMIT", &[8, 32], &[8]) {
            cell(criterion, &mut table, &runtime, names, latency, limit);
        }
    }
    table.print();
    // What is left needs no tidying.
    runtime.shutdown_background();
}

criterion_group! {
    name = benches;
    config = measure(10, Duration::from_secs(5));
    targets = bench
}
criterion_main!(benches);
