//! Does the simulator answer as the official document says? Every operation is driven, with every way of misbehaving that gives
//! a whole answer, and each answer is held to the document.
//!
//! Left out are `cut`, `truncated` and the 200 log-in page of `html`: no document could describe those.
use std::collections::BTreeSet;

use extender_facade::simulator::Options;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

#[path = "support/cloud.rs"]
mod cloud;
#[path = "support/openapi.rs"]
mod openapi;

use cloud::{Cloud, Reply, send};
use openapi::{Document, Wrong};

const DOCUMENT: &str = "confluence-v1.groups-users.json";

/// What Cloud answers and its document does not have: method, path, status, and where it is known from. `*` stands for any.
/// A row that no answer needs fails the test.
const UNDOCUMENTED: &[(&str, &str, u16, &str)] = &[
    ("*", "*", 429, "cloud.md section 4: burst limits"),
    (
        "*",
        "*",
        401,
        "cloud.md section 5: the document has it for some operations only",
    ),
    ("*", "*", 413, "the gateway's limit of a body"),
    ("*", "*", 500, "cloud.md section 4: no free seat, and gateways"),
    ("*", "*", 502, "gateways"),
    ("*", "*", 503, "gateways"),
    ("*", "*", 504, "gateways"),
    (
        "POST",
        "/wiki/rest/api/group",
        415,
        "cloud.md section 1: a write without its content type",
    ),
    (
        "POST",
        "/wiki/rest/api/group/userByGroupId",
        415,
        "cloud.md section 1: a write without its content type",
    ),
    (
        "POST",
        "/wiki/rest/api/group/userByGroupId",
        409,
        "cloud.md section 1: already a member, measured",
    ),
    (
        "GET",
        "/wiki/rest/api/group",
        400,
        "assumed: a start or limit that is no number",
    ),
    (
        "GET",
        "/wiki/rest/api/group/picker",
        400,
        "assumed: no query; a start or limit that is no number",
    ),
    (
        "GET",
        "/wiki/rest/api/group/by-id",
        400,
        "assumed: no id, as DELETE of the same path has it",
    ),
    (
        "GET",
        "/wiki/rest/api/group/{groupId}/membersByGroupId",
        404,
        "assumed: no such group, as by-id has it",
    ),
    ("GET", "/wiki/rest/api/user", 400, "assumed: no accountId"),
    ("GET", "/wiki/rest/api/user/bulk", 400, "assumed: no accountId"),
    ("GET", "/wiki/rest/api/user/memberof", 400, "assumed: no accountId"),
    (
        "GET",
        "/wiki/rest/api/user/memberof",
        404,
        "assumed: no such user, as GET /user has it",
    ),
];

/// Operations of the document that are not the simulator's.
const LEFT_OUT: &[&str] = &[
    "/audit",
    "/search/user",
    "/user/anonymous",
    "/user/email",
    "/user/email/bulk",
];

struct Contract {
    document: Document,
    used: BTreeSet<usize>,
    /// Method, path and status of what was answered.
    seen: BTreeSet<(String, String, u16)>,
    wrong: Vec<String>,
}

impl Contract {
    async fn get(&mut self, cloud: &Cloud, path: &str, status: u16) -> Value {
        let reply = self.check(cloud.api(Method::GET, path), status).await;
        serde_json::from_slice(&reply.body).unwrap_or(Value::Null)
    }

    async fn post(&mut self, cloud: &Cloud, path: &str, body: Value, status: u16) -> Reply {
        self.check(cloud.api(Method::POST, path).json(&body), status).await
    }

    async fn delete(&mut self, cloud: &Cloud, path: &str, status: u16) {
        self.check(cloud.api(Method::DELETE, path), status).await;
    }

    /// Sends a request, whose answer must have this status and be what the document says or the table excuses.
    async fn check(&mut self, request: RequestBuilder, status: u16) -> Reply {
        let (client, request) = request.build_split();
        let request = request.unwrap();
        let method = request.method().to_string();
        let path = request.url()[url::Position::BeforePath..].to_owned();
        let reply = send(RequestBuilder::from_parts(client, request)).await;
        if reply.status != status {
            self.wrong.push(format!(
                "{method} {path}: {} instead of {status}: {}",
                reply.status,
                reply.text()
            ));
        }
        let content_type = reply.header("content-type");
        match self
            .document
            .validate_answer(&method, &path, reply.status, content_type, &reply.body)
        {
            Ok(()) => {}
            Err(Wrong::NoStatus(template)) => {
                let row = UNDOCUMENTED.iter().position(|(methods, paths, excused, _)| {
                    ["*", &method].contains(methods) && ["*", &template].contains(paths) && *excused == reply.status
                });
                match row {
                    Some(row) => _ = self.used.insert(row),
                    None => self
                        .wrong
                        .push(format!("{method} {path}: {} is not documented", reply.status)),
                }
            }
            Err(other) => self.wrong.push(format!(
                "{method} {path} {}: {other:?} in {}",
                reply.status,
                reply.text()
            )),
        }
        if let Some((template, _)) = self.document.template(&path) {
            self.seen.insert((method, template, reply.status));
        }
        reply
    }

