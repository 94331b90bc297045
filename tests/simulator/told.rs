//! How limits are told: the dialects of a 429, warnings before it, and the quota of points.
use std::time::Duration;

use extender_facade::simulator::Options;
use serde_json::json;

use crate::cloud::{Cloud, Reply, quota_of};

async fn with(rate: f64, burst: u32) -> Cloud {
    let options = Options {
        users: 30,
        rate: Some(rate),
        burst: Some(burst),
        group: vec!["ten=10".parse().unwrap()],
        ..Options::default()
    };
    Cloud::start(options).await
}

/// The headers that tell of a limit.
fn told(reply: &Reply) -> Vec<&str> {
    let names = reply.headers.keys().map(|name| name.as_str());
    let mut told: Vec<&str> = names
        .filter(|name| name.contains("ratelimit") || name.contains("retry-after"))
        .collect();
    told.sort_unstable();
    told
}

#[tokio::test]
async fn a_429_has_the_headers_of_its_dialect_and_no_others() {
    let cloud = with(0.001, 1).await;
    assert_eq!(cloud.get("/group").await.status, 200);
    let all = [
        "ratelimit-reason",
        "retry-after",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
    ];
    let twins = [
        "beta-ratelimit-reason",
        "beta-retry-after",
        "beta-x-ratelimit-limit",
        "beta-x-ratelimit-remaining",
        "beta-x-ratelimit-reset",
    ];
    for (dialect, expected) in [
        ("full", &all[..]),
        ("loose", &all),
        ("beta", &twins),
        ("retry_after", &["retry-after"]),
        ("bare", &[]),
    ] {
        cloud.switch(json!({ "limit_headers": dialect })).await;
        let refused = cloud.get("/group").await;
        assert_eq!((refused.status, told(&refused)), (429, expected.to_vec()), "{dialect}");
    }
    cloud
        .switch(json!({"limit_headers": "loose", "limit_reason": "on-a-whim"}))
        .await;
    let refused = cloud.get("/group").await;
    let reset = refused.header("x-ratelimit-reset").unwrap();
    assert!(reset.len() == 17 && reset.ends_with('Z'), "{reset}");
    assert_eq!(refused.header("ratelimit-reason"), Some("on-a-whim"));
    // Each dialect that has a Retry-After has the one that is asked for.
    cloud
        .switch(json!({"limit_headers": "retry_after", "retry_after": 7}))
        .await;
    assert_eq!(cloud.get("/group").await.header("retry-after"), Some("7"));
    cloud
        .switch(json!({"limit_headers": "beta", "retry_after": "none"}))
        .await;
    assert_eq!(told(&cloud.get("/group").await).len(), 4);
}

#[tokio::test]
async fn a_success_warns_when_less_than_a_fifth_is_left_unless_told_not_to() {
    let cloud = with(0.001, 10).await;
    for request in 1..=10 {
        let reply = cloud.get("/group").await;
        assert_eq!(
            (reply.status, !told(&reply).is_empty()),
            (200, request > 8),
            "{request}"
        );
    }
    let near = async |faults: serde_json::Value| {
        cloud.switch(json!({ "rate": null })).await;
        cloud.switch(json!({"rate": 0.001, "burst": 2})).await;
        cloud.switch(faults).await;
        cloud.get("/group").await;
        cloud.get("/group").await
    };
    let warned = near(json!({})).await;
    assert_eq!(warned.header("x-ratelimit-nearlimit"), Some("true"));
    assert_eq!(warned.header("x-ratelimit-limit"), Some("2"));
    assert_eq!(warned.header("x-ratelimit-remaining"), Some("0"));
    let warned = near(json!({ "limit_headers": "beta" })).await;
    assert_eq!(warned.header("beta-x-ratelimit-nearlimit"), Some("true"));
    assert!(told(&near(json!({ "limit_headers": "bare" })).await).is_empty());
    assert!(!told(&near(json!({ "near_limit": true })).await).is_empty());
    let full = json!({"limit_headers": "full", "near_limit": false});
    assert!(told(&near(full).await).is_empty());
}

#[tokio::test]
async fn a_quota_is_spent_by_rows_and_stops_everything_until_its_window_is_over() {
    let cloud = with(1_000_000.0, 1_000_000).await;
    let id = cloud.group_id("ten").await;
    cloud.reset().await;
    quota_of(86_400, 20).await;
    // 1 + 2 × 10 for the page, 1 for the write.
    cloud.switch(json!({"quota": 22, "quota_window_s": 86_400})).await;
    assert_eq!(cloud.get(&format!("/group/{id}/membersByGroupId")).await.status, 200);
    let written = cloud.add(&id, cloud.account(20)).await;
    assert_eq!(written.status, 201);
    assert_eq!(written.header("x-ratelimit-nearlimit"), Some("true"));
    assert_eq!(written.header("x-ratelimit-limit"), Some("22"));
    assert_eq!(cloud.stats().await["points"], 22);
    for refused in [
        cloud.get("/user/current").await,
        cloud.add(&id, cloud.account(21)).await,
    ] {
        assert_eq!(refused.status, 429);
        assert_eq!(
            refused.header("ratelimit-reason"),
            Some("confluence-quota-global-based")
        );
        assert_eq!(refused.header("x-ratelimit-limit"), Some("22"));
        assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=86_400).contains(&wait), "{wait}");
    }
    cloud.switch(json!({ "quota_window_s": 1 })).await;
    // A window of a second is over after a second, wherever it began.
    tokio::time::sleep(Duration::from_millis(1_010)).await;
    assert_eq!(cloud.add(&id, cloud.account(21)).await.status, 201);
}
