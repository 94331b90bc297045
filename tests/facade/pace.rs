//! How fast Cloud is asked, and who waits for whom: a limit that nobody tells is found and kept, callers share it, and who
//! would have to wait for too long is told so before anything is changed.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::cloud::{Reply, quota_of, send};
use crate::harness::{ADMIN, World, digest, names, off, options};

/// Waits until so many additions were sent.
async fn additions(world: &World, count: u64) {
    while world.calls().await.get("add_member").is_none_or(|calls| *calls < count) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Requests that were answered 429, of all kinds: in all, and after the first contact with each limit.
async fn limited(world: &World) -> (u64, u64) {
    let stats = world.cloud.stats().await;
    let sum = |key: &str| {
        let kinds = stats[key].as_object().unwrap();
        kinds.values().map(|count| count.as_u64().unwrap()).sum::<u64>()
    };
    (sum("limited"), sum("limited") - sum("limited_at_first"))
}

fn all_added(answer: &Reply, count: usize) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["usersAdded"].as_array().unwrap().len(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_found_by_few_refusals_whatever_they_say() {
    let found = ["full", "retry_after", "bare", "beta", "loose"].map(async |dialect| {
        let world = World::with(200, &[("team", 0)]).await;
        // So slow that a busy machine, too, reaches it.
        let limit = json!({ "rate": 30, "burst": 30, "latency_ms": 50, "limit_headers": dialect });
        world.cloud.switch(limit).await;
        let answer = world.users("addUsers/team", &names(1, 150)).await;
        all_added(&answer, 150);
        let (all, later) = limited(&world).await;
        println!("{dialect}: {all} refusals, {later} of them later");
        // On a busy machine a refusal takes its time, and what left meanwhile is refused as well. Without a governor it
        // is hundreds.
        assert!((1..=8 + 12).contains(&all) && later <= 12, "{dialect}: {all}, {later}");
    });
    futures_util::future::join_all(found).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_reason_is_a_burst_and_a_quota_stops_everything() {
    let world = World::start(options(100, &[("team", 0)]), |settings| {
        settings.extender.bulk_give_up_s = 5
    })
    .await;
    let unknown = json!({ "rate": 50, "burst": 10, "limit_reason": "jira-cost-per-moon" });
    world.cloud.switch(unknown).await;
    all_added(&world.users("addUsers/team", &names(1, 40)).await, 40);
    quota_of(86_400, 120).await;
    let none = json!({ "rate": null, "burst": null, "limit_reason": null, "quota": 30, "quota_window_s": 86_400 });
    world.cloud.switch(none).await;
    // The quota ends in the middle: what was done is told, and that the rest has to wait.
    let answer = world.users("addUsers/team", &names(41, 60)).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!(wait > 60, "{answer:?}");
    let members = world.truth("team").await.len();
    assert!((41..100).contains(&members), "{members}");
    // Nothing of any kind is sent until then, and nobody waits for it.
    let (before, from) = (world.cloud.stats().await["total"].clone(), Instant::now());
    for path in ["getUsers/site-admins", "getGroups"] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() > 60);
    }
    assert!(from.elapsed() < Duration::from_secs(20));
    assert_eq!(world.cloud.stats().await["total"], before);
    let text = world.metrics().await;
    assert!(
        text.contains("facade_cloud_limited_total{reason=\"unknown\"}"),
        "{text}"
    );
    assert!(text.contains("facade_cloud_limited_total{reason=\"quota\"}"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_points_of_a_quota_are_kept_for_reads() {
    quota_of(3_600, 20).await;
    let world = World::start(options(100, &[("team", 0)]), |settings| {
        settings.cloud.pays = extender_facade::settings::Pays::Points;
        settings.cloud.points_per_hour = 100;
        settings.cloud.points_reserved_percent = 50;
        settings.extender.read_deadline_s = 2;
        settings.extender.bulk_give_up_s = 2;
    })
    .await;
    let answer = world.users("addUsers/team", &names(1, 90)).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let members = world.truth("team").await.len();
    assert!((20..=50).contains(&members), "{members}");
    // A change cannot begin, so nothing is changed; a read is answered.
    let refused = world.users("addUsers/team", &["user000095"]).await;
    assert_eq!(
        (refused.status, refused.header("x-facade-report")),
        (503, None),
        "{refused:?}"
    );
    assert_eq!(world.members("team").await.len(), members);
    assert!(world.metrics().await.contains("facade_cloud_quota_left"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_could_not_begin_in_time_is_told_so_before_anything_is_changed() {
    let world = World::start(options(100, &[("team", 0)]), |settings| {
        settings.extender.read_deadline_s = 30;
        settings.extender.bulk_give_up_s = 1;
    })
    .await;
    world
        .cloud
        .switch(json!({ "rate": 0.01, "burst": 4, "retry_after": 300 }))
        .await;
    let first = world.users("addUsers/team", &names(1, 10)).await;
    assert_eq!(first.status, 503, "{first:?}");
    assert!(first.header("x-facade-report").is_some());
    let calls = world.calls().await["add_member"];
    let from = Instant::now();
    let second = world.users("addUsers/team", &names(11, 2)).await;
    assert_eq!(
        (second.status, second.header("x-facade-report")),
        (503, None),
        "{second:?}"
    );
    let wait: u64 = second.header("retry-after").unwrap().parse().unwrap();
    assert!((250..=310).contains(&wait), "{second:?}");
    assert!(from.elapsed() < Duration::from_secs(20), "it did not wait");
    assert_eq!(world.calls().await["add_member"], calls);
    // Another kind of request is not held up.
    assert_eq!(world.get("getGroups").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn small_calls_and_reads_are_not_stuck_behind_a_large_one() {
    let world = World::with(1300, &[("team", 0), ("other", 250)]).await;
    world.cloud.switch(json!({ "latency_ms": 20 })).await;
    let large = async {
        let answer = world.users("addUsers/team", &names(1, 1200)).await;
        all_added(&answer, 1200);
        Instant::now()
    };
    let small = async {
        additions(&world, 20).await;
        all_added(&world.users("addUsers/other", &["user001300"]).await, 1);
        assert_eq!(world.members("other").await.len(), 251);
        Instant::now()
    };
    let (large, small) = tokio::join!(large, small);
    assert!(small < large);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_share_by_their_weights() {
    let world = World::start(options(900, &[("one", 0), ("two", 0)]), |settings| {
        let path = settings.inbound.accounts_file.clone().unwrap();
        let more = format!(
            "[[token]]\nname = \"one\"\nsha256 = \"{}\"\nrole = \"administrator\"\n\
             [[token]]\nname = \"two\"\nsha256 = \"{}\"\nrole = \"administrator\"\nweight = 3\n",
            digest("one-token"),
            digest("two-token")
        );
        let text = std::fs::read_to_string(&path).unwrap() + &more;
        std::fs::write(&path, text).unwrap();
    })
    .await;
    // Slower than any machine: else nobody waits for a turn.
    world.cloud.switch(json!({ "latency_ms": 80 })).await;
    let call = async |caller: &str, from: usize| {
        let request = world.request(http::Method::POST, &format!("addUsers/{caller}"));
        let body = json!({ "users": names(from, 400) }).to_string();
        let answer = send(request.bearer_auth(format!("{caller}-token")).body(body)).await;
        all_added(&answer, 400);
    };
    let added = async || {
        (
            world.cloud.truth("one").await.len(),
            world.cloud.truth("two").await.len(),
        )
    };
    let watch = async {
        // Who came first has a moment alone.
        let mut both = None;
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let now = added().await;
            match both {
                None if now.0 > 10 && now.1 > 10 => both = Some(now),
                Some((one, two)) if now.0 + now.1 >= one + two + 200 => return (now.0 - one, now.1 - two),
                _ => {}
            }
        }
    };
    let ((), (), (one, two)) = tokio::join!(call("one", 1), call("two", 401), watch);
    // Three to one.
    assert!(two > 2 * one && one > 25, "{one} {two}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_waited_for_with_few_questions_and_everything_is_done_after_it() {
    for outage in [json!({ "down": true }), json!({ "reset": true })] {
        let world = World::start(options(500, &[("team", 0)]), |settings| {
            settings.cloud.backoff_cap_ms = 100;
        })
        .await;
        world.cloud.switch(json!({ "latency_ms": 10 })).await;
        let people = names(1, 500);
        let add = world.users("addUsers/team", &people);
        let fall = async {
            additions(&world, 100).await;
            world.cloud.switch(outage.clone()).await;
            tokio::time::sleep(Duration::from_secs(4)).await;
            world.forget_calls().await;
            // A breaker is open by now: single questions, and pauses between them.
            tokio::time::sleep(Duration::from_secs(4)).await;
            let asked: u64 = world.calls().await.values().sum();
            assert!(world.metrics().await.contains("facade_cloud_outage 1"));
            world.cloud.switch(off(&outage)).await;
            asked
        };
        let (answer, asked) = tokio::join!(add, fall);
        all_added(&answer, 500);
        assert!(asked <= 20, "{asked} questions in four seconds of {outage}");
        let report = world
            .report(answer.header("x-facade-report").unwrap(), ADMIN, "")
            .await
            .json();
        assert_eq!(report["state"], "finished");
        assert!(world.metrics().await.contains("facade_cloud_outage 0"));
    }
}
