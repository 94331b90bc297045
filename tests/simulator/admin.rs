//! The organisation's Admin API: searches, changes, and how it misbehaves.
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use extender_facade::simulator::Options;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cloud::{Cloud, faults, send, try_send};

/// A Cloud of the users and groups of this data file.
pub async fn told(data: &Value) -> Cloud {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), data.to_string()).unwrap();
    Cloud::start(Options {
        data: Some(file.path().to_owned()),
        ..Options::default()
    })
    .await
}

pub fn column<'a>(page: &'a Value, field: &str) -> Vec<&'a str> {
    let rows = page["data"].as_array().unwrap_or_else(|| panic!("{page}"));
    rows.iter().map(|row| row[field].as_str().unwrap()).collect()
}

/// Every row of a search, page by page as the cursors lead.
async fn all(cloud: &Cloud, what: &str, mut body: Value) -> Vec<Value> {
    let mut rows = Vec::new();
    loop {
        let page = cloud.admin_search(what, body.clone()).await.json();
        rows.extend(page["data"].as_array().unwrap_or_else(|| panic!("{page}")).clone());
        match page["links"]["next"].as_str() {
            Some(next) => body["cursor"] = next.into(),
            None => return rows,
        }
    }
}

#[tokio::test]
async fn addresses_find_everybody_who_has_them_whatever_case_or_visibility() {
    let cloud = told(&json!({"users": [
        {"accountId": "a", "email": "One@example.com", "emailHidden": true, "displayName": "Ann"},
        {"accountId": "b", "email": "one@EXAMPLE.com"},
        {"accountId": "c", "email": "two@example.com", "status": "suspended"},
        {"accountId": "d", "email": "three@example.com", "status": "deactivated"},
        {"accountId": "e", "email": "bot@example.com", "accountType": "app"},
        {"accountId": "f", "email": "customer@example.com", "accountType": "customer"},
    ]}))
    .await;
    let emails = [
        "ONE@example.com",
        "two@example.com",
        "three@example.com",
        "bot@example.com",
        "customer@example.com",
    ];
    let page = cloud.admin_search("users", json!({ "emails": emails })).await.json();
    assert_eq!(column(&page, "accountId"), ["a", "b", "c", "d"]);
    assert_eq!(
        column(&page, "status"),
        ["active", "active", "suspended", "deactivated"]
    );
    assert_eq!(
        column(&page, "accountStatus"),
        ["active", "active", "active", "inactive"]
    );
    assert_eq!(
        column(&page, "membershipStatus"),
        ["active", "active", "suspended", "active"]
    );
    assert_eq!(page["data"][0]["email"], "One@example.com");
    assert_eq!(page["data"][0]["name"], "Ann");
    assert!(page["links"].get("next").is_none());
    // What the data file does not tell is not there.
    assert!(page["data"][0].get("jobTitle").is_none());
    let part = json!({"emails": ["one@example.co", "ne@example.com"]});
    assert_eq!(cloud.admin_search("users", part).await.json()["data"], json!([]));
    let both = json!({"emails": emails, "status": ["suspended"], "accountIds": ["a", "c"]});
    assert_eq!(
        column(&cloud.admin_search("users", both).await.json(), "accountId"),
        ["c"]
    );
    let term = json!({"searchTerm": "TWO@"});
    assert_eq!(
        column(&cloud.admin_search("users", term).await.json(), "accountId"),
        ["c"]
    );
}

#[tokio::test]
async fn everybody_is_listed_in_pages_of_fifty_unless_told_otherwise() {
    let cloud = Cloud::start(Options {
        users: 230,
        ..Options::default()
    })
    .await;
    let first = cloud.admin_search("users", json!({})).await.json();
    assert_eq!(first["data"].as_array().unwrap().len(), 50);
    let rows = all(&cloud, "users", json!({ "limit": 100 })).await;
    let ids: BTreeSet<_> = rows.iter().map(|row| row["accountId"].as_str().unwrap()).collect();
    assert_eq!((rows.len(), ids.len()), (230, 230));
    assert!(
        rows.iter()
            .all(|row| row["jobTitle"].is_string() && row["addedToOrg"].is_string())
    );
    let stats = cloud.stats().await;
    assert_eq!(stats["by_operation"]["admin_search_users"], 4);
    // A cursor of one search is none of another.
    let next = &first["links"]["next"];
    for (what, body) in [
        ("users", json!({"cursor": next, "status": ["active"]})),
        ("groups", json!({ "cursor": next })),
    ] {
        assert_eq!(cloud.admin_search(what, body).await.status, 400);
    }
    let back = cloud
        .admin_search("users", json!({"cursor": next, "limit": 100}))
        .await
        .json();
    let again = json!({"cursor": back["links"]["prev"]});
    assert_eq!(
        cloud.admin_search("users", again).await.json()["data"][0],
        first["data"][0]
    );
}

