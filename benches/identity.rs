//! What does it cost to turn a legacy name into an account, and an account into the name that is shown; and what does it
//! cost to have a map of a million rows: time to load, and memory?
//!
//! Each figure stands beside its floor, measured in the same run:
//!
//! * loading: the same file read through the csv crate alone, into one record that is used again, with the same buffer;
//! * a look-up: a bare `std::collections::HashMap<String, u32>` asked for the same names in lower case. "raw" is the
//!   same names in mixed case, as scripts send them; the floor cannot answer those.
//!
//! Environment variables, to put in your own sizes and your own people:
//!
//! * `FACADE_BENCH_ROWS`: rows of a generated map, default 1000000.
//! * `FACADE_BENCH_MAP`: a map file of yours instead (as `identity.map_file`).
//! * `FACADE_BENCH_BATCH`: names of one call, default 1000.
//! * `FACADE_BENCH_ROUNDS`: how often each figure is taken, default 5; the best one counts.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use extender_facade::cloud::{Client, Confluence, Credential, Owner};
use extender_facade::directory::Change;
use extender_facade::directory::identity::{Current, Entry, Identity, Map, Own};
use extender_facade::metrics::Metrics;
use extender_facade::model::{AccountId, Caller, Context, RequestId};
use extender_facade::settings::{CredentialKind, NameKind, PrimaryRule, Settings};

const ORDER: [NameKind; 3] = [NameKind::Username, NameKind::Email, NameKind::AccountId];

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| {
        text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}"))
    })
}

/// A map as a migration leaves it: every column filled, one account in fifty with a second username.
fn generated(directory: &Path) -> PathBuf {
    let rows = number("FACADE_BENCH_ROWS", 1_000_000);
    let mut text = "username,key,email,old_email,account_id,full_name,status,primary,created,updated\n".to_owned();
    for n in 0..rows {
        let (alias, person) = if n % 50 == 49 { ("adm-", n - 1) } else { ("", n) };
        // Spread as ids are, not counted.
        let id = (person as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        writeln!(
            text,
            "{alias}User{person:07},2c9b8082{id:016x}{n:08x},First.Last{person}@Example.com,,5b10a284{id:016x},\
             \"Last{person}, First\",,,2019-03-01 08:00:00,2022-06-07 12:38:40"
        )
        .unwrap();
    }
    let path = directory.join("identities.csv");
    std::fs::write(&path, text).unwrap();
    path
}

/// The best of several rounds of a figure and of its floor. They take turns: what else the machine does, it does to
/// both.
fn best(mut figure: impl FnMut(), mut floor: impl FnMut()) -> (Duration, Duration) {
    let time = |round: &mut dyn FnMut()| {
        let start = Instant::now();
        round();
        start.elapsed()
    };
    let rounds = (0..number("FACADE_BENCH_ROUNDS", 5)).map(|_| (time(&mut figure), time(&mut floor)));
    rounds
        .reduce(|best, round| (best.0.min(round.0), best.1.min(round.1)))
        .unwrap()
}

/// Resident memory in bytes; nothing where there is no `/proc`.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok())
        .unwrap_or(0)
        * 1024
}

fn compare(what: &str, (figure, floor): (Duration, Duration), times: usize) {
    let each = |duration: Duration| duration.as_nanos() as f64 / times as f64;
    println!(
        "{what:<34} {:>10.1} ns   floor {:>10.1} ns   ratio {:.2}",
        each(figure),
        each(floor),
        figure.as_secs_f64() / floor.as_secs_f64()
    );
}

fn load(path: &Path) -> Map {
    let floor = || {
        let file = std::fs::File::open(path).unwrap();
        let mut reader = csv::ReaderBuilder::new().buffer_capacity(1 << 16).from_reader(file);
        let mut record = csv::ByteRecord::new();
        let mut fields = 0;
        while reader.read_byte_record(&mut record).unwrap() {
            fields += record.len();
        }
        black_box(fields);
    };
    let before = resident();
    let map = Map::read(path, PrimaryRule::First).unwrap_or_else(|faults| panic!("{faults}"));
    let memory = resident().saturating_sub(before);
    let rows = map.rows();
    println!(
        "a map of {rows} rows, {} accounts, {} ambiguous names; file {} MB",
        map.len(),
        map.ambiguous(),
        std::fs::metadata(path).unwrap().len() / 1_000_000
    );
    println!(
        "{:<34} {:>10.1} MB   {} bytes a row",
        "resident",
        memory as f64 / 1e6,
        memory / rows
    );
    let figure = || drop(black_box(Map::read(path, PrimaryRule::First).unwrap()));
    compare("load, a row", best(figure, floor), rows);
    map
}

