//! The error table, and the order in which a request is judged.

use reqwest::Method;
use serde_json::json;

use crate::cloud::{Reply, send};
use crate::harness::{ADMIN, READER, World, names, options};
use crate::worlds::small;

pub fn assert_error(answer: &Reply, status: u16, message: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
    let expected = format!("{{\"message\":{},\"status-code\":{status}}}", json!(message));
    assert_eq!(answer.text(), expected);
}

const UNAUTHENTICATED: &str = "Client must be authenticated to access this resource.";
const UNAUTHORISED: &str = "Client must be authenticated as an administrator to access this resource.";

#[tokio::test]
async fn a_group_that_does_not_exist_is_500_for_the_three_calls_that_name_one() {
    let world = World::with(2, &[]).await;
    let message = "group \"no such\" does not exist";
    assert_error(&world.get("getUsers/no%20such").await, 500, message);
    for body in [
        json!({ "users": ["user000001"] }),
        json!({ "users": [] }),
        json!({ "users": ["nobody"] }),
    ] {
        for call in ["addUsers", "removeUsers"] {
            let answer = world.post(&format!("{call}/no%20such"), &body).await;
            assert_error(&answer, 500, message);
            assert_eq!(answer.header("x-facade-skipped"), None);
        }
    }
    assert_eq!(world.calls().await.get("add_member"), None);
}

#[tokio::test]
async fn a_group_that_does_not_exist_is_404_if_the_setting_says_so() {
    let world = World::start(options(2, &[]), |settings| settings.extender.missing_group_status = 404).await;
    let message = "group \"none\" does not exist";
    assert_error(&world.get("getUsers/none").await, 404, message);
    assert_error(&world.users("addUsers/none", &["user000001"]).await, 404, message);
    assert_error(&world.users("removeUsers/none", &["user000001"]).await, 404, message);
}

#[tokio::test]
async fn an_ambiguous_group_is_409_with_its_spellings() {
    let groups =
        json!([{ "name": "Dev", "members": ["acc-anna"] }, { "name": "dev" }, { "name": "deV" }, { "name": "ops" }]);
    let world = small(groups, |_| {}).await;
    for answer in [
        world.get("getUsers/DEV").await,
        world.users("addUsers/DEV", &["anna"]).await,
        world.users("removeUsers/DEV", &["anna"]).await,
        world.users("removeUsers/DEV", &[""; 0]).await,
    ] {
        assert_eq!(answer.status, 409, "{answer:?}");
        let error = answer.json();
        assert_eq!(error["status-code"], 409);
        let message = error["message"].as_str().unwrap();
        for spelling in ["DEV", "\"Dev\"", "\"dev\"", "\"deV\""] {
            assert!(message.contains(spelling), "{message}");
        }
    }
    assert_eq!(world.cloud.truth("Dev").await, ["acc-anna"]);
    let answer = world.groups("removeGroups", &["DEV", "OPS"]).await;
    assert_eq!(
        answer.text(),
        r#"{"groupsRemoved":["OPS"],"groupsSkipped":["DEV"],"message":"groups removed, some groups skipped","status":"success"}"#
    );
    assert!(
        world
            .audit()
            .iter()
            .any(|line| line["reason"] == "ambiguous" && line["name"] == "DEV")
    );
    for exact in ["Dev", "dev"] {
        let answer = world.groups("removeGroups", &[exact]).await;
        assert_eq!(answer.json()["groupsRemoved"], json!([exact]), "{answer:?}");
    }
    assert_eq!(world.get("getUsers/DEV").await.status, 200, "one spelling is left");
}

#[tokio::test]
async fn a_reader_may_not_change_anything() {
    let world = World::with(2, &[("g", 1)]).await;
    for path in [
        "addUsers/g",
        "removeUsers/g",
        "addGroups",
        "removeGroups",
        "addUsers/missing",
    ] {
        let answer = send(
            world
                .request(Method::POST, path)
                .bearer_auth(READER)
                .body("not even JSON"),
        )
        .await;
        assert_error(&answer, 403, UNAUTHORISED);
    }
    assert_eq!(world.calls().await, Default::default());
}

