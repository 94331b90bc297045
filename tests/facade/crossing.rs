//! Mode `passthrough`: nothing that was answered, read or learned for one credential is told to another.

use extender_facade::settings::{Mode, Settings};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cloud::{Reply, send};
use crate::harness::{World, names, options, texts};

/// Two tokens of one person, and somebody else.
const ANN: (&str, &str) = ("ann@example.com", "t-ann");
const ANN_AGAIN: (&str, &str) = ("ann@example.com", "t-ann-again");
const BOB: (&str, &str) = ("bob@example.com", "t-bob");

fn settings(settings: &mut Settings) {
    settings.inbound.mode = Mode::Passthrough;
    settings.inbound.accounts_file = None;
    settings.cloud.email = String::new();
    settings.cloud.api_token = String::new().into();
}

async fn world(change: impl FnOnce(&mut Settings)) -> World {
    World::start(options(20, &[("g", 5), ("h", 3)]), |all| {
        settings(all);
        change(all);
    })
    .await
}

async fn get(world: &World, (email, token): (&str, &str), path: &str) -> Reply {
    send(world.request(Method::GET, path).basic_auth(email, Some(token))).await
}

async fn post(world: &World, (email, token): (&str, &str), path: &str, key: &str, body: &Value) -> Reply {
    let request = world.request(Method::POST, path).basic_auth(email, Some(token));
    let request = if key.is_empty() {
        request
    } else {
        request.header("idempotency-key", key)
    };
    send(request.body(body.to_string())).await
}

fn report_of(answer: &Reply) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("x-facade-report").unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_call_of_another_credential_is_another_operation() {
    let world = world(|_| {}).await;
    for caller in [ANN, ANN_AGAIN, BOB] {
        assert_eq!(get(&world, caller, "getUsers/g").await.status, 200);
    }
    world.cloud.switch(json!({ "latency_ms": 300 })).await;
    let body = json!({ "users": names(9, 4) });
    let callers = [ANN, ANN_AGAIN, BOB, ANN];
    let answers = join_all(callers.map(|caller| post(&world, caller, "addUsers/g", "", &body))).await;
    let reports: Vec<String> = answers.iter().map(report_of).collect();
    assert_eq!(reports[0], reports[3], "its own is joined");
    assert!(
        reports[0] != reports[1] && reports[1] != reports[2] && reports[0] != reports[2],
        "{reports:?}"
    );
    let added: Vec<usize> = answers[..3]
        .iter()
        .map(|answer| texts(&answer.json()["usersAdded"], None).len())
        .collect();
    assert_eq!(
        added.iter().sum::<usize>(),
        4,
        "each is told what its own credential did: {added:?}"
    );
}

#[tokio::test]
async fn an_answer_that_was_lost_is_kept_for_its_own_credential() {
    let world = world(|all| all.extender.join_grace_s = 300).await;
    for caller in [ANN, ANN_AGAIN, BOB] {
        assert_eq!(get(&world, caller, "getUsers/g").await.status, 200);
    }
    world.cloud.switch(json!({ "latency_ms": 1000 })).await;
    let body = json!({ "users": names(9, 3) });
    let request = world.request(Method::POST, "addUsers/g").basic_auth(ANN.0, Some(ANN.1));
    let request = request
        .body(body.to_string())
        .timeout(std::time::Duration::from_millis(250));
    assert!(request.send().await.is_err(), "it hangs up");
    while world.truth("g").await.len() < 8 {}
    world.cloud.switch(json!({ "latency_ms": null })).await;
    for (caller, added) in [(BOB, 0), (ANN_AGAIN, 0)] {
        let answer = post(&world, caller, "addUsers/g", "", &body).await;
        assert_eq!(texts(&answer.json()["usersAdded"], None).len(), added, "{caller:?}");
    }
}

