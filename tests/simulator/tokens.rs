//! The authorization server: consent, tokens, rotation, and what becomes of a token that is used twice.
use std::time::Duration;

use extender_facade::simulator::Options;
use reqwest::redirect::Policy;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::cloud::{Cloud, Reply, send, try_send};
use crate::registry::{CURRENT, cloud_id, fill, robot_token};

const BACK: &str = "http://127.0.0.1:9/back?of=app";

fn app() -> Value {
    json!({"kind": "oauth", "client_id": "app", "client_secret": "S", "redirect_uri": BACK,
        "scopes": ["read:confluence-groups", "read:confluence-user", "write:confluence-groups"]})
}

fn robot() -> Value {
    json!({"kind": "service_account", "client_id": "robot", "client_secret": "S1",
        "scopes": ["read:confluence-groups", "read:confluence-user"]})
}

/// A Cloud with one app, and a client that follows no redirect and asks nothing twice.
async fn world() -> (Cloud, Client) {
    let cloud = Cloud::start(Options::default()).await;
    fill(&cloud, json!([app(), robot()])).await;
    let client = Client::builder()
        .redirect(Policy::none())
        .pool_max_idle_per_host(0)
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap();
    (cloud, client)
}

fn consent<'a>(changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let usual = [
        ("audience", "api.atlassian.com"),
        ("client_id", "app"),
        ("scope", "read:confluence-user read:confluence-groups offline_access"),
        ("redirect_uri", BACK),
        ("state", "s t&a=te"),
        ("response_type", "code"),
        ("prompt", "consent"),
    ];
    let changed = |name: &str| changes.iter().any(|(known, _)| *known == name);
    let kept = usual.into_iter().filter(|(name, _)| !changed(name));
    kept.chain(changes.iter().copied()).collect()
}

async fn authorize(cloud: &Cloud, client: &Client, changes: &[(&str, &str)]) -> Reply {
    send(client.get(cloud.url("/authorize")).query(&consent(changes))).await
}

/// What the redirect says, by name.
fn redirected(reply: &Reply) -> Vec<(String, String)> {
    assert_eq!(reply.status, 302, "{}", reply.text());
    let url = url::Url::parse(reply.header("location").unwrap()).unwrap();
    assert_eq!((url.port(), url.path()), (Some(9), "/back"));
    url.query_pairs().into_owned().collect()
}

async fn code(cloud: &Cloud, client: &Client, changes: &[(&str, &str)]) -> String {
    let told = redirected(&authorize(cloud, client, changes).await);
    told.iter().find(|(name, _)| name == "code").unwrap().1.clone()
}

/// Asks for tokens; what is said of the client is left as it is if it stands in the body.
async fn ask(cloud: &Cloud, client: &Client, body: Value) -> Reply {
    let mut whole = json!({"client_id": "app", "client_secret": "S"});
    for (name, value) in body.as_object().unwrap() {
        whole[name] = value.clone();
    }
    send(client.post(cloud.url("/oauth/token")).json(&whole)).await
}

async fn exchange(cloud: &Cloud, client: &Client, code: &str) -> Reply {
    let body = json!({"grant_type": "authorization_code", "code": code, "redirect_uri": BACK});
    ask(cloud, client, body).await
}

async fn refresh(cloud: &Cloud, client: &Client, token: &str) -> Reply {
    ask(
        cloud,
        client,
        json!({"grant_type": "refresh_token", "refresh_token": token}),
    )
    .await
}

/// The access token and the refresh token of a new consent.
async fn begun(cloud: &Cloud, client: &Client) -> (String, String) {
    let code = code(cloud, client, &[]).await;
    pair(&exchange(cloud, client, &code).await)
}

fn pair(reply: &Reply) -> (String, String) {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let text = |name: &str| reply.json()[name].as_str().unwrap().to_owned();
    (text("access_token"), text("refresh_token"))
}

async fn opens(cloud: &Cloud, access: &str) -> u16 {
    let path = format!("/ex/confluence/{}{CURRENT}", cloud_id(cloud).await);
    send(cloud.bare(Method::GET, &path).bearer_auth(access)).await.status
}

