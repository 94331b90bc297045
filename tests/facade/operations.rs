//! Bulk calls that are sent again, hung up on, tried out, or given a key of their own.

use std::collections::BTreeMap;
use std::time::Duration;

use extender_facade::settings::Mode;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::cloud::{Reply, send};
use crate::harness::{ADMIN, OBSERVER, OPERATOR, READER, World, names, options, texts};

/// A slow Cloud, so that calls meet.
async fn slow(groups: &[(&str, u32)]) -> World {
    let mut options = options(60, groups);
    options.latency_ms = 30;
    World::start(options, |settings| settings.cloud.max_in_flight = 2).await
}

async fn post_with(world: &World, path: &str, body: &Value, headers: &[(&'static str, &str)]) -> Reply {
    let mut request = world
        .request(Method::POST, path)
        .bearer_auth(ADMIN)
        .body(body.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(request).await
}

fn writes(calls: &BTreeMap<String, u64>) -> u64 {
    ["add_member", "remove_member", "create_group", "delete_group"]
        .iter()
        .filter_map(|name| calls.get(*name))
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_call_while_it_runs_is_one_operation_with_one_answer() {
    let world = slow(&[("g", 5)]).await;
    let body = json!({ "users": names(1, 20) });
    let calls = (0..4).map(|_| world.post("addUsers/g", &body));
    let answers = futures_util::future::join_all(calls).await;
    let reports: Vec<_> = answers
        .iter()
        .map(|answer| answer.header("x-facade-report").unwrap())
        .collect();
    assert!(reports.iter().all(|report| *report == reports[0]), "{reports:?}");
    for answer in &answers {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(texts(&answer.json()["usersAdded"], None), names(6, 15));
    }
    assert_eq!(writes(&world.calls().await), 15);
    // Another order of the names is another call.
    let mut other = names(1, 20);
    other.reverse();
    let answer = world.users("addUsers/g", &other).await;
    assert_ne!(answer.header("x-facade-report"), Some(reports[0]));
    assert_eq!(answer.header("x-facade-skipped"), Some("20"));
}

/// Sends a call and hangs up before it can be answered.
async fn hang_up(world: &World, path: &str, body: &Value) {
    let request = world
        .request(Method::POST, path)
        .bearer_auth(ADMIN)
        .body(body.to_string());
    let given_up = request.timeout(Duration::from_millis(120)).send().await;
    assert!(given_up.is_err_and(|error| error.is_timeout()));
}

/// Waits until nothing runs any more.
async fn quiet(world: &World) {
    loop {
        let ready = send(world.client.get(format!("http://{}/ready", world.admin)))
            .await
            .json();
        if ready["operations"] == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_got_is_given_once_to_the_same_call() {
    let world = slow(&[("g", 5)]).await;
    let body = json!({ "users": names(6, 20) });
    hang_up(&world, "addUsers/g", &body).await;
    quiet(&world).await;
    world.forget_calls().await;
    let second = world.post("addUsers/g", &body).await;
    assert_eq!(texts(&second.json()["usersAdded"], None), names(6, 20), "{second:?}");
    assert_eq!(world.calls().await, BTreeMap::new());
    // That one was read to its end: the next is a call of its own.
    let third = world.post("addUsers/g", &body).await;
    assert_eq!(third.header("x-facade-skipped"), Some("20"), "{third:?}");
    assert_ne!(third.header("x-facade-report"), second.header("x-facade-report"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_a_later_change_made_untrue_is_not_given_again() {
    let world = slow(&[("g", 5), ("other", 1)]).await;
    let body = json!({ "users": names(6, 10) });
    hang_up(&world, "addUsers/g", &body).await;
    quiet(&world).await;
    assert_eq!(world.users("addUsers/other", &names(30, 2)).await.status, 200);
    let removed = world.users("removeUsers/g", &names(6, 1)).await;
    assert_eq!(texts(&removed.json()["usersRemoved"], None), names(6, 1));
    let again = world.post("addUsers/g", &body).await;
    assert_eq!(texts(&again.json()["usersAdded"], None), names(6, 1), "{again:?}");
    assert_eq!(texts(&again.json()["usersSkipped"], None), names(7, 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_what_a_run_does_and_changes_nothing() {
    let world = World::with(60, &[("g", 10), ("h", 3)]).await;
    let mut users = names(8, 6);
    users.extend(["nobody", "", "USER000012", "user000012"].map(str::to_owned));
    for (path, list, group) in [
        ("addUsers/g", json!({ "users": users }), Some("g")),
        ("removeUsers/g", json!({ "users": users }), Some("g")),
        ("addGroups", json!({ "groups": ["g", "new", "NEW", " "] }), None),
        ("removeGroups", json!({ "groups": ["h", "gone", "H", ""] }), None),
    ] {
        let before = world.cloud.state().await;
        world.forget_calls().await;
        let dry = send(
            world
                .request(Method::POST, &format!("{path}?dryRun=true"))
                .bearer_auth(ADMIN)
                .body(list.to_string()),
        )
        .await;
        assert_eq!(
            (dry.status, dry.header("x-facade-dry-run")),
            (200, Some("true")),
            "{dry:?}"
        );
        assert_eq!(writes(&world.calls().await), 0);
        assert_eq!(world.cloud.state().await, before, "{path}");
        let header = post_with(&world, path, &list, &[("x-facade-dry-run", "true")]).await;
        assert_eq!(header.body, dry.body);
        let real = world.post(path, &list).await;
        assert_eq!((real.status, real.header("x-facade-dry-run")), (200, None), "{real:?}");
        assert_eq!(real.body, dry.body, "{path} {group:?}");
        assert_ne!(world.cloud.state().await, before, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_nearly_a_dry_run_is_refused_and_never_a_real_one() {
    let world = World::with(20, &[("g", 5)]).await;
    let body = json!({ "users": names(6, 3) });
    let before = world.cloud.state().await;
    for query in [
        "dryrun=true",
        "dryRun=1",
        "dryRun",
        "dry_run=true",
        "dryRun=false",
        "dryRun=true&dryRun=TRUE",
    ] {
        let answer = world.post(&format!("addUsers/g?{query}"), &body).await;
        assert_eq!(answer.status, 400, "{query} {answer:?}");
        assert!(
            answer.json()["message"]
                .as_str()
                .unwrap()
                .contains("nothing was changed")
        );
    }
    for value in ["yes", "false", "True"] {
        let answer = post_with(&world, "addUsers/g", &body, &[("x-facade-dry-run", value)]).await;
        assert_eq!(answer.status, 400, "{value} {answer:?}");
    }
    assert_eq!(world.cloud.state().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stands_for_one_call_and_its_answer() {
    let world = World::with(30, &[("g", 5)]).await;
    let body = json!({ "users": names(6, 3) });
    let with = |key: &'static str, body: Value| {
        let world = &world;
        async move { post_with(world, "addUsers/g", &body, &[("idempotency-key", key)]).await }
    };
    let first = with("one", body.clone()).await;
    assert_eq!(texts(&first.json()["usersAdded"], None), names(6, 3));
    world.forget_calls().await;
    for _ in 0..3 {
        let again = with("one", body.clone()).await;
        assert_eq!(again.body, first.body);
        assert_eq!(again.header("x-facade-report"), first.header("x-facade-report"));
    }
    assert_eq!(writes(&world.calls().await), 0);
    let other = with("one", json!({ "users": names(6, 4) })).await;
    assert_eq!(other.status, 422, "{other:?}");
    let dry = post_with(&world, "addUsers/g?dryRun=true", &body, &[("idempotency-key", "one")]).await;
    assert_eq!(dry.status, 422, "{dry:?}");
    let second_key = with("two", body.clone()).await;
    assert_eq!(second_key.header("x-facade-skipped"), Some("3"));
    assert_eq!(with("", body).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_mode_open_two_addresses_are_two_callers() {
    let mut options = options(60, &[("g", 5)]);
    options.latency_ms = 30;
    let world = World::start(options, |settings| {
        settings.inbound.mode = Mode::Open;
        settings.cloud.max_in_flight = 2;
    })
    .await;
    let body = json!({ "users": names(1, 20) }).to_string();
    let from = async |last: u8| {
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]);
        let client = client.local_address(std::net::IpAddr::from([127, 0, 0, last]));
        let url = format!("http://{}/rest/extender/1.0/group/addUsers/g", world.facade);
        send(client.build().unwrap().post(url).body(body.clone())).await
    };
    let (one, again, other) = tokio::join!(from(1), from(1), from(2));
    let report = |answer: &Reply| answer.header("x-facade-report").unwrap().to_owned();
    assert_eq!(report(&one), report(&again));
    assert_ne!(report(&one), report(&other));
    assert_eq!(one.body, again.body);
    let added = |answer: &Reply| texts(&answer.json()["usersAdded"], None);
    let mut all = [added(&one), added(&other)].concat();
    all.sort();
    assert_eq!(all, names(6, 15), "each change is one caller's");
    // Nor does one see the other's report.
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    let client = client.local_address(std::net::IpAddr::from([127, 0, 0, 2]));
    let client = client.build().unwrap();
    for (answer, status) in [(&one, 404), (&other, 200)] {
        let url = format!("http://{}/facade/v1/reports/{}", world.facade, report(answer));
        assert_eq!(send(client.get(url)).await.status, status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_observes_changes_nothing_and_is_told_what_a_run_would_do() {
    let world = World::with(40, &[("g", 10), ("h", 3)]).await;
    for (path, list) in [
        ("addUsers/g", json!({ "users": names(8, 6) })),
        ("removeUsers/g", json!({ "users": names(8, 6) })),
        ("addGroups", json!({ "groups": ["g", "new"] })),
        ("removeGroups", json!({ "groups": ["h", "gone"] })),
    ] {
        let before = world.cloud.state().await;
        let observe = async |path: &str| {
            let request = world.request(Method::POST, path).bearer_auth(OBSERVER);
            send(request.body(list.to_string())).await
        };
        let observed = observe(path).await;
        assert_eq!(
            (observed.status, observed.header("x-facade-dry-run")),
            (200, Some("true")),
            "{observed:?}"
        );
        let asked_for_it = observe(&format!("{path}?dryRun=true")).await;
        assert_eq!(asked_for_it.body, observed.body);
        assert_eq!(observe(&format!("{path}?dryRun=false")).await.status, 400);
        assert_eq!(world.cloud.state().await, before, "{path}");
        let report = world
            .report(observed.header("x-facade-report").unwrap(), OBSERVER, "")
            .await;
        assert_eq!(report.json()["dry_run"], true);
        // What it foretold is what another's run does.
        assert_eq!(world.post(path, &list).await.body, observed.body, "{path}");
    }
    assert!(world.audit().iter().all(|line| line["caller"] != "observer-token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_read_by_half_is_given_again() {
    let world = World::with(60, &[("g", 5)]).await;
    // Far more than the sockets hold: a part of it is never written.
    let mut users = names(6, 20);
    let long = "x".repeat(200);
    users.extend((0..30_000).map(|n| format!("stranger-{n}-{long}")));
    let body = json!({ "users": users }).to_string();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(world.facade).await.unwrap();
    let head = format!(
        "POST /rest/extender/1.0/group/addUsers/g HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut read = vec![0; 4096];
    stream.read_exact(&mut read).await.unwrap();
    let head = String::from_utf8(read).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    let report = head.lines().find_map(|line| line.strip_prefix("x-facade-report: "));
    let report = report.unwrap().to_owned();
    drop(stream);
    world.forget_calls().await;
    let ask = async || {
        let request = world.request(Method::POST, "addUsers/g").bearer_auth(ADMIN);
        send(request.body(body.clone())).await
    };
    let again = ask().await;
    assert_eq!(again.header("x-facade-report"), Some(report.as_str()));
    assert_eq!(texts(&again.json()["usersAdded"], None), names(6, 20));
    assert_eq!(world.calls().await, BTreeMap::new());
    let third = ask().await;
    assert_ne!(third.header("x-facade-report"), Some(report.as_str()));
    assert_eq!(texts(&third.json()["usersAdded"], None), names(6, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_got_is_there_after_a_restart_too() {
    let mut world = slow(&[("g", 5), ("h", 5)]).await;
    let users = json!({ "users": names(6, 20) });
    let stale = json!({ "users": names(6, 10) });
    let groups = json!({ "groups": (0..10).map(|n| format!("new {n}")).collect::<Vec<_>>() });
    for (path, body) in [("addUsers/g", &users), ("addUsers/h", &stale), ("addGroups", &groups)] {
        hang_up(&world, path, body).await;
        quiet(&world).await;
    }
    // This one's answer is not true any more.
    assert_eq!(world.users("removeUsers/h", &names(6, 1)).await.status, 200);
    world.restart().await;
    world.forget_calls().await;
    let answer = world.post("addUsers/g", &users).await;
    assert_eq!(texts(&answer.json()["usersAdded"], None), names(6, 20), "{answer:?}");
    let made = world.post("addGroups", &groups).await;
    assert_eq!(made.json()["groupsAdded"], groups["groups"], "{made:?}");
    assert_eq!(writes(&world.calls().await), 0);
    let answer = world.post("addUsers/h", &stale).await;
    assert_eq!(texts(&answer.json()["usersAdded"], None), names(6, 1), "{answer:?}");
    // Each was given once, and that is known after the next restart.
    world.restart().await;
    let answer = world.post("addUsers/g", &users).await;
    assert_eq!(answer.header("x-facade-skipped"), Some("20"));
    let answer = world.post("addGroups", &groups).await;
    assert_eq!(answer.header("x-facade-skipped"), Some("10"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stands_for_its_answer_after_a_restart_too() {
    let mut world = World::with(30, &[("g", 5)]).await;
    let body = json!({ "users": names(6, 3) });
    let key = [("idempotency-key", "one")];
    let first = post_with(&world, "addUsers/g", &body, &key).await;
    assert_eq!(texts(&first.json()["usersAdded"], None), names(6, 3));
    assert_eq!(world.users("removeUsers/g", &names(6, 1)).await.status, 200);
    world.restart().await;
    let again = post_with(&world, "addUsers/g", &body, &key).await;
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("x-facade-report"), first.header("x-facade-report"));
    let other = post_with(&world, "addUsers/g", &json!({ "users": names(6, 4) }), &key).await;
    assert_eq!(other.status, 422, "{other:?}");
    assert_eq!(world.truth("g").await, [names(1, 5), names(7, 2)].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_grows_while_its_operation_runs_and_is_shown_to_its_caller_and_to_operators() {
    let mut options = options(80, &[("g", 10)]);
    options.latency_ms = 60;
    let world = World::start(options, |settings| {
        settings.cloud.max_in_flight = 2;
        settings.extender.bulk_answer_deadline_s = 1;
    })
    .await;
    let asked = [names(1, 70), vec!["ghost".to_owned()]].concat();
    let answer = world.users("addUsers/g", &asked).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let id = answer.header("x-facade-report").unwrap().to_owned();
    let (mut before, mut between) = (0, 0);
    loop {
        let report = world.report(&id, ADMIN, "").await.json();
        let progress = &report["progress"];
        let count = |key: &str| progress[key].as_u64().unwrap();
        assert_eq!(count("asked"), 71);
        assert_eq!(count("settled") + count("left"), 71);
        assert_eq!(count("done") + count("skipped") + count("in_doubt"), count("settled"));
        assert!(count("settled") >= before, "{progress}");
        before = count("settled");
        let rows = report["names"].as_array().unwrap();
        let pending = rows.iter().filter(|row| row["outcome"] == "pending").count() as u64;
        assert_eq!(pending, count("left"));
        if report["state"] == "finished" {
            assert_eq!((count("done"), count("skipped"), count("left")), (60, 11, 0));
            assert_eq!(report["skipped"], json!({ "already_member": 10, "unknown": 1 }));
            assert_eq!(texts(&report["names"], Some("name")), asked);
            break;
        }
        assert_eq!(report["state"], "running");
        between += u64::from(before > 11 && before < 71);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(between > 0, "it was never seen on its way");
    for (token, query, status) in [
        (ADMIN, "", 200),
        (OPERATOR, "", 200),
        (OPERATOR, "?format=html", 200),
        (READER, "", 404),
        (OBSERVER, "", 404),
    ] {
        assert_eq!(world.report(&id, token, query).await.status, status, "{token} {query}");
    }
    // An account and a token are two callers, though the same person may have both.
    let url = format!("http://{}/facade/v1/reports/{id}", world.facade);
    let account = world.client.get(url).basic_auth("admin", Some("admin"));
    assert_eq!(send(account).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_tells_what_its_calls_waited_for() {
    let world = World::with(60, &[("g", 5)]).await;
    let limits = json!({ "rate": 100, "burst": 5, "retry_after": "1" });
    world.cloud.switch(limits).await;
    let answer = world.users("addUsers/g", &names(6, 20)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let id = answer.header("x-facade-report").unwrap();
    let report = world.report(id, ADMIN, "").await.json();
    let cost = &report["cloud"];
    let reasons = cost["waited_for_ms"].as_object().unwrap();
    assert!(reasons["pause"].as_u64() >= Some(900), "{cost}");
    let each: Vec<u64> = reasons.values().map(|ms| ms.as_u64().unwrap()).collect();
    assert!(!each.contains(&0), "{cost}");
    assert_eq!(cost["waited_ms"], each.iter().sum::<u64>());
    let page = world.report(id, ADMIN, "?format=html").await;
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(page.contains("of it because Cloud asked for a pause (429)"), "{page}");
}
