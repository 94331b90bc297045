//! The registry of credentials: each kind opens what the real one opens and nothing else.
use extender_facade::simulator::Options;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::cloud::{Cloud, Reply, send};

pub const CURRENT: &str = "/wiki/rest/api/user/current";
const EVERYTHING: [&str; 5] = [
    "read:confluence-groups",
    "write:confluence-groups",
    "read:confluence-user",
    "read:jira-user",
    "manage:jira-configuration",
];

/// Replaces the registry.
pub async fn fill(cloud: &Cloud, credentials: Value) -> Value {
    let reply = try_fill(cloud, json!({ "credentials": credentials })).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

async fn try_fill(cloud: &Cloud, body: Value) -> Reply {
    send(cloud.bare(Method::POST, "/_sim/credentials").json(&body)).await
}

async fn shown(cloud: &Cloud) -> Value {
    send(cloud.bare(Method::GET, "/_sim/credentials")).await.json()
}

pub async fn cloud_id(cloud: &Cloud) -> String {
    let ids = send(cloud.bare(Method::GET, "/_sim/ids")).await.json();
    ids["cloudId"].as_str().unwrap().to_owned()
}

/// One of every kind.
fn all() -> Value {
    json!([
        {"kind": "api_token", "email": "classic@example.com", "token": "T1"},
        {"kind": "scoped_token", "email": "scoped@example.com", "token": "T2", "scopes": EVERYTHING},
        {"kind": "service_account", "client_id": "robot", "client_secret": "S1", "scopes": EVERYTHING},
        {"kind": "oauth", "client_id": "app", "client_secret": "S2", "scopes": EVERYTHING},
        {"kind": "org_key", "token": "T3"},
        {"kind": "scim_key", "token": "T4"},
    ])
}

/// A Bearer token of the service account.
pub async fn robot_token(cloud: &Cloud) -> String {
    let body = json!({"grant_type": "client_credentials", "client_id": "robot", "client_secret": "S1"});
    let reply = send(cloud.bare(Method::POST, "/oauth/token").json(&body)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["access_token"].as_str().unwrap().to_owned()
}

/// One call behind each door, by the name of the door.
async fn doors(cloud: &Cloud) -> Vec<(&'static str, String)> {
    let id = cloud_id(cloud).await;
    vec![
        ("site", CURRENT.to_owned()),
        ("site", "/rest/api/3/myself".to_owned()),
        ("gateway", format!("/ex/confluence/{id}{CURRENT}")),
        ("gateway", format!("/ex/jira/{id}/rest/api/3/myself")),
        ("admin", "/admin/v1/orgs".to_owned()),
        ("admin", format!("/admin/v2/orgs/{}/directories", cloud.org_id)),
        ("scim", format!("/scim/directory/{}/Users", cloud.directory_id)),
    ]
}

/// The refusal of a credential that is not known at this door.
fn expected_refusal(door: &str, path: &str) -> Value {
    let unauthorized = json!({"code": 401, "message": "Unauthorized"});
    match door {
        "site" => json!({"message": "Client must be authenticated to access this resource.", "status-code": 401}),
        "admin" if path.contains("v2") => Value::Null,
        "scim" => Value::Null,
        _ => unauthorized,
    }
}

#[tokio::test]
async fn every_kind_opens_its_own_door_and_no_other() {
    let cloud = Cloud::start(Options::default()).await;
    fill(&cloud, all()).await;
    let bearer = robot_token(&cloud).await;
    type Sent<'a> = Box<dyn Fn(RequestBuilder) -> RequestBuilder + 'a>;
    let basic = |user: &'static str, password: &'static str| -> Sent<'_> {
        Box::new(move |request| request.basic_auth(user, Some(password)))
    };
    let key = |token: &str| -> Sent<'_> {
        let token = token.to_owned();
        Box::new(move |request| request.bearer_auth(&token))
    };
    let raw = |value: &'static str| -> Sent<'_> { Box::new(move |request| request.header("authorization", value)) };
    let sent: Vec<(&str, Sent<'_>, &str)> = vec![
        ("classic", basic("classic@example.com", "T1"), "site"),
        (
            "classic, its address written otherwise",
            basic("Classic@Example.com", "T1"),
            "site",
        ),
        ("scoped", basic("scoped@example.com", "T2"), "gateway"),
        ("access token", key(&bearer), "gateway"),
        ("organisation's key", key("T3"), "admin"),
        ("provisioning key", key("T4"), "scim"),
        ("classic as a bearer", key("T1"), ""),
        ("scoped as a bearer", key("T2"), ""),
        (
            "organisation's key as a password",
            basic("classic@example.com", "T3"),
            "",
        ),
        ("the other one's token", basic("classic@example.com", "T2"), ""),
        ("only the token in base64", raw("Basic VDE="), ""),
        (
            "the token in base64 as the password",
            basic("classic@example.com", "VDE="),
            "",
        ),
        ("a pair that is not encoded", raw("Basic classic@example.com:T1"), ""),
        ("the address alone", basic("classic@example.com", ""), ""),
        ("a client's secret", key("S1"), ""),
        ("a client as a pair", basic("robot", "S1"), ""),
        ("nothing", Box::new(|request| request), ""),
        ("an empty bearer", raw("Bearer "), ""),
        ("a wrong token", basic("classic@example.com", "T"), ""),
        ("a wrong key", key("T33"), ""),
    ];
    for (what, send_with, opens) in sent {
        for (door, path) in doors(&cloud).await {
            let reply = send(send_with(cloud.bare(Method::GET, &path))).await;
            if door == opens {
                assert_eq!(reply.status, 200, "{what} at {path}: {}", reply.text());
                continue;
            }
            assert_eq!(reply.status, 401, "{what} at {path}: {}", reply.text());
            let expected = expected_refusal(door, &path);
            if !expected.is_null() {
                assert_eq!(reply.json(), expected, "{what} at {path}");
            }
        }
    }
}

