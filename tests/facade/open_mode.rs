//! Mode `open`: anybody on this machine, and no web page.

use extender_facade::settings::Mode;
use reqwest::Method;

use crate::cloud::send;
use crate::harness::{World, names, options};
use crate::raw::exchange;
use crate::worlds::refusal;

async fn world() -> World {
    World::start(options(5, &[("g", 2)]), |settings| settings.inbound.mode = Mode::Open).await
}

#[tokio::test]
async fn anybody_on_this_machine_is_an_administrator_without_a_name() {
    let world = world().await;
    let answer = send(world.request(Method::GET, "getGroups")).await;
    assert_eq!((answer.status, answer.header("x-ausername")), (200, Some("anonymous")));
    let body = serde_json::json!({ "users": names(4, 1) }).to_string();
    let answer = send(world.request(Method::POST, "addUsers/g").body(body)).await;
    assert_eq!((answer.status, answer.header("x-facade-skipped")), (200, Some("0")));
    assert_eq!(world.audit()[0]["caller"], "anonymous");
    assert_eq!(world.get("getGroups").await.status, 200, "a credential does no harm");
}

#[tokio::test]
async fn a_host_that_is_no_loopback_name_is_refused() {
    let world = world().await;
    let target = "/rest/extender/1.0/group/getGroups";
    for (first, host, status) in [
        (target, "host: localhost\r\n", 200),
        (target, "host: LocalHost:1234\r\n", 200),
        (target, "host: 127.0.0.1\r\n", 200),
        (target, "host: 127.1.2.3:80\r\n", 200),
        (target, "host: [::1]:8090\r\n", 200),
        (target, "host: evil.example\r\n", 403),
        (target, "host: localhost.evil.example\r\n", 403),
        (target, "host: 127.0.0.1.evil.example:8090\r\n", 403),
        (target, "host: evil.example#localhost\r\n", 403),
        (target, "host: localhost@evil.example\r\n", 403),
        (target, "host: evil.example:80@localhost\r\n", 403),
        (target, "host: 0.0.0.0\r\n", 403),
        (target, "host: 10.0.0.1\r\n", 403),
        (target, "host: \r\n", 403),
        (target, "host: localhost\r\nhost: evil.example\r\n", 403),
        (target, "host: evil.example\r\nhost: localhost\r\n", 403),
        (target, "", 403),
        (
            "http://evil.example/rest/extender/1.0/group/getGroups",
            "host: localhost\r\n",
            403,
        ),
        (
            "http://localhost/rest/extender/1.0/group/getGroups",
            "host: evil.example\r\n",
            200,
        ),
        (target, "host: localhost\r\norigin: http://evil.example\r\n", 403),
        (target, "host: localhost\r\nsec-fetch-site: cross-site\r\n", 403),
        (target, "host: localhost\r\nx-forwarded-host: evil.example\r\n", 200),
    ] {
        let answer = exchange(world.facade, format!("GET {first} HTTP/1.1\r\n{host}\r\n")).await;
        let refused_by_http = answer.status == 400 && answer.body.is_empty();
        assert!(
            answer.status == status || (status == 403 && refused_by_http),
            "{first} {host} {answer:?}"
        );
        if answer.status == 403 {
            assert_eq!(answer.text(), "{\"message\":\"XSRF check failed\",\"status-code\":403}");
        }
    }
    let answer = exchange(world.facade, format!("GET {target} HTTP/1.0\r\n\r\n")).await;
    assert_eq!(answer.status, 403, "{answer:?}");
}

#[tokio::test]
async fn it_does_not_start_where_others_could_reach_it() {
    for address in [[0, 0, 0, 0], [10, 0, 0, 1]] {
        let said = refusal(|settings| {
            settings.inbound.mode = Mode::Open;
            settings.inbound.listen = (address, 8090).into();
        })
        .await;
        assert!(said.contains("open") && said.contains("loopback"), "{said}");
    }
    let said = refusal(|settings| {
        settings.inbound.mode = Mode::Open;
        settings.inbound.listen = "[::]:8090".parse().unwrap();
    })
    .await;
    assert!(said.contains("loopback"), "{said}");
}
