//! How many instructions, and how many allocations, does one request cost the server, beside a bare one?
//!
//! For whoever changes the hot path: counted by callgrind, so that no other work on the machine shows. Each case is a
//! server in a process of its own, with one thread; the client is in this one. What is counted lies between two moments,
//! after it has answered often enough for its caches to be warm.
//!
//! ```sh
//! cargo bench --bench instructions                # counts, and fails where one is above benches/instructions.toml
//! cargo bench --bench instructions -- --record    # writes what it counted there
//! cargo bench --bench instructions -- basic-100   # one case; its profile stays in target/instructions
//! ```

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use extender_facade::simulator::Options;

#[path = "support/line.rs"]
mod line;
#[path = "support/world.rs"]
mod world;

use line::Line;
use world::{World, bare_hyper, bare_warp, get};

/// Requests before counting, and counted ones.
const WARM: usize = 300;
const COUNTED: usize = 500;
/// What a count may exceed the recorded one by: other versions of dependencies and compilers do not cost the same.
const MARGIN: f64 = 1.05;

/// A case: its name, its floor, what is asked for, in how large a group.
struct Case {
    name: &'static str,
    floor: Option<&'static str>,
    path: &'static str,
    members: u32,
    server: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Facade,
    Warp,
    Hyper,
}

const fn case(name: &'static str, server: Kind, floor: Option<&'static str>, members: u32, path: &'static str) -> Case {
    Case {
        name,
        floor,
        path,
        members,
        server,
    }
}

const BASIC: &str = "getUsers/team?showBasicDetails=true&maxResults=100";
const CASES: [Case; 9] = [
    case("hyper-100", Kind::Hyper, None, 100, BASIC),
    case("warp-100", Kind::Warp, None, 100, BASIC),
    case("basic-100", Kind::Facade, Some("warp-100"), 100, BASIC),
    case(
        "names-100",
        Kind::Facade,
        Some("warp-100"),
        100,
        "getUsers/team?maxResults=100",
    ),
    case(
        "extended-100",
        Kind::Facade,
        Some("warp-100"),
        100,
        "getUsers/team?showExtendedDetails=true&maxResults=100",
    ),
    case(
        "page-of-10000",
        Kind::Facade,
        Some("warp-100"),
        10_000,
        "getUsers/team?showBasicDetails=true&startAt=5000&maxResults=100",
    ),
    case(
        "warp-10000",
        Kind::Warp,
        None,
        10_000,
        "getUsers/team?showBasicDetails=true&maxResults=10000",
    ),
    case(
        "basic-10000",
        Kind::Facade,
        Some("warp-10000"),
        10_000,
        "getUsers/team?showBasicDetails=true&maxResults=10000",
    ),
    case("groups", Kind::Facade, Some("warp-100"), 100, "getGroups"),
];

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let first = arguments.next();
    if first.as_deref() == Some("--serve") {
        let name = arguments.next().expect("a case");
        return serve(CASES.iter().find(|case| case.name == name).expect("a case"));
    }
    let record = first.as_deref() == Some("--record");
    let only = first.filter(|_| !record);
    let chosen = CASES
        .iter()
        .filter(|case| only.as_deref().is_none_or(|only| only == case.name));
    let counts: Vec<(&Case, Count)> = chosen.map(|case| (case, count(case))).collect();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.toml");
    if record {
        let lines = counts
            .iter()
            .map(|(case, count)| format!("{} = {}\n", case.name, count.instructions));
        let head = "# Instructions a request, as `cargo bench --bench instructions -- --record` counted them.\n";
        std::fs::write(&kept, head.to_owned() + &lines.collect::<String>()).expect("a file");
    }
    let baseline: toml::Table = std::fs::read_to_string(&kept)
        .unwrap_or_default()
        .parse()
        .expect("a table");
    println!(
        "{:<16} {:>12} {:>8} {:>12} {:>10}",
        "case", "instructions", "÷ floor", "allocations", "÷ recorded"
    );
    let mut worse = false;
    for (case, count) in &counts {
        let floor = counts.iter().find(|(other, _)| Some(other.name) == case.floor);
        let floor = floor.map_or(String::new(), |(_, floor)| {
            format!("{:.2}", count.instructions as f64 / floor.instructions as f64)
        });
        let recorded = baseline.get(case.name).and_then(toml::Value::as_integer);
        let ratio = recorded.map(|recorded| count.instructions as f64 / recorded as f64);
        worse |= ratio.is_some_and(|ratio| ratio > MARGIN);
        let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.3}"));
        println!(
            "{:<16} {:>12} {floor:>8} {:>12.1} {ratio:>10}",
            case.name, count.instructions, count.allocations
        );
    }
    if worse {
        eprintln!("more than {MARGIN} times what is recorded in {}", kept.display());
        std::process::exit(1);
    }
}

