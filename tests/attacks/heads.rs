//! Heads that are too large, too many, or never end.

use crate::legitimate::{alone, served_throughout, world};
use crate::raw::Line;

const TARGET: &str = "/rest/extender/1.0/group/getGroups";

fn bombs() -> Vec<(&'static str, String)> {
    let get = format!("GET {TARGET} HTTP/1.1\r\nhost: localhost\r\n");
    let many = |n: usize| (0..n).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    vec![
        ("101 fields", format!("{get}{}\r\n", many(100))),
        ("10,000 fields", format!("{get}{}\r\n", many(10_000))),
        (
            "10,000 times one field",
            format!("{get}{}\r\n", "a: b\r\n".repeat(10_000)),
        ),
        ("a field of 1 MB", format!("{get}x: {}\r\n\r\n", "y".repeat(1 << 20))),
        ("a name of 1 MB", format!("{get}{}: y\r\n\r\n", "x".repeat(1 << 20))),
        ("a field that never ends", format!("{get}x: {}", "y".repeat(1 << 20))),
        (
            "a target of 1 MB",
            format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "a".repeat(1 << 20)),
        ),
        (
            "a query of 1 MB",
            format!("GET {TARGET}?{} HTTP/1.1\r\n\r\n", "a=b&".repeat(1 << 18)),
        ),
        (
            "a method of 1 MB",
            format!("{} / HTTP/1.1\r\n\r\n", "G".repeat(1 << 20)),
        ),
        (
            "a credential of 1 MB",
            format!("{get}authorization: Bearer {}\r\n\r\n", "x".repeat(1 << 20)),
        ),
        ("a megabyte of line breaks", "\r\n".repeat(1 << 19)),
        ("a megabyte of nothing", "\0".repeat(1 << 20)),
        (
            "100,000 addresses it came through",
            format!("{get}x-forwarded-for: {}\r\n\r\n", "1.1.1.1,".repeat(100_000)),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_refused_or_their_connections_closed() {
    let _alone = alone().await;
    let world = world(|settings| settings.inbound.header_timeout_s = 2).await;
    let facade = world.facade;
    let attack = move || async move {
        for _ in 0..5 {
            for (what, bomb) in bombs() {
                let all = (0..8).map(|_| async {
                    let mut line = Line::to(facade).await;
                    line.say(&bomb).await;
                    line.finish().await;
                    // Closing with something unread may take the answer along.
                    line.hear_or_nothing().await
                });
                for answer in futures_util::future::join_all(all).await.into_iter().flatten() {
                    assert!(matches!(answer.status, 400 | 414 | 431), "{what}: {answer:?}");
                }
            }
        }
    };
    served_throughout(&world, "heads that are too large", attack).await;
    assert_eq!(world.calls().await.get("list_groups"), None);
}
