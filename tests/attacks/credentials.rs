//! Reading through the caches of another credential, in mode `passthrough`.

use extender_facade::settings::Mode;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::cloud::send;
use crate::legitimate::{alone, median, world};

/// Requests of the one who has read everything, with and without somebody who wants to.
const ASKED: usize = 150;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_good_credential_reads_nothing_while_another_one_is_served() {
    let _alone = alone().await;
    let world = world(|settings| {
        settings.inbound.mode = Mode::Passthrough;
        settings.inbound.accounts_file = None;
        settings.inbound.passthrough_validate_s = 3600;
        settings.cloud.email = String::new();
        settings.cloud.api_token = String::new().into();
    })
    .await;
    let ask = async |email: &str, token: &str, path: &str| {
        let from = std::time::Instant::now();
        let request = world.request(Method::GET, path).basic_auth(email, Some(token));
        let answer = send(request.header("x-forwarded-for", "203.0.113.1")).await;
        (answer, from.elapsed())
    };
    let ask = &ask;
    let served = async || {
        let mut times = Vec::new();
        for n in 0..ASKED {
            let (answer, took) = ask("ann@example.com", "t-ann", ["getUsers/g", "getGroups"][n % 2]).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            times.push(took);
        }
        median(times)
    };
    let before = served().await;
    // From now on Cloud takes no other token.
    world.cloud.switch(json!({ "unauthorized": "401" })).await;
    world.forget_calls().await;
    let guesses = async {
        let mut refused = 0;
        for round in 0..20 {
            let all = (0..10).map(|n| {
                let (email, token) = [
                    ("ann@example.com", format!("t-ann{round}{n}")),
                    ("ANN@example.com", "t-Ann".to_owned()),
                    ("ann@example.com", String::new()),
                    ("", "t-ann".to_owned()),
                    ("ann@example.comt-ann", String::new()),
                    ("ann@example.com:t-ann", "t-ann".to_owned()),
                ][n % 6]
                    .clone();
                async move { ask(email, &token, ["getUsers/g", "getGroups"][n % 2]).await.0 }
            });
            for answer in join_all(all).await {
                assert_eq!(answer.status, 401, "{answer:?}");
                assert!(!answer.text().contains("user0") && !answer.text().contains("groups"));
                refused += 1;
            }
        }
        refused
    };
    let (refused, during) = tokio::join!(guesses, served());
    let ratio = during.as_secs_f64() / before.as_secs_f64();
    println!(
        "{refused} requests with other tokens: a legitimate caller waits {during:.2?} instead of {before:.2?} (x{ratio:.2})"
    );
    assert!(ratio < 10.0 || during.as_millis() < 20, "x{ratio:.2}");
    let calls = world.calls().await;
    assert_eq!(calls.keys().collect::<Vec<_>>(), ["current_user"], "{calls:?}");
    assert!(
        calls["current_user"] <= 60,
        "a few tries of each name, and nothing else: {calls:?}"
    );
}
