//! How many instructions, and how many allocations, does one request cost the server, beside a bare one?
//!
//! For whoever changes the hot path: counted by callgrind, so that no other work on the machine shows. The
//! servers are in a process of their own, with one thread; the client is in this one. A case is counted in rounds, once it was
//! answered often enough for caches to be warm, and the cheapest round stands: no timer and no turn of a second is in it.
//!
//! ```sh
//! cargo bench --bench instructions                # counts, and fails where one is above benches/instructions.toml
//! cargo bench --bench instructions -- --record    # writes what it counted there
//! cargo bench --bench instructions -- basic-100   # one case and its floor; the profiles stay in target/tmp/instructions
//! ```
//!
//! With `--profile dev` it counts what is unoptimised, against a table of its own: that is what every change must pass
//! (`.ci/run`). What is held against the table is the ratio to the floor of the same run, for processors, compilers and
//! dependencies differ from machine to machine, and allocations, which do not.

use std::cell::Cell;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use extender_facade::settings::Settings;
use extender_facade::simulator::Options;

#[path = "support/line.rs"]
mod line;
#[path = "support/world.rs"]
mod world;

use line::Line;
use world::{World, bare_hyper, bare_warp, get};

/// Requests before counting, rounds that are counted, and requests in each.
const WARM: usize = 20;
const ROUNDS: usize = 10;
const COUNTED: usize = 10;
/// What a ratio to the floor may exceed the recorded one by.
const MARGIN: f64 = 1.05;
/// And the allocations of one request.
const MORE_ALLOCATIONS: f64 = 0.5;
/// The table of this build.
const TABLE: &str = if cfg!(debug_assertions) { "dev" } else { "release" };

/// A case: its name, its floor, what is asked for.
struct Case {
    name: &'static str,
    floor: Option<&'static str>,
    server: Kind,
    path: &'static str,
    /// Every request is another one, so each is judged.
    judged: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Facade,
    Warp,
    Hyper,
}

const fn floor(name: &'static str, server: Kind, path: &'static str) -> Case {
    Case {
        name,
        floor: None,
        server,
        path,
        judged: false,
    }
}

const fn case(name: &'static str, above: &'static str, path: &'static str) -> Case {
    Case {
        floor: Some(above),
        ..floor(name, Kind::Facade, path)
    }
}

