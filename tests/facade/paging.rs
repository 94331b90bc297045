//! `startAt` and `maxResults`.

use serde_json::json;

use crate::harness::{World, names, options, texts};

async fn window(world: &World, path: &str) -> (serde_json::Value, serde_json::Value, usize) {
    let answer = world.get(path).await;
    assert_eq!(answer.status, 200, "{path} {answer:?}");
    let body = answer.json();
    let list = if path.starts_with("getUsers") {
        &body["users"]
    } else {
        &body["groups"]
    };
    assert_eq!(
        body["total"],
        if path.starts_with("getUsers") { 12 } else { 5 },
        "{path}"
    );
    (
        body["startAt"].clone(),
        body["maxResults"].clone(),
        list.as_array().unwrap().len(),
    )
}

async fn world() -> World {
    let mut options = options(12, &[("dozen", 12)]);
    options.groups = 1;
    World::start(options, |_| {}).await
}

#[tokio::test]
async fn both_parameters_are_echoed_as_used() {
    let world = world().await;
    for (query, start, max, rows) in [
        ("", 0, 1000, 12),
        ("startAt=0&maxResults=5", 0, 5, 5),
        ("startAt=10&maxResults=5", 10, 5, 2),
        ("startAt=11", 11, 1000, 1),
        ("startAt=12", 12, 1000, 0),
        ("startAt=13&maxResults=1", 13, 1, 0),
        (
            "startAt=2147483647&maxResults=2147483647",
            2_147_483_647,
            2_147_483_647,
            0,
        ),
        ("maxResults=5000", 0, 5000, 12),
        ("startAt=-1", 0, 1000, 12),
        ("startAt=-2147483648", 0, 1000, 12),
        ("maxResults=0", 0, 1000, 12),
        ("maxResults=-7", 0, 1000, 12),
        ("maxResults=-2147483648", 0, 1000, 12),
        ("startAt=&maxResults=", 0, 1000, 12),
        ("startAt=%20%09&maxResults=++", 0, 1000, 12),
        ("startAt&maxResults", 0, 1000, 12),
        ("startAt=%2B3&maxResults=%2B4", 3, 4, 4),
        ("startAt=007", 7, 1000, 5),
        ("startAt=-0", 0, 1000, 12),
        ("startAt=4&startAt=x&maxResults=3&maxResults=9", 4, 3, 3),
        ("startat=4&STARTAT=5&maxresults=1&max=3&start=1&limit=2", 0, 1000, 12),
        ("%73tartAt=4", 4, 1000, 8),
        ("&&startAt=4&&", 4, 1000, 8),
    ] {
        let expected = (json!(start), json!(max), rows);
        assert_eq!(
            window(&world, &format!("getUsers/dozen?{query}")).await,
            expected,
            "{query}"
        );
        let rows = rows.min(5_usize.saturating_sub(start)).min(max);
        let expected = (json!(start), json!(max), rows);
        assert_eq!(window(&world, &format!("getGroups?{query}")).await, expected, "{query}");
    }
}

#[tokio::test]
async fn what_is_no_java_int_is_answered_404_without_body_and_content_type() {
    let world = world().await;
    for value in [
        "ten",
        "1.0",
        "1.5",
        "1e3",
        "0x10",
        "1,000",
        "1_000",
        "2147483648",
        "-2147483649",
        "99999999999999999999999999",
        "+1",
        "%201",
        "1%20",
        "-",
        "%2B",
        "--1",
        "NaN",
        "null",
        "true",
        "%FF",
        "%00",
        "1%00",
    ] {
        for parameter in ["startAt", "maxResults"] {
            for path in ["getUsers/dozen", "getUsers/no-such-group", "getGroups"] {
                let answer = world.get(&format!("{path}?{parameter}={value}&{parameter}=1")).await;
                assert_eq!(answer.status, 404, "{path} {parameter}={value} {answer:?}");
                assert!(answer.body.is_empty(), "{answer:?}");
                assert_eq!(answer.header("content-type"), None, "{answer:?}");
                assert_eq!(answer.header("content-length"), Some("0"), "{answer:?}");
            }
        }
    }
    assert_eq!(world.calls().await, Default::default());
}

#[tokio::test]
async fn the_changing_calls_do_not_look_at_paging() {
    let world = world().await;
    let answer = world
        .users("addUsers/dozen?startAt=x&maxResults=y", &["user000001"])
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn the_default_of_each_list_is_a_setting() {
    let world = World::start(options(12, &[("dozen", 12)]), |settings| {
        settings.extender.default_max_results = 7;
        settings.extender.get_groups_max_results = 2;
    })
    .await;
    let members = world.get("getUsers/dozen").await.json();
    assert_eq!(
        (&members["maxResults"], members["users"].as_array().unwrap().len()),
        (&json!(7), 7)
    );
    let groups = world.get("getGroups?maxResults=-1").await.json();
    assert_eq!(
        (&groups["maxResults"], groups["groups"].as_array().unwrap().len()),
        (&json!(2), 2)
    );
    let asked = world.get("getUsers/dozen?maxResults=11").await.json();
    assert_eq!(asked["users"].as_array().unwrap().len(), 11);
}

/// Walks as old clients do: until a page is shorter than what it asked for, and on until a page is empty.
async fn walk(world: &World, path: &str, list: &str, key: Option<&str>, size: usize) -> Vec<String> {
    let mut all = Vec::new();
    let mut short = 0;
    for page in 0.. {
        let answer = world
            .get(&format!("{path}?startAt={}&maxResults={size}", page * size))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let rows = texts(&answer.json()[list], key);
        if rows.is_empty() {
            break;
        }
        assert_eq!(short, 0, "a page follows a short one");
        short += usize::from(rows.len() != size);
        all.extend(rows);
    }
    all
}

#[tokio::test]
async fn a_walk_yields_every_member_and_every_group_once() {
    let mut options = options(450, &[("big", 450)]);
    options.groups = 446;
    let world = World::start(options, |_| {}).await;
    let groups = texts(&world.get("getGroups").await.json()["groups"], None);
    assert_eq!(groups.len(), 450);
    for size in [50, 100, 150, 449, 450, 451] {
        assert_eq!(
            walk(&world, "getUsers/big", "users", Some("name"), size).await,
            names(1, 450),
            "{size}"
        );
        assert_eq!(walk(&world, "getGroups", "groups", None, size).await, groups, "{size}");
    }
}

#[tokio::test]
async fn no_hidden_cap_shortens_a_page() {
    let world = World::with(5000, &[("huge", 5000)]).await;
    let answer = world.get("getUsers/huge?maxResults=5000").await.json();
    assert_eq!(texts(&answer["users"], Some("name")), names(1, 5000));
    let answer = world.get("getUsers/huge").await.json();
    assert_eq!(
        (&answer["total"], answer["users"].as_array().unwrap().len()),
        (&json!(5000), 1000)
    );
}
