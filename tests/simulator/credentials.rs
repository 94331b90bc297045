//! Who is let in, and in which words the others are not.
use extender_facade::simulator::Options;
use reqwest::Method;
use serde_json::json;

use crate::cloud::{Cloud, faults, send};

const CURRENT: &str = "/wiki/rest/api/user/current";

#[tokio::test]
async fn a_request_without_a_basic_credential_is_refused_as_cloud_does_it() {
    let cloud = Cloud::start(Options::default()).await;
    let refused = send(cloud.bare(Method::GET, CURRENT)).await;
    assert_eq!(refused.status, 401);
    let expected = json!({"message": "Client must be authenticated to access this resource.", "status-code": 401});
    assert_eq!(refused.json(), expected);
    for unreadable in ["Basic", "Basic !!!", "Basic bm9jb2xvbg==", "Digest x"] {
        let request = cloud.bare(Method::GET, CURRENT).header("authorization", unreadable);
        assert_eq!(send(request).await.status, 401, "{unreadable}");
    }
    let bearer = send(cloud.bare(Method::GET, CURRENT).bearer_auth("token")).await;
    assert_eq!((bearer.status, &bearer.json()["statusCode"]), (403, &json!(403)));
    assert!(
        bearer
            .text()
            .contains("Request rejected because caller cannot access Confluence")
    );
}

#[tokio::test]
async fn the_gateway_takes_a_bearer_for_its_own_cloud_id() {
    let cloud = Cloud::start(Options::default()).await;
    let tenant = send(cloud.bare(Method::GET, "/_edge/tenant_info")).await;
    assert_eq!(tenant.status, 200);
    let cloud_id = tenant.json()["cloudId"].as_str().unwrap().to_owned();
    let path = format!("/ex/confluence/{cloud_id}{CURRENT}");
    assert_eq!(
        send(cloud.bare(Method::GET, &path).bearer_auth("token")).await.status,
        200
    );
    assert_eq!(
        send(cloud.bare(Method::GET, &path).basic_auth("a", Some("b")))
            .await
            .status,
        200
    );
    assert_eq!(send(cloud.bare(Method::GET, &path)).await.status, 401);
    let other = format!("/ex/confluence/other{CURRENT}");
    assert_eq!(
        send(cloud.bare(Method::GET, &other).bearer_auth("token")).await.status,
        404
    );
}

#[tokio::test]
async fn every_credential_is_refused_in_the_shape_that_is_told() {
    let cloud = Cloud::start(Options::default()).await;
    for (shape, status, content_type, text) in [
        ("401", 401, "application/json", "Client must be authenticated"),
        ("html", 401, "text/html", "<html>"),
        ("xml", 401, "application/xml", "<status-code>401</status-code>"),
        ("scope", 401, "application/json", "Unauthorized; scope does not match"),
        (
            "403",
            403,
            "application/json",
            "Request rejected because caller cannot access Confluence",
        ),
    ] {
        cloud.switch(json!({ "unauthorized": shape })).await;
        let refused = cloud.get("/user/current").await;
        assert_eq!(refused.status, status, "{shape}");
        assert!(
            refused.header("content-type").unwrap().starts_with(content_type),
            "{shape}"
        );
        assert!(refused.text().contains(text), "{shape}: {}", refused.text());
    }
    cloud.switch(json!({ "unauthorized": null })).await;
    assert_eq!(cloud.get("/user/current").await.status, 200);
}

#[tokio::test]
async fn a_bad_token_is_refused_and_the_others_are_not() {
    let cloud = Cloud::start(faults(&["bad_token=expired"])).await;
    let with = |password| {
        cloud
            .bare(Method::GET, CURRENT)
            .basic_auth("a@example.com", Some(password))
    };
    assert_eq!(send(with("expired")).await.status, 401);
    assert_eq!(send(with("fresh")).await.status, 200);
}

#[tokio::test]
async fn where_writes_are_forbidden_reads_are_not() {
    let cloud = Cloud::start(faults(&["forbid_writes"])).await;
    let id = cloud.group_id("site-admins").await;
    assert_eq!(cloud.get(&format!("/group/{id}/membersByGroupId")).await.status, 200);
    let refused = cloud.add(&id, cloud.account(9)).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("not a site admin"));
    assert_eq!(cloud.remove(&id, cloud.account(0)).await.status, 403);
    assert_eq!(cloud.delete(&format!("/group/by-id?id={id}")).await.status, 403);
    assert_eq!(cloud.post("/group", json!({ "name": "x" })).await.status, 403);
    assert_eq!(cloud.truth("site-admins").await.len(), 3);
}
