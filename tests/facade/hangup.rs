//! A caller who hangs up does not cut short what was asked for.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::harness::{ADMIN, World, names, options};

/// Waits until the simulator has counted `count` requests of `operation`.
async fn until_called(world: &World, operation: &str, count: u64) {
    let counted = async {
        while world.calls().await.get(operation).copied().unwrap_or(0) < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), counted).await.unwrap();
}

/// Waits until the audit has `count` lines.
async fn until_audited(world: &World, count: usize) {
    let audited = async {
        while world.audit().len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), audited).await.unwrap();
}

/// Sends a POST and gives the connection, its answer not read.
async fn send(world: &World, path: &str, body: &serde_json::Value) -> TcpStream {
    let body = body.to_string();
    let mut socket = TcpStream::connect(world.facade).await.unwrap();
    let head = format!(
        "POST /rest/extender/1.0/group/{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

fn slow(latency_ms: u64) -> extender_facade::simulator::Options {
    let mut options = options(600, &[("team", 10)]);
    options.latency_ms = latency_ms;
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn all_500_names_are_added_though_the_caller_hangs_up_in_the_middle() {
    let world = World::start(slow(5), |_| {}).await;
    let socket = send(&world, "addUsers/team", &json!({ "users": names(51, 500) })).await;
    until_called(&world, "add_member", 30).await;
    // A reset, not a polite end.
    socket.set_zero_linger().unwrap();
    drop(socket);
    until_audited(&world, 500).await;
    assert_eq!(world.truth("team").await, [names(1, 10), names(51, 500)].concat());
    let audit = world.audit();
    assert_eq!(audit.len(), 500);
    assert!(audit.iter().all(|line| line["result"] == "done"));
    assert_eq!(world.calls().await["add_member"], 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_made_and_deleted_though_the_caller_hangs_up() {
    let world = World::start(slow(10), |_| {}).await;
    let groups: Vec<String> = (0..40).map(|n| format!("new {n}")).collect();
    for (call, operation, lines) in [("addGroups", "create_group", 40), ("removeGroups", "delete_group", 80)] {
        let socket = send(&world, call, &json!({ "groups": groups })).await;
        until_called(&world, operation, 1).await;
        drop(socket);
        until_audited(&world, lines).await;
        assert_eq!(world.calls().await[operation], 40);
    }
    assert!(world.audit().iter().all(|line| line["result"] == "done"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_goes_on_for_the_others_when_the_first_who_asked_hangs_up() {
    let mut options = options(500, &[("big", 450)]);
    options.latency_ms = 50;
    let world = World::start(options, |_| {}).await;
    let mut first = TcpStream::connect(world.facade).await.unwrap();
    let head = format!(
        "GET /rest/extender/1.0/group/getUsers/big HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN}\r\n\r\n"
    );
    first.write_all(head.as_bytes()).await.unwrap();
    until_called(&world, "list_members", 1).await;
    let others = futures_util::future::join_all((0..5).map(|_| world.members("big")));
    let hang_up = async {
        first.set_zero_linger().unwrap();
        drop(first);
    };
    let (others, ()) = tokio::join!(others, hang_up);
    assert!(others.iter().all(|all| *all == names(1, 450)));
    assert_eq!(
        json!(world.calls().await),
        json!({ "find_group": 1, "list_members": 3 })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_is_not_to_wait_any_longer_is_told_so_and_the_work_goes_on() {
    let world = World::start(slow(20), |settings| settings.extender.bulk_answer_deadline_s = 1).await;
    let answer = world.users("addUsers/team", &names(51, 500)).await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    // The same call again waits for what runs, makes nothing twice, and is answered at last.
    let mut answer = world.users("addUsers/team", &names(51, 500)).await;
    while answer.status == 503 {
        answer = world.users("addUsers/team", &names(51, 500)).await;
    }
    assert_eq!(
        answer.header("x-facade-skipped"),
        Some("0"),
        "the one answer of the one call"
    );
    assert_eq!(world.calls().await["add_member"], 500);
    // Answered it is: from now on the same call is another.
    let answer = world.users("addUsers/team", &names(51, 500)).await;
    assert_eq!(answer.header("x-facade-skipped"), Some("500"));
    assert_eq!(world.calls().await["add_member"], 500);
}
