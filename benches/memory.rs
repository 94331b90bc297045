//! What does the facade keep in memory: idle, after a million reads, and for one more of everything that grows?
//!
//! For those who size a machine. The built program in processes of its own, as `serve` starts it, and what the system says of
//! them (`/proc`, so on Linux alone): start until ready, memory idle with an empty and a large identity map and after many
//! warm reads, the size of the program; then bytes for one more cached member, row of the map, waiting call, kept
//! connection, and whatever else a setting bounds. These are slopes: what comes once, and what the allocator keeps of the
//! first readings, is in none. They are nearly the same without optimisation; times are not.
//!
//! ```sh
//! cargo bench --bench memory
//! ```
//!
//! | variable | what | usual |
//! |---|---|---|
//! | `FACADE_BENCH_ROWS` | rows of the large map | 1000000 |
//! | `FACADE_BENCH_READS` | warm reads | 1000000 |
//! | `FACADE_BENCH_STARTS` | starts that the time until ready is the median of | 5 |
//! | `FACADE_BENCH_MEMBERS` | members of each of the ten groups that are cached | 20000 |
//! | `FACADE_BENCH_WAITING` | calls that wait, connections that are kept: half of it, then all of it | 2000 |
//! | `FACADE_BENCH_QUICK` | 1: small sizes, no figures to quote | |

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use extender_facade::simulator::{GroupSize, Options};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[path = "support/figures.rs"]
mod figures;
#[path = "support/line.rs"]
mod line;
#[path = "support/load.rs"]
mod load;
#[path = "support/processes.rs"]
mod processes;
#[path = "support/slopes.rs"]
mod slopes;
#[path = "support/world.rs"]
mod world;

use figures::{Table, median, shown, size};
use load::Client;
use processes::{Facade, Memory, Process, Setup};
use world::{TOKEN, get};

/// Nothing expires, nobody is cut off, and one caller may have all there is.
const PATIENT: &str = "cache.members_ttl_s = 3600\ncache.groups_ttl_s = 3600\ncache.accounts_ttl_s = 3600\n\
    cloud.try_timeout_ms = 600000\nextender.read_deadline_s = 600\nextender.max_names = 1000000\n\
    inbound.max_connections = 100000\ninbound.max_connections_per_address = 0\ninbound.max_requests_at_once = 0\n\
    inbound.header_timeout_s = 600\ninbound.passthrough_partitions = 100000\ncloud.max_waiting = 1000000\n";
const EMPTY_MAP: &str = "username,account_id\n";

fn main() {
    more_files();
    println!("Memory and starts of the program, {}.\n", figures::build());
    whole();
    println!();
    slopes::each().print();
}

/// Connections are files, here and in the processes that are started.
fn more_files() {
    let now = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: now.maximum,
        maximum: now.maximum,
    };
    let _ = setrlimit(Resource::Nofile, most);
}

