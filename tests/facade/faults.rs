//! Every way in which Cloud may misbehave during a bulk call: the answer is complete and true, or an honest error, and
//! the audit agrees with what is so in Cloud.

use serde_json::{Value, json};

use crate::harness::{World, names, off, options, texts};
use crate::truth::{self, accounts, hold, hold_answer};

async fn world() -> World {
    let mut options = options(400, &[("team", 200), ("one", 250), ("two", 250), ("three", 250)]);
    options.groups = 220;
    World::start(options, |settings| {
        settings.extender.bulk_give_up_s = 2;
        settings.extender.read_deadline_s = 20;
        settings.cloud.max_tries = 6;
    })
    .await
}

/// Everything the facade can be asked, first under `faults` and then, where that was not a success, without.
async fn ordeal(faults: Value) {
    let world = world().await;
    let off = off(&faults);
    // Half of the names are members before, half are not.
    for (call, asked) in [("addUsers/team", names(101, 200)), ("removeUsers/team", names(51, 200))] {
        world.cloud.switch(faults.clone()).await;
        let before = truth::members(&world, "team").await;
        let mut answer = world.users(call, &asked).await;
        let mut after = hold(&world, "team", &asked, &answer, &before).await;
        if answer.status == 503 {
            world.cloud.switch(off.clone()).await;
            answer = world.users(call, &asked).await;
            after = hold(&world, "team", &asked, &answer, &after).await;
            assert_eq!(answer.status, 200, "the same call again finishes the work: {answer:?}");
        }
        let asked = accounts(&world, &asked);
        if call.starts_with("add") {
            assert_eq!(after, &before | &asked);
        } else {
            assert_eq!(after, &before - &asked);
        }
        // Our own list agrees, whether reads lag or not.
        let shown = world.get("getUsers/team").await;
        if shown.status == 200 {
            let shown = accounts(&world, &texts(&shown.json()["users"], Some("name")));
            assert_eq!(shown, after);
        }
    }
    world.cloud.switch(faults.clone()).await;
    read(&world).await;
    groups(&world, &off).await;
}

async fn read(world: &World) {
    for group in ["one", "two", "three"] {
        let answer = world.get(&format!("getUsers/{group}?showBasicDetails=true")).await;
        if answer.status == 200 {
            assert_eq!(texts(&answer.json()["users"], Some("name")), names(1, 250));
        } else {
            assert_eq!(answer.status, 503, "{answer:?}");
            assert!(answer.header("retry-after").is_some());
        }
    }
}

async fn true_groups(world: &World) -> Vec<String> {
    let mut all = Vec::new();
    for start in [0, 200] {
        let page = world.cloud.get(&format!("/group?limit=200&start={start}")).await;
        all.extend(texts(&page.json()["results"], Some("name")));
    }
    all
}

