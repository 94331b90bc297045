//! Mode `passthrough`: the caller's own credential, judged by Cloud.

use extender_facade::settings::{Mode, Settings};
use reqwest::Method;
use serde_json::json;

use crate::cloud::{Reply, send};
use crate::errors::assert_error;
use crate::harness::{World, names, once_back, options};
use crate::worlds::refusal;

const UNAUTHENTICATED: &str = "Client must be authenticated to access this resource.";
const UNAUTHORISED: &str = "Client must be authenticated as an administrator to access this resource.";

fn settings(settings: &mut Settings) {
    settings.inbound.mode = Mode::Passthrough;
    settings.inbound.accounts_file = None;
    settings.cloud.email = String::new();
    settings.cloud.api_token = String::new().into();
}

async fn world() -> World {
    World::start(options(20, &[("g", 5), ("h", 3)]), settings).await
}

async fn get(world: &World, path: &str, email: &str, token: &str) -> Reply {
    send(world.request(Method::GET, path).basic_auth(email, Some(token))).await
}

async fn add(world: &World, path: &str, email: &str, token: &str, names: &[String]) -> Reply {
    let body = json!({ "users": names }).to_string();
    send(
        world
            .request(Method::POST, path)
            .basic_auth(email, Some(token))
            .body(body),
    )
    .await
}

async fn calls(world: &World) -> serde_json::Value {
    json!(world.calls().await)
}

#[tokio::test]
async fn a_credential_is_validated_on_first_use_and_not_again_for_a_while() {
    let world = world().await;
    assert_eq!(calls(&world).await, json!({}));
    for _ in 0..3 {
        let answer = get(&world, "getUsers/g", "ann@example.com", "t-ann").await;
        assert_eq!(
            (answer.status, answer.header("x-ausername")),
            (200, Some("ann%40example.com"))
        );
        assert_eq!(
            calls(&world).await,
            json!({ "current_user": 1, "find_group": 1, "list_members": 1 })
        );
    }
}

#[tokio::test]
async fn a_credential_is_validated_again_once_the_last_answer_is_too_old() {
    let world = World::start(options(2, &[]), |all| {
        settings(all);
        all.inbound.passthrough_validate_s = 1;
    })
    .await;
    let from = std::time::Instant::now();
    let mut requests = 0;
    while calls(&world).await["current_user"] != json!(2) {
        assert_eq!(get(&world, "getGroups", "ann@example.com", "t-ann").await.status, 200);
        requests += 1;
        assert!(from.elapsed().as_secs() < 10);
    }
    assert!(
        from.elapsed().as_millis() >= 1000 && requests > 2,
        "{requests} in {:?}",
        from.elapsed()
    );
    assert_eq!(calls(&world).await["list_groups"], 1, "the caches are kept");
}

#[tokio::test]
async fn fifty_first_requests_at_once_are_validated_by_one_call() {
    let world = world().await;
    let all =
        futures_util::future::join_all((0..50).map(|_| get(&world, "getUsers/g", "ann@example.com", "t-ann"))).await;
    assert!(all.iter().all(|answer| answer.status == 200));
    assert_eq!(
        calls(&world).await,
        json!({ "current_user": 1, "find_group": 1, "list_members": 1 })
    );
}

#[tokio::test]
async fn nobody_reads_what_was_read_with_anothers_credential() {
    let world = world().await;
    let callers = [
        ("ann@example.com", "t-ann"),
        ("bob@example.com", "t-bob"),
        ("ann@example.com", "t-other"),
        ("ANN@example.com", "t-ann"),
    ];
    for (place, (email, token)) in callers.into_iter().enumerate() {
        for _ in 0..2 {
            assert_eq!(get(&world, "getUsers/g", email, token).await.status, 200);
            assert_eq!(get(&world, "getGroups", email, token).await.status, 200);
            let each = place + 1;
            assert_eq!(
                calls(&world).await,
                json!({ "current_user": each, "find_group": each, "list_members": each, "list_groups": each })
            );
        }
    }
}

