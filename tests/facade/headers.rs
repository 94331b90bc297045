//! Headers: what clients may send, and what every answer has.

use reqwest::Method;
use serde_json::json;

use crate::cloud::send;
use crate::harness::{ADMIN, READER, World};
use crate::raw::{Line, exchange, head};

const GROUPS: &str = "/rest/extender/1.0/group/getGroups";

#[tokio::test]
async fn any_accept_but_xml_alone_gets_json() {
    let world = World::with(1, &[]).await;
    for (accept, status) in [
        (None, 200),
        (Some("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"), 200),
        (Some("*/*"), 200),
        (Some("application/json"), 200),
        (Some("text/plain"), 200),
        (Some("text/html"), 200),
        (Some("image/png"), 200),
        (Some("application/xml, application/json;q=0.1"), 200),
        (
            Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
            200,
        ),
        (Some(""), 200),
        (Some("nonsense"), 200),
        (Some("application/xml"), 406),
        (Some("text/xml"), 406),
        (Some("APPLICATION/XML;q=0.9 , text/xml"), 406),
    ] {
        for (method, path) in [(Method::GET, "getGroups"), (Method::POST, "addGroups")] {
            let mut request = world.request(method, path).bearer_auth(ADMIN).body("{\"groups\":[]}");
            if let Some(accept) = accept {
                request = request.header("accept", accept);
            }
            let answer = send(request).await;
            assert_eq!(answer.status, status, "{accept:?} {answer:?}");
            assert_eq!(answer.header("content-type"), Some("application/json"), "{accept:?}");
        }
    }
}

#[tokio::test]
async fn the_content_type_of_a_body_does_not_matter() {
    let world = World::with(3, &[("g", 0)]).await;
    for kind in [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-8",
        "application/json;charset=ISO-8859-1",
        "application/xml",
        "nonsense",
    ] {
        let body = "{\"users\":[\"user000001\"]}";
        for call in ["addUsers", "removeUsers"] {
            let kind = if kind.is_empty() {
                String::new()
            } else {
                format!("content-type: {kind}\n")
            };
            let request = format!(
                "{}{body}",
                head(
                    "POST",
                    &format!("/rest/extender/1.0/group/{call}/g"),
                    &format!("{kind}content-length: {}\nauthorization: Bearer {ADMIN}", body.len()),
                )
            );
            let answer = exchange(world.facade, request).await;
            assert_eq!(
                (answer.status, answer.header("x-facade-skipped")),
                (200, Some("0")),
                "{kind} {answer:?}"
            );
        }
    }
    for (name, value) in [
        ("content-type", "application/json"),
        ("content-type", "text/plain"),
        ("x-atlassian-token", "no-check"),
        ("x-atlassian-token", "nocheck"),
        ("x-atlassian-token", "anything"),
        ("cookie", "JSESSIONID=1"),
        ("te", "trailers"),
        ("user-agent", "Java/1.8"),
    ] {
        let answer = send(
            world
                .request(Method::GET, "getGroups")
                .bearer_auth(READER)
                .header(name, value),
        )
        .await;
        assert_eq!(answer.status, 200, "{name} {value} {answer:?}");
    }
}

