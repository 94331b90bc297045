//! What does one name added through the facade cost, beside the same POST straight to Cloud, and through nginx?
//!
//! For those who ask what stands between a script and Cloud: every name is a fresh one, added through the facade (addUsers of one
//! name), straight to the simulated Cloud (which answers at once), and through nginx as a plain reverse proxy with kept
//! connections, in turns within each round. Through the facade twice: to a group whose list it knows, because somebody asked
//! for it, where the addition is all that Cloud is asked for; and to one whose list it does not know. Beside them, in the
//! same rounds: one small append with `fdatasync` where the state directory is, and each step that writes, done alone with
//! the facade's own journal and audit. Between the rounds, outside the time, the names are taken out again in bulk.
//!
//! ```sh
//! cargo bench --bench added_name
//! ```
//!
//! | variable | what | usual |
//! |---|---|---|
//! | `FACADE_BENCH_ROUNDS` | names added in each way | 2000 |
//! | `FACADE_BENCH_BATCH` | of these, between two clearings | 100 |
//! | `FACADE_BENCH_DIR` | where the state directory is made: the disk that is measured | the build's `tmp` |
//! | `FACADE_BENCH_NGINX` | nginx, if it is not on the PATH | |
//! | `FACADE_BENCH_QUICK` | 1: small sizes, no figures to quote | |

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use extender_facade::simulator::{GroupSize, Options, Person, Simulator};

#[path = "support/books.rs"]
mod books;
#[path = "support/figures.rs"]
mod figures;
#[path = "support/line.rs"]
mod line;
#[path = "support/nginx.rs"]
mod nginx;
#[path = "support/processes.rs"]
mod processes;
#[path = "support/world.rs"]
mod world;

use books::{AFTER, Books, STEPS};
use figures::{Table, median, quantile, shown, size};
use line::Line;
use processes::{Facade, Setup};
use world::{TOKEN, get};

/// The ways, and a group for each.
const WAYS: [&str; 4] = ["straight", "by-nginx", "by-facade", "by-facade-unread"];
/// Of these, the first that goes through the facade.
const KNOWN: usize = 2;

/// Who comes after whom, so that nobody always pays for what one other has left to do.
const ORDERS: [[usize; 4]; 4] = [[0, 1, 2, 3], [2, 0, 3, 1], [1, 3, 0, 2], [3, 2, 1, 0]];
/// And time to do it.
const PAUSE: Duration = Duration::from_millis(1);

