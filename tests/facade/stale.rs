//! Cloud cannot be asked, and what was read before is at hand (`cache.stale_if_error_s`): reads may be answered with it,
//! marked; changes never rest on it.

use std::time::{Duration, Instant};

use extender_facade::settings::{Mode, Settings};
use reqwest::Method;
use serde_json::json;

use crate::cloud::{Reply, send};
use crate::harness::{World, names, once_back, options, texts};
use crate::sources::{Keys, world_of};
use crate::worlds::refusal;

/// Every list is read anew, and may be told for a minute if that fails.
fn on(settings: &mut Settings) {
    settings.cache.members_ttl_s = 0;
    settings.cache.members_write_ttl_s = 0;
    settings.cache.groups_ttl_s = 0;
    settings.cache.stale_if_error_s = 60;
    settings.extender.read_deadline_s = 1;
}

async fn world(change: impl FnOnce(&mut Settings)) -> World {
    World::start(options(30, &[("team", 10), ("other", 3)]), |settings| {
        on(settings);
        change(settings);
    })
    .await
}

async fn down(world: &World) {
    world.cloud.switch(json!({ "down": true })).await;
}

async fn up(world: &World) {
    world.cloud.switch(json!({ "down": null, "falls_at": null })).await;
}

/// The age that an old list is marked with.
fn age(answer: &Reply) -> u64 {
    assert_eq!(answer.status, 200, "{answer:?}");
    let age = answer.header("x-facade-stale").expect("it is marked");
    age.parse().expect("it is a number")
}

fn fresh(answer: &Reply) {
    assert_eq!(
        (answer.status, answer.header("x-facade-stale")),
        (200, None),
        "{answer:?}"
    );
}