    async fn reads(&mut self, cloud: &Cloud) {
        let everybody = cloud.group_id("confluence-users").await;
        let account = cloud.account(4).to_owned();
        for paging in [
            "",
            "?start=0&limit=2",
            "?start=1&limit=1",
            "?start=999",
            "?limit=0",
            "?limit=1000",
        ] {
            self.get(cloud, &format!("/group{paging}"), 200).await;
        }
        for asked in [
            "query=",
            "query=CONFLUENCE&shouldReturnTotalSize=true",
            "query=none",
            "query=%22%3C%25&limit=500",
        ] {
            self.get(cloud, &format!("/group/picker?{asked}"), 200).await;
        }
        self.get(cloud, &format!("/group/by-id?id={everybody}"), 200).await;
        for asked in [
            "",
            "?limit=200&shouldReturnTotalSize=true",
            "?start=3&limit=5&expand=operations,personalSpace",
        ] {
            self.get(cloud, &format!("/group/{everybody}/membersByGroupId{asked}"), 200)
                .await;
        }
        self.get(cloud, &format!("/user?accountId={account}"), 200).await;
        self.get(cloud, &format!("/user/memberof?accountId={account}&limit=1"), 200)
            .await;
        self.get(
            cloud,
            &format!("/user/bulk?accountId={account},{}", cloud.account(0)),
            200,
        )
        .await;
        self.get(cloud, &format!("/user/bulk?accountId={account}&accountId=nobody"), 200)
            .await;
        self.get(cloud, "/user/current", 200).await;
    }

    async fn writes(&mut self, cloud: &Cloud) {
        let created = self
            .post(cloud, "/group", json!({ "name": "a new \"group\"" }), 201)
            .await
            .json();
        let id = created["id"].as_str().unwrap().to_owned();
        let account = cloud.account(5).to_owned();
        let add = format!("/group/userByGroupId?groupId={id}");
        let remove = format!("/group/userByGroupId?groupId={id}&accountId={account}");
        self.post(cloud, &add, json!({ "accountId": account }), 201).await;
        self.get(cloud, &format!("/group/{id}/membersByGroupId"), 200).await;
        self.post(cloud, &add, json!({ "accountId": account }), 409).await;
        cloud.switch(json!({ "already_member": 400, "not_member": 404 })).await;
        self.post(cloud, &add, json!({ "accountId": account }), 400).await;
        cloud.switch(json!({ "already_member": 201 })).await;
        self.post(cloud, &add, json!({ "accountId": account }), 201).await;
        self.delete(cloud, &remove, 204).await;
        self.delete(cloud, &remove, 404).await;
        cloud
            .switch(json!({ "already_member": null, "not_member": null }))
            .await;
        self.delete(cloud, &remove, 204).await;
        self.delete(cloud, &format!("/group/by-id?id={id}"), 204).await;
        self.delete(cloud, &format!("/group/by-id?id={id}"), 404).await;
    }