fn main() {
    let rounds: usize = size("ROUNDS", 2000, 60);
    let batch: usize = size("BATCH", 100, 20).max(1);
    let warming = batch.min(20);
    let all = rounds + warming;
    let options = Options {
        users: u32::try_from(all).expect("rounds") * 2,
        group: WAYS
            .iter()
            .map(|way| GroupSize {
                name: (*way).to_owned(),
                size: 0,
            })
            .collect(),
        ..Options::default()
    };
    let cloud = processes::cloud(&options);
    let people = processes::people(&options);
    let folder = processes::folder();
    let nginx = nginx::before(cloud.address, folder.path());
    let facade = Facade::start(
        cloud.address,
        &Setup {
            map: &processes::map(&people),
            tokens: &[TOKEN.to_owned()],
            settings: "cache.members_ttl_s = 3600\n",
        },
    );
    let mut books = Books::open(folder.path());
    let straight = straight_path(cloud.address);
    let mut lines = [
        Some(Line::to(cloud.address)),
        nginx.as_ref().map(|nginx| Line::to(nginx.address)),
        Some(Line::to(facade.process.address)),
        Some(Line::to(facade.process.address)),
    ];
    // A group that nothing changes, to be read while it is warm.
    let read = get("getUsers/confluence-users?maxResults=1");

    let mut added: [Vec<f64>; 4] = Default::default();
    let (mut synced, mut asked, mut planned, mut after) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut steps: [Vec<f64>; 3] = Default::default();
    // Through the facade: from the request to the answer, in Cloud, and how many requests that were.
    let mut seen = [[0.0; 3]; 2];
    know(lines[KNOWN].as_mut().expect("the facade"));
    let mut appended = File::create(folder.path().join("appended")).expect("a file");
    let mut there = Vec::new();
    for round in 0..all {
        let is_counted = round >= warming;
        let person = &people[round];
        there.push(person);
        let keep = |into: &mut Vec<f64>, took: f64| {
            if is_counted {
                into.push(took);
            }
        };
        for way in ORDERS[round % ORDERS.len()] {
            let Some(line) = &mut lines[way] else { continue };
            if way < KNOWN {
                let request = post(&straight[way], "Basic YmVuY2g6YmVuY2g=", &one_account(person));
                keep(&mut added[way], timed(|| must(line, &request)));
                continue;
            }
            let before = figures_of(&facade);
            let path = format!("/rest/extender/1.0/group/addUsers/{}", WAYS[way]);
            let request = post(&path, &bearer(), &one_name(person));
            keep(&mut added[way], timed(|| must(line, &request)));
            if is_counted {
                let now = figures_of(&facade);
                for (sum, (now, before)) in seen[way - KNOWN].iter_mut().zip(now.iter().zip(before)) {
                    *sum += now - before;
                }
            }
        }
        let line = lines[KNOWN].as_mut().expect("the facade");
        keep(&mut asked, timed(|| must(line, read.as_bytes())));
        let path = "/rest/extender/1.0/group/addUsers/by-facade?dryRun=true";
        let request = post(path, &bearer(), &one_name(&people[all + round]));
        keep(&mut planned, timed(|| must(line, &request)));
        // As long as a line of the audit.
        let took = timed(|| {
            appended.write_all(&[b'-'; 400]).expect("room");
            appended.sync_data().expect("a disk");
        });
        keep(&mut synced, took);
        let (taken, rest) = books.one_operation(person);
        for (into, took) in steps.iter_mut().zip(taken) {
            keep(into, took);
        }
        keep(&mut after, rest);
        if (round + 1) % batch == 0 || round + 1 == warming {
            clear(line, &there);
            know(line);
            there.clear();
        }
    }
    tell(&Seen {
        rounds,
        added,
        synced,
        asked,
        planned,
        steps,
        after,
        by_figures: seen.map(|[inside, in_cloud, calls]| {
            let each = 1.0 / rounds as f64;
            [inside * 1e6 * each, in_cloud * 1e6 * each, calls * each]
        }),
    });
}

/// What was measured: microseconds, round by round.
struct Seen {
    rounds: usize,
    added: [Vec<f64>; 4],
    synced: Vec<f64>,
    asked: Vec<f64>,
    planned: Vec<f64>,
    steps: [Vec<f64>; 3],
    after: Vec<f64>,
    /// By the facade's own figures, a call to a known group and to one that is not: from the request to the answer, in Cloud,
    /// and how many requests that were.
    by_figures: [[f64; 3]; 2],
}

