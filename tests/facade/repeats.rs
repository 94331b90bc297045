//! The same request a moment later: answered without being judged anew, and never otherwise than if it were.

use std::time::{Duration, Instant};

use extender_facade::settings::Mode;
use reqwest::Method;

use crate::cloud::{Reply, send};
use crate::harness::{READER, World, digest, names, options};

const LIST: &str = "getUsers/team?showBasicDetails=true";

async fn figure(world: &World, line: &str) -> u64 {
    let text = world.metrics().await;
    let count = text.lines().find_map(|have| have.strip_prefix(line));
    count.map_or(0, |count| count.trim().parse().unwrap())
}

async fn repeated(world: &World) -> u64 {
    figure(world, "facade_lookups_total{cache=\"answers\",result=\"hit\"} ").await
}

/// Asks twice at least, until the second answer was a repetition of the first: on a busy machine more than its time may
/// lie between two requests.
async fn twice(world: &World, ask: impl AsyncFn() -> Reply) -> (Reply, Reply) {
    for _ in 0..50 {
        let first = ask().await;
        let before = repeated(world).await;
        let second = ask().await;
        if repeated(world).await > before {
            return (first, second);
        }
    }
    panic!("nothing is repeated");
}

#[tokio::test]
async fn a_repeated_answer_is_the_same_but_for_its_id_and_is_counted() {
    let world = World::with(30, &[("team", 20)]).await;
    for path in [
        LIST,
        "getUsers/team?showExtendedDetails=true&dateFormat=yyyy",
        "getGroups",
        "getUsers/team?startAt=7",
    ] {
        let (first, second) = twice(&world, async || world.get(path).await).await;
        assert_eq!((first.status, &first.body), (200, &second.body), "{path}");
        let id = |reply: &Reply| reply.header("x-facade-request-id").unwrap().to_owned();
        assert_eq!((id(&first).len(), id(&second).len()), (32, 32));
        assert_ne!(id(&first), id(&second));
        let others = |reply: &Reply| {
            let mut headers = reply.headers.clone();
            headers.remove("x-facade-request-id");
            headers.remove("date");
            headers
        };
        assert_eq!(others(&first), others(&second), "{path}");
    }
    let asked = figure(&world, "facade_requests_total{call=\"getGroups\",status=\"200\"} ").await;
    world.get("getGroups").await;
    world.get("getGroups").await;
    let now = figure(&world, "facade_requests_total{call=\"getGroups\",status=\"200\"} ").await;
    assert_eq!(now, asked + 2);
    let named = async || {
        let request = world.request(Method::GET, LIST).bearer_auth(READER);
        send(request.header("x-request-id", "mine-1")).await
    };
    let (_, second) = twice(&world, named).await;
    assert_eq!(second.header("x-facade-request-id"), Some("mine-1"));
}

