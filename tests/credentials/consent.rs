//! The consent behind an app of OAuth: how it is given, kept and renewed, and that nothing burns it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cloud::{Reply, send};
use crate::desk::Desk;
use crate::harness::names;
use crate::kinds::SCOPES;

pub const APP: &str = "kind = \"oauth\"\nclient_id = \"app\"\nclient_secret = \"the-secret\"\npays = \"points\"";

pub fn registry() -> Value {
    json!([{ "kind": "oauth", "client_id": "app", "client_secret": "the-secret", "scopes": SCOPES }])
}

async fn desk() -> Desk {
    Desk::new(registry(), APP).await
}

/// Somebody has consented; access tokens live `seconds` each.
async fn consented(seconds: u64) -> Desk {
    let desk = desk().await;
    desk.world.cloud.switch(json!({ "access_token_s": seconds })).await;
    let (code, said) = desk.login().await;
    assert_eq!(code, 0, "{said}");
    desk
}

impl Desk {
    fn kept(&self) -> PathBuf {
        self.world.path("state/credentials/app.json")
    }

    fn read_kept(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.kept()).unwrap()).unwrap()
    }

    /// Changes what is kept, as a process that was killed may have left it.
    fn rewrite(&self, change: impl FnOnce(&mut Value)) {
        let mut kept = self.read_kept();
        change(&mut kept);
        std::fs::write(self.kept(), kept.to_string()).unwrap();
    }

    /// A read that no cache answers.
    async fn ask(&self) -> Reply {
        static TURN: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let turn = TURN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // A group that is not there is looked for each time it has another name.
        self.world.get(&format!("getUsers/nobody-{turn}")).await
    }

    /// Asks until the access token of now is at its end.
    async fn outlive(&self) {
        let until = self.read_kept()["access_until_ms"].as_i64().unwrap();
        while jiff::Timestamp::now().as_millisecond() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn is_missing(answer: &Reply) -> bool {
    answer.status == 500 && answer.text().contains("does not exist")
}

fn ms_ago(minutes: i64) -> Value {
    json!(jiff::Timestamp::now().as_millisecond() - minutes * 60_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_its_owners_alone_and_holds_no_secret_of_the_app() {
    let desk = consented(3600).await;
    let text = std::fs::read_to_string(desk.kept()).unwrap();
    assert!(!text.contains("the-secret"));
    #[cfg(unix)]
    for (path, mode) in [
        (desk.kept(), 0o600),
        (desk.world.path("state/credentials/app.lock"), 0o600),
        (desk.world.path("state/credentials"), 0o700),
    ] {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            mode,
            "{path:?}"
        );
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn whoever_looks_at_it_as_root_leaves_it_to_its_owner() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let desk = consented(2).await;
    let folder = desk.world.path("state/credentials");
    // Only root can give something away, and only root can take it.
    if chown(&folder, Some(4242), Some(4242)).is_err() {
        return;
    }
    for name in ["app.json", "app.lock"] {
        chown(folder.join(name), Some(4242), Some(4242)).unwrap();
    }
    std::fs::remove_file(folder.join("app.lock")).unwrap();
    desk.outlive().await;
    let before = desk.read_kept();
    assert!(is_missing(&desk.ask().await));
    assert_ne!(before["refresh_token"], desk.read_kept()["refresh_token"]);
    for name in ["app.json", "app.lock"] {
        assert_eq!(std::fs::metadata(folder.join(name)).unwrap().uid(), 4242, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_looked_up_with_the_consent_of_a_running_facade() {
    let desk = consented(3600).await;
    let (said, code) = desk.run(&["identities", "resolve", "user000003"]).await;
    assert_eq!(code, 0, "{said}");
    let id = &desk.world.cloud.people[2].account_id;
    assert!(said.contains(id.as_str()) && !said.contains("consent"), "{said}");
    let (read, _) = desk.run(&["identities", "resolve", id]).await;
    assert!(!read.contains("nobody has consented"), "{read}");
    assert_eq!(desk.tokens("app").await["refreshes"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_that_is_denied_or_for_another_site_is_told_and_not_kept() {
    for (faults, told) in [
        (json!({ "consent": "denied" }), "access_denied"),
        (json!({ "other_site": true }), "not for the site of cloud.base_url"),
        (json!({ "token_down": true }), "503"),
    ] {
        let desk = desk().await;
        desk.world.cloud.switch(faults).await;
        let (code, said) = desk.login().await;
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(told), "{said}");
        assert!(!desk.kept().exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_answer_to_the_question_that_was_asked_is_taken() {
    let desk = desk().await;
    let login = desk.begin_login().await;
    let callback = &login.callback;
    let client = &desk.world.client;
    // Somebody else's code would make us act for somebody else.
    for query in ["", "?code=x", "?code=x&state=guessed", "?error=access_denied&state="] {
        let answer = send(client.get(format!("{callback}{query}"))).await;
        assert_eq!(answer.status, 200);
    }
    // A name that was made to point here, another path, another method.
    let rebound = client.get(format!("{callback}?code=x")).header("host", "evil.example");
    assert_eq!(send(rebound).await.status, 404);
    assert_eq!(
        send(client.get(callback.replace("/callback", "/other"))).await.status,
        404
    );
    assert_eq!(send(client.post(callback)).await.status, 404);
    assert!(!desk.kept().exists());
    assert_eq!(send(client.get(&login.address)).await.status, 200);
    let ended = login.ended().await;
    assert_eq!(ended.code, 0, "{}", ended.errors);
    assert!(desk.kept().exists());
}

/// `localhost` is two addresses, and the browser chooses: the answer would go to whoever is at the other.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_where_another_program_would_be_answered() {
    let desk = desk().await;
    for taken in ["127.0.0.1:0", "[::1]:0"] {
        let other = match std::net::TcpListener::bind(taken) {
            Ok(other) => other,
            Err(error) if taken.starts_with('[') => {
                eprintln!("no IPv6 here: {error}");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let port = other.local_addr().unwrap().port();
        let callback = format!("http://localhost:{port}/callback");
        let (said, code) = desk.run(&["credential", "login", "--callback", &callback]).await;
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("another program has that port"), "{said}");
        assert!(!said.contains("Open this address"), "{said}");
        assert!(!desk.kept().exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_that_lacks_a_scope_is_kept_and_told() {
    let mut registry = registry();
    registry[0]["scopes"] = json!(["read:confluence-groups", "read:confluence-user"]);
    let desk = Desk::new(registry, APP).await;
    let (code, _) = desk.login().await;
    assert_eq!(code, 1);
    let (read, written) = desk.script().await;
    assert_eq!((read.status, written.status), (200, 502));
    assert!(written.text().contains("consent again"), "{}", written.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_is_renewed_once_whoever_waits_for_it_and_the_new_one_is_kept() {
    let desk = consented(3).await;
    assert!(is_missing(&desk.ask().await));
    let before = desk.read_kept();
    desk.outlive().await;
    for answer in futures_util::future::join_all((0..20).map(|_| desk.ask())).await {
        assert!(is_missing(&answer), "{answer:?}");
    }
    let after = desk.read_kept();
    assert_ne!(before["refresh_token"], after["refresh_token"]);
    assert_eq!(after["used_ms"], Value::Null);
    let tokens = desk.tokens("app").await;
    assert_eq!(
        (tokens["refreshes"].as_u64(), tokens["reuses"].as_u64()),
        (Some(1), Some(0)),
        "{tokens}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_need_a_fresh_token_at_once_use_the_refresh_token_once() {
    let desk = consented(6).await;
    assert!(is_missing(&desk.ask().await));
    desk.outlive().await;
    let checks = futures_util::future::join_all((0..3).map(|_| desk.check()));
    let asks = futures_util::future::join_all((0..5).map(|_| desk.ask()));
    let (checks, asks) = tokio::join!(checks, asks);
    assert!(asks.iter().all(is_missing), "{asks:?}");
    for (said, code) in checks {
        assert_eq!(code, 0, "{said:#}");
    }
    let tokens = desk.tokens("app").await;
    assert_eq!(
        (tokens["reuses"].as_u64(), tokens["revoked_families"].as_u64()),
        (Some(0), Some(0)),
        "{tokens}"
    );
    // The processes may outlive one more token on a slow machine, and never share one.
    assert_eq!(tokens["leeway_refresh_tokens"], tokens["refreshes"], "{tokens}");
    assert_eq!(tokens["valid_refresh_tokens"], 1, "{tokens}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_is_asked_for_again_with_the_old_token_while_that_works() {
    let desk = consented(3).await;
    assert!(is_missing(&desk.ask().await));
    desk.outlive().await;
    desk.world.cloud.switch(json!({ "token_lost": 1 })).await;
    let before = desk.read_kept();
    let answers = futures_util::future::join_all((0..5).map(|_| desk.ask())).await;
    for answer in answers {
        assert!(is_missing(&answer) || answer.status == 503, "{answer:?}");
    }
    assert!(is_missing(&desk.ask().await), "it recovers by itself");
    let tokens = desk.tokens("app").await;
    assert_eq!(
        (
            tokens["refreshes"].as_u64(),
            tokens["reuses"].as_u64(),
            tokens["revoked_families"].as_u64()
        ),
        (Some(2), Some(0), Some(0)),
        "{tokens}"
    );
    assert_ne!(before["refresh_token"], desk.read_kept()["refresh_token"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ended_in_the_middle_recovers_within_ten_minutes_and_touches_nothing_after_them() {
    let desk = consented(3).await;
    assert!(is_missing(&desk.ask().await));
    for (minutes, recovers) in [(0, true), (8, true), (10, false)] {
        desk.outlive().await;
        let before = desk.tokens("app").await;
        desk.rewrite(|kept| {
            kept["used_ms"] = ms_ago(minutes);
        });
        let answer = desk.ask().await;
        if recovers {
            assert!(is_missing(&answer), "{minutes}: {answer:?}");
            continue;
        }
        assert_eq!(answer.status, 502, "{answer:?}");
        assert!(answer.text().contains("consent again"), "{answer:?}");
        assert_eq!(
            desk.tokens("app").await,
            before,
            "nothing is asked of the authorisation server"
        );
    }
    // A clock that was set back far says nothing of how old a note is.
    let (said, code) = desk.check().await;
    assert_eq!(code, 1);
    let lines = said["lines"].as_array().unwrap();
    let found = lines.iter().find(|line| line["symptom"] == "consent_over").unwrap();
    assert!(found["mend"].as_str().unwrap().contains("credential login"), "{found}");
    let (code, said) = desk.login().await;
    assert_eq!(code, 0, "{said}");
    assert!(is_missing(&desk.ask().await), "a new consent is used at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_that_was_taken_back_is_over_and_not_asked_about_again() {
    let desk = consented(2).await;
    assert!(is_missing(&desk.ask().await));
    let revoke = desk.world.cloud.url("/_sim/tokens");
    assert_eq!(
        send(desk.world.client.post(revoke).json(&json!({ "revoke": "app" })))
            .await
            .status,
        204
    );
    desk.outlive().await;
    let before = desk.world.calls().await["oauth_token"];
    for _ in 0..3 {
        let answer = desk.ask().await;
        assert_eq!(answer.status, 502, "{answer:?}");
        assert!(answer.text().contains("consent again"), "{answer:?}");
    }
    assert_eq!(desk.world.calls().await["oauth_token"], before + 1);
    assert_eq!(desk.operator("/ready").await.json()["credentials"][0]["state"], "over");
    let (listed, code) = desk.run(&["credential", "list"]).await;
    assert_eq!((code, listed.contains("is over")), (1, true), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_of_the_app_does_not_end_the_consent() {
    let desk = consented(2).await;
    assert!(is_missing(&desk.ask().await));
    let mut other = registry();
    other[0]["client_secret"] = json!("changed");
    desk.register(other).await;
    desk.outlive().await;
    let answer = desk.ask().await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(
        answer.text().contains("client_id or client_secret is wrong"),
        "{answer:?}"
    );
    let kept = desk.read_kept();
    assert_eq!((&kept["over"], &kept["used_ms"]), (&Value::Null, &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_that_could_not_be_noted_and_nothing_is_used_that_could_not_be_kept() {
    let desk = consented(3).await;
    assert!(is_missing(&desk.ask().await));
    desk.outlive().await;
    // Where the new file is to be written there is a folder: no file can be made.
    let in_the_way = desk.world.path("state/credentials/app.new");
    std::fs::create_dir_all(in_the_way.join("x")).unwrap();
    let before = desk.world.calls().await["oauth_token"];
    let answer = desk.ask().await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(desk.world.calls().await["oauth_token"], before);
    std::fs::remove_dir_all(&in_the_way).unwrap();

    // Now the disk fails between the question and its answer.
    desk.world.cloud.switch(json!({ "token_slow_ms": 600 })).await;
    let (answer, ()) = tokio::join!(desk.ask(), async {
        let until = Instant::now() + Duration::from_secs(30);
        while desk.world.calls().await["oauth_token"] == before {
            assert!(Instant::now() < until);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        std::fs::create_dir_all(in_the_way.join("x")).unwrap();
    });
    assert_eq!(answer.status, 503, "{answer:?}");
    let asked = desk.world.calls().await["oauth_token"];
    std::fs::remove_dir_all(&in_the_way).unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    while !is_missing(&desk.ask().await) {
        assert!(Instant::now() < until, "it does not recover");
    }
    assert_eq!(desk.read_kept()["used_ms"], Value::Null);
    let tokens = desk.tokens("app").await;
    assert_eq!(tokens["reuses"], 0, "{tokens}");
    // What could not be kept was kept later, and not asked for again, unless it came to its end meanwhile.
    assert!(desk.world.calls().await["oauth_token"] <= asked + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_operation_outlives_its_access_tokens() {
    let desk = consented(2).await;
    desk.world.cloud.switch(json!({ "latency_ms": 300 })).await;
    let asked = names(11, 30);
    let added = desk.world.users("addUsers/team", &asked).await;
    assert_eq!(added.json()["usersAdded"], json!(asked), "{}", added.text());
    assert_eq!(desk.tokens("app").await["reuses"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_near_its_end_in_the_file_is_renewed_and_not_waited_for() {
    let desk = consented(3600).await;
    desk.rewrite(|kept| {
        kept["refreshed_ms"] = ms_ago(59);
        // Half a minute is left.
        kept["access_until_ms"] = json!(kept["refreshed_ms"].as_i64().unwrap() + 59 * 60_000 + 30_000);
    });
    assert!(is_missing(&desk.ask().await));
    assert_eq!(desk.tokens("app").await["refreshes"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authorisation_server_that_is_down_ends_no_consent() {
    let desk = consented(2).await;
    assert!(is_missing(&desk.ask().await));
    desk.outlive().await;
    desk.world.cloud.switch(json!({ "token_down": true })).await;
    let answer = desk.ask().await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(
        desk.read_kept()["used_ms"],
        Value::Null,
        "what was not done is not noted as done"
    );
    let ready = desk.operator("/ready").await;
    assert_eq!(ready.status, 503, "{}", ready.text());
    desk.world.cloud.switch(json!({ "token_down": null })).await;
    assert!(is_missing(&desk.ask().await));
    assert_eq!(desk.tokens("app").await["reuses"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_refresh_left_open_is_ended_at_the_next_start_though_nobody_asks() {
    let mut desk = consented(3600).await;
    assert!(is_missing(&desk.ask().await));
    let before = desk.read_kept();
    desk.rewrite(|kept| kept["used_ms"] = ms_ago(5));
    desk.world.restart().await;
    let until = Instant::now() + Duration::from_secs(30);
    while !desk.read_kept()["used_ms"].is_null() {
        assert!(Instant::now() < until, "{}", desk.read_kept());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_ne!(before["refresh_token"], desk.read_kept()["refresh_token"]);
    assert!(is_missing(&desk.ask().await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_consent_with_another_scope_is_used_although_the_old_token_lives() {
    let mut narrow = registry();
    narrow[0]["scopes"] = json!(["read:confluence-groups", "read:confluence-user"]);
    let desk = Desk::new(narrow, APP).await;
    assert_eq!(desk.login().await.0, 1);
    let (read, written) = desk.script().await;
    assert_eq!((read.status, written.status), (200, 502));
    desk.register(registry()).await;
    assert_eq!(desk.login().await.0, 0);
    let (_, written) = desk.script().await;
    assert_eq!(written.status, 200, "{}", written.text());
}
