//! What must never be written anywhere: passwords and tokens, wherever a client puts them.

use std::cell::RefCell;
use std::io::Write;
use std::sync::Once;

use reqwest::Method;
use serde_json::json;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::prelude::*;

use crate::cloud::send;
use crate::harness::{ADMIN, World};

thread_local! {
    /// What this thread logs, which is where a test's whole world runs; nothing on the threads of other tests.
    static LOG: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.with_borrow_mut(|log| log.get_or_insert_default().extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        LOG.with_borrow(|log| String::from_utf8_lossy(log.as_ref().unwrap()).into_owned())
    }
}

/// Everything from now on. One subscriber for all tests: those of single threads, coming and going, make tracing
/// forget who wants what.
fn listen() -> Log {
    static SUBSCRIBER: Once = Once::new();
    SUBSCRIBER.call_once(|| {
        let here = dynamic_filter_fn(|_, _| LOG.with_borrow(Option::is_some));
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Log);
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(here));
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
    LOG.set(Some(Vec::new()));
    Log
}

#[tokio::test]
async fn no_secret_is_logged_or_echoed_wherever_a_client_puts_it() {
    let log = listen();
    let world = World::with(3, &[("g", 1)]).await;
    let query = "os_username=admin&os_password=s3cret-query&token=s3cret-other";
    for (method, path) in [
        (Method::GET, "getGroups"),
        (Method::GET, "getUsers/g"),
        (Method::GET, "getUsers/missing"),
        (Method::GET, "nowhere"),
        (Method::DELETE, "getGroups"),
        (Method::POST, "addUsers/g"),
    ] {
        for authorized in [true, false] {
            let mut request = world
                .request(method.clone(), &format!("{path}?{query}"))
                .body("{\"users\":[\"user000002\"]}");
            request = if authorized {
                request.bearer_auth(ADMIN)
            } else {
                request.basic_auth("admin", Some("s3cret-basic"))
            };
            let answer = send(request).await;
            let headers = format!("{:?}", answer.headers);
            assert!(
                !answer.text().contains("s3cret") && !headers.contains("s3cret"),
                "{answer:?}"
            );
            assert!(!answer.text().contains("os_") && !headers.contains("os_"), "{answer:?}");
        }
    }
    send(world.request(Method::GET, "getGroups").bearer_auth("s3cret-bearer")).await;
    let text = log.text();
    assert!(
        text.contains("answered") && text.contains("admin-token"),
        "the log is listened to"
    );
    for secret in ["s3cret", "os_password", ADMIN, "robot-token"] {
        assert!(!text.contains(secret), "{secret} is logged");
    }
}

#[tokio::test]
async fn a_callers_own_token_is_never_logged_even_if_cloud_fails() {
    let log = listen();
    let world = World::start(crate::harness::options(3, &[("g", 1)]), |settings| {
        settings.inbound.mode = extender_facade::settings::Mode::Passthrough;
        settings.extender.read_deadline_s = 1;
    })
    .await;
    for fault in [
        json!({}),
        json!({ "unauthorized": "html" }),
        json!({ "unauthorized": null, "down": true }),
    ] {
        world.cloud.switch(fault).await;
        let answer = send(
            world
                .request(Method::GET, "getUsers/g")
                .basic_auth("ann@example.com", Some("s3cret-token")),
        )
        .await;
        assert!(!answer.text().contains("s3cret"), "{answer:?}");
    }
    let text = log.text();
    assert!(text.contains("ann@example.com"), "{text}");
    assert!(!text.contains("s3cret"));
}

#[tokio::test]
async fn a_line_break_in_what_a_client_sends_makes_no_line_of_the_log() {
    let log = listen();
    let world = World::with(1, &[("g", 0)]).await;
    let answer = world.get("getUsers/x%0A2026-01-01T00:00:00Z%20%20INFO%20forged").await;
    assert_eq!(answer.status, 500);
    world
        .users("addUsers/g", &["a\n2026-01-01T00:00:00Z  INFO forged \u{1b}[31m"])
        .await;
    assert!(log.text().contains("forged"));
    for line in log.text().lines() {
        assert!(!line.starts_with("2026-01-01"), "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }
}