#[tokio::test]
async fn what_is_asked_otherwise_or_by_somebody_else_is_judged() {
    let world = World::with(30, &[("team", 20)]).await;
    let ask = async |change: fn(reqwest::RequestBuilder) -> reqwest::RequestBuilder| {
        send(change(world.request(Method::GET, LIST))).await.status
    };
    twice(&world, async || world.get(LIST).await).await;
    for _ in 0..3 {
        assert_eq!(world.get(LIST).await.status, 200);
        assert_eq!(ask(|request| request).await, 401);
        assert_eq!(ask(|request| request.bearer_auth("xft_nobody")).await, 401);
        assert_eq!(ask(|request| request.basic_auth("reader", Some("wrong"))).await, 401);
        assert_eq!(
            ask(|request| request.bearer_auth(READER).header("accept", "text/xml")).await,
            406
        );
        assert_eq!(
            ask(|request| request.bearer_auth(READER).header("host", "evil.example")).await,
            403
        );
        assert_eq!(
            ask(|request| request.bearer_auth(READER).header("sec-fetch-site", "cross-site")).await,
            403
        );
    }
    let post = world.request(Method::POST, LIST).bearer_auth(READER);
    assert_eq!(send(post).await.status, 405);
    let head = send(world.request(Method::HEAD, LIST).bearer_auth(READER)).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let with_body = send(world.request(Method::GET, LIST).bearer_auth(READER).body("{}")).await;
    assert_eq!(with_body.status, 200);
    let bad = world.get("getUsers/team?showBasicDetails=true&maxResults=x").await;
    assert_eq!(bad.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_ours_is_in_the_next_answer() {
    let world = World::with(60, &[("team", 20)]).await;
    for name in names(21, 25) {
        twice(&world, async || world.get("getUsers/team").await).await;
        assert_eq!(
            world.users("addUsers/team", std::slice::from_ref(&name)).await.status,
            200
        );
        assert!(world.members("team").await.contains(&name), "{name}");
        assert_eq!(
            world
                .users("removeUsers/team", std::slice::from_ref(&name))
                .await
                .status,
            200
        );
        assert!(!world.members("team").await.contains(&name), "{name}");
    }
    twice(&world, async || world.get("getGroups").await).await;
    assert_eq!(world.groups("addGroups", &["anew"]).await.status, 200);
    assert!(world.get("getGroups").await.text().contains("\"anew\""));
    twice(&world, async || world.get("getUsers/anew").await).await;
    assert_eq!(world.groups("removeGroups", &["anew"]).await.status, 200);
    assert_eq!(world.get("getUsers/anew").await.status, 500);
}

#[tokio::test]
async fn a_token_is_no_longer_good_than_its_entry_says() {
    let ends = jiff::Timestamp::now() + Duration::from_secs(4);
    let world = World::start(options(5, &[("team", 3)]), |settings| {
        let path = settings.inbound.accounts_file.clone().unwrap();
        let more = format!(
            "[[token]]\nname = \"brief\"\nsha256 = \"{}\"\nrole = \"reader\"\nexpires = \"{ends}\"\n",
            digest("brief-token")
        );
        let text = std::fs::read_to_string(&path).unwrap() + &more;
        std::fs::write(&path, text).unwrap();
    })
    .await;
    let from = Instant::now();
    loop {
        let asked = jiff::Timestamp::now();
        let answer = send(world.request(Method::GET, LIST).bearer_auth("brief-token")).await;
        if answer.status == 401 {
            break;
        }
        assert_eq!(answer.status, 200);
        assert!(asked < ends, "answered {asked}, and it ended {ends}");
        assert!(from.elapsed() < Duration::from_secs(60));
    }
    assert!(jiff::Timestamp::now() >= ends);
}

#[tokio::test]
async fn a_caller_may_ask_no_faster_for_the_same_thing() {
    let world = World::start(options(5, &[("team", 3)]), |settings| {
        settings.inbound.max_requests_per_second = 1;
    })
    .await;
    let asks = (0..60).map(|_| world.get(LIST));
    let answers = futures_util::future::join_all(asks).await;
    let refused = answers.iter().filter(|answer| answer.status == 429).count();
    assert!(refused >= 20, "{refused}");
    assert!(answers.iter().all(|answer| [200, 429].contains(&answer.status)));
}

#[tokio::test]
async fn nothing_is_repeated_for_callers_whom_cloud_judges() {
    let visited = World::start(options(5, &[("team", 3)]), |settings| {
        settings.inbound.mode = Mode::Passthrough;
        settings.inbound.accounts_file = None;
        settings.cloud.email = String::new();
        settings.cloud.api_token = String::new().into();
    })
    .await;
    let ask = async || {
        let request = visited.request(Method::GET, LIST);
        send(request.basic_auth("ann@example.com", Some("t-ann"))).await
    };
    for _ in 0..5 {
        assert_eq!(ask().await.status, 200);
    }
    assert_eq!(repeated(&visited).await, 0);
}
