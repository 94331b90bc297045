//! From where callers may come, whom a proxy may name, and how much one of them may ask.

use std::net::{IpAddr, Ipv4Addr};

use extender_facade::settings::{Mode, Network, Settings};
use futures_util::future::join_all;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::json;

use crate::cloud::{Reply, send, try_send};
use crate::errors::assert_error;
use crate::harness::{ADMIN, READER, World, names, options};
use crate::raw::{Line, head};
use crate::worlds::refusal;

const GROUPS: &str = "/rest/extender/1.0/group/getGroups";
const NOT_FROM_THERE: &str = "Client may not access this resource from its address.";
const LOGIN_REASON: &str = "x-seraph-loginreason";

fn networks(texts: &[&str]) -> Vec<Network> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A client with an address of its own on this machine: 127.0.0.`last`.
pub fn client_at(last: u8) -> Client {
    let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    let client = Client::builder().no_proxy().tls_certs_only([]).local_address(address);
    client.build().unwrap()
}

fn groups(world: &World, client: &Client) -> RequestBuilder {
    client
        .get(format!("http://{}{GROUPS}", world.facade))
        .bearer_auth(READER)
}

async fn forwarded(world: &World, value: &str) -> Reply {
    send(groups(world, &world.client).header("x-forwarded-for", value)).await
}

/// A log-in by password on behalf of somebody at `client`, as a proxy on this machine says.
async fn log_in(world: &World, client: &str, name: &str, password: &str) -> Reply {
    let request = world
        .request(Method::GET, "getGroups")
        .header("x-forwarded-for", client);
    send(request.basic_auth(name, Some(password))).await
}