const BASIC: &str = "getUsers/hundred?showBasicDetails=true&maxResults=100";
const NAMES: &str = "getUsers/hundred?maxResults=100";
const EXTENDED: &str = "getUsers/hundred?showExtendedDetails=true&maxResults=100";
const PAGE: &str = "getUsers/thousands?showBasicDetails=true&startAt=5000&maxResults=100";
const ALL: &str = "getUsers/thousands?showBasicDetails=true&maxResults=10000";
const CASES: [Case; 10] = [
    floor("hyper-100", Kind::Hyper, BASIC),
    floor("warp-100", Kind::Warp, BASIC),
    case("basic-100", "warp-100", BASIC),
    Case {
        judged: true,
        ..case("judged-100", "warp-100", BASIC)
    },
    case("names-100", "warp-100", NAMES),
    case("extended-100", "warp-100", EXTENDED),
    case("page-of-10000", "warp-100", PAGE),
    floor("warp-10000", Kind::Warp, ALL),
    case("basic-10000", "warp-10000", ALL),
    case("groups", "warp-100", "getGroups"),
];

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let first = arguments.next();
    if first.as_deref() == Some("--serve") {
        return serve();
    }
    let record = first.as_deref() == Some("--record");
    let only = first.filter(|_| !record);
    let only = only.map(|only| CASES.iter().find(|case| case.name == only).expect("a case"));
    let is_chosen = |case: &&Case| only.is_none_or(|only| only.name == case.name || only.floor == Some(case.name));
    let servers = Servers::start();
    let counts: Vec<(&Case, Count)> = CASES
        .iter()
        .filter(is_chosen)
        .map(|case| (case, servers.count(case)))
        .collect();
    servers.end();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.toml");
    let mut baseline: toml::Table = std::fs::read_to_string(&kept)
        .unwrap_or_default()
        .parse()
        .expect("a table");
    if record {
        let table = counts.iter().map(|(case, count)| (case.name.to_owned(), count.entry()));
        baseline.insert(TABLE.to_owned(), toml::Value::Table(table.collect()));
        std::fs::write(&kept, written(&baseline)).expect("a file");
    }
    println!(
        "{:<16} {:>12} {:>8} {:>8} {:>12} {:>8}",
        "case", "instructions", "÷ floor", "recorded", "allocations", "recorded"
    );
    let mut worse = Vec::new();
    for (case, count) in &counts {
        let floor = counts.iter().find(|(other, _)| Some(other.name) == case.floor);
        let ratio = floor.map(|(_, floor)| count.instructions / floor.instructions);
        let recorded = |name: &str| Count::recorded(baseline.get(TABLE)?.get(name)?);
        let before = recorded(case.name);
        let floor = case.floor.and_then(recorded);
        let ratio_before = before
            .as_ref()
            .zip(floor)
            .map(|(case, floor)| case.instructions / floor.instructions);
        let shown = |ratio: Option<f64>| ratio.map_or(String::new(), |ratio| format!("{ratio:.3}"));
        println!(
            "{:<16} {:>12.0} {:>8} {:>8} {:>12.2} {:>8}",
            case.name,
            count.instructions,
            shown(ratio),
            shown(ratio_before),
            count.allocations,
            before
                .as_ref()
                .map_or(String::new(), |before| format!("{:.2}", before.allocations)),
        );
        let Some(before) = before.filter(|_| ratio.is_some() == ratio_before.is_some()) else {
            worse.push(format!("{}: nothing is recorded of it, or not of its floor", case.name));
            continue;
        };
        if let (Some(ratio), Some(before), Some(floor)) = (ratio, ratio_before, case.floor)
            && ratio > before * MARGIN
        {
            let most = before * MARGIN;
            worse.push(format!(
                "{}: {ratio:.3} times the instructions of {floor}; {before:.3} are recorded, {most:.3} allowed",
                case.name
            ));
        }
        if count.allocations > before.allocations + MORE_ALLOCATIONS {
            worse.push(format!(
                "{}: {:.2} allocations; {:.2} are recorded",
                case.name, count.allocations, before.allocations
            ));
        }
    }
    // What every change must pass is always recorded.
    if !baseline.contains_key(TABLE) && !cfg!(debug_assertions) {
        return println!("\nNothing is recorded of this build: -- --record does that.");
    }
    if !worse.is_empty() {
        let profile = if cfg!(debug_assertions) { " --profile dev" } else { "" };
        eprintln!("\nOne request costs more than [{TABLE}] of {} allows:", kept.display());
        for line in worse {
            eprintln!("  {line}");
        }
        eprintln!("Where that is meant to be: cargo bench{profile} --bench instructions -- --record");
        std::process::exit(1);
    }
}

/// The tables as they are kept: a case a line, in the order of the cases.
fn written(tables: &toml::Table) -> String {
    let mut text = String::from(
        "# What one request costs, as `cargo bench --bench instructions -- --record` counted it; [dev] with `--profile dev`.\n",
    );
    for (name, table) in tables {
        let _ = writeln!(text, "\n[{name}]");
        for case in &CASES {
            if let Some(Count {
                instructions,
                allocations,
            }) = table.get(case.name).and_then(Count::recorded)
            {
                let _ = writeln!(
                    text,
                    "{} = {{ instructions = {instructions:.0}, allocations = {allocations:.2} }}",
                    case.name
                );
            }
        }
    }
    text
}

/// What one request costs.
struct Count {
    instructions: f64,
    allocations: f64,
}

impl Count {
    fn recorded(entry: &toml::Value) -> Option<Self> {
        let number = |name| {
            entry
                .get(name)
                .and_then(|value| value.as_float().or(value.as_integer().map(|n| n as f64)))
        };
        Some(Self {
            instructions: number("instructions")?,
            allocations: number("allocations")?,
        })
    }

    fn entry(&self) -> toml::Value {
        let fields = [("instructions", self.instructions), ("allocations", self.allocations)];
        toml::Value::Table(
            fields
                .map(|(name, value)| (name.to_owned(), value.into()))
                .into_iter()
                .collect(),
        )
    }

    fn of(profile: &Path) -> Self {
        let text = std::fs::read_to_string(profile).expect("a profile");
        let total = text
            .lines()
            .find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")));
        let total: f64 = total.expect("a total").trim().parse().expect("a number");
        Self {
            instructions: total / COUNTED as f64,
            allocations: allocations(&text) as f64 / COUNTED as f64,
        }
    }
}

/// How often malloc and its kin were called. A function's name stands in full where it comes first, and then as its number.
fn allocations(profile: &str) -> u64 {
    let mut numbers = Vec::new();
    let mut called = 0;
    let mut is_allocator = false;
    for line in profile.lines() {
        let called_next = line.strip_prefix("cfn=");
        if let Some(function) = called_next.or(line.strip_prefix("fn=")) {
            let (number, name) = function.split_once(')').unwrap_or((function, ""));
            if ["malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign"].contains(&name.trim()) {
                numbers.push(number.to_owned());
            }
            is_allocator = called_next.is_some() && numbers.iter().any(|known| known == number);
        } else if let Some(call) = line.strip_prefix("calls=")
            && is_allocator
        {
            let count = call.split(' ').next().and_then(|count| count.parse::<u64>().ok());
            called += count.unwrap_or_default();
        }
    }
    called
}

