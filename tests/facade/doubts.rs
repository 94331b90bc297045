//! What is done after a change that nobody can tell the outcome of, while Cloud's reads still lag behind it: such a read
//! proves nothing, whichever way the next call goes.

use serde_json::{Value, json};

use crate::harness::{ADMIN, World, options, texts};

/// The facade knows what there is, and makes a change; Cloud falls over as it does, and when it is back its reads lag.
async fn world_in_doubt(call: &str, body: &Value) -> World {
    let world = World::start(options(20, &[("team", 10)]), |settings| {
        settings.extender.bulk_give_up_s = 1;
        settings.extender.read_deadline_s = 5;
        settings.cloud.max_tries = 2;
        settings.cloud.backoff_cap_ms = 40;
        settings.cache.read_lag_s = 3;
    })
    .await;
    let foretold = world.post(&format!("{call}?dryRun=true"), body).await;
    assert_eq!(foretold.header("x-facade-skipped"), Some("0"), "{foretold:?}");
    world.cloud.switch(json!({ "lag_ms": 2500, "falls_at": 1 })).await;
    let answer = world.post(call, body).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let report = world
        .report(answer.header("x-facade-report").unwrap(), ADMIN, "")
        .await
        .json();
    assert_eq!(report["names"][0]["outcome"], "in_doubt", "{report}");
    world.cloud.switch(json!({ "falls_at": null })).await;
    world
}

/// The call changes all, and a dry run has foretold it.
async fn all_done(world: &World, call: &str, body: &Value) {
    let foretold = world.post(&format!("{call}?dryRun=true"), body).await;
    let answer = world.post(call, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-facade-skipped"), Some("0"), "{answer:?}");
    assert_eq!(foretold.text(), answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_was_made_perhaps_is_deleted() {
    let body = json!({ "groups": ["new"] });
    let world = world_in_doubt("addGroups", &body).await;
    all_done(&world, "removeGroups", &body).await;
    let state = world.cloud.state().await;
    assert!(state.as_object().unwrap().values().all(|group| group["name"] != "new"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_was_deleted_perhaps_is_made_anew() {
    let body = json!({ "groups": ["team"] });
    let world = world_in_doubt("removeGroups", &body).await;
    all_done(&world, "addGroups", &body).await;
    assert_eq!(world.truth("team").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_was_added_perhaps_is_taken_out() {
    let body = json!({ "users": ["user000015"] });
    let world = world_in_doubt("addUsers/team", &body).await;
    assert_eq!(world.truth("team").await.len(), 11);
    all_done(&world, "removeUsers/team", &body).await;
    assert_eq!(world.truth("team").await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_was_taken_out_perhaps_is_added() {
    let body = json!({ "users": ["user000005"] });
    let world = world_in_doubt("removeUsers/team", &body).await;
    assert_eq!(world.truth("team").await.len(), 9);
    all_done(&world, "addUsers/team", &body).await;
    assert_eq!(world.truth("team").await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cloud_says_is_there_is_not_told_absent_afterwards() {
    let world = World::with(20, &[]).await;
    world.get("getGroups").await;
    // Made by somebody else, after our reading.
    let made = world.cloud.post("/group", json!({ "name": "theirs" })).await;
    assert_eq!(made.status, 201, "{made:?}");
    let added = world.groups("addGroups", &["theirs"]).await;
    assert_eq!(added.json()["groupsSkipped"], json!(["theirs"]), "{added:?}");
    let removed = world.groups("removeGroups", &["theirs"]).await;
    assert_eq!(removed.json()["groupsRemoved"], json!(["theirs"]), "{removed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cloud_says_is_gone_is_not_told_there_afterwards() {
    let world = World::with(20, &[("team", 0)]).await;
    world.get("getGroups").await;
    let id = world.cloud.group_id("team").await;
    // Deleted by somebody else between our reading and our call.
    let gone = world.cloud.delete(&format!("/group/by-id?id={id}")).await;
    assert!(gone.status < 300, "{gone:?}");
    let removed = world.groups("removeGroups", &["team"]).await;
    assert_eq!(removed.json()["groupsSkipped"], json!(["team"]), "{removed:?}");
    let added = world.groups("addGroups", &["team"]).await;
    assert_eq!(added.json()["groupsAdded"], json!(["team"]), "{added:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_before_a_restart_is_seen_after_it() {
    let mut world = World::start(options(20, &[("team", 10)]), |settings| settings.cache.read_lag_s = 4).await;
    world.cloud.switch(json!({ "lag_ms": 3000 })).await;
    let added = world.users("addUsers/team", &["user000015"]).await;
    assert_eq!(added.header("x-facade-skipped"), Some("0"), "{added:?}");
    let removed = world.users("removeUsers/team", &["user000005"]).await;
    assert_eq!(removed.header("x-facade-skipped"), Some("0"), "{removed:?}");
    let made = world.groups("addGroups", &["new", "newer"]).await;
    assert_eq!(made.header("x-facade-skipped"), Some("0"), "{made:?}");
    let deleted = world.groups("removeGroups", &["newer"]).await;
    assert_eq!(deleted.header("x-facade-skipped"), Some("0"), "{deleted:?}");
    world.restart().await;
    let members = world.members("team").await;
    assert!(members.contains(&"user000015".to_owned()), "{members:?}");
    assert!(!members.contains(&"user000005".to_owned()), "{members:?}");
    let groups = texts(&world.get("getGroups").await.json()["groups"], None);
    assert!(groups.contains(&"new".to_owned()), "{groups:?}");
    assert!(!groups.contains(&"newer".to_owned()), "{groups:?}");
    let back = world.users("removeUsers/team", &["user000015"]).await;
    assert_eq!(back.header("x-facade-skipped"), Some("0"), "{back:?}");
    let back = world.users("addUsers/team", &["user000005"]).await;
    assert_eq!(back.header("x-facade-skipped"), Some("0"), "{back:?}");
    let back = world.groups("addGroups", &["newer"]).await;
    assert_eq!(back.header("x-facade-skipped"), Some("0"), "{back:?}");
    let back = world.groups("removeGroups", &["new"]).await;
    assert_eq!(back.header("x-facade-skipped"), Some("0"), "{back:?}");
}
