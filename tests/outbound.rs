//! Does every request that the facade sends to Cloud conform to the official document? All six calls are driven, with
//! the faults that make it send something else, and each request on the wire is held to the document.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/between.rs"]
mod between;
#[path = "support/cloud.rs"]
mod cloud;
#[path = "facade/harness.rs"]
mod harness;
#[path = "support/openapi.rs"]
mod openapi;

use std::collections::BTreeSet;

use between::{Between, Exchange};
use harness::{World, encode, names, options};
use openapi::{Document, Wrong};
use serde_json::{Value, json};

const DOCUMENT: &str = "confluence-v1.groups-users.json";
const ODD: &str = "R&D / Zürich + 50%";

/// Answers that the document does not have: the table in `contract.rs` gives their sources.
const UNDOCUMENTED: &[u16] = &[401, 404, 409, 429, 500, 502, 503, 504];

/// All that a facade sends while it does everything it can, under each of the faults.
async fn driven(faults: impl IntoIterator<Item = Value>) -> Vec<Exchange> {
    let mut all = Vec::new();
    for faults in faults {
        let mut kept = None;
        let mut simulated = options(500, &[("big", 450), ("one%20group", 3)]);
        simulated.groups = 210;
        let world = World::start(simulated, |settings| {
            let (between, address) = Between::start(&settings.cloud.base_url, |_| {});
            (kept, settings.cloud.base_url) = (Some(between), address);
            // Nobody but the first is in the map: ids must be confirmed.
            let map = settings.identity.map_file.clone().unwrap();
            let text = std::fs::read_to_string(&map).unwrap();
            std::fs::write(map, text.lines().take(401).collect::<Vec<_>>().join("\n")).unwrap();
        })
        .await;
        world.cloud.switch(faults).await;
        let odd = encode(ODD);
        let ids: Vec<&str> = world.cloud.people[400..]
            .iter()
            .map(|person| person.account_id.as_str())
            .collect();
        world.get("getUsers/nothing").await;
        world.get("getGroups").await;
        world
            .groups("addGroups", &[ODD, "plain", "<>&\"'\\", "emoji 🦀", "a,b;c"])
            .await;
        world.get(&format!("getUsers/{odd}?showExtendedDetails=true")).await;
        world.get("getUsers/big?showBasicDetails=true").await;
        for call in ["addUsers", "removeUsers"] {
            world.users(&format!("{call}/{odd}"), &names(1, 20)).await;
            world.users(&format!("{call}/{odd}"), &["user000030"]).await;
            world.users(&format!("{call}/big"), &ids).await;
            world
                .users(&format!("{call}/big"), &["user000300", "user000301", "no'body\u{7}"])
                .await;
            world.get(&format!("getUsers/{odd}?showBasicDetails=true")).await;
        }
        world
            .groups(
                "removeGroups",
                &[ODD, "PLAIN", "<>&\"'\\", "nothing", "confluence-users"],
            )
            .await;
        all.extend(kept.unwrap().seen());
    }
    all
}

