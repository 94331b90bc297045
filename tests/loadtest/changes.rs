//! What is changed and taken back.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use extender_facade::simulator::Options;
use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::program::{self, Program, bare};
use crate::stub::{Asked, Reply, Stub, groups, members};
use crate::{SHORT, against, loadtest, report, sum, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_facade_that_runs_is_as_it_was_afterwards() {
    let cloud = Cloud::start(Options {
        users: 40,
        group: vec!["team=10".parse().unwrap(), "other=5".parse().unwrap()],
        ..Options::default()
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let map = folder.path().join("map.csv");
    let rows = cloud
        .people
        .iter()
        .map(|person| format!("{},{}\n", person.username, person.account_id));
    std::fs::write(&map, format!("username,account_id\n{}", rows.collect::<String>())).unwrap();
    let site = format!("http://{}", cloud.address);
    let program = Program::start(
        &folder.path().join("state"),
        &site,
        &[("FACADE__IDENTITY__MAP_FILE", map.to_str().unwrap())],
    );
    let (inbound, admin) = program.serves();
    let state = async || -> Value {
        let answer = cloud.client.get(format!("{site}/_sim/state")).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    };
    let before = state().await;
    let (target, admin) = (format!("http://{inbound}"), format!("http://{admin}"));
    let groups = folder.path().join("groups.txt");
    std::fs::write(&groups, "team\r\nother\n\nteam\n").unwrap();
    let output = tokio::task::spawn_blocking(move || {
        let arguments = [
            "--target",
            &target,
            "--admin",
            &admin,
            "--change-group",
            "team",
            "--json",
            "-",
        ];
        let files = [
            "--map",
            map.to_str().unwrap(),
            "--groups-file",
            groups.to_str().unwrap(),
        ];
        let load = [
            "--mix",
            "getUsers=4,addUsers=4,removeUsers=2,addGroups=2,removeGroups=1",
            "--steady",
            "2",
        ];
        loadtest(&[&arguments[..], &files, &load, &SHORT].concat())
    })
    .await
    .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report = report(&output);
    assert_eq!(sum(&report, "asked"), sum(&report, "good"), "{report}");
    let changes = &report["changes"];
    assert!(changes["added"].as_u64().unwrap() > 5, "{changes}");
    assert_eq!(changes["left"], json!([]));
    assert_eq!(state().await, before, "{report}");
    // The operator's figures tell what it cost; whoever was in the group was not touched.
    let stats = cloud
        .client
        .get(format!("{site}/_sim/stats"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let stats: Value = serde_json::from_str(&stats).unwrap();
    let told: u64 = report["cloud_calls"]
        .as_object()
        .unwrap()
        .values()
        .map(|count| count.as_u64().unwrap())
        .sum();
    assert!(told > 0 && told <= stats["total"].as_u64().unwrap(), "{report} {stats}");
    assert_eq!(report["asked"]["groups"], "team and 1 others, each as often");
}

#[test]
fn whose_addition_got_no_answer_is_taken_out_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let map = folder.path().join("map.csv");
    std::fs::write(&map, "username,account_id\nold,a1\nnew1,a2\nnew2,a3\nnew3,a4\n").unwrap();
    let stub = Stub::start(|asked| match asked.line.split('/').nth(5) {
        Some("getGroups?maxResults=1 HTTP") => groups(),
        Some("getUsers") => members(&["old"]),
        Some("addUsers") => Reply::Close,
        Some("removeUsers") => {
            let body: Value = serde_json::from_str(&asked.body).unwrap();
            Reply::Json(json!({"xRemoved": body["users"], "xSkipped": []}).to_string())
        }
        _ => Reply::Status("404 Not Found"),
    });
    let words = [
        "--mix",
        "addUsers=1",
        "--change-group",
        "a group",
        "--map",
        map.to_str().unwrap(),
    ];
    let output = against(&stub, "0.4", &words);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let changes = report(&output)["changes"].clone();
    assert_eq!(
        (&changes["added"], &changes["removed_at_the_end"]),
        (&json!(0), &json!(3)),
        "{changes}"
    );
    let removals: Vec<Asked> = stub
        .asked()
        .into_iter()
        .filter(|asked| asked.line.contains("/removeUsers/"))
        .collect();
    assert_eq!(removals.len(), 1);
    assert!(removals[0].line.contains("/removeUsers/a%20group "), "{removals:?}");
    // Who was in it before is none of this test's.
    assert_eq!(removals[0].body, json!({"users": ["new1", "new2", "new3"]}).to_string());
    assert!(!stub.asked().iter().any(|asked| asked.body.contains("old")));
}

#[test]
fn what_could_not_be_taken_out_is_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let map = folder.path().join("map.csv");
    std::fs::write(&map, "username,account_id\nnew1,a2\n").unwrap();
    let stub = Stub::start(|asked| match asked.line.split('/').nth(5) {
        Some("getGroups?maxResults=1 HTTP") => groups(),
        Some("getUsers") => members(&[]),
        Some("addUsers") => Reply::Json(json!({"xAdded": ["new1"], "xSkipped": []}).to_string()),
        _ => Reply::Status("503 Service Unavailable"),
    });
    let words = [
        "--mix",
        "addUsers=1",
        "--change-group",
        "g",
        "--map",
        map.to_str().unwrap(),
    ];
    let output = against(&stub, "0.2", &words);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!(
        report(&output)["changes"]["left"],
        json!([{"group": "g", "name": "new1"}])
    );
}

#[test]
fn who_was_skipped_when_taken_out_and_is_still_in_is_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let map = folder.path().join("map.csv");
    // The last two are one account: that may not be taken out by either name, and so is not put in.
    std::fs::write(&map, "username,account_id\nNew1,a2\nnew2,a3\nonce,a4\ntwice,a4\n").unwrap();
    let is_changed = Arc::new(AtomicBool::new(false));
    let stub = Stub::start(move |asked| match asked.line.split('/').nth(5) {
        Some("getGroups?maxResults=1 HTTP") => groups(),
        // Somebody else took the one out.
        Some("getUsers") if is_changed.load(Ordering::Relaxed) => members(&["new1"]),
        Some("getUsers") => members(&[]),
        Some("addUsers") => {
            is_changed.store(true, Ordering::Relaxed);
            let body: Value = serde_json::from_str(&asked.body).unwrap();
            Reply::Json(json!({"xAdded": body["users"], "xSkipped": []}).to_string())
        }
        _ => Reply::Json(json!({"xRemoved": [], "xSkipped": ["New1", "new2"]}).to_string()),
    });
    let words = [
        "--mix",
        "addUsers=1",
        "--names-per-call",
        "10",
        "--change-group",
        "g",
        "--map",
        map.to_str().unwrap(),
    ];
    let output = against(&stub, "0.2", &words);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!(
        report(&output)["changes"]["left"],
        json!([{"group": "g", "name": "New1"}])
    );
    let is_of_two = |asked: &Asked| asked.body.contains("once") || asked.body.contains("twice");
    assert!(!stub.asked().iter().any(is_of_two), "{:?}", stub.asked());
}

/// Adds `new1` for an hour, with a Ctrl-C each time that the first of these calls has come; the exit code, and the report.
#[cfg(unix)]
fn interrupted(removal: impl Fn() -> Reply + Send + Sync + 'static, at: &[&str]) -> (Option<i32>, Value) {
    let folder = tempfile::tempdir().unwrap();
    let map = folder.path().join("map.csv");
    std::fs::write(&map, "username,account_id\nnew1,a2\n").unwrap();
    let stub = Stub::start(move |asked| match asked.line.split('/').nth(5) {
        Some("getGroups?maxResults=1 HTTP") => groups(),
        Some("getUsers") => members(&[]),
        Some("addUsers") => Reply::Json(json!({"xAdded": ["new1"], "xSkipped": []}).to_string()),
        _ => removal(),
    });
    let json = folder.path().join("report.json");
    let mut child = bare()
        .args([
            "loadtest",
            "--target",
            &stub.url,
            "--mix",
            "addUsers=1",
            "--change-group",
            "g",
            "--group",
            "g",
        ])
        .args(["--steady", "3600", "--map"])
        .args([map.as_path(), Path::new("--json"), json.as_path()])
        .args(SHORT)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    for call in at {
        let until = Instant::now() + program::PATIENCE;
        while !stub.asked().iter().any(|asked| asked.line.contains(call)) {
            assert!(Instant::now() < until, "{call} never came");
            std::thread::sleep(Duration::from_millis(10));
        }
        let sent = std::process::Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }
    let code = child.wait().unwrap().code();
    let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert!(
        report["warnings"][0].as_str().unwrap().contains("stopped by a signal"),
        "{report}"
    );
    (code, report)
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_load_and_takes_back_what_it_added() {
    let taken_out = || Reply::Json(json!({"xRemoved": ["new1"], "xSkipped": []}).to_string());
    let (code, report) = interrupted(taken_out, &["/addUsers/"]);
    assert_eq!(code, Some(0));
    assert_eq!(report["changes"]["removed_at_the_end"], 1, "{report}");
}

/// Somebody whose facade answers no more does not wait for all tries of all calls, and has a report.
#[cfg(unix)]
#[test]
fn a_second_ctrl_c_leaves_what_is_not_taken_back_and_tells_it() {
    let never = || loop {
        std::thread::park();
    };
    let (code, report) = interrupted(never, &["/addUsers/", "/removeUsers/"]);
    assert_eq!(code, Some(1));
    assert_eq!(report["changes"]["removed_at_the_end"], 0, "{report}");
    assert_eq!(report["changes"]["left"], json!([{"group": "g", "name": "new1"}]));
}
