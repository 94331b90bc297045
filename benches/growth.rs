//! How does the cost grow with the work: with a group's members, with the map's rows, with callers?
//!
//! Each figure is taken at several sizes, each size in a process of its own, several times over; the middle one counts. The exponent
//! is the slope of a straight line through the logarithms of both, by least squares, with its standard error: 0 is a cost that does
//! not grow, 1 one that grows as the work does. What a cost has beside its work hides the exponent at small sizes; the plot
//! shows where. Memory is what the process has more of, with what its allocator keeps for later; below what it had to spare it shows
//! as nothing (–).
//!
//! * members: getUsers of a whole group with basic details, warm and cold, before a Cloud in another process that answers at
//!   once (so "cold" is work, ours and the simulator's, and no waiting); 50 of them right after a change of one; and the memory that
//!   a list takes once it is known, with its answer.
//! * rows: loading an identity map, one look-up of a username in it, and its memory.
//! * callers: reading an accounts file of so many tokens; one getUsers of each caller, of whom none was heard before (a request),
//!   then once more; and the memory that they leave behind.
//!
//! ```sh
//! cargo bench --bench growth                 # every question: a table here, a plot in target/growth
//! cargo bench --bench growth -- rows         # one of them
//! cargo bench --bench growth -- --quick      # small sizes, once: does it work?
//! ```
//!
//! Environment variables (sizes are lists, `1000,10000`):
//!
//! * `FACADE_BENCH_MEMBERS`: default 100 to 100000. `FACADE_BENCH_ROWS`: default 1000 to 1000000. `FACADE_BENCH_CALLERS`: default
//!   1 to 10000.
//! * `FACADE_BENCH_ROUNDS`: how often each figure is taken, default 3.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use extender_facade::directory::identity::Map;
use extender_facade::extender::auth::Accounts;
use extender_facade::settings::{PrimaryRule, Settings};
use extender_facade::simulator::{Options, Simulator};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

#[path = "support/curves.rs"]
mod curves;
#[path = "support/given.rs"]
mod given;
#[path = "support/line.rs"]
mod line;
#[path = "support/maps.rs"]
mod maps;
#[path = "support/world.rs"]
mod world;

use curves::{Curve, Unit};
use line::Line;
use world::{TOKEN, World, change, get};

/// What grows, at which sizes, and what is measured of it.
struct Question {
    name: &'static str,
    variable: &'static str,
    usual: &'static [usize],
    small: &'static [usize],
    curves: &'static [(&'static str, Unit)],
    measure: fn(usize) -> Vec<f64>,
}

const QUESTIONS: [Question; 3] = [
    Question {
        name: "members",
        variable: "FACADE_BENCH_MEMBERS",
        usual: &[100, 300, 1000, 3000, 10_000, 30_000, 100_000],
        small: &[100, 300, 1000],
        curves: &[
            ("warm list", Unit::Seconds),
            ("cold list", Unit::Seconds),
            ("after a change", Unit::Seconds),
            ("kept", Unit::Bytes),
        ],
        measure: members,
    },
    Question {
        name: "rows",
        variable: "FACADE_BENCH_ROWS",
        usual: &[1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000],
        small: &[1000, 3000, 10_000],
        curves: &[
            ("loading", Unit::Seconds),
            ("a look-up", Unit::Seconds),
            ("kept", Unit::Bytes),
        ],
        measure: rows,
    },
    Question {
        name: "callers",
        variable: "FACADE_BENCH_CALLERS",
        usual: &[1, 3, 10, 30, 100, 300, 1000, 3000, 10_000],
        small: &[1, 10, 100],
        curves: &[
            ("reading the file", Unit::Seconds),
            ("first request", Unit::Seconds),
            ("next request", Unit::Seconds),
            ("kept", Unit::Bytes),
        ],
        measure: callers,
    },
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--measure") {
        let question = QUESTIONS.iter().find(|one| one.name == arguments[at + 1]).unwrap();
        let found = (question.measure)(arguments[at + 2].parse().unwrap());
        println!("{}", serde_json::to_string(&found).unwrap());
        // What is left needs no tidying.
        std::process::exit(0);
    }
    let is_quick = given::is_smoke() || arguments.iter().any(|argument| argument == "--quick");
    let wanted: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("growth");
    std::fs::create_dir_all(&folder).unwrap();
    for question in &QUESTIONS {
        if wanted.is_empty() || wanted.iter().any(|name| *name == question.name) {
            answer(question, is_quick, &folder);
        }
    }
}