fn tell(seen: &Seen) {
    println!(
        "One fresh name added, in turns, {} times, over loopback, Cloud answering at once, {}.\n",
        seen.rounds,
        figures::build()
    );
    let [straight, nginx, facade, unread] = &seen.added;
    let mut table = Table::new(&[
        "one name added",
        "p50 µs",
        "p99 µs",
        "more than straight, µs (quartiles)",
        "÷ straight",
    ]);
    let mut row = |what: &str, times: &[f64]| {
        if times.is_empty() {
            return table.row(&[what, "not installed", "", "", ""]);
        }
        let more: Vec<f64> = times.iter().zip(straight).map(|(time, floor)| time - floor).collect();
        let ratios: Vec<f64> = times.iter().zip(straight).map(|(time, floor)| time / floor).collect();
        let spread = format!(
            "{} ({} to {})",
            shown(median(&more)),
            shown(quantile(&more, 0.25)),
            shown(quantile(&more, 0.75))
        );
        table.row(&[
            what,
            &shown(median(times)),
            &shown(quantile(times, 0.99)),
            &spread,
            &format!("{:.2}", median(&ratios)),
        ]);
    };
    row("straight to the simulated Cloud", straight);
    row("through nginx", nginx);
    row("through the facade, the group's list known", facade);
    row("through the facade, the list unknown", unread);
    let (disk, disk_p99) = (median(&seen.synced), quantile(&seen.synced, 0.99));
    table.row(&["an append with `fdatasync`", &shown(disk), &shown(disk_p99), "", ""]);
    if !nginx.is_empty() {
        let rounds = nginx.iter().zip(&seen.synced).map(|(nginx, disk)| nginx + 100.0 + disk);
        let aims: Vec<f64> = rounds.collect();
        let share: Vec<f64> = facade.iter().zip(&aims).map(|(facade, aim)| facade / aim).collect();
        table.row(&[
            "aim: nginx + 100 µs + one `fdatasync`",
            &shown(median(&aims)),
            &shown(quantile(&aims, 0.99)),
            &format!("the facade takes {:.2} of it", median(&share)),
            "",
        ]);
    }
    table.print();

    println!(
        "\nWhat the parts of the facade's {} µs cost, the list known:\n",
        shown(median(facade))
    );
    let mut table = Table::new(&["part", "µs", "how it is known"]);
    let (total, asked, planned) = (median(facade), median(&seen.asked), median(&seen.planned));
    let [[inside, in_cloud, calls], [_, in_cloud_unread, calls_unread]] = seen.by_figures;
    table.row(&[
        "the request itself: HTTP, credential, limits, answer",
        &shown(asked),
        "a warm getUsers on the same connection",
    ]);
    table.row(&[
        &format!("{calls:.2} requests to Cloud"),
        &shown(in_cloud),
        &format!(
            "`facade_cloud_seconds`, mean; the list unknown: {} in {calls_unread:.2}",
            shown(in_cloud_unread)
        ),
    ]);
    let mut on_disk = 0.0;
    for (step, times) in STEPS.iter().zip(&seen.steps) {
        on_disk += median(times);
        table.row(&[
            step,
            &shown(median(times)),
            "journal and audit alone, beside it in the same rounds",
        ]);
    }
    table.row(&[
        "the rest: names, plan, turns, tasks",
        &shown(total - asked - in_cloud - on_disk),
        "what is left of the p50",
    ]);
    table.row(&[
        AFTER,
        &shown(median(&seen.after)),
        "nobody waits for it; journal and audit alone",
    ]);
    table.row(&[
        "of all that, a dry run of a fresh name",
        &shown(planned),
        "the request, the plan, a commit; Cloud is not asked",
    ]);
    table.row(&[
        "from the request to the answer, inside",
        &shown(inside),
        "`facade_request_seconds`, mean",
    ]);
    table.print();
}

/// Microseconds.
fn timed(step: impl FnOnce()) -> f64 {
    std::thread::sleep(PAUSE);
    let begun = Instant::now();
    step();
    begun.elapsed().as_secs_f64() * 1e6
}

fn must(line: &mut Line, request: &[u8]) {
    let (status, body) = line.ask(request);
    let text = String::from_utf8_lossy(body);
    let is_added = !text.contains("usersAdded") || !text.contains("\"usersAdded\":[]");
    assert!((200..300).contains(&status) && is_added, "{status}: {text}");
}

fn bearer() -> String {
    format!("Bearer {TOKEN}")
}

fn one_name(person: &Person) -> String {
    format!("{{\"users\":[\"{}\"]}}", person.username)
}

fn one_account(person: &Person) -> String {
    format!("{{\"accountId\":\"{}\"}}", person.account_id)
}

fn post(path: &str, credential: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\nAuthorization: {credential}\r\n\
         X-Atlassian-Token: no-check\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Where a name is added to each way's group.
fn straight_path(cloud: SocketAddr) -> [String; 4] {
    let (_, state) = processes::once(cloud, "/_sim/state").expect("the simulator");
    let state: serde_json::Value = serde_json::from_str(&state).expect("JSON");
    WAYS.map(|way| {
        let mut groups = state.as_object().expect("groups").iter();
        let (id, _) = groups.find(|(_, group)| group["name"] == way).expect("a group");
        Simulator::path_to_add(id)
    })
}

/// Seconds of requests, seconds in Cloud, requests to Cloud.
fn figures_of(facade: &Facade) -> [f64; 3] {
    [
        "facade_request_seconds_sum",
        "facade_cloud_seconds_sum",
        "facade_cloud_seconds_count",
    ]
    .map(|name| facade.metric(name))
}

/// Has the list of the group read that is to be known.
fn know(line: &mut Line) {
    let (status, _) = line.ask(get(&format!("getUsers/{}", WAYS[KNOWN])).as_bytes());
    assert_eq!(status, 200);
}

/// Takes these out of the groups, in bulk.
fn clear(line: &mut Line, people: &[&Person]) {
    let names: Vec<&str> = people.iter().map(|person| person.username.as_str()).collect();
    let body = serde_json::json!({ "users": names }).to_string();
    for way in WAYS {
        let path = format!("/rest/extender/1.0/group/removeUsers/{way}");
        let (status, answer) = line.ask(&post(&path, &bearer(), &body));
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(answer));
    }
}