    async fn errors(&mut self, cloud: &Cloud) {
        let group = cloud.group_id("site-admins").await;
        let account = cloud.account(5).to_owned();
        for (path, status) in [
            ("/group?start=-1", 400),
            ("/group?limit=ten", 400),
            ("/group/picker", 400),
            ("/group/picker?query=a&limit=9999999999", 400),
            ("/group/by-id", 400),
            ("/group/by-id?id=none", 404),
            ("/group/none/membersByGroupId", 404),
            (&format!("/group/{group}/membersByGroupId?limit=201"), 400),
            (&format!("/group/{group}/membersByGroupId?start=x"), 400),
            ("/user", 400),
            ("/user?accountId=nobody", 404),
            ("/user/bulk", 400),
            ("/user/memberof", 400),
            ("/user/memberof?accountId=nobody", 404),
        ] {
            self.get(cloud, path, status).await;
        }
        let add = format!("/group/userByGroupId?groupId={group}");
        self.post(cloud, "/group", json!({}), 400).await;
        self.post(cloud, "/group", json!({ "name": " " }), 400).await;
        self.post(cloud, "/group", json!({ "name": "SITE-admins" }), 400).await;
        self.post(cloud, &add, json!({ "accountId": "nobody" }), 400).await;
        self.post(cloud, &add, json!([]), 400).await;
        self.post(cloud, "/group/userByGroupId", json!({ "accountId": account }), 400)
            .await;
        self.post(
            cloud,
            "/group/userByGroupId?groupId=none",
            json!({ "accountId": account }),
            404,
        )
        .await;
        self.delete(cloud, &format!("{add}&accountId=nobody"), 404).await;
        self.delete(cloud, &add, 400).await;
        self.delete(cloud, &format!("/group/by-id?id={group}"), 400).await;
        self.delete(cloud, "/group/by-id", 400).await;
        for path in ["/group", &add] {
            let request = cloud
                .api(Method::POST, path)
                .body("{}")
                .header("content-type", "text/plain");
            self.check(request, 415).await;
            let huge = vec![b' '; (1 << 20) + 1];
            self.check(
                cloud
                    .api(Method::POST, path)
                    .body(huge)
                    .header("content-type", "application/json"),
                413,
            )
            .await;
            let url = format!("/wiki/rest/api{path}");
            self.check(
                cloud
                    .bare(Method::POST, &url)
                    .basic_auth("a", Some("b"))
                    .json(&json!({})),
                403,
            )
            .await;
        }
    }

    /// Every operation under a fault that leaves the call no chance.
    async fn everywhere(&mut self, cloud: &Cloud, fault: Value, statuses: &[u16]) {
        cloud.switch(fault).await;
        for path in [
            "/group",
            "/group/picker?query=",
            "/group/by-id?id=x",
            "/group/x/membersByGroupId",
            "/user?accountId=x",
        ] {
            self.any(cloud.api(Method::GET, path), statuses).await;
        }
        for path in ["/user/bulk?accountId=x", "/user/memberof?accountId=x", "/user/current"] {
            self.any(cloud.api(Method::GET, path), statuses).await;
        }
        self.any(
            cloud
                .api(Method::POST, "/group")
                .json(&json!({ "name": "site-admins" })),
            statuses,
        )
        .await;
        self.any(
            cloud
                .api(Method::POST, "/group/userByGroupId?groupId=x")
                .json(&json!({})),
            statuses,
        )
        .await;
        self.any(cloud.api(Method::DELETE, "/group/by-id?id=x"), statuses).await;
        self.any(
            cloud.api(Method::DELETE, "/group/userByGroupId?groupId=x&accountId=x"),
            statuses,
        )
        .await;
    }

    async fn any(&mut self, request: RequestBuilder, statuses: &[u16]) {
        let before = self.wrong.len();
        let reply = self.check(request, 0).await;
        // Only the status that was not known beforehand is forgiven.
        if statuses.contains(&reply.status) {
            self.wrong.remove(before);
        }
    }
}

#[tokio::test]
async fn every_answer_is_one_that_the_official_document_has() {
    let Some(document) = Document::from_environment(DOCUMENT) else {
        return;
    };
    let mut contract = Contract {
        document,
        used: BTreeSet::new(),
        seen: BTreeSet::new(),
        wrong: Vec::new(),
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

    contract.wrong.extend(forgotten(&contract));
    assert!(contract.wrong.is_empty(), "\n{}", contract.wrong.join("\n"));
}

/// Operations that were never seen to succeed, and rows of the table that nothing needed.
fn forgotten(contract: &Contract) -> Vec<String> {
    let mut forgotten = Vec::new();
    for (method, path) in contract.document.operations() {
        let ours = !LEFT_OUT
            .iter()
            .any(|left_out| path.strip_prefix("/wiki/rest/api") == Some(left_out));
        let succeeded = |status: &u16| (200..300).contains(status);
        if ours
            && !contract
                .seen
                .iter()
                .any(|(seen, at, status)| *seen == method && *at == path && succeeded(status))
        {
            forgotten.push(format!("{method} {path} was never seen to succeed"));
        }
    }
    for (row, entry) in UNDOCUMENTED.iter().enumerate() {
        if !contract.used.contains(&row) {
            forgotten.push(format!("nothing needs the row {entry:?}"));
        }
    }
    forgotten
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
    let Some(document) = Document::from_environment(DOCUMENT) else {
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