async fn tokens(cloud: &Cloud) -> Value {
    send(cloud.bare(Method::GET, "/_sim/tokens")).await.json()["clients"]["app"].clone()
}

fn refused(reply: &Reply, status: u16, error: &str, description: &str) {
    let expected = json!({"error": error, "error_description": description});
    assert_eq!((reply.status, reply.json()), (status, expected));
}

#[tokio::test]
async fn a_refresh_token_that_is_used_after_its_leeway_ends_the_whole_consent() {
    let (cloud, client) = world().await;
    let (first_access, first) = begun(&cloud, &client).await;
    let (other_access, other) = begun(&cloud, &client).await;
    let (second_access, second) = pair(&refresh(&cloud, &client, &first).await);
    cloud.switch(json!({ "refresh_leeway_s": 0 })).await;
    let invalid = ("unauthorized_client", "refresh_token is invalid");
    refused(&refresh(&cloud, &client, &first).await, 403, invalid.0, invalid.1);
    // Nothing of the family is left, not even what nobody used twice.
    cloud.switch(json!({ "refresh_leeway_s": null })).await;
    refused(&refresh(&cloud, &client, &second).await, 403, invalid.0, invalid.1);
    refused(&refresh(&cloud, &client, &first).await, 403, invalid.0, invalid.1);
    assert_eq!(opens(&cloud, &first_access).await, 401);
    assert_eq!(opens(&cloud, &second_access).await, 401);
    // Another consent to the same app is none of it.
    assert_eq!(opens(&cloud, &other_access).await, 200);
    assert_eq!(refresh(&cloud, &client, &other).await.status, 200);
    let shown = tokens(&cloud).await;
    assert_eq!(
        (
            &shown["families"],
            &shown["revoked_families"],
            &shown["reuses"],
            &shown["refreshes"]
        ),
        (&json!(2), &json!(1), &json!(1), &json!(2))
    );
    assert_eq!(
        (&shown["valid_refresh_tokens"], &shown["leeway_refresh_tokens"]),
        (&json!(1), &json!(1))
    );
}

#[tokio::test]
async fn within_the_leeway_the_old_token_gives_a_new_one_and_every_one_is_good() {
    let (cloud, client) = world().await;
    let (first_access, first) = begun(&cloud, &client).await;
    let (second_access, second) = pair(&refresh(&cloud, &client, &first).await);
    let (third_access, third) = pair(&refresh(&cloud, &client, &first).await);
    let mut texts = vec![&first_access, &second_access, &third_access, &first, &second, &third];
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 6);
    for access in [&first_access, &second_access, &third_access] {
        assert_eq!(opens(&cloud, access).await, 200);
    }
    assert_eq!(refresh(&cloud, &client, &second).await.status, 200);
    assert_eq!(refresh(&cloud, &client, &third).await.status, 200);
    let shown = tokens(&cloud).await;
    assert_eq!(
        (&shown["families"], &shown["refreshes"], &shown["reuses"]),
        (&json!(1), &json!(4), &json!(0))
    );
    let all = send(cloud.bare(Method::GET, "/_sim/tokens")).await.json()["texts"].clone();
    assert_eq!(all["refresh_tokens"].as_array().unwrap().len(), 5);
    assert!(all["access_tokens"].as_array().unwrap().contains(&json!(second_access)));
}

#[tokio::test]
async fn a_code_is_good_once_for_its_own_client_and_address() {
    let (cloud, client) = world().await;
    let wrong = ("invalid_grant", "Invalid authorization code");
    let once = code(&cloud, &client, &[]).await;
    assert_eq!(exchange(&cloud, &client, &once).await.status, 200);
    refused(&exchange(&cloud, &client, &once).await, 403, wrong.0, wrong.1);
    refused(&exchange(&cloud, &client, "eyJ").await, 403, wrong.0, wrong.1);
    let elsewhere = code(&cloud, &client, &[]).await;
    let body =
        json!({"grant_type": "authorization_code", "code": elsewhere, "redirect_uri": "http://127.0.0.1:9/back"});
    refused(
        &ask(&cloud, &client, body).await,
        403,
        "invalid_grant",
        "The redirect URI is wrong",
    );
    refused(&exchange(&cloud, &client, &elsewhere).await, 403, wrong.0, wrong.1);
    assert_eq!(tokens(&cloud).await["families"], 1);
}

