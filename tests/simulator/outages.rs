//! The ways in which nothing is answered.
use std::time::Duration;

use extender_facade::simulator::Options;
use serde_json::json;

use crate::cloud::{Cloud, try_send};

#[tokio::test]
async fn a_reset_closes_every_connection_and_nothing_takes_effect() {
    let cloud = Cloud::start(Options::default()).await;
    let id = cloud.group_id("site-admins").await;
    let before = cloud.truth("site-admins").await;
    cloud.reset().await;
    cloud.switch(json!({ "reset": true })).await;
    let add = || {
        cloud
            .api(reqwest::Method::POST, &format!("/group/userByGroupId?groupId={id}"))
            .json(&json!({ "accountId": cloud.account(9) }))
    };
    assert!(try_send(add()).await.is_err());
    cloud.switch(json!({ "reset": null })).await;
    assert_eq!(cloud.truth("site-admins").await, before);
    assert_eq!(try_send(add()).await.unwrap().status, 201);
    let stats = cloud.stats().await;
    assert!(stats["by_status"]["ignored"].as_u64().unwrap() >= 1, "{stats}");
    assert_eq!(
        (&stats["accepted"]["add_member"], &stats["by_status"]["201"]),
        (&json!(1), &json!(1))
    );
}

#[tokio::test]
async fn silence_lasts_until_it_is_over_and_then_the_connections_are_closed() {
    let cloud = Cloud::start(Options::default()).await;
    cloud.switch(json!({ "silent": true })).await;
    let mut waiting = tokio::spawn(cloud.api(reqwest::Method::GET, "/group").send());
    while cloud.stats().await["total"] == 0 {}
    let early = tokio::time::timeout(Duration::from_millis(50), &mut waiting).await;
    assert!(early.is_err(), "{early:?}");
    cloud.switch(json!({ "silent": null })).await;
    let end = tokio::time::timeout(Duration::from_secs(5), waiting).await;
    assert!(end.expect("it still waits").unwrap().is_err());
    assert_eq!(cloud.get("/group").await.status, 200);
}
