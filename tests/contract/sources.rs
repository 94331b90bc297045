//! The other sources of identity, each held to its document: the Admin API, SCIM, Jira, and version 2 of Confluence.
//!
//! Left out, besides what is left out of version 1, are `admin_garbage=empty` and `truncated`: they are meant to be wrong.
use extender_facade::simulator::Options;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::drive::{Contract, fill};
use crate::tables::{ADMIN, CONFLUENCE_V2, JIRA, SCIM};

const FILE: &str = r#"{
  "users": [
    {"accountId": "557058:0001", "displayName": "Ąę \"Quoted\"", "email": "one@example.com", "username": "one", "key": "k1",
     "jobTitle": "Editor", "department": "Sales", "location": "Łódź", "addedToOrg": "2020-01-02T03:04:05.678Z",
     "lastActive": "2026-10-01T00:00:00Z"},
    {"accountId": "5b10ac8d82e05b22cc7d4ef5", "emailHidden": true, "email": "two@example.com", "username": "two"},
    {"accountId": "712020:0003", "status": "suspended", "email": "one@example.com", "scim": {"userName": "Three \"3\""}},
    {"accountId": "712020:0004", "accountType": "app", "username": "bot"},
    {"accountId": "a|b", "status": "closed", "scim": false},
    {"accountId": "712020:0006", "status": "inactive", "username": "six", "scim": {"externalId": "X", "active": true}},
    {"accountId": "712020:0007", "accountType": "customer", "email": "customer@example.com"}
  ],
  "groups": [
    {"name": "confluence-users", "members": ["557058:0001", "5b10ac8d82e05b22cc7d4ef5", "712020:0003", "a|b"]},
    {"name": "from the directory", "managedBy": "EXTERNAL", "members": ["712020:0004", "557058:0001"]},
    {"name": "a team", "id": "team-1", "managedBy": "TEAM_MEMBERS", "usageType": "TEAM_COLLABORATION"},
    {"name": "open", "managedBy": "OPEN"}
  ]
}"#;

/// A small generated Cloud and one from a file.
async fn clouds() -> [Cloud; 2] {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), FILE).unwrap();
    let generated = Options {
        groups: 12,
        ..Options::default()
    };
    let told = Options {
        data: Some(file.path().to_owned()),
        ..Options::default()
    };
    [Cloud::start(generated).await, Cloud::start(told).await]
}

/// Every operation, by a request that would be answered well, under what leaves none a chance: gateways, limits, refusals.
async fn hopeless(contract: &mut Contract, refused: Option<&str>, every: impl Fn(&Cloud) -> Vec<RequestBuilder>) {
    let cloud = Cloud::start(Options::default()).await;
    cloud.switch(json!({ "error_5xx": 1 })).await;
    // Four statuses come in turn: each is seen, though not by each operation.
    for _ in 0..4 {
        for request in every(&cloud) {
            contract.any(request, &[500, 502, 503, 504]).await;
        }
    }
    cloud.switch(json!({ "error_5xx": null, "down": true })).await;
    for request in every(&cloud) {
        contract.any(request, &[503]).await;
    }
    if let Some(name) = refused {
        for status in [401, 403] {
            cloud.switch(json!({ "down": null, name: status })).await;
            for request in every(&cloud) {
                contract.any(request, &[status]).await;
            }
        }
        cloud.switch(json!({ name: null })).await;
    }
    cloud.switch(json!({ "down": null, "rate": 0.001, "burst": 1 })).await;
    for request in every(&cloud).into_iter().chain(every(&cloud)) {
        contract.any(request, &[200, 201, 204, 404, 409, 429]).await;
    }
    cloud.switch(json!({ "rate": null, "burst": null })).await;
    for request in every(&cloud) {
        let huge = vec![b' '; (1 << 20) + 1];
        contract.any(request.body(huge), &[413]).await;
    }
}

/// Every operation, by somebody whom the registry does not know, whose key lacks every scope, or who has no access.
async fn strangers(contract: &mut Contract, every: impl Fn(&Cloud) -> Vec<RequestBuilder>) {
    let cloud = Cloud::start(Options::default()).await;
    let outsiders = [("admin@example.com", "token"), ("a", "b")]
        .map(|(email, token)| json!({"kind": "api_token", "email": email, "token": token, "access": false}));
    for known in [
        json!([{"kind": "api_token", "email": "x@y", "token": "x"}]),
        json!([{"kind": "org_key", "token": "org-key", "scopes": []}]),
        json!(outsiders),
    ] {
        fill(&cloud, known).await;
        for request in every(&cloud) {
            contract.any(request, &[401, 403]).await;
        }
    }
}

