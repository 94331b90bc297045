//! A caller who is served while others attack, and how long that takes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use extender_facade::settings::Settings;
use reqwest::Client;
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};

use crate::cloud::send;
use crate::harness::{World, options};

/// Requests before the attack and after it, and during it at least.
const MEASURED: usize = 100;

/// So much longer he may wait: the machine has other things to do as well, and little of this is optimised.
const LONGEST: f64 = 10.0;

/// A median below this is as good as this: a millisecond more is nothing that anybody waits for.
const LEAST: Duration = Duration::from_millis(2);

/// One attack at a time, or they would be measured together.
pub async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}

/// Twenty people, `g` with five of them and `h` with none.
pub async fn world(change: impl FnOnce(&mut Settings)) -> World {
    World::start(options(20, &[("g", 5), ("h", 0)]), |settings| {
        // What is measured is our part, not Cloud's.
        settings.cache.members_ttl_s = 3600;
        settings.cache.groups_ttl_s = 3600;
        change(settings);
    })
    .await
}

/// The address 127.0.`net`.`host` of this machine.
pub fn address(net: u8, host: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, net, host))
}

/// A script on a machine of its own, with a new connection for each call, as curl has.
struct Script {
    client: Client,
    url: String,
    name: &'static str,
}

impl Script {
    fn of(world: &World, name: &'static str) -> Self {
        let client = Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .pool_max_idle_per_host(0);
        Self {
            client: client.local_address(address(9, 9)).build().unwrap(),
            url: format!("http://{}/rest/extender/1.0/group/getUsers/g", world.facade),
            name,
        }
    }

    async fn ask(&self) -> Duration {
        let from = Instant::now();
        let answer = send(self.client.get(&self.url).basic_auth(self.name, Some(self.name))).await;
        assert_eq!((answer.status, &answer.json()["total"]), (200, &json!(5)), "{answer:?}");
        from.elapsed()
    }

    /// How long an answer takes while nobody attacks.
    async fn usual(&self) -> Duration {
        let mut times = Vec::new();
        for _ in 0..MEASURED {
            times.push(self.ask().await);
        }
        median(times)
    }
}

pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Carries the attack out, as often as it takes, while somebody is served who logs in by the password of `reader`. Gives
/// what the last time came to.
pub async fn served_throughout<T, F>(world: &World, what: &str, attack: impl Fn() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send,
{
    let script = Script::of(world, "reader");
    script.ask().await;
    let before = script.usual().await;
    let enough = Arc::new(AtomicBool::new(false));
    let is_enough = Arc::clone(&enough);
    let attack = tokio::spawn(async move {
        loop {
            let came_to = attack().await;
            if is_enough.load(Ordering::Relaxed) {
                return came_to;
            }
        }
    });
    let mut during = Vec::new();
    while !attack.is_finished() {
        during.push(script.ask().await);
        enough.store(during.len() >= MEASURED, Ordering::Relaxed);
    }
    let came_to = attack.await.unwrap();
    let (calls, worst) = (during.len(), during.iter().max().copied().unwrap());
    let (during, after) = (median(during), script.usual().await);
    let ratio = during.as_secs_f64() / before.as_secs_f64();
    println!(
        "{what}: a legitimate caller waits {during:.2?} instead of {before:.2?} (x{ratio:.2}; afterwards {after:.2?}; \
         worst {worst:.2?}; {calls} calls)"
    );
    // Others use the machine, too: one that became slow meanwhile is no finding.
    let usual = before.max(after).max(LEAST);
    assert!(
        during.max(LEAST).as_secs_f64() < LONGEST * usual.as_secs_f64(),
        "{what}: x{ratio:.2}"
    );
    came_to
}
