//! What the time of an answer tells.

use std::time::{Duration, Instant};

use extender_facade::extender::auth::accounts::hash_password;
use reqwest::Method;

use crate::cloud::send;
use crate::legitimate::{alone, median, world};

/// Of each kind, one after the other in turns.
const ASKED: usize = 25;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_does_not_exist_takes_as_long_as_a_wrong_password() {
    let _alone = alone().await;
    let world = world(|settings| {
        settings.inbound.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        let entry = |name: &str, more: &str| {
            let hash = hash_password("right").unwrap();
            format!("[[account]]\nname = \"{name}\"\npassword = \"{hash}\"\nrole = \"reader\"\n{more}")
        };
        let text = entry("exists", "") + &entry("expired", "expires = 2020-01-31\n");
        std::fs::write(settings.inbound.accounts_file.as_ref().unwrap(), text).unwrap();
    })
    .await;
    // Each from an address of its own, or they would be locked out.
    let ask = async |name: &str, password: &str, n: usize| {
        let request = world.request(Method::GET, "getGroups").basic_auth(name, Some(password));
        let request = request.header("x-forwarded-for", format!("198.51.100.{n}"));
        let from = Instant::now();
        let answer = send(request).await;
        assert_eq!(
            (answer.status, answer.header("x-seraph-loginreason")),
            (401, Some("AUTHENTICATED_FAILED"))
        );
        (from.elapsed(), answer.text())
    };
    let (mut wrong, mut unknown, mut expired): (Vec<Duration>, Vec<Duration>, Vec<Duration>) = Default::default();
    for n in 0..ASKED {
        let one = ask("exists", &format!("guess {n}"), n).await;
        let two = ask(&format!("nobody{n}"), &format!("guess {n}"), n).await;
        let three = ask("expired", "right", n).await;
        assert!(one.1 == two.1 && two.1 == three.1, "and they read alike");
        wrong.push(one.0);
        unknown.push(two.0);
        expired.push(three.0);
    }
    let (wrong, unknown, expired) = (median(wrong), median(unknown), median(expired));
    for (what, other) in [("an unknown account", unknown), ("an expired one", expired)] {
        let ratio = other.as_secs_f64() / wrong.as_secs_f64();
        println!("{what}: {other:.2?}, a wrong password {wrong:.2?} (x{ratio:.2})");
        assert!((0.5..2.0).contains(&ratio), "{what}: x{ratio:.2}");
    }
}