#[tokio::test]
async fn the_token_endpoint_knows_its_clients_and_what_they_may_ask_for() {
    let (cloud, client) = world().await;
    let (_, token) = begun(&cloud, &client).await;
    let with = async |body: Value| ask(&cloud, &client, body).await;
    let nobody = ("access_denied", "Unauthorized");
    for body in [
        json!({"grant_type": "refresh_token", "refresh_token": token, "client_secret": "s"}),
        json!({"grant_type": "refresh_token", "refresh_token": token, "client_secret": null}),
        json!({"grant_type": "refresh_token", "refresh_token": token, "client_id": "nobody"}),
        json!({"grant_type": "client_credentials", "client_id": "robot"}),
    ] {
        refused(&with(body).await, 401, nobody.0, nobody.1);
    }
    let unknown = with(json!({"grant_type": "refresh_token", "refresh_token": "eyJ"})).await;
    refused(&unknown, 403, "invalid_grant", "Unknown or invalid refresh token.");
    for (body, status, error) in [
        (json!({"grant_type": "client_credentials"}), 403, "unauthorized_client"),
        (
            json!({"grant_type": "refresh_token", "refresh_token": token, "client_id": "robot", "client_secret": "S1"}),
            403,
            "unauthorized_client",
        ),
        (json!({"grant_type": "password"}), 400, "unsupported_grant_type"),
        (json!({"grant_type": "refresh_token"}), 400, "invalid_request"),
        (json!({}), 400, "invalid_request"),
        (
            json!({"grant_type": "authorization_code", "code": "x"}),
            400,
            "invalid_request",
        ),
    ] {
        let reply = with(body.clone()).await;
        assert_eq!(
            (reply.status, &reply.json()["error"]),
            (status, &json!(error)),
            "{body}"
        );
    }
    let untyped = client.post(cloud.url("/oauth/token")).body("{}");
    assert_eq!(send(untyped).await.json()["error"], "invalid_request");
    assert_eq!(send(client.get(cloud.url("/oauth/token"))).await.status, 405);
    // None of it cost the token.
    assert_eq!(refresh(&cloud, &client, &token).await.status, 200);
    assert_eq!(tokens(&cloud).await["refreshes"], 1);
}

#[tokio::test]
async fn a_form_is_as_good_as_json() {
    let (cloud, client) = world().await;
    let code = code(&cloud, &client, &[]).await;
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "authorization_code")
        .append_pair("client_id", "app")
        .append_pair("client_secret", "S")
        .append_pair("code", &code)
        .append_pair("redirect_uri", BACK)
        .finish();
    let request = client.post(cloud.url("/oauth/token")).body(form);
    let reply = send(request.header("content-type", "application/x-www-form-urlencoded;charset=UTF-8")).await;
    assert_eq!(reply.json()["token_type"], "Bearer");
    assert_eq!(
        (reply.json()["expires_in"].as_u64(), reply.header("cache-control")),
        (Some(3_600), Some("no-store"))
    );
    assert_eq!(
        reply.json()["scope"],
        "read:confluence-user read:confluence-groups offline_access"
    );
}