#[tokio::test]
async fn a_search_without_sense_is_refused_in_the_apis_own_words() {
    let cloud = Cloud::start(Options::default()).await;
    let many = |count: usize| {
        (0..count)
            .map(|place| format!("{place}@example.com"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        cloud.admin_search("users", json!({"emails": many(100)})).await.status,
        200
    );
    for (what, body) in [
        ("users", json!({"emails": []})),
        ("users", json!({"emails": many(101)})),
        ("users", json!({"emails": ["a@b", "a@b"]})),
        ("users", json!({"emails": "a@b"})),
        ("users", json!({"emails": ["a@b"], "searchTerm": "a"})),
        ("users", json!({"accountIds": many(11)})),
        ("users", json!({"groupIds": many(11)})),
        ("users", json!({"status": ["gone"]})),
        ("users", json!({"expand": ["everything"]})),
        ("users", json!({"limit": 0})),
        ("users", json!({"limit": 101})),
        ("users", json!({"email": ["a@b"]})),
        ("groups", json!({"groupNames": many(101)})),
        ("groups", json!({"groupNames": ["a"], "groupIds": ["b"]})),
        ("groups", json!({"groupNames": ["a"], "searchTerm": "b"})),
        ("groups", json!({"groupIds": many(11)})),
    ] {
        let refused = cloud.admin_search(what, body.clone()).await;
        assert_eq!(refused.status, 400, "{body}");
        let error = refused.json()["errors"][0].clone();
        assert_eq!(error["status"], "400");
        assert!(
            ["id", "code", "title", "detail"]
                .iter()
                .all(|field| error[field].is_string()),
            "{error}"
        );
    }
    let org = |org: &str| format!("/admin/v2/orgs/{org}/directories/-/users/search");
    let ask = |path: String| cloud.bare(Method::POST, &path).json(&json!({}));
    assert_eq!(send(ask(org("none")).bearer_auth("k")).await.status, 404);
    assert_eq!(
        send(ask(org(&cloud.org_id)).basic_auth("a", Some("b"))).await.status,
        401
    );
    assert_eq!(send(ask(org(&cloud.org_id))).await.status, 401);
    let elsewhere = format!("/admin/v2/orgs/{}/directories/none/users/search", cloud.org_id);
    assert_eq!(send(ask(elsewhere).bearer_auth("k")).await.status, 404);
}

#[tokio::test]
async fn what_is_expanded_is_told_and_nothing_else() {
    let cloud = told(&json!({
        "users": [
            {"accountId": "a", "lastActive": "2026-10-01T00:00:00Z", "jobTitle": "Editor", "department": "Sales",
             "location": "Oslo", "addedToOrg": "2020-01-01T00:00:00.000Z"},
            {"accountId": "b"},
        ],
        "groups": [{"name": "g", "id": "g1", "members": ["a"]}],
    }))
    .await;
    let plain = cloud.admin_search("users", json!({})).await.json()["data"][0].clone();
    for field in ["productAccess", "groups", "platformRoles", "counts"] {
        assert!(plain.get(field).is_none(), "{field}");
    }
    for (field, value) in [
        ("jobTitle", "Editor"),
        ("department", "Sales"),
        ("location", "Oslo"),
        ("addedToOrg", "2020-01-01T00:00:00.000Z"),
    ] {
        assert_eq!(plain[field], value);
    }
    let expand = json!({"expand": ["productAccess", "groups", "counts.resources", "platformRoles"]});
    let rows = cloud.admin_search("users", expand).await.json()["data"].clone();
    let active = |row: &Value| {
        let products = row["productAccess"].as_array().unwrap();
        let confluence = products.iter().find(|product| product["key"] == "confluence").unwrap();
        confluence.get("lastActiveTimestamp").cloned()
    };
    assert_eq!(active(&rows[0]), Some(json!("2026-10-01T00:00:00Z")));
    assert_eq!(active(&rows[1]), None);
    assert_eq!(
        rows[0]["groups"],
        json!([{"id": "g1", "name": "g", "description": null}])
    );
    let one = send(cloud.admin(Method::GET, "/users/a")).await.json();
    assert_eq!(one["data"]["accountId"], "a");
}

#[tokio::test]
async fn groups_are_those_of_the_site_with_what_may_be_done_to_them() {
    let cloud = Cloud::start(Options {
        groups: 30,
        fault: vec!["external".parse().unwrap(), "suspended".parse().unwrap()],
        ..Options::default()
    })
    .await;
    let body = json!({"groupNames": ["CONFLUENCE-users", "group-00010", "nothing"], "expand": ["counts.users"]});
    let page = cloud.admin_search("groups", body).await.json();
    assert_eq!(column(&page, "name"), ["confluence-users", "group-00010"]);
    assert_eq!(page["data"][0]["id"], cloud.group_id("confluence-users").await.as_str());
    assert_eq!(page["data"][0]["directoryId"], cloud.directory_id.as_str());
    // Everybody counts, whether suspended or not.
    assert_eq!(page["data"][0]["counts"], json!({"users": 100}));
    let access = |row: usize| page["data"][row]["managementAccess"].clone();
    assert_eq!(
        access(0),
        json!({"readable": true, "modifiable": true, "deletable": false})
    );
    assert_eq!(
        access(1),
        json!({"readable": true, "modifiable": false, "deletable": false})
    );
    assert_eq!(
        (&page["data"][1]["externalSynced"], &page["data"][1]["managedBy"]),
        (&json!(true), &json!("external"))
    );
    assert_eq!(
        cloud.admin_search("groups", json!({})).await.json()["data"]
            .as_array()
            .unwrap()
            .len(),
        20
    );
    assert_eq!(all(&cloud, "groups", json!({})).await.len(), 33);
    let of_user = json!({"accountIds": [cloud.account(0)], "searchTerm": "admin"});
    let page = cloud.admin_search("groups", of_user).await.json();
    assert_eq!(column(&page, "name"), ["confluence-administrators", "site-admins"]);
    let id = cloud.group_id("group-00010").await;
    let add = cloud.admin(Method::POST, &format!("/groups/{id}/memberships"));
    assert_eq!(
        send(add.json(&json!({"accountId": cloud.account(50)}))).await.status,
        403
    );
    assert_eq!(
        send(cloud.admin(Method::DELETE, &format!("/groups/{id}"))).await.status,
        403
    );
}

#[tokio::test]
async fn a_change_through_the_admin_api_is_seen_everywhere() {
    let cloud = Cloud::start(Options::default()).await;
    let create = || {
        cloud
            .admin(Method::POST, "/groups")
            .json(&json!({"name": "New", "description": "why"}))
    };
    let created = send(create()).await;
    assert_eq!((created.status, created.body.len()), (201, 0));
    assert_eq!(send(create()).await.status, 409);
    let found = cloud
        .admin_search("groups", json!({"groupNames": ["new"]}))
        .await
        .json();
    assert_eq!(found["data"][0]["description"], "why");
    let id = found["data"][0]["id"].as_str().unwrap();
    assert_eq!(cloud.group_id("New").await, id);
    let add = |place: usize| {
        let request = cloud.admin(Method::POST, &format!("/groups/{id}/memberships"));
        request.json(&json!({"accountId": cloud.account(place)}))
    };
    let remove = |place: usize| {
        cloud.admin(
            Method::DELETE,
            &format!("/groups/{id}/memberships/{}", cloud.account(place)),
        )
    };
    assert_eq!(send(add(4)).await.status, 204);
    assert_eq!(cloud.truth("New").await, [cloud.account(4)]);
    let again = send(add(4)).await;
    assert_eq!(
        (again.status, &again.json()["errors"][0]["code"]),
        (409, &json!("ADMIN-409-28"))
    );
    cloud.switch(json!({ "seats": 0 })).await;
    let full = send(add(5)).await;
    assert_eq!(
        (full.status, &full.json()["errors"][0]["code"]),
        (409, &json!("ADMIN-409-3"))
    );
    assert!(full.text().contains("user limit") && again.text().contains("already a member"));
    assert_eq!(send(remove(4)).await.status, 204);
    assert_eq!(send(remove(4)).await.status, 404);
    let everywhere = format!("/admin/v2/orgs/{}/directories/-/groups/{id}", cloud.org_id);
    assert_eq!(
        send(cloud.bare(Method::DELETE, &everywhere).bearer_auth("k"))
            .await
            .status,
        404
    );
    assert_eq!(
        send(cloud.admin(Method::DELETE, &format!("/groups/{id}"))).await.status,
        204
    );
    assert_eq!(cloud.get(&format!("/group/by-id?id={id}")).await.status, 404);
    let default = cloud.group_id("site-admins").await;
    assert_eq!(
        send(cloud.admin(Method::DELETE, &format!("/groups/{default}")))
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn it_fails_by_itself_in_every_way_that_is_switched_on() {
    let cloud = Cloud::start(faults(&["admin_429=1", "retry_after=zero"])).await;
    let address = cloud.people[7].email.clone();
    let ask = async || cloud.admin_search("users", json!({ "emails": [address] })).await;
    let limited = ask().await;
    assert_eq!((limited.status, limited.header("retry-after")), (429, Some("0")));
    assert_eq!(limited.json()["code"], 429);
    assert_eq!(ask().await.status, 200);
    cloud.switch(json!({ "admin_429": 2 })).await;
    assert_eq!(
        (ask().await.status, ask().await.status, ask().await.status),
        (429, 429, 200)
    );
    for (fault, status) in [
        (json!({ "admin_down": true }), 503),
        (json!({"admin_down": null, "admin_refused": 403}), 403),
        (json!({"admin_refused": 401}), 401),
    ] {
        cloud.switch(fault.clone()).await;
        assert_eq!(ask().await.status, status, "{fault}");
        assert_eq!(cloud.get("/group").await.status, 200);
    }
    cloud
        .switch(json!({"admin_refused": null, "admin_garbage": "empty"}))
        .await;
    assert_eq!(ask().await.json(), json!({}));
    cloud.switch(json!({"admin_garbage": "foreign"})).await;
    let page = ask().await.json();
    assert_eq!(page["data"].as_array().unwrap().len(), 3);
    assert_eq!(page["data"][2]["email"], address.as_str());
    cloud.switch(json!({"admin_garbage": "no_email"})).await;
    let page = ask().await.json();
    assert_eq!(page["data"][0]["accountId"], cloud.account(7));
    assert!(page["data"][0].get("email").is_none());
    cloud.switch(json!({"admin_garbage": "truncated"})).await;
    assert!(serde_json::from_slice::<Value>(&ask().await.body).is_err());
    cloud.switch(json!({"admin_garbage": null, "admin_slow_ms": 80})).await;
    let start = Instant::now();
    assert_eq!(ask().await.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(80));
    // What befalls every answer befalls these.
    cloud.switch(json!({"admin_slow_ms": null, "cut": 1})).await;
    let path = format!("/admin/v1/orgs/{}", cloud.org_id);
    assert!(try_send(cloud.bare(Method::GET, &path).bearer_auth("k")).await.is_err());
    cloud.switch(json!({"cut": null, "rate": 0.001, "burst": 1})).await;
    assert_eq!((ask().await.status, ask().await.status), (200, 429));
}

#[tokio::test]
async fn what_a_group_gives_is_told_in_its_own_directory_alone() {
    let cloud = Cloud::start(Options {
        groups: 1,
        ..Options::default()
    })
    .await;
    let everybody = cloud.group_id("confluence-users").await;
    let other = cloud.group_id("group-00001").await;
    let ask = async |path: String| send(cloud.admin(Method::GET, &format!("/groups/{path}"))).await;
    let roles = async |id: &str| {
        let page = ask(format!("{id}/role-assignments?limit=100")).await.json();
        assert!(page["links"].get("next").is_none(), "{page}");
        let rows = page["data"].as_array().unwrap().iter();
        rows.map(|row| format!("{} {}", row["resourceOwner"].as_str().unwrap(), row["roles"]))
            .collect::<Vec<_>>()
    };
    let gives = ["jira-software [\"atlassian/user\"]", "confluence [\"atlassian/user\"]"];
    assert_eq!(roles(&other).await, gives);
    for (fault, rows) in [("none", 0), ("powerless", 2)] {
        cloud.switch(json!({ "admin_roles": fault })).await;
        let told = roles(&other).await;
        assert_eq!(told.len(), rows);
        assert!(!told.contains(&gives[1].to_owned()), "{told:?}");
        assert_eq!(roles(&everybody).await, gives);
        let counted = json!({"groupIds": [other], "expand": ["counts.resources"]});
        let page = cloud.admin_search("groups", counted).await.json();
        assert_eq!(page["data"][0]["counts"], json!({ "resources": rows }));
    }
    cloud.switch(json!({ "admin_roles": "many" })).await;
    let first = ask(format!("{other}/role-assignments?limit=100")).await.json();
    assert!(!first["data"].to_string().contains("confluence"));
    let next = first["links"]["next"].as_str().unwrap();
    let last = ask(format!("{other}/role-assignments?cursor={next}&limit=100"))
        .await
        .json();
    assert_eq!(last["data"].as_array().unwrap().len(), 31);
    assert!(last["data"][30].to_string().contains("confluence"));
    // A cursor is good for its own group alone.
    assert_eq!(
        ask(format!("{everybody}/role-assignments?cursor={next}")).await.status,
        400
    );
    assert_eq!(ask("none/role-assignments".to_owned()).await.status, 404);
    assert_eq!(
        ask(format!("{other}/role-assignments?resourceOwners=confluence"))
            .await
            .status,
        400
    );
    let anywhere = format!(
        "/admin/v2/orgs/{}/directories/-/groups/{other}/role-assignments",
        cloud.org_id
    );
    assert_eq!(
        send(cloud.bare(Method::GET, &anywhere).bearer_auth("k")).await.status,
        404
    );
}
