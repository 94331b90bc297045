//! Rates and delays.
use std::time::{Duration, Instant, SystemTime};

use extender_facade::simulator::Options;
use serde_json::json;

use crate::cloud::{Cloud, Reply, faults};

fn limited(rate: f64, burst: u32) -> Options {
    Options {
        rate: Some(rate),
        burst: Some(burst),
        ..Options::default()
    }
}

async fn statuses(cloud: &Cloud, path: &str, times: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..times {
        statuses.push(cloud.get(path).await.status);
    }
    statuses
}

#[tokio::test]
async fn an_operation_has_its_burst_and_no_other_operations() {
    let cloud = Cloud::start(limited(0.01, 3)).await;
    assert_eq!(statuses(&cloud, "/group", 5).await, [200, 200, 200, 429, 429]);
    assert_eq!(statuses(&cloud, "/group?start=1", 1).await, [429]);
    assert_eq!(statuses(&cloud, "/user/current", 4).await, [200, 200, 200, 429]);
    let stats = cloud.stats().await;
    assert_eq!((&stats["total"], &stats["by_status"]["429"]), (&json!(10), &json!(4)));
}

#[tokio::test]
async fn a_bucket_is_refilled_as_time_passes() {
    let cloud = Cloud::start(limited(20.0, 1)).await;
    assert_eq!(cloud.get("/group").await.status, 200);
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(cloud.get("/group").await.status, 200);
}

#[tokio::test]
async fn a_refusal_says_when_to_come_again_as_truly_as_it_is_told() {
    let cloud = Cloud::start(limited(0.5, 1)).await;
    assert_eq!(cloud.get("/group").await.status, 200);
    let refused = cloud.get("/group").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("2")));
    assert_eq!(refused.header("x-ratelimit-limit"), Some("1"));
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
    assert!(refused.header("x-ratelimit-reset").unwrap().ends_with('Z'));
    assert!(refused.header("ratelimit-reason").unwrap().contains("burst-based"));
    assert!(refused.json()["message"].is_string());

    cloud.switch(json!({ "rate": 0.001 })).await;
    let retry_after = async |value: &str| -> Reply {
        cloud.switch(json!({ "retry_after": value })).await;
        let refused = cloud.get("/group").await;
        assert_eq!(refused.status, 429);
        refused
    };
    assert_eq!(retry_after("7").await.header("retry-after"), Some("7"));
    assert_eq!(retry_after("none").await.header("retry-after"), None);
    assert_eq!(retry_after("zero").await.header("retry-after"), Some("0"));
    assert_eq!(retry_after("absurd").await.header("retry-after"), Some("31536000"));
    let dated = retry_after("date").await;
    let date = httpdate::parse_http_date(dated.header("retry-after").unwrap()).unwrap();
    assert!(date >= SystemTime::now() + Duration::from_secs(900));
}

#[tokio::test]
async fn a_rate_can_be_set_and_taken_away_at_run_time() {
    let cloud = Cloud::start(Options::default()).await;
    assert_eq!(statuses(&cloud, "/group", 10).await, [200; 10]);
    cloud.switch(json!({ "rate": 0.01, "burst": 2 })).await;
    assert_eq!(statuses(&cloud, "/group", 3).await, [200, 200, 429]);
    cloud.switch(json!({ "rate": null })).await;
    assert_eq!(statuses(&cloud, "/group", 5).await, [200; 5]);
    cloud.switch(json!({ "rate": 0.01 })).await;
    assert_eq!(statuses(&cloud, "/group", 3).await, [200, 200, 429]);
}

#[tokio::test]
async fn a_change_of_the_rate_fills_no_bucket_and_spills_what_is_too_much() {
    let cloud = Cloud::start(limited(0.01, 10)).await;
    assert_eq!(statuses(&cloud, "/group", 4).await, [200; 4]);
    cloud.switch(json!({ "burst": 2 })).await;
    assert_eq!(statuses(&cloud, "/group", 3).await, [200, 200, 429]);
    cloud.switch(json!({ "burst": 100, "rate": 0.02 })).await;
    assert_eq!(statuses(&cloud, "/group", 1).await, [429]);
    // Whoever was never asked is full.
    assert_eq!(statuses(&cloud, "/user/current", 1).await, [200]);
}

#[tokio::test]
async fn others_take_their_share_of_what_comes_in() {
    let cloud = Cloud::start(limited(20.0, 1)).await;
    cloud.switch(json!({ "others": 20 })).await;
    assert_eq!(cloud.get("/group").await.status, 200);
    tokio::time::sleep(Duration::from_millis(110)).await;
    assert_eq!(cloud.get("/group").await.status, 429);
    cloud.switch(json!({ "others": null })).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(cloud.get("/group").await.status, 200);
}

#[tokio::test]
async fn every_answer_takes_the_latency_and_a_refusal_none() {
    let cloud = Cloud::start(Options {
        latency_ms: 60,
        ..limited(0.01, 2)
    })
    .await;
    for _ in 0..2 {
        let start = Instant::now();
        assert_eq!(cloud.get("/group").await.status, 200);
        assert!(start.elapsed() >= Duration::from_millis(60));
    }
    assert_eq!(statuses(&cloud, "/group", 3).await, [429; 3]);
    let mean = cloud.stats().await["mean_service_ms"].as_f64().unwrap();
    assert!((60.0..600.0).contains(&mean), "{mean}");
}

#[tokio::test]
async fn some_answers_are_slower_when_told_so() {
    let cloud = Cloud::start(faults(&["slow=1:80"])).await;
    let start = Instant::now();
    assert_eq!(cloud.get("/group").await.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(80));
    cloud.switch(json!({ "slow": "0:5000", "latency_ms": 1 })).await;
    let start = Instant::now();
    assert_eq!(cloud.get("/group").await.status, 200);
    assert!(start.elapsed() < Duration::from_millis(2_500));
}

#[tokio::test]
async fn answers_spread_around_the_latency_when_told_so() {
    let cloud = Cloud::start(Options {
        latency_ms: 20,
        ..faults(&["latency_spread=0.6"])
    })
    .await;
    let mut took = Vec::new();
    for _ in 0..60 {
        let start = Instant::now();
        assert_eq!(cloud.get("/group").await.status, 200);
        took.push(start.elapsed());
    }
    took.sort_unstable();
    // Some are quicker than the latency, which is certain without a spread, and some much slower.
    assert!(took[0] < Duration::from_millis(15), "{took:?}");
    assert!(took[59] > Duration::from_millis(35), "{took:?}");
}
