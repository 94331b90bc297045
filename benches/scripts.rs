//! How long do the same adds take: one addUsers through the facade, or a script that asks Cloud for them one by one?
//!
//! For those who have such scripts. The same names are added to an empty group of the same simulated Cloud, which takes its time
//! to answer (and has no limits): by the facade, in one addUsers, with 16 and with 8 requests in flight; by `benches/scripts/serial_requests.py`
//! (`requests`, one call after another, the connection kept); by `benches/scripts/atlassian_api.py` (the raw posts of
//! `atlassian-python-api`). The scripts' own time is that of the calls, without the start of Python. The packages, in the
//! versions of `benches/scripts/requirements.txt`, are installed into a virtual environment below the target directory;
//! without Python or pip these rows say so. With the usual sizes the two scripts take 100 seconds each, which are paid once.
//!
//! ```sh
//! cargo bench --bench scripts
//! ```
//!
//! | variable | what | usual |
//! |---|---|---|
//! | `FACADE_BENCH_NAMES` | names that the facade adds | 1000 |
//! | `FACADE_BENCH_SCRIPT_NAMES` | names that the scripts add; their time is told for as many as the facade's, with a note, if they are fewer | all of them |
//! | `FACADE_BENCH_LATENCY_MS` | what Cloud takes to answer | 100 |
//! | `FACADE_BENCH_IN_FLIGHT` | `cloud.max_in_flight` of the facades | 16,8 |
//! | `FACADE_BENCH_PYTHON` | Python, if it is not `python3` | |
//! | `FACADE_BENCH_QUICK` | 1: small sizes, no figures to quote | |

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use extender_facade::simulator::{GroupSize, Options, Person};

#[path = "support/figures.rs"]
mod figures;
#[path = "support/line.rs"]
mod line;
#[path = "support/processes.rs"]
mod processes;
#[path = "support/world.rs"]
mod world;

use figures::{Table, shown, size, sizes};
use line::Line;
use processes::{Facade, Setup};
use world::{TOKEN, change};

const SCRIPTS: [(&str, &str); 2] = [
    ("`requests`, one call after another", "serial_requests.py"),
    ("`atlassian-python-api`, raw posts", "atlassian_api.py"),
];

fn main() {
    let names: u32 = size("NAMES", 1000, 60);
    let script_names: u32 = size("SCRIPT_NAMES", names, 20).min(names);
    let latency_ms: u64 = size("LATENCY_MS", 100, 20);
    let in_flight: Vec<usize> = sizes("IN_FLIGHT", &[16, 8], &[16, 8]);
    let mut groups: Vec<String> = in_flight.iter().map(|limit| format!("facade-{limit}")).collect();
    groups.extend(SCRIPTS.map(|(_, script)| script.to_owned()));
    let options = Options {
        users: names,
        latency_ms,
        group: groups.into_iter().map(|name| GroupSize { name, size: 0 }).collect(),
        ..Options::default()
    };
    let cloud = processes::cloud(&options);
    let people = processes::people(&options);

    let mut rows: Vec<(String, Result<Took, String>)> = Vec::new();
    for limit in in_flight {
        let seconds = by_facade(cloud.address, &people, limit);
        must_be_in(cloud.address, &format!("facade-{limit}"), names);
        let took = Took {
            seconds,
            names,
            calls: 1,
        };
        rows.push((format!("facade, one addUsers, {limit} in flight"), Ok(took)));
    }
    let python = python();
    let folder = processes::folder();
    let accounts = folder.path().join("accounts");
    let few = people.iter().take(script_names as usize);
    let text: String = few.map(|person| format!("{}\n", person.account_id)).collect();
    std::fs::write(&accounts, text).expect("a file");
    for (what, script) in SCRIPTS {
        let took = python.as_ref().map_err(Clone::clone).and_then(|python| {
            let seconds = by_script(python, script, cloud.address, &accounts)?;
            must_be_in(cloud.address, script, script_names);
            Ok(Took {
                seconds,
                names: script_names,
                calls: script_names,
            })
        });
        if let Err(why) = &took {
            eprintln!("{script} is left out: {why}");
        }
        rows.push((what.to_owned(), took));
    }
    tell(names, latency_ms, &rows);
}

/// How long something took for so many names, in so many calls of its own.
struct Took {
    seconds: f64,
    names: u32,
    calls: u32,
}