#[tokio::test]
async fn the_organisation_and_scim_refuse_in_their_own_shapes() {
    let cloud = Cloud::start(Options::default()).await;
    fill(&cloud, all()).await;
    let directories = format!("/admin/v2/orgs/{}/directories", cloud.org_id);
    let refused = send(cloud.bare(Method::GET, &directories).bearer_auth("T1"))
        .await
        .json();
    assert_eq!(refused["errors"][0]["detail"], "Unauthorized");
    assert_eq!(refused["errors"][0]["status"], "401");
    let refused = send(cloud.scim(&[])).await.json();
    assert_eq!(refused["error"], "The key is not valid");
}

#[tokio::test]
async fn what_has_expired_or_was_revoked_is_refused_as_if_it_were_not_there() {
    let cloud = Cloud::start(Options::default()).await;
    fill(&cloud, all()).await;
    let id = cloud_id(&cloud).await;
    let bearer = robot_token(&cloud).await;
    let ask = async |path: String, sent: &dyn Fn(RequestBuilder) -> RequestBuilder| {
        send(sent(cloud.bare(Method::GET, &path))).await
    };
    for state in ["expired", "revoked", "deactivated"] {
        let mut ended = all();
        for entry in ended.as_array_mut().unwrap() {
            entry["state"] = json!(state);
        }
        fill(&cloud, ended).await;
        let site = ask(CURRENT.to_owned(), &|request| {
            request.basic_auth("classic@example.com", Some("T1"))
        });
        let unknown = json!({"message": "Client must be authenticated to access this resource.", "status-code": 401});
        let site = site.await;
        assert_eq!((site.status, site.json()), (401, unknown), "{state}");
        let gateway = format!("/ex/confluence/{id}{CURRENT}");
        let scoped = ask(gateway.clone(), &|request| {
            request.basic_auth("scoped@example.com", Some("T2"))
        })
        .await;
        let token = ask(gateway.clone(), &|request| request.bearer_auth(&bearer)).await;
        let unknown = json!({"code": 401, "message": "Unauthorized"});
        assert_eq!((scoped.status, scoped.json()), (401, unknown.clone()), "{state}");
        assert_eq!((token.status, token.json()), (401, unknown), "{state}");
        let admin = ask("/admin/v1/orgs".to_owned(), &|request| request.bearer_auth("T3")).await;
        assert_eq!(admin.status, 401);
        let scim = format!("/scim/directory/{}/Users", cloud.directory_id);
        assert_eq!(ask(scim, &|request| request.bearer_auth("T4")).await.status, 401);
        let body = json!({"grant_type": "client_credentials", "client_id": "robot", "client_secret": "S1"});
        let refused = send(cloud.bare(Method::POST, "/oauth/token").json(&body)).await;
        let nobody = json!({"error": "access_denied", "error_description": "Unauthorized"});
        assert_eq!((refused.status, refused.json()), (401, nobody), "{state}");
    }
    // Valid again, it opens as before; so does the token that it was given.
    fill(&cloud, all()).await;
    let gateway = format!("/ex/confluence/{id}{CURRENT}");
    assert_eq!(ask(gateway, &|request| request.bearer_auth(&bearer)).await.status, 200);
}

