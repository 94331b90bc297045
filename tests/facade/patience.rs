//! A client that gives up after two seconds and asks again, over an operation of 10,000 names: one operation, 10,000
//! changes, one answer. It is the program itself that is asked, so that its memory can be told beside that of an idle
//! one, and what its report costs while the operation runs. Nothing here asserts a time: `-- --nocapture` shows them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::cloud::{Cloud, Reply, try_send};
use crate::harness::{names, options, texts};
use crate::program::{PATIENCE, Program};

const NAMES: usize = 10_000;
const BEFORE: usize = 50;
/// The client's patience, and how long it then waits.
const GIVES_UP: Duration = Duration::from_secs(2);
/// What the run may need beside an idle program.
const MOST_KIB: u64 = 64 * 1024;

struct Script {
    client: Client,
    facade: String,
}

impl Script {
    fn add(&self, body: &Value) -> reqwest::RequestBuilder {
        let url = format!("http://{}/rest/extender/1.0/group/addUsers/team", self.facade);
        self.client.post(url).body(body.to_string())
    }

    /// An answer, its time and its size.
    async fn get(&self, path: &str) -> (Reply, String) {
        let from = Instant::now();
        let answer = try_send(self.client.get(format!("http://{}{path}", self.facade))).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let took = from.elapsed().as_secs_f64() * 1000.0;
        let told = format!("{:.0} KiB in {took:.0} ms", answer.body.len() as f64 / 1024.0);
        (answer, told)
    }
}

/// The operations that the audit tells of, and its number of lines.
fn audited(state: &std::path::Path) -> (BTreeSet<String>, usize) {
    let text = std::fs::read_to_string(state.join("audit.jsonl")).unwrap_or_default();
    // The last line may be under way.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines: Vec<Value> = lines.filter(|line| line.get("audit").is_none()).collect();
    let ids = lines
        .iter()
        .map(|line| line["operation_id"].as_str().unwrap().to_owned());
    (ids.collect(), lines.len())
}

/// What was seen of the running operation.
#[derive(Default)]
struct Seen {
    /// How far it was each time.
    settled: Vec<u64>,
    /// The most memory before its report was asked for, in KiB.
    peak: u64,
    /// What its reports cost. Shown at the end: a failure is not to be looked for among it.
    told: Vec<String>,
}

/// Looks at the report of the running operation, again and again.
async fn watch(script: &Script, state: &std::path::Path, program: &Program) -> Seen {
    let begun = Instant::now();
    let id = loop {
        if let (Some(id), 2_000..) = (audited(state).0.first().cloned(), audited(state).1) {
            break id;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not begin");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let mut seen = Seen {
        peak: program.peak_kib(),
        ..Seen::default()
    };
    let path = format!("/facade/v1/reports/{id}");
    loop {
        let (report, told) = script.get(&path).await;
        let report = report.json();
        assert_eq!(report["id"], id.as_str());
        let progress = |key: &str| report["progress"][key].as_u64().unwrap();
        assert_eq!(progress("asked"), NAMES as u64);
        let settled = progress("settled");
        assert_eq!(settled + progress("left"), NAMES as u64);
        assert!(
            seen.settled.last().is_none_or(|before| *before <= settled),
            "it never goes back"
        );
        assert_eq!(report["names"].as_array().unwrap().len(), NAMES);
        seen.settled.push(settled);
        if report["state"] == "finished" {
            seen.told.push(format!("the report at its end: {told}"));
            return seen;
        }
        let (page, of_page) = script.get(&format!("{path}?format=html")).await;
        let page = page.text();
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
        let (_, of_figures) = script.get(&format!("{path}?names=false")).await;
        seen.told.push(format!(
            "the report at {settled} names: {told}; its page: {of_page}; without names: {of_figures}"
        ));
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_gives_up_and_asks_again_until_it_is_answered_is_told_of_one_operation() {
    let mut simulated = options(NAMES as u32 + 100, &[("team", BEFORE as u32)]);
    simulated.latency_ms = 6;
    let cloud = Cloud::start(simulated).await;
    let directory = tempfile::tempdir().unwrap();
    let mut map = "username,account_id\n".to_owned();
    for person in &cloud.people {
        map.push_str(&format!("{},{}\n", person.username, person.account_id));
    }
    let map_file = directory.path().join("map.csv");
    std::fs::write(&map_file, map).unwrap();
    let state = directory.path().join("state");
    let settings = [("FACADE__IDENTITY__MAP_FILE", map_file.to_str().unwrap())];
    let program = Program::start(&state, &cloud.url(""), &settings);
    let client = Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let script = Script {
        client,
        facade: program.serves().0,
    };
    // What a program needs that has had nothing to do.
    let empty = try_send(script.add(&json!({ "users": [] }))).await.unwrap();
    assert_eq!(empty.status, 200, "{empty:?}");
    let idle = program.peak_kib();
    cloud.reset().await;

    let all = names(BEFORE + 1, NAMES);
    let body = json!({ "users": all });
    let mut given_up = 0;
    let from = Instant::now();
    let retried = async {
        loop {
            // Not the client's own limit: that throws away an answer which has arrived while this task was busy with a
            // report, and whoever has received an answer has been told.
            if let Ok(answer) = timeout(GIVES_UP, try_send(script.add(&body))).await {
                break answer.unwrap();
            }
            given_up += 1;
            assert!(given_up < 100, "it is never answered");
            tokio::time::sleep(GIVES_UP).await;
        }
    };
    let (answer, seen) = tokio::join!(retried, watch(&script, &state, &program));
    let took = from.elapsed();
    let of_run = program.peak_kib();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(texts(&answer.json()["usersAdded"], None), all);
    assert_eq!(answer.header("x-facade-skipped"), Some("0"));
    assert!(given_up >= 2, "{given_up}: it was answered too soon to show anything");
    let (ids, lines) = audited(&state);
    assert_eq!(
        ids.iter().collect::<Vec<_>>(),
        [answer.header("x-facade-report").unwrap()]
    );
    assert_eq!(lines, NAMES);
    let calls = cloud.stats().await["by_operation"].clone();
    assert_eq!(calls["add_member"], NAMES);
    assert_eq!(cloud.truth("team").await.len(), BEFORE + NAMES);
    let between = seen
        .settled
        .iter()
        .filter(|settled| (1..NAMES as u64).contains(settled))
        .count();
    assert!(between >= 2, "{:?}", seen.settled);

    // Given once: the next is a call of its own.
    let next = try_send(script.add(&body)).await.unwrap();
    assert_eq!(next.header("x-facade-skipped"), Some(NAMES.to_string().as_str()));
    let list = "/rest/extender/1.0/group/getUsers/team?maxResults=100000";
    // The first asks Cloud for the names of those who came.
    script.get(&format!("{list}&showExtendedDetails=true")).await;
    let (_, members) = script.get(&format!("{list}&showExtendedDetails=true")).await;
    let (_, short) = script.get(list).await;
    let peak = program.peak_kib();
    seen.told.iter().for_each(|line| eprintln!("{line}"));
    eprintln!(
        "{NAMES} names in {:.1} s, given up {given_up} times",
        took.as_secs_f64()
    );
    eprintln!(
        "a list of {} members: {short}; with all details: {members}",
        BEFORE + NAMES
    );
    eprintln!(
        "peak of memory: idle {idle} KiB, in the run before its report is asked for {} KiB, in all of it {of_run} KiB, \
         with those lists {peak} KiB",
        seen.peak
    );
    assert!(of_run - idle < MOST_KIB, "{idle} KiB, then {of_run} KiB");
}