async fn groups(world: &World, off: &Value) {
    let asked: Vec<String> = (1..=12).map(|n| format!("new {n:02}")).collect();
    let list: Vec<&str> = asked.iter().map(String::as_str).collect();
    for call in ["addGroups", "removeGroups"] {
        let answer = world.groups(call, &list).await;
        let audit = hold_answer(world, &asked, &answer);
        world.cloud.switch(off.clone()).await;
        let now = true_groups(world).await;
        for line in audit {
            let name = line["name"].as_str().unwrap().to_owned();
            let is_there = now.contains(&name);
            match line["result"].as_str().unwrap() {
                "done" => assert_eq!(is_there, call == "addGroups", "{line}"),
                "in_doubt" => {}
                _ => assert_eq!(is_there, call == "removeGroups", "{line}"),
            }
        }
        if answer.status == 503 {
            let answer = world.groups(call, &list).await;
            hold_answer(world, &asked, &answer);
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        let now = true_groups(world).await;
        assert!(asked.iter().all(|name| now.contains(name) == (call == "addGroups")));
        let shown = texts(&world.get("getGroups").await.json()["groups"], None);
        let differ = |one: &[String], other: &[String]| one.iter().find(|name| !other.contains(name)).cloned();
        assert_eq!((differ(&shown, &now), differ(&now, &shown)), (None, None));
        assert_eq!(shown.len(), now.len());
    }
}

/// Several ordeals side by side, each in a world of its own.
async fn ordeals(all: impl IntoIterator<Item = Value>) {
    let running: Vec<_> = all
        .into_iter()
        .map(|faults| (faults.to_string(), tokio::spawn(ordeal(faults))))
        .collect();
    for (faults, ordeal) in running {
        if let Err(failed) = ordeal.await {
            let panic = failed.into_panic();
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            panic!("{faults}: {}", text.unwrap_or_default());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_errors_leave_no_name_untold() {
    ordeals([json!({ "error_5xx": 0.2 }), json!({ "html": 0.2 })]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_break_off_leave_no_name_untold() {
    ordeals([json!({ "cut": 0.2 }), json!({ "truncated": 0.2 })]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_answers_and_lagging_reads_change_nothing() {
    ordeals([
        json!({ "slow": "0.05:30" }),
        json!({ "lag_ms": 300 }),
        json!({ "hidden_emails": true }),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_status_of_a_needless_change_is_understood() {
    ordeals(
        [409, 400, 201]
            .into_iter()
            .flat_map(|already| [204, 404].map(|not| json!({ "already_member": already, "not_member": not }))),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_needless_status_after_a_lost_answer_is_our_own_change() {
    ordeals([
        json!({ "already_member": 400, "not_member": 404, "error_5xx": 0.25 }),
        json!({ "already_member": 409, "not_member": 404, "cut": 0.25, "lag_ms": 300 }),
        json!({ "already_member": 201, "not_member": 204, "truncated": 0.25, "html": 0.1 }),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_too_many_requests_is_waited_for() {
    ordeals(["none", "zero", "absurd", "date", "1"].map(|retry_after| {
        let (rate, burst) = if ["date", "1"].contains(&retry_after) {
            (300, 150)
        } else {
            (1500, 20)
        };
        json!({ "rate": rate, "burst": burst, "retry_after": retry_after })
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_faults_together_leave_no_name_untold() {
    ordeals([
        json!({ "error_5xx": 0.1, "cut": 0.1, "truncated": 0.1, "html": 0.1, "lag_ms": 200 }),
        json!({ "error_5xx": 0.2, "rate": 1500, "burst": 30, "retry_after": "zero", "no_total": true, "wrong_next": true }),
        json!({ "cut": 0.2, "slow": "0.1:10", "hidden_emails": true, "over_limit": "cap", "not_member": 404 }),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_mostly_fails_is_told_as_it_is() {
    ordeals([
        json!({ "error_5xx": 0.7 }),
        json!({ "cut": 0.6, "lag_ms": 300 }),
        json!({ "error_5xx": 0.4, "html": 0.3, "already_member": 400, "not_member": 404 }),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_without_a_free_seat_are_skipped_and_the_seats_there_are_are_filled() {
    let world = world().await;
    for faults in [
        json!({ "seats": 50 }),
        json!({ "seats": 0, "error_5xx": 0.1, "lag_ms": 200 }),
    ] {
        world.cloud.switch(faults).await;
        world.forget_calls().await;
        let before = truth::members(&world, "team").await;
        let asked = names(101, 200);
        let answer = world.users("addUsers/team", &asked).await;
        let after = hold(&world, "team", &asked, &answer, &before).await;
        assert_eq!(after.len(), 250);
        let audit = truth::audit_of(&world, &answer);
        let refused = audit.iter().filter(|line| line["reason"] == "no_seat").count();
        let left = audit.iter().filter(|line| line["result"] == "not_attempted").count();
        assert_eq!(refused + left, 50);
        assert!((20..=28).contains(&refused), "{refused}");
        if before.len() == 200 {
            assert!(world.calls().await["add_member"] <= 50 + 28 + 8);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_managed_elsewhere_is_shown_and_never_written_to() {
    let world = world().await;
    world.cloud.switch(json!({ "external": true, "error_5xx": 0.1 })).await;
    let before = truth::members(&world, "group-00010").await;
    for call in ["addUsers/group-00010", "removeUsers/group-00010"] {
        let answer = world.users(call, &names(10, 200)).await;
        assert_eq!(answer.header("x-facade-skipped"), Some("200"));
        hold(&world, "group-00010", &names(10, 200), &answer, &before).await;
    }
    assert_eq!(
        world
            .groups("removeGroups", &["group-00010"])
            .await
            .header("x-facade-skipped"),
        Some("1")
    );
    assert_eq!(world.members("group-00010").await, names(181, 20));
    let calls = world.calls().await;
    for write in ["add_member", "remove_member", "delete_group"] {
        assert!(!calls.contains_key(write), "{calls:?}");
    }
}
