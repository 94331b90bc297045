//! The bodies of POSTs: what is read, what is refused, and that the client gets to read why.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::cloud::{Reply, send};
use crate::harness::{ADMIN, READER, World, names, options, texts};
use crate::raw::{Line, head};

async fn post(world: &World, body: impl Into<reqwest::Body>) -> Reply {
    send(
        world
            .request(reqwest::Method::POST, "addUsers/g")
            .bearer_auth(ADMIN)
            .body(body),
    )
    .await
}

fn start(path: &str, token: &str, headers: &str) -> String {
    let target = format!("/rest/extender/1.0/group/{path}");
    head("POST", &target, &format!("authorization: Bearer {token}\n{headers}"))
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_named_with_its_place() {
    let world = World::with(2, &[("g", 0)]).await;
    for (body, parts) in [
        ("", &["empty", "users"][..]),
        (" \r\n\t", &["empty"]),
        ("users=user000001", &["line 1 column 1"]),
        ("{", &["line 1"]),
        ("{}", &["users"]),
        ("{\"groups\":[\"user000001\"]}", &["users"]),
        ("{\"Users\":[\"user000001\"]}", &["users"]),
        ("[]", &["expected an object"]),
        ("[\"user000001\"]", &["expected an object"]),
        ("\"user000001\"", &["expected an object"]),
        ("null", &["expected an object"]),
        ("7", &["expected an object"]),
        ("{\"users\":null}", &["users", "null"]),
        ("{\"users\":\"user000001\"}", &["users", "string, expected"]),
        ("{\"users\":{\"user000001\":1}}", &["users", "map"]),
        ("{\"users\":[\"user000001\",\n null]}", &["users[1]", "null", "line 2"]),
        ("{\"users\":[\"user000001\", 7]}", &["users[1]", "7"]),
        ("{\"users\":[[\"user000001\"]]}", &["users[0]"]),
        ("{\"users\":[{\"name\":\"user000001\"}]}", &["users[0]"]),
        ("{\"users\":[\"user000001\",]}", &["line 1"]),
        ("{'users':['user000001']}", &["line 1"]),
        ("{\"users\":[\"user000001\"]}{}", &["trailing"]),
        ("{\"users\":[\"\\ud800\"]}", &["users[0]"]),
        ("{\"users\":[\"user000001\"", &["EOF"]),
    ] {
        let answer = post(&world, body).await;
        assert_eq!(answer.status, 400, "{body} {answer:?}");
        let error = answer.json();
        assert_eq!(error.as_object().unwrap().len(), 2, "{answer:?}");
        assert_eq!(error["status-code"], 400);
        for part in parts {
            assert!(error["message"].as_str().unwrap().contains(part), "{body} {answer:?}");
        }
    }
    for bytes in [
        &b"{\"users\":[\"\xff\"]}"[..],
        b"\xff\xfe{\0}\0",
        b"\0",
        b"\x1f\x8b\x08\0",
    ] {
        assert_eq!(post(&world, bytes).await.status, 400);
    }
    let deep = format!("{{\"x\":{}", "[".repeat(1_000_000));
    assert_eq!(post(&world, deep).await.status, 400);
    assert_eq!(world.calls().await, Default::default());
}

#[tokio::test]
async fn further_keys_pretty_printing_and_a_byte_order_mark_do_not_matter() {
    let world = World::with(3, &[("g", 0)]).await;
    for (body, name) in [
        (
            "{\"users\":[\"user000001\"],\"comment\":{\"users\":[7]},\"n\":1e999}",
            "user000001",
        ),
        ("\u{feff}{\"users\":[\"user000002\"]}", "user000002"),
        (
            "\n{\n  \"status\" : null,\n  \"users\" : [\n    \"\\u0075ser000003\"\n  ]\n}\n\n",
            "user000003",
        ),
    ] {
        let answer = post(&world, body).await;
        assert_eq!(answer.status, 200, "{body} {answer:?}");
        assert_eq!(answer.json()["usersAdded"], json!([name]));
    }
}

#[tokio::test]
async fn five_thousand_names_in_one_pretty_printed_body_are_all_done_in_order() {
    let world = World::start(options(5000, &[("g", 0)]), |settings| settings.cloud.max_in_flight = 64).await;
    let mut all = names(1, 5000);
    all.reverse();
    let body = serde_json::to_string_pretty(&json!({ "users": all })).unwrap();
    let answer = post(&world, body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(texts(&answer.json()["usersAdded"], None), all);
    assert_eq!(world.truth("g").await.len(), 5000);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_whether_it_is_chunked_or_not() {
    let world = World::start(options(1, &[("g", 0)]), |settings| {
        settings.inbound.max_body_bytes = 10_000
    })
    .await;
    let body = |size: usize| format!("{}{{\"users\":[]}}", " ".repeat(size - 12));
    assert_eq!(
        post(&world, body(10_000)).await.status,
        200,
        "the limit itself is allowed"
    );
    let stream = |body: String| {
        let frame =
            |part: &[u8]| Ok::<_, std::io::Error>(hyper::body::Frame::data(bytes::Bytes::copy_from_slice(part)));
        let parts: Vec<_> = body.as_bytes().chunks(100).map(frame).collect();
        reqwest::Body::wrap(http_body_util::StreamBody::new(futures_util::stream::iter(parts)))
    };
    assert_eq!(post(&world, stream(body(10_000))).await.status, 200);
    for answer in [
        post(&world, body(10_001)).await,
        post(&world, stream(body(10_001))).await,
        post(&world, body(20_000_000)).await,
        post(&world, stream(body(20_000_000))).await,
    ] {
        assert_eq!(answer.status, 413, "{answer:?}");
        assert_eq!(
            answer.text(),
            "{\"message\":\"the body is larger than 10000 bytes\",\"status-code\":413}"
        );
    }
    assert_eq!(
        world.calls().await,
        json!({ "find_group": 1 })
            .as_object()
            .unwrap()
            .iter()
            .map(|(k, v)| (k.clone(), v.as_u64().unwrap()))
            .collect()
    );
}

#[tokio::test]
async fn the_limit_is_sixteen_mebibytes_unless_it_is_set() {
    let world = World::with(1, &[("g", 0)]).await;
    let body = |size: usize| format!("{}{{\"users\":[]}}", " ".repeat(size - 12));
    assert_eq!(post(&world, body(16 << 20)).await.status, 200);
    assert_eq!(post(&world, body((16 << 20) + 1)).await.status, 413);
}

/// Many clients send the whole body before they look for an answer.
#[tokio::test]
async fn a_client_that_sends_everything_first_gets_to_read_its_refusal() {
    let world = World::start(options(1, &[("g", 0)]), |settings| {
        settings.inbound.max_body_bytes = 1000
    })
    .await;
    // More than all buffers on the way together hold.
    let size: usize = 100 << 20;
    let part = vec![b' '; 1 << 20];
    for (path, token, headers, status) in [
        ("addUsers/g", ADMIN, "", 413),
        ("addUsers/g", "unknown", "", 401),
        ("addUsers/g", READER, "", 403),
        ("nowhere", ADMIN, "", 404),
        ("addUsers/g", ADMIN, "accept: text/xml\n", 406),
    ] {
        let mut line = Line::to(world.facade).await;
        line.say(start(path, token, &format!("{headers}content-length: {size}")))
            .await;
        for _ in 0..size / part.len() {
            assert!(
                line.say(&part).await,
                "{status}: the connection ended before the body was sent"
            );
        }
        assert_eq!(line.hear().await.expect("the answer").status, status);
        // The connection is good for the next request.
        line.say(head(
            "GET",
            "/rest/extender/1.0/group/getGroups",
            &format!("authorization: Bearer {READER}"),
        ))
        .await;
        assert_eq!(line.hear().await.expect("the next answer").status, 200);
    }
}

#[tokio::test]
async fn a_refusal_does_not_wait_for_the_rest_of_the_body() {
    let world = World::start(options(1, &[("g", 0)]), |settings| {
        settings.inbound.max_body_bytes = 1000
    })
    .await;
    for (token, status) in [(ADMIN, 413), ("unknown", 401), (READER, 403)] {
        let from = Instant::now();
        let mut line = Line::to(world.facade).await;
        line.say(start("addUsers/g", token, "content-length: 5000")).await;
        line.say("{").await;
        assert_eq!(line.hear().await.unwrap().status, status);
        assert!(
            from.elapsed() < Duration::from_secs(3),
            "{status} after {:?}",
            from.elapsed()
        );
    }
}

#[tokio::test]
async fn a_client_that_waits_for_leave_is_refused_without_sending_its_body() {
    let world = World::start(options(2, &[("g", 0)]), |settings| {
        settings.inbound.max_body_bytes = 1000
    })
    .await;
    for (token, length, status) in [(READER, 20, 403), ("unknown", 20, 401), (ADMIN, 5000, 413)] {
        let mut line = Line::to(world.facade).await;
        line.say(start(
            "addUsers/g",
            token,
            &format!("expect: 100-continue\ncontent-length: {length}"),
        ))
        .await;
        assert_eq!(line.hear().await.unwrap().status, status);
    }
    let body = "{\"users\":[\"user000001\"]}";
    let mut line = Line::to(world.facade).await;
    line.say(start(
        "addUsers/g",
        ADMIN,
        &format!("expect: 100-continue\ncontent-length: {}", body.len()),
    ))
    .await;
    assert_eq!(line.hear().await.unwrap().status, 100);
    line.say(body).await;
    assert_eq!(line.hear().await.unwrap().header("x-facade-skipped"), Some("0"));
}

#[tokio::test]
async fn a_client_that_was_given_leave_still_gets_to_read_that_its_body_is_too_large() {
    let world = World::start(options(1, &[("g", 0)]), |settings| {
        settings.inbound.max_body_bytes = 1000
    })
    .await;
    let mut line = Line::to(world.facade).await;
    line.say(start(
        "addUsers/g",
        ADMIN,
        "expect: 100-continue\ntransfer-encoding: chunked",
    ))
    .await;
    assert_eq!(line.hear().await.unwrap().status, 100);
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(1 << 20));
    for _ in 0..50 {
        assert!(line.say(&chunk).await, "the connection ended before the body was sent");
    }
    line.say("0\r\n\r\n").await;
    assert_eq!(line.hear().await.expect("the answer").status, 413);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_408() {
    let world = World::start(options(1, &[("g", 0)]), |settings| settings.inbound.body_timeout_s = 1).await;
    for headers in ["content-length: 50", "transfer-encoding: chunked"] {
        let from = Instant::now();
        let mut line = Line::to(world.facade).await;
        line.say(start("addUsers/g", ADMIN, headers)).await;
        line.say(if headers.starts_with('c') { "{" } else { "1\r\n{\r\n" })
            .await;
        let answer = line.hear().await.unwrap();
        assert_eq!(answer.status, 408, "{answer:?}");
        assert_eq!(answer.json()["status-code"], 408);
        let took = from.elapsed();
        assert!((1.0..3.5).contains(&took.as_secs_f64()), "{took:?}");
        assert!(line.is_closed().await);
    }
    assert_eq!(world.calls().await, Default::default());
}

#[tokio::test]
async fn a_body_that_ends_too_early_or_is_chunked_badly_changes_nothing() {
    let world = World::with(2, &[("g", 0)]).await;
    let body = "{\"users\":[\"user000001\"]}";
    let mut line = Line::to(world.facade).await;
    line.say(start(
        "addUsers/g",
        ADMIN,
        &format!("content-length: {}", body.len() + 1),
    ))
    .await;
    line.say(body).await;
    line.finish().await;
    if let Some(answer) = line.hear().await {
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    let mut line = Line::to(world.facade).await;
    line.say(start("addUsers/g", ADMIN, "transfer-encoding: chunked")).await;
    line.say(format!("{:x}\r\n{body}\r\nnonsense\r\n", body.len())).await;
    if let Some(answer) = line.hear().await {
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    assert_eq!(world.calls().await, Default::default());
}

#[tokio::test]
async fn a_client_that_has_sent_all_and_closed_its_half_is_still_answered() {
    let world = World::with(2, &[("g", 0)]).await;
    let body = "{\"users\":[\"user000001\"]}";
    let mut line = Line::to(world.facade).await;
    line.say(start("addUsers/g", ADMIN, &format!("content-length: {}", body.len())))
        .await;
    line.say(body).await;
    line.finish().await;
    assert_eq!(line.hear().await.unwrap().header("x-facade-skipped"), Some("0"));
}

#[tokio::test]
async fn a_body_on_a_get_is_read_past() {
    let world = World::with(1, &[]).await;
    let mut line = Line::to(world.facade).await;
    for headers in ["content-length: 5", "transfer-encoding: chunked"] {
        let headers = format!("{headers}\ncontent-type: application/json\nauthorization: Bearer {READER}");
        line.say(head("GET", "/rest/extender/1.0/group/getGroups", &headers))
            .await;
        line.say(if headers.starts_with('c') {
            "{\"a\":"
        } else {
            "3\r\nabc\r\n0\r\n\r\n"
        })
        .await;
        let answer = line.hear().await.unwrap();
        assert_eq!((answer.status, &answer.json()["total"]), (200, &json!(3)));
    }
}

#[tokio::test]
async fn more_names_than_the_setting_allows_are_413_and_nothing_is_changed() {
    let world = World::start(options(20, &[("g", 0)]), |settings| settings.extender.max_names = 5).await;
    let answer = world.users("addUsers/g", &names(1, 6)).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    assert!(answer.text().contains("6 names"), "{answer:?}");
    assert!(world.truth("g").await.is_empty());
    let answer = world.users("addUsers/g", &names(1, 5)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}
