//! The operator's listener: alive, ready, figures; and that it asks nobody.

use reqwest::Method;
use serde_json::{Value, json};

use crate::cloud::{Reply, send};
use crate::doors::client_at;
use crate::harness::{World, options};
use crate::raw::exchange;
use crate::worlds::refusal;

/// The operator's token, where a test sets one.
const TOKEN: &str = "the-operators-token";

async fn get(world: &World, path: &str) -> Reply {
    send(world.client.get(format!("http://{}{path}", world.admin))).await
}

async fn ready(world: &World) -> (u16, Value) {
    let answer = get(world, "/ready").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    (answer.status, answer.json())
}

#[tokio::test]
async fn nothing_is_asked_of_cloud_until_somebody_asks_the_facade() {
    let world = World::with(3, &[]).await;
    for path in ["/live", "/ready", "/metrics", "/nothing"] {
        for _ in 0..3 {
            get(&world, path).await;
        }
    }
    assert_eq!(world.calls().await, Default::default());
    let (status, body) = ready(&world).await;
    assert_eq!(
        (status, &body["ready"], &body["map_accounts"], &body["cloud"]["state"]),
        (200, &json!(true), &json!(3), &json!("untried"))
    );
}

#[tokio::test]
async fn it_answers_three_paths_by_get_and_head() {
    let world = World::with(1, &[]).await;
    let live = get(&world, "/live").await;
    assert_eq!((live.status, live.text()), (200, "alive\n".to_owned()));
    assert_eq!(get(&world, "/").await.status, 404);
    assert_eq!(get(&world, "/rest/extender/1.0/group/getGroups").await.status, 404);
    assert_eq!(
        send(world.client.head(format!("http://{}/ready", world.admin)))
            .await
            .status,
        200
    );
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let answer = send(world.client.request(method, format!("http://{}/live", world.admin))).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
    }
    let answer = exchange(world.admin, "CONNECT localhost:1 HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(get(&world, "/live").await.status, 200);
}

#[tokio::test]
async fn readiness_is_judged_by_the_last_exchange_with_cloud() {
    let world = World::start(options(2, &[]), |settings| {
        settings.extender.read_deadline_s = 1;
        settings.cache.groups_ttl_s = 0;
    })
    .await;
    assert_eq!(world.get("getGroups").await.status, 200);
    let (status, body) = ready(&world).await;
    assert_eq!(
        (status, &body["cloud"]["state"], &body["cloud"]["fault"]),
        (200, &json!("good"), &json!(null))
    );
    for (fault, value) in [("unauthorized", json!("401")), ("down", json!(true))] {
        world.cloud.switch(json!({ fault: value })).await;
        assert!(world.get("getGroups").await.status >= 502);
        world.forget_calls().await;
        let (status, body) = ready(&world).await;
        assert_eq!(
            (status, &body["ready"], &body["cloud"]["state"]),
            (503, &json!(false), &json!("failing"))
        );
        assert!(body["cloud"]["fault"].is_string(), "{body}");
        assert_eq!(get(&world, "/live").await.status, 200, "alive all the same");
        assert_eq!(world.calls().await, Default::default());
        world.cloud.switch(json!({ fault: null })).await;
        assert_eq!(world.get("getGroups").await.status, 200);
        assert_eq!(ready(&world).await.0, 200);
    }
}

#[tokio::test]
async fn it_is_not_ready_while_it_stops_and_finishes_what_runs() {
    let world = World::with(5, &[("g", 2)]).await;
    world.cloud.switch(json!({ "latency_ms": 1500 })).await;
    let request = world
        .request(Method::GET, "getUsers/g")
        .bearer_auth(crate::harness::READER);
    let running = tokio::spawn(send(request));
    while world.calls().await.is_empty() {
        tokio::task::yield_now().await;
    }
    world.stop.say();
    loop {
        let (status, body) = ready(&world).await;
        if status == 503 {
            assert_eq!((&body["ready"], &body["stopping"]), (&json!(false), &json!(true)));
            break;
        }
    }
    assert_eq!(get(&world, "/live").await.status, 200);
    let refused = world
        .client
        .get(format!("http://{}/rest/extender/1.0/group/getGroups", world.facade))
        .send()
        .await;
    assert!(refused.is_err(), "no new connections");
    assert_eq!(running.await.unwrap().status, 200);
    world.task.await.unwrap();
}