/// What a request does wrong, from the last check to the first; each further fault hides the ones before it.
#[tokio::test]
async fn of_several_faults_the_first_check_is_answered() {
    let world = World::start(options(2, &[("g", 1)]), |settings| {
        settings.inbound.max_body_bytes = 1000;
        settings.extender.missing_group_status = 404;
    })
    .await;
    let large = "x".repeat(1001);
    let (get, post) = (Method::GET, Method::POST);
    let all = [
        // method, path, token, XML, cross-site, body, status
        (&post, "addUsers/missing", ADMIN, false, false, "{\"users\":[]}", 404),
        (&post, "addUsers/missing", ADMIN, false, false, "{}", 400),
        (&post, "addUsers/missing", ADMIN, false, false, &large, 413),
        (&post, "addUsers/missing", READER, false, false, &large, 403),
        (&post, "addUsers/missing", ADMIN, false, true, &large, 403),
        (&post, "addUsers/missing", READER, true, true, &large, 406),
        (&get, "addUsers/missing", READER, true, true, &large, 405),
        (&get, "addUser/missing", READER, true, true, &large, 404),
        (&get, "addUser/missing", "wrong", true, true, &large, 401),
    ];
    for (method, path, token, xml, cross_site, body, status) in all {
        let mut request = world
            .request(method.clone(), path)
            .bearer_auth(token)
            .body(body.to_owned());
        if xml {
            request = request.header("accept", "application/xml");
        }
        if cross_site {
            request = request.header("origin", "https://evil.example");
        }
        let answer = send(request).await;
        let error = answer.json();
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(error["status-code"], status, "{answer:?}");
        assert_eq!(error.as_object().unwrap().len(), 2, "{answer:?}");
        let message = error["message"].as_str().unwrap();
        let expected = match (status, path, cross_site) {
            (401, ..) => UNAUTHENTICATED,
            (403, _, true) => "XSRF check failed",
            (403, ..) => UNAUTHORISED,
            (404, "addUser/missing", _) => "null for uri: /rest/extender/1.0/group/addUser/missing",
            (404, ..) => "group \"missing\" does not exist",
            (413, ..) => "the body is larger than 1000 bytes",
            _ => message,
        };
        assert_eq!(message, expected);
    }
    assert_eq!(
        world.calls().await,
        json!({ "find_group": 1 })
            .as_object()
            .unwrap()
            .iter()
            .map(|(k, v)| (k.clone(), v.as_u64().unwrap()))
            .collect()
    );
}

#[tokio::test]
async fn a_credential_that_cloud_refuses_is_502_and_named() {
    for (shape, status) in [("401", 502), ("403", 502), ("html", 502), ("xml", 502), ("scope", 502)] {
        let world = World::start(crate::cloud::faults(&[&format!("unauthorized={shape}")]), |_| {}).await;
        for answer in [
            world.get("getGroups").await,
            world.get("getUsers/confluence-users").await,
            world.users("addUsers/confluence-users", &["user000001"]).await,
            world.groups("addGroups", &["new"]).await,
            world.groups("removeGroups", &["site-admins"]).await,
        ] {
            assert_eq!(answer.status, status, "{shape} {answer:?}");
            let message = answer.json()["message"].as_str().unwrap().to_owned();
            assert!(message.contains("robot@example.com"), "{message}");
            assert!(!message.contains("robot-token"), "{message}");
        }
    }
}

#[tokio::test]
async fn a_cloud_that_is_down_is_503_with_a_time_to_come_back() {
    let world = World::start(crate::cloud::faults(&["down"]), |settings| {
        settings.extender.read_deadline_s = 1;
    })
    .await;
    for answer in [
        world.get("getGroups").await,
        world.get("getUsers/confluence-users").await,
        world.users("addUsers/confluence-users", &["user000001"]).await,
    ] {
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.json()["status-code"], 503);
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=3600).contains(&seconds), "{seconds}");
    }
}

#[tokio::test]
async fn a_write_that_cloud_forbids_is_never_told_as_done() {
    let world = World::start(options(2, &[("g", 1)]), |_| {}).await;
    world.cloud.switch(json!({ "forbid_writes": true })).await;
    let answer = world.users("addUsers/g", &names(1, 2)).await;
    assert_eq!(world.truth("g").await, names(1, 1));
    assert_ne!(answer.status, 500, "{answer:?}");
    assert!(
        answer.status != 200 || answer.json()["usersAdded"] == json!([]),
        "{answer:?}"
    );
}
