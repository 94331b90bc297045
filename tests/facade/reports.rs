//! Where reports are asked for, and by whom.

use reqwest::Method;

use crate::harness::{ADMIN, READER, World};
use crate::raw::{exchange, head};

const ID: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_report_and_what_is_no_id_are_the_same_404() {
    let world = World::with(5, &[]).await;
    for prefix in ["", "/confluence", "/wiki"] {
        for id in [
            ID,
            "0123",
            "0123456789ABCDEF0123456789ABCDEF",
            "..%2F..%2Fetc%2Fpasswd",
            "%00",
            "x?format=html",
        ] {
            for token in [ADMIN, READER] {
                let target = format!("{prefix}/facade/v1/reports/{id}");
                let request = head("GET", &target, &format!("authorization: Bearer {token}"));
                let answer = exchange(world.facade, request).await;
                let path = target.split('?').next().unwrap();
                assert_eq!(answer.status, 404, "{target}");
                assert_eq!(
                    answer.json(),
                    serde_json::json!({ "message": format!("null for uri: {path}"), "status-code": 404 })
                );
            }
        }
    }
    for path in [
        "/facade/v1/reports",
        "/facade/v1/reports/",
        "/other/facade/v1/reports/0",
        "/facade/v2/reports/0",
    ] {
        let request = head("GET", path, &format!("authorization: Bearer {ADMIN}"));
        assert_eq!(exchange(world.facade, request).await.status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_asked_for_like_every_other_list() {
    let world = World::with(5, &[]).await;
    let url = format!("http://{}/facade/v1/reports/{ID}", world.facade);
    let request = |method| world.client.request(method, &url);
    let answer = request(Method::GET).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let answer = request(method).bearer_auth(ADMIN).send().await.unwrap();
        assert_eq!(answer.status(), 405);
        assert_eq!(answer.headers()["allow"], "GET, HEAD");
    }
    let answer = request(Method::HEAD).bearer_auth(ADMIN).send().await.unwrap();
    assert_eq!(answer.status(), 404);
    assert!(answer.headers().contains_key("x-facade-request-id"));
    let cross = request(Method::GET)
        .bearer_auth(ADMIN)
        .header("origin", "https://evil.example");
    assert_eq!(cross.send().await.unwrap().status(), 403);
}
