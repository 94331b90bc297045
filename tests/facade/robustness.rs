//! Requests that no client library sends.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::TcpSocket;

use crate::harness::{ADMIN, READER, World, options};
use crate::raw::{Line, exchange, head};

const GROUPS: &str = "/rest/extender/1.0/group/getGroups";

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}")
}

#[tokio::test]
async fn connect_is_answered_400_in_the_shape_of_every_error() {
    let world = World::with(1, &[]).await;
    for target in ["localhost:80", "evil.example:443"] {
        let answer = exchange(world.facade, head("CONNECT", target, &bearer(ADMIN))).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(
            answer.text(),
            "{\"message\":\"Bad request target\",\"status-code\":400}"
        );
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    assert_eq!(world.get("getGroups").await.status, 200);
}

#[tokio::test]
async fn an_absolute_target_is_answered_as_its_path_and_an_asterisk_is_nowhere() {
    let world = World::start(options(1, &[]), |settings| {
        settings.inbound.host_names = vec!["proxy.example".to_owned()];
    })
    .await;
    let answer = exchange(
        world.facade,
        head(
            "GET",
            &format!("http://proxy.example:1{GROUPS}?maxResults=1"),
            &bearer(READER),
        ),
    )
    .await;
    assert_eq!((answer.status, &answer.json()["total"]), (200, &json!(3)));
    let answer = exchange(world.facade, head("GET", "http://proxy.example", &bearer(READER))).await;
    assert_eq!(
        (answer.status, &answer.json()["message"]),
        (404, &json!("null for uri: /"))
    );
    let answer = exchange(world.facade, head("OPTIONS", "*", &bearer(READER))).await;
    assert_eq!(
        (answer.status, &answer.json()["message"]),
        (404, &json!("null for uri: *"))
    );
    assert_eq!(exchange(world.facade, head("OPTIONS", "*", "")).await.status, 401);
}

#[tokio::test]
async fn http_1_0_is_answered_and_its_connection_closed() {
    let world = World::with(1, &[]).await;
    let mut line = Line::to(world.facade).await;
    line.say(format!("GET {GROUPS} HTTP/1.0\r\n{}\r\n\r\n", bearer(READER)))
        .await;
    let answer = line.hear().await.unwrap();
    assert_eq!((answer.status, &answer.json()["total"]), (200, &json!(3)));
    assert!(line.is_closed().await);
    let body = "{\"groups\":[]}";
    let post = GROUPS.replace("get", "add");
    let request = format!(
        "POST {post} HTTP/1.0\r\n{}\r\ncontent-length: {}\r\n\r\n{body}",
        bearer(ADMIN),
        body.len()
    );
    assert_eq!(
        exchange(world.facade, request).await.header("x-facade-skipped"),
        Some("0")
    );
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let world = World::with(3, &[("g", 2)]).await;
    let mut line = Line::to(world.facade).await;
    let body = "{\"users\":[\"user000003\"]}";
    let post = |call: &str| {
        let headers = format!("{}\ncontent-length: {}", bearer(ADMIN), body.len());
        head("POST", &format!("/rest/extender/1.0/group/{call}/g"), &headers) + body
    };
    let get = head("GET", "/rest/extender/1.0/group/getUsers/g", &bearer(READER));
    line.say(
        [&get, &post("addUsers"), &get, &post("removeUsers"), &get]
            .map(String::as_str)
            .concat(),
    )
    .await;
    let mut totals = Vec::new();
    for _ in 0..5 {
        totals.push(line.hear().await.unwrap().json()["total"].clone());
    }
    assert_eq!(json!(totals), json!([2, null, 3, null, 2]));
}

#[tokio::test]
async fn what_is_no_http_ends_its_own_connection_and_nothing_else() {
    let world = World::with(1, &[]).await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /rest/extender/1.0/group/getUsers/a b HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /rest/extender/1.0/group/getUsers/\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n",
    ] {
        let mut line = Line::to(world.facade).await;
        line.say(bytes).await;
        line.finish().await;
        if let Some(answer) = line.hear().await {
            assert!(
                (400..506).contains(&answer.status) && answer.status != 500,
                "{answer:?}"
            );
        }
    }
    // With `host` and the credential.
    let many = |fields: usize| (2..fields).map(|n| format!("x-{n}: y\n")).collect::<String>() + &bearer(READER);
    let most = exchange(world.facade, head("GET", GROUPS, &many(100))).await;
    assert_eq!(most.status, 200, "{most:?}");
    for (method, fields) in [("GET", 101), ("GET", 300), ("POST", 300)] {
        let answer = exchange(world.facade, head(method, GROUPS, &many(fields))).await;
        assert_eq!(answer.status, 431, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("connection"), Some("close"));
        let body = "{\"message\":\"Request head too large\",\"status-code\":431}";
        assert_eq!(answer.text(), body);
    }
    assert_eq!(world.get("getGroups").await.status, 200);
}

#[tokio::test]
async fn a_connection_that_says_nothing_or_half_a_head_is_closed_in_time() {
    let world = World::start(options(1, &[]), |settings| settings.inbound.header_timeout_s = 1).await;
    for bytes in ["", "GET /rest/extender/1.0/gr", "GET / HTTP/1.1\r\nhost: x\r\nx-slow: "] {
        let mut line = Line::to(world.facade).await;
        line.say(bytes).await;
        while !line.is_closed().await {}
    }
    let mut line = Line::to(world.facade).await;
    line.say(head("GET", GROUPS, &bearer(READER))).await;
    assert_eq!(line.hear().await.unwrap().status, 200);
    assert!(line.is_closed().await, "an idle connection is closed as well");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_his_answer_is_cut_off_in_time() {
    let world = World::start(options(1000, &[("g", 1000)]), |settings| {
        settings.inbound.body_timeout_s = 1
    })
    .await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut socket = socket.connect(world.facade).await.unwrap();
    // More than the kernel keeps for somebody who does not read.
    let get = head("GET", "/rest/extender/1.0/group/getUsers/g", &bearer(READER));
    socket.write_all(get.repeat(200).as_bytes()).await.unwrap();
    let reset = tokio::time::timeout(Duration::from_secs(20), socket.ready(Interest::ERROR)).await;
    assert!(reset.unwrap().unwrap().is_error());
    assert_eq!(world.get("getGroups").await.status, 200);
}

#[tokio::test]
async fn connections_above_the_limit_wait_for_their_turn() {
    let world = World::start(options(1, &[]), |settings| settings.inbound.max_connections = 2).await;
    let mut lines = Vec::new();
    for _ in 0..6 {
        let mut line = Line::to(world.facade).await;
        line.say(head("GET", GROUPS, &bearer(READER))).await;
        lines.push(line);
    }
    for mut line in lines {
        assert_eq!(line.hear().await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_request_hidden_in_another_is_no_request() {
    let world = World::with(2, &[("g", 0)]).await;
    let inner = head("POST", "/rest/extender/1.0/group/addUsers/g", &bearer(ADMIN));
    let both = format!("{}\ncontent-length: 4\ntransfer-encoding: chunked", bearer(READER));
    let mut line = Line::to(world.facade).await;
    line.say(head("GET", GROUPS, &both) + "0\r\n\r\n" + &inner).await;
    line.finish().await;
    while let Some(answer) = line.hear().await {
        assert_ne!(answer.header("x-facade-skipped"), Some("0"), "{answer:?}");
    }
    assert_eq!(world.truth("g").await, [""; 0]);
}