#[tokio::test]
async fn a_credential_that_cloud_refuses_is_401_and_reads_nothing() {
    let world = world().await;
    assert_eq!(get(&world, "getUsers/g", "ann@example.com", "t-ann").await.status, 200);
    world.cloud.switch(json!({ "bad_token": "t-bad" })).await;
    world.forget_calls().await;
    for path in ["getUsers/g", "getGroups", "nowhere"] {
        let answer = get(&world, path, "ann@example.com", "t-bad").await;
        assert_error(&answer, 401, UNAUTHENTICATED);
        assert_eq!(answer.header("x-seraph-loginreason"), Some("AUTHENTICATED_FAILED"));
    }
    let answer = add(&world, "addUsers/g", "ann@example.com", "t-bad", &names(9, 1)).await;
    assert_error(&answer, 401, UNAUTHENTICATED);
    let calls = world.calls().await;
    assert_eq!(calls.keys().collect::<Vec<_>>(), ["current_user"], "{calls:?}");
    assert_eq!(get(&world, "getUsers/g", "ann@example.com", "t-ann").await.status, 200);
}

/// A world whose Cloud knows these credentials alone, before a facade that shows pairs at the gateway, too.
async fn strict(registry: serde_json::Value, change: impl FnOnce(&mut Settings)) -> World {
    let world = World::start(options(20, &[("g", 5), ("h", 3)]), |all| {
        settings(all);
        all.cloud.gateway_url = all.cloud.base_url.clone();
        all.inbound.passthrough_scoped_tokens = true;
        change(all);
    })
    .await;
    let url = world.cloud.url("/_sim/credentials");
    let answer = send(world.client.post(url).json(&json!({ "credentials": registry }))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    world
}

fn scoped(email: &str, token: &str, writes: bool) -> serde_json::Value {
    let mut scopes = vec!["read:confluence-groups", "read:confluence-user"];
    if writes {
        scopes.push("write:confluence-groups");
    }
    json!({ "kind": "scoped_token", "email": email, "token": token, "scopes": scopes })
}

#[tokio::test]
async fn a_token_with_scopes_is_shown_at_the_gateway_and_no_answer_crosses_to_another() {
    let classic = json!({ "kind": "api_token", "email": "ann@example.com", "token": "classic" });
    let all = json!([
        scoped("ann@example.com", "writes", true),
        scoped("bob@example.com", "reads", false),
        classic.clone(),
    ]);
    let world = strict(all, |_| ()).await;
    // Of each its own reads; of one with scopes one call more, once, and the gateway's address is found once.
    let mut knocks = 0;
    for (place, (email, token, costs)) in [
        ("ann@example.com", "writes", 2),
        ("bob@example.com", "reads", 2),
        ("ann@example.com", "classic", 1),
    ]
    .into_iter()
    .enumerate()
    {
        knocks += costs;
        for _ in 0..2 {
            let answer = get(&world, "getUsers/g", email, token).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let each = place + 1;
            assert_eq!(
                calls(&world).await,
                json!({ "current_user": knocks, "tenant_info": 1, "find_group": each, "list_members": each })
            );
        }
    }
    for (email, token) in [
        ("bob@example.com", "writes"),
        ("ann@example.com", "reads"),
        ("ann@example.com", "x"),
    ] {
        assert_error(&get(&world, "getUsers/g", email, token).await, 401, UNAUTHENTICATED);
    }
    let answer = add(&world, "addUsers/h", "bob@example.com", "reads", &names(9, 1)).await;
    assert_error(&answer, 403, UNAUTHORISED);
    let answer = add(&world, "addUsers/h", "ann@example.com", "writes", &names(9, 1)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(world.truth("h").await, [names(1, 3), names(9, 1)].concat());
    // Revoked, it shows nothing any more, while the other one of the same address does.
    let url = world.cloud.url("/_sim/credentials");
    send(world.client.post(url).json(&json!({ "credentials": [classic] }))).await;
    for path in ["getGroups", "getUsers/g"] {
        let revoked = get(&world, path, "ann@example.com", "writes").await;
        assert_error(&revoked, 401, UNAUTHENTICATED);
        assert_eq!(get(&world, path, "ann@example.com", "classic").await.status, 200);
    }
}

#[tokio::test]
async fn a_token_with_scopes_is_401_where_the_gateway_is_not_to_be_asked_or_not_there() {
    let registry = json!([
        scoped("ann@example.com", "scoped", true),
        { "kind": "api_token", "email": "ann@example.com", "token": "classic" },
    ]);
    for is_off in [true, false] {
        let world = strict(registry.clone(), |all| {
            all.inbound.passthrough_scoped_tokens = !is_off;
            if !is_off {
                all.cloud.gateway_url = "http://127.0.0.1:1".to_owned();
            }
        })
        .await;
        let answer = get(&world, "getUsers/g", "ann@example.com", "scoped").await;
        assert_error(&answer, 401, UNAUTHENTICATED);
        let asked = world.calls().await;
        assert_eq!(asked["current_user"], 1, "{asked:?}");
        assert_eq!(asked.contains_key("tenant_info"), !is_off, "{asked:?}");
        assert_eq!(
            get(&world, "getUsers/g", "ann@example.com", "classic").await.status,
            200
        );
    }
}

#[tokio::test]
async fn every_shape_of_clouds_refusal_is_401() {
    for shape in ["401", "403", "html", "xml", "scope"] {
        let world = world().await;
        world.cloud.switch(json!({ "unauthorized": shape })).await;
        assert_error(
            &get(&world, "getGroups", "ann@example.com", "t-ann").await,
            401,
            UNAUTHENTICATED,
        );
    }
}

#[tokio::test]
async fn without_a_pair_of_address_and_token_cloud_is_not_asked() {
    let world = world().await;
    assert_error(
        &send(world.request(Method::GET, "getGroups")).await,
        401,
        UNAUTHENTICATED,
    );
    assert_error(&world.get("getGroups").await, 401, UNAUTHENTICATED);
    let answer = send(world.request(Method::GET, "getGroups?os_username=ann@example.com&os_password=t-ann")).await;
    assert_error(&answer, 401, UNAUTHENTICATED);
    assert_eq!(calls(&world).await, json!({}));
}

#[tokio::test]
async fn a_configured_credential_is_never_used_for_a_caller() {
    let world = World::start(options(5, &[("g", 2)]), |all| {
        let (email, token) = (all.cloud.email.clone(), all.cloud.api_token.clone());
        settings(all);
        (all.cloud.email, all.cloud.api_token) = (email, token);
    })
    .await;
    world.cloud.switch(json!({ "bad_token": "robot-token" })).await;
    assert_eq!(get(&world, "getUsers/g", "ann@example.com", "t-ann").await.status, 200);
    assert_eq!(
        add(&world, "addUsers/g", "ann@example.com", "t-ann", &names(4, 1))
            .await
            .status,
        200
    );
    let stats = world.cloud.stats().await;
    assert_eq!(stats["by_status"].get("401").cloned().unwrap_or(json!(0)), 0, "{stats}");
    world.cloud.switch(json!({ "bad_token": "t-bob" })).await;
    assert_eq!(get(&world, "getUsers/g", "bob@example.com", "t-bob").await.status, 401);
}

#[tokio::test]
async fn what_cloud_forbids_the_caller_is_the_contracts_403() {
    let world = world().await;
    world.cloud.switch(json!({ "forbid_writes": true })).await;
    for (path, key, names) in [
        ("addUsers/g", "users", vec!["user000009"]),
        ("addUsers/g", "users", vec!["user000009", "user000010"]),
        ("removeUsers/g", "users", vec!["user000001"]),
        ("addGroups", "groups", vec!["new"]),
        ("removeGroups", "groups", vec!["h"]),
    ] {
        let body = json!({ key: names }).to_string();
        let request = world
            .request(Method::POST, path)
            .basic_auth("ann@example.com", Some("t-ann"));
        assert_error(&send(request.body(body)).await, 403, UNAUTHORISED);
    }
    assert_eq!(world.truth("g").await, names(1, 5));
    assert_eq!(
        get(&world, "getUsers/g", "ann@example.com", "t-ann").await.status,
        200,
        "reading goes on"
    );
}

#[tokio::test]
async fn a_credential_that_is_revoked_later_is_401_and_asked_about_anew() {
    let world = world().await;
    assert_eq!(get(&world, "getUsers/g", "ann@example.com", "t-ann").await.status, 200);
    world.cloud.switch(json!({ "bad_token": "t-ann" })).await;
    assert_error(
        &get(&world, "getUsers/h", "ann@example.com", "t-ann").await,
        401,
        UNAUTHENTICATED,
    );
    // Even what was read before is not shown any more.
    assert_error(
        &get(&world, "getUsers/g", "ann@example.com", "t-ann").await,
        401,
        UNAUTHENTICATED,
    );
    world.cloud.switch(json!({ "bad_token": null })).await;
    world.forget_calls().await;
    assert_eq!(get(&world, "getUsers/g", "ann@example.com", "t-ann").await.status, 200);
    assert_eq!(
        calls(&world).await,
        json!({ "current_user": 1, "find_group": 1, "list_members": 1 }),
        "nothing old is left"
    );
}

#[tokio::test]
async fn a_credential_that_is_revoked_before_a_change_is_401() {
    let world = world().await;
    assert_eq!(get(&world, "getUsers/g", "ann@example.com", "t-ann").await.status, 200);
    world.cloud.switch(json!({ "bad_token": "t-ann" })).await;
    let answer = add(&world, "addUsers/g", "ann@example.com", "t-ann", &names(9, 3)).await;
    assert_error(&answer, 401, UNAUTHENTICATED);
    assert_eq!(world.truth("g").await, names(1, 5));
}

#[tokio::test]
async fn a_cloud_that_is_down_is_503_and_not_a_wrong_password() {
    let world = World::start(options(2, &[]), |all| {
        settings(all);
        all.extender.read_deadline_s = 1;
    })
    .await;
    world.cloud.switch(json!({ "down": true })).await;
    let answer = get(&world, "getGroups", "ann@example.com", "t-ann").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert!(!answer.text().contains("t-ann"));
    world.cloud.switch(json!({ "down": null })).await;
    let ask = async || get(&world, "getGroups", "ann@example.com", "t-ann").await;
    assert_eq!(once_back(ask).await.status, 200);
}

#[tokio::test]
async fn questions_that_cloud_did_not_answer_are_no_guesses() {
    let world = World::start(options(2, &[]), |all| {
        settings(all);
        all.extender.read_deadline_s = 1;
    })
    .await;
    world.cloud.switch(json!({ "down": true })).await;
    let tokens: Vec<String> = (0..20).map(|n| format!("t-{n}")).collect();
    for ten in tokens.chunks(10) {
        let ask = |token| get(&world, "getGroups", "ann@example.com", token);
        for answer in futures_util::future::join_all(ten.iter().map(|token| ask(token))).await {
            assert_eq!(answer.status, 503, "{answer:?}");
        }
    }
    world.cloud.switch(json!({ "down": null })).await;
    let ask = async || get(&world, "getGroups", "ann@example.com", "t-ann").await;
    assert_eq!(once_back(ask).await.status, 200);
}

#[tokio::test]
async fn more_callers_than_caches_are_kept_for_are_all_answered() {
    let world = World::start(options(5, &[("g", 3)]), |all| {
        settings(all);
        all.inbound.passthrough_partitions = 2;
    })
    .await;
    for round in 0..2 {
        for caller in 0..5 {
            let (email, token) = (format!("{caller}@example.com"), format!("t-{caller}"));
            let answer = get(&world, "getUsers/g", &email, &token).await;
            assert_eq!(
                (answer.status, &answer.json()["total"]),
                (200, &json!(3)),
                "{round} {caller}"
            );
        }
    }
}

#[tokio::test]
async fn guessing_tokens_of_one_address_is_stopped_before_cloud() {
    let world = world().await;
    assert_eq!(get(&world, "getGroups", "ann@example.com", "t-ann").await.status, 200);
    let guesses: Vec<String> = (0..20).map(|n| format!("guess-{n}")).collect();
    world.cloud.switch(json!({ "unauthorized": "401" })).await;
    world.forget_calls().await;
    let mut last = None;
    for guess in &guesses {
        last = Some(get(&world, "getGroups", "Ann@example.com", guess).await);
    }
    let last = last.unwrap();
    assert_error(&last, 401, UNAUTHENTICATED);
    assert_eq!(last.header("x-seraph-loginreason"), Some("AUTHENTICATION_DENIED"));
    assert!(calls(&world).await["current_user"].as_u64().unwrap() <= 12);
    world.cloud.switch(json!({ "unauthorized": null })).await;
    assert_eq!(
        get(&world, "getGroups", "ann@example.com", "t-ann").await.status,
        200,
        "a known one is not held up"
    );
}

#[tokio::test]
async fn right_callers_in_turn_are_never_refused_however_many_and_however_often() {
    let world = World::start(options(2, &[]), |all| {
        settings(all);
        all.inbound.passthrough_partitions = 1;
    })
    .await;
    // More than the network may try in vain, then each more often than it might, and so many that each is forgotten meanwhile.
    for caller in (0..70).chain((0..14 * 30).map(|n| n % 30)) {
        let (email, token) = (format!("{caller}@example.com"), format!("t-{caller}"));
        let answer = get(&world, "getGroups", &email, &token).await;
        assert_eq!(answer.status, 200, "{caller}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_with_invented_names_asks_cloud_little_and_holds_up_nobody() {
    let world = World::start(options(2, &[]), |all| {
        settings(all);
        all.inbound.passthrough_validate_s = 1;
        all.inbound.passthrough_partitions = 1;
        all.inbound.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    let url = format!("http://{}/rest/extender/1.0/group/getGroups", world.facade);
    let client = world.client.clone();
    let ask = move |from: String, email: String, token: &'static str| {
        let request = client.get(&url).header("x-forwarded-for", from);
        send(request.basic_auth(email, Some(token)))
    };
    // From that address too, and without caches that are kept.
    let known = || ask("198.51.100.7".to_owned(), "ann@example.com".to_owned(), "t-ann");
    assert_eq!(known().await.status, 200);
    world
        .cloud
        .switch(json!({ "bad_token": "t-bad", "latency_ms": 50 }))
        .await;
    world.forget_calls().await;
    let from = std::time::Instant::now();
    let mut flood = tokio::task::JoinSet::new();
    for attacker in 0..48 {
        let ask = ask.clone();
        flood.spawn(async move {
            for n in 0.. {
                let answer = ask(
                    "198.51.100.7".to_owned(),
                    format!("{attacker}-{n}@example.com"),
                    "t-bad",
                )
                .await;
                assert!([401, 503].contains(&answer.status), "{answer:?}");
            }
        });
    }
    // One who is known is validated again and again, and others come for the first time.
    let mut newcomers = 0;
    while from.elapsed().as_secs() < 4 {
        let answer = known().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        if newcomers < 20 {
            newcomers += 1;
            let answer = ask(
                format!("192.0.2.{newcomers}"),
                format!("{newcomers}@example.com"),
                "t-new",
            )
            .await;
            assert_eq!(answer.status, 200, "{newcomers}: {answer:?}");
        }
    }
    flood.shutdown().await;
    let passed = from.elapsed().as_secs() + 1;
    let asked = world.calls().await["current_user"];
    assert!(newcomers > 0 && asked > newcomers, "{asked}, {newcomers} newcomers");
    // Of the flood thirty, and one a second; of who is known as often as somebody else takes their place, and once a second.
    assert!(asked <= 20 + 30 + 20 + 2 * passed, "{asked} within {passed} s");
}

#[tokio::test]
async fn the_credential_is_in_no_file_and_no_answer() {
    let world = world().await;
    add(&world, "addUsers/g", "ann@example.com", "t-very-secret", &names(9, 1)).await;
    let lines = world.audit();
    assert_eq!(lines[0]["caller"], "ann@example.com");
    let text = std::fs::read_to_string(world.path("state/audit.jsonl")).unwrap();
    assert!(!text.contains("t-very-secret"));
}

#[tokio::test]
async fn it_does_not_start_where_tokens_would_travel_in_the_clear() {
    let said = refusal(|all| {
        settings(all);
        all.inbound.listen = ([0, 0, 0, 0], 0).into();
    })
    .await;
    assert!(
        said.contains("in the clear") && said.contains("tls_cert_file"),
        "{said}"
    );
}

#[tokio::test]
async fn tls_carries_it() {
    let signed = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let world = World::start(options(5, &[("g", 2)]), |all| {
        settings(all);
        all.inbound.header_timeout_s = 1;
        let directory = all.state_dir.parent().unwrap().to_owned();
        let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
        std::fs::write(&cert, signed.cert.pem()).unwrap();
        std::fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
        (all.inbound.tls_cert_file, all.inbound.tls_key_file) = (Some(cert), Some(key));
    })
    .await;
    let trusted = reqwest::Certificate::from_pem(signed.cert.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([trusted])
        .build()
        .unwrap();
    let url = format!(
        "https://localhost:{}/rest/extender/1.0/group/getUsers/g",
        world.facade.port()
    );
    let answer = send(client.get(&url).basic_auth("ann@example.com", Some("t-ann"))).await;
    assert_eq!((answer.status, &answer.json()["total"]), (200, &json!(2)), "{answer:?}");
    // Whoever speaks in the clear is not understood.
    let mut line = crate::raw::Line::to(world.facade).await;
    line.say(crate::raw::head("GET", "/rest/extender/1.0/group/getGroups", ""))
        .await;
    line.finish().await;
    while !line.is_closed().await {}
    // Whoever never says a word is not waited for.
    assert!(crate::raw::Line::to(world.facade).await.is_closed().await);
}
