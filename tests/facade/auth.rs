//! Mode `accounts`: who is let in, and what a refusal says.

use http::HeaderName;
use reqwest::Method;

use crate::cloud::{Reply, send};
use crate::errors::assert_error;
use crate::harness::{ADMIN, READER, World, digest, options};

const UNAUTHENTICATED: &str = "Client must be authenticated to access this resource.";
const LOGIN_REASON: &str = "x-seraph-loginreason";

async fn with(world: &World, path: &str, authorization: &[u8]) -> Reply {
    let value = http::HeaderValue::from_bytes(authorization).unwrap();
    send(
        world
            .request(Method::GET, path)
            .header(HeaderName::from_static("authorization"), value),
    )
    .await
}

fn basic(pair: &[u8]) -> Vec<u8> {
    use base64::Engine as _;
    format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(pair)).into_bytes()
}

fn assert_denied(answer: &Reply, reason: Option<&str>, challenge: bool) {
    assert_error(answer, 401, UNAUTHENTICATED);
    assert_eq!(answer.header(LOGIN_REASON), reason, "{answer:?}");
    let expected = challenge.then_some("Basic realm=\"protected-area\"");
    assert_eq!(answer.header("www-authenticate"), expected, "{answer:?}");
    assert_eq!(answer.header("x-ausername"), None, "{answer:?}");
}

