//! A hostile web page on the operator's machine: in every mode, at both listeners, it changes nothing, reads nothing and
//! causes no call to Cloud; and no answer invites it.

use extender_facade::settings::Mode;
use serde_json::json;

use crate::harness::{ADMIN, World, names, options};
use crate::raw::{Answer, exchange};

const BODY: &str = "{\"users\":[\"user000004\"],\"groups\":[\"evil\"]}";

/// What browsers say of a page of another site, of another port of this machine, of a frame without an origin, and of a
/// name that was made to point here. With `host`, the true one.
fn pages(host: &str, port: u16) -> Vec<(&'static str, String)> {
    let other = port.wrapping_add(1);
    vec![
        (
            "a foreign page",
            format!("host: {host}\r\norigin: https://evil.example\r\nsec-fetch-site: cross-site\r\n"),
        ),
        (
            "one of an old browser",
            format!("host: {host}\r\norigin: http://evil.example\r\n"),
        ),
        (
            "a foreign image",
            format!("host: {host}\r\nsec-fetch-site: cross-site\r\nsec-fetch-mode: no-cors\r\n"),
        ),
        (
            "another port",
            format!("host: {host}\r\norigin: http://127.0.0.1:{other}\r\nsec-fetch-site: same-site\r\n"),
        ),
        (
            "an image at another port",
            format!("host: {host}\r\nsec-fetch-site: same-site\r\n"),
        ),
        ("a frame without an origin", format!("host: {host}\r\norigin: null\r\n")),
        (
            "a rebound name",
            format!("host: evil.example:{port}\r\nsec-fetch-site: same-origin\r\n"),
        ),
        (
            "a rebound name that posts",
            format!("host: evil.example:{port}\r\norigin: http://evil.example:{port}\r\n"),
        ),
        (
            "a rebound name of an old browser",
            format!("host: evil.example:{port}\r\n"),
        ),
    ]
}

/// What a page may send without asking first, and what it asks.
fn requests() -> Vec<(&'static str, &'static str, &'static str)> {
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let plain = "content-type: text/plain\r\n";
    let preflight = "access-control-request-method: POST\r\naccess-control-request-headers: authorization\r\n\
                     access-control-request-private-network: true\r\n";
    vec![
        ("GET", "getUsers/g?showBasicDetails=true", ""),
        ("GET", "getGroups?os_authType=basic", ""),
        ("HEAD", "getGroups", ""),
        ("POST", "addUsers/g", plain),
        ("POST", "removeUsers/g", form),
        ("POST", "addGroups", "content-type: multipart/form-data; boundary=x\r\n"),
        ("POST", "removeGroups", ""),
        ("OPTIONS", "addUsers/g", preflight),
        ("OPTIONS", "getGroups", preflight),
    ]
}

async fn world(mode: Mode) -> World {
    World::start(options(5, &[("g", 3)]), |settings| {
        settings.inbound.mode = mode;
        if mode == Mode::Passthrough {
            settings.inbound.accounts_file = None;
            settings.cloud.email = String::new();
            settings.cloud.api_token = String::new().into();
        }
    })
    .await
}

