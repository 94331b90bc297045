//! Jira's users and groups.
use extender_facade::simulator::Options;
use reqwest::Method;
use serde_json::{Value, json};

use crate::admin::told;
use crate::cloud::{Cloud, faults, send};

async fn get(cloud: &Cloud, path: &str) -> Value {
    let reply = send(cloud.jira(path)).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    reply.json()
}

fn accounts(rows: &Value) -> Vec<&str> {
    let rows = rows.as_array().unwrap();
    rows.iter().map(|row| row["accountId"].as_str().unwrap()).collect()
}

async fn world() -> Cloud {
    told(&json!({
        "users": [
            {"accountId": "a", "displayName": "Ann Önder", "email": "ann@example.com"},
            {"accountId": "b", "displayName": "Bo von Ann", "email": "hidden@example.com", "emailHidden": true},
            {"accountId": "c", "displayName": "Cy", "email": "ann@example.com.au", "status": "suspended"},
            {"accountId": "d", "displayName": "Ann's bot", "accountType": "app"},
            {"accountId": "e", "displayName": "Hid", "email": "hidden@example.com.au"},
        ],
        "groups": [{"name": "g", "id": "g1", "members": ["a", "c", "d"]}],
    }))
    .await
}

#[tokio::test]
async fn a_search_finds_active_people_by_the_beginning_of_a_word_or_of_a_visible_address() {
    let cloud = world().await;
    for (query, expected) in [
        ("ann", &["a", "b", "d"][..]),
        ("ANN@example.com", &["a"]),
        ("önd", &["a"]),
        ("nn", &[]),
        ("cy", &[]),
        ("hidden", &["e"]),
        ("hidden@example.com", &["b", "e"]),
        ("HIDDEN@example.co", &["e"]),
        ("hid", &["e"]),
    ] {
        let request = cloud.jira("/user/search").query(&[("query", query)]);
        assert_eq!(accounts(&send(request).await.json()), expected, "{query}");
    }
    let hidden = get(&cloud, "/user/search?query=hidden@example.com").await;
    assert!(hidden[0].get("emailAddress").is_none());
    assert_eq!(hidden[1]["emailAddress"], "hidden@example.com.au");
    let page = get(&cloud, "/user/search?query=ann&startAt=1&maxResults=1").await;
    assert_eq!(accounts(&page), ["b"]);
    assert_eq!(get(&cloud, "/user/search?query=bot").await[0]["accountType"], "app");
    assert_eq!(accounts(&get(&cloud, "/user/search?accountId=a").await), ["a"]);
    let refused = send(cloud.jira("/user/search")).await;
    assert_eq!(refused.status, 400);
    assert!(refused.json()["errorMessages"][0].is_string() && refused.json()["errors"].is_object());
}

#[tokio::test]
async fn everybody_is_listed_with_blanks_for_hidden_addresses() {
    let cloud = world().await;
    let rows = get(&cloud, "/users/search?maxResults=1000").await;
    assert_eq!(accounts(&rows), ["a", "b", "c", "d", "e"]);
    assert_eq!(
        (&rows[1]["emailAddress"], &rows[2]["active"]),
        (&json!(""), &json!(false))
    );
    let cloud = Cloud::start(Options {
        users: 1_200,
        ..Options::default()
    })
    .await;
    for (paging, served) in [
        ("", 50),
        ("?maxResults=5000", 1_000),
        ("?startAt=1000&maxResults=1000", 200),
        ("?startAt=1200", 0),
    ] {
        let rows = get(&cloud, &format!("/users/search{paging}")).await;
        assert_eq!(rows.as_array().unwrap().len(), served, "{paging}");
    }
    // A search goes no further than the thousandth.
    let rows = get(&cloud, "/user/search?query=user&startAt=990&maxResults=100").await;
    assert_eq!(rows.as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn members_are_paged_by_fifty_with_the_inactive_on_demand() {
    let cloud = world().await;
    assert_eq!(
        accounts(&get(&cloud, "/group/member?groupId=g1").await["values"]),
        ["a", "d"]
    );
    let all = get(&cloud, "/group/member?groupId=g1&includeInactiveUsers=true").await;
    assert_eq!(accounts(&all["values"]), ["a", "c", "d"]);
    assert_eq!(send(cloud.jira("/group/member?groupId=none")).await.status, 404);
    assert_eq!(send(cloud.jira("/group/member")).await.status, 400);
    let cloud = Cloud::start(Options {
        users: 120,
        ..Options::default()
    })
    .await;
    let mut path = format!(
        "/group/member?groupId={}&maxResults=100",
        cloud.group_id("confluence-users").await
    );
    let mut sizes = Vec::new();
    loop {
        let page = get(&cloud, &path).await;
        sizes.push(page["values"].as_array().unwrap().len());
        assert_eq!((&page["total"], &page["maxResults"]), (&json!(120), &json!(50)));
        assert_eq!(page["isLast"], page.get("nextPage").is_none());
        match page["nextPage"].as_str() {
            Some(next) => path = next.split_once("/rest/api/3").unwrap().1.to_owned(),
            None => break,
        }
    }
    assert_eq!(sizes, [50, 50, 20]);
}

#[tokio::test]
async fn it_is_reached_at_the_site_and_by_its_own_gateway_path() {
    let cloud = world().await;
    let id = send(cloud.bare(Method::GET, "/_edge/tenant_info")).await.json()["cloudId"]
        .as_str()
        .unwrap()
        .to_owned();
    let at = |product: &str| cloud.bare(Method::GET, &format!("/ex/{product}/{id}/rest/api/3/myself"));
    assert_eq!(send(at("jira").bearer_auth("t")).await.status, 200);
    assert_eq!(send(at("jira").basic_auth("a", Some("b"))).await.status, 200);
    assert_eq!(send(at("confluence").bearer_auth("t")).await.status, 403);
    let site = || cloud.bare(Method::GET, "/rest/api/3/myself");
    assert_eq!(send(site()).await.status, 401);
    assert_eq!(send(site().bearer_auth("t")).await.status, 403);
    let own = send(site().basic_auth("hidden@example.com", Some("t"))).await.json();
    assert_eq!(own["accountId"], "b");
    let some = get(&cloud, "/user/bulk?accountId=a&accountId=c&accountId=none").await;
    assert_eq!(accounts(&some["values"]), ["a", "c"]);
}

#[tokio::test]
async fn it_fails_by_itself_in_every_way_that_is_switched_on() {
    let cloud = Cloud::start(faults(&["jira_down"])).await;
    let address = cloud.people[7].email.clone();
    let ask = async || send(cloud.jira(&format!("/user/search?query={address}"))).await;
    assert_eq!(ask().await.status, 503);
    for status in [401, 403] {
        cloud.switch(json!({"jira_down": null, "jira_refused": status})).await;
        assert_eq!(ask().await.status, status);
    }
    assert_eq!(cloud.get("/group").await.status, 200);
    cloud.switch(json!({"jira_refused": null, "jira_blind": true})).await;
    assert_eq!((ask().await.status, ask().await.json()), (200, json!([])));
    assert_eq!(get(&cloud, "/users/search").await, json!([]));
    cloud
        .switch(json!({"jira_blind": null, "jira_garbage": "prefix"}))
        .await;
    let rows = ask().await.json();
    assert_eq!(accounts(&rows).len(), 6);
    assert_eq!(accounts(&rows)[5], cloud.account(7));
    let stats = cloud.stats().await;
    assert_eq!(stats["by_operation"]["jira_find_user"], 6);
    assert_eq!(stats["by_operation"]["jira_list_users"], 1);
}
