//! Paths as clients spell them, and the group in them.

use reqwest::Method;
use serde_json::json;

use crate::cloud::{Reply, send};
use crate::harness::{READER, World, names, options};
use crate::raw::{exchange, head};
use crate::worlds::small;

async fn at(world: &World, target: &str) -> Reply {
    // Letter by letter: a client library would tidy the path up.
    let bearer = format!("authorization: Bearer {READER}");
    let answer = exchange(world.facade, head("GET", target, &bearer)).await;
    Reply {
        status: answer.status,
        headers: answer
            .headers
            .iter()
            .map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap()))
            .collect(),
        body: answer.body.into(),
    }
}

#[tokio::test]
async fn every_prefix_version_and_number_of_slashes_leads_to_the_call() {
    let world = World::start(options(3, &[("dev", 2)]), |settings| {
        settings.inbound.host_names = vec!["elsewhere.example".to_owned()];
    })
    .await;
    for path in [
        "/rest/extender/1.0/group/getUsers/dev",
        "/confluence/rest/extender/1.0/group/getUsers/dev",
        "/wiki/rest/extender/1.0/group/getUsers/dev",
        "/rest/extender/latest/group/getUsers/dev",
        "//rest/extender/1.0/group/getUsers/dev",
        "/confluence//rest///extender/1.0//group/getUsers//dev",
        "/rest/extender/1.0/group/getUsers/dev/",
        "//wiki//rest/extender/latest/group/getUsers/dev/",
        "/rest/extender/1.0/group/getUsers/dev;jsessionid=0123",
        "/rest/extender/1.0/group/getUsers/dev;jsessionid=0123/",
        "/rest/extender/1.0/group/getUsers/dev/;jsessionid=0123",
        "/rest;a=b/extender/1.0;c/group/getUsers;d/dev",
        "/rest/extender/1%2E0/group/getUsers/%64ev",
        "/rest/extender/1.0/group/getUsers/DEV",
        "http://elsewhere.example/rest/extender/1.0/group/getUsers/dev",
        "http://elsewhere.example:8090//confluence/rest/extender/1.0/group/getUsers/dev?startAt=0",
    ] {
        let answer = at(&world, path).await;
        assert_eq!(answer.status, 200, "{path} {answer:?}");
        assert_eq!(
            answer.json()["users"],
            json!([{ "name": "user000001" }, { "name": "user000002" }]),
            "{path}"
        );
    }
    for path in [
        "/rest/extender/1.0/group/getGroups",
        "/rest/extender/1.0/group/getGroups/",
        "/rest/extender/1.0/group/getGroups;x=y",
        "/rest/extender/1.0/group/getGroups/;x=y",
    ] {
        assert_eq!(at(&world, path).await.json()["total"], 4, "{path}");
    }
}