/// The same request with the credential of the site, which is none here.
fn basic(request: RequestBuilder) -> RequestBuilder {
    let (client, request) = request.build_split();
    let mut request = request.unwrap();
    let credential = HeaderValue::from_static("Basic YTpi");
    request.headers_mut().insert(AUTHORIZATION, credential);
    RequestBuilder::from_parts(client, request)
}

fn with(request: RequestBuilder, body: &Value) -> RequestBuilder {
    request.json(body)
}

fn every_admin_call(cloud: &Cloud) -> Vec<RequestBuilder> {
    let plain = |path: String| cloud.bare(Method::GET, &path).bearer_auth("org-key");
    let account = cloud.account(0);
    vec![
        plain("/admin/v1/orgs".to_owned()),
        plain(format!("/admin/v1/orgs/{}", cloud.org_id)),
        plain(format!("/admin/v2/orgs/{}/directories", cloud.org_id)),
        cloud.admin(Method::GET, &format!("/users/{account}")),
        with(cloud.admin(Method::POST, "/users/search"), &json!({})),
        with(cloud.admin(Method::POST, "/groups/search"), &json!({})),
        with(cloud.admin(Method::POST, "/groups"), &json!({ "name": "new" })),
        with(
            cloud.admin(Method::POST, "/groups/x/memberships"),
            &json!({ "accountId": account }),
        ),
        cloud.admin(Method::DELETE, &format!("/groups/x/memberships/{account}")),
        cloud.admin(Method::GET, "/groups/x/role-assignments"),
        cloud.admin(Method::DELETE, "/groups/x"),
    ]
}

async fn admin_searches(contract: &mut Contract, cloud: &Cloud) {
    let people = &cloud.people;
    let group = cloud.group_id("confluence-users").await;
    let users = [
        json!({}),
        json!({"emails": [people[0].email, people[1].email.to_uppercase(), "nobody@example.com"], "limit": 100}),
        json!({"accountIds": [people[0].account_id], "status": ["active", "suspended"]}),
        json!({"groupIds": [group], "accountStatus": ["active"], "membershipStatus": ["active"], "limit": 1}),
        json!({"searchTerm": "e", "claimStatus": "managed", "directoryIds": [cloud.directory_id]}),
        json!({"expand": ["platformRoles", "counts.resources", "productAccess", "groups"]}),
    ];
    for body in users {
        let request = cloud.admin(Method::POST, "/users/search").json(&body);
        contract.check(request, 200).await;
    }
    let groups = [
        json!({}),
        json!({"groupNames": ["CONFLUENCE-users", "nothing"], "limit": 100, "expand": ["counts.users", "counts.resources"]}),
        json!({"groupIds": [group], "accountIds": [people[0].account_id]}),
        json!({"searchTerm": "O", "limit": 1}),
    ];
    for body in groups {
        let request = cloud.admin(Method::POST, "/groups/search").json(&body);
        contract.check(request, 200).await;
    }
    for request in every_admin_call(cloud).into_iter().take(3) {
        contract.check(request, 200).await;
    }
    for person in people.iter().take(3) {
        let path = format!("/users/{}", person.account_id);
        contract.check(cloud.admin(Method::GET, &path), 200).await;
    }
}

/// What each group gives, page by page.
async fn admin_roles(contract: &mut Contract, cloud: &Cloud) {
    for roles in [json!(null), json!("none"), json!("powerless"), json!("many")] {
        cloud.switch(json!({ "admin_roles": roles })).await;
        let groups = cloud.admin_search("groups", json!({ "limit": 4 })).await.json();
        for group in groups["data"].as_array().unwrap() {
            let path = format!("/groups/{}/role-assignments", group["id"].as_str().unwrap());
            for paging in ["", "?limit=1"] {
                contract
                    .check(cloud.admin(Method::GET, &format!("{path}{paging}")), 200)
                    .await;
            }
            let mut cursor = String::new();
            loop {
                let asked = cloud.admin(Method::GET, &format!("{path}?limit=100{cursor}"));
                let page = contract.check(asked, 200).await.json();
                let Some(next) = page["links"]["next"].as_str() else {
                    break;
                };
                cursor = format!("&cursor={next}");
            }
        }
    }
    cloud.switch(json!({ "admin_roles": null })).await;
    let group = cloud.group_id("confluence-users").await;
    for (path, status) in [
        ("none/role-assignments".to_owned(), 404),
        (format!("{group}/role-assignments?limit=0"), 400),
        (format!("{group}/role-assignments?limit=many"), 400),
        (format!("{group}/role-assignments?cursor=none"), 400),
        (format!("{group}/role-assignments?roleIds=atlassian/user"), 400),
    ] {
        contract
            .check(cloud.admin(Method::GET, &format!("/groups/{path}")), status)
            .await;
    }
}

