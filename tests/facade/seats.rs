//! A full licence: what it costs, and that nobody is left out who could have had a seat.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cloud::Reply;
use crate::harness::{World, names, options};
use crate::truth::{self, audit_of, hold, lists};

/// Refusals in a row after which no more are asked for.
const MOST: usize = 20;
/// Requests under way at once.
const AT_ONCE: usize = 8;

/// How many names ended so.
fn ends(world: &World, answer: &Reply) -> BTreeMap<String, usize> {
    let mut ends = BTreeMap::new();
    for line in audit_of(world, answer) {
        let end = line["reason"].as_str().or(line["result"].as_str()).unwrap().to_owned();
        *ends.entry(end).or_default() += 1;
    }
    ends
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_names_and_five_seats_cost_little_more_than_the_seats_and_are_all_told() {
    let world = World::with(200, &[("team", 10)]).await;
    world.cloud.switch(json!({ "seats": 5 })).await;
    let asked = names(11, 100);
    let before = truth::members(&world, "team").await;
    let answer = world.users("addUsers/team", &asked).await;
    // Not a 503: sending it again would find no more seats.
    assert_eq!(answer.status, 200, "{answer:?}");
    let after = hold(&world, "team", &asked, &answer, &before).await;
    assert_eq!(after.len(), 15);
    let ends = ends(&world, &answer);
    // A refusal may be told before the last success, and then counts no more.
    let most_refusals = MOST + AT_ONCE;
    assert!((MOST..=most_refusals).contains(&ends["no_seat"]), "{ends:?}");
    assert_eq!(ends["no_seat"] + ends["not_attempted"], 95, "{ends:?}");
    // Those that were under way at once are each tried twice.
    let calls = usize::try_from(world.calls().await["add_member"]).unwrap();
    assert!(calls <= 5 + most_refusals + AT_ONCE, "{calls}");
    eprintln!("{calls} additions sent for 100 names and 5 seats: {ends:?}");

    // Those who are members already need no seat, and are told as ever.
    world.forget_calls().await;
    let answer = world.users("addUsers/team", &names(1, 10)).await;
    assert_eq!(lists(&answer), (Vec::new(), names(1, 10)));
    assert!(!world.calls().await.contains_key("add_member"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_that_is_freed_in_the_middle_opens_the_way_for_all_the_rest() {
    let world = World::with(200, &[("team", 0)]).await;
    world.cloud.switch(json!({ "seats": 5, "latency_ms": 150 })).await;
    let free = async {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let stats = world.cloud.stats().await;
            let refused = stats["by_status"]["500"].as_u64().unwrap_or(0);
            // More than can be under way at once: some are refused for good by now.
            if refused >= 12 {
                break;
            }
            assert!(Instant::now() < deadline, "{stats}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.cloud.switch(json!({ "seats": 1000, "latency_ms": 5 })).await;
    };
    let asked = names(1, 100);
    let (answer, ()) = tokio::join!(world.users("addUsers/team", &asked), free);
    assert_eq!(answer.status, 200, "{answer:?}");
    hold(&world, "team", &asked, &answer, &truth::Members::new()).await;
    let ends = ends(&world, &answer);
    assert!(!ends.contains_key("not_attempted"), "{ends:?}");
    assert!(ends["done"] > 5 && ends["done"] + ends["no_seat"] == 100, "{ends:?}");
    // The same call again gives those a seat who found none.
    let answer = world.users("addUsers/team", &asked).await;
    assert_eq!(lists(&answer).0.len(), ends["no_seat"]);
    assert_eq!(world.truth("team").await, asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_known_to_have_access_is_tried_even_when_the_licence_is_full() {
    let mut options = options(200, &[("staff", 20), ("team", 0)]);
    options.org_id = Some("the-organisation".to_owned());
    let world = World::start(options, |settings| {
        settings.cloud.admin.org_id = "the-organisation".to_owned();
        settings.cloud.admin.api_key = "organisation-key".into();
        settings.cloud.admin.base_url = format!("{}/admin", settings.cloud.base_url);
    })
    .await;
    // The organisation's key shows who is active in Confluence.
    let answer = world.get("getUsers/staff?showExtendedDetails=true").await;
    let users = answer.json()["users"].as_array().unwrap().clone();
    let active: Vec<String> = users
        .iter()
        .filter(|user| user["hasAccessToUseConfluence"] == true && !user["lastSuccessfulLoginDate"].is_null())
        .map(|user| user["name"].as_str().unwrap().to_owned())
        .collect();
    assert!((5..20).contains(&active.len()), "{active:?}");
    world.cloud.switch(json!({ "seats": 0 })).await;
    // Strangers first: the licence is known to be full when the others' turn comes.
    let asked = [names(101, 60), names(1, 20)].concat();
    let answer = world.users("addUsers/team", &asked).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(world.truth("team").await, names(1, 0));
    let lines = audit_of(&world, &answer);
    let line_of = |name: &str| lines.iter().find(|line| line["name"] == name).unwrap();
    for name in &active {
        assert_eq!(line_of(name)["reason"], "no_seat", "{name} was not tried");
    }
    let others: Vec<String> = names(1, 20).into_iter().filter(|name| !active.contains(name)).collect();
    for name in &others {
        assert_eq!(line_of(name)["result"], "not_attempted", "{name} was tried");
    }
    let ends = ends(&world, &answer);
    assert_eq!(ends["no_seat"], MOST + active.len(), "{ends:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_licence_that_is_full_from_the_start_costs_no_more_however_cloud_fails_besides() {
    let world = World::start(options(200, &[("team", 0)]), |settings| settings.cloud.max_tries = 30).await;
    for faults in [
        json!({ "seats": 0 }),
        json!({ "seats": 0, "error_5xx": 0.2, "lag_ms": 200 }),
        json!({ "seats": 0, "cut": 0.2, "html": 0.1, "error_5xx": null, "lag_ms": null }),
    ] {
        world.cloud.switch(faults.clone()).await;
        let asked = names(1, 200);
        let answer = world.users("addUsers/team", &asked).await;
        hold(&world, "team", &asked, &answer, &truth::Members::new()).await;
        assert_eq!(answer.status, 200, "{faults}: {answer:?}");
        let ends = ends(&world, &answer);
        assert_eq!(
            ends,
            BTreeMap::from([("no_seat".to_owned(), MOST), ("not_attempted".to_owned(), 200 - MOST)]),
            "{faults}"
        );
    }
}
