//! Requests that two servers in a row might read differently: what one takes for a body is another's next request.

use crate::harness::{ADMIN, READER};
use crate::legitimate::{alone, served_throughout, world};
use crate::raw::Line;

const GROUPS: &str = "/rest/extender/1.0/group/getGroups";

/// A whole request that would change something.
fn hidden() -> String {
    let body = "{\"users\":[\"user000001\"]}";
    format!(
        "POST /rest/extender/1.0/group/addUsers/h HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ADMIN}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Heads of a request by a reader, and what stands before the hidden one. However lenient one is, none of them is a whole
/// request with another one behind it, or the connection has to end with it.
fn shapes() -> Vec<(&'static str, String)> {
    let length = hidden().len();
    let head = |lines: &str| {
        format!("POST {GROUPS} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {READER}\r\n{lines}\r\n\r\n")
    };
    let end = "0\r\n\r\n";
    let chunked = |first: &str| head("transfer-encoding: chunked") + first;
    let all = length + end.len();
    vec![
        (
            "a length and chunks",
            head(&format!("content-length: {all}\r\ntransfer-encoding: chunked")) + end,
        ),
        (
            "chunks and a length",
            head(&format!("transfer-encoding: chunked\r\ncontent-length: {all}")) + end,
        ),
        (
            "two lengths",
            head(&format!("content-length: 0\r\ncontent-length: {length}")),
        ),
        (
            "two lengths, the longer first",
            head(&format!("content-length: {length}\r\ncontent-length: 0")),
        ),
        (
            "two lengths in one field",
            head(&format!("content-length: 0, {length}")),
        ),
        ("a length with a sign", head("content-length: +0")),
        ("a negative length", head("content-length: -1")),
        ("a length in another base", head("content-length: 0x0")),
        ("a length beyond 64 bits", head("content-length: 18446744073709551616")),
        ("a length that is none", head("content-length: zero")),
        ("a blank in a length", head("content-length: 0 0")),
        ("a blank before the colon of a length", head("content-length : 0")),
        (
            "a blank before the colon of an encoding",
            head("transfer-encoding : chunked") + end,
        ),
        ("an unknown encoding", head("transfer-encoding: xchunked") + end),
        ("an encoding in quotes", head("transfer-encoding: \"chunked\"") + end),
        (
            "chunked, and something after it",
            head("transfer-encoding: chunked, identity") + end,
        ),
        (
            "chunked, and then not",
            head("transfer-encoding: chunked\r\ntransfer-encoding: identity") + end,
        ),
        (
            "an encoding behind a vertical tab",
            head("transfer-encoding: \x0bchunked") + end,
        ),
        ("an encoding behind a zero", head("transfer-encoding: \0chunked") + end),
        (
            "an encoding in a folded line",
            head("transfer-encoding:\r\n chunked") + end,
        ),
        ("a length in a folded line", head("content-length:\r\n 0")),
        ("a length folded into another field", head("x: y\r\n content-length: 0")),
        (
            "a field before the first",
            format!("POST {GROUPS} HTTP/1.1\r\n content-length: 0\r\n\r\n"),
        ),
        ("a field without a colon", head("content-length: 0\r\nx")),
        ("a return without a feed", head("x: y\rcontent-length: 0")),
        ("a zero in a field", head("content-length: 0\r\nx: \0")),
        ("a blank in a name", head("content length: 0\r\nx y: z")),
        (
            "chunks to HTTP/1.0",
            head("transfer-encoding: chunked").replace("1.1", "1.0") + end,
        ),
        ("a request of HTTP/0.9", format!("GET {GROUPS}\r\n")),
        (
            "a version that is none",
            head("content-length: 0").replace("HTTP/1.1", "HTTP/1.1x"),
        ),
        ("a size beyond 64 bits", chunked("10000000000000000\r\n")),
        ("a size with a sign", chunked("+0\r\n\r\n")),
        ("a negative size", chunked("-1\r\n\r\n")),
        ("a size in another notation", chunked("0x0\r\n\r\n")),
        ("no size", chunked("\r\n\r\n")),
        ("a size that is none", chunked("zero\r\n\r\n")),
        ("a feed in a chunk's extension", chunked("1;a\nb\r\nx\r\n0\r\n\r\n")),
        (
            "a chunk's extension without an end",
            chunked(&format!("1;{}", "a".repeat(100_000))),
        ),
        ("a chunk that is longer than it says", chunked("1\r\nxx\r\n0\r\n\r\n")),
        ("a size that ends with a return alone", chunked("0\r\r\n\r\n")),
        ("a last chunk that is cut off", chunked("0\r\nx")),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_hides_in_another() {
    let _alone = alone().await;
    let world = world(|_| {}).await;
    let facade = world.facade;
    let attack = move || async move {
        for _ in 0..3 {
            for (what, shape) in shapes() {
                let mut line = Line::to(facade).await;
                line.say(shape + &hidden()).await;
                line.finish().await;
                let answers = line
                    .hear_or_nothing()
                    .await
                    .map(|answer| answer.text())
                    .unwrap_or_default();
                assert!(!answers.contains("x-facade-report"), "{what}: {answers}");
                assert!(!answers.contains(" 200 "), "{what}: {answers}");
                assert!(answers.matches("HTTP/1.").count() <= 2, "{what}: {answers}");
            }
        }
    };
    served_throughout(&world, "requests with another one in them", attack).await;
    assert_eq!(world.truth("h").await, [""; 0]);
    // The hidden one is a good one, where it stands alone.
    let mut line = Line::to(world.facade).await;
    line.say(hidden()).await;
    assert_eq!(line.hear().await.unwrap().status, 200);
    assert_eq!(world.truth("h").await, ["user000001"]);
}

#[tokio::test]
async fn what_stands_behind_a_body_is_no_part_of_its_head() {
    let _alone = alone().await;
    let world = world(|_| {}).await;
    // A trailer that would let in, name another address, or another host.
    for trailer in [
        format!("authorization: Bearer {ADMIN}"),
        "x-forwarded-for: 203.0.113.1".to_owned(),
        "content-length: 10".to_owned(),
    ] {
        let body = "{\"users\":[\"user000002\"]}";
        let request = format!(
            "POST /rest/extender/1.0/group/addUsers/h HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {READER}\r\n\
             transfer-encoding: chunked\r\ntrailer: authorization\r\n\r\n{:x}\r\n{body}\r\n0\r\n{trailer}\r\n\r\n",
            body.len()
        );
        let mut line = Line::to(world.facade).await;
        line.say(request).await;
        assert_eq!(line.hear().await.unwrap().status, 403, "{trailer}");
    }
    assert_eq!(world.truth("h").await, [""; 0]);
}