#[tokio::test]
async fn consent_is_given_for_what_is_asked_and_there_or_refused() {
    let (cloud, client) = world().await;
    let told = redirected(&authorize(&cloud, &client, &[]).await);
    assert_eq!((told[0].0.as_str(), told[0].1.as_str()), ("of", "app"));
    assert!(told.contains(&("state".to_owned(), "s t&a=te".to_owned())));
    let narrow = [("scope", "read:confluence-groups read:jira-user read:confluence-groups")];
    let code = code(&cloud, &client, &narrow).await;
    let reply = exchange(&cloud, &client, &code).await.json();
    assert_eq!(reply["scope"], "read:confluence-groups");
    // Nobody asked for `offline_access`.
    assert_eq!(reply.get("refresh_token"), None);
    let access = reply["access_token"].as_str().unwrap();
    let id = cloud_id(&cloud).await;
    assert_eq!(opens(&cloud, access).await, 401);
    let groups = cloud.bare(Method::GET, &format!("/ex/confluence/{id}/wiki/rest/api/group"));
    assert_eq!(send(groups.bearer_auth(access)).await.status, 200);
    cloud.switch(json!({ "consent": "denied" })).await;
    let told = redirected(&authorize(&cloud, &client, &[]).await);
    assert!(
        told.contains(&("error".to_owned(), "access_denied".to_owned())),
        "{told:?}"
    );
    assert!(told.iter().all(|(name, _)| name != "code"));
    cloud.switch(json!({ "consent": null })).await;
    for wrong in [
        ("client_id", "nobody"),
        ("client_id", "robot"),
        ("redirect_uri", "http://127.0.0.1:9/back"),
        ("redirect_uri", ""),
        ("response_type", "token"),
        ("audience", ""),
        ("scope", " "),
    ] {
        let page = authorize(&cloud, &client, &[wrong]).await;
        assert_eq!((page.status, page.header("location")), (400, None), "{wrong:?}");
        assert!(
            page.header("content-type").unwrap().starts_with("text/html"),
            "{wrong:?}"
        );
    }
}

#[tokio::test]
async fn an_access_token_lives_as_long_as_was_told_when_it_was_given() {
    let (cloud, client) = world().await;
    cloud.switch(json!({ "access_token_s": 0 })).await;
    let (access, token) = begun(&cloud, &client).await;
    assert_eq!(opens(&cloud, &access).await, 401);
    cloud.switch(json!({ "access_token_s": 120 })).await;
    let reply = refresh(&cloud, &client, &token).await;
    assert_eq!(reply.json()["expires_in"], 120);
    cloud.switch(json!({ "access_token_s": 0 })).await;
    assert_eq!(opens(&cloud, &pair(&reply).0).await, 200);
}

#[tokio::test]
async fn a_lost_answer_burns_its_token_and_the_old_one_recovers_within_the_leeway() {
    let (cloud, client) = world().await;
    let (_, first) = begun(&cloud, &client).await;
    cloud.switch(json!({ "token_lost": 1 })).await;
    let body = json!({"grant_type": "refresh_token", "refresh_token": first, "client_id": "app", "client_secret": "S"});
    let lost = client.post(cloud.url("/oauth/token")).json(&body);
    assert!(try_send(lost).await.is_err());
    assert_eq!(tokens(&cloud).await["refreshes"], 1);
    let (access, _) = pair(&refresh(&cloud, &client, &first).await);
    assert_eq!(opens(&cloud, &access).await, 200);
    let shown = tokens(&cloud).await;
    assert_eq!(
        (&shown["refreshes"], &shown["revoked_families"]),
        (&json!(2), &json!(0))
    );
}

#[tokio::test]
async fn the_token_endpoint_fails_by_itself_and_burns_nothing() {
    let (cloud, client) = world().await;
    let (access, token) = begun(&cloud, &client).await;
    cloud.switch(json!({ "token_down": true })).await;
    assert_eq!(refresh(&cloud, &client, &token).await.status, 503);
    assert_eq!(opens(&cloud, &access).await, 200);
    cloud.switch(json!({ "token_down": null, "down": true })).await;
    assert_eq!(refresh(&cloud, &client, &token).await.status, 503);
    assert_eq!(authorize(&cloud, &client, &[]).await.status, 503);
    cloud.switch(json!({ "down": null, "reset": true })).await;
    let body = json!({"grant_type": "refresh_token", "refresh_token": token, "client_id": "app", "client_secret": "S"});
    assert!(
        try_send(client.post(cloud.url("/oauth/token")).json(&body))
            .await
            .is_err()
    );
    cloud.switch(json!({ "reset": null, "token_slow_ms": 50 })).await;
    let before = std::time::Instant::now();
    assert_eq!(refresh(&cloud, &client, &token).await.status, 200);
    assert!(before.elapsed() >= Duration::from_millis(50));
    assert_eq!(tokens(&cloud).await["refreshes"], 1);
}