fn unavailable(answer: &Reply) {
    assert_eq!(
        (answer.status, answer.header("x-facade-stale")),
        (503, None),
        "{answer:?}"
    );
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unless_it_is_set_what_was_read_before_is_not_told() {
    let world = world(|settings| settings.cache.stale_if_error_s = 0).await;
    fresh(&world.get("getUsers/team").await);
    fresh(&world.get("getGroups").await);
    down(&world).await;
    unavailable(&world.get("getUsers/team").await);
    unavailable(&world.get("getGroups").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_cloud_is_down_lists_are_told_as_they_were_read_before_and_marked() {
    let world = world(|_| {}).await;
    let paths = [
        "getUsers/team",
        "getUsers/TEAM",
        "getUsers/team?showBasicDetails=true",
        "getUsers/team?showExtendedDetails=true&dateFormat=dd.MM.yyyy",
        "getUsers/other",
        "getUsers/other?startAt=5",
        "getGroups",
        "getGroups?startAt=1&maxResults=1",
    ];
    let from = Instant::now();
    let mut before = Vec::new();
    for path in paths {
        let answer = world.get(path).await;
        fresh(&answer);
        before.push(answer.text());
    }
    down(&world).await;
    for (path, before) in paths.into_iter().zip(before) {
        let answer = world.get(path).await;
        assert!(age(&answer) <= from.elapsed().as_secs(), "{answer:?}");
        assert_eq!(answer.text(), before, "{path}");
    }
    // Known from the list of all groups alone.
    age(&world.get("getUsers/OTHER").await);
    // Nobody has read these, and nobody says that they are not there: scripts make groups on that.
    unavailable(&world.get("getUsers/confluence-users").await);
    unavailable(&world.get("getUsers/no-such-group").await);
    let page = world.metrics().await;
    assert!(
        page.contains("facade_stale_answers_total{list=\"members\"} 7"),
        "{page}"
    );
    assert!(page.contains("facade_stale_answers_total{list=\"groups\"} 2"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_through_the_pages_of_an_old_list_yields_everybody_once() {
    let world = World::start(options(450, &[("big", 450)]), on).await;
    fresh(&world.get("getUsers/big").await);
    down(&world).await;
    let mut seen = Vec::new();
    loop {
        let page = world
            .get(&format!("getUsers/big?startAt={}&maxResults=150", seen.len()))
            .await;
        age(&page);
        assert_eq!(page.json()["total"], 450);
        let rows = texts(&page.json()["users"], Some("name"));
        if rows.is_empty() {
            break;
        }
        seen.extend(rows);
    }
    assert_eq!(seen, names(1, 450));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_too_old_is_not_told() {
    let world = world(|settings| settings.cache.stale_if_error_s = 1).await;
    let read = Instant::now();
    fresh(&world.get("getUsers/team").await);
    fresh(&world.get("getGroups").await);
    down(&world).await;
    for path in ["getUsers/team", "getGroups"] {
        loop {
            let asked = read.elapsed();
            let answer = world.get(path).await;
            if answer.status == 503 {
                break;
            }
            assert!(age(&answer) <= 1 && asked <= Duration::from_secs(1), "{answer:?}");
        }
        assert!(read.elapsed() > Duration::from_secs(1));
        unavailable(&world.get(path).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_changes_are_seen_in_an_old_list() {
    let world = world(|_| {}).await;
    let details = "getUsers/team?showBasicDetails=true";
    fresh(&world.get(details).await);
    fresh(&world.get("getGroups").await);
    assert_eq!(world.users("addUsers/team", &names(11, 2)).await.status, 200);
    assert_eq!(world.users("removeUsers/team", &names(1, 3)).await.status, 200);
    assert_eq!(world.groups("addGroups", &["new"]).await.status, 200);
    assert_eq!(world.groups("removeGroups", &["other"]).await.status, 200);
    down(&world).await;
    let told = world.get("getUsers/team").await;
    age(&told);
    assert_eq!(texts(&told.json()["users"], Some("name")), names(4, 9));
    // Those whom Cloud was never asked about are shown as the map knows them.
    let told = world.get(details).await;
    age(&told);
    let added = &told.json()["users"][8];
    let person = &world.cloud.people[11];
    assert_eq!(
        added,
        &json!({ "name": person.username, "fullName": person.display_name, "key": person.key, "email": person.email })
    );
    let groups = world.get("getGroups").await;
    age(&groups);
    let groups = texts(&groups.json()["groups"], None);
    assert!(
        groups.contains(&"new".to_owned()) && !groups.contains(&"other".to_owned()),
        "{groups:?}"
    );
    unavailable(&world.get("getUsers/other").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_a_change_has_left_in_doubt_is_not_told() {
    for (call, body, in_doubt, sure) in [
        (
            "addUsers/team",
            json!({ "users": ["user000015"] }),
            "getUsers/team",
            "getUsers/other",
        ),
        (
            "removeUsers/team",
            json!({ "users": ["user000005"] }),
            "getUsers/team",
            "getGroups",
        ),
        ("addGroups", json!({ "groups": ["new"] }), "getGroups", "getUsers/team"),
        (
            "removeGroups",
            json!({ "groups": ["other"] }),
            "getGroups",
            "getUsers/team",
        ),
        (
            "removeGroups",
            json!({ "groups": ["other"] }),
            "getUsers/other",
            "getUsers/team",
        ),
    ] {
        let world = world(|settings| {
            settings.extender.bulk_give_up_s = 1;
            settings.cloud.max_tries = 2;
            settings.cloud.backoff_cap_ms = 40;
        })
        .await;
        for path in ["getUsers/team", "getUsers/other", "getGroups"] {
            fresh(&world.get(path).await);
        }
        world.cloud.switch(json!({ "falls_at": 1 })).await;
        let answer = world.post(call, &body).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        unavailable(&world.get(in_doubt).await);
        age(&world.get(sure).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_cloud_knows_no_more_is_not_told() {
    // By its name, and by its id while the name is remembered.
    for life in [0, 1] {
        let world = world(|settings| {
            settings.cache.groups_ttl_s = life;
            settings.cache.negative_ttl_s = 0;
        })
        .await;
        for path in ["getUsers/team", "getUsers/other", "getGroups"] {
            fresh(&world.get(path).await);
        }
        let id = world.cloud.group_id("team").await;
        assert_eq!(world.cloud.delete(&format!("/group/by-id?id={id}")).await.status, 204);
        assert_eq!(world.get("getUsers/team").await.status, 500);
        down(&world).await;
        unavailable(&world.get("getUsers/team").await);
        unavailable(&world.get("getGroups").await);
        age(&world.get("getUsers/other").await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_change_is_planned_by_an_old_list() {
    let world = world(|_| {}).await;
    for path in ["getUsers/team", "getUsers/other", "getGroups"] {
        fresh(&world.get(path).await);
    }
    down(&world).await;
    age(&world.get("getUsers/team").await);
    // Each of these would be skipped by what was read: nothing would have to be changed.
    for (call, body) in [
        ("addUsers/team", json!({ "users": ["user000001"] })),
        ("addUsers/team", json!({ "users": names(1, 10) })),
        ("removeUsers/team", json!({ "users": ["user000020"] })),
        ("addGroups", json!({ "groups": ["team"] })),
        ("removeGroups", json!({ "groups": ["no-such-group"] })),
    ] {
        for query in ["", "?dryRun=true"] {
            unavailable(&world.post(&format!("{call}{query}"), &body).await);
        }
    }
    // Somebody else takes one out, after our reading and before Cloud is away again.
    up(&world).await;
    let (id, first) = (world.cloud.group_id("team").await, world.cloud.account(0).to_owned());
    assert_eq!(world.cloud.remove(&id, &first).await.status, 204);
    let answer = loop {
        let answer = world.users("addUsers/team", &["user000001"]).await;
        // After an outage Cloud is asked again when the pause is over.
        if answer.status != 503 {
            break answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert_eq!(answer.json()["usersAdded"], json!(["user000001"]), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_credential_is_told_as_ever() {
    let world = world(|_| {}).await;
    fresh(&world.get("getUsers/team").await);
    fresh(&world.get("getGroups").await);
    for refusal in ["401", "403", "scope"] {
        world.cloud.switch(json!({ "unauthorized": refusal })).await;
        for path in ["getUsers/team", "getGroups"] {
            let answer = world.get(path).await;
            assert_eq!(
                (answer.status, answer.header("x-facade-stale")),
                (502, None),
                "{answer:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn once_cloud_is_back_it_is_asked_again() {
    let world = world(|_| {}).await;
    for path in ["getUsers/team", "getGroups"] {
        fresh(&world.get(path).await);
    }
    let id = world.cloud.group_id("team").await;
    down(&world).await;
    age(&world.get("getUsers/team").await);
    age(&world.get("getGroups").await);
    up(&world).await;
    let newcomer = world.cloud.account(20).to_owned();
    assert_eq!(world.cloud.add(&id, &newcomer).await.status, 201);
    let answer = once_back(async || world.get("getUsers/team").await).await;
    assert_eq!(answer.json()["total"], 11);
    fresh(&world.get("getGroups").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_cloud_that_is_down_as_long_as_a_read_may_take() {
    let world = world(|settings| {
        settings.extender.read_deadline_s = 60;
        settings.cloud.max_tries = 100_000;
    })
    .await;
    for path in ["getUsers/team", "getGroups"] {
        fresh(&world.get(path).await);
    }
    down(&world).await;
    let from = Instant::now();
    let (members, groups) = tokio::join!(world.get("getUsers/team"), world.get("getGroups"));
    age(&members);
    age(&groups);
    let waited = from.elapsed();
    assert!(waited.as_secs() < 20, "{waited:?}");
    // What was begun for those who did not wait goes on, and serves whoever comes when Cloud is back.
    up(&world).await;
    fresh(&once_back(async || world.get("getUsers/team").await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_known_through_the_organisation_is_shown_by_the_same_name_while_it_is_away() {
    let mut options = options(30, &[("team", 10)]);
    options.fault = vec!["hidden_emails".parse().unwrap(), "suspended".parse().unwrap()];
    let map: String = std::iter::once("username,email\n".to_owned())
        .chain((1..=30).map(|n| format!("legacy{n:02},user{n:06}@example.com\n")))
        .collect();
    let keys = Keys {
        admin: true,
        ..Keys::default()
    };
    let world = world_of(options, &map, keys, on).await;
    let paths = ["getUsers/team", "getUsers/team?showExtendedDetails=true"];
    let mut before = Vec::new();
    for path in paths {
        let answer = world.get(path).await;
        fresh(&answer);
        before.push(answer.text());
    }
    for fault in ["admin_down", "down"] {
        world.cloud.switch(json!({ fault: true })).await;
        for (path, before) in paths.iter().zip(&before) {
            let answer = world.get(path).await;
            age(&answer);
            assert_eq!(&answer.text(), before, "{fault} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn details_that_were_never_read_are_not_told_as_unknown() {
    let options = options(30, &[("team", 10)]);
    let keys = Keys {
        admin: true,
        ..Keys::default()
    };
    let world = world_of(options, "username,account_id\n", keys, on).await;
    fresh(&world.get("getUsers/team?showBasicDetails=true").await);
    down(&world).await;
    age(&world.get("getUsers/team?showBasicDetails=true").await);
    unavailable(&world.get("getUsers/team?showExtendedDetails=true").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_what_another_credential_has_read() {
    let world = world(|settings| {
        settings.inbound.mode = Mode::Passthrough;
        settings.inbound.accounts_file = None;
        settings.cloud.email = String::new();
        settings.cloud.api_token = String::new().into();
    })
    .await;
    let as_who = |who: &str, method: Method, path: &str| {
        let token = format!("t-{who}");
        world
            .request(method, path)
            .basic_auth(format!("{who}@example.com"), Some(token))
    };
    let get = async |who: &str, path: &str| send(as_who(who, Method::GET, path)).await;
    for path in ["getUsers/team", "getUsers/other", "getGroups"] {
        fresh(&get("ann", path).await);
    }
    // Both are let in; he has not asked for any list.
    let answer = get("bob", "getUsers/no-such-group").await;
    assert_eq!(answer.status, 500, "{answer:?}");
    // What he changes she cannot know, but that her list is wrong.
    let body = json!({ "users": ["user000020"] }).to_string();
    fresh(&send(as_who("bob", Method::POST, "addUsers/other").body(body)).await);
    down(&world).await;
    age(&get("ann", "getUsers/team").await);
    age(&get("ann", "getGroups").await);
    unavailable(&get("ann", "getUsers/other").await);
    unavailable(&get("bob", "getUsers/team").await);
    unavailable(&get("bob", "getGroups").await);
}

#[tokio::test]
async fn a_life_that_is_shorter_than_that_of_fresh_lists_is_refused() {
    let said = refusal(|settings| settings.cache.stale_if_error_s = 59).await;
    assert!(
        said.contains("cache.stale_if_error_s") && said.contains("members_ttl_s"),
        "{said}"
    );
}