async fn closed(world: &World, reason: &str) -> u64 {
    let line = format!("facade_connections_closed_total{{reason=\"{reason}\"}} ");
    let text = world.metrics().await;
    let count = text.lines().find_map(|have| have.strip_prefix(&line));
    count.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_from_a_network_that_is_not_allowed_is_not_heard() {
    let world = World::start(options(1, &[]), |settings| {
        settings.inbound.allow_networks = networks(&["127.0.0.2", "10.0.0.0/8"]);
    })
    .await;
    // This machine is none of them: it is not named.
    for header in ["127.0.0.2", "10.0.0.1"] {
        let request = groups(&world, &world.client).header("x-forwarded-for", header);
        assert!(try_send(request).await.is_err(), "{header}");
    }
    assert!(Line::to(world.facade).await.is_closed().await);
    assert!(
        closed(&world, "network").await >= 3,
        "and the operator's listener is another door"
    );
    assert_eq!(world.calls().await, Default::default());
    assert_eq!(send(groups(&world, &client_at(2))).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_the_callers_own_address_counts() {
    let world = World::start(options(1, &[]), |settings| {
        settings.inbound.allow_networks = networks(&["203.0.113.0/24", "2001:db8::/32"]);
        settings.inbound.trusted_proxies = networks(&["127.0.0.1", "10.0.0.0/8"]);
    })
    .await;
    for (value, status) in [
        ("203.0.113.9", 200),
        ("198.51.100.1, 203.0.113.9", 200),
        ("198.51.100.1, 203.0.113.9, 10.1.2.3", 200),
        ("203.0.113.9:51234", 200),
        ("2001:db8::5", 200),
        ("198.51.100.1", 403),
        ("203.0.113.9, 198.51.100.1", 403),
        ("203.0.113.9, nonsense", 403),
        ("127.0.0.1", 403),
        ("", 403),
    ] {
        let answer = forwarded(&world, value).await;
        assert_eq!(answer.status, status, "{value:?}: {answer:?}");
        if status == 403 {
            assert_error(&answer, 403, NOT_FROM_THERE);
        }
    }
    // Bytes that are no text hide nothing of what the proxy says.
    let mut line = Line::to(world.facade).await;
    for (value, status) in [
        (&b"\xe9, 198.51.100.1"[..], 403),
        (b"203.0.113.9, \xe9", 403),
        (b"\xe9, 203.0.113.9", 200),
    ] {
        let text = head(
            "GET",
            GROUPS,
            &format!("authorization: Bearer {READER}\nx-forwarded-for: HERE"),
        );
        let (before, after) = text.split_once("HERE").unwrap();
        line.say([before.as_bytes(), value, after.as_bytes()].concat()).await;
        assert_eq!(line.hear().await.unwrap().status, status, "{value:?}");
    }
    // Whoever has no business here is told so whatever he shows, and the proxy itself is nobody's guest.
    for request in [world.request(Method::GET, "nowhere"), groups(&world, &world.client)] {
        assert_error(&send(request).await, 403, NOT_FROM_THERE);
    }
    let bypassing = groups(&world, &client_at(2)).header("x-forwarded-for", "203.0.113.9");
    assert!(try_send(bypassing).await.is_err());
}

#[tokio::test]
async fn whom_a_trusted_proxy_hides_does_not_come_in_in_its_name() {
    let world = World::start(options(1, &[]), |settings| {
        settings.inbound.allow_networks = networks(&["127.0.0.1"]);
        settings.inbound.trusted_proxies = networks(&["127.0.0.1"]);
    })
    .await;
    let own = send(groups(&world, &world.client)).await;
    assert_eq!(own.status, 200, "nobody is behind it: {own:?}");
    for value in ["unknown", "", "198.51.100.1, _hidden", "198.51.100.1,"] {
        assert_error(&forwarded(&world, value).await, 403, NOT_FROM_THERE);
    }
    let mut line = Line::to(world.facade).await;
    let text = head(
        "GET",
        GROUPS,
        &format!("authorization: Bearer {READER}\nx-forwarded-for: "),
    );
    let text = text.trim_end().as_bytes();
    line.say([text, b" \xe9, 198.51.100.1\r\n\r\n"].concat()).await;
    assert_eq!(line.hear().await.unwrap().status, 403);
}

#[tokio::test]
async fn who_is_no_trusted_proxy_names_nobody() {
    let world = World::start(options(1, &[]), |settings| {
        settings.inbound.allow_networks = networks(&["127.0.0.1"]);
        settings.inbound.trusted_proxies = networks(&["127.0.0.9"]);
    })
    .await;
    assert_eq!(forwarded(&world, "198.51.100.1").await.status, 200);
    let mut reasons = Vec::new();
    for guess in 0..14 {
        let answer = log_in(&world, &format!("203.0.113.{guess}"), "reader", &format!("{guess}")).await;
        assert_eq!(answer.status, 401);
        reasons.push(answer.header(LOGIN_REASON).unwrap().to_owned());
    }
    assert_eq!(reasons[13], "AUTHENTICATION_DENIED", "{reasons:?}");
}

#[tokio::test]
async fn behind_a_proxy_guessing_locks_out_who_guesses_and_nobody_else() {
    let world = World::start(options(1, &[]), |settings| {
        settings.inbound.trusted_proxies = networks(&["127.0.0.1"]);
    })
    .await;
    for guess in 0..14 {
        log_in(&world, "203.0.113.1", "reader", &format!("{guess}")).await;
    }
    let denied = log_in(&world, "203.0.113.1", "reader", "reader").await;
    assert_eq!(
        (denied.status, denied.header(LOGIN_REASON)),
        (401, Some("AUTHENTICATION_DENIED"))
    );
    // What a client writes itself stands to the left of what the proxy adds.
    let forged = log_in(&world, "203.0.113.2, 203.0.113.1", "reader", "another guess").await;
    assert_eq!(forged.header(LOGIN_REASON), Some("AUTHENTICATION_DENIED"));
    assert_eq!(log_in(&world, "203.0.113.2", "reader", "reader").await.status, 200);
    assert_eq!(log_in(&world, "203.0.113.1", "admin", "admin").await.status, 200);
}

#[tokio::test]
async fn in_mode_open_callers_behind_a_proxy_are_told_apart_and_others_are_not() {
    for (proxies, status) in [(&["127.0.0.1"][..], 404), (&[], 200)] {
        let world = World::start(options(5, &[("g", 1)]), |settings| {
            settings.inbound.mode = Mode::Open;
            settings.inbound.trusted_proxies = networks(proxies);
        })
        .await;
        let body = json!({ "users": names(2, 1) }).to_string();
        let add = world.request(Method::POST, "addUsers/g").body(body);
        let answer = send(add.header("x-forwarded-for", "203.0.113.1")).await;
        let id = answer.header("x-facade-report").unwrap().to_owned();
        let report = async |client: &str| {
            let url = format!("http://{}/facade/v1/reports/{id}", world.facade);
            send(world.client.get(url).header("x-forwarded-for", client))
                .await
                .status
        };
        assert_eq!(report("203.0.113.1").await, 200);
        assert_eq!(report("203.0.113.2").await, status, "{proxies:?}");
    }
}

#[tokio::test]
async fn credentials_travel_in_the_clear_beyond_loopback_only_if_that_is_said() {
    let anywhere = |settings: &mut Settings| settings.inbound.listen = ([0, 0, 0, 0], 0).into();
    let said = refusal(anywhere).await;
    for mend in [
        "in the clear",
        "inbound.tls_cert_file",
        "inbound.trusted_proxies",
        "loopback",
        "inbound.allow_cleartext",
    ] {
        assert!(said.contains(mend), "{mend}: {said}");
    }
    // Meant, or with a proxy before it that speaks TLS.
    for proxies in [&[][..], &["127.0.0.1"]] {
        let world = World::start(options(1, &[]), |settings| {
            anywhere(settings);
            settings.inbound.trusted_proxies = networks(proxies);
            settings.inbound.allow_cleartext = proxies.is_empty();
        })
        .await;
        let url = format!("http://127.0.0.1:{}{GROUPS}", world.facade.port());
        assert_eq!(send(world.client.get(url).bearer_auth(READER)).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_with_too_many_requests_under_way_is_429_and_others_are_not() {
    let world = World::start(options(3, &[("g", 2)]), |settings| {
        settings.inbound.max_requests_at_once = 2;
        settings.cache.groups_ttl_s = 0;
    })
    .await;
    world.cloud.switch(json!({ "latency_ms": 2000 })).await;
    let ask = |token: &'static str| send(world.request(Method::GET, "getGroups").bearer_auth(token));
    let (readers, admin) = tokio::join!(join_all((0..6).map(|_| ask(READER))), ask(ADMIN));
    let refused: Vec<_> = readers.iter().filter(|answer| answer.status != 200).collect();
    assert_eq!((refused.len(), admin.status), (4, 200));
    for answer in refused {
        assert_error(answer, 429, "Rate limit exceeded.");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    world.cloud.switch(json!({ "latency_ms": null })).await;
    for _ in 0..5 {
        assert_eq!(ask(READER).await.status, 200, "what has ended counts no more");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_answer_is_not_read_is_still_under_way() {
    let world = World::start(options(1000, &[("g", 1000)]), |settings| {
        settings.inbound.max_requests_at_once = 1;
    })
    .await;
    let mut line = Line::to(world.facade).await;
    let get = head(
        "GET",
        "/rest/extender/1.0/group/getUsers/g?showExtendedDetails=true",
        &format!("authorization: Bearer {READER}"),
    );
    // Several times what the kernel keeps, at its most: one of them stays.
    line.say(get.repeat(300)).await;
    let mut in_a_row = 0;
    for _ in 0..5000 {
        let answer = world.get("getGroups").await;
        in_a_row = if answer.status == 429 { in_a_row + 1 } else { 0 };
        if in_a_row == 200 {
            break;
        }
    }
    assert_eq!(in_a_row, 200);
    drop(line);
    while world.get("getGroups").await.status == 429 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_asks_too_fast_is_429_with_a_time_to_come_back() {
    let world = World::start(options(1, &[]), |settings| settings.inbound.max_requests_per_second = 2).await;
    let answers = join_all((0..40).map(|_| world.get("getGroups"))).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(refused.len() >= 10 && refused.len() < 39, "{} of 40", refused.len());
    assert_error(refused[0], 429, "Rate limit exceeded.");
    assert_eq!(refused[0].header("retry-after"), Some("1"));
    let admin = world.request(Method::GET, "getGroups").bearer_auth(ADMIN);
    assert_eq!(send(admin).await.status, 200);
    while world.get("getGroups").await.status == 429 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_take_the_connections_of_others() {
    let world = World::start(options(1, &[]), |settings| {
        settings.inbound.max_connections = 20;
        settings.inbound.max_connections_per_address = 4;
    })
    .await;
    let mut lines = Vec::new();
    for _ in 0..60 {
        let mut line = Line::to(world.facade).await;
        line.say("GET / HTTP/1.1\r\nx-slow: ").await;
        lines.push(line);
    }
    assert_eq!(send(groups(&world, &client_at(2))).await.status, 200);
    while closed(&world, "address").await + closed(&world, "idle").await < 56 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_has_as_many_connections_as_there_are() {
    let world = World::start(options(1, &[]), |settings| {
        settings.inbound.max_connections_per_address = 2;
        settings.inbound.trusted_proxies = networks(&["127.0.0.1"]);
    })
    .await;
    let mut lines = Vec::new();
    for _ in 0..12 {
        lines.push(Line::to(world.facade).await);
    }
    for line in &mut lines {
        line.say(head("GET", GROUPS, &format!("authorization: Bearer {READER}")))
            .await;
        assert_eq!(line.hear().await.unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_connections_run_out_who_says_nothing_makes_room() {
    let world = World::start(options(2, &[("g", 1)]), |settings| {
        settings.inbound.max_connections = 3;
        settings.inbound.header_timeout_s = 600;
        settings.inbound.body_timeout_s = 600;
    })
    .await;
    let mut lines = Vec::new();
    for text in [
        String::new(),
        "GET / HTTP/1.1\r\nx-slow: ".to_owned(),
        // Answered, and its body is waited for no more than its next request.
        head("POST", "/nowhere", "content-length: 100000"),
    ] {
        let mut line = Line::to(world.facade).await;
        line.say(text).await;
        lines.push(line);
    }
    // They stay, each with a connection.
    let clients = [2, 3, 4].map(client_at);
    for client in &clients {
        assert_eq!(send(groups(&world, client)).await.status, 200);
    }
    // Whose turn it was is answered before who went for it is counted.
    while closed(&world, "idle").await < 3 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_connection_longer_than_for_a_head() {
    let world = World::start(options(2, &[("g", 1)]), |settings| {
        settings.inbound.max_connections = 1;
        settings.inbound.header_timeout_s = 1;
    })
    .await;
    world.cloud.switch(json!({ "latency_ms": 4000 })).await;
    let text = head("GET", GROUPS, &format!("authorization: Bearer {READER}"));
    let (mut one, mut other) = (Line::to(world.facade).await, Line::to(world.facade).await);
    one.say(&text).await;
    other.say(&text).await;
    assert!(other.hear_or_nothing().await.is_none());
    assert_eq!(closed(&world, "full").await, 1);
    assert_eq!(one.hear().await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_something_is_answered_is_never_taken_away() {
    let world = World::start(options(2, &[("g", 1)]), |settings| settings.inbound.max_connections = 1).await;
    world.cloud.switch(json!({ "latency_ms": 1500 })).await;
    let ask = |last: u8, path: &str| {
        let url = format!("http://{}/rest/extender/1.0/group/{path}", world.facade);
        send(client_at(last).get(url).bearer_auth(READER))
    };
    let (one, other) = tokio::join!(ask(2, "getGroups"), ask(3, "getUsers/g"));
    assert_eq!((one.status, other.status), (200, 200));
}