#[tokio::test]
async fn the_sites_limits_and_chances_are_none_of_the_authorization_servers() {
    let (cloud, client) = world().await;
    let nasty =
        json!({"rate": 0.001, "burst": 1, "quota": 0, "html": 1, "error_5xx": 1, "cut": 1, "unauthorized": "401"});
    cloud.switch(nasty).await;
    cloud.reset().await;
    let (access, token) = begun(&cloud, &client).await;
    for _ in 0..3 {
        assert_eq!(refresh(&cloud, &client, &token).await.status, 200);
    }
    let resources = cloud.bare(Method::GET, "/oauth/token/accessible-resources");
    assert_eq!(send(resources.bearer_auth(access)).await.status, 200);
    let stats = cloud.stats().await;
    let counted = &stats["by_operation"];
    assert_eq!(
        (
            &counted["authorize"],
            &counted["oauth_token"],
            &counted["accessible_resources"]
        ),
        (&json!(1), &json!(4), &json!(1))
    );
    assert_eq!(stats["points"], 0);
}

#[tokio::test]
async fn a_token_tells_the_site_that_it_is_for_which_may_be_another_one() {
    let (cloud, client) = world().await;
    let (access, _) = begun(&cloud, &client).await;
    let sites = async |access: &str| {
        let request = cloud.bare(Method::GET, "/oauth/token/accessible-resources");
        send(request.bearer_auth(access)).await
    };
    let id = cloud_id(&cloud).await;
    let expected = json!([{"id": id, "name": "simulator", "url": cloud.url(""), "avatarUrl": "",
        "scopes": ["read:confluence-user", "read:confluence-groups"]}]);
    assert_eq!(sites(&access).await.json(), expected);
    let unknown = sites("eyJ").await;
    assert_eq!(
        (unknown.status, unknown.json()),
        (401, json!({"code": 401, "message": "Unauthorized"}))
    );
    assert_eq!(
        send(cloud.bare(Method::GET, "/oauth/token/accessible-resources"))
            .await
            .status,
        401
    );
    assert_eq!(opens(&cloud, &access).await, 200);
    cloud.switch(json!({ "other_site": true })).await;
    let other = sites(&access).await.json()[0]["id"].as_str().unwrap().to_owned();
    assert_ne!(other, id);
    assert_eq!(opens(&cloud, &access).await, 404);
    let theirs = cloud.bare(Method::GET, &format!("/ex/confluence/{other}{CURRENT}"));
    assert_eq!(send(theirs.bearer_auth(&access)).await.status, 404);
    // So it is where any credential will do, but only for tokens.
    fill(&cloud, json!([])).await;
    assert_eq!(opens(&cloud, "any").await, 404);
    let pair = cloud.bare(Method::GET, &format!("/ex/confluence/{id}{CURRENT}"));
    assert_eq!(send(pair.basic_auth("a", Some("b"))).await.status, 200);
}