fn answer(question: &Question, is_quick: bool, folder: &Path) {
    let usual = if is_quick { question.small } else { question.usual };
    let sizes = given::numbers(question.variable, usual, question.small);
    let rounds = given::number("FACADE_BENCH_ROUNDS", if is_quick { 1 } else { 3 }, 1);
    let mut curves: Vec<Curve> = question
        .curves
        .iter()
        .map(|(name, unit)| Curve::new(name, *unit))
        .collect();
    for size in sizes {
        let all: Vec<Vec<f64>> = (0..rounds).map(|_| apart(question, size, is_quick)).collect();
        for (number, curve) in curves.iter_mut().enumerate() {
            let mut values: Vec<f64> = all.iter().map(|round| round[number]).collect();
            values.sort_by(f64::total_cmp);
            curve.points.push((size as f64, values[values.len() / 2]));
        }
    }
    let path = folder.join(format!("{}.svg", question.name));
    std::fs::write(&path, curves::svg(question.name, &curves)).unwrap();
    print!("{}", curves::table(question.name, &curves));
    println!("plot: {}\n", path.display());
}

/// Measures one size in a process of its own, whose memory nothing else has touched.
fn apart(question: &Question, size: usize, is_quick: bool) -> Vec<f64> {
    let name = question.name;
    let myself = std::env::current_exe().unwrap();
    let mut command = Command::new(myself);
    command.args(["--measure", name, &size.to_string()]);
    // Held until the process has ended.
    let groups = if is_quick { 4 } else { groups(size) };
    let cloud = (name == "members").then(|| Cloud::with(groups, size));
    if let Some(cloud) = &cloud {
        command.env("GROWTH_CLOUD", cloud.address.to_string());
        command.env("GROWTH_GROUPS", groups.to_string());
        command.env("GROWTH_MAP", &cloud.map);
    }
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {size}: {told}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{name} {size}: {e}: {told}"))
}

/// So many groups of one size that what they take stands out.
fn groups(members: usize) -> usize {
    (100_000 / members).clamp(4, 500)
}

/// A simulated Cloud for a facade in another process.
struct Cloud {
    address: SocketAddr,
    map: PathBuf,
    _runtime: Runtime,
    _directory: tempfile::TempDir,
}

impl Cloud {
    fn with(groups: usize, members: usize) -> Self {
        let runtime = Runtime::new().unwrap();
        let group = |n: usize| format!("team-{n}={members}").parse().unwrap();
        let options = Options {
            users: u32::try_from(members).unwrap(),
            group: (0..groups).map(group).collect(),
            ..Options::default()
        };
        let simulator = Simulator::new(&options).unwrap();
        let mut text = String::from("username,email,account_id\n");
        for person in simulator.people() {
            writeln!(text, "{},{},{}", person.username, person.email, person.account_id).unwrap();
        }
        let directory = tempfile::tempdir().unwrap();
        let map = directory.path().join("identities.csv");
        std::fs::write(&map, text).unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(simulator.run(listener, std::future::pending()));
        Self {
            address,
            map,
            _runtime: runtime,
            _directory: directory,
        }
    }
}

/// A facade in this process, and a line to it.
fn facade(runtime: &Runtime, users: usize, adjust: impl FnOnce(&mut Settings)) -> Line {
    let options = Options {
        users: u32::try_from(users).unwrap(),
        group: vec![format!("team={users}").parse().unwrap()],
        ..Options::default()
    };
    let world = runtime.block_on(World::start(options, |settings| {
        (settings.cache.members_ttl_s, settings.cache.groups_ttl_s) = (86_400, 86_400);
        adjust(settings);
    }));
    let line = Line::to(world.facade);
    // It serves for as long as this process.
    std::mem::forget(world);
    line
}

fn ask(line: &mut Line, request: &str) -> Duration {
    let begun = Instant::now();
    let (status, body) = line.ask(request.as_bytes());
    let took = begun.elapsed();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(body));
    took
}

