//! Cloud refuses the credential, or is not there, or the audit cannot be written: nothing changes, or it is told.

use serde_json::{Value, json};

use crate::harness::{ADMIN, World, names, once_back, options};
use crate::truth::{self, accounts, hold};

async fn world() -> World {
    World::start(options(600, &[("team", 10)]), |settings| {
        settings.extender.read_deadline_s = 1;
        settings.extender.bulk_give_up_s = 1;
    })
    .await
}

/// All six calls, the reading ones first.
async fn call(world: &World, index: usize) -> crate::cloud::Reply {
    match index {
        0 => world.get("getGroups").await,
        1 => world.get("getUsers/team").await,
        2 => world.users("addUsers/team", &names(101, 20)).await,
        3 => world.users("removeUsers/team", &names(1, 5)).await,
        4 => world.groups("addGroups", &["a", "b"]).await,
        _ => world.groups("removeGroups", &["team"]).await,
    }
}

async fn assert_nothing_changed(world: &World) {
    assert_eq!(world.truth("team").await, names(1, 10));
    let done = world
        .audit()
        .into_iter()
        .filter(|line| line["result"] != "not_attempted")
        .count();
    assert_eq!(done, 0);
    let calls = world.calls().await;
    assert!(calls.get("create_group").is_none_or(|tries| *tries <= 4), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_credential_is_named_with_what_to_mend_and_nothing_is_changed() {
    for (faults, mend) in [
        (json!({ "unauthorized": "401" }), "make a new API token"),
        (json!({ "unauthorized": "xml" }), "make a new API token"),
        (json!({ "unauthorized": "html" }), "make a new API token"),
        (json!({ "unauthorized": "403" }), "no access to Confluence"),
        (json!({ "unauthorized": "scope" }), "a scope is missing"),
    ] {
        let world = world().await;
        world.cloud.switch(faults).await;
        for index in 0..6 {
            let answer = call(&world, index).await;
            assert_eq!(answer.status, 502, "{index}: {answer:?}");
            let message = answer.json()["message"].as_str().unwrap().to_owned();
            assert!(message.contains("cloud.api_token of robot@example.com"), "{message}");
            assert!(message.contains(mend), "{message}");
            assert!(!message.contains("robot-token"));
        }
        assert_nothing_changed(&world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_may_not_write_is_told_and_reads_go_on() {
    let world = world().await;
    world.cloud.switch(json!({ "forbid_writes": true })).await;
    for index in 0..6 {
        let answer = call(&world, index).await;
        assert_eq!(answer.status, if index < 2 { 200 } else { 502 }, "{index}: {answer:?}");
        if index >= 2 {
            let message = answer.json()["message"].as_str().unwrap().to_owned();
            assert!(message.contains("must be a site administrator"), "{message}");
        }
    }
    assert_nothing_changed(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_is_down_is_503_before_the_deadline_and_nothing_is_changed() {
    let world = world().await;
    world.cloud.switch(json!({ "down": true })).await;
    for index in 0..6 {
        let answer = call(&world, index).await;
        assert_eq!(answer.status, 503, "{index}: {answer:?}");
        assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    }
    assert_nothing_changed(&world).await;
    // What is warm needs no Cloud.
    world.cloud.switch(json!({ "down": null })).await;
    once_back(async || world.get("getUsers/team").await).await;
    assert_eq!(world.members("team").await, names(1, 10));
    world.cloud.switch(json!({ "down": true })).await;
    assert_eq!(world.members("team").await, names(1, 10));
}

/// Switches `faults` on in the middle of an addition of 500 names, and gives the answer.
async fn in_the_middle(world: &World, first: Value, then: Value) -> crate::cloud::Reply {
    world.cloud.switch(json!({ "latency_ms": 3 })).await;
    world.cloud.switch(first).await;
    let body = json!({ "users": names(51, 500) }).to_string();
    let request = world
        .request(reqwest::Method::POST, "addUsers/team")
        .bearer_auth(ADMIN)
        .body(body);
    let adding = tokio::spawn(crate::cloud::send(request));
    while world.calls().await.get("add_member").copied().unwrap_or(0) < 100 {
        tokio::task::yield_now().await;
    }
    world.cloud.switch(then).await;
    adding.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_revoked_in_the_middle_stops_the_work_and_tells_how_far_it_came() {
    for (first, then) in [
        (json!({}), json!({ "unauthorized": "401" })),
        (json!({}), json!({ "forbid_writes": true })),
        // Some answers are lost shortly before: whether those changes were made nobody can tell any more.
        (json!({ "error_5xx": 0.5 }), json!({ "unauthorized": "401" })),
        (json!({ "cut": 0.5 }), json!({ "unauthorized": "403" })),
    ] {
        let world = world().await;
        let before = accounts(&world, &names(1, 10));
        let answer = in_the_middle(&world, first, then).await;
        let after = hold(&world, "team", &names(51, 500), &answer, &before).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("sending the same call again is safe"), "{message}");
        let off = json!({ "unauthorized": null, "forbid_writes": null, "error_5xx": null, "cut": null });
        world.cloud.switch(off).await;
        let answer = world.users("addUsers/team", &names(51, 500)).await;
        assert_eq!(answer.status, 200);
        let after = hold(&world, "team", &names(51, 500), &answer, &after).await;
        assert_eq!(after.len(), 510);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_goes_down_in_the_middle_is_waited_for_and_then_given_up() {
    let world = world().await;
    let before = accounts(&world, &names(1, 10));
    let answer = in_the_middle(&world, json!({}), json!({ "down": true })).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let after = hold(&world, "team", &names(51, 500), &answer, &before).await;
    assert!(after.len() < 510);
    let audit = truth::audit_of(&world, &answer);
    assert_eq!(
        audit.iter().filter(|line| line["result"] == "done").count(),
        after.len() - 10
    );
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_the_audit_changes_are_refused_and_reads_go_on() {
    let world = World::start(options(50, &[("team", 10)]), |settings| {
        std::fs::create_dir_all(&settings.state_dir).unwrap();
        // Every writing to it says that the disk is full.
        std::os::unix::fs::symlink("/dev/full", settings.state_dir.join("audit.jsonl")).unwrap();
    })
    .await;
    for index in [2, 3, 4, 5] {
        let answer = call(&world, index).await;
        assert_eq!(answer.status, 503, "{index}: {answer:?}");
        assert!(answer.header("retry-after").is_some());
        assert!(answer.json()["message"].as_str().unwrap().contains("audit"));
    }
    assert_eq!(world.members("team").await, names(1, 10));
    assert_eq!(world.get("getGroups").await.status, 200);
    assert_eq!(world.truth("team").await, names(1, 10));
    let calls = world.calls().await;
    assert!(
        !calls
            .keys()
            .any(|operation| operation.contains("add") || operation.contains("create")),
        "{calls:?}"
    );
}