#[tokio::test]
async fn a_consent_outlives_a_new_registry_unless_its_client_is_gone() {
    let (cloud, client) = world().await;
    let (access, token) = begun(&cloud, &client).await;
    let robots = robot_token(&cloud).await;
    let mut ended = app();
    for state in ["expired", "revoked"] {
        ended["state"] = json!(state);
        fill(&cloud, json!([ended, robot()])).await;
        assert_eq!(opens(&cloud, &access).await, 401);
        let again = refresh(&cloud, &client, &token).await;
        refused(&again, 403, "unauthorized_client", "refresh_token is invalid");
        assert_eq!(authorize(&cloud, &client, &[]).await.status, 400);
    }
    let mut narrower = app();
    narrower["scopes"] = json!(["read:confluence-groups"]);
    fill(&cloud, json!([robot(), narrower])).await;
    assert_eq!(opens(&cloud, &access).await, 401);
    fill(&cloud, json!([robot(), app()])).await;
    assert_eq!(opens(&cloud, &access).await, 200);
    let (access, token) = pair(&refresh(&cloud, &client, &token).await);
    fill(&cloud, json!([robot()])).await;
    assert_eq!(opens(&cloud, &access).await, 401);
    fill(&cloud, json!([app(), robot()])).await;
    assert_eq!(opens(&cloud, &access).await, 401);
    let gone = refresh(&cloud, &client, &token).await;
    refused(&gone, 403, "invalid_grant", "Unknown or invalid refresh token.");
    assert_eq!(tokens(&cloud).await["families"], 0);
    assert_eq!(opens(&cloud, &robots).await, 200);
}

#[tokio::test]
async fn a_consent_that_is_taken_back_ends_and_another_one_can_be_given() {
    let (cloud, client) = world().await;
    let (access, token) = begun(&cloud, &client).await;
    let open = code(&cloud, &client, &[]).await;
    let robots = robot_token(&cloud).await;
    let revoke = async |body: Value| send(cloud.bare(Method::POST, "/_sim/tokens").json(&body)).await.status;
    assert_eq!(revoke(json!({"revoke": "nobody"})).await, 404);
    assert_eq!(revoke(json!({"end": "app"})).await, 400);
    assert_eq!(opens(&cloud, &access).await, 200);
    assert_eq!(revoke(json!({"revoke": "app"})).await, 204);
    assert_eq!(opens(&cloud, &access).await, 401);
    let ended = refresh(&cloud, &client, &token).await;
    refused(&ended, 403, "unauthorized_client", "refresh_token is invalid");
    assert_eq!(exchange(&cloud, &client, &open).await.status, 403);
    let (access, _) = begun(&cloud, &client).await;
    assert_eq!(opens(&cloud, &access).await, 200);
    assert_eq!(opens(&cloud, &robots).await, 200);
    let shown = tokens(&cloud).await;
    assert_eq!(
        (&shown["families"], &shown["revoked_families"], &shown["reuses"]),
        (&json!(2), &json!(1), &json!(0))
    );
}

#[tokio::test]
async fn a_service_account_gets_tokens_for_its_own_scopes() {
    let (cloud, client) = world().await;
    let body = json!({"grant_type": "client_credentials", "client_id": "robot", "client_secret": "S1",
        "scope": "read:confluence-user write:confluence-groups"});
    let narrow = ask(&cloud, &client, body).await.json();
    assert_eq!(
        (&narrow["scope"], narrow.get("refresh_token")),
        (&json!("read:confluence-user"), None)
    );
    let whole = robot_token(&cloud).await;
    let id = cloud_id(&cloud).await;
    let groups = async |token: &str| {
        let request = cloud.bare(Method::GET, &format!("/ex/confluence/{id}/wiki/rest/api/group"));
        send(request.bearer_auth(token)).await
    };
    assert_eq!(groups(&whole).await.status, 200);
    let refused = groups(narrow["access_token"].as_str().unwrap()).await;
    let mismatch = json!({"code": 401, "message": "Unauthorized; scope does not match"});
    assert_eq!((refused.status, refused.json()), (401, mismatch));
}

#[tokio::test]
async fn many_who_refresh_at_once_with_one_token_stay_one_family() {
    let (cloud, client) = world().await;
    let (_, token) = begun(&cloud, &client).await;
    let all = (0..20).map(|_| refresh(&cloud, &client, &token));
    let mut texts: Vec<String> = futures_util::future::join_all(all)
        .await
        .iter()
        .map(|reply| pair(reply).1)
        .collect();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 20);
    let shown = tokens(&cloud).await;
    assert_eq!(
        (&shown["families"], &shown["refreshes"], &shown["reuses"]),
        (&json!(1), &json!(20), &json!(0))
    );
}
