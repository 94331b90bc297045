//! How many requests to Cloud each operation costs.

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{World, encode, names, options, texts};

async fn assert_calls(world: &World, expected: serde_json::Value) {
    assert_eq!(json!(world.calls().await), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn listing_450_groups_costs_three_pages_and_then_nothing() {
    let mut options = options(50, &[]);
    options.groups = 447;
    let world = World::start(options, |_| {}).await;
    for _ in 0..2 {
        let answer = world.get("getGroups").await;
        assert_eq!(answer.json()["total"], 450);
        assert_calls(&world, json!({ "list_groups": 3 })).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listing_450_members_costs_one_look_up_and_three_pages_and_then_nothing() {
    let world = World::with(500, &[("big", 450)]).await;
    for detail in ["", "?showBasicDetails=true", "?showExtendedDetails=true"] {
        let answer = world.get(&format!("getUsers/big{detail}")).await;
        assert_eq!(answer.json()["total"], 450);
        assert_calls(&world, json!({ "find_group": 1, "list_members": 3 })).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_1000_names_of_which_100_are_members_costs_900_writes_and_four_reads() {
    let world = World::with(2000, &[("big", 450)]).await;
    let all = names(351, 1000);
    let answer = world.users("addUsers/big", &all).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-facade-skipped"), Some("100"));
    assert_calls(&world, json!({ "find_group": 1, "list_members": 3, "add_member": 900 })).await;
    assert_eq!(world.truth("big").await, names(1, 1350));
    world.forget_calls().await;
    let answer = world.users("addUsers/big", &all).await;
    assert_eq!(answer.header("x-facade-skipped"), Some("1000"));
    assert_calls(&world, json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_1000_names_of_which_100_are_members_costs_100_writes_and_four_reads() {
    let world = World::with(2000, &[("big", 450)]).await;
    let all = names(351, 1000);
    let answer = world.users("removeUsers/big", &all).await;
    assert_eq!(answer.header("x-facade-skipped"), Some("900"));
    assert_calls(
        &world,
        json!({ "find_group": 1, "list_members": 3, "remove_member": 100 }),
    )
    .await;
    assert_eq!(world.truth("big").await, names(1, 350));
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_identical_readings_at_once_cost_what_one_costs() {
    let mut options = options(500, &[("big", 450)]);
    (options.groups, options.latency_ms) = (446, 20);
    let world = World::start(options, |_| {}).await;
    for answer in join_all((0..50).map(|_| world.get("getUsers/big"))).await {
        assert_eq!(answer.json()["total"], 450);
    }
    assert_calls(&world, json!({ "find_group": 1, "list_members": 3 })).await;
    world.forget_calls().await;
    for answer in join_all((0..50).map(|_| world.get("getGroups"))).await {
        assert_eq!(answer.json()["total"], 450);
    }
    assert_calls(&world, json!({ "list_groups": 3 })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_identical_additions_at_once_make_every_change_once() {
    let mut options = options(300, &[("big", 250)]);
    // Still under way when the last of them comes.
    options.latency_ms = 200;
    let world = World::start(options, |_| {}).await;
    let all = names(241, 30);
    let answers = join_all((0..50).map(|_| world.users("addUsers/big", &all))).await;
    // The same call while it runs is no second operation: all of them get the one answer.
    for answer in answers {
        assert_eq!(texts(&answer.json()["usersAdded"], None), names(251, 20), "{answer:?}");
        assert_eq!(answer.header("x-facade-skipped"), Some("10"));
    }
    assert_calls(&world, json!({ "find_group": 1, "list_members": 2, "add_member": 20 })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_additions_of_the_same_names_at_once_make_every_change_once() {
    let world = World::with(300, &[("big", 250)]).await;
    // Another order is another call, with an answer of its own.
    let orders = (0..50).map(|n| {
        let mut all = names(241, 30);
        all.rotate_left(n % 30);
        if n >= 30 {
            all.swap(0, 15);
        }
        all
    });
    let answers = join_all(orders.map(async |all| world.users("addUsers/big", &all).await)).await;
    let skipped: usize = answers
        .iter()
        .map(|answer| answer.header("x-facade-skipped").unwrap().parse::<usize>().unwrap())
        .sum();
    assert_eq!(skipped, 50 * 30 - 20);
    assert_calls(&world, json!({ "find_group": 1, "list_members": 2, "add_member": 20 })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_name_added_to_a_group_of_10_000_costs_at_most_three_calls() {
    let world = World::with(10_100, &[("huge", 10_000)]).await;
    assert_eq!(world.users("addUsers/huge", &["user010001"]).await.status, 200);
    assert_calls(&world, json!({ "find_group": 1, "member_of": 1, "add_member": 1 })).await;
    world.forget_calls().await;
    assert_eq!(
        world
            .users("addUsers/huge", &["user010001"])
            .await
            .header("x-facade-skipped"),
        Some("1")
    );
    assert!(!world.calls().await.contains_key("add_member"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_names_in_a_big_group_never_cost_its_pages_even_without_a_total() {
    let world = World::with(10_100, &[("huge", 10_000)]).await;
    for faults in [json!({}), json!({ "no_total": true })] {
        world.cloud.switch(faults).await;
        world.forget_calls().await;
        let answer = world.users("removeUsers/huge", &["user000007", "user000008"]).await;
        assert_eq!(answer.status, 200);
        let calls = world.calls().await;
        assert!(calls.get("list_members").is_none_or(|pages| *pages == 1), "{calls:?}");
        world.users("addUsers/huge", &["user000007", "user000008"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_names_cost_nothing_but_the_groups_look_up() {
    let world = World::with(50, &[("small", 5)]).await;
    let strangers: Vec<String> = (0..4500).map(|n| format!("stranger{n}")).collect();
    for path in ["addUsers/small", "removeUsers/small"] {
        let answer = world.users(path, &strangers).await;
        assert_eq!(answer.header("x-facade-skipped"), Some("4500"));
    }
    assert_calls(&world, json!({ "find_group": 1 })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_look_like_account_ids_are_confirmed_a_hundred_a_call() {
    let world = World::start(options(300, &[("small", 5)]), |settings| {
        let map = settings.identity.map_file.clone().unwrap();
        // Nobody but the first ten is in the map: every other id must be confirmed.
        let text = std::fs::read_to_string(&map).unwrap();
        let few: Vec<&str> = text.lines().take(11).collect();
        std::fs::write(map, few.join("\n")).unwrap();
    })
    .await;
    let ids: Vec<&str> = world.cloud.people[20..270]
        .iter()
        .map(|person| person.account_id.as_str())
        .collect();
    let answer = world.users("addUsers/small", &ids).await;
    assert_eq!(answer.header("x-facade-skipped"), Some("0"));
    assert_calls(
        &world,
        json!({ "find_group": 1, "users_bulk": 3, "list_members": 1, "add_member": 250 }),
    )
    .await;
    world.forget_calls().await;
    world.users("addUsers/small", &ids).await;
    assert_calls(&world, json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_group_is_asked_for_once_within_its_negative_life() {
    let world = World::with(10, &[]).await;
    for _ in 0..3 {
        assert_eq!(world.get("getUsers/nothing").await.status, 500);
        assert_eq!(world.users("addUsers/nothing", &["user000001"]).await.status, 500);
        assert_calls(&world, json!({ "find_group": 1 })).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn making_and_deleting_groups_costs_a_look_up_and_a_change_each() {
    let world = World::with(10, &[]).await;
    let few = ["one", "two", "three"];
    assert_eq!(
        world.groups("addGroups", &few).await.header("x-facade-skipped"),
        Some("0")
    );
    assert_calls(&world, json!({ "find_group": 3, "create_group": 3 })).await;
    world.forget_calls().await;
    assert_eq!(
        world.groups("addGroups", &few).await.header("x-facade-skipped"),
        Some("3")
    );
    assert_calls(&world, json!({})).await;
    // The least of a deletion, its group known: who is in it, which nobody could tell afterwards, a look at its id
    // directly before, and itself.
    assert_eq!(
        world.groups("removeGroups", &few).await.header("x-facade-skipped"),
        Some("0")
    );
    assert_calls(&world, json!({ "list_members": 3, "get_group": 3, "delete_group": 3 })).await;
    world.forget_calls().await;
    assert_eq!(
        world.groups("removeGroups", &few).await.header("x-facade-skipped"),
        Some("3")
    );
    assert_calls(&world, json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_groups_cost_the_list_of_all_groups_and_no_look_ups() {
    let mut options = options(50, &[]);
    options.groups = 297;
    let world = World::start(options, |_| {}).await;
    let many: Vec<String> = (0..50).map(|n| format!("new {n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(
        world.groups("addGroups", &many).await.header("x-facade-skipped"),
        Some("0")
    );
    assert_calls(&world, json!({ "list_groups": 2, "create_group": 50 })).await;
    assert_eq!(
        world.groups("removeGroups", &many).await.header("x-facade-skipped"),
        Some("0")
    );
    // A deletion reads who is in the group, and looks at its id directly before.
    assert_calls(
        &world,
        json!({ "list_groups": 2, "create_group": 50, "list_members": 50, "get_group": 50, "delete_group": 50 }),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_warm_shows_our_changes_without_a_call() {
    let world = World::with(500, &[("big", 450)]).await;
    assert_eq!(world.members("big").await, names(1, 450));
    assert_eq!(world.users("addUsers/big", &names(451, 10)).await.status, 200);
    assert_eq!(world.users("removeUsers/big", &names(1, 10)).await.status, 200);
    world.forget_calls().await;
    assert_eq!(world.members("big").await, names(11, 450));
    assert_calls(&world, json!({})).await;
    // Names and e-mails of those who came are asked for once, if somebody wants them.
    for _ in 0..2 {
        let answer = world
            .get(&format!("getUsers/{}?showBasicDetails=true", encode("big")))
            .await;
        assert_eq!(answer.json()["total"], 450);
        assert_calls(&world, json!({ "users_bulk": 1 })).await;
    }
}
