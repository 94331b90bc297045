//! Signs of life during a long bulk call.

use std::time::Duration;

use extender_facade::simulator::Options;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{ADMIN, World, names, options};

fn slow(latency_ms: u64) -> Options {
    let mut options = options(600, &[("team", 10)]);
    options.latency_ms = latency_ms;
    options
}

async fn beating(latency_ms: u64) -> World {
    World::start(slow(latency_ms), |settings| {
        settings.extender.heartbeat_s = 1;
        settings.extender.bulk_give_up_s = 2;
        // One after the other, so that it takes its time.
        settings.cloud.max_in_flight = 1;
    })
    .await
}

/// Sends a POST of `names` and reads until the other side closes: the head, and what stands behind it as it came.
async fn exchange(world: &World, version: &str, names: &[String]) -> (String, Vec<u8>) {
    let body = json!({ "users": names }).to_string();
    let mut socket = TcpStream::connect(world.facade).await.unwrap();
    let head = format!(
        "POST /rest/extender/1.0/group/addUsers/team {version}\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN}\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), socket.read_to_end(&mut all));
    // A reset is an end as well.
    let _ = read.await.unwrap();
    let at = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let body = all.split_off(at);
    (String::from_utf8(all).unwrap().to_ascii_lowercase(), body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_call_gives_signs_of_life_and_then_its_json() {
    let world = beating(40).await;
    let (head, body) = exchange(&world, "HTTP/1.1", &names(51, 80)).await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    for header in [
        "content-type: application/json\r\n",
        "transfer-encoding: chunked\r\n",
        "x-content-type-options: nosniff\r\n",
        "cache-control: no-store\r\n",
        "x-ausername: admin-token\r\n",
        "x-facade-request-id: ",
    ] {
        assert!(head.contains(header), "{header} {head}");
    }
    // How many were skipped is not known when the head is sent.
    assert!(
        !head.contains("x-facade-skipped") && !head.contains("content-length"),
        "{head}"
    );
    let body = String::from_utf8(body).unwrap();
    assert!(body.starts_with("1\r\n \r\n"), "{body}");
    assert!(body.ends_with("\r\n0\r\n\r\n"), "{body}");
    let json = body.split("\r\n").find(|line| line.starts_with('{')).unwrap();
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(json["usersAdded"], json!(names(51, 80)));
    assert_eq!(json["message"], "all users added to group");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_call_is_answered_as_ever() {
    let world = beating(0).await;
    let answer = world.users("addUsers/team", &names(51, 3)).await;
    assert_eq!(answer.header("x-facade-skipped"), Some("0"));
    assert!(answer.header("content-length").is_some());
    assert_eq!(world.users("addUsers/no such group", &names(51, 3)).await.status, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_after_its_head_was_sent_cuts_the_connection() {
    let world = beating(40).await;
    // It begins well, and then nothing succeeds any more.
    let breaks = async {
        while world.calls().await.get("add_member").copied().unwrap_or(0) < 10 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.cloud.switch(json!({ "down": true })).await;
    };
    let names = names(51, 80);
    let ((head, body), ()) = tokio::join!(exchange(&world, "HTTP/1.1", &names), breaks);
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    let body = String::from_utf8(body).unwrap();
    assert!(body.starts_with("1\r\n \r\n"), "{body}");
    assert!(!body.contains('{') && !body.contains("0\r\n\r\n"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn to_http_1_0_nothing_is_said_before_the_end() {
    let world = beating(40).await;
    let (head, body) = exchange(&world, "HTTP/1.0", &names(51, 80)).await;
    assert!(head.contains("content-length: "), "{head}");
    assert!(head.contains("x-facade-skipped: 0"), "{head}");
    assert!(body.starts_with(b"{"));
}
