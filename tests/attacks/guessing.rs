//! Guessing passwords and tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use extender_facade::extender::auth::accounts::hash_password;
use extender_facade::settings::Settings;
use futures_util::StreamExt as _;
use futures_util::stream;
use reqwest::Client;
use tokio::task::JoinSet;

use crate::cloud::{Reply, send};
use crate::harness::World;
use crate::legitimate::{alone, served_throughout, world};

const LOGIN_REASON: &str = "x-seraph-loginreason";

/// An account whose hash costs what a real one does.
fn add_victim(settings: &Settings) {
    let file = settings.inbound.accounts_file.clone().unwrap();
    let hash = hash_password("right").unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let entry = format!("[[account]]\nname = \"victim\"\npassword = \"{hash}\"\nrole = \"administrator\"\n");
    std::fs::write(file, text + &entry).unwrap();
}

#[derive(Clone)]
struct Guesser {
    client: Client,
    url: Arc<str>,
}

impl Guesser {
    fn of(world: &World) -> Self {
        Self {
            client: world.client.clone(),
            url: format!("http://{}/rest/extender/1.0/group/getGroups", world.facade).into(),
        }
    }

    /// One guess, on behalf of somebody at that address, if anybody believes it.
    async fn guess(&self, from: &str, name: &str, password: &str) -> Reply {
        let request = self.client.get(&*self.url).header("x-forwarded-for", from);
        send(request.basic_auth(name, Some(password))).await
    }
}

/// How guesses ended: wrong, locked out, put off.
#[derive(Debug, Default)]
struct Tally {
    wrong: usize,
    locked_out: usize,
    put_off: usize,
}

impl Tally {
    fn count(&mut self, answer: &Reply) {
        match (answer.status, answer.header(LOGIN_REASON)) {
            (401, Some("AUTHENTICATED_FAILED")) => self.wrong += 1,
            (401, Some("AUTHENTICATION_DENIED")) => self.locked_out += 1,
            (503, None) => {
                assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
                self.put_off += 1;
            }
            _ => panic!("{answer:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_many_addresses_it_costs_one_hash_at_a_time_and_locks_nobody_out() {
    let _alone = alone().await;
    let world = world(|settings| {
        add_victim(settings);
        settings.inbound.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    let guesser = Guesser::of(&world);
    // From 200 addresses, more often than each of them may.
    let attacker = guesser.clone();
    let attack = move || {
        let guesser = attacker.clone();
        async move {
            let guesses = stream::iter(0..2400).map(|n: usize| {
                let guesser = guesser.clone();
                async move {
                    let from = format!("198.51.{}.{}", n % 200 / 100, n % 100);
                    guesser.guess(&from, "victim", &format!("guess {n}")).await
                }
            });
            let mut tally = Tally::default();
            let mut guesses = guesses.buffer_unordered(64);
            while let Some(answer) = guesses.next().await {
                tally.count(&answer);
            }
            tally
        }
    };
    let tally = served_throughout(&world, "guessing from 200 addresses", attack).await;
    println!("  {tally:?} of the last 2400 guesses");
    assert!(tally.wrong + tally.locked_out <= 200 * 11);
    // From an address of its own the victim gets in, once its turn comes.
    let answer = loop {
        let answer = guesser.guess("203.0.113.77", "victim", "right").await;
        if answer.status != 503 {
            break answer;
        }
    };
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_one_address_it_ends_after_ten_whatever_addresses_are_forged() {
    let _alone = alone().await;
    let world = world(|settings| add_victim(settings)).await;
    let guesser = Guesser::of(&world);
    assert_eq!(guesser.guess("203.0.113.1", "victim", "right").await.status, 200);
    let attacker = guesser.clone();
    let attack = move || {
        let guesser = attacker.clone();
        async move {
            let mut tally = Tally::default();
            for n in 0..400 {
                let from = format!("203.0.113.{}", n % 250);
                tally.count(&guesser.guess(&from, "victim", &format!("guess {n}")).await);
            }
            tally
        }
    };
    let tally = served_throughout(&world, "guessing from one address", attack).await;
    println!("  {tally:?} of the last 400 guesses");
    assert!(tally.wrong <= 20 && tally.locked_out >= 380, "{tally:?}");
    // At the same address: who was let in before is let in still.
    assert_eq!(guesser.guess("203.0.113.1", "victim", "right").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_one_address_with_invented_names_it_keeps_no_other_address_out() {
    const NEWCOMERS: usize = 25;
    let _alone = alone().await;
    let world = world(|settings| {
        settings.inbound.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        let hash = hash_password("right").unwrap();
        let entry = |n| format!("[[account]]\nname = \"new{n}\"\npassword = \"{hash}\"\nrole = \"reader\"\n");
        let text: String = (0..NEWCOMERS).map(entry).collect();
        std::fs::write(settings.inbound.accounts_file.as_ref().unwrap(), text).unwrap();
    })
    .await;
    let guesser = Guesser::of(&world);
    // More at once than there are places for all.
    let answered: Arc<[AtomicUsize; 3]> = Arc::default();
    let mut flood = JoinSet::new();
    for attacker in 0..48 {
        let (guesser, answered) = (guesser.clone(), Arc::clone(&answered));
        flood.spawn(async move {
            for n in 0.. {
                let mut one = Tally::default();
                one.count(&guesser.guess("198.51.100.7", &format!("{attacker}-{n}"), "x").await);
                for (all, more) in answered.iter().zip([one.wrong, one.locked_out, one.put_off]) {
                    all.fetch_add(more, Ordering::Relaxed);
                }
            }
        });
    }
    let so_far = || answered.each_ref().map(|all| all.load(Ordering::Relaxed));
    while so_far().iter().sum::<usize>() < 100 {
        tokio::task::yield_now().await;
    }
    // Nobody of them was ever let in before.
    let from = std::time::Instant::now();
    for n in 0..NEWCOMERS {
        let answer = guesser
            .guess(&format!("203.0.113.{n}"), &format!("new{n}"), "right")
            .await;
        assert_eq!(answer.status, 200, "{n}: {answer:?}");
    }
    let [wrong, locked_out, put_off] = so_far();
    println!(
        "guessing names: {NEWCOMERS} newcomers let in within {:.2?} beside {wrong} wrong, {locked_out} locked out, {put_off} put off",
        from.elapsed()
    );
    assert!(locked_out > 0, "they were let in during the flood");
    flood.shutdown().await;
}
