//! What an operator finds in the log of those who were refused.

use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::cloud::{Cloud, send};
use crate::harness::options;
use crate::program::{PATIENCE, Program};
use crate::scopes::{account, token};

/// A facade as a process of its own, with these accounts.
struct Door {
    program: Program,
    facade: String,
    cloud: Cloud,
    _directory: tempfile::TempDir,
}

impl Door {
    async fn with(accounts: &str, more: &[(&str, &str)]) -> Self {
        let cloud = Cloud::start(options(3, &[("team", 1)])).await;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("accounts.toml");
        std::fs::write(&file, accounts).unwrap();
        let mut variables = vec![
            ("FACADE__INBOUND__MODE", "accounts"),
            ("FACADE__INBOUND__ACCOUNTS_FILE", file.to_str().unwrap()),
        ];
        variables.extend(more);
        let program = Program::start(&directory.path().join("state"), &cloud.url(""), &variables);
        let (facade, _) = tokio::task::block_in_place(|| program.serves());
        Self {
            program,
            facade,
            cloud,
            _directory: directory,
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}/rest/extender/1.0/group/{path}", self.facade);
        self.cloud.client.request(method, url)
    }

    async fn status(&self, request: RequestBuilder) -> u16 {
        send(request).await.status
    }

    async fn log_in(&self, name: &str, password: &str) -> u16 {
        let request = self.request(Method::GET, "getGroups");
        self.status(request.basic_auth(name, Some(password))).await
    }

    fn refused(&self, cause: &str) -> Vec<Value> {
        let lines = self.program.log();
        let wanted = |line: &Value| line["message"] == "refused" && line["cause"] == cause;
        lines.into_iter().filter(wanted).collect()
    }

    /// The first line of that cause, once it is there.
    fn line(&self, cause: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = self.refused(cause).first() {
                return line.clone();
            }
            assert!(Instant::now() < until, "no line of {cause}: {:?}", self.program.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn accounts() -> String {
    [
        account("sync", "right", "role = \"administrator\"\ngroups = [\"team*\"]\n"),
        account("old", "right", "role = \"reader\"\nexpires = 2020-01-31\n"),
        token("ci", "xft_ci", "role = \"reader\"\noperations = [\"getUsers\"]\n"),
        token("gone", "xft_gone", "role = \"reader\"\nexpires = 2020-01-31\n"),
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_which_account_was_refused_from_where_and_why() {
    let door = Door::with(&accounts(), &[]).await;
    for (name, password, cause, account) in [
        ("SYNC", "wr0ng", "wrong_password", "sync"),
        ("old", "right", "expired", "old"),
        ("nobody", "wr0ng", "unknown_account", "nobody"),
    ] {
        assert_eq!(door.log_in(name, password).await, 401, "{name}");
        let line = door.line(cause);
        assert_eq!(
            (&line["account"], &line["peer"], &line["level"]),
            (&json!(account), &json!("127.0.0.1"), &json!("WARN")),
            "{line}"
        );
        assert!(line["request"].is_string(), "{line}");
    }
    let bearer = |method, path, token: &str| door.request(method, path).bearer_auth(token);
    let post = |path| {
        let request = door.request(Method::POST, path).basic_auth("sync", Some("right"));
        request.body(json!({ "users": ["a"] }).to_string())
    };
    for (request, status, cause, account) in [
        (bearer(Method::GET, "getGroups", "xft_none"), 401, "unknown_token", None),
        (
            bearer(Method::GET, "getUsers/team", "xft_gone"),
            401,
            "expired",
            Some("old"),
        ),
        (
            bearer(Method::POST, "addUsers/team", "xft_ci"),
            403,
            "not_administrator",
            Some("ci"),
        ),
        (bearer(Method::GET, "getGroups", "xft_ci"), 403, "operation", Some("ci")),
        (post("addUsers/ops"), 403, "group", Some("sync")),
        (door.request(Method::GET, "getGroups"), 401, "no_credential", None),
    ] {
        assert_eq!(door.status(request).await, status, "{cause}");
        assert_eq!(door.line(cause)["account"].as_str(), account, "{cause}");
    }
    let of_tokens = door.refused("expired");
    assert_eq!(of_tokens[1]["account"], "gone", "{of_tokens:?}");
    let detail = door.line("group")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("\"ops\""), "{detail}");
    assert_eq!(door.line("no_credential")["level"], "INFO", "many clients ask first");
    for _ in 0..12 {
        assert_eq!(door.log_in("sync", "wr0ng").await, 401);
    }
    assert_eq!(door.line("held_back")["account"], "sync");
    let whole = format!("{:?}", door.program.log());
    for secret in ["wr0ng", "right", "xft_"] {
        assert!(!whole.contains(secret), "{secret}: {whole}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_comes_again_and_again_is_one_line_and_a_number() {
    let door = Door::with(&accounts(), &[]).await;
    for _ in 0..100 {
        assert_eq!(door.log_in("sync", "wr0ng").await, 401);
    }
    for n in 0..100 {
        let name = format!("invented{n}");
        assert_eq!(door.log_in(&name, "wr0ng").await, 401);
    }
    door.line("held_back");
    // A minute may have gone by meanwhile, and even two.
    assert!((1..=3).contains(&door.refused("wrong_password").len()));
    let strangers = door.refused("unknown_account").len() + door.refused("held_back").len();
    assert!((30..=90).contains(&strangers), "{strangers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_makes_no_line_of_its_own_and_a_token_in_its_place_is_not_told() {
    let door = Door::with(&accounts(), &[]).await;
    assert_eq!(door.log_in("a\r\nb\u{1b}[2J\u{2028}", "x").await, 401);
    let name = door.line("unknown_account")["account"].clone();
    assert_eq!(name, "a\\u{d}\\u{a}b\\u{1b}[2J\\u{2028}");
    assert_eq!(door.log_in("xft_ci", "").await, 401);
    assert_eq!(door.log_in("sync", "right").await, 200);
    let told: Vec<Value> = door.refused("unknown_account");
    assert_eq!(told[1]["account"], "(perhaps a token)", "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_from_elsewhere_is_told_with_his_own_address() {
    let more = [
        ("FACADE__INBOUND__TRUSTED_PROXIES", "127.0.0.1"),
        ("FACADE__INBOUND__ALLOW_NETWORKS", "203.0.113.0/24"),
    ];
    let door = Door::with(&accounts(), &more).await;
    let request = door.request(Method::GET, "getGroups");
    let request = request.header("x-forwarded-for", "198.51.100.1");
    assert_eq!(door.status(request).await, 403);
    assert_eq!(door.line("network")["peer"], "198.51.100.1");

    let door = Door::with(&accounts(), &[("FACADE__INBOUND__ALLOW_NETWORKS", "203.0.113.0/24")]).await;
    assert!(door.request(Method::GET, "getGroups").send().await.is_err());
    assert_eq!(door.line("network")["peer"], "127.0.0.1");
}
