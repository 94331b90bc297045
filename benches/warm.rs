//! What does a warm getUsers cost, beside a bare warp and a bare hyper that send the same bytes?
//!
//! For those who compare the facade with others: requests a second, the time of an answer while requests come at a fixed
//! rate, and the processor's time of the server for one request, which is the same whoever else works on this machine and
//! whatever the client costs. Every server is a process of its own (the facade is the built program in mode `accounts`, before a
//! simulated Cloud), all are asked in turns within each round, and a ratio is the median of the rounds' ratios. The lists stay
//! warm throughout: `cache.members_ttl_s` and `groups_ttl_s` are an hour.
//!
//! ```sh
//! cargo bench --bench warm
//! ```
//!
//! | variable | what | usual |
//! |---|---|---|
//! | `FACADE_BENCH_ROUNDS` | rounds | 40 |
//! | `FACADE_BENCH_SLICE_MS` | how long each server is asked in each round | 250 |
//! | `FACADE_BENCH_CONNECTIONS` | kept connections (for the large body a quarter) | 16 |
//! | `FACADE_BENCH_SHARES` | arrivals, as parts of what bare warp answers in a closed loop | 0.3,0.6 |
//! | `FACADE_BENCH_MEMBERS` | members of the page | 100 |
//! | `FACADE_BENCH_LARGE` | members of the large body | 10000 |
//! | `FACADE_BENCH_GROUPS` | distinct groups that half of the load is spread over | 1000 |
//! | `FACADE_BENCH_QUICK` | 1: small sizes, no figures to quote | |

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use extender_facade::simulator::{GroupSize, Options};

#[path = "support/figures.rs"]
mod figures;
#[path = "support/line.rs"]
mod line;
#[path = "support/load.rs"]
mod load;
#[path = "support/processes.rs"]
mod processes;
#[path = "support/world.rs"]
mod world;

use figures::{Table, median, quantile, shown, size, sizes};
use line::Line;
use load::Client;
use processes::{Facade, Process, Setup};
use world::{TOKEN, bare_hyper, bare_warp, get};

/// Lists stay warm, and as many connections and requests as the bench likes are one caller's.
const SETTINGS: &str = "cache.members_ttl_s = 3600\ncache.groups_ttl_s = 3600\n\
    inbound.max_connections_per_address = 0\ninbound.max_requests_at_once = 0\n";

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    if arguments.next().as_deref() == Some("--serve") {
        let (kind, body) = (arguments.next().expect("a kind"), arguments.next().expect("a file"));
        return serve(&kind, Bytes::from(std::fs::read(body).expect("a body")));
    }
    load::wake_in_time();
    measure();
}

/// One server and how it is asked, with what came of each round.
struct Case<'a> {
    server: &'a Process,
    client: Client,
    requests: &'a [Vec<u8>],
    rate: Vec<f64>,
    /// Microseconds for a request.
    server_cpu: Vec<f64>,
    client_cpu: Vec<f64>,
}

impl<'a> Case<'a> {
    fn new(server: &'a Process, connections: usize, requests: &'a [Vec<u8>]) -> Self {
        Self {
            server,
            client: Client::new(server.address, connections),
            requests,
            rate: Vec::new(),
            server_cpu: Vec::new(),
            client_cpu: Vec::new(),
        }
    }

    fn warm(&mut self, slice: Duration) {
        let requests = self.requests;
        for _ in 0..2 {
            self.client.closed(slice, |number| &requests[number % requests.len()]);
        }
    }

    fn round(&mut self, slice: Duration) {
        let (requests, before) = (self.requests, self.server.cpu());
        let done = self.client.closed(slice, |number| &requests[number % requests.len()]);
        let each = |time: Duration| time.as_secs_f64() * 1e6 / done.answers as f64;
        self.server_cpu.push(each(self.server.cpu().saturating_sub(before)));
        self.client_cpu.push(each(done.cpu));
        self.rate.push(done.rate());
    }
}

