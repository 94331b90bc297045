//! The table: what is wrong, what `check` says, what a script gets. Nothing is changed by any of it.

use serde_json::{Value, json};

use crate::desk::{Desk, ROBOT};
use crate::harness::{names, off};
use crate::kinds::{GRANULAR, SCOPES};

/// One way to get it wrong.
struct Case<'a> {
    name: &'a str,
    registry: Value,
    faults: Value,
    fragment: &'a str,
    /// What `check` says: the symptom, and a part of the mend.
    check: (&'a str, &'a str),
    /// Status of a read and of a change, and a part of the message of what fails.
    script: (u16, u16, &'a str),
}

const PAIR: &str = "email = \"robot@example.com\"\napi_token = \"the-token\"";
const SCOPED: &str = "kind = \"scoped_token\"\nemail = \"robot@example.com\"\napi_token = \"the-token\"";
const SERVICE: &str = "kind = \"service_account\"\nclient_id = \"svc\"\nclient_secret = \"the-secret\"";

fn pair(state: &str) -> Value {
    json!([{ "kind": "api_token", "email": ROBOT, "token": "the-token", "state": state }])
}

fn scoped(scopes: &[&str]) -> Value {
    json!([{ "kind": "scoped_token", "email": ROBOT, "token": "the-token", "scopes": scopes }])
}

fn service(more: Value) -> Value {
    let mut entry =
        json!({ "kind": "service_account", "client_id": "svc", "client_secret": "the-secret", "scopes": SCOPES });
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!([entry])
}

fn without<'a>(scopes: &[&'a str], missing: &str) -> Vec<&'a str> {
    scopes.iter().copied().filter(|scope| *scope != missing).collect()
}

