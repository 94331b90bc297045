//! Lists are complete, or there is none: whatever Cloud's pages look like.

use serde_json::{Value, json};

use crate::between::Between;
use crate::harness::{World, names, options, texts};

/// 450 groups, and groups of sizes around the page size.
async fn world(faults: Value) -> World {
    let sizes = [
        ("none", 0),
        ("one", 1),
        ("page", 200),
        ("over", 201),
        ("two pages", 400),
        ("big", 450),
    ];
    let mut options = options(500, &sizes);
    options.groups = 450 - 3 - 6;
    let world = World::start(options, |_| {}).await;
    world.cloud.switch(faults).await;
    world
}

/// The list under `key`, walked page by page as a script would.
async fn walked(world: &World, path: &str, key: &str, size: usize) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let answer = world
            .get(&format!("{path}?startAt={}&maxResults={size}", all.len()))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = answer.json();
        assert_eq!(body["startAt"], all.len());
        assert_eq!(body["maxResults"], size);
        let page = texts(&body[key], (key == "users").then_some("name"));
        let (last, total) = (page.len() != size, body["total"].as_u64().unwrap());
        all.extend(page);
        if last {
            assert_eq!(all.len() as u64, total);
            return all;
        }
    }
}

fn without_suspended(names: Vec<String>) -> Vec<String> {
    names.into_iter().filter(|name| !name.ends_with('0')).collect()
}

async fn hold_every_list(world: &World, shown: impl Fn(Vec<String>) -> Vec<String>) {
    for (group, size) in [
        ("none", 0),
        ("one", 1),
        ("page", 200),
        ("over", 201),
        ("two%20pages", 400),
        ("big", 450),
    ] {
        let expected = shown(names(1, size));
        let answer = world.get(&format!("getUsers/{group}")).await;
        assert_eq!(answer.status, 200, "{group}: {answer:?}");
        assert_eq!(texts(&answer.json()["users"], Some("name")), expected, "{group}");
        assert_eq!(answer.json()["total"], expected.len());
    }
    for size in [50, 100] {
        let expected = shown(names(1, 450));
        assert_eq!(walked(world, "getUsers/big", "users", size).await, expected);
        let groups = walked(world, "getGroups", "groups", size).await;
        assert_eq!(groups.len(), 450);
        assert!(groups.is_sorted());
    }
    let groups = texts(&world.get("getGroups").await.json()["groups"], None);
    assert_eq!(groups, walked(world, "getGroups", "groups", 100).await);
    assert!(groups.contains(&"group-00441".to_owned()) && groups.contains(&"site-admins".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_is_complete_in_one_call_and_walked() {
    hold_every_list(&world(json!({})).await, |all| all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_is_complete_whatever_the_pages_say_of_their_end() {
    for faults in [
        json!({ "over_limit": "cap" }),
        json!({ "wrong_next": true }),
        json!({ "no_total": true }),
        json!({ "wrong_next": true, "no_total": true, "over_limit": "cap" }),
    ] {
        hold_every_list(&world(faults).await, |all| all).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_members_are_left_out_and_nobody_else() {
    for faults in [
        json!({ "suspended": true }),
        json!({ "suspended": "counted" }),
        json!({ "suspended": "counted", "wrong_next": true }),
        json!({ "suspended": "counted", "no_total": true }),
        json!({ "suspended": true, "no_total": true, "wrong_next": true }),
    ] {
        hold_every_list(&world(faults).await, without_suspended).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_is_complete_though_one_answer_in_ten_is_spoilt() {
    for faults in [
        json!({ "truncated": 0.1, "html": 0.05 }),
        json!({ "cut": 0.1, "error_5xx": 0.1, "suspended": "counted" }),
    ] {
        let suspended = faults.get("suspended").is_some();
        let shown = |all| if suspended { without_suspended(all) } else { all };
        hold_every_list(&world(faults).await, shown).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_repeat_are_an_error_and_never_a_short_list() {
    for faults in [
        json!({ "repeat_page": true }),
        json!({ "repeat_page": true, "no_total": true }),
        json!({ "repeat_page": true, "wrong_next": true }),
    ] {
        let world = world(faults).await;
        for group in ["over", "two%20pages", "big"] {
            let answer = world.get(&format!("getUsers/{group}")).await;
            assert_eq!(answer.status, 503, "{group}: {answer:?}");
            assert!(answer.header("retry-after").is_some());
            // Nor is it kept.
            assert_eq!(
                world.users(&format!("addUsers/{group}"), &names(440, 30)).await.status,
                503
            );
        }
        assert_eq!(world.members("one").await, names(1, 1));
        world.cloud.switch(json!({ "repeat_page": null })).await;
        assert_eq!(world.members("big").await, names(1, 450));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_cannot_be_read_whole_is_an_error() {
    for faults in [json!({ "truncated": 1 }), json!({ "html": 1 }), json!({ "cut": 1 })] {
        let world = world(faults).await;
        for path in ["getUsers/big", "getGroups"] {
            let answer = world.get(path).await;
            assert_eq!(answer.status, 503, "{answer:?}");
            assert!(answer.header("retry-after").is_some());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_10_000_is_complete() {
    let world = World::with(10_000, &[("huge", 10_000)]).await;
    for faults in [json!({}), json!({ "suspended": "counted" })] {
        let suspended = faults.get("suspended").is_some();
        world.cloud.switch(faults).await;
        let group = if suspended { "confluence-users" } else { "huge" };
        let answer = world.get(&format!("getUsers/{group}?maxResults=20000")).await;
        let all = texts(&answer.json()["users"], Some("name"));
        let expected = names(1, 10_000);
        assert_eq!(
            all,
            if suspended {
                without_suspended(expected)
            } else {
                expected
            }
        );
    }
    assert_eq!(walked(&world, "getUsers/huge", "users", 1000).await, names(1, 10_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_total_beyond_all_measure_is_not_believed() {
    let world = World::start(options(500, &[("big", 450)]), |settings| {
        let (_, address) = Between::start(&settings.cloud.base_url, |exchange| {
            if exchange.path_and_query.contains("/membersByGroupId") {
                let mut page: Value = serde_json::from_slice(&exchange.answer).unwrap();
                page["totalSize"] = 9_000_000_000_000_000_u64.into();
                exchange.answer = page.to_string().into();
            }
        });
        settings.cloud.base_url = address;
    })
    .await;
    assert_eq!(world.members("big").await, names(1, 450));
}
