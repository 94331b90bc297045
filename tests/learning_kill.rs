//! What is left when the facade is killed while it learns whom e-mail addresses mean, at any moment.
//!
//! Nobody is in the map and Cloud hides every address, so that each one is asked for and kept. After the kill every row
//! that is kept must be true, nothing that was kept before may be gone, and the next start must work with it. Five
//! rounds, or 200 with `FACADE_LONG=1`.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/cloud.rs"]
mod cloud;
#[path = "support/program.rs"]
mod program;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use extender_facade::model::{Source, Standing};
use extender_facade::simulator::{Options, Simulator};
use extender_facade::store::{Error, ReadOnly};
use serde_json::{Value, json};

use cloud::{Cloud, Reply, try_send};
use program::Program;

const CLIENTS: usize = 5;
const PEOPLE: u32 = 30_000;
/// Rounds after which a new state directory is begun.
const SHARED: usize = 20;
/// Further than any clock is set while this runs.
const MOMENT_MS: i64 = 1000;

/// What several clients found out before the facade was gone.
#[derive(Default)]
struct Load {
    answers: AtomicU64,
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// A name as somebody might write it: mostly an address of a person, in any case; now and then one that nobody has.
fn address(cloud: &Cloud) -> String {
    if fastrand::u8(0..20) == 0 {
        return format!("nobody{}@example.com", fastrand::u16(..));
    }
    let email = &fastrand::choice(&cloud.people).unwrap().email;
    if fastrand::bool() {
        email.clone()
    } else {
        email.to_uppercase()
    }
}

async fn change(client: &reqwest::Client, facade: &str, path: &str, names: &[String]) -> reqwest::Result<Reply> {
    let url = format!("http://{facade}/rest/extender/1.0/group/{path}");
    try_send(client.post(url).body(json!({ "users": names }).to_string())).await
}

fn list(answer: &Value, key: &str) -> Vec<String> {
    let names = answer[key].as_array().unwrap_or_else(|| panic!("{key}: {answer}"));
    names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// Calls until nobody answers any more. Few additions, which take time in Cloud, and many names of whom nobody is a
/// member: those only have to be learned.
async fn learn(cloud: Arc<Cloud>, facade: String, load: Arc<Load>) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    loop {
        let adds = fastrand::u8(0..4) == 0;
        let count = if adds { 1..20 } else { 1..1500 };
        let names: Vec<String> = (0..fastrand::usize(count)).map(|_| address(&cloud)).collect();
        let (path, done) = if adds {
            ("addUsers/team", "usersAdded")
        } else {
            ("removeUsers/other", "usersRemoved")
        };
        let Ok(answer) = change(&client, &facade, path, &names).await else {
            return;
        };
        assert_eq!(answer.status, 200, "{}", answer.text());
        let told = list(&answer.json(), done).len() + list(&answer.json(), "usersSkipped").len();
        assert_eq!(told, names.len());
        load.answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// Every row that is kept, by name; fails where one is not true.
fn truths(state: &Path, people: &HashMap<String, String>, since: i64) -> BTreeMap<String, i64> {
    let reader = match ReadOnly::open(state) {
        Ok(reader) => reader,
        // Killed before there was anything to keep.
        Err(Error::Absent { .. }) => return BTreeMap::new(),
        Err(error) => panic!("{error}"),
    };
    reader.check().unwrap();
    let mut rows = BTreeMap::new();
    reader
        .for_each(|row| {
            let name = row.name.as_str().to_owned();
            assert_eq!(
                Some(row.account.as_str()),
                people.get(&name).map(String::as_str),
                "{row:?}"
            );
            assert_eq!((row.source, row.standing), (Source::Admin, Standing::Active), "{row:?}");
            assert!((since..=now() + MOMENT_MS).contains(&row.learned_at), "{row:?}");
            assert_eq!(rows.insert(name, row.learned_at), None, "two rows of one name");
            Ok::<_, Error>(())
        })
        .unwrap();
    rows
}

async fn asked(cloud: &Cloud) -> u64 {
    cloud.stats().await["by_operation"]["admin_search_users"]
        .as_u64()
        .unwrap_or(0)
}

/// A facade serves, and knows all of `some` without asking anybody.
async fn knows(cloud: &Cloud, people: &HashMap<String, String>, (facade, admin): (&str, &str), some: &[String]) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    // What the one before left undone is done first: that asks the organisation who is in a group.
    let until = Instant::now() + program::PATIENCE;
    loop {
        let ready = try_send(client.get(format!("http://{admin}/ready"))).await.unwrap();
        if ready.json()["operations"] == 0 {
            break;
        }
        assert!(Instant::now() < until, "{}", ready.text());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let before = asked(cloud).await;
    let answer = change(&client, facade, "addUsers/known", some).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(asked(cloud).await, before, "it was kept, and asked for again");
    let accounts: HashSet<String> = cloud.truth("known").await.into_iter().collect();
    for name in some {
        assert!(accounts.contains(&people[name]), "{name} was not added");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_facade_killed_while_it_learns_keeps_nothing_that_is_not_true() {
    let rounds = if std::env::var("FACADE_LONG").is_ok_and(|long| long == "1") {
        200
    } else {
        5
    };
    let options = Options {
        users: PEOPLE,
        group: ["team=0", "other=0", "known=0"]
            .map(|group| group.parse().unwrap())
            .to_vec(),
        ..Options::default()
    };
    let org = Simulator::new(&options).unwrap().org_id();
    let cloud = Arc::new(Cloud::start(options).await);
    cloud.switch(json!({ "hidden_emails": true })).await;
    let people: HashMap<String, String> = cloud
        .people
        .iter()
        .map(|person| (person.email.to_lowercase(), person.account_id.clone()))
        .collect();
    let (site, admin) = (cloud.url(""), cloud.url("/admin"));
    let settings = [
        ("FACADE__CLOUD__ADMIN__ORG_ID", org.as_str()),
        ("FACADE__CLOUD__ADMIN__API_KEY", "organisation-key"),
        ("FACADE__CLOUD__ADMIN__BASE_URL", admin.as_str()),
        ("FACADE__LOG__FILTER", "error,extender_facade::cli=info"),
        // What was left undone is judged soon.
        ("FACADE__CACHE__READ_LAG_S", "1"),
    ];

    let since = now() - MOMENT_MS;
    let mut directory = tempfile::tempdir().unwrap();
    let (mut before, mut checked, mut while_learning) = (BTreeMap::new(), 0, 0);
    for round in 0..rounds {
        if round % SHARED == 0 {
            directory = tempfile::tempdir().unwrap();
            before = BTreeMap::new();
        }
        let state = directory.path().join("state");
        let mut program = Program::start(&state, &site, &settings);
        let early = round % 5 == 3;
        if early {
            // While it opens what the last one left.
            tokio::time::sleep(Duration::from_micros(fastrand::u64(0..60_000))).await;
            program.kill();
        } else {
            let (facade, admin) = program.serves();
            let mut some: Vec<String> = before.keys().cloned().collect();
            fastrand::shuffle(&mut some);
            some.truncate(50);
            knows(&cloud, &people, (&facade, &admin), &some).await;
            let load = Arc::new(Load::default());
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| tokio::spawn(learn(Arc::clone(&cloud), facade.clone(), Arc::clone(&load))))
                .collect();
            // Any moment will do: one of the first in some rounds, in most of them one in the middle of it.
            if round % 5 != 1 {
                let (from, some) = (asked(&cloud).await, fastrand::u64(2..40));
                let until = Instant::now() + program::PATIENCE;
                while asked(&cloud).await < from + some {
                    assert!(Instant::now() < until, "nothing is learned");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            tokio::time::sleep(Duration::from_micros(fastrand::u64(0..100_000))).await;
            let ended = program.kill();
            assert_eq!(ended.signal(), Some(9), "it ended by itself");
            for client in clients {
                client.await.unwrap();
            }
            while_learning += load.answers.load(Ordering::Relaxed);
        }
        let rows = truths(&state, &people, since);
        for (name, at) in &before {
            assert!(
                rows.get(name).is_some_and(|now| now >= at),
                "{name} was kept, and is gone"
            );
        }
        checked += rows.len();
        println!("round {round}: {} rows are kept, and true", rows.len());
        before = rows;
    }
    println!("{rounds} rounds, {checked} rows checked, {while_learning} calls answered while learning");
    assert!(!before.is_empty(), "nothing was learned");

    let mut program = Program::start(&directory.path().join("state"), &site, &settings);
    let (facade, admin) = program.serves();
    let some: Vec<String> = before.into_keys().take(200).collect();
    knows(&cloud, &people, (&facade, &admin), &some).await;
    // Nobody was put anywhere who was not named.
    let everybody: HashSet<&String> = people.values().collect();
    assert!(
        cloud
            .truth("team")
            .await
            .iter()
            .all(|account| everybody.contains(account))
    );
    assert!(cloud.truth("other").await.is_empty());
    program.signal("-TERM");
    assert!(program.ended().success());
}