#[tokio::test]
async fn the_figures_are_prometheus_text_with_bounded_labels() {
    let world = World::with(3, &[("g", 2)]).await;
    world.get("getUsers/g").await;
    world.get("getUsers/some-name-in-a-path").await;
    world.get("some-unknown-path").await;
    world.users("addUsers/g", &["ghost", "user000003"]).await;
    let answer = get(&world, "/metrics").await;
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    let text = answer.text();
    for line in [
        "facade_requests_total{call=\"getUsers\",status=\"200\"} 1",
        "facade_requests_total{call=\"getUsers\",status=\"500\"} 1",
        "facade_requests_total{call=\"none\",status=\"404\"} 1",
        "facade_requests_total{call=\"addUsers\",status=\"200\"} 1",
        "facade_skipped_total{reason=\"unknown\"} 1",
        "facade_map_accounts 3",
        "facade_operations 0",
        "# EOF",
    ] {
        assert!(text.lines().any(|have| have == line), "{line}\n{text}");
    }
    for name in ["ghost", "some-name", "some-unknown", "user0000", "reader"] {
        assert!(!text.contains(name), "{name}\n{text}");
    }
}

#[tokio::test]
async fn elsewhere_than_on_loopback_it_needs_a_token() {
    let said = refusal(|settings| settings.admin.listen = Some(([0, 0, 0, 0], 0).into())).await;
    assert!(said.contains("admin.token"), "{said}");
    assert!(
        said.contains("in the clear") && said.contains("admin.allow_cleartext"),
        "{said}"
    );
    for token in ["operator", "a token with blanks"] {
        let said = refusal(|settings| settings.admin.token = token.into()).await;
        assert!(
            said.contains("admin.token") && said.contains("openssl") && !said.contains(token),
            "{said}"
        );
    }
    let world = World::start(options(1, &[]), |settings| {
        settings.admin.listen = Some(([0, 0, 0, 0], 0).into());
        settings.admin.token = TOKEN.into();
        settings.admin.allow_cleartext = true;
    })
    .await;
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", world.admin.port());
    // The container's own health check has no token.
    assert_eq!(send(world.client.get(url("/live"))).await.status, 200);
    for path in ["/ready", "/metrics", "/nothing"] {
        for token in [None, Some(&TOKEN[1..])] {
            let mut request = world.client.get(url(path));
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            assert_eq!(send(request).await.status, 401, "{path} {token:?}");
        }
        let answer = send(world.client.get(url(path)).bearer_auth(TOKEN)).await;
        assert_eq!(answer.status, if path == "/nothing" { 404 } else { 200 }, "{path}");
    }
    // Whoever has the token may come under any name.
    let answer = send(
        world
            .client
            .get(url("/live"))
            .bearer_auth(TOKEN)
            .header("host", "facade.example"),
    )
    .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn guesses_at_the_operators_token_are_limited_and_hold_up_nobody_who_had_it_right_before() {
    let world = World::start(options(1, &[]), |settings| settings.admin.token = TOKEN.into()).await;
    let ask = async |last: u8, token: &str| {
        let request = client_at(last).get(format!("http://{}/metrics", world.admin));
        send(request.bearer_auth(token)).await
    };
    assert_eq!(ask(2, TOKEN).await.status, 200);
    for last in [2, 3] {
        let mut statuses: Vec<u16> = Vec::new();
        for guess in 0..14 {
            statuses.push(ask(last, &format!("guess-{guess:016}")).await.status);
        }
        assert!(statuses[..10].iter().all(|status| *status == 401), "{statuses:?}");
        assert_eq!(statuses.contains(&429), last == 3, "{statuses:?}");
    }
    // Where it had been right, it is right still; elsewhere it is not even looked at.
    assert_eq!(ask(2, TOKEN).await.status, 200);
    let held = ask(3, TOKEN).await;
    assert_eq!((held.status, held.header("retry-after")), (429, Some("6")));
    assert_eq!(ask(4, TOKEN).await.status, 200);
    let live = client_at(3).get(format!("http://{}/live", world.admin));
    assert_eq!(send(live).await.status, 200, "it asks for no token");
}

#[tokio::test]
async fn without_a_token_no_web_page_reads_it() {
    let world = World::with(1, &[]).await;
    for headers in [
        "host: evil.example\r\n",
        "host: localhost\r\norigin: https://evil.example\r\n",
        "host: localhost\r\nsec-fetch-site: cross-site\r\n",
        "",
    ] {
        let answer = exchange(world.admin, format!("GET /metrics HTTP/1.1\r\n{headers}\r\n")).await;
        assert!(matches!(answer.status, 400 | 401 | 403), "{headers} {answer:?}");
        assert!(!answer.text().contains("facade_"), "{answer:?}");
    }
}
