//! A stop loses nothing: what runs is finished, or told by name.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::harness::{ADMIN, World, names, options};
use crate::truth::{self, accounts, hold};

/// An addition of 500 names that is under way.
async fn underway(
    shutdown_s: u64,
    change: impl FnOnce(&mut extender_facade::settings::Settings),
) -> (World, tokio::task::JoinHandle<reqwest::Result<crate::cloud::Reply>>) {
    let mut options = options(600, &[("team", 10)]);
    options.latency_ms = 20;
    let world = World::start(options, |settings| {
        settings.shutdown_s = shutdown_s;
        change(settings);
    })
    .await;
    let body = json!({ "users": names(51, 500) }).to_string();
    let request = world
        .request(reqwest::Method::POST, "addUsers/team")
        .bearer_auth(ADMIN)
        .body(body);
    let call = tokio::spawn(crate::cloud::try_send(request));
    let begun = async {
        while world.calls().await.get("add_member").copied().unwrap_or(0) < 20 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), begun).await.unwrap();
    (world, call)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_with_time_enough_finishes_what_runs_and_answers_it() {
    let (mut world, call) = underway(30, |_| {}).await;
    world.stop.say();
    (&mut world.task).await.unwrap();
    let answer = call.await.unwrap().unwrap();
    assert_eq!(answer.json()["message"], "all users added to group");
    hold(
        &world,
        "team",
        &names(51, 500),
        &answer,
        &accounts(&world, &names(1, 10)),
    )
    .await;
    assert!(
        reqwest::get(format!("http://{}/", world.facade)).await.is_err(),
        "nobody is let in any more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_with_too_little_time_tells_the_rest_by_name() {
    for second in [false, true] {
        let (mut world, call) = underway(if second { 30 } else { 0 }, |_| {}).await;
        world.stop.say();
        if second {
            world.stop.say();
        }
        (&mut world.task).await.unwrap();
        let answer = call.await.unwrap().unwrap();
        assert_eq!(answer.status, 503, "{answer:?}");
        let after = hold(
            &world,
            "team",
            &names(51, 500),
            &answer,
            &accounts(&world, &names(1, 10)),
        )
        .await;
        assert!(after.len() < 510);
        let audit = truth::audit_of(&world, &answer);
        assert_eq!(audit.len(), 500);
        let left = audit.iter().filter(|line| line["result"] == "not_attempted").count();
        assert_eq!(left, 510 - after.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_cloud_that_is_down() {
    let (mut world, call) = underway(0, |_| {}).await;
    let before = accounts(&world, &names(1, 10));
    world.cloud.switch(json!({ "down": true })).await;
    world.stop.say();
    tokio::time::timeout(Duration::from_secs(10), &mut world.task)
        .await
        .unwrap()
        .unwrap();
    let answer = call.await.unwrap().unwrap();
    assert_eq!(answer.status, 503);
    hold(&world, "team", &names(51, 500), &answer, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_answers_that_take_too_long() {
    let too_long = json!({ "slow": "1:30000" });
    // Changes under way: what became of them nobody can tell.
    let (mut world, call) = underway(0, |_| {}).await;
    let before = accounts(&world, &names(1, 10));
    world.cloud.switch(too_long.clone()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.stop.say();
    tokio::time::timeout(Duration::from_secs(20), &mut world.task)
        .await
        .unwrap()
        .unwrap();
    let answer = call.await.unwrap().unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    hold(&world, "team", &names(51, 500), &answer, &before).await;
    let in_doubt = truth::audit_of(&world, &answer)
        .iter()
        .filter(|line| line["result"] == "in_doubt")
        .count();
    assert!((1..=8).contains(&in_doubt), "{in_doubt}");
    // Planning: nothing has changed.
    let mut world = World::start(options(50, &[("team", 10)]), |settings| settings.shutdown_s = 0).await;
    world.cloud.switch(too_long).await;
    let request = world.request(reqwest::Method::POST, "addUsers/team").bearer_auth(ADMIN);
    let call = tokio::spawn(crate::cloud::send(
        request.body(json!({ "users": names(20, 5) }).to_string()),
    ));
    while !world.calls().await.contains_key("find_group") {
        tokio::task::yield_now().await;
    }
    world.stop.say();
    tokio::time::timeout(Duration::from_secs(20), &mut world.task)
        .await
        .unwrap()
        .unwrap();
    let answer = call.await.unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(world.audit().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_whose_caller_is_gone_is_finished_before_the_end() {
    let (mut world, call) = underway(30, |_| {}).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    world.stop.say();
    (&mut world.task).await.unwrap();
    assert_eq!(world.truth("team").await, [names(1, 10), names(51, 500)].concat());
    assert_eq!(world.audit().len(), 500);
}

/// A child process that does not outlive its test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

/// The program before a simulated Cloud; gives its address besides.
async fn program(cloud: &Cloud, directory: &std::path::Path) -> (Program, String) {
    let path = |name: &str| directory.join(name).display().to_string();
    let mut map = "username,account_id\n".to_owned();
    for person in &cloud.people {
        map.push_str(&format!("{},{}\n", person.username, person.account_id));
    }
    std::fs::write(path("map.csv"), map).unwrap();
    let mut program = Program(
        Command::new(env!("CARGO_BIN_EXE_extender-facade"))
            .arg("serve")
            .env("FACADE__INBOUND__MODE", "open")
            .env("FACADE__INBOUND__LISTEN", "127.0.0.1:0")
            .env("FACADE__ADMIN__LISTEN", "")
            .env("FACADE__STATE_DIR", path("state"))
            .env("FACADE__IDENTITY__MAP_FILE", path("map.csv"))
            .env("FACADE__CLOUD__BASE_URL", cloud.url(""))
            .env("FACADE__CLOUD__EMAIL", "robot@example.com")
            .env("FACADE__CLOUD__API_TOKEN", "token")
            .env("FACADE__LOG__FORMAT", "json")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let lines = BufReader::new(program.0.stderr.take().unwrap()).lines();
    let (sender, address) = tokio::sync::oneshot::channel();
    // Read to its end: a full pipe would hold the program up.
    std::thread::spawn(move || {
        let mut sender = Some(sender);
        for line in lines.map_while(Result::ok) {
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "serving"
                && let Some(sender) = sender.take()
            {
                let _ = sender.send(line["inbound"].as_str().unwrap().to_owned());
            }
        }
    });
    (program, address.await.expect("the program serves"))
}

/// An addition of 200 names by the program that is under way.
async fn adding(cloud: &Cloud, address: &str) -> tokio::task::JoinHandle<reqwest::Result<crate::cloud::Reply>> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap();
    let request = client
        .post(format!("http://{address}/rest/extender/1.0/group/addUsers/team"))
        .body(json!({ "users": names(51, 200) }).to_string());
    let call = tokio::spawn(crate::cloud::try_send(request));
    while cloud.stats().await["by_operation"]["add_member"].as_u64().unwrap_or(0) < 30 {
        tokio::task::yield_now().await;
    }
    call
}

fn audited(directory: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(directory.join("state/audit.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    // The file's first line says what it continues.
    lines.filter(|line: &Value| line.get("audit").is_none()).collect()
}

fn slow_cloud() -> extender_facade::simulator::Options {
    let mut simulated = options(300, &[("team", 10)]);
    simulated.latency_ms = 30;
    simulated
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn the_program_itself_finishes_an_addition_after_sigterm() {
    let (cloud, directory) = (Cloud::start(slow_cloud()).await, tempfile::tempdir().unwrap());
    let (mut program, address) = program(&cloud, directory.path()).await;
    let call = adding(&cloud, &address).await;
    let pid = program.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(
        call.await.unwrap().unwrap().json()["message"],
        "all users added to group"
    );
    let ended = tokio::task::spawn_blocking(move || program.0.wait());
    assert!(ended.await.unwrap().unwrap().success());
    assert_eq!(cloud.truth("team").await.len(), 210);
    let audit = audited(directory.path());
    assert_eq!(audit.iter().filter(|line| line["result"] == "done").count(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_killed_leaves_what_it_changed_in_the_audit() {
    let (cloud, directory) = (Cloud::start(slow_cloud()).await, tempfile::tempdir().unwrap());
    let (mut program, address) = program(&cloud, directory.path()).await;
    let call = adding(&cloud, &address).await;
    // The audit is written by a thread of its own: wait for some of it.
    let file = directory.path().join("state/audit.jsonl");
    while std::fs::read_to_string(&file).unwrap().lines().count() < 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    program.0.kill().unwrap();
    program.0.wait().unwrap();
    assert!(call.await.unwrap().is_err());
    let audit: BTreeSet<String> = audited(directory.path())
        .iter()
        .map(|line| line["account"].as_str().unwrap().to_owned())
        .collect();
    let truth: BTreeSet<String> = cloud.truth("team").await.into_iter().skip(10).collect();
    // What was under way, and what the thread had not written yet, is found out by the next process.
    assert!(audit.is_subset(&truth) && audit.len() < 200, "{audit:?} {truth:?}");
    // The next process goes on behind the last line, whole or not, and with the operation: the same call gets its answer.
    let mut text = std::fs::read(&file).unwrap();
    text.truncate(text.len() - 5);
    std::fs::write(&file, text).unwrap();
    let (_program, address) = self::program(&cloud, directory.path()).await;
    let answer = adding(&cloud, &address).await.await.unwrap().unwrap();
    assert_eq!(answer.json()["message"], "all users added to group", "{answer:?}");
    assert_eq!(cloud.truth("team").await.len(), 210);
    let lines = audited(directory.path());
    let torn = lines.iter().filter(|line| line.get("torn").is_some()).count();
    assert_eq!(torn, 1);
    // All of it is one operation, and every name is accounted for once: the line that was torn is told again.
    let told: Vec<&Value> = lines.iter().filter(|line| line.get("torn").is_none()).collect();
    let operation = &told[0]["operation_id"];
    assert!(
        told.iter()
            .all(|line| line["operation_id"] == *operation && line["result"] == "done")
    );
    let accounts: BTreeSet<&str> = told.iter().map(|line| line["account"].as_str().unwrap()).collect();
    assert_eq!(accounts.len(), told.len(), "nobody twice");
    assert_eq!(told.len(), 200);
}
