//! The clients that people write: straight to Cloud, with retries as they are usually found.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};

use super::cloud::{Cloud, client};
use super::scenario::{Client, Scenario};
use crate::simulator::Simulator;

const NAIVE_WORKERS: usize = 64;
const NAIVE_RETRIES: u32 = 8;
/// First wait of the naive client where nothing says how long; doubled each time.
const NAIVE_BACKOFF: Duration = Duration::from_millis(100);

const FIXED_WORKERS: usize = 8;
const FIXED_STEP: Duration = Duration::from_millis(20);

/// What the two careful clients wait where nothing says how long.
const USUAL_WAIT: Duration = Duration::from_secs(1);
/// How often they try again what failed otherwise than by a 429.
const RETRIES: u32 = 8;
const TIMEOUT: Duration = Duration::from_secs(45);

/// What all workers of a client share.
struct Job {
    http: reqwest::Client,
    url: String,
    accounts: Vec<String>,
    next: AtomicUsize,
    /// When the next request may leave, for the client with a pace.
    pace: Option<Mutex<Interval>>,
}

/// Why an add is not done yet.
enum Again {
    /// Too many requests; how long to wait, where it is said.
    Limited(Option<Duration>),
    Failed,
}

/// Adds the first names of the scenario to the group, as this client would. Whoever it loses is not there afterwards.
pub(super) async fn add(who: Client, cloud: &Cloud, scenario: &Scenario, group: &str) -> anyhow::Result<()> {
    let group_id = cloud.group_id(group).await?;
    let workers = match who {
        Client::Naive => NAIVE_WORKERS,
        Client::Fixed => FIXED_WORKERS,
        Client::Serial | Client::Facade => 1,
    };
    let people = cloud.people.iter().take(scenario.names);
    let job = Arc::new(Job {
        http: client(Some(TIMEOUT.div_f64(scenario.scale)))?,
        url: format!("{}{}", cloud.base, Simulator::path_to_add(&group_id)),
        accounts: people.map(|person| person.account_id.clone()).collect(),
        next: AtomicUsize::new(0),
        pace: (who == Client::Fixed).then(pace),
    });
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        let job = Arc::clone(&job);
        tasks.spawn(async move {
            while let Some(account) = job.accounts.get(job.next.fetch_add(1, Ordering::Relaxed)) {
                if who == Client::Naive {
                    job.naively(account).await;
                } else {
                    job.patiently(account).await;
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

fn pace() -> Mutex<Interval> {
    let mut interval = tokio::time::interval(FIXED_STEP);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Mutex::new(interval)
}

impl Job {
    async fn once(&self, account: &str) -> Result<(), Again> {
        if let Some(pace) = &self.pace {
            pace.lock().await.tick().await;
        }
        let request = self
            .http
            .post(&self.url)
            .basic_auth("script@example.com", Some("token"))
            .header("x-atlassian-token", "no-check")
            .json(&json!({ "accountId": account }));
        let answer = request.send().await.map_err(|_| Again::Failed)?;
        let (status, wait) = (answer.status(), retry_after(&answer));
        answer.bytes().await.map_err(|_| Again::Failed)?;
        match status {
            StatusCode::TOO_MANY_REQUESTS => Err(Again::Limited(wait)),
            // Of an earlier try whose answer was lost.
            StatusCode::CONFLICT => Ok(()),
            status if status.is_success() => Ok(()),
            _ => Err(Again::Failed),
        }
    }

    /// So many tries, each after what Cloud says or twice the wait before; then the name is lost.
    async fn naively(&self, account: &str) {
        let mut backoff = NAIVE_BACKOFF;
        for _ in 0..NAIVE_RETRIES {
            let wait = match self.once(account).await {
                Ok(()) => return,
                Err(Again::Limited(Some(wait))) => wait,
                Err(Again::Limited(None) | Again::Failed) => backoff,
            };
            tokio::time::sleep(wait).await;
            backoff *= 2;
        }
        let _ = self.once(account).await;
    }

    /// A 429 is waited for as often as it comes; what else fails is lost after so many tries.
    async fn patiently(&self, account: &str) {
        let mut failed = 0;
        loop {
            let wait = match self.once(account).await {
                Ok(()) => return,
                Err(Again::Limited(wait)) => wait.unwrap_or(USUAL_WAIT),
                Err(Again::Failed) if failed == RETRIES => return,
                Err(Again::Failed) => {
                    failed += 1;
                    USUAL_WAIT
                }
            };
            tokio::time::sleep(wait).await;
        }
    }
}

fn retry_after(answer: &Response) -> Option<Duration> {
    let text = answer.headers().get(reqwest::header::RETRY_AFTER)?.to_str().ok()?;
    text.parse().ok().map(Duration::from_secs)
}
