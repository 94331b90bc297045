//! Several credentials for one purpose, and secrets that change while the facade runs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::desk::{Desk, ROBOT};
use crate::harness::names;
use crate::kinds::SCOPES;

fn token(token: &str, state: &str) -> Value {
    json!({ "kind": "api_token", "email": ROBOT, "token": token, "state": state })
}

const TWO: &str = "email = \"robot@example.com\"\napi_token = \"first\"\n[[cloud.credentials]]\n\
                   email = \"robot@example.com\"\nsecret = \"second\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_next_credential_is_used_where_one_is_refused_and_the_first_is_not_asked_each_time() {
    for state in ["revoked", "expired"] {
        let desk = Desk::new(json!([token("first", state), token("second", "valid")]), TWO).await;
        desk.assert_all_six_work().await;
        let stats = desk.world.cloud.stats().await;
        assert_eq!(stats["by_status"]["401"], 1, "{stats}");
        let ready = desk.operator("/ready").await.json();
        let states: Vec<&str> = ready["credentials"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["state"].as_str().unwrap())
            .collect();
        assert_eq!(states, ["refused", "good"], "{ready}");
        let (said, code) = desk.check().await;
        assert_eq!(code, 1, "each is looked at by itself");
        let kinds: Vec<&str> = said["credentials"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].as_str().unwrap())
            .collect();
        assert_eq!(
            kinds,
            [
                "cloud.api_token of robot@example.com",
                "cloud.credentials[0].secret of robot@example.com"
            ]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_are_refused_the_first_says_what_is_wrong() {
    let desk = Desk::new(json!([token("first", "revoked"), token("second", "revoked")]), TWO).await;
    for _ in 0..3 {
        let (read, written) = desk.script().await;
        for answer in [read, written] {
            assert_eq!(answer.status, 502);
            assert!(
                answer.text().contains("refuses cloud.api_token of robot@example.com"),
                "{}",
                answer.text()
            );
        }
    }
    // One that becomes good again is found, whichever it is.
    desk.register(json!([token("first", "revoked"), token("second", "valid")]))
        .await;
    desk.assert_all_six_work().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_may_only_read_reads_and_the_next_one_writes() {
    let read_only = json!({
        "kind": "scoped_token", "email": ROBOT, "token": "reads",
        "scopes": ["read:confluence-groups", "read:confluence-user"],
    });
    let writes = json!({ "kind": "scoped_token", "email": ROBOT, "token": "writes", "scopes": SCOPES });
    let fragment = "kind = \"scoped_token\"\nemail = \"robot@example.com\"\napi_token = \"reads\"\n[[cloud.credentials]]\n\
                    kind = \"scoped_token\"\nemail = \"robot@example.com\"\nsecret = \"writes\"\n";
    let desk = Desk::new(json!([read_only, writes]), fragment).await;
    desk.assert_all_six_work().await;
    let opened = desk.opened().await;
    assert!(
        opened[0].as_u64() >= Some(3) && opened[1].as_u64() >= Some(10),
        "{opened}"
    );
    // Four kinds of change, one scope: asked for by the first of them, whose four requests were under way at once.
    let refused = desk.world.cloud.stats().await["by_status"]["401"].as_u64().unwrap();
    assert!((1..=4).contains(&refused), "{refused}");
    // What the second one does is no finding, and is told.
    let line = |said: &Value| {
        let mut lines = said["lines"].as_array().unwrap().iter();
        lines.find(|line| line["symptom"] == "missing_scope").unwrap().clone()
    };
    let (said, code) = desk.check().await;
    assert_eq!((said["ok"].as_bool(), code), (Some(true), 0), "{said:#}");
    assert_eq!(line(&said)["level"], "note");
    assert_eq!(line(&said)["credential"], "cloud.api_token of robot@example.com");
    assert_eq!(
        line(&said)["mend"],
        "nothing need be done: cloud.credentials[0].secret of robot@example.com is used for it"
    );
    assert_eq!(said["credentials"][0]["operations"]["remove_member"], "missing_scope");
    // One that comes before it does not make good for what the second one lacks: it is there for when the first is refused.
    desk.register(json!([
        { "kind": "scoped_token", "email": ROBOT, "token": "reads", "scopes": SCOPES },
        { "kind": "scoped_token", "email": ROBOT, "token": "writes", "scopes": ["read:confluence-groups", "read:confluence-user"] },
    ]))
    .await;
    let (said, code) = desk.check().await;
    assert_eq!((line(&said)["level"].as_str(), code), (Some("fail"), 1), "{said:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_credential_may_do_is_a_finding_of_each() {
    let reads = |token: &str| {
        json!({ "kind": "scoped_token", "email": ROBOT, "token": token,
                "scopes": ["read:confluence-groups", "read:confluence-user"] })
    };
    let fragment = "kind = \"scoped_token\"\nemail = \"robot@example.com\"\napi_token = \"one\"\n[[cloud.credentials]]\n\
                    kind = \"scoped_token\"\nemail = \"robot@example.com\"\nsecret = \"two\"\n";
    let desk = Desk::new(json!([reads("one"), reads("two")]), fragment).await;
    let (said, code) = desk.check().await;
    let lines = said["lines"].as_array().unwrap();
    let missing = lines.iter().filter(|line| line["symptom"] == "missing_scope");
    let levels: Vec<&str> = missing.map(|line| line["level"].as_str().unwrap()).collect();
    assert_eq!((levels, code), (vec!["fail", "fail"], 1), "{said:#}");
}

/// More time than a try takes: of a caller whose whole time is one try.
const PATIENT: &str = "try_timeout_ms = 60000\n";

#[tokio::test(flavor = "multi_thread")]
async fn where_tokens_are_long_in_coming_the_next_credential_is_used_and_the_first_once_it_is_ready() {
    let registry = json!([
        { "kind": "service_account", "client_id": "svc", "client_secret": "s3cret", "scopes": SCOPES },
        token("second", "valid"),
    ]);
    let fragment = format!(
        "{PATIENT}kind = \"service_account\"\nclient_id = \"svc\"\nclient_secret = \"s3cret\"\n[[cloud.credentials]]\n\
         email = \"robot@example.com\"\nsecret = \"second\"\n"
    );
    let desk = Desk::new(registry, &fragment).await;
    desk.world.cloud.switch(json!({ "token_slow_ms": 10_000 })).await;
    desk.assert_all_six_work().await;
    assert!(desk.opened().await[1].as_u64() > Some(0));
    // Slow is not refused.
    let ready = desk.operator("/ready").await;
    assert_eq!(ready.json()["credentials"][0]["state"], "good", "{}", ready.text());
    desk.assert_soon(async || {
        assert_eq!(desk.world.get("getUsers/team").await.status, 200);
        desk.opened().await[0].as_u64() > Some(0)
    })
    .await;
    assert_eq!(desk.world.calls().await["oauth_token"], 1, "one question served all");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn where_a_command_is_long_in_telling_the_next_credential_is_used_and_it_is_run_once() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    // Quick when the facade starts, and stuck when it is asked again.
    let command = format!(
        "echo run >> {runs}; if [ $(wc -l < {runs}) -gt 1 ]; then sleep 6; fi; echo first",
        runs = runs.display()
    );
    let fragment = format!(
        "{PATIENT}email = \"robot@example.com\"\napi_token_command = {command:?}\n[[cloud.credentials]]\n\
         email = \"robot@example.com\"\nsecret = \"second\"\n"
    );
    let desk = Desk::new(json!([token("first", "revoked"), token("second", "valid")]), &fragment).await;
    let many = (0..8).map(|n| desk.world.get(if n % 2 == 0 { "getGroups" } else { "getUsers/team" }));
    for answer in futures_util::future::join_all(many).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    desk.assert_all_six_work().await;
    let runs = std::fs::read_to_string(runs).unwrap();
    assert_eq!(
        runs.lines().count(),
        2,
        "once at the start, once for all who were refused"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_asks_for_the_cloud_id_once_also_where_there_is_no_answer() {
    let registry = json!([{ "kind": "scoped_token", "email": ROBOT, "token": "scoped", "scopes": SCOPES }]);
    let fragment = "kind = \"scoped_token\"\nemail = \"robot@example.com\"\napi_token = \"scoped\"";
    for (fault, status) in [
        (json!({ "tenant_info": "missing" }), 502),
        (json!({ "tenant_info": "down" }), 503),
    ] {
        let desk = Desk::new(registry.clone(), fragment).await;
        desk.world.cloud.switch(fault.clone()).await;
        let paths: Vec<String> = (0..40).map(|n| format!("getUsers/group-{n}")).collect();
        let many = paths.iter().map(|path| desk.world.get(path));
        for answer in futures_util::future::join_all(many).await {
            assert_eq!(answer.status, status, "{fault}: {}", answer.text());
        }
        // That there is no site is looked at twice, and what failed is asked again while somebody has time left.
        let asked = desk.world.calls().await["tenant_info"];
        assert!((1..=8).contains(&asked), "{fault}: {asked} questions of 40 callers");
        desk.world.cloud.switch(crate::harness::off(&fault)).await;
        desk.assert_soon(async || desk.world.get("getUsers/team").await.status == 200)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_in_the_file_or_from_the_command_is_used_without_a_restart() {
    for how in ["file = {FILE}", "command = \"cat {PLAIN}\""] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "old\n").unwrap();
        let how = how
            .replace("{FILE}", &format!("{:?}", file.path()))
            .replace("{PLAIN}", file.path().to_str().unwrap());
        let fragment = format!("email = \"robot@example.com\"\napi_token_{how}");
        let desk = Desk::new(json!([token("old", "valid")]), &fragment).await;
        desk.assert_all_six_work().await;
        desk.register(json!([token("old", "revoked"), token("new", "valid")]))
            .await;
        let (_, refused) = desk.script().await;
        assert_eq!(refused.status, 502, "{}", refused.text());
        std::fs::write(file.path(), "new\n").unwrap();
        // A command is asked again after some seconds at the soonest, a file at once.
        let until = Instant::now() + Duration::from_secs(if how.starts_with("file") { 0 } else { 30 });
        loop {
            let (_, added) = desk.script().await;
            if added.status == 200 {
                break;
            }
            assert!(Instant::now() < until, "{}", added.text());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_exchanged_in_the_middle_of_an_operation_loses_nobody() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "old").unwrap();
    let fragment = format!("email = \"robot@example.com\"\napi_token_file = {:?}", file.path());
    let desk = Desk::with(
        crate::harness::options(400, &[("team", 0)]),
        json!([token("old", "valid")]),
        &fragment,
    )
    .await;
    desk.world.cloud.switch(json!({ "latency_ms": 5 })).await;
    let asked = names(1, 300);
    let (answer, ()) = tokio::join!(desk.world.users("addUsers/team", &asked), async {
        while desk.world.calls().await.get("add_member").copied().unwrap_or(0) < 50 {
            tokio::task::yield_now().await;
        }
        std::fs::write(file.path(), "new").unwrap();
        desk.register(json!([token("new", "valid")])).await;
    });
    assert_eq!(answer.json()["usersAdded"], json!(asked), "{}", answer.text());
    assert_eq!(desk.world.truth("team").await, asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_does_not_open_the_site_makes_no_group_look_missing() {
    // What the first may not do is asked of one whose gateway answers 404 to everything.
    for scopes in [
        &[
            "read:group:confluence",
            "write:group:confluence",
            "read:content-details:confluence",
        ][..],
        &["read:confluence-groups", "read:confluence-user"],
    ] {
        let first = json!({ "kind": "scoped_token", "email": ROBOT, "token": "first", "scopes": scopes });
        let second = json!({ "kind": "service_account", "client_id": "svc", "client_secret": "s", "scopes": SCOPES });
        let fragment = "kind = \"scoped_token\"\nemail = \"robot@example.com\"\napi_token = \"first\"\n\
                        [[cloud.credentials]]\nkind = \"service_account\"\nclient_id = \"svc\"\nsecret = \"s\"\n";
        let desk = Desk::new(json!([first, second]), fragment).await;
        desk.world.cloud.switch(json!({ "other_site": true })).await;
        let read = desk.world.get("getUsers/team").await;
        if scopes.contains(&"read:confluence-groups") {
            assert_eq!(read.status, 200, "{}", read.text());
        } else {
            assert_eq!(read.status, 502, "{}", read.text());
            assert!(read.text().contains("a scope is missing"), "{}", read.text());
        }
        let mut answers = vec![
            desk.world.users("addUsers/team", &names(21, 3)).await,
            desk.world.users("removeUsers/team", &names(1, 3)).await,
        ];
        if !scopes.contains(&"write:group:confluence") {
            answers.push(desk.world.groups("addGroups", &["new"]).await);
            answers.push(desk.world.groups("removeGroups", &["team"]).await);
        }
        for answer in answers {
            assert_eq!(answer.status, 502, "{}", answer.text());
        }
        assert_eq!(desk.world.truth("team").await, names(1, 10));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_new_secret_is_read_without_a_restart() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "old").unwrap();
    let client = |secret: &str| json!([{ "kind": "service_account", "client_id": "svc", "client_secret": secret, "scopes": SCOPES }]);
    let fragment = format!(
        "kind = \"service_account\"\nclient_id = \"svc\"\nclient_secret_file = {:?}",
        file.path()
    );
    let desk = Desk::new(client("new"), &fragment).await;
    let (read, _) = desk.script().await;
    assert_eq!(read.status, 502, "{}", read.text());
    // Whoever asks whether it is ready is told, and not only those who call.
    let ready = desk.operator("/ready").await;
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert!(ready.text().contains("client_secret"), "{}", ready.text());
    assert_eq!(ready.json()["credentials"][0]["state"], "refused");
    std::fs::write(file.path(), "new").unwrap();
    desk.assert_all_six_work().await;
    assert_eq!(desk.operator("/ready").await.status, 200);
}
