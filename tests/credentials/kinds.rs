//! Every kind of credential opens Cloud for all six calls, and `check` finds nothing wrong with it.

use serde_json::{Value, json};

use crate::desk::{Desk, ROBOT};
use crate::harness::options;

/// The scopes that the documentation names.
pub const SCOPES: [&str; 3] = [
    "read:confluence-groups",
    "write:confluence-groups",
    "read:confluence-user",
];
/// The same as granular scopes.
pub const GRANULAR: [&str; 4] = [
    "read:group:confluence",
    "write:group:confluence",
    "read:user:confluence",
    "read:content-details:confluence",
];

async fn assert_good(desk: &Desk, kind: &str) -> Value {
    desk.assert_all_six_work().await;
    let (said, code) = desk.check().await;
    assert_eq!((said["ok"].as_bool(), code), (Some(true), 0), "{said:#}");
    let credential = said["credentials"][0].clone();
    assert_eq!(credential["kind"], kind);
    for operation in [
        "list_groups",
        "find_group",
        "list_members",
        "users_bulk",
        "member_of",
        "remove_member",
    ] {
        assert_eq!(credential["operations"][operation], "yes", "{operation}: {said:#}");
    }
    credential
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_token_opens_the_site() {
    let registry = json!([{ "kind": "api_token", "email": ROBOT, "token": "ATATT-classic" }]);
    let fragment = "email = \"robot@example.com\"\napi_token = \"ATATT-classic\"\nexpires = \"2999-01-01\"";
    let desk = Desk::new(registry, fragment).await;
    let credential = assert_good(&desk, "api_token").await;
    assert_eq!(credential["name"], "cloud.api_token of robot@example.com");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_scopes_opens_the_gateway_whose_address_is_found_by_itself() {
    for scopes in [&SCOPES[..], &GRANULAR] {
        let registry = json!([{ "kind": "scoped_token", "email": ROBOT, "token": "ATATT-scoped", "scopes": scopes }]);
        let fragment = "kind = \"scoped_token\"\nemail = \"robot@example.com\"\napi_token = \"ATATT-scoped\"\n\
                        expires = \"2999-01-01\"";
        let desk = Desk::new(registry, fragment).await;
        assert_good(&desk, "scoped_token").await;
        assert_eq!(
            desk.world.calls().await["tenant_info"],
            1 + 2,
            "the facade asks once, each check by itself"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_fetches_its_tokens_by_itself_and_one_at_a_time() {
    let registry =
        json!([{ "kind": "service_account", "client_id": "svc", "client_secret": "s3cret", "scopes": SCOPES }]);
    let fragment = "kind = \"service_account\"\nclient_id = \"svc\"\nclient_secret = \"s3cret\"";
    let desk = Desk::new(registry, fragment).await;
    let many = (0..20).map(|n| desk.world.get(if n % 2 == 0 { "getGroups" } else { "getUsers/team" }));
    for answer in futures_util::future::join_all(many).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(desk.world.calls().await["oauth_token"], 1);
    assert_good(&desk, "service_account").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_of_oauth_opens_the_gateway_once_somebody_consented() {
    let registry = json!([{ "kind": "oauth", "client_id": "app", "client_secret": "s3cret", "scopes": SCOPES }]);
    let fragment = "kind = \"oauth\"\nclient_id = \"app\"\nclient_secret = \"s3cret\"\npays = \"points\"";
    let desk = Desk::new(registry, fragment).await;
    let before = desk.world.get("getGroups").await;
    assert_eq!(before.status, 502, "{}", before.text());
    assert!(before.text().contains("credential login"), "{}", before.text());
    assert!(
        !desk.world.path("state/credentials").exists(),
        "looking for it makes no folder"
    );
    let (code, said) = desk.login().await;
    assert_eq!(code, 0, "{said}");
    // No restart.
    let credential = assert_good(&desk, "oauth").await;
    assert!(credential["ends"].is_string(), "{credential}");
    assert_eq!(
        desk.tokens("app").await["refreshes"],
        0,
        "the first access token is used"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_the_organisation_and_of_the_directory_open_their_own_apis() {
    let mut options = options(40, &[("team", 10)]);
    options.org_id = Some("the-organisation".to_owned());
    let registry = json!([
        { "kind": "api_token", "email": ROBOT, "token": "classic" },
        { "kind": "org_key", "token": "ATCTT-key" },
        { "kind": "scim_key", "token": "scim-key" },
    ]);
    let directory = extender_facade::simulator::Simulator::new(&options)
        .unwrap()
        .directory_id();
    let fragment = format!(
        "email = \"robot@example.com\"\napi_token = \"classic\"\n[cloud.admin]\norg_id = \"the-organisation\"\n\
         base_url = \"{{BASE}}/admin\"\n[[cloud.admin.credentials]]\nsecret = \"ATCTT-key\"\n[cloud.scim]\n\
         directory_id = \"{directory}\"\nbase_url = \"{{BASE}}/scim\"\napi_key = \"scim-key\"\n[cloud.jira]\n\
         email = \"robot@example.com\"\napi_token = \"classic\"\n"
    );
    let desk = Desk::with(options, registry, &fragment).await;
    desk.assert_all_six_work().await;
    let (said, _) = desk.check().await;
    for (name, operation) in [
        ("cloud.admin.credentials[0].secret", "admin_search_users"),
        ("cloud.admin.credentials[0].secret", "admin_search_groups"),
        ("cloud.scim.api_key", "scim_users"),
    ] {
        let all = said["credentials"].as_array().unwrap();
        let credential = all.iter().find(|credential| credential["name"] == name).unwrap();
        assert_eq!(credential["operations"][operation], "yes", "{name}: {said:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jira_is_asked_at_the_gateway_by_a_token_with_scopes() {
    let registry = json!([
        { "kind": "api_token", "email": ROBOT, "token": "classic" },
        { "kind": "scoped_token", "email": "user000001@example.com", "token": "scoped", "scopes": ["read:jira-user"] },
    ]);
    let fragment = "email = \"robot@example.com\"\napi_token = \"classic\"\n[[cloud.jira.credentials]]\n\
                    kind = \"scoped_token\"\nemail = \"user000001@example.com\"\nsecret = \"scoped\"\n";
    let desk = Desk::new(registry, fragment).await;
    let (said, code) = desk.check().await;
    assert_eq!(code, 0, "{said:#}");
    let jira = &said["credentials"][1];
    assert_eq!(
        (&jira["kind"], &jira["operations"]["jira_find_user"]),
        (&json!("scoped_token"), &json!("yes")),
        "{said:#}"
    );
}
