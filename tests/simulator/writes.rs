//! The calls that change something, and when reads see it.
use std::time::{Duration, Instant};

use extender_facade::simulator::Options;
use reqwest::Method;
use serde_json::json;

use crate::cloud::{Cloud, faults, send};

#[tokio::test]
async fn somebody_added_is_a_member_everywhere_and_removed_nowhere() {
    let cloud = Cloud::start(Options::default()).await;
    let (id, account) = (cloud.group_id("site-admins").await, cloud.account(9).to_owned());
    let added = cloud.add(&id, &account).await;
    assert_eq!((added.status, added.body.len()), (201, 0));
    assert_eq!(cloud.truth("site-admins").await.last(), Some(&account));
    let page = cloud.get(&format!("/group/{id}/membersByGroupId")).await.json();
    assert_eq!(page["results"][3]["accountId"], account.as_str());
    assert_eq!(
        cloud.get(&format!("/user/memberof?accountId={account}")).await.json()["size"],
        2
    );
    assert_eq!(cloud.remove(&id, &account).await.status, 204);
    assert_eq!(cloud.truth("site-admins").await.len(), 3);
    assert_eq!(
        cloud.get(&format!("/user/memberof?accountId={account}")).await.json()["size"],
        1
    );
}

#[tokio::test]
async fn adding_and_removing_twice_is_answered_as_told_and_changes_nothing() {
    let cloud = Cloud::start(Options::default()).await;
    let (id, member, stranger) = (cloud.group_id("site-admins").await, cloud.account(0), cloud.account(9));
    for (value, status) in [
        (json!(null), 409),
        (json!("400"), 400),
        (json!(201), 201),
        (json!(409), 409),
    ] {
        cloud.switch(json!({ "already_member": value })).await;
        assert_eq!(cloud.add(&id, member).await.status, status);
    }
    for (value, status) in [(json!(null), 204), (json!(404), 404), (json!("204"), 204)] {
        cloud.switch(json!({ "not_member": value })).await;
        assert_eq!(cloud.remove(&id, stranger).await.status, status);
    }
    assert_eq!(cloud.truth("site-admins").await.len(), 3);
}

#[tokio::test]
async fn a_group_that_was_created_can_be_filled_and_deleted() {
    let cloud = Cloud::start(Options::default()).await;
    let created = cloud.post("/group", json!({ "name": "New" })).await;
    assert_eq!(created.status, 201);
    let id = created.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(cloud.add(&id, cloud.account(4)).await.status, 201);
    assert_eq!(cloud.truth("New").await, [cloud.account(4)]);
    for name in ["new", "", "  "] {
        assert_eq!(
            cloud.post("/group", json!({ "name": name })).await.status,
            400,
            "{name:?}"
        );
    }
    assert_eq!(
        cloud.post("/group", json!({ "name": "x".repeat(256) })).await.status,
        400
    );
    assert_eq!(cloud.delete(&format!("/group/by-id?id={id}")).await.status, 204);
    assert_eq!(cloud.delete(&format!("/group/by-id?id={id}")).await.status, 404);
    assert_eq!(cloud.get("/group/picker?query=new").await.json()["size"], 0);
    let again = cloud.post("/group", json!({ "name": "New" })).await.json();
    assert_ne!(again["id"], id.as_str());
    assert!(cloud.truth("New").await.is_empty());
}

#[tokio::test]
async fn a_default_group_is_not_deleted() {
    let cloud = Cloud::start(Options::default()).await;
    for (name, status) in [
        ("confluence-users", 400),
        ("site-admins", 400),
        ("confluence-administrators", 204),
    ] {
        let id = cloud.group_id(name).await;
        assert_eq!(
            cloud.delete(&format!("/group/by-id?id={id}")).await.status,
            status,
            "{name}"
        );
    }
}

#[tokio::test]
async fn every_tenth_generated_group_is_read_only_when_external() {
    let cloud = Cloud::start(Options {
        groups: 11,
        ..Options::default()
    })
    .await;
    let (tenth, eleventh) = (cloud.group_id("group-00010").await, cloud.group_id("group-00011").await);
    let outsider = cloud.account(50).to_owned();
    assert_eq!(cloud.add(&tenth, &outsider).await.status, 201);
    cloud.switch(json!({ "external": true })).await;
    assert_eq!(
        cloud.get(&format!("/group/by-id?id={tenth}")).await.json()["managedBy"],
        "EXTERNAL"
    );
    assert_eq!(
        cloud.get(&format!("/group/by-id?id={eleventh}")).await.json()["managedBy"],
        "ADMINS"
    );
    assert_eq!(cloud.add(&tenth, cloud.account(60)).await.status, 400);
    assert_eq!(cloud.remove(&tenth, &outsider).await.status, 400);
    assert_eq!(cloud.delete(&format!("/group/by-id?id={tenth}")).await.status, 400);
    assert_eq!(cloud.add(&eleventh, cloud.account(60)).await.status, 201);
    assert_eq!(cloud.truth("group-00010").await.len(), 21);
}

#[tokio::test]
async fn unknown_groups_and_accounts_are_told_apart() {
    let cloud = Cloud::start(Options::default()).await;
    let id = cloud.group_id("site-admins").await;
    assert_eq!(cloud.add("none", cloud.account(0)).await.status, 404);
    assert_eq!(cloud.add(&id, "nobody").await.status, 400);
    assert_eq!(cloud.remove("none", cloud.account(0)).await.status, 404);
    assert_eq!(cloud.remove(&id, "nobody").await.status, 404);
}