fn tell(names: u32, latency_ms: u64, rows: &[(String, Result<Took, String>)]) {
    println!(
        "{names} names added to an empty group of a Cloud that takes {latency_ms} ms to answer, each once, {}.\n",
        figures::build()
    );
    // As if for all names: the time of every one is the same.
    let whole = |took: &Took| took.seconds * f64::from(names) / f64::from(took.names);
    let facades: Vec<f64> = rows
        .iter()
        .filter_map(|(what, took)| Some(whole(took.as_ref().ok().filter(|_| what.starts_with("facade"))?)))
        .collect();
    let limits: Vec<String> = rows
        .iter()
        .filter(|(what, _)| what.starts_with("facade"))
        .map(|(what, _)| format!("÷ {}", what.replace(", one addUsers", "")))
        .collect();
    let mut head = vec!["client", "calls it makes", "seconds", "ms a name"];
    head.extend(limits.iter().map(String::as_str));
    let mut table = Table::new(&head);
    for (what, took) in rows {
        let mut cells = match took {
            Err(why) => vec![what.clone(), why.clone(), String::new(), String::new()],
            Ok(took) => {
                let seconds = whole(took);
                let note = if took.names == names {
                    String::new()
                } else {
                    format!(" (from {} names)", took.names)
                };
                vec![
                    what.clone(),
                    took.calls.to_string(),
                    shown(seconds) + &note,
                    shown(seconds * 1e3 / f64::from(names)),
                ]
            }
        };
        for facade in &facades {
            let ratio = took.as_ref().map_or(f64::NAN, |took| whole(took) / facade);
            cells.push(shown(ratio));
        }
        table.row(&cells.iter().map(String::as_str).collect::<Vec<_>>());
    }
    table.print();
    println!(
        "\nAim: a script's time ÷ the facade's ≥ 15 with 16 in flight (16 is the most there can be). TLS, which each new connection to the true Cloud pays for, is in none."
    );
}

fn by_facade(cloud: SocketAddr, people: &[Person], limit: usize) -> f64 {
    let facade = Facade::start(
        cloud,
        &Setup {
            map: &processes::map(people),
            tokens: &[TOKEN.to_owned()],
            settings: &format!("cloud.max_in_flight = {limit}\n"),
        },
    );
    let names: Vec<&str> = people.iter().map(|person| person.username.as_str()).collect();
    let request = change(&format!("addUsers/facade-{limit}"), &names);
    let mut line = Line::to(facade.process.address);
    let begun = Instant::now();
    let (status, answer) = line.ask(request.as_bytes());
    let took = begun.elapsed().as_secs_f64();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(answer));
    took
}

/// What was measured is that the names are there.
fn must_be_in(cloud: SocketAddr, group: &str, names: u32) {
    let (_, members) = processes::once(cloud, &format!("/_sim/members?group={group}")).expect("the simulator");
    let members: Vec<String> = serde_json::from_str(&members).expect("JSON");
    assert_eq!(members.len(), names as usize, "members of {group}");
}

/// A Python with the packages; else why there is none.
fn python() -> Result<PathBuf, String> {
    let system = std::env::var("FACADE_BENCH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let required = scripts().join("requirements.txt");
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scripts-venv");
    let python = place.join("bin/python");
    let run = |command: &mut Command, what: &str| {
        let done = command.output().map_err(|error| format!("no {what} ({error})"))?;
        if done.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&done.stderr);
        Err(format!(
            "{what} failed: {}",
            said.trim().lines().last().unwrap_or_default()
        ))
    };
    if !python.exists() {
        run(Command::new(&system).args(["-m", "venv"]).arg(&place), "Python")?;
    }
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
    run(install.arg(required), "pip")?;
    Ok(python)
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/scripts")
}

/// Seconds of the script's calls.
fn by_script(python: &Path, script: &str, cloud: SocketAddr, accounts: &Path) -> Result<f64, String> {
    let (_, state) = processes::once(cloud, "/_sim/state").expect("the simulator");
    let state: serde_json::Value = serde_json::from_str(&state).expect("JSON");
    let mut groups = state.as_object().expect("groups").iter();
    let (group_id, _) = groups.find(|(_, group)| group["name"] == script).expect("a group");
    let done = Command::new(python)
        .arg(scripts().join(script))
        .args([format!("http://{cloud}").as_str(), group_id])
        .arg(accounts)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| error.to_string())?;
    let said: Result<serde_json::Value, _> = serde_json::from_slice(&done.stdout);
    let seconds = said.ok().and_then(|said| said["seconds"].as_f64());
    seconds.ok_or_else(|| format!("{script} ended with {}", done.status))
}
