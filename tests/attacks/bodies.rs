//! Bodies that take more than they give: deep, long, large, twice, or no JSON at all.

use crate::harness::ADMIN;
use crate::legitimate::{alone, served_throughout, world};
use crate::raw::{Line, head};

fn bombs() -> Vec<(&'static str, Vec<u8>, u16)> {
    let deep = |open: &str, levels: usize| open.repeat(levels);
    let text = |text: String| text.into_bytes();
    vec![
        ("lists in lists", text(deep("[", 4 << 20)), 400),
        ("objects in objects", text(deep("{\"a\":", 1 << 20)), 400),
        (
            "lists in the list",
            text(format!("{{\"users\":{}", deep("[", 1 << 20))),
            400,
        ),
        (
            "lists under another key",
            text(format!("{{\"x\":{}", deep("[", 1 << 20))),
            400,
        ),
        (
            "lists under another key, and closed",
            text(format!(
                "{{\"x\":{}{},\"users\":7}}",
                deep("[", 1 << 20),
                deep("]", 1 << 20)
            )),
            400,
        ),
        (
            "a number of a million digits",
            text(format!("{{\"users\":[{}]}}", deep("9", 1 << 20))),
            400,
        ),
        (
            "a number beyond all",
            text("{\"x\":1e999999999,\"users\":[1e999999999]}".to_owned()),
            400,
        ),
        (
            "a number with an endless fraction",
            text(format!("{{\"x\":0.{}1}}", deep("0", 1 << 20))),
            400,
        ),
        (
            "a text of 4 MB that does not end",
            text(format!("{{\"users\":[\"{}", deep("x", 4 << 20))),
            400,
        ),
        (
            "escapes without an end",
            text(format!("{{\"users\":[\"{}", deep("\\u0041", 1 << 20))),
            400,
        ),
        ("half of a pair", text("{\"users\":[\"\\ud800\"]}".to_owned()), 400),
        (
            "the list twice",
            text("{\"users\":[\"user000001\"],\"users\":[]}".to_owned()),
            400,
        ),
        (
            "the list twice, once in escapes",
            text("{\"users\":[\"user000001\"],\"\\u0075sers\":[]}".to_owned()),
            400,
        ),
        ("a million keys", text(format!("{{{}", deep("\"a\":1,", 1 << 20))), 400),
        (
            "no UTF-8",
            [&b"{\"users\":[\""[..], &[0xff; 1000], b"\"]}"].concat(),
            400,
        ),
        ("zeros", vec![0; 1 << 20], 400),
        (
            "UTF-16",
            "{\"users\":[]}".encode_utf16().flat_map(u16::to_le_bytes).collect(),
            400,
        ),
        ("17 MiB", vec![b' '; 17 << 20], 413),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_refused_and_change_nothing() {
    let _alone = alone().await;
    let world = world(|_| {}).await;
    let facade = world.facade;
    let attack = move || async move {
        for (what, body, status) in bombs() {
            let all = (0..2).map(|_| async {
                let mut line = Line::to(facade).await;
                let headers = format!("authorization: Bearer {ADMIN}\ncontent-length: {}", body.len());
                line.say(head("POST", "/rest/extender/1.0/group/addUsers/h", &headers))
                    .await;
                line.say(&body).await;
                line.hear().await.unwrap()
            });
            for answer in futures_util::future::join_all(all).await {
                assert_eq!(answer.status, status, "{what}: {answer:?}");
                assert!(answer.body.len() < 2000, "{what}: what was sent does not come back");
            }
        }
    };
    served_throughout(&world, "bodies that take more than they give", attack).await;
    assert_eq!(world.truth("h").await, [""; 0]);
}