async fn hold(case: Case<'_>) {
    let Case {
        name,
        registry,
        faults,
        fragment,
        check: (symptom, mend),
        script: (read, write, told),
    } = case;
    let desk = Desk::new(registry, fragment).await;
    desk.world.cloud.switch(faults.clone()).await;
    let (reading, writing) = desk.script().await;
    assert_eq!(
        (reading.status, writing.status),
        (read, write),
        "{name}: {} {}",
        reading.text(),
        writing.text()
    );
    for answer in [&reading, &writing] {
        if answer.status != 200 {
            let body = answer.json();
            let message = body["message"].as_str().unwrap();
            assert!(message.contains(told), "{name}: {message}");
            assert_eq!(body["status-code"], answer.status);
            for secret in ["the-token", "the-secret", "dGhlLXRva2Vu"] {
                assert!(!message.contains(secret), "{name}: {message}");
            }
        }
    }
    let (said, code) = desk.check().await;
    let lines = said["lines"].as_array().unwrap();
    let found = lines
        .iter()
        .find(|line| line["symptom"] == symptom && line["mend"].as_str().unwrap_or("").contains(mend));
    assert!(found.is_some(), "{name}: no {symptom} with {mend:?} in {said:#}");
    assert_eq!(
        (code, found.unwrap()["level"].as_str()),
        (1, Some("fail")),
        "{name}: {said:#}"
    );
    assert!(
        !said.to_string().contains("the-token") && !said.to_string().contains("the-secret"),
        "{said:#}"
    );
    let text = desk.check_text().await;
    assert!(text.contains("FAIL") && text.contains(mend), "{name}: {text}");
    desk.world.cloud.switch(off(&faults)).await;
    let done = if write == 200 { names(21, 3) } else { Vec::new() };
    assert_eq!(desk.world.truth("team").await, [names(1, 10), done].concat(), "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_token_that_is_refused_everywhere() {
    for state in ["expired", "revoked", "deactivated"] {
        hold(Case {
            name: state,
            registry: pair(state),
            faults: json!({}),
            fragment: PAIR,
            check: ("unknown", "make a new API token"),
            script: (502, 502, "make a new API token"),
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_and_a_token_of_somebody_else() {
    for (name, fragment) in [
        ("wrong token", "email = \"robot@example.com\"\napi_token = \"another\""),
        (
            "wrong e-mail",
            "email = \"other@example.com\"\napi_token = \"the-token\"",
        ),
    ] {
        hold(Case {
            name,
            registry: pair("valid"),
            faults: json!({}),
            fragment,
            check: ("unknown", "belongs to another account"),
            script: (502, 502, "belongs to another account"),
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_scopes_at_the_site() {
    hold(Case {
        name: "scoped as classic",
        registry: scoped(&SCOPES),
        faults: json!({}),
        fragment: PAIR,
        check: ("wrong_kind", "set kind = \"scoped_token\""),
        script: (502, 502, "kind = \"scoped_token\""),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_scopes_at_the_gateway() {
    hold(Case {
        name: "classic as scoped",
        registry: pair("valid"),
        faults: json!({}),
        fragment: SCOPED,
        check: ("wrong_kind", "set kind = \"api_token\""),
        script: (502, 502, "kind = \"api_token\""),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn something_else_than_a_token_in_its_place() {
    for (name, fragment, symptom, told) in [
        (
            "the pair as the token",
            "email = \"robot@example.com\"\napi_token = \"robot@example.com:the-token\"",
            "unknown",
            "give the token alone",
        ),
        (
            "the pair, encoded, as the token",
            "email = \"robot@example.com\"\napi_token = \"cm9ib3RAZXhhbXBsZS5jb206dGhlLXRva2Vu\"",
            "unknown",
            "encoded together",
        ),
        (
            "an organisation's key",
            "email = \"robot@example.com\"\napi_token = \"ATCTT3xFfGF0\"",
            "unknown",
            "[cloud.admin]",
        ),
        (
            "an access token",
            "email = \"robot@example.com\"\napi_token = \"eyJhbGciOiJSUzI1NiJ9\"",
            "unknown",
            "lives an hour",
        ),
        (
            "a client's secret",
            "email = \"robot@example.com\"\napi_token = \"ATOAxyz\"",
            "unknown",
            "kind = \"oauth\" or",
        ),
        (
            "an API token as a client's secret",
            "kind = \"service_account\"\nclient_id = \"svc\"\nclient_secret = \"ATATT3xFfGF0\"",
            "client_refused",
            "looks like an API token",
        ),
    ] {
        hold(Case {
            name,
            registry: pair("valid"),
            faults: json!({}),
            fragment,
            check: (symptom, told),
            script: (502, 502, told),
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_access_and_one_that_is_no_administrator() {
    hold(Case {
        name: "no product access",
        registry: json!([{ "kind": "api_token", "email": ROBOT, "token": "the-token", "access": false }]),
        faults: json!({}),
        fragment: PAIR,
        check: ("no_product_access", "no access to Confluence"),
        script: (502, 502, "no access to Confluence"),
    })
    .await;
    hold(Case {
        name: "no administrator",
        registry: json!([{ "kind": "api_token", "email": ROBOT, "token": "the-token", "admin": false }]),
        faults: json!({}),
        fragment: PAIR,
        check: ("not_an_administrator", "must be a site administrator"),
        script: (200, 502, "must be a site administrator"),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_scope_that_is_missing_is_named() {
    for (all, missing, read, write) in [
        (&SCOPES[..], "read:confluence-groups", 502, 502),
        (&SCOPES, "write:confluence-groups", 200, 502),
        (&GRANULAR, "read:group:confluence", 502, 502),
        (&GRANULAR, "write:group:confluence", 200, 502),
        (&GRANULAR, "read:user:confluence", 502, 502),
    ] {
        for (name, registry, fragment) in [
            ("a token", scoped(&without(all, missing)), SCOPED),
            (
                "a service account",
                service(json!({ "scopes": without(all, missing) })),
                SERVICE,
            ),
        ] {
            hold(Case {
                name: &format!("{name} without {missing}"),
                registry,
                faults: json!({}),
                fragment,
                check: ("missing_scope", missing),
                script: (read, write, "a scope is missing"),
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_that_only_some_calls_need_is_found_by_check() {
    for (all, missing) in [
        (&SCOPES[..], "read:confluence-user"),
        (&GRANULAR, "read:content-details:confluence"),
    ] {
        let desk = Desk::new(scoped(&without(all, missing)), SCOPED).await;
        let (said, code) = desk.check().await;
        assert_eq!(code, 1);
        let lines = said["lines"].as_array().unwrap();
        let is_named =
            |line: &&Value| line["symptom"] == "missing_scope" && line["mend"].as_str().unwrap().contains(missing);
        assert!(lines.iter().any(|line| is_named(&line)), "{missing}: {said:#}");
        assert_eq!(said["credentials"][0]["operations"]["list_groups"], "yes");
        assert_eq!(said["credentials"][0]["operations"]["users_bulk"], "missing_scope");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_the_authorisation_server_does_not_know() {
    for (name, registry) in [
        ("wrong secret", service(json!({ "client_secret": "another" }))),
        ("unknown client", service(json!({ "client_id": "another" }))),
        ("revoked", service(json!({ "state": "revoked" }))),
        (
            "an app of OAuth as a service account",
            json!([{ "kind": "oauth", "client_id": "svc", "client_secret": "the-secret", "scopes": SCOPES }]),
        ),
    ] {
        hold(Case {
            name,
            registry,
            faults: json!({}),
            fragment: SERVICE,
            check: ("client_refused", "client_id or client_secret is wrong"),
            script: (502, 502, "client_id or client_secret is wrong"),
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_without_access() {
    hold(Case {
        name: "no access",
        registry: service(json!({ "access": false })),
        faults: json!({}),
        fragment: SERVICE,
        check: ("no_product_access", "no access to Confluence"),
        script: (502, 502, "no access to Confluence"),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_as_html_or_xml_is_one_all_the_same() {
    for shape in ["html", "xml", "401"] {
        hold(Case {
            name: shape,
            registry: pair("valid"),
            faults: json!({ "unauthorized": shape }),
            fragment: PAIR,
            check: ("unknown", "make a new API token"),
            script: (502, 502, "make a new API token"),
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_the_organisation_does_not_allow() {
    for (registry, fragment) in [(pair("valid"), PAIR), (scoped(&SCOPES), SCOPED)] {
        hold(Case {
            name: "allowlist",
            registry,
            faults: json!({ "ip_blocked": true }),
            fragment,
            check: ("address_blocked", "IP allowlist"),
            script: (502, 502, "IP allowlist"),
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_at_which_there_is_no_site() {
    for shape in ["missing", "html"] {
        hold(Case {
            name: shape,
            registry: scoped(&SCOPES),
            faults: json!({ "tenant_info": shape }),
            fragment: SCOPED,
            check: ("wrong_address", "cloud.base_url"),
            script: (502, 502, "cloud.base_url"),
        })
        .await;
    }
    // A path that no Confluence has: whatever is asked is not there.
    hold(Case {
        name: "a path",
        registry: pair("valid"),
        faults: json!({}),
        fragment: "base_url = \"{BASE}/nowhere\"\nemail = \"robot@example.com\"\napi_token = \"the-token\"",
        check: ("wrong_address", "cloud.base_url"),
        script: (502, 502, "there is no such site"),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_id_of_another_site() {
    hold(Case {
        name: "cloud_id",
        registry: scoped(&SCOPES),
        faults: json!({}),
        fragment: "cloud_id = \"00000000-1111-2222-3333-444444444444\"\nkind = \"scoped_token\"\n\
                   email = \"robot@example.com\"\napi_token = \"the-token\"",
        check: ("wrong_address", "remove cloud.cloud_id"),
        script: (502, 502, "cloud.cloud_id"),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_is_told_and_breaks_nothing() {
    for (seconds, word) in [(7200, "behind"), (-7200, "ahead of")] {
        let desk = Desk::new(service(json!({})), SERVICE).await;
        desk.world.cloud.switch(json!({ "clock_ahead_s": seconds })).await;
        desk.assert_all_six_work().await;
        let (said, code) = desk.check().await;
        let lines = said["lines"].as_array().unwrap();
        let line = lines.iter().find(|line| line["what"] == "clock").unwrap();
        assert!(line["text"].as_str().unwrap().contains(word), "{line}");
        assert_eq!((line["level"].as_str(), code), (Some("warn"), 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_near_is_warned_of_and_one_that_is_past_is_a_finding() {
    let day = |days: i64| (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days)).to_string();
    for (days, level, state, code) in [
        (40, "ok", "good", 0),
        (20, "warn", "ends_soon", 0),
        (-1, "fail", "over", 1),
    ] {
        let fragment = format!("{PAIR}\nexpires = \"{}\"", day(days));
        let desk = Desk::new(pair("valid"), &fragment).await;
        let (said, exit) = desk.check().await;
        let lines = said["lines"].as_array().unwrap();
        let line = lines.iter().find(|line| line["what"] == "expiry").unwrap();
        assert_eq!((line["level"].as_str(), exit), (Some(level), code), "{said:#}");
        let ready = desk.operator("/ready").await.json();
        assert_eq!(
            (ready["ready"].as_bool(), ready["credentials"][0]["state"].as_str()),
            (Some(true), Some(state)),
            "{ready}"
        );
        let metrics = desk.operator("/metrics").await.text();
        let figure = metrics
            .lines()
            .find(|line| line.starts_with("facade_credential_seconds_left{credential=\"cloud.api_token\"}"))
            .unwrap_or_else(|| panic!("{metrics}"));
        let left: i64 = figure.rsplit(' ').next().unwrap().parse().unwrap();
        assert!((left - days * 86_400).abs() < 600, "{figure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_refused_are_told_by_the_source_they_are_for() {
    let both = "email = \"robot@example.com\"\napi_token = \"the-token\"\n[cloud.admin]\norg_id = \"org\"\n\
                base_url = \"{BASE}/admin\"\napi_key = \"the-key\"\n[cloud.scim]\ndirectory_id = \"dir\"\n\
                base_url = \"{BASE}/scim\"\napi_key = \"the-scim-key\"\n";
    let pairs = |more: Value| {
        Value::Array(
            [
                pair("valid").as_array().unwrap().clone(),
                more.as_array().unwrap().clone(),
            ]
            .concat(),
        )
    };
    for (name, registry, told) in [
        (
            "unknown keys",
            pairs(json!([{ "kind": "org_key", "token": "x" }])),
            "make a new one",
        ),
        (
            "a key of another organisation",
            pairs(json!([{ "kind": "org_key", "token": "the-key" }, { "kind": "scim_key", "token": "x" }])),
            "make a new one",
        ),
        (
            "a key without scopes",
            pairs(json!([{ "kind": "org_key", "token": "the-key", "scopes": ["write:groups:admin"] }])),
            "admin",
        ),
    ] {
        let desk = Desk::new(registry, both).await;
        let (said, code) = desk.check().await;
        assert_eq!(code, 1, "{name}");
        let lines = said["lines"].as_array().unwrap();
        for what in ["admin", "scim"] {
            let found = lines
                .iter()
                .find(|line| line["what"] == what && line["level"] == "fail");
            let mend = found.unwrap_or_else(|| panic!("{name}: {what} in {said:#}"))["mend"].to_string();
            assert!(mend.contains(told) || what == "scim", "{name}: {mend}");
        }
        assert!(!said.to_string().contains("the-key"));
    }
}