#[tokio::test]
async fn successes_name_the_caller_and_must_not_be_stored_or_sniffed() {
    let world = World::with(1, &[]).await;
    let seen = [
        world.get("getGroups").await,
        world.get("getUsers/confluence-users").await,
        world.groups("addGroups", &["new"]).await,
    ];
    for (answer, caller) in seen.iter().zip(["reader-token", "reader-token", "admin-token"]) {
        assert_eq!(answer.header("x-ausername"), Some(caller), "{answer:?}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    let lists = seen.iter().filter(|answer| answer.header("x-facade-skipped").is_some());
    assert_eq!(lists.count(), 1, "only changes have the count of skipped names");
}

#[tokio::test]
async fn the_callers_name_is_percent_encoded() {
    let world = World::start(crate::harness::options(1, &[]), |settings| {
        let path = settings.inbound.accounts_file.clone().unwrap();
        let digest = crate::harness::digest("xft_third");
        let text = format!("[[token]]\nname = \"Zoë O'Neil + Söhne\"\nsha256 = \"{digest}\"\nrole = \"reader\"\n");
        std::fs::write(path, text).unwrap();
    })
    .await;
    let answer = send(world.request(Method::GET, "getGroups").bearer_auth("xft_third")).await;
    assert_eq!(
        answer.header("x-ausername"),
        Some("Zo%C3%AB%20O%27Neil%20%2B%20S%C3%B6hne")
    );
}

#[tokio::test]
async fn a_plain_request_id_is_echoed_and_a_hostile_one_is_replaced() {
    let world = World::with(1, &[]).await;
    let longest = "a".repeat(64);
    for good in ["a", "A-1_b.c", "0f8fad5b-d9cb-469f-a165-70867728950e", &longest] {
        let answer = send(
            world
                .request(Method::GET, "getGroups")
                .bearer_auth(READER)
                .header("x-request-id", good),
        )
        .await;
        assert_eq!(answer.header("x-facade-request-id"), Some(good));
    }
    let too_long = "a".repeat(65);
    for bad in [
        "",
        " ",
        "a b",
        "<script>",
        "a\"b",
        "a,b",
        "a\tb",
        "a=b;c",
        "${jndi:ldap://x}",
        "../x",
        "%0d%0a",
        &too_long,
    ] {
        let answer = send(
            world
                .request(Method::GET, "getGroups")
                .bearer_auth(READER)
                .header("x-request-id", bad),
        )
        .await;
        let id = answer.header("x-facade-request-id").unwrap();
        assert_ne!(id, bad);
        assert!(
            id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{id}"
        );
        let reflected = bad.len() > 1
            && answer
                .headers
                .values()
                .any(|value| value.to_str().unwrap().contains(bad));
        assert!(!reflected, "{answer:?}");
    }
    // Errors have one as well, whoever asks.
    let answer = send(world.request(Method::GET, "nowhere").header("x-request-id", "mine")).await;
    assert_eq!(
        (answer.status, answer.header("x-facade-request-id")),
        (401, Some("mine"))
    );
    let bytes = b"GET /x HTTP/1.1\r\nhost: localhost\r\nx-request-id: \xff\xfe\r\n\r\n";
    let answer = exchange(world.facade, bytes).await;
    assert_eq!(answer.header("x-facade-request-id").unwrap().len(), 32);
}

#[tokio::test]
async fn head_answers_as_get_without_a_body() {
    let world = World::with(3, &[("g", 3)]).await;
    let mut line = Line::to(world.facade).await;
    for path in [
        "getGroups",
        "getUsers/g?showExtendedDetails=true",
        "getUsers/missing",
        "getUsers/g?startAt=x",
        "nowhere",
        "addGroups",
    ] {
        let target = format!("/rest/extender/1.0/group/{path}");
        let headers = format!("authorization: Bearer {READER}\nx-request-id: same");
        line.say(head("GET", &target, &headers)).await;
        let mut get = line.hear().await.unwrap();
        line.say(head("HEAD", &target, &headers)).await;
        let mut asked = line.hear_head().await.unwrap();
        for answer in [&mut get, &mut asked] {
            answer.headers.retain(|(name, _)| name != "date");
            answer.headers.sort();
        }
        assert_eq!((get.status, &get.headers), (asked.status, &asked.headers), "{path}");
        if path == "getGroups" {
            assert_eq!(get.header("content-length"), Some(get.body.len().to_string().as_str()));
        }
    }
}

#[tokio::test]
async fn a_page_of_another_site_cannot_send_for_a_user() {
    let world = World::with(2, &[("g", 1)]).await;
    let host = world.facade.to_string();
    let (own, port) = (
        format!("http://{host}"),
        format!("http://127.0.0.1:{}", world.facade.port().wrapping_add(1)),
    );
    for (name, value, status) in [
        ("origin", "https://evil.example", 403),
        ("origin", "null", 403),
        ("origin", "", 403),
        ("origin", port.as_str(), 403),
        ("origin", "http://127.0.0.1.evil.example", 403),
        ("origin", "file://", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("sec-fetch-site", "CROSS-SITE", 403),
        ("origin", own.as_str(), 200),
        ("sec-fetch-site", "same-origin", 200),
        ("sec-fetch-site", "none", 200),
        ("referer", "https://evil.example/", 200),
    ] {
        for (method, path) in [(Method::POST, "addUsers/g"), (Method::GET, "getGroups")] {
            let body = json!({ "users": ["user000001"] }).to_string();
            let answer = send(
                world
                    .request(method, path)
                    .bearer_auth(ADMIN)
                    .header(name, value)
                    .body(body),
            )
            .await;
            assert_eq!(answer.status, status, "{name}: {value} {answer:?}");
            if status == 403 {
                assert_eq!(answer.text(), "{\"message\":\"XSRF check failed\",\"status-code\":403}");
            }
        }
    }
}

#[tokio::test]
async fn cross_origin_requests_are_never_invited() {
    let world = World::with(1, &[]).await;
    let request = world.request(Method::OPTIONS, "addGroups").bearer_auth(ADMIN);
    let answer = send(
        request
            .header("origin", "https://evil.example")
            .header("access-control-request-method", "POST"),
    )
    .await;
    assert_eq!(answer.status, 405);
    let allows = |name: &http::HeaderName| name.as_str().starts_with("access-control");
    assert!(!answer.headers.keys().any(allows), "{answer:?}");
}

#[tokio::test]
async fn other_methods_are_refused_with_the_ones_that_are_allowed() {
    let world = World::with(1, &[("g", 1)]).await;
    for (path, allow, wrong) in [
        (
            "getUsers/g",
            "GET, HEAD",
            ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get"],
        ),
        (
            "getGroups",
            "GET, HEAD",
            ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "LOCK", "x"],
        ),
        (
            "addUsers/g",
            "POST",
            ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "post"],
        ),
        (
            "removeUsers/g",
            "POST",
            ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "x"],
        ),
        (
            "addGroups",
            "POST",
            ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "x"],
        ),
        (
            "removeGroups",
            "POST",
            ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "x"],
        ),
    ] {
        for method in wrong {
            let mut line = Line::to(world.facade).await;
            let target = format!("/rest/extender/1.0/group/{path}");
            line.say(head(method, &target, &format!("authorization: Bearer {ADMIN}")))
                .await;
            let answer = if method == "HEAD" {
                line.hear_head().await
            } else {
                line.hear().await
            }
            .unwrap();
            assert_eq!(
                (answer.status, answer.header("allow")),
                (405, Some(allow)),
                "{method} {path}"
            );
            if method != "HEAD" {
                assert_eq!(
                    answer.text(),
                    "{\"message\":\"HTTP 405 Method Not Allowed\",\"status-code\":405}"
                );
            }
        }
    }
    assert_eq!(world.calls().await, Default::default());
    assert_eq!(
        send(world.client.get(format!("http://{}{GROUPS}", world.facade)))
            .await
            .status,
        401
    );
}