#[tokio::test]
async fn every_operation_needs_one_of_its_sets_of_scopes_as_a_whole() {
    let cloud = Cloud::start(Options::default()).await;
    let table = send(cloud.bare(Method::GET, "/_sim/scopes")).await.json();
    let id = cloud_id(&cloud).await;
    let mismatch = "Unauthorized; scope does not match";
    let mut checked = 0;
    for row in table.as_array().unwrap() {
        let (method, path) = (row["method"].as_str().unwrap(), row["path"].as_str().unwrap());
        let path = path
            .replacen("{}", &cloud.org_id, 1)
            .replacen("{}", &cloud.directory_id, 1)
            .replace("{}", "x");
        let path = match path.split('/').nth(1).unwrap() {
            "wiki" => format!("/ex/confluence/{id}{path}"),
            "rest" => format!("/ex/jira/{id}{path}"),
            _ => path,
        };
        let is_admin = path.starts_with("/admin");
        let ask = async |scopes: Vec<&str>| {
            let key = json!({"kind": "org_key", "token": "K", "scopes": scopes});
            let token = json!({"kind": "scoped_token", "email": "a@b", "token": "T", "scopes": scopes});
            fill(&cloud, json!([key, token])).await;
            let request = cloud.bare(method.parse().unwrap(), &path);
            let request = match is_admin {
                true => request.bearer_auth("K"),
                false => request.basic_auth("a@b", Some("T")),
            };
            send(request).await
        };
        for set in row["any_of"].as_array().unwrap() {
            let set: Vec<&str> = set
                .as_array()
                .unwrap()
                .iter()
                .map(|scope| scope.as_str().unwrap())
                .collect();
            let reply = ask(set.clone()).await;
            assert_ne!(reply.status, 401, "{method} {path} {set:?}: {}", reply.text());
            for missing in &set {
                let rest = set.iter().copied().filter(|scope| scope != missing).collect();
                let reply = ask(rest).await;
                assert_eq!(reply.status, 401, "{method} {path} without {missing}: {}", reply.text());
                assert!(reply.text().contains(mismatch), "{}", reply.text());
                if !path.contains("/v2/orgs") {
                    assert_eq!(reply.json(), json!({"code": 401, "message": mismatch}));
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 60, "{checked}");
}

#[tokio::test]
async fn who_has_no_access_to_the_product_is_told_so_by_the_product() {
    let cloud = Cloud::start(Options::default()).await;
    let outsider = json!([
        {"kind": "api_token", "email": "a@b", "token": "T", "access": false},
        {"kind": "scoped_token", "email": "a@b", "token": "T", "scopes": EVERYTHING, "access": false},
    ]);
    fill(&cloud, outsider).await;
    for (door, path) in doors(&cloud).await {
        if !["site", "gateway"].contains(&door) {
            continue;
        }
        let refused = send(cloud.bare(Method::GET, &path).basic_auth("a@b", Some("T"))).await;
        assert_eq!(refused.status, 403, "{path}");
        if path.contains("/wiki/") {
            let message = refused.json()["message"].as_str().unwrap().to_owned();
            assert!(
                message.ends_with("Request rejected because caller cannot access Confluence"),
                "{message}"
            );
            assert_eq!(refused.json()["statusCode"], 403);
        } else {
            assert!(refused.json()["errorMessages"][0].is_string(), "{}", refused.text());
        }
    }
}

#[tokio::test]
async fn who_is_no_administrator_reads_and_does_not_write() {
    let cloud = Cloud::start(Options::default()).await;
    let id = cloud.group_id("site-admins").await;
    let reader = json!([
        {"kind": "api_token", "email": "admin@example.com", "token": "token", "admin": false},
        {"kind": "org_key", "token": "org-key", "admin": false},
    ]);
    fill(&cloud, reader).await;
    assert_eq!(cloud.get("/group").await.status, 200);
    let refused = cloud.add(&id, cloud.account(9)).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("not a site admin"));
    let created = cloud.admin(Method::POST, "/groups").json(&json!({ "name": "x" }));
    assert_eq!(send(created).await.status, 403);
    assert_eq!(cloud.admin_search("groups", json!({})).await.status, 200);
    assert_eq!(cloud.truth("site-admins").await.len(), 3);
}

#[tokio::test]
async fn a_credential_is_whose_it_says_it_is() {
    let cloud = Cloud::start(Options::default()).await;
    let (other, third) = (cloud.account(7).to_owned(), cloud.people[3].clone());
    let mine = json!([
        {"kind": "api_token", "email": "a@b", "token": "T", "account": other},
        {"kind": "api_token", "email": third.email, "token": "T"},
        {"kind": "service_account", "client_id": "robot", "client_secret": "S1", "scopes": EVERYTHING, "account": other},
    ]);
    fill(&cloud, mine).await;
    let id = cloud_id(&cloud).await;
    let bearer = robot_token(&cloud).await;
    for path in [CURRENT, "/rest/api/3/myself"] {
        let own = send(cloud.bare(Method::GET, path).basic_auth("a@b", Some("T")))
            .await
            .json();
        assert_eq!(own["accountId"], other.as_str());
        let own = send(cloud.bare(Method::GET, path).basic_auth(&third.email, Some("T")))
            .await
            .json();
        assert_eq!(own["accountId"], third.account_id.as_str());
    }
    let path = format!("/ex/confluence/{id}{CURRENT}");
    let own = send(cloud.bare(Method::GET, &path).bearer_auth(bearer)).await.json();
    assert_eq!(own["accountId"], other.as_str());
}

#[tokio::test]
async fn a_registry_with_a_fault_changes_nothing_and_one_that_is_empty_opens_everything() {
    let cloud = Cloud::start(Options::default()).await;
    assert_eq!(shown(&cloud).await["credentials"], json!([]));
    fill(&cloud, all()).await;
    let before = shown(&cloud).await;
    for wrong in [
        json!({}),
        json!([]),
        json!({"credentials": [], "more": 1}),
        json!({"credentials": [{"kind": "scim_key", "token": "T", "tokn": "T"}]}),
        json!({"credentials": [{"kind": "scim_key", "token": "T", "account": "nobody"}]}),
        json!({"credentials": [{"kind": "scim_key", "token": "T"}, {"kind": "org_key", "email": "a@b", "token": "T"}]}),
    ] {
        let refused = try_fill(&cloud, wrong.clone()).await;
        assert_eq!(refused.status, 400, "{wrong}");
        assert!(refused.json()["error"].is_string());
    }
    assert_eq!(shown(&cloud).await, before);
    assert_eq!(cloud.get("/group").await.status, 401);
    assert_eq!(
        fill(&cloud, before["credentials"].clone()).await["credentials"],
        before["credentials"]
    );
    fill(&cloud, json!([])).await;
    assert_eq!(cloud.get("/group").await.status, 200);
}

#[tokio::test]
async fn a_registry_can_be_there_from_the_start_and_counts_what_it_opened() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let told = json!({"credentials": [
        {"kind": "api_token", "email": "old@example.com", "token": "token", "state": "expired"},
        {"kind": "api_token", "email": "admin@example.com", "token": "token"},
    ]});
    std::fs::write(file.path(), told.to_string()).unwrap();
    let cloud = Cloud::start(Options {
        credentials: Some(file.path().to_owned()),
        ..Options::default()
    })
    .await;
    assert_eq!(cloud.get("/group").await.status, 200);
    assert_eq!(cloud.get("/user/current").await.status, 200);
    let refused = cloud
        .bare(Method::GET, CURRENT)
        .basic_auth("old@example.com", Some("token"));
    assert_eq!(send(refused).await.status, 401);
    assert_eq!(shown(&cloud).await["opened"], json!([0, 2]));
}

#[tokio::test]
async fn an_address_that_is_not_on_the_list_is_refused_by_the_products_alone() {
    let cloud = Cloud::start(Options::default()).await;
    fill(&cloud, all()).await;
    cloud.switch(json!({ "ip_blocked": true })).await;
    let classic = |path: &str| {
        cloud
            .bare(Method::GET, path)
            .basic_auth("classic@example.com", Some("T1"))
    };
    for path in [CURRENT, "/rest/api/3/myself"] {
        let refused = send(classic(path)).await;
        assert_eq!(refused.status, 403);
        let message = "The IP address has been rejected because it isn't on the allowlist. \
                       Contact your site administrator for more information.";
        assert_eq!(refused.json(), json!({"message": message, "statusCode": 403}));
    }
    assert_eq!(
        send(cloud.bare(Method::GET, "/admin/v1/orgs").bearer_auth("T3"))
            .await
            .status,
        200
    );
    robot_token(&cloud).await;
}

#[tokio::test]
async fn every_answer_has_a_date_that_may_be_wrong() {
    let cloud = Cloud::start(Options::default()).await;
    let ahead = async |path: &str| {
        let reply = send(cloud.bare(Method::GET, path)).await;
        let told = httpdate::parse_http_date(reply.header("date").unwrap()).unwrap();
        let now = std::time::SystemTime::now();
        match told.duration_since(now) {
            Ok(later) => later.as_secs() as i64,
            Err(earlier) => -(earlier.duration().as_secs() as i64),
        }
    };
    for off in [0, 7_200, -86_400] {
        cloud.switch(json!({ "clock_ahead_s": off })).await;
        for path in [
            CURRENT,
            "/_edge/tenant_info",
            "/_sim/ids",
            "/oauth/token",
            "/authorize",
            "/admin/v1/orgs",
        ] {
            let seen = ahead(path).await;
            assert!((seen - off).abs() <= 60, "{path}: {seen} instead of {off}");
        }
    }
}

#[tokio::test]
async fn the_edge_may_know_no_such_site() {
    let cloud = Cloud::start(Options::default()).await;
    let ask = async || send(cloud.bare(Method::GET, "/_edge/tenant_info")).await;
    cloud.switch(json!({ "tenant_info": "missing" })).await;
    let missing = ask().await;
    assert_eq!((missing.status, &missing.json()["code"]), (404, &json!(404)));
    cloud.switch(json!({ "tenant_info": "html" })).await;
    let page = ask().await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    cloud.switch(json!({ "tenant_info": null })).await;
    assert!(ask().await.json()["cloudId"].is_string());
}