#[tokio::test]
async fn a_password_or_a_token_lets_in_however_it_is_sent() {
    let world = World::with(1, &[]).await;
    for (authorization, caller) in [
        (basic(b"reader:reader"), "reader"),
        (basic(b"READER:reader"), "reader"),
        (basic(b"admin:admin"), "admin"),
        (b"basic cmVhZGVyOnJlYWRlcg==".to_vec(), "reader"),
        (b"BASIC   cmVhZGVyOnJlYWRlcg  ".to_vec(), "reader"),
        (format!("Bearer {READER}").into_bytes(), "reader-token"),
        (format!("bearer  {ADMIN}").into_bytes(), "admin-token"),
    ] {
        let answer = with(&world, "getGroups", &authorization).await;
        assert_eq!(
            (answer.status, answer.header("x-ausername")),
            (200, Some(caller)),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn without_a_readable_credential_the_answer_is_401_without_a_challenge() {
    let world = World::with(1, &[]).await;
    for path in [
        "getGroups",
        "getUsers/g",
        "nowhere",
        "getGroups?os_authType=any",
        "getGroups?os_authtype=basic",
    ] {
        assert_denied(&send(world.request(Method::GET, path)).await, None, false);
    }
    for authorization in [
        &b"Basic"[..],
        b"Basic ",
        b"Basic !!!",
        b"Basic cmVhZGVy",
        b"Digest x",
        b"Bearer",
        b"xft",
        b"",
        b"\xff\xfe",
    ] {
        assert_denied(&with(&world, "getGroups", authorization).await, None, false);
    }
    assert_denied(&with(&world, "getGroups", b"Bearer xft_unknown").await, None, false);
    assert_eq!(world.calls().await, Default::default());
}

#[tokio::test]
async fn a_wrong_password_has_its_reason_in_a_header() {
    let world = World::with(1, &[]).await;
    let long = format!("reader:{}", "x".repeat(5000));
    for pair in [
        &b"reader:wrong"[..],
        b"reader:",
        b":reader",
        b":",
        b"nobody:reader",
        b"reader:reader ",
        b"reader-token:x",
        b"reader:reader\0",
        long.as_bytes(),
    ] {
        assert_denied(
            &with(&world, "getGroups", &basic(pair)).await,
            Some("AUTHENTICATED_FAILED"),
            false,
        );
    }
}

#[tokio::test]
async fn a_challenge_is_sent_to_who_asks_for_it_without_a_credential() {
    let world = World::with(1, &[]).await;
    for path in ["getGroups?os_authType=basic", "nowhere?a=b&os_authType=basic"] {
        assert_denied(&send(world.request(Method::GET, path)).await, None, true);
    }
    let answer = with(&world, "getGroups?os_authType=basic", &basic(b"reader:wrong")).await;
    assert_denied(&answer, Some("AUTHENTICATED_FAILED"), false);
    assert_eq!(
        with(&world, "getGroups?os_authType=basic", &basic(b"reader:reader"))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_setting_sends_the_challenge_always() {
    let world = World::start(options(1, &[]), |settings| settings.inbound.always_challenge = true).await;
    assert_denied(&send(world.request(Method::GET, "getGroups")).await, None, true);
    assert_denied(&with(&world, "getGroups", b"Bearer x").await, None, true);
    let answer = with(&world, "getGroups", &basic(b"reader:wrong")).await;
    assert_denied(&answer, Some("AUTHENTICATED_FAILED"), true);
}

#[tokio::test]
async fn a_password_in_the_query_is_no_credential() {
    let world = World::with(1, &[]).await;
    for query in [
        "os_username=admin&os_password=admin",
        "os_username=reader&os_password=reader&os_authType=none",
    ] {
        assert_denied(
            &send(world.request(Method::GET, &format!("getGroups?{query}"))).await,
            None,
            false,
        );
        let answer = world.get(&format!("getGroups?{query}")).await;
        assert_eq!(
            answer.header("x-ausername"),
            Some("reader-token"),
            "the header alone counts"
        );
    }
}

#[tokio::test]
async fn passwords_in_iso_8859_1_are_read() {
    let world = World::start(options(1, &[]), |settings| {
        use argon2::password_hash::PasswordHasher as _;
        let cheap = argon2::Argon2::from(argon2::Params::new(8, 1, 1, None).unwrap());
        let hash = cheap.hash_password("pässwörd".as_bytes()).unwrap();
        let text = format!("[[account]]\nname = \"jürgen\"\npassword = \"{hash}\"\nrole = \"reader\"\n");
        std::fs::write(settings.inbound.accounts_file.as_ref().unwrap(), text).unwrap();
    })
    .await;
    let answer = with(&world, "getGroups", &basic("jürgen:pässwörd".as_bytes())).await;
    assert_eq!(
        (answer.status, answer.header("x-ausername")),
        (200, Some("j%C3%BCrgen"))
    );
    assert_eq!(
        with(&world, "getGroups", &basic(b"j\xfcrgen:p\xe4ssw\xf6rd"))
            .await
            .status,
        200
    );
    assert_eq!(
        with(&world, "getGroups", &basic("JÜRGEN:pässwörd".as_bytes()))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn an_expired_token_is_an_unknown_one() {
    let entry = |token: &str, expires: &str| {
        format!(
            "[[token]]\nname = \"{token}\"\nsha256 = \"{}\"\nrole = \"reader\"\nexpires = {expires}\n",
            digest(token)
        )
    };
    let world = World::start(options(1, &[]), |settings| {
        let text = entry("old", "2020-01-31") + &entry("new", "2999-01-31T12:00:00Z");
        std::fs::write(settings.inbound.accounts_file.as_ref().unwrap(), text).unwrap();
    })
    .await;
    assert_denied(&with(&world, "getGroups", b"Bearer old").await, None, false);
    assert_eq!(with(&world, "getGroups", b"Bearer new").await.status, 200);
    let answer = with(&world, "getGroups", &basic(b"old:old")).await;
    assert_denied(&answer, Some("AUTHENTICATED_FAILED"), false);
}

#[tokio::test]
async fn guessing_is_stopped_and_who_was_let_in_before_is_let_in_still() {
    let world = World::with(1, &[]).await;
    assert_eq!(with(&world, "getGroups", &basic(b"reader:reader")).await.status, 200);
    let mut reasons = Vec::new();
    for guess in 0..14 {
        let answer = with(&world, "getGroups", &basic(format!("Reader:{guess}").as_bytes())).await;
        let reason = answer.header(LOGIN_REASON).unwrap().to_owned();
        assert_denied(&answer, Some(&reason), false);
        reasons.push(reason);
    }
    assert_eq!(reasons[0], "AUTHENTICATED_FAILED");
    assert_eq!(reasons[13], "AUTHENTICATION_DENIED");
    reasons.dedup();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert_eq!(with(&world, "getGroups", &basic(b"reader:reader")).await.status, 200);
    // Neither another account nor a token suffers for it.
    assert_eq!(with(&world, "getGroups", &basic(b"admin:admin")).await.status, 200);
    assert_eq!(world.get("getGroups").await.status, 200);
}

#[tokio::test]
async fn a_right_password_that_was_never_shown_before_is_held_up_with_the_guesses() {
    let world = World::with(1, &[]).await;
    for guess in 0..14 {
        with(&world, "getGroups", &basic(format!("reader:{guess}").as_bytes())).await;
    }
    let answer = with(&world, "getGroups", &basic(b"reader:reader")).await;
    assert_denied(&answer, Some("AUTHENTICATION_DENIED"), false);
}

#[tokio::test]
async fn invented_names_lock_out_their_own_address_and_nobody_who_was_let_in_there() {
    let world = World::start(options(1, &[]), |settings| {
        settings.inbound.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    let from = async |address: &str, name: &str, password: &str| {
        let request = world.request(Method::GET, "getGroups").basic_auth(name, Some(password));
        send(request.header("x-forwarded-for", address)).await
    };
    assert_eq!(from("203.0.113.1", "reader", "reader").await.status, 200);
    let mut tried = 0;
    while from("203.0.113.1", &format!("name{tried}"), "x")
        .await
        .header(LOGIN_REASON)
        != Some("AUTHENTICATION_DENIED")
    {
        tried += 1;
        assert!(tried < 10_000, "it never ends");
    }
    assert!(tried >= 30, "{tried}");
    assert_eq!(from("203.0.113.1", "reader", "reader").await.status, 200);
    assert_eq!(from("203.0.113.2", "admin", "admin").await.status, 200);
}
