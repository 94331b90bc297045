//! What concerns all the sources of identity: one set of users, that can change, and what was asked about them.
use extender_facade::simulator::Options;
use reqwest::Method;
use serde_json::{Value, json};

use crate::admin::{column, told};
use crate::cloud::{Cloud, faults, send};

#[tokio::test]
async fn what_was_asked_for_is_counted_until_it_is_reset() {
    let cloud = Cloud::start(faults(&["admin_down"])).await;
    for emails in [json!(["a@b", "c@d"]), json!(["a@b"])] {
        cloud.admin_search("users", json!({ "emails": emails })).await;
    }
    send(cloud.scim(&[("filter", "userName eq \"x\"")])).await;
    send(cloud.jira("/user/search?query=a%40b")).await;
    let expected = json!({"admin": {"a@b": 2, "c@d": 1}, "scim": {"userName eq \"x\"": 1}, "jira": {"a@b": 1}});
    assert_eq!(cloud.asked().await, expected);
    cloud.reset().await;
    assert_eq!(cloud.asked().await, json!({"admin": {}, "scim": {}, "jira": {}}));
}

#[tokio::test]
async fn a_user_can_be_changed_while_it_runs() {
    let cloud = Cloud::start(Options::default()).await;
    let (one, two) = (cloud.account(1).to_owned(), cloud.account(2).to_owned());
    let address = cloud.people[1].email.clone();
    let owners = async || {
        let found = cloud.admin_search("users", json!({ "emails": [address] })).await.json();
        column(&found, "accountId")
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(owners().await, [one.as_str()]);
    assert_eq!(
        cloud
            .change_user(json!({"accountId": two, "email": address.to_uppercase()}))
            .await,
        204
    );
    assert_eq!(owners().await, [one.as_str(), two.as_str()]);
    let gone = json!({"accountId": one, "email": "other@example.com", "status": "inactive", "displayName": "Gone"});
    assert_eq!(cloud.change_user(gone).await, 204);
    assert_eq!(owners().await, [two.as_str()]);
    let user = cloud.get(&format!("/user?accountId={one}")).await.json();
    assert_eq!(
        (&user["displayName"], &user["email"]),
        (&json!("Gone"), &json!("other@example.com"))
    );
    // Who is not active stands in no page of members.
    let everybody = cloud.group_id("confluence-users").await;
    let page = cloud.get(&format!("/group/{everybody}/membersByGroupId")).await.json();
    assert_eq!(page["size"], 99);
    assert_eq!(
        cloud.change_user(json!({"accountId": one, "emailHidden": true})).await,
        204
    );
    assert_eq!(cloud.get(&format!("/user?accountId={one}")).await.json()["email"], "");
    assert_eq!(cloud.change_user(json!({"accountId": "nobody"})).await, 404);
    assert_eq!(
        cloud.change_user(json!({"accountId": one, "status": "asleep"})).await,
        400
    );
    assert_eq!(cloud.change_user(json!({"accountId": one, "name": "x"})).await, 400);
}

#[tokio::test]
async fn version_2_of_confluence_tells_whose_account_is_active() {
    let cloud = told(&json!({"users": [
        {"accountId": "a", "email": "a@example.com", "emailHidden": true},
        {"accountId": "b", "status": "suspended"},
        {"accountId": "c", "status": "inactive"},
        {"accountId": "d", "status": "closed"},
        {"accountId": "e", "accountType": "app"},
    ]}))
    .await;
    let ask = async |ids: Value| {
        let request = cloud
            .bare(Method::POST, "/wiki/api/v2/users-bulk")
            .basic_auth("a", Some("b"));
        send(request.json(&json!({ "accountIds": ids }))).await
    };
    let found = ask(json!(["a", "b", "c", "d", "e", "nobody"])).await.json();
    let rows = found["results"].as_array().unwrap();
    let statuses: Vec<_> = rows.iter().map(|row| row["accountStatus"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["active", "active", "inactive", "closed", "active"]);
    assert_eq!(
        (&rows[0]["email"], &rows[4]["accountType"]),
        (&json!(""), &json!("app"))
    );
    assert_eq!(ask(json!(vec!["a"; 250])).await.status, 200);
    assert_eq!(ask(json!(vec!["a"; 251])).await.status, 400);
    let stats = cloud.stats().await;
    assert_eq!(stats["by_operation"]["users_bulk_v2"], 3);
}

#[tokio::test]
async fn an_organisation_has_the_id_it_is_told_or_one_of_the_seed() {
    let cloud = Cloud::start(Options {
        org_id: Some("our-org".to_owned()),
        ..Options::default()
    })
    .await;
    let get = async |path: &str| send(cloud.bare(Method::GET, path).bearer_auth("k")).await.json();
    assert_eq!(get("/admin/v1/orgs").await["data"][0]["id"], "our-org");
    let directories = get("/admin/v2/orgs/our-org/directories").await;
    assert_eq!(directories["data"][0]["directoryId"], cloud.directory_id.as_str());
    let ids = send(cloud.bare(Method::GET, "/_sim/ids")).await.json();
    assert_eq!(
        (&ids["orgId"], &ids["directoryId"]),
        (&json!("our-org"), &json!(cloud.directory_id))
    );
    let (one, other) = (
        Cloud::start(Options::default()).await,
        Cloud::start(Options::default()).await,
    );
    assert_eq!((&one.org_id, &one.directory_id), (&other.org_id, &other.directory_id));
    assert_ne!(one.org_id, one.directory_id);
}