#[tokio::test]
async fn only_the_prefixes_of_the_setting_lead_anywhere() {
    let world = World::start(crate::harness::options(1, &[]), |settings| {
        settings.extender.prefixes = vec!["/a/b".to_owned()];
    })
    .await;
    assert_eq!(at(&world, "/a/b/rest/extender/1.0/group/getGroups").await.status, 200);
    for path in [
        "/rest/extender/1.0/group/getGroups",
        "/a/rest/extender/1.0/group/getGroups",
        "/a/b/a/b/rest/extender/1.0/group/getGroups",
    ] {
        assert_eq!(at(&world, path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn an_unknown_path_is_told_back_without_its_query() {
    let world = World::with(1, &[]).await;
    for path in [
        "/rest/extender/1.0/group/getuser/dev",
        "/rest/extender/1.0/group/getUsers",
        "/rest/extender/1.0/group/getUsers/",
        "/rest/extender/1.0/group/getUsers/;x=y",
        "/rest/extender/1.0/group/getUsers/a/b",
        "/rest/extender/1.0/group/getGroups/dev",
        "/rest/extender/1.0/group/addGroups/dev",
        "/rest/extender/1.0/group",
        "/rest/extender/2.0/group/getGroups",
        "/rest/extender/1/group/getGroups",
        "/rest/extender/LATEST/group/getGroups",
        "/REST/extender/1.0/group/getGroups",
        "/rest/extender/1.0/group/GETGROUPS",
        "/jira/rest/extender/1.0/group/getGroups",
        "/rest/api/group",
        "/rest/extender/1.0/group/./getGroups",
        "/",
        "*",
        // Malformed escapes, and escapes that are not UTF-8, wherever they stand.
        "/rest/extender/1.0/group/getUsers/100%",
        "/rest/extender/1.0/group/getUsers/%zz",
        "/rest/extender/1.0/group/getUsers/%4",
        "/rest/extender/1.0/group/getUsers/%+1",
        "/rest/extender/1.0/group/getUsers/caf%E9",
        "/rest/extender/1.0/group/getUsers/%C0%AF",
        "/rest/extender/1.0/group/getUsers/%ED%A0%80",
        "/%zz/rest/extender/1.0/group/getGroups",
    ] {
        let answer = at(
            &world,
            &format!("{path}{}", if path == "*" { "" } else { "?os_password=secret" }),
        )
        .await;
        assert_eq!(answer.status, 404, "{path} {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
        assert_eq!(
            answer.text(),
            format!(
                "{{\"message\":{},\"status-code\":404}}",
                json!(format!("null for uri: {path}"))
            ),
        );
    }
    assert_eq!(world.calls().await, Default::default());
}

#[tokio::test]
async fn a_group_is_decoded_once_as_utf_8_and_a_plus_is_a_plus() {
    let groups = [
        "R&D / Zürich + 50%",
        "a b",
        "a+b",
        "a%20b",
        "a;b",
        "日本",
        "q?x#y",
        "..",
    ];
    let data: Vec<_> = groups
        .iter()
        .map(|name| json!({ "name": name, "members": ["acc-anna"] }))
        .collect();
    let world = small(json!(data), |_| {}).await;
    for (segment, group) in [
        ("R&D%20%2F%20Z%C3%BCrich%20+%2050%25", groups[0]),
        ("R%26D%20%2f%20Z%c3%bcrich%20%2B%2050%25", groups[0]),
        ("a%20b", "a b"),
        ("a+b", "a+b"),
        ("a%2Bb", "a+b"),
        ("a%2520b", "a%20b"),
        ("a%3Bb", "a;b"),
        ("a%3Bb;c=d", "a;b"),
        ("日本", "日本"),
        ("q%3Fx%23y", "q?x#y"),
        ("..", ".."),
    ] {
        let answer = at(&world, &format!("/rest/extender/1.0/group/getUsers/{segment}")).await;
        assert_eq!(answer.status, 200, "{segment} ({group}) {answer:?}");
        assert_eq!(answer.json()["total"], 1, "{segment}");
    }
    let answer = world
        .users(&format!("addUsers/{}", crate::harness::encode(groups[0])), &["zoe"])
        .await;
    assert_eq!(answer.json()["usersAdded"], json!(["zoe"]));
    assert_eq!(world.members(groups[0]).await, ["anna", "zoe"]);
    let answer = world
        .users("removeUsers/R&D%20%2F%20Z%C3%BCrich%20+%2050%25", &["zoe", "anna"])
        .await;
    assert_eq!(answer.json()["usersRemoved"], json!(["zoe", "anna"]));
    assert_eq!(world.members(groups[0]).await, [""; 0]);
}

#[tokio::test]
async fn an_exact_spelling_wins_and_else_the_one_that_matches_ignoring_case() {
    let groups = json!([{ "name": "Dev", "members": ["acc-anna"] }, { "name": "dev", "members": ["acc-zoe"] },
                        { "name": "OPS", "members": ["acc-bert"] }, { "name": "STRASSE" }, { "name": "İ" }]);
    let world = small(groups, |_| {}).await;
    assert_eq!(world.members("Dev").await, ["anna"]);
    assert_eq!(world.members("dev").await, ["zoe"]);
    assert_eq!(world.members("ops").await, ["Bert"]);
    for unlike in ["straße", "OPſ", "ı", "i"] {
        let answer = world.get(&format!("getUsers/{}", crate::harness::encode(unlike))).await;
        assert_eq!(answer.status, 500, "{unlike} {answer:?}");
    }
}

#[tokio::test]
async fn a_group_that_could_not_exist_is_missing_without_asking_cloud() {
    let world = World::with(1, &[]).await;
    for segment in ["%20", "%00", "a%0Ab", "%09"] {
        let answer = world.get(&format!("getUsers/{segment}")).await;
        assert_eq!(answer.status, 500, "{segment} {answer:?}");
    }
    assert_eq!(world.calls().await, Default::default());
}

#[tokio::test]
async fn a_very_long_group_name_is_only_missing() {
    let world = World::with(1, &[]).await;
    let answer = world.get(&format!("getUsers/{}", "x".repeat(5000))).await;
    assert_eq!(answer.status, 500, "{answer:?}");
    let target = format!("/rest/extender/1.0/group/getUsers/{}", "x".repeat(70_000));
    let answer = exchange(world.facade, head("GET", &target, "")).await;
    assert!((400..500).contains(&answer.status), "{answer:?}");
}

#[tokio::test]
async fn the_four_changing_calls_know_the_same_spellings() {
    let world = World::with(3, &[("dev", 0)]).await;
    for (path, key) in [
        ("/wiki//rest/extender/latest/group/addUsers/DEV/", "users"),
        ("/rest/extender/1.0/group/removeUsers/dev;x", "users"),
        ("/confluence/rest/extender/1.0/group/addGroups/", "groups"),
        ("/rest/extender/latest/group//removeGroups", "groups"),
    ] {
        let url = format!("http://{}{path}", world.facade);
        let request = world
            .client
            .request(Method::POST, url)
            .bearer_auth(crate::harness::ADMIN);
        let answer = send(request.body(json!({ key: names(1, 1) }).to_string())).await;
        assert_eq!(answer.status, 200, "{path} {answer:?}");
        assert_eq!(answer.header("x-facade-skipped"), Some("0"), "{path} {answer:?}");
    }
}
