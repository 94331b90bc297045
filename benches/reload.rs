//! What does a reader notice of an identity map that is read anew over and over, and what does reading it cost?
//!
//! * "reads during reloads" are warm getUsers of 100 members with basic details over one kept connection, while the facade reads
//!   its map anew at a SIGHUP, and again as soon as it has. A sample lasts for one reload at least. The floor are the same reads of
//!   the same facade with no reload, in turns. The first read after a reload names every member anew.
//! * "a reload" is the reading itself until the new map is in use. Its floor is the csv crate, which reads the same file into one
//!   record.
//!
//! Environment variables:
//!
//! * `FACADE_BENCH_MAP`: a map file of yours (as `identity.map_file`) instead of generated ones; the members are not in it then.
//! * `FACADE_BENCH_ROWS`: rows of the generated maps, default 1000,10000,100000,1000000.
//! * `FACADE_BENCH_MEMBERS`: members of the group, default 100.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::Write as _;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use extender_facade::directory::identity::{Current, Map};
use extender_facade::settings::{PrimaryRule, Settings};
use extender_facade::simulator::Options;
use tokio::runtime::Runtime;

#[path = "support/given.rs"]
mod given;
#[path = "support/line.rs"]
mod line;
#[path = "support/lines.rs"]
mod lines;
#[path = "support/maps.rs"]
mod maps;
#[path = "support/reloads.rs"]
mod reloads;
#[path = "support/turns.rs"]
mod turns;
#[path = "support/world.rs"]
mod world;

use given::{number, numbers};
use lines::Lines;
use reloads::Reloads;
use turns::{Runner, Show, Table, measure};
use world::{World, get};

/// Reads between two looks at whether the reloads are done.
const AT_A_TIME: u64 = 20;

/// The map of the facade: the members, and as many others as there are to be rows.
fn fill(settings: &mut Settings, rows: usize) {
    if let Some(own) = maps::own() {
        settings.identity.map_file = Some(own);
        return;
    }
    let path = settings.identity.map_file.clone().unwrap();
    let there = std::fs::read_to_string(&path).unwrap().lines().count() - 1;
    let mut text = String::new();
    for n in there..rows {
        let id = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let line =
            format!("Other{n:07},2c9b8082{id:016x},First.Last{n}@Example.org,5b10a284{id:016x},First Last-{n}\n");
        text.push_str(&line);
    }
    let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn size(criterion: &mut Criterion, table: &mut Table, runtime: &Runtime, reloads: &Reloads, rows: usize) {
    let members = number("FACADE_BENCH_MEMBERS", 100, 100);
    let options = Options {
        users: u32::try_from(members).unwrap(),
        group: vec![format!("team={members}").parse().unwrap()],
        ..Options::default()
    };
    let mut path = None;
    let world = runtime.block_on(World::start(options, |settings| {
        fill(settings, rows);
        settings.identity.map_reload_s = 0;
        (settings.cache.members_ttl_s, settings.cache.groups_ttl_s) = (86_400, 86_400);
        path = settings.identity.map_file.clone();
    }));
    let path = path.unwrap();
    // The signal is for every facade in this process: those of smaller maps are read anew as well, if they are still there.
    let request = get(&format!("getUsers/team?showBasicDetails=true&maxResults={members}"));
    let mut lines = [Lines::to(world.facade, 1), Lines::to(world.facade, 1)];
    let [during, quiet] = &mut lines;
    quiet.ask(request.as_bytes(), 10, &mut Vec::new());

    let mut turns = table.group(criterion, "reload, reads", "rows");
    turns.sampling(SamplingMode::Flat);
    let figure = Runner::lapped("reads during reloads", |times, laps| {
        let (mut asked, mut spent) = (0, Duration::ZERO);
        let over_and_over = reloads.over_and_over();
        while asked < times || over_and_over.done() == 0 {
            spent += during.ask(request.as_bytes(), AT_A_TIME, laps);
            asked += AT_A_TIME;
        }
        drop(over_and_over);
        // As many as were wanted, at the pace of those that were made.
        spent.mul_f64(times as f64 / asked as f64)
    });
    let floor = Runner::lapped("no reload", |times, laps| quiet.ask(request.as_bytes(), times, laps));
    turns.take(figure, rows, Show::Time(1), [floor]);
    drop(turns);

    let current = Current::new(Map::read(&path, PrimaryRule::First).unwrap_or_else(|faults| panic!("{faults}")));
    let mut turns = table.group(criterion, "reload, the file", "rows");
    turns.sampling(SamplingMode::Flat);
    let once = || current.replace(Map::read(&path, PrimaryRule::First).unwrap());
    let floor = Runner::of("the csv crate", || maps::read_as_csv(&path));
    turns.take(Runner::of("a reload", once), rows, Show::Time(1), [floor]);
}

fn bench(criterion: &mut Criterion) {
    let reloads = Reloads::watch();
    let mut table = Table::default();
    let sizes = match maps::own() {
        Some(path) => vec![
            Map::read(&path, PrimaryRule::First)
                .unwrap_or_else(|faults| panic!("{faults}"))
                .rows(),
        ],
        None => numbers("FACADE_BENCH_ROWS", &[1000, 10_000, 100_000, 1_000_000], &[1000]),
    };
    for rows in sizes {
        // A facade of its own for each: the signal is for all that are there.
        let runtime = Runtime::new().unwrap();
        let begun = Instant::now();
        size(criterion, &mut table, &runtime, &reloads, rows);
        println!("{rows} rows: {:.1} s", begun.elapsed().as_secs_f64());
        runtime.shutdown_timeout(Duration::from_secs(30));
    }
    table.print();
}

criterion_group! {
    name = benches;
    config = measure(10, Duration::from_secs(6));
    targets = bench
}
criterion_main!(benches);