fn hold(document: &Document, exchanges: &[Exchange]) -> (BTreeSet<String>, Vec<String>) {
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for exchange in exchanges {
        let (method, path) = (exchange.method.as_str(), exchange.path_and_query.as_str());
        match document.validate_request(method, path, &exchange.headers, &exchange.body) {
            Ok(template) => _ = seen.insert(format!("{method} {template}")),
            Err(faults) => wrong.extend(faults),
        }
        let header = |name: &str| exchange.headers.get(name).map_or("", |value| value.to_str().unwrap());
        for (name, expected) in [
            ("accept", "application/json"),
            ("authorization", "Basic cm9ib3RAZXhhbXBsZS5jb206cm9ib3QtdG9rZW4="),
        ] {
            if header(name) != expected {
                wrong.push(format!("{method} {path}: {name} is {:?}", header(name)));
            }
        }
        if method != "GET" && (header("x-atlassian-token"), header("content-type")) != ("no-check", "application/json")
        {
            wrong.push(format!("{method} {path}: without what every write needs"));
        }
        if header("x-request-id").is_empty() {
            wrong.push(format!("{method} {path}: without a request id"));
        }
        let content_type = exchange
            .answer_headers
            .get("content-type")
            .and_then(|value| value.to_str().ok());
        match document.validate_answer(method, path, exchange.status, content_type, &exchange.answer) {
            Ok(()) => {}
            Err(Wrong::NoStatus(_)) if UNDOCUMENTED.contains(&exchange.status) => {}
            Err(other) => wrong.push(format!("{method} {path} {}: {other:?}", exchange.status)),
        }
    }
    (seen, wrong)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_one_that_the_official_document_has() {
    let Some(document) = Document::from_environment(DOCUMENT) else {
        return;
    };
    let faults = [
        json!({}),
        json!({ "error_5xx": 0.1, "already_member": 400, "not_member": 404 }),
        json!({ "suspended": "counted", "wrong_next": true, "over_limit": "cap", "hidden_emails": true }),
        json!({ "no_total": true, "lag_ms": 100, "bulk": "comma", "seats": 5 }),
    ];
    let exchanges = driven(faults).await;
    let (seen, wrong) = hold(&document, &exchanges);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let expected = [
        "DELETE /wiki/rest/api/group/by-id",
        "DELETE /wiki/rest/api/group/userByGroupId",
        "GET /wiki/rest/api/group",
        "GET /wiki/rest/api/group/by-id",
        "GET /wiki/rest/api/group/picker",
        "GET /wiki/rest/api/group/{groupId}/membersByGroupId",
        "GET /wiki/rest/api/user/bulk",
        "GET /wiki/rest/api/user/memberof",
        "POST /wiki/rest/api/group",
        "POST /wiki/rest/api/group/userByGroupId",
    ];
    assert_eq!(seen, expected.map(str::to_owned).into());
    assert!(exchanges.len() > 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_list_is_asked_for_in_pages_larger_than_cloud_serves() {
    for exchange in driven([json!({ "over_limit": "refuse" })]).await {
        let limit = exchange
            .path_and_query
            .split("limit=")
            .nth(1)
            .map(|rest| rest.split('&').next().unwrap());
        assert!(
            limit.is_none_or(|limit| limit.parse::<u32>().unwrap() <= 200),
            "{exchange:?}"
        );
        let ids = exchange.path_and_query.matches("%2C").count() + 1;
        assert!(!exchange.path_and_query.contains("/user/bulk") || ids <= 100);
    }
}

/// All that a facade with every key sends to the other sources, and what they answer.
async fn driven_with_keys() -> Vec<Exchange> {
    use extender_facade::settings::{ScimMatch, ScimRead};
    let mut all = Vec::new();
    for (read, faults) in [
        (ScimRead::Each, json!({ "hidden_emails": true, "suspended": true })),
        (ScimRead::All, json!({ "error_5xx": 0.05, "admin_429": 2 })),
    ] {
        let mut kept = None;
        let mut simulated = options(420, &[("big", 250)]);
        simulated.groups = 130;
        let ids = extender_facade::simulator::Simulator::new(&simulated).unwrap();
        let (org, directory) = (ids.org_id(), ids.directory_id());
        let world = World::start(simulated, |settings| {
            let (between, address) = Between::start(&settings.cloud.base_url, |_| {});
            std::fs::write(
                settings.identity.map_file.as_ref().unwrap(),
                "username,email\nindirect,user000150@example.com\n",
            )
            .unwrap();
            let cloud = &mut settings.cloud;
            (cloud.admin.org_id, cloud.admin.api_key) = (org, "organisation-key".into());
            (cloud.scim.directory_id, cloud.scim.api_key) = (directory, "directory-key".into());
            (cloud.jira.email, cloud.jira.api_token) = ("user000001@example.com".to_owned(), "jira-token".into());
            (cloud.scim.match_by, cloud.scim.read) = (vec![ScimMatch::UserName, ScimMatch::ExternalId], read);
            cloud.admin.base_url = format!("{address}/admin");
            cloud.scim.base_url = format!("{address}/scim");
            (kept, cloud.base_url) = (Some(between), address);
        })
        .await;
        world.cloud.switch(faults).await;
        let emails: Vec<String> = (1..=130).map(|n| format!("user{n:06}@example.com")).collect();
        let added = world.users("addUsers/group-00001", &emails).await;
        let report = added.header("x-facade-report").unwrap();
        let report = format!("http://{}/facade/v1/reports/{report}", world.facade);
        let report = world.client.get(report).bearer_auth(harness::ADMIN);
        assert_eq!(cloud::send(report).await.status, 200);
        let odd = [
            "indirect",
            "user000200",
            "o'neil+x@example.com",
            "\"quoted\\\"",
            "ä@exämple.com",
            "nobody@example.com",
            ODD,
        ];
        world.users("addUsers/group-00002", &odd).await;
        world.get("getUsers/big?showExtendedDetails=true").await;
        world.get("getUsers/group-00002").await;
        world
            .users("removeUsers/big", &["user000010@example.com", "indirect"])
            .await;
        let names: Vec<String> = (1..=120)
            .map(|n| format!("Group-{n:05}"))
            .chain([ODD.to_owned()])
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        world.groups("removeGroups", &names).await;
        all.extend(kept.unwrap().seen());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_sources_are_asked_as_their_documents_say() {
    let services = [
        (
            "/admin/",
            "admin-org.users-groups-events.json",
            "/admin",
            "Bearer organisation-key",
        ),
        ("/scim/", "scim.users-groups.json", "", "Bearer directory-key"),
        (
            "/rest/api/3/",
            "jira-v3.groups-users.json",
            "",
            "Basic dXNlcjAwMDAwMUBleGFtcGxlLmNvbTpqaXJhLXRva2Vu",
        ),
    ];
    if Document::from_environment(services[0].1).is_none() {
        return;
    }
    let exchanges = driven_with_keys().await;
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for (prefix, file, base, credential) in services {
        let document = Document::from_environment(file).unwrap().under(base);
        for exchange in exchanges
            .iter()
            .filter(|exchange| exchange.path_and_query.starts_with(prefix))
        {
            let (method, path) = (exchange.method.as_str(), exchange.path_and_query.as_str());
            match document.validate_request(method, path, &exchange.headers, &exchange.body) {
                Ok(template) => _ = seen.insert(format!("{method} {template}")),
                Err(faults) => wrong.extend(faults),
            }
            let header = |name: &str| exchange.headers.get(name).map_or("", |value| value.to_str().unwrap());
            if header("authorization") != credential || header("accept") != "application/json" {
                wrong.push(format!("{method} {path}: {:?}", exchange.headers));
            }
            let content_type = exchange
                .answer_headers
                .get("content-type")
                .and_then(|value| value.to_str().ok());
            match document.validate_answer(method, path, exchange.status, content_type, &exchange.answer) {
                Ok(()) => {}
                Err(Wrong::NoStatus(_)) if UNDOCUMENTED.contains(&exchange.status) => {}
                // A gateway's error has whatever body it likes.
                Err(_) if exchange.status >= 429 => {}
                Err(other) => wrong.push(format!("{method} {path} {}: {other:?}", exchange.status)),
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let seen: Vec<&str> = seen.iter().map(String::as_str).collect();
    assert_eq!(seen.len(), 5, "{seen:?}");
    // No key is shown to anybody but its own service.
    for exchange in &exchanges {
        let service = services
            .iter()
            .find(|(prefix, ..)| exchange.path_and_query.starts_with(prefix));
        let credential = exchange
            .headers
            .get("authorization")
            .map_or("", |value| value.to_str().unwrap());
        let expected = service.map_or("Basic cm9ib3RAZXhhbXBsZS5jb206cm9ib3QtdG9rZW4=", |service| service.3);
        assert_eq!(credential, expected, "{}", exchange.path_and_query);
    }
}
