//! Does the simulator answer as the official document says? Every operation is driven, with every way of misbehaving that gives
//! a whole answer, and each answer is held to the document.
//!
//! Left out are `cut`, `truncated` and the 200 log-in page of `html`: no document could describe those.
//!
//! The other sources of identity are held to their documents in `contract/sources.rs`.
use extender_facade::simulator::Options;
use serde_json::json;

#[path = "support/cloud.rs"]
mod cloud;
#[path = "contract/drive.rs"]
mod drive;
#[path = "support/openapi.rs"]
mod openapi;
#[path = "contract/scopes.rs"]
mod scopes;
#[path = "contract/sources.rs"]
mod sources;
#[path = "contract/tables.rs"]
mod tables;

use cloud::Cloud;
use drive::{Contract, fill};
use tables::CONFLUENCE;

#[tokio::test]
async fn every_answer_is_one_that_the_official_document_has() {
    let Some(mut contract) = Contract::of(&CONFLUENCE) else {
        return;
    };

    let groups = vec!["big==450".parse().unwrap()];
    let cloud = Cloud::start(Options {
        users: 500,
        groups: 12,
        group: groups,
        ..Options::default()
    })
    .await;
    contract.reads(&cloud).await;
    contract.writes(&cloud).await;
    contract.errors(&cloud).await;
    let nasty = json!({"hidden_emails": true, "suspended": "counted", "over_limit": "cap", "wrong_next": true, "external": true});
    cloud.switch(nasty).await;
    contract.reads(&cloud).await;
    let everybody = cloud.group_id("confluence-users").await;
    let page = contract
        .get(&cloud, &format!("/group/{everybody}/membersByGroupId?limit=1000"), 200)
        .await;
    assert_eq!(page["size"], 180);
    let external = cloud.group_id("group-00010").await;
    contract
        .post(
            &cloud,
            &format!("/group/userByGroupId?groupId={external}"),
            json!({"accountId": cloud.account(1)}),
            400,
        )
        .await;
    contract
        .delete(&cloud, &format!("/group/by-id?id={external}"), 400)
        .await;
    let not_counted =
        json!({"suspended": true, "no_total": true, "repeat_page": true, "bulk": "comma", "lag_ms": 5000});
    cloud.switch(not_counted).await;
    contract.reads(&cloud).await;
    let group = cloud.group_id("group-00001").await;
    cloud.switch(json!({ "seats": 0 })).await;
    contract
        .post(
            &cloud,
            &format!("/group/userByGroupId?groupId={group}"),
            json!({"accountId": cloud.account(99)}),
            500,
        )
        .await;
    cloud.switch(json!({ "forbid_writes": true })).await;
    contract
        .post(&cloud, "/group", json!({ "name": "forbidden" }), 403)
        .await;
    contract.delete(&cloud, &format!("/group/by-id?id={group}"), 403).await;

    let cloud = Cloud::start(Options::default()).await;
    for shape in ["401", "html", "xml", "scope"] {
        contract
            .everywhere(&cloud, json!({ "unauthorized": shape }), &[401])
            .await;
    }
    contract
        .everywhere(&cloud, json!({ "unauthorized": "403" }), &[403])
        .await;
    contract
        .everywhere(&cloud, json!({ "unauthorized": null, "ip_blocked": true }), &[403])
        .await;
    for (entry, status) in [
        (json!({"token": "another"}), 401),
        (json!({"token": "token", "access": false}), 403),
    ] {
        let mut owner = json!({"kind": "api_token", "email": "admin@example.com"});
        owner
            .as_object_mut()
            .unwrap()
            .append(&mut entry.as_object().unwrap().clone());
        fill(&cloud, json!([owner])).await;
        contract
            .everywhere(&cloud, json!({ "ip_blocked": null }), &[status])
            .await;
    }
    fill(&cloud, json!([])).await;
    contract
        .everywhere(
            &cloud,
            json!({ "unauthorized": null, "error_5xx": 1 }),
            &[500, 502, 503, 504],
        )
        .await;
    contract
        .everywhere(&cloud, json!({ "error_5xx": null, "down": true }), &[503])
        .await;
    let cloud = Cloud::start(Options {
        rate: Some(0.001),
        ..Options::default()
    })
    .await;
    for path in ["/group", "/user/current"] {
        contract.get(&cloud, path, 200).await;
    }
    for retry_after in ["7", "none", "zero", "absurd", "date"] {
        cloud.switch(json!({ "retry_after": retry_after })).await;
        contract.get(&cloud, "/group", 429).await;
        contract.get(&cloud, "/user/current", 429).await;
    }

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), FILE).unwrap();
    let cloud = Cloud::start(Options {
        data: Some(file.path().to_owned()),
        ..Options::default()
    })
    .await;
    contract.reads(&cloud).await;
    contract.writes(&cloud).await;

    contract.end();
}