fn assert_tells_nothing(answer: &Answer, what: &str) {
    assert!(matches!(answer.status, 400..=406), "{what}: {answer:?}");
    for told in [
        "user0",
        "confluence",
        "usersAdded",
        "facade_",
        "\"ready\"",
        "operations\":",
    ] {
        assert!(!answer.text().contains(told), "{what}: {answer:?}");
    }
    for (name, _) in &answer.headers {
        assert!(!name.starts_with("access-control"), "{what}: {answer:?}");
        assert!(
            !matches!(name.as_str(), "x-ausername" | "set-cookie"),
            "{what}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn it_changes_nothing_reads_nothing_and_causes_no_call_in_every_mode() {
    for mode in [Mode::Accounts, Mode::Passthrough, Mode::Open] {
        let world = world(mode).await;
        let host = world.facade.to_string();
        // A browser adds the password that its user once typed in for this address; a rebound page may set one itself.
        let typed_in = match mode {
            Mode::Open => "",
            Mode::Accounts => "authorization: Basic YWRtaW46YWRtaW4=\r\n",
            Mode::Passthrough => "authorization: Basic YW5uQGV4YW1wbGUuY29tOnQtYW5u\r\n",
        };
        for (page, headers) in pages(&host, world.facade.port()) {
            for (method, path, more) in requests() {
                for known in [typed_in, ""] {
                    let request = format!(
                        "{method} /rest/extender/1.0/group/{path} HTTP/1.1\r\n{headers}{more}{known}connection: close\r\n\
                         content-length: {}\r\n\r\n{BODY}",
                        BODY.len()
                    );
                    let mut line = crate::raw::Line::to(world.facade).await;
                    line.say(request).await;
                    let answer = if method == "HEAD" {
                        line.hear_head().await
                    } else {
                        line.hear().await
                    };
                    assert_tells_nothing(&answer.unwrap(), &format!("{mode:?}: {page}: {method} {path} {known}"));
                }
            }
        }
        assert_eq!(world.calls().await, Default::default(), "{mode:?}");
        assert_eq!(world.truth("g").await, names(1, 3));
        assert!(world.audit().is_empty());
    }
}

#[tokio::test]
async fn on_loopback_a_name_that_is_not_the_facades_own_is_refused_whoever_asks() {
    let ask = async |world: &World, host: &str, token: &str| {
        let head =
            format!("GET /rest/extender/1.0/group/getGroups HTTP/1.1\r\n{host}authorization: Bearer {token}\r\n\r\n");
        exchange(world.facade, head).await
    };
    let world = World::with(1, &[]).await;
    for token in [ADMIN, "a-guess"] {
        let answer = ask(&world, "host: wiki.example\r\n", token).await;
        assert_eq!(
            answer.text(),
            "{\"message\":\"XSRF check failed\",\"status-code\":403}",
            "{token}"
        );
    }
    let nameless = format!("GET /rest/extender/1.0/group/getGroups HTTP/1.0\r\nauthorization: Bearer {ADMIN}\r\n\r\n");
    assert_eq!(exchange(world.facade, nameless).await.status, 200, "no browser asks so");
    let world = World::start(options(1, &[]), |settings| {
        settings.inbound.host_names = vec!["wiki.example".to_owned()];
    })
    .await;
    for (host, status) in [("Wiki.Example:8090", 200), ("localhost", 200), ("evil.example", 403)] {
        assert_eq!(
            ask(&world, &format!("host: {host}\r\n"), ADMIN).await.status,
            status,
            "{host}"
        );
    }
    let world = World::start(options(1, &[]), |settings| {
        settings.inbound.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    assert_eq!(ask(&world, "host: wiki.example\r\n", ADMIN).await.status, 200);
}

#[tokio::test]
async fn it_reads_no_report() {
    let world = World::with(5, &[("g", 3)]).await;
    let answer = world.users("addUsers/g", &["user000004"]).await;
    let id = answer.header("x-facade-report").unwrap().to_owned();
    for (page, headers) in pages(&world.facade.to_string(), world.facade.port()) {
        let known = format!("authorization: Bearer {ADMIN}\r\n");
        let request = format!("GET /facade/v1/reports/{id} HTTP/1.1\r\n{headers}{known}\r\n");
        assert_tells_nothing(&exchange(world.facade, request).await, page);
    }
}

#[tokio::test]
async fn it_reads_and_changes_nothing_at_the_operators_listener() {
    for token in ["", "the-operators-token"] {
        let world = World::start(options(5, &[("g", 3)]), |settings| settings.admin.token = token.into()).await;
        let answer = world.users("addUsers/g", &["user000004"]).await;
        let id = answer.header("x-facade-report").unwrap().to_owned();
        world.forget_calls().await;
        for (page, headers) in pages(&world.admin.to_string(), world.admin.port()) {
            for (method, path) in [
                ("GET", "/ready".to_owned()),
                ("GET", "/metrics".to_owned()),
                ("GET", "/nothing".to_owned()),
                ("GET", "/operations".to_owned()),
                ("GET", format!("/operations/{id}")),
                ("POST", format!("/operations/{id}/undo")),
                ("OPTIONS", "/metrics".to_owned()),
                ("OPTIONS", format!("/operations/{id}/undo")),
            ] {
                let body = json!({ "apply": false }).to_string();
                let request = format!(
                    "{method} {path} HTTP/1.1\r\n{headers}content-type: text/plain\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                let answer = exchange(world.admin, request).await;
                assert_tells_nothing(&answer, &format!("{page}: {method} {path}"));
                assert!(!answer.text().contains(&id), "{answer:?}");
            }
            // Whether somebody is there is all that it learns: probes come under any name.
            let request = format!("GET /live HTTP/1.1\r\n{headers}\r\n");
            let answer = exchange(world.admin, request).await;
            assert!(
                answer.status == 200 && answer.text() == "alive\n" || answer.status == 401,
                "{answer:?}"
            );
            assert!(
                !answer
                    .headers
                    .iter()
                    .any(|(name, _)| name.starts_with("access-control"))
            );
        }
        assert_eq!(world.calls().await, Default::default());
        assert_eq!(world.truth("g").await, names(1, 4));
    }
}

#[tokio::test]
async fn no_order_of_a_page_is_taken_even_with_the_operators_token() {
    let world = World::with(5, &[("g", 3)]).await;
    let answer = world.users("addUsers/g", &["user000004"]).await;
    let id = answer.header("x-facade-report").unwrap().to_owned();
    let token = std::fs::read_to_string(world.path("state/operator.token")).unwrap();
    for (page, headers) in pages(&world.admin.to_string(), world.admin.port()) {
        let body = json!({ "apply": false }).to_string();
        let request = format!(
            "POST /operations/{id}/undo HTTP/1.1\r\n{headers}authorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_tells_nothing(&exchange(world.admin, request).await, page);
    }
}
