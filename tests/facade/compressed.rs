//! Answers to the lists in fewer bytes, for clients that say that they read them.

use std::io::Read as _;

use reqwest::Method;

use crate::cloud::{Reply, send};
use crate::harness::{READER, World};

async fn ask(world: &World, method: Method, path: &str, accepted: Option<&str>) -> Reply {
    let request = world.request(method, path).bearer_auth(READER);
    send(match accepted {
        Some(accepted) => request.header("accept-encoding", accepted),
        None => request,
    })
    .await
}

fn unpacked(reply: &Reply) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*reply.body)
        .read_to_string(&mut text)
        .unwrap();
    text
}

const LISTS: [&str; 4] = [
    "getUsers/team",
    "getUsers/team?showBasicDetails=true&startAt=100",
    "getUsers/team?showExtendedDetails=true&dateFormat=yyyy",
    "getGroups",
];

#[tokio::test]
async fn long_lists_are_compressed_for_who_accepts_gzip_and_are_the_same_unpacked() {
    let mut options = crate::harness::options(300, &[("team", 300)]);
    options.groups = 200;
    let world = World::start(options, |_| {}).await;
    for path in LISTS {
        let plain = ask(&world, Method::GET, path, None).await;
        assert_eq!((plain.status, plain.header("content-encoding")), (200, None), "{path}");
        assert_eq!(plain.header("vary"), Some("accept-encoding"));
        for accepted in ["gzip", "gzip, deflate, br", "*"] {
            for _ in 0..2 {
                let packed = ask(&world, Method::GET, path, Some(accepted)).await;
                assert_eq!(packed.header("content-encoding"), Some("gzip"), "{path} {accepted}");
                assert_eq!(packed.header("content-type"), Some("application/json"));
                assert!(packed.body.len() < plain.body.len() / 2, "{path}");
                assert_eq!(unpacked(&packed), plain.text(), "{path} {accepted}");
            }
        }
        for accepted in ["identity", "deflate", "gzip;q=0"] {
            let other = ask(&world, Method::GET, path, Some(accepted)).await;
            assert_eq!(
                (other.header("content-encoding"), &other.body),
                (None, &plain.body),
                "{path} {accepted}"
            );
        }
        let packed = ask(&world, Method::GET, path, Some("gzip")).await;
        let head = ask(&world, Method::HEAD, path, Some("gzip")).await;
        for name in ["content-length", "content-encoding", "vary", "content-type"] {
            assert_eq!(head.header(name), packed.header(name), "{path} {name}");
        }
    }
}

#[tokio::test]
async fn what_is_short_is_not_compressed_and_nothing_is_where_the_setting_says_never() {
    let world = World::with(10, &[("team", 10)]).await;
    let short = ask(&world, Method::GET, "getUsers/team", Some("gzip")).await;
    assert_eq!((short.status, short.header("content-encoding")), (200, None));
    let never = World::start(crate::harness::options(300, &[("team", 300)]), |settings| {
        settings.extender.compress_from_bytes = 0;
    });
    let long = ask(&never.await, Method::GET, "getUsers/team", Some("gzip")).await;
    assert_eq!((long.status, long.header("content-encoding")), (200, None));
}

#[tokio::test]
async fn an_answer_that_is_ready_is_not_told_after_a_change() {
    let world = World::with(300, &[("team", 200)]).await;
    for accepted in [None, Some("gzip")] {
        let text = |reply: &Reply| {
            if accepted.is_some() {
                unpacked(reply)
            } else {
                reply.text()
            }
        };
        let path = "getUsers/team?maxResults=1000";
        let before = text(&ask(&world, Method::GET, path, accepted).await);
        assert_eq!(before, text(&ask(&world, Method::GET, path, accepted).await));
        let name = if accepted.is_some() { "user000250" } else { "user000251" };
        assert!(!before.contains(name));
        assert_eq!(world.users("addUsers/team", &[name]).await.status, 200);
        let after = text(&ask(&world, Method::GET, path, accepted).await);
        assert!(after.contains(name), "one's own change is seen at once");
        let groups = ask(&world, Method::GET, "getGroups", None).await.text();
        assert!(!groups.contains(name));
        assert_eq!(
            world.groups("addGroups", &[&format!("group-of-{name}")]).await.status,
            200
        );
        let groups = ask(&world, Method::GET, "getGroups", None).await.text();
        assert!(groups.contains(&format!("group-of-{name}")));
    }
}