/// The servers of all cases, under callgrind.
struct Servers {
    child: Child,
    addresses: Vec<SocketAddr>,
    folder: PathBuf,
    dumps: Cell<usize>,
}

impl Servers {
    fn start() -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("instructions");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let myself = std::env::current_exe().expect("a path");
        let mut child = Command::new("valgrind")
            .args([
                "--tool=callgrind",
                "--quiet",
                "--separate-threads=no",
                "--instr-atstart=no",
            ])
            .arg(format!("--callgrind-out-file={}", folder.join("dump").display()))
            .arg(myself)
            .arg("--serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("valgrind is needed");
        let mut line = String::new();
        let output = child.stdout.as_mut().expect("an output");
        BufReader::new(output).read_line(&mut line).expect("addresses");
        let address = |text: &str| text.parse().unwrap_or_else(|_| panic!("no addresses: {line:?}"));
        let addresses = line.split_whitespace().map(address).collect();
        let servers = Self {
            child,
            addresses,
            folder,
            dumps: Cell::new(0),
        };
        servers.control("--instr=on");
        servers
    }

    fn count(&self, case: &Case) -> Count {
        let position = CASES.iter().position(|other| other.name == case.name);
        let address = position.and_then(|at| self.addresses.get(at)).expect("an address");
        let mut line = Line::to(*address);
        let mut asked = 0;
        let mut ask = |times: usize| {
            for _ in 0..times {
                asked += 1;
                let request = match case.judged {
                    true => get(&format!("{}&_={asked:04}", case.path)),
                    false => get(case.path),
                };
                let (status, _) = line.ask(request.as_bytes());
                assert_eq!(status, 200, "{}", case.name);
            }
        };
        ask(WARM);
        self.dump();
        let rounds = std::iter::repeat_with(|| {
            ask(COUNTED);
            let dump = self.dump();
            (Count::of(&dump), dump)
        });
        let (count, dump) = rounds
            .take(ROUNDS)
            .min_by(|(one, _), (other, _)| one.instructions.total_cmp(&other.instructions))
            .expect("a round");
        let profile = self.folder.join(format!("{}.callgrind", case.name));
        std::fs::rename(dump, profile).expect("a profile");
        count
    }

    /// Writes what was counted since the last one.
    fn dump(&self) -> PathBuf {
        self.control("--dump");
        self.dumps.set(self.dumps.get() + 1);
        self.folder.join(format!("dump.{}", self.dumps.get()))
    }

    fn control(&self, what: &str) {
        let id = self.child.id().to_string();
        let done = Command::new("callgrind_control")
            .args([what, &id])
            .output()
            .expect("callgrind_control");
        assert!(done.status.success(), "{done:?}");
    }

    fn end(mut self) {
        // It ends when there is nothing more to read.
        drop(self.child.stdin.take());
        self.child.wait().expect("an end");
    }
}

/// Serves every case until its input ends.
fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let options = Options {
            users: 10_000,
            group: ["hundred=100", "thousands=10000"]
                .map(|group| group.parse().expect("a group"))
                .into(),
            ..Options::default()
        };
        // Nothing is read while it is counted, and under callgrind, unoptimised, 10,000 members take as long as they take.
        let unhurried = |settings: &mut Settings| {
            settings.cache.members_ttl_s = 24 * 3600;
            settings.cache.groups_ttl_s = 24 * 3600;
            settings.extender.read_deadline_s = 3600;
        };
        let world = World::start(options, unhurried).await;
        let facade = world.facade;
        let mut addresses = Vec::new();
        for case in &CASES {
            let body = tokio::task::spawn_blocking(move || {
                let mut line = Line::to(facade);
                let (status, body) = line.ask(get(case.path).as_bytes());
                assert_eq!(status, 200, "{}", case.name);
                Bytes::copy_from_slice(body)
            });
            let body = body.await.expect("a body");
            let address = match case.server {
                Kind::Facade => facade,
                Kind::Warp => bare_warp(body).await,
                Kind::Hyper => bare_hyper(body).await,
            };
            addresses.push(address.to_string());
        }
        println!("{}", addresses.join(" "));
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
        let _ = end.await;
    });
    // What is left needs no tidying.
    std::process::exit(0);
}