fn middle(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

/// Resident memory in bytes, without the program's own pages; nothing where there is no `/proc`.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kilobytes.unwrap_or(f64::NAN) * 1024.0
}

fn members(size: usize) -> Vec<f64> {
    let runtime = Runtime::new().unwrap();
    let mut line = facade(&runtime, 1, |settings| {
        settings.cloud.base_url = format!("http://{}", std::env::var("GROWTH_CLOUD").unwrap());
        settings.identity.map_file = std::env::var_os("GROWTH_MAP").map(PathBuf::from);
    });
    let list = |n: usize| get(&format!("getUsers/team-{n}?showBasicDetails=true&maxResults={size}"));
    // What is known of the people themselves is not the list's.
    ask(&mut line, &list(0));
    let before = resident();
    let groups: usize = std::env::var("GROWTH_GROUPS").unwrap().parse().unwrap();
    let others = 1..groups;
    let count = others.len() as f64;
    let cold = middle(others.map(|n| ask(&mut line, &list(n))).collect());
    let kept = (resident() - before) / count;
    let request = list(0);
    let begun = Instant::now();
    let mut warm = Vec::new();
    while warm.len() < 50 || begun.elapsed() < Duration::from_millis(300) {
        warm.push(ask(&mut line, &request));
    }
    let somebody = std::fs::read_to_string(std::env::var_os("GROWTH_MAP").unwrap()).unwrap();
    let somebody = somebody.lines().nth(1).and_then(|row| row.split(',').next()).unwrap();
    let few = get("getUsers/team-0?showBasicDetails=true&maxResults=50");
    let mut changed = Vec::new();
    for call in ["removeUsers", "addUsers"].into_iter().cycle().take(20) {
        ask(&mut line, &change(&format!("{call}/team-0"), &[somebody]));
        changed.push(ask(&mut line, &few));
    }
    vec![middle(warm), cold, middle(changed), kept]
}

fn rows(size: usize) -> Vec<f64> {
    let directory = tempfile::tempdir().unwrap();
    let path = maps::generated(directory.path(), size);
    let before = resident();
    let begun = Instant::now();
    let map = Map::read(&path, PrimaryRule::First).unwrap_or_else(|faults| panic!("{faults}"));
    let loading = begun.elapsed().as_secs_f64();
    let kept = resident() - before;
    let names: Vec<String> = map
        .entries()
        .filter_map(|entry| entry.usernames().next())
        .map(str::to_owned)
        .collect();
    let names = maps::sample(&names, 50_000);
    let look_up = |_| {
        let begun = Instant::now();
        let found = names
            .iter()
            .filter(|name| map.by_name(std::hint::black_box(name)).is_some());
        assert_eq!(found.count(), names.len());
        begun.elapsed()
    };
    let look_up = middle((0..5).map(look_up).collect()) / names.len() as f64;
    vec![loading, look_up, kept]
}

fn callers(size: usize) -> Vec<f64> {
    let runtime = Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("accounts.toml");
    let token = |n: usize| format!("xft_caller-{n:06}-of-the-benches");
    let mut text = String::new();
    let others = (0..size).map(token);
    for (n, token) in std::iter::once(TOKEN.to_owned()).chain(others).enumerate() {
        let digest: String = Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(
            text,
            "[[token]]\nname = \"caller-{n}\"\nsha256 = \"{digest}\"\nrole = \"reader\""
        )
        .unwrap();
    }
    std::fs::write(&path, text).unwrap();
    let begun = Instant::now();
    Accounts::load(&path).unwrap_or_else(|faults| panic!("{faults}"));
    let reading = begun.elapsed().as_secs_f64();
    let mut line = facade(&runtime, 100, |settings| {
        settings.inbound.accounts_file = Some(path.clone())
    });
    let usual = get("getUsers/team?showBasicDetails=true&maxResults=100");
    for _ in 0..50 {
        ask(&mut line, &usual);
    }
    let requests: Vec<String> = (0..size).map(|n| usual.replace(TOKEN, &token(n))).collect();
    let before = resident();
    let mut each = || middle(requests.iter().map(|request| ask(&mut line, request)).collect());
    let first = each();
    let kept = resident() - before;
    vec![reading, first, each(), kept]
}