fn measure() {
    let rounds: usize = size("ROUNDS", 40, 3);
    let slice = Duration::from_millis(size("SLICE_MS", 250, 100));
    let connections: usize = size("CONNECTIONS", 16, 8);
    let shares: Vec<f64> = sizes("SHARES", &[0.3, 0.6], &[0.3, 0.6]);
    let members: u32 = size("MEMBERS", 100, 100);
    let large: u32 = size("LARGE", 10_000, 2_000);
    let groups: u32 = size("GROUPS", 1000, 50);

    let group = |name: String, size| GroupSize { name, size };
    let mut options = Options {
        users: large.max(members),
        group: vec![group("team".to_owned(), members), group("everybody".to_owned(), large)],
        ..Options::default()
    };
    let spread = (0..groups).map(|number| group(format!("team-{number:05}"), members));
    options.group.extend(spread);
    let cloud = processes::cloud(&options);
    let map = processes::map(&processes::people(&options));
    let tokens = [TOKEN.to_owned()];
    let start = |settings: &str| {
        let settings = &format!("{SETTINGS}{settings}");
        let setup = Setup {
            map: &map,
            tokens: &tokens,
            settings,
        };
        Facade::start(cloud.address, &setup)
    };
    let facade = start("");
    let telling = start("log.filter = \"info\"\n");

    let ask = |name: &str, most: u32| get(&format!("getUsers/{name}?showBasicDetails=true&maxResults={most}"));
    let page = [ask("team", members).into_bytes()];
    let whole = [ask("everybody", large).into_bytes()];
    let mut half = Vec::new();
    for number in 0..groups {
        half.push(page[0].clone());
        half.push(ask(&format!("team-{number:05}"), members).into_bytes());
    }
    let folder = tempfile::tempdir().expect("a folder");
    let body = |name: &str, request: &[u8]| {
        let path = folder.path().join(name);
        let mut line = Line::to(facade.process.address);
        let (status, body) = line.ask(request);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(body));
        std::fs::write(&path, body).expect("a file");
        (path, body.len())
    };
    let ((page_file, page_bytes), (whole_file, whole_bytes)) = (body("page", &page[0]), body("whole", &whole[0]));
    let mut line = Line::to(facade.process.address);
    for request in &half {
        assert_eq!(line.ask(request).0, 200);
    }
    let bare = |kind: &str, file: &std::path::Path| {
        let myself = std::env::current_exe().expect("a path");
        let mut command = Command::new(myself);
        // Ended with us, whatever happens: it reads until there is no one to write.
        command.args(["--serve", kind]).arg(file).stdin(Stdio::piped());
        Process::that_tells(&mut command)
    };
    let (warp, hyper) = (bare("warp", &page_file), bare("hyper", &page_file));
    let (large_warp, large_hyper) = (bare("warp", &whole_file), bare("hyper", &whole_file));

    let few = connections.div_ceil(4);
    let mut closed = [
        Case::new(&facade.process, connections, &page),
        Case::new(&warp, connections, &page),
        Case::new(&hyper, connections, &page),
        Case::new(&telling.process, connections, &page),
        Case::new(&facade.process, connections, &half),
        Case::new(&facade.process, few, &whole),
        Case::new(&large_warp, few, &whole),
        Case::new(&large_hyper, few, &whole),
    ];
    for case in &mut closed {
        case.warm(slice);
    }
    // What bare warp can do, before it is asked for a part of it.
    let calibration: Vec<f64> = (0..5)
        .map(|_| closed[1].client.closed(slice, |_| &page[0]).rate())
        .collect();
    let most = median(&calibration);
    let opened = [&facade.process, &warp, &hyper];
    let mut clients = opened.map(|server| Client::new(server.address, connections * 2));
    // Of every share and server, round by round: the median, the 99th percentile.
    let mut latencies = vec![[const { (Vec::new(), Vec::new()) }; 3]; shares.len()];
    let mut late = Vec::new();

    for round in 0..rounds {
        for turn in 0..closed.len() {
            let case = (turn + round) % closed.len();
            closed[case].round(slice);
        }
        for (share, seen) in shares.iter().zip(&mut latencies) {
            for turn in 0..clients.len() {
                let server = (turn + round) % clients.len();
                let done = clients[server].open(most * share, slice, round as u64, &page[0]);
                seen[server].0.push(median(&done.latencies));
                seen[server].1.push(quantile(&done.latencies, 0.99));
                late.push(median(&done.late));
            }
        }
    }

    let [one, warp, hyper, told, half_spread, all, all_warp, all_hyper] = &closed;
    let mut table = Table::of_ratios();
    let page_name = format!("{members} members ({page_bytes} bytes)");
    let whole_name = format!("{large} members ({whole_bytes} bytes)");
    let mut compare = |name: &str, case: &Case<'_>, floor: &str, floors: &Case<'_>, aim: &str| {
        table.ratio(&format!("requests/s, {name}"), &case.rate, floor, &floors.rate, aim);
        let what = format!("µs of the server's processor a request, {name}");
        table.ratio(&what, &case.server_cpu, floor, &floors.server_cpu, "");
    };
    compare(&page_name, one, "bare warp", warp, "≥ 0.85");
    compare(&page_name, one, "bare hyper", hyper, "");
    compare(
        &format!("{page_name}, with its log at `info`"),
        told,
        "bare warp",
        warp,
        "",
    );
    compare(&whole_name, all, "bare warp", all_warp, "≥ 0.9");
    compare(&whole_name, all, "bare hyper", all_hyper, "");
    let name = format!("half of it on {groups} groups of {members}");
    compare(&name, half_spread, "one group", one, "");
    for (share, [facade, warp, hyper]) in shares.iter().zip(&latencies) {
        let come = format!("{} requests/s come ({share} of bare warp's)", shown(most * share));
        table.ratio(&format!("µs, p50, {come}"), &facade.0, "bare warp", &warp.0, "");
        let aim = if most * share < 0.9 * median(&one.rate) {
            "≤ 1.5"
        } else {
            "none: more than the facade can do"
        };
        table.ratio(&format!("µs, p99, {come}"), &facade.1, "bare warp", &warp.1, aim);
        table.ratio(&format!("µs, p99, {come}"), &facade.1, "bare hyper", &hyper.1, "");
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "One warm getUsers, basic details, kept connections, a bearer token, {connections} connections; {rounds} rounds of {} ms, \
         {cores} processors, {}.\n",
        slice.as_millis(),
        figures::build(),
    );
    table.print();
    println!(
        "\nThe client shares the processors with the server. It takes {} µs a request itself from bare hyper, {} from bare warp, {} \
         from the facade ({}, {} and {} with the large body); requests come {} µs late (median), with every server.",
        shown(median(&hyper.client_cpu)),
        shown(median(&warp.client_cpu)),
        shown(median(&one.client_cpu)),
        shown(median(&all_hyper.client_cpu)),
        shown(median(&all_warp.client_cpu)),
        shown(median(&all.client_cpu)),
        shown(median(&late)),
    );
}

/// Serves these bytes until there is nobody to write to us.
fn serve(kind: &str, body: Bytes) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let address: SocketAddr = match kind {
            "warp" => bare_warp(body).await,
            _ => bare_hyper(body).await,
        };
        println!("{address}");
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
        let _ = end.await;
    });
    // What is left needs no tidying.
    std::process::exit(0);
}