async fn admin_changes(contract: &mut Contract, cloud: &Cloud) {
    let create = || cloud.admin(Method::POST, "/groups");
    let wanted = json!({ "name": "made by an admin", "description": "why" });
    contract.check(create().json(&wanted), 201).await;
    contract.check(create().json(&wanted), 409).await;
    contract.check(create().json(&json!({})), 400).await;
    let id = cloud.group_id("made by an admin").await;
    let account = cloud.account(1);
    let add = |id: &str, account: &str| {
        let request = cloud.admin(Method::POST, &format!("/groups/{id}/memberships"));
        request.json(&json!({ "accountId": account }))
    };
    let remove = |id: &str, account: &str| cloud.admin(Method::DELETE, &format!("/groups/{id}/memberships/{account}"));
    contract.check(add(&id, account), 204).await;
    contract.check(add(&id, account), 409).await;
    contract.check(add(&id, "nobody"), 404).await;
    contract.check(add("none", account), 404).await;
    cloud.switch(json!({ "seats": 0 })).await;
    contract.check(add(&id, cloud.account(2)), 409).await;
    cloud.switch(json!({ "seats": null, "forbid_writes": true })).await;
    contract.check(add(&id, cloud.account(2)), 403).await;
    contract.check(remove(&id, account), 403).await;
    contract.check(create().json(&wanted), 403).await;
    contract
        .check(cloud.admin(Method::DELETE, &format!("/groups/{id}")), 403)
        .await;
    cloud.switch(json!({ "forbid_writes": null })).await;
    contract.check(remove(&id, account), 204).await;
    contract.check(remove(&id, account), 404).await;
    contract
        .check(cloud.admin(Method::DELETE, &format!("/groups/{id}")), 204)
        .await;
    contract
        .check(cloud.admin(Method::DELETE, &format!("/groups/{id}")), 404)
        .await;
}

async fn admin_errors(contract: &mut Contract, cloud: &Cloud) {
    for body in [
        json!({"emails": []}),
        json!({"emails": ["a@b"], "searchTerm": "a"}),
        json!({"limit": 101}),
        json!({"cursor": "none"}),
        json!({"mfaEnabled": true}),
    ] {
        let request = cloud.admin(Method::POST, "/users/search").json(&body);
        contract.check(request, 400).await;
    }
    let both = json!({"groupNames": ["a"], "groupIds": ["b"]});
    contract
        .check(cloud.admin(Method::POST, "/groups/search").json(&both), 400)
        .await;
    for path in ["/users/search", "/groups/search", "/groups", "/groups/x/memberships"] {
        contract.check(cloud.admin(Method::POST, path).body("{}"), 415).await;
    }
    contract.check(cloud.admin(Method::GET, "/users/nobody"), 404).await;
    let elsewhere = |method, path: &str| cloud.bare(method, path).bearer_auth("org-key");
    contract.check(elsewhere(Method::GET, "/admin/v1/orgs/none"), 404).await;
    contract
        .check(elsewhere(Method::GET, "/admin/v2/orgs/none/directories"), 404)
        .await;
    let all = format!("/admin/v2/orgs/{}/directories/-/groups", cloud.org_id);
    contract
        .check(elsewhere(Method::POST, &all).json(&json!({ "name": "x" })), 404)
        .await;
    for request in every_admin_call(cloud) {
        contract.check(basic(request), 401).await;
    }
}

#[tokio::test]
async fn every_answer_of_the_admin_api_is_one_that_its_document_has() {
    let Some(mut contract) = Contract::of(&ADMIN) else {
        return;
    };
    for cloud in clouds().await {
        admin_searches(&mut contract, &cloud).await;
        admin_roles(&mut contract, &cloud).await;
        admin_changes(&mut contract, &cloud).await;
        admin_errors(&mut contract, &cloud).await;
        for garbage in ["foreign", "no_email"] {
            let faults = json!({"admin_garbage": garbage, "suspended": true, "external": true, "hidden_emails": true});
            cloud.switch(faults).await;
            admin_searches(&mut contract, &cloud).await;
            admin_roles(&mut contract, &cloud).await;
        }
    }
    strangers(&mut contract, every_admin_call).await;
    hopeless(&mut contract, Some("admin_refused"), every_admin_call).await;
    contract.end();
}