/// The process as a whole.
fn whole() {
    let rows: u32 = size("ROWS", 1_000_000, 50_000);
    let reads: u64 = size("READS", 1_000_000, 5_000);
    let starts: usize = size("STARTS", 5, 1);
    let cloud = processes::cloud(&team(100));
    let large = large_map(rows);
    let started = |map: &str| {
        let starts = (0..starts.max(1)).map(|_| {
            let facade = start(&cloud, map, "");
            (facade.started.as_secs_f64() * 1e3, settled(&facade))
        });
        let (times, memories): (Vec<f64>, Vec<Memory>) = starts.unzip();
        (median(&times), memories[0])
    };
    let (empty_time, empty) = started(EMPTY_MAP);
    let (large_time, full) = started(&large);

    let facade = start(&cloud, &processes::map(&processes::people(&team(100))), "");
    let request = get("getUsers/team?showBasicDetails=true&maxResults=100");
    let mut client = Client::new(facade.process.address, 16);
    let mut ask = |times: u64| {
        let mut asked = 0;
        while asked < times {
            let slice = Duration::from_millis(200);
            asked += client.closed(slice, |_| request.as_bytes()).answers;
        }
        asked
    };
    ask(1000);
    let before = settled(&facade);
    let asked = ask(reads);
    let after = settled(&facade);

    let mut table = Table::new(&["what", "figure", "floor", "its figure", "ratio"]);
    let mut row = |what: &str, figure: f64, unit: &str, floor: &str, floors: f64| {
        let shown = |value: f64| match shown(value) {
            none if none.is_empty() => none,
            number => format!("{number} {unit}"),
        };
        table.row(&[what, &shown(figure), floor, &shown(floors), &ratio(figure, floors)]);
    };
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    let map = format!("a map of {} rows", shown(f64::from(rows)));
    row("start to ready, empty map", empty_time, "ms", "", f64::NAN);
    row(
        &format!("start to ready, {map}"),
        large_time,
        "ms",
        "empty map",
        empty_time,
    );
    row("idle, empty map (resident)", mib(empty.resident), "MiB", "", f64::NAN);
    row(
        "of it not the program's file",
        mib(empty.own),
        "MiB",
        "resident",
        mib(empty.resident),
    );
    let text = mib(large.len() as u64);
    row(
        &format!("idle, {map} (resident)"),
        mib(full.resident),
        "MiB",
        "the map's file",
        text,
    );
    row(
        &format!("at most, while {map} was read"),
        mib(full.peak),
        "MiB",
        "idle",
        mib(full.resident),
    );
    let what = format!("after {} warm reads (resident)", shown(asked as f64));
    row(&what, mib(after.resident), "MiB", "before them", mib(before.resident));
    let (file, stripped) = file_sizes();
    row("the program's file", mib(file), "MiB", "", f64::NAN);
    match stripped {
        Some(stripped) => row("the same, stripped", mib(stripped), "MiB", "as built", mib(file)),
        None => table.row(&["the same, stripped", "`strip` is not installed", "", "", ""]),
    }
    table.print();
}

fn ratio(figure: f64, floor: f64) -> String {
    let ratio = figure / floor;
    if ratio.is_nan() {
        String::new()
    } else {
        format!("{ratio:.2}")
    }
}

fn group(name: &str, size: u32) -> GroupSize {
    GroupSize {
        name: name.to_owned(),
        size,
    }
}

/// A Cloud of so many people, and all of them in one group.
fn team(members: u32) -> Options {
    Options {
        users: members,
        group: vec![group("team", members)],
        ..Options::default()
    }
}

fn large_map(rows: u32) -> String {
    let mut map = String::from("username,key,email,account_id,full_name\n");
    for row in 0..rows {
        let _ = writeln!(
            map,
            "user{row:07},8a8080e45ab00000015ab0{row:010x},first.last{row:07}@example.com,\
             712020:{row:08x}-1f2e-4d3c-8b4a-5968778695a4,First Last {row:07}"
        );
    }
    map
}

fn start(cloud: &Process, map: &str, settings: &str) -> Facade {
    start_for(cloud, map, &[TOKEN.to_owned()], settings)
}

fn start_for(cloud: &Process, map: &str, tokens: &[String], settings: &str) -> Facade {
    let settings = &format!("{PATIENT}{settings}");
    Facade::start(cloud.address, &Setup { map, tokens, settings })
}

/// Once nothing goes on any more.
fn settled(facade: &Facade) -> Memory {
    let mut before = facade.process.memory();
    for _ in 0..40 {
        std::thread::sleep(Duration::from_millis(250));
        let now = facade.process.memory();
        if now.own.abs_diff(before.own) < 32 * 1024 {
            return now;
        }
        before = now;
    }
    before
}

/// Bytes of the program's file, and of a copy without symbols, if there is `strip`.
fn file_sizes() -> (u64, Option<u64>) {
    let bytes = |path: &Path| std::fs::metadata(path).map(|file| file.len());
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("stripped");
    let done = Command::new("strip")
        .arg("-o")
        .arg(&copy)
        .arg(processes::PROGRAM)
        .status();
    let stripped = done
        .ok()
        .filter(|status| status.success())
        .and_then(|_| bytes(&copy).ok());
    (bytes(Path::new(processes::PROGRAM)).expect("the program"), stripped)
}