const FILE: &str = r#"{
  "users": [
    {"accountId": "557058:0001", "displayName": "Ąę \"Quoted\"", "email": "one@example.com", "username": "one"},
    {"accountId": "5b10ac8d82e05b22cc7d4ef5", "emailHidden": true, "email": "two@example.com"},
    {"accountId": "712020:0003", "status": "suspended"},
    {"accountId": "712020:0004", "accountType": "app"},
    {"accountId": "a|b", "status": "closed"},
    {"accountId": "712020:0006"}
  ],
  "groups": [
    {"name": "confluence-users", "members": ["557058:0001", "5b10ac8d82e05b22cc7d4ef5", "712020:0003", "a|b"]},
    {"name": "from the directory", "managedBy": "EXTERNAL", "members": ["712020:0004"]},
    {"name": "a team", "id": "team-1", "managedBy": "TEAM_MEMBERS", "usageType": "TEAM_COLLABORATION"},
    {"name": "open", "managedBy": "OPEN"}
  ]
}"#;

#[test]
fn a_request_that_the_document_does_not_have_is_told_with_its_fault() {
    let Some(Contract { document, .. }) = Contract::of(&CONFLUENCE) else {
        return;
    };
    let json: reqwest::header::HeaderMap = [(reqwest::header::CONTENT_TYPE, "application/json".parse().unwrap())]
        .into_iter()
        .collect();
    let check = |method: &str, path: &str, body: &str| {
        document.validate_request(method, &format!("/wiki/rest/api{path}"), &json, body.as_bytes())
    };
    for (method, path, body) in [
        ("GET", "/group?start=0&limit=200", ""),
        (
            "GET",
            "/group/abc/membersByGroupId?shouldReturnTotalSize=true&expand=operations",
            "",
        ),
        ("POST", "/group/userByGroupId?groupId=a", r#"{"accountId":"b"}"#),
        ("DELETE", "/group/userByGroupId?groupId=a&accountId=b", ""),
        ("GET", "/user/bulk?accountId=a%2Cb", ""),
    ] {
        assert!(
            check(method, path, body).is_ok(),
            "{method} {path}: {:?}",
            check(method, path, body)
        );
    }
    for (method, path, body, fault) in [
        ("GET", "/group/abc/member", "", "no such operation"),
        ("PUT", "/group", "", "no such operation"),
        ("GET", "/group?limit=many", "", "limit"),
        ("GET", "/group?start=-1", "", "start"),
        ("GET", "/group?offset=1", "", "offset"),
        ("GET", "/group/picker?limit=1", "", "query"),
        (
            "GET",
            "/group/abc/membersByGroupId?shouldReturnTotalSize=yes",
            "",
            "shouldReturnTotalSize",
        ),
        ("GET", "/group/abc/membersByGroupId?expand=everything", "", "expand"),
        ("GET", "/user/bulk?accountId=a&accountId=b", "", "accountId"),
        (
            "POST",
            "/group/userByGroupId?groupId=a",
            r#"{"accountID":"b"}"#,
            "accountId",
        ),
        ("POST", "/group/userByGroupId?groupId=a", "", "no JSON"),
        ("DELETE", "/group/by-id?id=a", "{}", "no body"),
    ] {
        let wrong = check(method, path, body).unwrap_err().join("\n");
        assert!(wrong.contains(fault), "{method} {path}: {wrong}");
    }
    let untyped = reqwest::header::HeaderMap::new();
    assert!(
        document
            .validate_request("POST", "/wiki/rest/api/group", &untyped, br#"{"name":"a"}"#)
            .is_err()
    );
}