#[tokio::test]
async fn every_answer_of_scim_is_one_that_its_document_has() {
    let Some(mut contract) = Contract::of(&SCIM) else {
        return;
    };
    for cloud in clouds().await {
        for faults in [
            json!({}),
            json!({"scim_garbage": true}),
            json!({"scim_unlinked": true, "external": true}),
        ] {
            cloud.switch(faults).await;
            for accept in ["application/json", "application/scim+json"] {
                let name = format!("userName eq {:?}", cloud.people[0].username);
                for parameters in [
                    &[][..],
                    &[("startIndex", "2"), ("count", "1")],
                    &[("startIndex", "999"), ("count", "999")],
                    &[("startIndex", "0"), ("count", "0")],
                    &[("filter", &name)],
                    &[("filter", "externalId eq \"X\"")],
                    &[("filter", "userName eq \"three \\\"3\\\"\"")],
                ] {
                    contract
                        .check(cloud.scim(parameters).header("accept", accept), 200)
                        .await;
                }
                for parameters in [&[("filter", "userName sw \"a\"")][..], &[("count", "many")]] {
                    contract
                        .check(cloud.scim(parameters).header("accept", accept), 400)
                        .await;
                }
            }
        }
        let elsewhere = cloud
            .bare(Method::GET, "/scim/directory/none/Users")
            .bearer_auth("scim-key");
        contract.check(elsewhere, 404).await;
        contract.check(basic(cloud.scim(&[])), 401).await;
    }
    strangers(&mut contract, |cloud| vec![cloud.scim(&[])]).await;
    hopeless(&mut contract, Some("scim_refused"), |cloud| vec![cloud.scim(&[])]).await;
    contract.end();
}

fn every_jira_call(cloud: &Cloud) -> Vec<RequestBuilder> {
    let paths = [
        "/user/search?query=u",
        "/users/search",
        "/group/member?groupId=x",
        "/user/bulk?accountId=x",
        "/myself",
    ];
    paths.map(|path| cloud.jira(path)).into()
}

#[tokio::test]
async fn every_answer_of_jira_is_one_that_its_document_has() {
    let Some(mut contract) = Contract::of(&JIRA) else {
        return;
    };
    for cloud in clouds().await {
        let group = cloud.group_id("confluence-users").await;
        let (one, two) = (cloud.account(0).to_owned(), cloud.account(1).to_owned());
        for faults in [
            json!({}),
            json!({"jira_garbage": "prefix", "hidden_emails": true}),
            json!({"jira_garbage": null, "suspended": true}),
        ] {
            cloud.switch(faults).await;
            for path in [
                "/user/search?query=",
                "/user/search?query=u&startAt=1&maxResults=2",
                "/user/search?query=one@example.com",
                &format!("/user/search?accountId={one}"),
                "/users/search",
                "/users/search?startAt=1&maxResults=9999",
                &format!("/group/member?groupId={group}"),
                &format!("/group/member?groupId={group}&includeInactiveUsers=true&startAt=1&maxResults=1"),
                &format!("/user/bulk?accountId={one}&accountId={two}&accountId=nobody&maxResults=1"),
                "/myself",
            ] {
                contract.check(cloud.jira(path), 200).await;
            }
        }
        for (path, status) in [
            ("/user/search", 400),
            ("/user/search?query=a&startAt=-1", 400),
            ("/users/search?maxResults=many", 400),
            ("/group/member", 400),
            ("/group/member?groupId=none", 404),
            ("/user/bulk", 400),
        ] {
            contract.check(cloud.jira(path), status).await;
        }
        cloud.switch(json!({ "jira_blind": true })).await;
        contract.check(cloud.jira("/user/search?query=u"), 200).await;
        contract.check(cloud.jira("/users/search"), 200).await;
        contract
            .check(cloud.jira(&format!("/group/member?groupId={group}")), 403)
            .await;
    }
    strangers(&mut contract, every_jira_call).await;
    hopeless(&mut contract, Some("jira_refused"), every_jira_call).await;
    contract.end();
}

#[tokio::test]
async fn every_answer_of_version_2_is_one_that_its_document_has() {
    let Some(mut contract) = Contract::of(&CONFLUENCE_V2) else {
        return;
    };
    let bulk = |cloud: &Cloud| {
        let request = cloud.bare(Method::POST, "/wiki/api/v2/users-bulk");
        request.basic_auth("a", Some("b"))
    };
    for cloud in clouds().await {
        let everybody: Vec<_> = cloud.people.iter().map(|person| &person.account_id).collect();
        contract
            .check(bulk(&cloud).json(&json!({ "accountIds": everybody })), 200)
            .await;
        contract
            .check(bulk(&cloud).json(&json!({ "accountIds": ["nobody"] })), 200)
            .await;
        contract
            .check(bulk(&cloud).json(&json!({ "accountIds": [] })), 400)
            .await;
        contract.check(bulk(&cloud).body("{}"), 415).await;
        let anonymous = cloud
            .bare(Method::POST, "/wiki/api/v2/users-bulk")
            .json(&json!({ "accountIds": ["x"] }));
        contract.check(anonymous, 401).await;
    }
    let every = |cloud: &Cloud| vec![bulk(cloud).json(&json!({ "accountIds": ["x"] }))];
    strangers(&mut contract, every).await;
    hopeless(&mut contract, None, every).await;
    contract.end();
}