/// What one request costs.
struct Count {
    instructions: u64,
    allocations: f64,
}

fn count(case: &Case) -> Count {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("instructions");
    std::fs::create_dir_all(&folder).expect("a folder");
    let profile = folder.join(format!("{}.callgrind", case.name));
    let _ = std::fs::remove_file(&profile);
    let server = Server::start(case, &profile);
    let mut line = Line::to(server.address);
    let request = get(case.path);
    let mut ask = |times: usize| {
        for _ in 0..times {
            let (status, _) = line.ask(request.as_bytes());
            assert_eq!(status, 200, "{}", case.name);
        }
    };
    ask(WARM);
    server.control("--zero");
    ask(COUNTED);
    server.control("--dump");
    server.end();
    let dump = folder.join(format!("{}.callgrind.1", case.name));
    let text = std::fs::read_to_string(&dump).expect("a profile");
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")));
    let total: u64 = total.expect("a total").trim().parse().expect("a number");
    Count {
        instructions: total / COUNTED as u64,
        allocations: allocations(&text) as f64 / COUNTED as f64,
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

/// A server under callgrind.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(case: &Case, profile: &Path) -> Self {
        let myself = std::env::current_exe().expect("a path");
        let mut child = Command::new("valgrind")
            .args(["--tool=callgrind", "--quiet", "--separate-threads=no"])
            .arg(format!("--callgrind-out-file={}", profile.display()))
            .arg(myself)
            .args(["--serve", case.name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("valgrind is needed");
        let mut line = String::new();
        let output = child.stdout.as_mut().expect("an output");
        BufReader::new(output).read_line(&mut line).expect("an address");
        let address = line
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("{}: {line:?}", case.name));
        Self { child, address }
    }

    fn control(&self, what: &str) {
        let id = self.child.id().to_string();
        let done = Command::new("callgrind_control")
            .arg(what)
            .arg(id)
            .output()
            .expect("callgrind_control");
        assert!(done.status.success(), "{done:?}");
    }

    fn end(mut self) {
        self.child
            .stdin
            .take()
            .expect("an input")
            .write_all(b"\n")
            .expect("an end");
        self.child.wait().expect("an end");
    }
}

/// Serves until there is something to read.
fn serve(case: &Case) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let options = Options {
            users: case.members,
            group: vec![format!("team={}", case.members).parse().expect("a group")],
            ..Options::default()
        };
        let world = World::start(options, |_| {}).await;
        let address = match case.server {
            Kind::Facade => world.facade,
            kind => {
                let (facade, request) = (world.facade, get(case.path));
                let body = tokio::task::spawn_blocking(move || {
                    let mut line = Line::to(facade);
                    Bytes::copy_from_slice(line.ask(request.as_bytes()).1)
                });
                let body = body.await.expect("a body");
                if kind == Kind::Warp {
                    bare_warp(body).await
                } else {
                    bare_hyper(body).await
                }
            }
        };
        println!("{address}");
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
        let _ = end.await;
    });
    // What is left needs no tidying.
    std::process::exit(0);
}
