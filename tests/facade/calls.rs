//! How many requests to Cloud each operation costs.

use serde_json::json;

use crate::harness::{World, names};

#[tokio::test(flavor = "multi_thread")]
async fn listing_450_groups_costs_three_pages_and_then_nothing() {
    let mut options = crate::harness::options(50, &[]);
    options.groups = 447;
    let world = World::start(options, |_| {}).await;
    for _ in 0..2 {
        let answer = world.get("getGroups").await;
        assert_eq!(answer.json()["total"], 450);
        assert_eq!(json!(world.calls().await), json!({ "list_groups": 3 }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listing_450_members_costs_one_look_up_and_three_pages_and_then_nothing() {
    let world = World::with(500, &[("big", 450)]).await;
    for _ in 0..2 {
        assert_eq!(world.members("big").await, names(1, 450));
        assert_eq!(
            json!(world.calls().await),
            json!({ "find_group": 1, "list_members": 3 })
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_1000_names_of_which_100_are_members_costs_900_writes_and_four_reads() {
    let world = World::with(2000, &[("big", 450)]).await;
    let all = names(351, 1000);
    let answer = world.users("addUsers/big", &all).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-facade-skipped"), Some("100"));
    assert_eq!(
        json!(world.calls().await),
        json!({ "find_group": 1, "list_members": 3, "add_member": 900 })
    );
    assert_eq!(world.truth("big").await, names(1, 1350));
    world.forget_calls().await;
    let answer = world.users("addUsers/big", &all).await;
    assert_eq!(answer.header("x-facade-skipped"), Some("1000"));
    assert_eq!(world.calls().await.get("add_member"), None);
}
