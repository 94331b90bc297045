//! The calls that change nothing.
use std::collections::BTreeSet;

use extender_facade::simulator::Options;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cloud::{Cloud, send};

pub fn names(page: &Value) -> Vec<&str> {
    page["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| group["name"].as_str().unwrap())
        .collect()
}

pub fn accounts(page: &Value) -> Vec<&str> {
    page["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| user["accountId"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn groups_are_listed_by_name_whatever_its_case_a_page_at_a_time() {
    let group = vec!["beta=1".parse().unwrap(), "Alpha=2".parse().unwrap()];
    let cloud = Cloud::start(Options {
        groups: 2,
        group,
        ..Options::default()
    })
    .await;
    let first = cloud.get("/group?limit=4").await.json();
    assert_eq!(
        names(&first),
        ["Alpha", "beta", "confluence-administrators", "confluence-users"]
    );
    assert_eq!(
        (&first["start"], &first["limit"], &first["size"]),
        (&json!(0), &json!(4), &json!(4))
    );
    assert_eq!(first["_links"]["next"], "/rest/api/group?start=4&limit=4");
    assert!(first.get("totalSize").is_none());
    let next = first["_links"]["next"]
        .as_str()
        .unwrap()
        .strip_prefix("/rest/api")
        .unwrap()
        .to_owned();
    let second = cloud.get(&next).await.json();
    assert_eq!(names(&second), ["group-00001", "group-00002", "site-admins"]);
    assert!(second["_links"].get("next").is_none());
    assert_eq!(cloud.get("/group?limit=1000").await.json()["limit"], 200);
}

#[tokio::test]
async fn the_picker_finds_what_contains_the_query_ignoring_case() {
    let cloud = Cloud::start(Options {
        group: vec!["My Users=1".parse().unwrap()],
        ..Options::default()
    })
    .await;
    let found = cloud
        .get("/group/picker?query=USERS&shouldReturnTotalSize=true")
        .await
        .json();
    assert_eq!(names(&found), ["confluence-users", "My Users"]);
    assert_eq!(found["totalSize"], 2);
    let page = cloud.get("/group/picker?query=users&limit=1").await.json();
    assert!(page.get("totalSize").is_none());
    assert_eq!(
        page["_links"]["next"],
        "/rest/api/group/picker?query=users&start=1&limit=1"
    );
    assert_eq!(cloud.get("/group/picker?query=").await.json()["size"], 4);
}

#[tokio::test]
async fn a_group_is_found_by_its_id_alone() {
    let cloud = Cloud::start(Options::default()).await;
    let id = cloud.group_id("site-admins").await;
    let group = cloud.get(&format!("/group/by-id?id={id}")).await.json();
    assert_eq!((&group["name"], &group["id"]), (&json!("site-admins"), &json!(id)));
    assert_eq!(
        (&group["managedBy"], &group["usageType"]),
        (&json!("ADMINS"), &json!("USERBASE_GROUP"))
    );
    assert_eq!(cloud.get("/group/by-id?id=site-admins").await.status, 404);
}

#[tokio::test]
async fn generated_data_is_what_the_documentation_says() {
    let group = vec!["a=b=2".parse().unwrap()];
    let cloud = Cloud::start(Options {
        users: 50,
        groups: 3,
        group,
        ..Options::default()
    })
    .await;
    let first = &cloud.people[0];
    assert_eq!(
        (first.username.as_str(), first.email.as_str()),
        ("user000001", "user000001@example.com")
    );
    assert!(
        first.key.len() == 32 && first.key.bytes().all(|digit| digit.is_ascii_hexdigit()),
        "{}",
        first.key
    );
    assert_eq!(
        cloud
            .people
            .iter()
            .map(|person| &person.account_id)
            .collect::<BTreeSet<_>>()
            .len(),
        50
    );
    assert_eq!(
        cloud
            .people
            .iter()
            .map(|person| &person.key)
            .collect::<BTreeSet<_>>()
            .len(),
        50
    );
    let ids = |range: std::ops::Range<usize>| {
        cloud.people[range]
            .iter()
            .map(|it| it.account_id.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(cloud.truth("confluence-users").await, ids(0..50));
    assert_eq!(cloud.truth("confluence-administrators").await, ids(0..3));
    assert_eq!(cloud.truth("site-admins").await, ids(0..3));
    assert_eq!(cloud.truth("a=b").await, ids(0..2));
    assert_eq!(cloud.truth("group-00002").await, ids(20..40));
    assert_eq!(cloud.truth("group-00003").await.len(), 20);
}

#[tokio::test]
async fn hidden_emails_are_empty_and_nothing_else_is() {
    let cloud = Cloud::start(Options::default()).await;
    let path = format!("/user?accountId={}", cloud.account(0));
    let shown = cloud.get(&path).await.json();
    assert_eq!(shown["email"], "user000001@example.com");
    cloud.switch(json!({ "hidden_emails": true })).await;
    let hidden = cloud.get(&path).await.json();
    assert_eq!(hidden["email"], "");
    assert_eq!(
        (&hidden["displayName"], &hidden["accountId"]),
        (&shown["displayName"], &shown["accountId"])
    );
}

#[tokio::test]
async fn a_users_groups_are_sorted_and_paged() {
    let cloud = Cloud::start(Options {
        group: vec!["Audit=1".parse().unwrap()],
        ..Options::default()
    })
    .await;
    let groups = cloud
        .get(&format!("/user/memberof?accountId={}", cloud.account(0)))
        .await
        .json();
    assert_eq!(
        names(&groups),
        ["Audit", "confluence-administrators", "confluence-users", "site-admins"]
    );
    let page = cloud
        .get(&format!(
            "/user/memberof?accountId={}&start=1&limit=2",
            cloud.account(0)
        ))
        .await
        .json();
    assert_eq!(names(&page), ["confluence-administrators", "confluence-users"]);
    assert!(page["_links"].get("next").is_some());
    assert_eq!(cloud.get("/user/memberof?accountId=nobody").await.status, 404);
}

#[tokio::test]
async fn a_bulk_look_up_understands_the_form_it_is_told_to_and_the_first_hundred() {
    let cloud = Cloud::start(Options {
        users: 150,
        ..Options::default()
    })
    .await;
    let comma = format!("/user/bulk?accountId={},nobody,{}", cloud.account(0), cloud.account(1));
    let repeated = format!(
        "/user/bulk?accountId={}&accountId={}",
        cloud.account(0),
        cloud.account(1)
    );
    let expected = [
        (json!(null), 2, 2),
        (json!("comma"), 2, 1),
        (json!("repeated"), 0, 2),
        (json!("both"), 2, 2),
    ];
    for (form, by_comma, by_repetition) in expected {
        cloud.switch(json!({ "bulk": form })).await;
        assert_eq!(cloud.get(&comma).await.json()["size"], by_comma, "{form}");
        assert_eq!(cloud.get(&repeated).await.json()["size"], by_repetition, "{form}");
    }
    let all: Vec<_> = cloud.people.iter().map(|person| person.account_id.as_str()).collect();
    let page = cloud
        .get(&format!("/user/bulk?accountId={}", all.join(",")))
        .await
        .json();
    assert_eq!(accounts(&page), all[..100]);
}

#[tokio::test]
async fn the_current_user_is_the_credentials_owner_or_the_first() {
    let cloud = Cloud::start(Options::default()).await;
    assert_eq!(cloud.get("/user/current").await.json()["accountId"], cloud.account(0));
    let request = cloud.bare(Method::GET, "/wiki/rest/api/user/current");
    let reply = send(request.basic_auth("USER000007@example.com", Some("x"))).await;
    assert_eq!(reply.json()["accountId"], cloud.account(6));
}

#[tokio::test]
async fn the_same_seed_is_the_same_cloud() {
    let mut lists = Vec::new();
    for seed in [1, 1, 2] {
        let cloud = Cloud::start(Options {
            seed,
            groups: 3,
            ..Options::default()
        })
        .await;
        let groups = cloud.get("/group").await.json();
        let ids: Vec<_> = groups["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["id"].to_string())
            .collect();
        let tenant = send(cloud.bare(Method::GET, "/_edge/tenant_info")).await.json()["cloudId"].to_string();
        lists.push((cloud.people.clone(), ids, tenant));
    }
    assert_eq!(lists[0], lists[1]);
    assert!(lists[0].0 != lists[2].0 && lists[0].1 != lists[2].1 && lists[0].2 != lists[2].2);
}

#[tokio::test]
async fn a_data_file_takes_the_place_of_everything_generated() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let data = json!({
        "users": [
            {"accountId": "712020:a", "displayName": "Ann", "email": "ann@example.com", "emailHidden": true,
             "username": "ann", "key": "k1"},
            {"accountId": "712020:b", "status": "suspended"},
            {"accountId": "712020:c", "accountType": "app"},
        ],
        "groups": [
            {"name": "g", "id": "id-g", "managedBy": "EXTERNAL", "usageType": "TEAM_COLLABORATION",
             "members": ["712020:c", "712020:b", "712020:a"]},
            {"name": "G"},
        ],
    });
    std::fs::write(file.path(), data.to_string()).unwrap();
    let cloud = Cloud::start(Options {
        data: Some(file.path().to_owned()),
        ..Options::default()
    })
    .await;
    assert_eq!(
        (cloud.people[0].username.as_str(), cloud.people[0].key.as_str()),
        ("ann", "k1")
    );
    let group = cloud.get("/group/by-id?id=id-g").await.json();
    assert_eq!(
        (&group["managedBy"], &group["usageType"]),
        (&json!("EXTERNAL"), &json!("TEAM_COLLABORATION"))
    );
    let page = cloud
        .get("/group/id-g/membersByGroupId?shouldReturnTotalSize=true")
        .await
        .json();
    assert_eq!(accounts(&page), ["712020:c", "712020:a"]);
    assert_eq!(page["totalSize"], 2);
    assert_eq!(
        (&page["results"][0]["accountType"], &page["results"][1]["email"]),
        (&json!("app"), &json!(""))
    );
    cloud.switch(json!({ "suspended": "counted" })).await;
    let page = cloud
        .get("/group/id-g/membersByGroupId?shouldReturnTotalSize=true")
        .await
        .json();
    assert_eq!((&page["size"], &page["totalSize"]), (&json!(2), &json!(3)));
    assert_eq!(names(&cloud.get("/group").await.json()), ["G", "g"]);
}
