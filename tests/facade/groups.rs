//! Groups come and go: made, deleted, made anew, with reads that lag behind.

use serde_json::{Value, json};

use crate::harness::{World, names, options, texts};
use crate::truth::{audit_of, lists};

const LAG_MS: u64 = 700;

async fn lagging() -> World {
    let world = World::start(options(300, &[("team", 50)]), |settings| settings.cloud.max_tries = 30).await;
    world.cloud.switch(json!({ "lag_ms": LAG_MS })).await;
    world
}

async fn shown(world: &World) -> Vec<String> {
    texts(&world.get("getGroups").await.json()["groups"], None)
}

fn reasons(world: &World, answer: &crate::cloud::Reply) -> Vec<Value> {
    audit_of(world, answer)
        .iter()
        .map(|line| line["reason"].clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_reading_shows_our_own_additions_and_removals_though_reads_lag() {
    let world = lagging().await;
    for warm in [false, true] {
        if warm {
            world.members("team").await;
        }
        let before = world.truth("team").await;
        let new = names(if warm { 120 } else { 100 }, 20);
        world.users("addUsers/team", &new).await;
        assert_eq!(world.members("team").await, [before.clone(), new.clone()].concat());
        world.users("removeUsers/team", &new).await;
        assert_eq!(world.members("team").await, before);
        // Judged by what we did, not by what is shown.
        let again = world.users("removeUsers/team", &new).await;
        assert_eq!(again.header("x-facade-skipped"), Some("20"));
    }
    let one = ["user000200"];
    world.users("addUsers/team", &one).await;
    assert!(world.members("team").await.contains(&one[0].to_owned()));
    assert_eq!(
        world.users("addUsers/team", &one).await.header("x-facade-skipped"),
        Some("1")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_just_made_is_shown_filled_and_listed_though_reads_lag() {
    let world = lagging().await;
    for (group, size) in [("many", 30), ("single", 1)] {
        world.groups("addGroups", &[group]).await;
        assert!(shown(&world).await.contains(&group.to_owned()));
        assert_eq!(world.members(group).await, names(1, 0));
        let answer = world.users(&format!("addUsers/{group}"), &names(1, size)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(lists(&answer).0, names(1, size));
        assert_eq!(world.members(group).await, names(1, size));
        assert_eq!(
            world.groups("addGroups", &[group]).await.header("x-facade-skipped"),
            Some("1")
        );
        let answer = world.users(&format!("removeUsers/{group}"), &names(1, size)).await;
        assert_eq!(lists(&answer).0, names(1, size));
        assert_eq!(world.members(group).await, names(1, 0));
        let answer = world.groups("removeGroups", &[group]).await;
        assert_eq!(lists(&answer).0, [group], "{:?}", reasons(&world, &answer));
        assert!(!shown(&world).await.contains(&group.to_owned()));
        assert_eq!(world.get(&format!("getUsers/{group}")).await.status, 500);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_answer_was_lost_is_found_and_shown_though_reads_lag() {
    let world = lagging().await;
    world.cloud.switch(json!({ "truncated": 0.5 })).await;
    let all: Vec<String> = (0..10).map(|n| format!("new {n}")).collect();
    let list: Vec<&str> = all.iter().map(String::as_str).collect();
    let answer = world.groups("addGroups", &list).await;
    world.cloud.switch(json!({ "truncated": null })).await;
    assert_eq!(lists(&answer).0, all, "{:?}", reasons(&world, &answer));
    let shown = shown(&world).await;
    assert!(all.iter().all(|name| shown.contains(name)), "{shown:?}");
    for name in &all {
        assert_eq!(
            world
                .users(&format!("addUsers/{}", crate::harness::encode(name)), &names(1, 2))
                .await
                .status,
            200
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_just_deleted_is_gone_though_reads_lag() {
    let world = lagging().await;
    assert_eq!(world.members("team").await, names(1, 50));
    let answer = world.groups("removeGroups", &["TEAM"]).await;
    assert_eq!(lists(&answer).0, ["TEAM"]);
    assert!(!shown(&world).await.contains(&"team".to_owned()));
    assert_eq!(world.get("getUsers/team").await.status, 500);
    assert_eq!(world.users("addUsers/team", &names(1, 3)).await.status, 500);
    let again = world.groups("removeGroups", &["team"]).await;
    assert_eq!(reasons(&world, &again), ["no_such_group"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_made_anew_under_its_name_is_the_new_one_though_reads_lag() {
    let world = lagging().await;
    assert_eq!(world.members("team").await, names(1, 50));
    world.groups("removeGroups", &["team"]).await;
    assert_eq!(lists(&world.groups("addGroups", &["team"]).await).0, ["team"]);
    assert_eq!(shown(&world).await.iter().filter(|name| *name == "team").count(), 1);
    assert_eq!(world.members("team").await, names(1, 0));
    let answer = world.users("addUsers/team", &names(40, 20)).await;
    assert_eq!(lists(&answer).0, names(40, 20));
    assert_eq!(world.members("team").await, names(40, 20));
    assert_eq!(world.truth("team").await, names(40, 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_differ_in_case_alone_are_deleted_each() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data.json");
    let groups = ["Dev", "dev", "ops"].map(|name| json!({ "name": name, "members": ["a1"] }));
    let users =
        json!([{ "accountId": "a1", "displayName": "A", "username": "a", "key": "k", "email": "a@example.com" }]);
    std::fs::write(&data, json!({ "users": users, "groups": groups }).to_string()).unwrap();
    let mut options = options(0, &[]);
    options.data = Some(data);
    let world = World::start(options, |_| {}).await;
    assert_eq!(world.get("getUsers/DEV").await.status, 409);
    assert_eq!(world.users("addUsers/DEV", &["a"]).await.status, 409);
    assert_eq!(world.members("dev").await, ["a"]);
    let answer = world
        .groups("removeGroups", &["DEV", "Dev", "dev", "OPS", "ops", "none"])
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(lists(&answer).0, ["Dev", "dev", "OPS"]);
    assert!(!shown(&world).await.iter().any(|name| name.eq_ignore_ascii_case("dev")));
    // What is left of an ambiguous name is no longer ambiguous.
    assert_eq!(world.get("getUsers/DEV").await.status, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_somebody_makes_is_seen_within_the_negative_life_whatever_list_is_warm() {
    let world = World::start(options(10, &[]), |settings| settings.cache.negative_ttl_s = 0).await;
    assert!(!shown(&world).await.contains(&"late".to_owned()));
    assert_eq!(world.get("getUsers/late").await.status, 500);
    assert_eq!(world.cloud.post("/group", json!({ "name": "late" })).await.status, 201);
    assert_eq!(world.members("late").await, names(1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_no_group_can_have_are_skipped_each_with_its_reason() {
    let world = World::with(10, &[]).await;
    let long = "x".repeat(300);
    let asked = ["new", "NEW", " ", "", long.as_str(), "site-admins", "confluence-USERS"];
    let answer = world.groups("addGroups", &asked).await;
    assert_eq!(lists(&answer).0, ["new"]);
    let expected = [
        "",
        "duplicate",
        "blank",
        "blank",
        "refused",
        "already_exists",
        "already_exists",
    ];
    for (line, expected) in asked.iter().zip(expected) {
        let audit = audit_of(&world, &answer);
        let told = audit.iter().find(|told| told["name"] == *line).unwrap();
        assert_eq!(told["reason"].as_str().unwrap_or_default(), expected, "{line}");
    }
    // A group that Cloud keeps for itself is refused, and the others are deleted all the same.
    let answer = world.groups("removeGroups", &["confluence-users", "new"]).await;
    assert_eq!(lists(&answer).0, ["new"]);
    assert_eq!(answer.json()["message"], "groups removed, some groups skipped");
}

/// The group that a look-up or a creation is about.
fn name_of(exchange: &crate::between::Exchange) -> Option<String> {
    if is_creation(exchange) {
        let body: Value = serde_json::from_slice(&exchange.body).unwrap();
        return body["name"].as_str().map(str::to_owned);
    }
    let url = reqwest::Url::parse(&format!("http://x{}", exchange.path_and_query)).unwrap();
    let mut query = url.query_pairs().filter(|_| url.path().ends_with("/group/picker"));
    query.find(|(key, _)| key == "query").map(|(_, name)| name.into_owned())
}

fn is_creation(exchange: &crate::between::Exchange) -> bool {
    exchange.method == "POST" && exchange.path_and_query.ends_with("/rest/api/group")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_whose_answer_was_lost_is_never_sent_again_before_a_look_up_shows_that_it_failed() {
    for faults in [
        json!({ "error_5xx": 0.5 }),
        json!({ "cut": 0.5 }),
        json!({ "truncated": 0.5, "html": 0.2 }),
        json!({ "error_5xx": 0.3, "cut": 0.3, "lag_ms": 300 }),
    ] {
        let mut between = None;
        let world = World::start(options(10, &[]), |settings| {
            let (kept, address) = crate::between::Between::start(&settings.cloud.base_url, |_| {});
            settings.cloud.base_url = address;
            settings.cloud.max_tries = 30;
            between = Some(kept);
        })
        .await;
        world.cloud.switch(faults.clone()).await;
        let all: Vec<String> = (0..20).map(|n| format!("group-made-{n:02}")).collect();
        let list: Vec<&str> = all.iter().map(String::as_str).collect();
        let answer = world.groups("addGroups", &list).await;
        assert_eq!(lists(&answer).0, all, "{faults}: {:?}", reasons(&world, &answer));
        let seen = between.unwrap().seen();
        let mut again = 0;
        for name in &all {
            let of_name: Vec<_> = seen
                .iter()
                .filter(|exchange| name_of(exchange).as_ref() == Some(name))
                .collect();
            let sent: Vec<usize> = (0..of_name.len()).filter(|at| is_creation(of_name[*at])).collect();
            assert!(!sent.is_empty());
            for pair in sent.windows(2) {
                again += 1;
                // What was answered clearly, or made the group, is not sent again.
                let (first, second) = (of_name[pair[0]], of_name[pair[1]]);
                assert!(
                    first.status == 0 || first.status >= 500 || first.status == 200,
                    "{first:?}"
                );
                let looked = of_name[pair[0] + 1..pair[1]]
                    .iter()
                    .rev()
                    .find(|exchange| exchange.status == 200);
                let shown = looked.map(|exchange| {
                    let page: Value = serde_json::from_slice(&exchange.answer).unwrap();
                    texts(&page["results"], Some("name"))
                });
                assert_eq!(shown, Some(Vec::new()), "{name} {faults}");
                // Cloud would say that the name is taken if the first one had made it.
                assert_ne!(second.status, 400, "{name}: made, and sent again, {faults}");
            }
        }
        assert!(
            again > 0,
            "no creation had to be sent again: the faults say nothing, {faults}"
        );
        world
            .cloud
            .switch(json!({ "error_5xx": null, "cut": null, "truncated": null, "html": null, "lag_ms": null }))
            .await;
        let shown = shown(&world).await;
        assert!(
            all.iter()
                .all(|name| shown.iter().filter(|other| *other == name).count() == 1)
        );
    }
}