/// `count` of the texts, spread over all of them, so that no cache of the processor makes the figure.
fn sample(all: &[String], count: usize) -> Vec<String> {
    (0..count)
        .map(|n| all[(n * 104_729 + n / all.len()) % all.len()].clone())
        .collect()
}

fn look_up(map: &Map, what: &str, texts: Vec<String>, ask: impl Fn(&str) -> bool, raw: Option<&dyn Fn(&str) -> bool>) {
    if texts.is_empty() {
        return;
    }
    let count = 1_000_000.min(texts.len());
    let floor_map: HashMap<String, u32> = texts.iter().map(|text| text.to_lowercase()).zip(0..).collect();
    let mixed = sample(&texts, count);
    let lower: Vec<String> = mixed.iter().map(|text| text.to_lowercase()).collect();
    let all = |names: &[String], ask: &dyn Fn(&str) -> bool| {
        assert_eq!(names.iter().filter(|name| ask(black_box(name))).count(), names.len());
    };
    let floor = || all(&lower, &|name| floor_map.contains_key(name));
    black_box(map);
    compare(what, best(|| all(&lower, &ask), floor), count);
    if let Some(raw) = raw {
        compare(&format!("{what}, raw"), best(|| all(&mixed, raw), floor), count);
    }
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let path = std::env::var("FACADE_BENCH_MAP").map_or_else(|_| generated(directory.path()), PathBuf::from);
    let map = load(&path);
    let texts = |of: fn(Entry<'_>) -> Option<&str>| -> Vec<String> {
        map.entries().filter_map(of).map(str::to_owned).collect()
    };
    let ask = |name: &str| map.by_name(name).is_some();
    look_up(
        &map,
        "username",
        texts(|entry| entry.usernames().next()),
        ask,
        Some(&ask),
    );
    look_up(&map, "user key", texts(|entry| entry.key()), ask, Some(&ask));
    look_up(&map, "e-mail address", texts(|entry| entry.email()), ask, Some(&ask));
    let accounts = texts(|entry| Some(entry.account()));
    look_up(
        &map,
        "account id",
        accounts.clone(),
        |id| map.by_account(id).is_some(),
        None,
    );
    back(&map, &accounts);
    batch(map);
}

/// From an account to the name it is shown under, as a members' page asks: the id is there as an [`AccountId`].
fn back(map: &Map, accounts: &[String]) {
    let count = 1_000_000.min(accounts.len());
    let floor_map: HashMap<String, u32> = accounts.iter().cloned().zip(0..).collect();
    let names = sample(accounts, count);
    let floor = || {
        let numbers = names.iter().filter_map(|id| floor_map.get(black_box(id)));
        black_box(numbers.map(|n| *n as usize).sum::<usize>());
    };
    let ids: Vec<AccountId> = names.iter().map(|id| AccountId::new(id)).collect();
    let figure = || {
        let shown = ids.iter().filter_map(|id| map.shown_name(black_box(id), &ORDER, true));
        black_box(shown.map(str::len).sum::<usize>());
    };
    compare("the way back", best(figure, floor), count);
}

/// The whole chain, as one bulk call walks it; no name needs Cloud.
fn batch(map: Map) {
    let settings = Settings::defaults();
    let mut cloud = settings.cloud.clone();
    cloud.base_url = "http://127.0.0.1:9".to_owned();
    let client = Client::new(&cloud, Metrics::new()).unwrap();
    let cloud = Confluence::new(
        Arc::new(client),
        Credential::pair(CredentialKind::ApiToken, "nobody@example.com", "none", Owner::Facade),
    );
    let usernames: Vec<String> = map
        .entries()
        .filter_map(|entry| entry.usernames().next())
        .map(str::to_owned)
        .collect();
    let names = sample(&usernames, number("FACADE_BENCH_BATCH", 1000));
    let lower: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    let floor_map: HashMap<String, u32> = usernames.iter().map(|name| name.to_lowercase()).zip(0..).collect();
    let floor = || {
        let found = lower.iter().filter(|name| floor_map.contains_key(black_box(*name)));
        black_box(found.count());
    };
    let identity = Identity::new(Arc::new(Current::new(map)), Own::default(), &settings, Metrics::new());
    let context = Context::new(RequestId::new("bench"), Caller::named("bench"), Duration::from_secs(60));
    let map = identity.map();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let figure = || {
        let answers = runtime.block_on(identity.resolve(black_box(&names), Change::Add, &map, &cloud, &context));
        black_box(answers.unwrap().len());
    };
    compare(
        &format!("one call of {} names, a name", names.len()),
        best(figure, floor),
        names.len(),
    );
}