#[tokio::test]
async fn a_key_of_one_credential_says_nothing_to_another() {
    let world = world(|_| {}).await;
    let body = json!({ "users": names(9, 2) });
    let first = report_of(&post(&world, ANN, "addUsers/g", "key-1", &body).await);
    assert_eq!(report_of(&post(&world, ANN, "addUsers/g", "key-1", &body).await), first);
    for caller in [ANN_AGAIN, BOB] {
        let answer = post(&world, caller, "addUsers/g", "key-1", &body).await;
        assert_ne!(report_of(&answer), first);
        assert_eq!(
            answer.header("x-facade-skipped"),
            Some("2"),
            "it is told how things stand"
        );
        // Another body under it is another caller's business as well.
        let key = format!("key-of-{}", caller.1);
        report_of(&post(&world, ANN, "addUsers/g", &key, &body).await);
        report_of(&post(&world, caller, "addUsers/h", &key, &body).await);
    }
}

#[tokio::test]
async fn a_report_is_for_the_credential_whose_operation_it_is() {
    let mut world = world(|_| {}).await;
    let body = json!({ "users": names(9, 2) });
    let id = report_of(&post(&world, ANN, "addUsers/g", "", &body).await);
    for _ in 0..2 {
        for ((email, token), status) in [
            (ANN, 200),
            (ANN_AGAIN, 404),
            (BOB, 404),
            (("ANN@Example.com", "t-ann"), 200),
        ] {
            let url = format!("http://{}/facade/v1/reports/{id}", world.facade);
            let answer = send(world.client.get(url).basic_auth(email, Some(token))).await;
            assert_eq!(answer.status, status, "{email} {token}");
            assert!(status == 200 || !answer.text().contains("user000009"));
        }
        world.restart().await;
    }
    let kept = std::fs::read(world.path("state/operations.sqlite3")).unwrap();
    assert!(!String::from_utf8_lossy(&kept).contains("t-ann"));
}

#[tokio::test]
async fn a_name_that_one_credential_learned_is_unknown_to_another() {
    let world = world(|all| all.identity.map_file = None).await;
    // By a page that shows the addresses of its members.
    let shown = get(&world, ANN, "getUsers/h?showBasicDetails=true").await.json();
    let email = shown["users"][0]["email"].as_str().unwrap().to_owned();
    let body = json!({ "users": [email] });
    for (caller, reads) in [(ANN_AGAIN, 1), (BOB, 1)] {
        let answer = post(&world, caller, "addUsers/confluence-users?dryRun=true", "", &body).await;
        let own = world.cloud.stats().await["by_operation"]["list_members"].clone();
        assert!(answer.status == 200 && own.as_u64().unwrap() >= reads, "{answer:?}");
    }
    let bare = json!({ "users": ["somebody@nowhere.example", "user000001"] });
    let answer = post(&world, BOB, "addUsers/h", "", &bare).await;
    assert_eq!(texts(&answer.json()["usersSkipped"], None).len(), 2, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_share_what_their_own_credential_reads_and_nothing_else() {
    let world = world(|_| {}).await;
    world.cloud.switch(json!({ "latency_ms": 100 })).await;
    let callers = [ANN, ANN_AGAIN, BOB];
    let ask = |n: usize| get(&world, callers[n % 3], ["getUsers/g", "getGroups"][n / 3 % 2]);
    let answers = join_all((0..60).map(ask)).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(
        json!(world.calls().await),
        json!({ "current_user": 3, "find_group": 3, "list_members": 3, "list_groups": 3 })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_learns_nothing_from_another_in_use_at_the_same_time() {
    let world = world(|all| {
        all.cache.stale_if_error_s = 3600;
        all.inbound.passthrough_validate_s = 1;
    })
    .await;
    let bad = ("ann@example.com", "t-bad");
    world.cloud.switch(json!({ "bad_token": "t-bad" })).await;
    let ask = |n: usize| get(&world, [ANN, bad][n % 2], ["getUsers/g", "getGroups"][n / 2 % 2]);
    for (n, answer) in join_all((0..16).map(ask)).await.into_iter().enumerate() {
        assert_eq!(answer.status, [200, 401][n % 2], "{n}");
        assert!(n % 2 == 0 || !answer.text().contains("user0") && !answer.text().contains("\"groups\""));
    }
    // Revoked later: not even what was read with it before is told, however old answers may be.
    world.cloud.switch(json!({ "bad_token": "t-ann" })).await;
    while get(&world, ANN, "getUsers/g").await.status != 401 {}
    for path in ["getUsers/g", "getGroups"] {
        assert_eq!(get(&world, ANN, path).await.status, 401);
        assert_eq!(get(&world, BOB, path).await.status, 200);
    }
}
