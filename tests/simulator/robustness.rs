//! Size, garbage and the end.
use std::collections::BTreeSet;
use std::time::Duration;

use extender_facade::simulator::{Error, Options, Simulator};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::cloud::Cloud;

#[tokio::test]
async fn a_hundred_thousand_users_and_a_group_of_ten_thousand_are_walked_and_changed() {
    let options = Options {
        users: 100_000,
        groups: 1_000,
        group: vec!["big=10000".parse().unwrap()],
        ..Options::default()
    };
    let cloud = Cloud::start(options).await;
    let id = cloud.group_id("big").await;
    let mut seen = BTreeSet::new();
    for start in (0..10_000).step_by(200) {
        let page = cloud
            .get(&format!("/group/{id}/membersByGroupId?start={start}&limit=200"))
            .await
            .json();
        seen.extend(
            page["results"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| it["accountId"].as_str().unwrap().to_owned()),
        );
    }
    assert_eq!(seen.len(), 10_000);
    cloud.switch(json!({ "lag_ms": 600_000 })).await;
    for place in 0..200 {
        assert_eq!(cloud.remove(&id, cloud.account(place)).await.status, 204);
        assert_eq!(cloud.add(&id, cloud.account(20_000 + place)).await.status, 201);
    }
    let page = cloud
        .get(&format!(
            "/group/{id}/membersByGroupId?limit=1&shouldReturnTotalSize=true"
        ))
        .await
        .json();
    assert_eq!(
        (&page["totalSize"], &page["results"][0]["accountId"]),
        (&json!(10_000), &json!(cloud.account(0)))
    );
    let truth = cloud.truth("big").await;
    assert_eq!((truth.len(), truth[0].as_str()), (10_000, cloud.account(200)));
}

#[tokio::test]
async fn garbage_is_refused_and_the_next_caller_is_served() {
    let cloud = Cloud::start(Options::default()).await;
    for garbage in [
        "\0\u{1}\u{2}nonsense\r\n\r\n",
        "CONNECT example.com:80 HTTP/1.1\r\nhost: example.com:80\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET http://other/wiki/rest/api/group?%zz&=&&start=%FF HTTP/1.1\r\nhost: \u{fc}\r\nauthorization: Basic YTpi\r\n\r\n",
        "GET /wiki/rest/api/group/%FF%00/membersByGroupId HTTP/1.1\r\nhost: a\r\nauthorization: Basic YTpi\r\n\r\n",
        "GET /ex/confluence//wiki HTTP/1.0\r\n\r\n",
        "POST /_sim/faults HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n\"a\"",
        "POST /wiki/rest/api/group HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let mut stream = TcpStream::connect(&cloud.address).await.unwrap();
        stream.write_all(garbage.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        // Whether it answers or hangs up is its own affair; that it does either in time is not.
        let _ = tokio::time::timeout(Duration::from_secs(5), read)
            .await
            .expect("no answer and no end");
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{garbage:?}");
    }
    assert_eq!(cloud.get("/group").await.status, 200);
}

#[tokio::test]
async fn a_stop_closes_the_connections_that_are_open() {
    let cloud = Cloud::start(Options {
        latency_ms: 600_000,
        ..Options::default()
    })
    .await;
    let mut idle = TcpStream::connect(&cloud.address).await.unwrap();
    let request = cloud.api(reqwest::Method::GET, "/group").send();
    let waiting = tokio::spawn(request);
    while cloud.stats().await["total"] == 0 {}
    let address = cloud.address.clone();
    tokio::time::timeout(Duration::from_secs(5), cloud.stop())
        .await
        .expect("it did not stop");
    assert!(waiting.await.unwrap().is_err());
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(&address).await.is_err());
}

#[test]
fn options_without_sense_are_told_clearly() {
    let told = |options: Options| Simulator::new(&options).err().unwrap().to_string();
    assert!(
        told(Options {
            rate: Some(-1.0),
            ..Options::default()
        })
        .starts_with("rate: ")
    );
    assert!(
        told(Options {
            burst: Some(1),
            ..Options::default()
        })
        .starts_with("burst: ")
    );
    assert!(
        told(Options {
            latency_ms: u64::MAX,
            ..Options::default()
        })
        .starts_with("latency_ms: ")
    );
    let group = vec!["g=101".parse().unwrap()];
    assert!(
        told(Options {
            group,
            ..Options::default()
        })
        .contains("101")
    );
    let missing = Options {
        data: Some("/no/such/file".into()),
        ..Options::default()
    };
    assert!(matches!(Simulator::new(&missing).err(), Some(Error::Read { .. })));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "{\n  \"users\": [{}]\n}").unwrap();
    let wrong = told(Options {
        data: Some(file.path().to_owned()),
        ..Options::default()
    });
    assert!(
        wrong.contains("users[0]") && wrong.contains("accountId") && wrong.contains("line 2"),
        "{wrong}"
    );
}
