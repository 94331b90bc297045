//! Lists that move while they are read, and what is known of things that were just made: nothing may be told absent
//! because of a reading that overlaps a change, or is older than one.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{World, encode, names, options, texts};

#[tokio::test(flavor = "multi_thread")]
async fn a_first_page_from_before_a_removal_is_not_joined_to_pages_from_after_it() {
    let world = World::with(1100, &[("big", 1000)]).await;
    // Two names of many: the first page is read, and then each name's own groups.
    let added = world.users("addUsers/big", &names(1001, 2)).await;
    assert_eq!(added.status, 200, "{added:?}");
    let removed = world.users("removeUsers/big", &names(1, 2)).await;
    assert_eq!(removed.header("x-facade-skipped"), Some("0"), "{removed:?}");
    assert_eq!(world.members("big").await, names(3, 1000));
    let removed = world.users("removeUsers/big", &names(200, 3)).await;
    assert_eq!(removed.header("x-facade-skipped"), Some("0"), "{removed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_being_emptied_is_told_whole_or_not_at_all() {
    let mut options = options(1000, &[("big", 1000)]);
    options.latency_ms = 5;
    let world = World::start(options, |settings| {
        settings.cache.members_ttl_s = 0;
        settings.cache.members_write_ttl_s = 0;
    })
    .await;
    let leaving = names(1, 500);
    let remove = world.users("removeUsers/big", &leaving);
    let read = async {
        for _ in 0..6 {
            let answer = world.get("getUsers/big").await;
            if answer.status == 503 {
                assert!(answer.header("retry-after").is_some());
                continue;
            }
            let shown: BTreeSet<String> = texts(&answer.json()["users"], Some("name")).into_iter().collect();
            // Those nobody takes out.
            let missing = names(501, 400).into_iter().filter(|name| !shown.contains(name)).count();
            assert_eq!(missing, 0, "members are missing");
        }
    };
    let also = async {
        // Others who leave while the rows move: every one of them must go.
        let answer = world.users("removeUsers/big", &names(901, 100)).await;
        assert_eq!(answer.header("x-facade-skipped"), Some("0"), "{answer:?}");
    };
    let (removed, (), ()) = tokio::join!(remove, read, also);
    // The readers above may have run before the others left.
    assert_eq!(removed.header("x-facade-skipped"), Some("0"), "{removed:?}");
    assert_eq!(world.truth("big").await, names(501, 400));
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_told_whole_or_not_at_all_while_others_are_deleted() {
    let mut options = options(20, &[]);
    options.groups = 450;
    options.latency_ms = 5;
    let world = World::start(options, |settings| settings.cache.groups_ttl_s = 0).await;
    let groups = |from: usize, to: usize| (from..=to).map(|n| format!("group-{n:05}")).collect::<Vec<_>>();
    let gone = groups(1, 150);
    let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
    let delete = world.groups("removeGroups", &gone);
    let read = async {
        for _ in 0..5 {
            let answer = world.get("getGroups").await;
            if answer.status == 503 {
                continue;
            }
            let shown: BTreeSet<String> = texts(&answer.json()["groups"], None).into_iter().collect();
            let missing: Vec<String> = groups(151, 450)
                .into_iter()
                .filter(|name| !shown.contains(name))
                .collect();
            assert!(missing.is_empty(), "{missing:?}");
            assert_eq!(world.get("getUsers/group-00300").await.status, 200);
        }
    };
    let (deleted, ()) = tokio::join!(delete, read);
    assert_eq!(deleted.header("x-facade-skipped"), Some("0"), "{deleted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_made_with_a_lost_answer_is_there_for_all_that_follows() {
    let world = World::with(20, &[]).await;
    assert_eq!(world.get("getGroups").await.status, 200);
    world.cloud.switch(json!({ "cut": 0.6 })).await;
    let made: Vec<String> = (1..=12).map(|n| format!("made {n}")).collect();
    let made: Vec<&str> = made.iter().map(String::as_str).collect();
    // An honest 503 where not even the truth could be read; the same call again finishes the work.
    while world.groups("addGroups", &made).await.status != 200 {}
    world.cloud.switch(json!({ "cut": null })).await;
    let shown = texts(&world.get("getGroups").await.json()["groups"], None);
    for name in made {
        assert!(shown.contains(&name.to_owned()), "{name} is not listed");
        let path = format!("addUsers/{}", encode(name));
        assert_eq!(world.users(&path, &["user000001"]).await.status, 200, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_spellings_that_are_two_groups_are_deleted_in_one_call() {
    let data = json!({ "users": [], "groups": [{ "name": "Dev", "id": "g1", "members": [] },
        { "name": "dev", "id": "g2", "members": [] }] });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), data.to_string()).unwrap();
    let mut options = options(1, &[]);
    options.data = Some(file.path().to_owned());
    let world = World::start(options, |settings| settings.identity.map_file = None).await;
    let answer = world.groups("removeGroups", &["Dev", "dev", "Dev"]).await;
    assert_eq!(answer.json()["groupsRemoved"], json!(["Dev", "dev"]), "{answer:?}");
    assert_eq!(answer.json()["groupsSkipped"], json!(["Dev"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_decomposed_letters_is_the_group_in_composed_ones() {
    let world = World::with(3, &[("Zürich", 2)]).await;
    let decomposed = "Zu\u{308}rich";
    assert_eq!(world.members(decomposed).await, names(1, 2));
    let answer = world.groups("addGroups", &[decomposed]).await;
    assert_eq!(answer.json()["groupsSkipped"], json!([decomposed]));
    // What nobody could reach afterwards is not made.
    let answer = world.groups("addGroups", &["a\u{0}b", "c\nd"]).await;
    assert_eq!(answer.header("x-facade-skipped"), Some("2"), "{answer:?}");
    assert_eq!(world.calls().await.get("create_group"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_made_elsewhere_is_found_though_the_list_is_older() {
    let world = World::start(options(3, &[]), |settings| settings.cache.negative_ttl_s = 0).await;
    assert_eq!(world.get("getGroups").await.status, 200);
    let made = world.cloud.post("/group", json!({ "name": "newcomer" })).await;
    assert_eq!(made.status, 201);
    assert_eq!(world.get("getUsers/newcomer").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_named_by_one_operation_is_judged_after_it_by_the_next() {
    let mut options = options(3, &[]);
    options.latency_ms = 20;
    let world = World::start(options, |_| {}).await;
    assert_eq!(world.groups("addGroups", &["z"]).await.status, 200);
    let (removed, added) = tokio::join!(world.groups("removeGroups", &["z"]), world.groups("addGroups", &["Z"]));
    let removed = texts(&removed.json()["groupsRemoved"], None);
    let added = texts(&added.json()["groupsAdded"], None);
    // Whichever came first: both are told by what was so when their turn came.
    let truth = world.cloud.get("/group/picker?query=z").await.json();
    let there = truth["results"].as_array().unwrap().len();
    assert_eq!((removed.len(), there), (1, added.len()), "{removed:?} {added:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_name_that_cloud_never_takes_does_not_hold_its_caller() {
    let world = World::start(options(3, &[("g", 0)]), |settings| settings.cloud.max_tries = 2).await;
    world.cloud.switch(json!({ "error_5xx": 1.0 })).await;
    // Cloud answers nothing at all: that is waited for. So the read that asks whether it is up must fail as well here,
    // and the operation ends by its patience.
    let answer = world.groups("addGroups", &["never"]).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    world.cloud.switch(json!({ "error_5xx": null })).await;
    let answer = world.groups("addGroups", &["never"]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_the_cache_has_no_room_for_are_confirmed_all_the_same() {
    let world = World::start(options(300, &[("g", 0)]), |settings| {
        settings.identity.map_file = None;
        settings.cache.max_accounts = 5;
    })
    .await;
    let ids: Vec<String> = world
        .cloud
        .people
        .iter()
        .map(|person| person.account_id.clone())
        .collect();
    let answer = world.users("addUsers/g", &ids).await;
    assert_eq!(answer.header("x-facade-skipped"), Some("0"), "{answer:?}");
    assert_eq!(world.calls().await["users_bulk"], 3);
}
