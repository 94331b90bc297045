//! `/_sim`: counts, the truth and the switches.
use extender_facade::simulator::Options;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cloud::{Cloud, faults, send};

#[tokio::test]
async fn every_request_is_counted_by_operation_and_status_until_it_is_reset() {
    let cloud = Cloud::start(Options::default()).await;
    let id = cloud.group_id("site-admins").await;
    cloud.reset().await;
    cloud.get("/group").await;
    cloud.get("/group/picker?query=a").await;
    cloud.get(&format!("/group/by-id?id={id}")).await;
    cloud.get(&format!("/group/{id}/membersByGroupId")).await;
    cloud.add(&id, cloud.account(9)).await;
    cloud.remove(&id, cloud.account(9)).await;
    let created = cloud.post("/group", json!({ "name": "x" })).await.json();
    cloud
        .delete(&format!("/group/by-id?id={}", created["id"].as_str().unwrap()))
        .await;
    cloud.get(&format!("/user?accountId={}", cloud.account(0))).await;
    cloud.get("/user/bulk?accountId=x").await;
    cloud
        .get(&format!("/user/memberof?accountId={}", cloud.account(0)))
        .await;
    cloud.get("/user/current").await;
    cloud.get("/content").await;
    send(cloud.api(Method::PUT, "/group")).await;
    send(cloud.bare(Method::GET, "/_edge/tenant_info")).await;
    let stats = cloud.stats().await;
    let expected = json!({
        "list_groups": 1, "find_group": 1, "get_group": 1, "list_members": 1, "create_group": 1, "delete_group": 1,
        "add_member": 1, "remove_member": 1, "get_user": 1, "users_bulk": 1, "member_of": 1, "current_user": 1,
        "tenant_info": 1, "authorize": 0, "oauth_token": 0, "accessible_resources": 0, "other": 2,
    });
    let counted = stats["by_operation"].as_object().unwrap().clone();
    let other_apis = |name: &str| name.starts_with("admin_") || name.starts_with("scim_") || name.starts_with("jira_");
    let (others, ours): (Vec<_>, Vec<_>) = counted
        .into_iter()
        .filter(|(name, _)| name != "users_bulk_v2")
        .partition(|(name, _)| other_apis(name));
    assert_eq!(Value::Object(ours.into_iter().collect()), expected);
    assert!(
        others.len() == 17 && others.iter().all(|(_, count)| *count == 0),
        "{others:?}"
    );
    assert_eq!(
        stats["by_status"],
        json!({"200": 9, "201": 2, "204": 2, "404": 1, "405": 1})
    );
    assert_eq!(stats["total"], 15);
    assert!(stats["mean_service_ms"].as_f64().unwrap() > 0.0);
    cloud.reset().await;
    let stats = cloud.stats().await;
    assert_eq!((&stats["total"], &stats["by_status"]), (&json!(0), &json!({})));
    assert_eq!(stats["mean_service_ms"], 0.0);
}

#[tokio::test]
async fn a_laboratory_sees_what_was_accepted_what_was_not_and_when() {
    let cloud = Cloud::start(Options {
        latency_ms: 30,
        rate: Some(0.01),
        burst: Some(3),
        ..Options::default()
    })
    .await;
    futures_util::future::join_all((0..5).map(|_| cloud.get("/group"))).await;
    cloud.get("/user/current").await;
    let stats = cloud.stats().await;
    let of = |what: &str, operation: &str| stats[what][operation].as_u64().unwrap();
    assert_eq!((of("accepted", "list_groups"), of("limited", "list_groups")), (3, 2));
    assert_eq!(
        (of("accepted", "current_user"), of("limited_at_first", "list_groups")),
        (1, 2)
    );
    assert_eq!(stats["most_under_way"], 3);
    assert_eq!(stats["timeline"]["step_ms"], 100);
    let sum = |line: &str| -> u64 {
        let steps = stats["timeline"][line].as_array().unwrap();
        steps.iter().map(|step| step.as_u64().unwrap()).sum()
    };
    assert_eq!((sum("accepted"), sum("limited"), sum("ignored")), (4, 2, 0));
    cloud.reset().await;
    let stats = cloud.stats().await;
    assert_eq!(stats["timeline"]["accepted"], json!([]));
    assert_eq!(
        (&stats["most_under_way"], &stats["limited"]["list_groups"]),
        (&json!(0), &json!(0))
    );
}

#[tokio::test]
async fn the_truth_of_an_unknown_group_is_not_found() {
    let cloud = Cloud::start(Options::default()).await;
    for path in ["/_sim/members?group=none", "/_sim/members", "/_sim/none", "/_sim/"] {
        assert_eq!(send(cloud.bare(Method::GET, path)).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn switches_are_turned_all_or_none() {
    let cloud = Cloud::start(faults(&["hidden_emails", "seats=3"])).await;
    let shown = async || send(cloud.bare(Method::GET, "/_sim/faults")).await.json();
    assert_eq!(shown().await, json!({"hidden_emails": "", "seats": "3"}));
    for wrong in [
        json!({"down": true, "no_such_fault": 1}),
        json!({"down": true, "no_such_fault": null}),
        json!({"down": true, "cut": 2}),
        json!({"down": true, "slow": "fast"}),
        json!({"down": true, "bulk": ["comma"]}),
        json!(["down"]),
    ] {
        let refused = cloud.try_switch(wrong.clone()).await;
        assert_eq!(refused.status, 400, "{wrong}");
        assert!(refused.json()["error"].is_string());
    }
    assert_eq!(shown().await, json!({"hidden_emails": "", "seats": "3"}));
    cloud
        .switch(json!({"hidden_emails": null, "seats": null, "slow": "0.5:1", "cut": 0, "no_total": true}))
        .await;
    assert_eq!(shown().await, json!({"slow": "0.5:1", "cut": "0", "no_total": "true"}));
}
