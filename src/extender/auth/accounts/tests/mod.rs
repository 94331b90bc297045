//! Cheap hashes (8 KiB, one pass) and a limiter that refills once an hour: nothing here depends on how fast it runs.

mod file;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm, Argon2, Params, Version};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;

use super::*;

fn cheap_hash(password: &str) -> String {
    let params = Params::new(8, 1, 1, Some(32)).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password(password.as_bytes()).unwrap().to_string()
}

fn account(name: &str, password: &str, role: &str) -> String {
    format!(
        "[[account]]\nname = {name:?}\npassword = \"{}\"\nrole = \"{role}\"\n",
        cheap_hash(password)
    )
}

fn limits() -> Limits {
    let burst = NonZeroU32::new(3).unwrap();
    Limits {
        remembered: Duration::from_secs(300),
        burst,
        refill: Duration::from_secs(3600),
        waiting: 32,
    }
}

fn two_accounts() -> Accounts {
    let text = account("Svc-Sync", "right", "administrator") + &account("zoë", "other", "reader");
    Accounts::parse(&text).unwrap().with_limits(&limits())
}

fn peer(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The turn of never-seen credentials, so that all others wait.
async fn turn(accounts: &Accounts) -> impl Sized + use<> {
    let place = accounts.gate.never_seen().enter(peer("10.9.9.9"), || true);
    place.ok().unwrap().turn().await.unwrap()
}

#[tokio::test]
async fn a_right_password_is_verified_under_the_name_of_the_file() {
    let accounts = two_accounts();
    let verified = accounts.basic("svc-SYNC", "right", peer("10.0.0.1")).await.unwrap();
    assert_eq!(
        verified,
        Verified {
            name: "Svc-Sync".to_owned(),
            role: Role::Administrator,
            rights: Rights::default(),
            scope: Arc::default(),
        }
    );
    let decomposed = accounts.basic("ZOE\u{308}", "other", peer("10.0.0.1")).await.unwrap();
    assert_eq!(
        decomposed,
        Verified {
            name: "zoë".to_owned(),
            role: Role::Reader,
            rights: Rights::default(),
            scope: Arc::default(),
        }
    );
}

#[tokio::test]
async fn wrong_and_unknown_are_told_alike_and_cost_alike() {
    let accounts = two_accounts();
    let wrong = accounts.basic("svc-sync", "wrong", peer("10.0.0.1")).await;
    assert_eq!((wrong, accounts.hash_runs()), (Err(Refused::WrongPassword), 1));
    let unknown = accounts.basic("nobody", "right", peer("10.0.0.1")).await;
    assert_eq!((unknown, accounts.hash_runs()), (Err(Refused::WrongPassword), 2));
}

#[tokio::test]
async fn an_unknown_name_is_locked_out_as_a_known_one_is() {
    let accounts = two_accounts();
    for name in ["svc-sync", "nobody"] {
        for attempt in 0..5 {
            let refused = accounts
                .basic(name, &format!("guess {attempt}"), peer("10.0.0.1"))
                .await;
            let expected = if attempt < 3 {
                Refused::WrongPassword
            } else {
                Refused::LockedOut
            };
            assert_eq!(refused, Err(expected), "{name}, attempt {attempt}");
        }
    }
}

#[tokio::test]
async fn a_name_and_password_do_not_run_into_each_other() {
    let accounts = two_accounts();
    accounts.basic("svc-sync", "right", peer("10.0.0.1")).await.unwrap();
    assert_eq!(
        accounts.basic("svc-syncr", "ight", peer("10.0.0.1")).await,
        Err(Refused::WrongPassword)
    );
}

#[tokio::test]
async fn too_long_a_password_is_refused_without_a_hash() {
    let accounts = two_accounts();
    let refused = accounts.basic("svc-sync", &"x".repeat(1025), peer("10.0.0.1")).await;
    assert_eq!((refused, accounts.hash_runs()), (Err(Refused::WrongPassword), 0));
    let refused = accounts.basic("svc-sync", &"x".repeat(1024), peer("10.0.0.1")).await;
    assert_eq!((refused, accounts.hash_runs()), (Err(Refused::WrongPassword), 1));
}

#[tokio::test]
async fn a_verified_credential_is_remembered() {
    let accounts = two_accounts();
    for _ in 0..20 {
        accounts.basic("svc-sync", "right", peer("10.0.0.1")).await.unwrap();
    }
    assert_eq!(accounts.hash_runs(), 1);
}

#[tokio::test]
async fn a_wrong_one_is_not_remembered() {
    let accounts = two_accounts();
    for _ in 0..2 {
        accounts.basic("svc-sync", "wrong", peer("10.0.0.1")).await.unwrap_err();
    }
    assert_eq!(accounts.hash_runs(), 2);
}

#[tokio::test]
async fn the_memory_of_a_verified_credential_ends() {
    let accounts = two_accounts().with_limits(&Limits {
        remembered: Duration::from_nanos(1),
        ..limits()
    });
    for _ in 0..9 {
        accounts.basic("svc-sync", "right", peer("10.0.0.1")).await.unwrap();
    }
    assert!(accounts.hash_runs() > 1, "verified again after its time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_credential_asked_for_by_many_is_verified_once() {
    let accounts = two_accounts();
    let held = turn(&accounts).await;
    let callers: Vec<_> = (0..40)
        .map(|host| {
            let accounts = accounts.clone();
            let from = peer(&format!("2001:db8::{host}"));
            tokio::spawn(async move { accounts.basic("svc-sync", "right", from).await })
        })
        .collect();
    drop(held);
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(accounts.hash_runs(), 1);
}

#[tokio::test]
async fn a_caller_who_hangs_up_does_not_stop_the_verification() {
    let accounts = two_accounts();
    let lane = accounts.gate.never_seen();
    let held = turn(&accounts).await;
    let impatient = {
        let accounts = accounts.clone();
        tokio::spawn(async move { accounts.basic("svc-sync", "right", peer("10.0.0.1")).await })
    };
    while lane.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    impatient.abort();
    assert!(impatient.await.unwrap_err().is_cancelled());
    assert_eq!(lane.waiting(), 1, "the verification still waits for its turn");
    drop(held);
    accounts.basic("svc-sync", "right", peer("10.0.0.1")).await.unwrap();
    assert_eq!(accounts.hash_runs(), 1);
}

#[tokio::test]
async fn failures_lock_out_one_account_from_one_address_only() {
    let accounts = two_accounts();
    for guess in ["a", "b", "c"] {
        assert_eq!(
            accounts.basic("svc-sync", guess, peer("10.0.0.1")).await,
            Err(Refused::WrongPassword)
        );
    }
    let runs = accounts.hash_runs();
    for guess in ["d", "right"] {
        assert_eq!(
            accounts.basic("svc-sync", guess, peer("10.0.0.1")).await,
            Err(Refused::LockedOut)
        );
        assert_eq!(
            accounts.basic("svc-sync", guess, peer("::ffff:10.0.0.1")).await,
            Err(Refused::LockedOut)
        );
    }
    assert_eq!(accounts.hash_runs(), runs, "a locked-out pair costs no hash");
    assert!(
        accounts.basic("zoë", "other", peer("10.0.0.1")).await.is_ok(),
        "another account, same address"
    );
    assert!(
        accounts.basic("svc-sync", "right", peer("10.0.0.2")).await.is_ok(),
        "same account, another address"
    );
}

#[tokio::test]
async fn who_is_held_back_is_not_let_in_by_what_others_have_verified() {
    let accounts = two_accounts();
    accounts.basic("svc-sync", "right", peer("10.0.0.2")).await.unwrap();
    for guess in ["a", "b", "c"] {
        let refused = accounts.basic("svc-sync", guess, peer("10.0.0.1")).await;
        assert_eq!(refused, Err(Refused::WrongPassword));
    }
    for guess in ["d", "right"] {
        let refused = accounts.basic("svc-sync", guess, peer("10.0.0.1")).await;
        assert_eq!(refused, Err(Refused::LockedOut), "{guess}");
    }
    accounts.basic("svc-sync", "right", peer("10.0.0.2")).await.unwrap();
}

#[tokio::test]
async fn an_ipv6_host_cannot_escape_by_changing_the_half_it_chooses() {
    let accounts = two_accounts();
    for host in 1..=3 {
        let refused = accounts
            .basic("svc-sync", &format!("{host}"), peer(&format!("2001:db8::{host}")))
            .await;
        assert_eq!(refused, Err(Refused::WrongPassword));
    }
    assert_eq!(
        accounts.basic("svc-sync", "x", peer("2001:db8::ffff:4")).await,
        Err(Refused::LockedOut)
    );
    assert_eq!(
        accounts.basic("svc-sync", "x", peer("2001:db8:0:1::4")).await,
        Err(Refused::WrongPassword)
    );
}

#[tokio::test]
async fn a_network_is_limited_over_all_names_and_who_was_verified_there_is_not() {
    let accounts = two_accounts();
    accounts.basic("svc-sync", "right", peer("10.0.0.1")).await.unwrap();
    let mut verified = 0;
    while accounts.basic(&format!("name {verified}"), "x", peer("10.0.0.1")).await == Err(Refused::WrongPassword) {
        verified += 1;
        assert!(verified < 10_000, "it never ends");
    }
    assert!(verified >= 30, "{verified}");
    accounts
        .gate
        .forget(&accounts.book.load(), "svc-sync", "right", peer("10.0.0.1"))
        .await;
    accounts.basic("svc-sync", "right", peer("10.0.0.1")).await.unwrap();
    accounts.basic("zoë", "other", peer("10.0.0.2")).await.unwrap();
}

#[tokio::test]
async fn right_passwords_use_up_nothing_of_what_their_network_may_try() {
    let names: Vec<_> = (0..70).map(|n| format!("name {n}")).collect();
    let text: String = names.iter().map(|name| account(name, "right", "reader")).collect();
    let accounts = Accounts::parse(&text).unwrap().with_limits(&limits());
    for name in names {
        accounts.basic(&name, "right", peer("10.0.0.1")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_newcomer_is_verified_although_another_network_takes_all_places_it_can() {
    let accounts = two_accounts().with_limits(&Limits { waiting: 3, ..limits() });
    let lane = accounts.gate.never_seen();
    let held = turn(&accounts).await;
    let ask = |name: String, password: &'static str, from: &str| {
        let (accounts, from) = (accounts.clone(), peer(from));
        tokio::spawn(async move { accounts.basic(&name, password, from).await })
    };
    let flood: Vec<_> = (0..3).map(|n| ask(format!("name {n}"), "x", "10.0.0.1")).collect();
    while lane.waiting() < 3 {
        tokio::task::yield_now().await;
    }
    let newcomer = ask("zoë".to_owned(), "other", "10.0.0.2");
    // One of the flood is told at once: that one's place is the newcomer's.
    let (told, _, others) = futures_util::future::select_all(flood).await;
    assert!(matches!(told.unwrap(), Err(Refused::Busy { .. })));
    drop(held);
    newcomer.await.unwrap().unwrap();
    for other in others {
        assert_eq!(other.await.unwrap(), Err(Refused::WrongPassword));
    }
}

#[tokio::test]
async fn a_verified_credential_survives_a_flood_of_guesses_from_its_own_address() {
    let accounts = two_accounts();
    accounts.basic("svc-sync", "right", peer("10.0.0.1")).await.unwrap();
    for guess in 0..20 {
        accounts
            .basic("svc-sync", &format!("guess {guess}"), peer("10.0.0.1"))
            .await
            .unwrap_err();
    }
    accounts
        .gate
        .forget(&accounts.book.load(), "svc-sync", "right", peer("10.0.0.1"))
        .await;
    let runs = accounts.hash_runs();
    accounts.basic("svc-sync", "right", peer("10.0.0.1")).await.unwrap();
    assert_eq!(accounts.hash_runs(), runs + 1, "verified anew, not merely believed");
    assert_eq!(
        accounts.basic("svc-sync", "again", peer("10.0.0.1")).await,
        Err(Refused::LockedOut)
    );
}

#[tokio::test]
async fn a_full_queue_refuses_strangers_and_not_the_proven() {
    let accounts = two_accounts().with_limits(&Limits { waiting: 1, ..limits() });
    accounts.basic("zoë", "other", peer("10.0.0.1")).await.unwrap();
    accounts
        .gate
        .forget(&accounts.book.load(), "zoë", "other", peer("10.0.0.1"))
        .await;

    let lane = accounts.gate.never_seen();
    let held = turn(&accounts).await;
    let waiting = {
        let accounts = accounts.clone();
        tokio::spawn(async move { accounts.basic("svc-sync", "right", peer("10.0.0.2")).await })
    };
    while lane.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    // More often than the burst: who is sent away as busy has not used up a try.
    for _ in 0..5 {
        let refused = accounts.basic("svc-sync", "guess", peer("10.0.0.3")).await.unwrap_err();
        let Refused::Busy { retry_after } = refused else {
            panic!("{refused:?}")
        };
        assert!(retry_after >= Duration::from_secs(1));
    }
    accounts.basic("zoë", "other", peer("10.0.0.1")).await.unwrap();
    drop(held);
    waiting.await.unwrap().unwrap();
    assert_eq!(
        accounts.basic("svc-sync", "guess", peer("10.0.0.3")).await,
        Err(Refused::WrongPassword)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lock_out_does_not_spread_to_who_joined_the_attempt() {
    let accounts = two_accounts();
    for guess in ["a", "b", "c"] {
        accounts.basic("svc-sync", guess, peer("10.0.0.1")).await.unwrap_err();
    }
    // Which of the two begins is chance, hence the rounds: each has a fresh address to join from.
    for round in 0..300 {
        let ask = |from: String| {
            let accounts = accounts.clone();
            tokio::spawn(async move { accounts.basic("svc-sync", &format!("guess {round}"), peer(&from)).await })
        };
        let (locked_out, fresh) = (
            ask("10.0.0.1".to_owned()),
            ask(format!("10.1.{}.{}", round / 200, round % 200)),
        );
        locked_out.await.unwrap().unwrap_err();
        assert_eq!(fresh.await.unwrap(), Err(Refused::WrongPassword), "round {round}");
    }
}

/// A file, written for `Accounts::reload`.
fn written(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[tokio::test]
async fn who_was_verified_before_is_judged_by_the_file_of_now() {
    let (kept, gone) = (
        account("kept", "right", "administrator"),
        account("gone", "right", "reader"),
    );
    let accounts = Accounts::parse(&(kept.clone() + &gone)).unwrap().with_limits(&limits());
    let clone = accounts.clone();
    let ask = async |name: &str, password: &str| clone.basic(name, password, peer("10.0.0.1")).await;
    assert!(ask("kept", "right").await.is_ok() && ask("gone", "right").await.is_ok());

    let demoted = kept.replace("administrator", "reader");
    accounts.reload(written(&demoted).path()).unwrap();
    let runs = accounts.hash_runs();
    assert_eq!(ask("gone", "right").await, Err(Refused::WrongPassword));
    assert_eq!(ask("kept", "right").await.unwrap().role, Role::Reader);
    assert_eq!(
        accounts.hash_runs(),
        runs + 1,
        "who stayed as he was is still remembered"
    );

    accounts
        .reload(written(&account("kept", "another", "reader")).path())
        .unwrap();
    assert_eq!(ask("kept", "right").await, Err(Refused::WrongPassword));
    assert!(ask("kept", "another").await.is_ok());

    assert!(accounts.reload(written("[[account]]\nname = 1\n").path()).is_err());
    assert!(ask("kept", "another").await.is_ok(), "a faulty file changes nothing");
    accounts.reload(written("").path()).unwrap();
    assert_eq!(ask("kept", "another").await, Err(Refused::WrongPassword));
}

#[tokio::test]
async fn an_account_that_has_expired_is_an_unknown_one_though_it_was_verified() {
    let entry = account("a", "right", "reader");
    let accounts = Accounts::parse(&(entry.clone() + "expires = 2999-01-01\n"))
        .unwrap()
        .with_limits(&limits());
    assert!(accounts.basic("a", "right", peer("10.0.0.1")).await.is_ok() && accounts.account("A").is_some());
    accounts
        .reload(written(&(entry + "expires = 2001-01-01\n")).path())
        .unwrap();
    let runs = accounts.hash_runs();
    assert_eq!(
        accounts.basic("a", "right", peer("10.0.0.1")).await,
        Err(Refused::WrongPassword)
    );
    assert_eq!(accounts.hash_runs(), runs + 1, "it costs what an unknown one costs");
    assert!(accounts.account("a").is_none());
}

#[test]
fn a_token_is_known_until_it_expires() {
    let token = new_token().unwrap();
    let secret = token.secret.expose_secret();
    assert!(secret.starts_with("xft_") && secret.len() == 47);
    let with = |expires: &str| {
        let text = format!(
            "[[token]]\nname = \"ci\"\nsha256 = \"{}\"\nrole = \"reader\"\n{expires}",
            token.sha256
        );
        Accounts::parse(&text).unwrap()
    };
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let verified = Ok(Verified {
        name: "ci".to_owned(),
        role: Role::Reader,
        rights: Rights::default(),
        scope: Arc::default(),
    });

    assert_eq!(with("").bearer(secret), verified);
    assert_eq!(with("").bearer("xft_other"), Err(Refused::UnknownToken));
    assert_eq!(
        with("").bearer(&token.sha256),
        Err(Refused::UnknownToken),
        "the digest is no secret"
    );
    for day in ["expires = \"2027-01-31\"", "expires = 2027-01-31"] {
        assert_eq!(with(day).bearer_at(secret, at("2027-01-31T23:59:59.999Z")), verified);
        assert_eq!(
            with(day).bearer_at(secret, at("2027-02-01T00:00:00Z")),
            Err(Refused::UnknownToken)
        );
    }
    let instant = with("expires = \"2027-01-31T12:00:00+02:00\"");
    assert_eq!(instant.bearer_at(secret, at("2027-01-31T09:59:59Z")), verified);
    assert_eq!(
        instant.bearer_at(secret, at("2027-01-31T10:00:00Z")),
        Err(Refused::UnknownToken)
    );
    assert_eq!(with("expires = 2001-01-01").bearer(secret), Err(Refused::UnknownToken));
}

#[tokio::test]
async fn a_hash_made_here_verifies_here() {
    let text = format!(
        "[[account]]\nname = \"a\"\npassword = \"{}\"\nrole = \"reader\"\n",
        hash_password("pâss").unwrap()
    );
    assert!(text.contains("$argon2id$v=19$m=19456,t=2,p=1$"));
    let accounts = Accounts::parse(&text).unwrap();
    assert!(accounts.basic("a", "pâss", peer("10.0.0.1")).await.is_ok());
    assert!(accounts.basic("a", "pass", peer("10.0.0.1")).await.is_err());
}

#[tokio::test]
async fn a_file_without_accounts_is_good_and_knows_nobody() {
    let accounts = Accounts::parse("").unwrap();
    assert_eq!(
        accounts.basic("a", "b", peer("10.0.0.1")).await,
        Err(Refused::WrongPassword)
    );
}

#[tokio::test]
async fn no_secret_is_in_what_debug_or_display_write() {
    let token = new_token().unwrap();
    let accounts = two_accounts();
    let refused = accounts
        .basic("svc-sync", "sesame", peer("10.0.0.1"))
        .await
        .unwrap_err();
    let (_, hash) = accounts.book.load().account("svc-sync", Timestamp::now()).unwrap();
    let written = format!("{accounts:?} {token:?} {refused:?} {refused} {hash:?}");
    for secret in [token.secret.expose_secret(), "sesame", "right", "argon2id$"] {
        assert!(!written.contains(secret), "{written}");
    }
}