#[tokio::test]
async fn seats_run_out_after_so_many_different_users() {
    let cloud = Cloud::start(Options {
        groups: 2,
        ..faults(&["seats=2"])
    })
    .await;
    let (one, two) = (
        cloud.group_id("site-admins").await,
        cloud.group_id("confluence-administrators").await,
    );
    for place in [10, 11] {
        assert_eq!(cloud.add(&one, cloud.account(place)).await.status, 201);
        assert_eq!(cloud.add(&two, cloud.account(place)).await.status, 201);
    }
    let refused = cloud.add(&one, cloud.account(12)).await;
    assert_eq!(refused.status, 500);
    assert!(
        refused
            .text()
            .contains("HystrixRuntimeException: AddUserToGroupsIdentityPlatformCommand failed")
    );
    assert_eq!(cloud.add(&one, cloud.account(10)).await.status, 409);
    cloud.switch(json!({ "seats": 1 })).await;
    assert_eq!(cloud.add(&one, cloud.account(12)).await.status, 201);
    assert_eq!(cloud.add(&one, cloud.account(13)).await.status, 500);
    cloud.switch(json!({ "seats": null })).await;
    assert_eq!(cloud.add(&one, cloud.account(13)).await.status, 201);
}

#[tokio::test]
async fn a_write_without_its_headers_is_refused_and_not_done() {
    let cloud = Cloud::start(Options::default()).await;
    let url = "/wiki/rest/api/group";
    let refused = send(
        cloud
            .bare(Method::POST, url)
            .basic_auth("a", Some("b"))
            .json(&json!({ "name": "x" })),
    )
    .await;
    assert_eq!((refused.status, refused.text().as_str()), (403, "XSRF check failed"));
    let untyped = send(cloud.api(Method::POST, "/group").body(r#"{"name":"x"}"#)).await;
    assert_eq!(untyped.status, 415);
    let huge = format!(r#"{{"name":"x","padding":"{}"}}"#, "x".repeat(1 << 20));
    let request = cloud
        .api(Method::POST, "/group")
        .header("content-type", "application/json")
        .body(huge);
    assert_eq!(send(request).await.status, 413);
    for body in ["", "{", "[]", "null", r#"{"name":1}"#, r#"{"Name":"x"}"#] {
        let request = cloud
            .api(Method::POST, "/group")
            .header("content-type", "application/json; charset=utf-8");
        assert_eq!(send(request.body(body)).await.status, 400, "{body}");
    }
    let removal = format!(
        "{url}/userByGroupId?groupId={}&accountId=x",
        cloud.group_id("site-admins").await
    );
    assert_eq!(
        send(cloud.bare(Method::DELETE, &removal).basic_auth("a", Some("b")))
            .await
            .status,
        403
    );
    assert_eq!(cloud.get("/group").await.json()["size"], 3);
}

#[tokio::test]
async fn a_lagging_read_sees_a_write_late_while_writes_and_the_truth_do_not() {
    let cloud = Cloud::start(faults(&["lag_ms=400"])).await;
    let (id, account) = (cloud.group_id("site-admins").await, cloud.account(9).to_owned());
    let members = format!("/group/{id}/membersByGroupId");
    let written = Instant::now();
    assert_eq!(cloud.add(&id, &account).await.status, 201);
    let created = cloud.post("/group", json!({ "name": "late" })).await.json();
    let by_id = format!("/group/by-id?id={}", created["id"].as_str().unwrap());
    let (size, found) = (
        cloud.get(&members).await.json()["size"].clone(),
        cloud.get(&by_id).await.status,
    );
    let groups = cloud.get(&format!("/user/memberof?accountId={account}")).await.json()["size"].clone();
    let picked = cloud.get("/group/picker?query=late").await.json()["size"].clone();
    // On a machine that stood still meanwhile the reads were right to see it.
    if written.elapsed() < Duration::from_millis(400) {
        assert_eq!((size, found, groups, picked), (json!(3), 404, json!(1), json!(0)));
    }
    assert_eq!(cloud.truth("site-admins").await.len(), 4);
    assert_eq!(cloud.add(&id, &account).await.status, 409);
    tokio::time::sleep(Duration::from_millis(420)).await;
    assert_eq!(cloud.get(&members).await.json()["size"], 4);
    assert_eq!(cloud.get(&by_id).await.status, 200);
    cloud.switch(json!({ "lag_ms": null })).await;
    assert_eq!(cloud.remove(&id, &account).await.status, 204);
    assert_eq!(cloud.get(&members).await.json()["size"], 3);
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_call_back_a_write() {
    let cloud = Cloud::start(Options {
        latency_ms: 150,
        ..Options::default()
    })
    .await;
    let id = cloud.group_id("site-admins").await;
    let path = format!("/group/userByGroupId?groupId={id}");
    let request = cloud
        .api(Method::POST, &path)
        .json(&json!({ "accountId": cloud.account(9) }));
    assert!(
        request
            .timeout(Duration::from_millis(50))
            .send()
            .await
            .unwrap_err()
            .is_timeout()
    );
    let deadline = Instant::now() + Duration::from_secs(5);
    while cloud.truth("site-admins").await.len() == 3 {
        assert!(Instant::now() < deadline, "the write never took effect");
    }
}
