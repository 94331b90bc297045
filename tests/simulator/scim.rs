//! User provisioning.
use extender_facade::simulator::Options;
use reqwest::Method;
use serde_json::{Value, json};

use crate::admin::told;
use crate::cloud::{Cloud, faults, send};

const ATLASSIAN: &str = "urn:scim:schemas:extension:atlassian-external:1.0";

async fn page(cloud: &Cloud, parameters: &[(&str, &str)]) -> Value {
    let reply = send(cloud.scim(parameters)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

fn accounts(page: &Value) -> Vec<&str> {
    let rows = page["Resources"].as_array().unwrap();
    rows.iter()
        .map(|row| row[ATLASSIAN]["atlassianAccountId"].as_str().unwrap_or("none"))
        .collect()
}

#[tokio::test]
async fn a_generated_user_is_provisioned_under_username_and_key() {
    let cloud = Cloud::start(Options::default()).await;
    let person = &cloud.people[3];
    for filter in [
        format!("userName eq {:?}", person.username.to_uppercase()),
        format!("externalId eq {:?}", person.key),
    ] {
        let found = page(&cloud, &[("filter", &filter)]).await;
        assert_eq!(accounts(&found), [person.account_id.as_str()], "{filter}");
        let row = &found["Resources"][0];
        assert_eq!(row["userName"], person.username.as_str());
        assert_eq!(row["externalId"], person.key.as_str());
        assert_eq!(row["emails"][0]["value"], person.email.as_str());
        assert_eq!(row["active"], true);
        assert_eq!(
            (&found["totalResults"], &found["itemsPerPage"], &found["startIndex"]),
            (&json!(1), &json!(1), &json!(1))
        );
    }
    let upper = format!("externalId eq {:?}", person.key.to_uppercase());
    for filter in ["userName eq \"user\"", "userName eq \"\"", upper.as_str()] {
        assert_eq!(page(&cloud, &[("filter", filter)]).await["totalResults"], 0, "{filter}");
    }
}

#[tokio::test]
async fn everybody_is_paged_from_one_on_a_hundred_at_most() {
    let cloud = Cloud::start(Options {
        users: 250,
        ..Options::default()
    })
    .await;
    let mut seen = Vec::new();
    let mut start = 1;
    loop {
        let page = page(&cloud, &[("startIndex", &start.to_string()), ("count", "1000")]).await;
        assert_eq!(page["totalResults"], 250);
        let served = page["itemsPerPage"].as_u64().unwrap();
        if served == 0 {
            break;
        }
        assert!(served <= 100);
        start += served;
        seen.extend(accounts(&page).into_iter().map(str::to_owned));
    }
    let expected: Vec<_> = cloud.people.iter().map(|person| person.account_id.clone()).collect();
    assert_eq!(seen, expected);
    assert_eq!(page(&cloud, &[]).await["itemsPerPage"], 100);
    assert_eq!(cloud.stats().await["by_operation"]["scim_users"], 5);
}

#[tokio::test]
async fn a_data_file_says_what_the_provider_calls_somebody() {
    let cloud = told(&json!({"users": [
        {"accountId": "a", "username": "ann", "key": "k", "scim": {"userName": "Ann \"A\" \\ Corp", "externalId": "X1"}},
        {"accountId": "b", "username": "bob", "scim": false},
        {"accountId": "c", "username": "cy", "scim": {"active": false}},
        {"accountId": "d", "accountType": "app", "username": "bot"},
        {"accountId": "e"},
    ]}))
    .await;
    assert_eq!(accounts(&page(&cloud, &[]).await), ["a", "c"]);
    let found = page(&cloud, &[("filter", r#"userName eq "ann \"a\" \\ corp""#)]).await;
    assert_eq!(accounts(&found), ["a"]);
    assert_eq!(
        page(&cloud, &[("filter", r#"userName eq "ann""#)]).await["totalResults"],
        0
    );
    assert_eq!(
        accounts(&page(&cloud, &[("filter", r#"externalId eq "X1""#)]).await),
        ["a"]
    );
    assert_eq!(
        page(&cloud, &[("filter", r#"userName eq "cy""#)]).await["Resources"][0]["active"],
        false
    );
}

#[tokio::test]
async fn a_filter_or_a_number_without_sense_is_refused() {
    let cloud = Cloud::start(Options::default()).await;
    for parameters in [
        [("filter", "userName sw \"a\"")],
        [("filter", "userName eq a")],
        [("filter", "emails eq \"a\"")],
        [("count", "many")],
    ] {
        let refused = send(cloud.scim(&parameters)).await;
        assert_eq!(refused.status, 400, "{parameters:?}");
        assert_eq!(refused.json()["status"], "400");
    }
    let elsewhere = cloud.bare(Method::GET, "/scim/directory/none/Users").bearer_auth("k");
    assert_eq!(send(elsewhere).await.status, 404);
    let path = format!("/scim/directory/{}/Users", cloud.directory_id);
    assert_eq!(send(cloud.bare(Method::GET, &path)).await.status, 401);
    assert_eq!(
        send(cloud.bare(Method::GET, &path).basic_auth("a", Some("b")))
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn it_fails_by_itself_in_every_way_that_is_switched_on() {
    let cloud = Cloud::start(faults(&["scim_down"])).await;
    let filter = format!("userName eq {:?}", cloud.people[7].username);
    let ask = async || send(cloud.scim(&[("filter", &filter)])).await;
    assert_eq!(ask().await.status, 503);
    for status in [401, 403] {
        cloud.switch(json!({"scim_down": null, "scim_refused": status})).await;
        assert_eq!(ask().await.status, status);
    }
    assert_eq!(cloud.get("/group").await.status, 200);
    assert_eq!(cloud.admin_search("users", json!({})).await.status, 200);
    cloud.switch(json!({"scim_refused": null, "scim_garbage": true})).await;
    let found = ask().await.json();
    assert_eq!(accounts(&found), [cloud.account(0), cloud.account(1), cloud.account(7)]);
    cloud.switch(json!({"scim_garbage": null, "scim_unlinked": true})).await;
    assert_eq!(accounts(&ask().await.json()), ["none"]);
}
