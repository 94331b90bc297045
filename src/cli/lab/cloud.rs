//! A simulated Cloud for one run, and its controls.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::scenario::Scenario;
use crate::simulator::{Options, Person, Simulator};

/// A simulator on a port of its own.
pub(super) struct Cloud {
    pub(super) base: String,
    pub(super) people: Vec<Person>,
    http: reqwest::Client,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What the simulator counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Stats {
    /// Adds that were accepted, and everything else that was.
    pub(super) adds: u64,
    pub(super) others: u64,
    /// 429s until the limit opened again after the first of them, and later.
    pub(super) limited_at_first: u64,
    pub(super) limited_later: u64,
    /// Requests accepted since then.
    pub(super) accepted_later: u64,
    /// How long an answer took on average, in seconds.
    pub(super) service: f64,
    pub(super) most_under_way: u64,
    /// Each in steps of [`STEP`].
    pub(super) accepted: Vec<u64>,
    pub(super) limited: Vec<u64>,
}

/// A step of the time line.
pub(super) const STEP: Duration = Duration::from_millis(100);

/// A client that goes to this machine alone.
pub(super) fn client(timeout: Option<Duration>) -> anyhow::Result<reqwest::Client> {
    // Harmless where one is installed already; reqwest needs a provider before its first client.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    if let Some(timeout) = timeout {
        client = client.timeout(timeout);
    }
    client.build().context("no HTTP client can be made")
}

impl Cloud {
    /// A Cloud as the scenario wants it, with these groups of so many members each.
    pub(super) async fn start(scenario: &Scenario, groups: &[(String, usize)]) -> anyhow::Result<Self> {
        let mut faults = vec![format!("limit_headers={}", scenario.dialect)];
        if scenario.spread > 0.0 {
            faults.push(format!("latency_spread={}", scenario.spread));
        }
        let largest = groups.iter().map(|(_, size)| *size).max().unwrap_or(0);
        let parse = |fault: &String| fault.parse().map_err(anyhow::Error::msg);
        let group = |(name, size): &(String, usize)| format!("{name}={size}").parse().map_err(anyhow::Error::msg);
        let options = Options {
            users: u32::try_from(scenario.names.max(largest))?,
            latency_ms: scenario.latency.as_millis() as u64,
            rate: scenario.limit.map(|limit| limit.rate),
            burst: scenario.limit.map(|limit| limit.burst),
            group: groups.iter().map(group).collect::<anyhow::Result<_>>()?,
            fault: faults.iter().map(parse).collect::<anyhow::Result<_>>()?,
            ..Options::default()
        };
        let simulator = Simulator::new(&options)?;
        let people = simulator.people();
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port is free")?;
        let address = listener.local_addr().context("the listener has no address")?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(simulator.run(listener, async move { stopped.cancelled().await }));
        Ok(Self {
            base: format!("http://{address}"),
            people,
            http: client(None)?,
            stop,
            task,
        })
    }

    async fn ask(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let answer = request.send().await.context("the simulator does not answer")?;
        let status = answer.status();
        let text = answer.text().await?;
        anyhow::ensure!(status.is_success(), "the simulator refused: {text}");
        if status == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        Ok(serde_json::from_str(&text)?)
    }

    async fn look(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(self.http.get(format!("{}{path}", self.base))).await
    }

    /// Turns switches.
    pub(super) async fn switch(&self, switches: &Value) -> anyhow::Result<()> {
        let url = format!("{}/_sim/faults", self.base);
        self.ask(self.http.post(url).json(switches)).await.map(drop)
    }

    /// Counts from zero.
    pub(super) async fn zero(&self) -> anyhow::Result<()> {
        self.ask(self.http.post(format!("{}/_sim/reset", self.base)))
            .await
            .map(drop)
    }

    /// How many members a group truly has.
    pub(super) async fn count(&self, group: &str) -> anyhow::Result<usize> {
        let members = self.look(&format!("/_sim/members?group={group}")).await?;
        Ok(members.as_array().map_or(0, Vec::len))
    }

    /// The id of a group.
    pub(super) async fn group_id(&self, name: &str) -> anyhow::Result<String> {
        let state = self.look("/_sim/state").await?;
        let named = |group: &Value| group.get("name") == Some(&json!(name));
        let groups = state.as_object().context("no groups")?;
        let found = groups.iter().find(|(_, group)| named(group));
        Ok(found.with_context(|| format!("no group {name}"))?.0.clone())
    }

    pub(super) async fn stats(&self) -> anyhow::Result<Stats> {
        let stats = self.look("/_sim/stats").await?;
        let counts = |what: &str| stats.get(what).and_then(Value::as_object).into_iter().flatten();
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let sum = |what: &str| counts(what).map(|(_, count)| number(count)).sum::<u64>();
        let is_add = |name: &str| name == "add_member";
        let adds = counts("accepted")
            .filter(|(name, _)| is_add(name))
            .map(|(_, count)| number(count))
            .sum::<u64>();
        let line = |name: &str| {
            let steps = stats.get("timeline").and_then(|lines| lines.get(name));
            let steps = steps.and_then(Value::as_array).into_iter().flatten();
            steps.map(number).collect::<Vec<_>>()
        };
        let limited_at_first = sum("limited_at_first");
        Ok(Stats {
            adds,
            others: sum("accepted") - adds,
            limited_at_first,
            limited_later: sum("limited") - limited_at_first,
            accepted_later: sum("accepted_after_first"),
            service: stats.get("mean_service_ms").and_then(Value::as_f64).unwrap_or(0.0) / 1_000.0,
            most_under_way: stats.get("most_under_way").map_or(0, number),
            accepted: line("accepted"),
            limited: line("limited"),
        })
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        // It can only have ended already.
        let _ = self.task.await;
    }
}

impl Stats {
    /// Requests accepted from `from` to `to`, in whole steps.
    pub(super) fn accepted_between(&self, from: Duration, to: Duration) -> u64 {
        let (from, to) = (step_of(from), step_of(to));
        self.accepted.iter().skip(from).take(to.saturating_sub(from)).sum()
    }

    /// Requests that Cloud looked at from `from` to `to`, whether it accepted them or not.
    pub(super) fn seen_between(&self, from: Duration, to: Duration) -> u64 {
        self.accepted_between(from, to) + self.limited_between(from, to)
    }

    /// 429s from `from` to `to`.
    pub(super) fn limited_between(&self, from: Duration, to: Duration) -> u64 {
        let (from, to) = (step_of(from), step_of(to));
        self.limited.iter().skip(from).take(to.saturating_sub(from)).sum()
    }

    /// How long after `from`, at most until `to`, a whole second had at least so many accepted requests.
    pub(super) fn reached(&self, wanted: f64, from: Duration, to: Duration) -> Option<Duration> {
        let (from, to) = (step_of(from), step_of(to));
        let window = (Duration::from_secs(1).as_millis() / STEP.as_millis()) as usize;
        let later = self.accepted.get(from..)?;
        let place = later
            .windows(window)
            .take(to.saturating_sub(from).saturating_sub(window - 1))
            .position(|steps| steps.iter().sum::<u64>() as f64 >= wanted)?;
        Some(STEP * u32::try_from(place + window).ok()?)
    }
}

fn step_of(time: Duration) -> usize {
    (time.as_millis() / STEP.as_millis()) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_reached_when_a_whole_second_had_it() {
        let at = Duration::from_millis;
        let accepted = [vec![10; 10], vec![0; 10], vec![5; 20]].concat();
        let stats = Stats {
            accepted,
            ..Stats::default()
        };
        assert_eq!(stats.reached(50.0, at(1_000), at(4_000)), Some(at(2_000)));
        assert_eq!(stats.reached(45.0, at(1_000), at(4_000)), Some(at(1_900)));
        assert_eq!(stats.reached(50.0, at(1_000), at(2_900)), None);
        assert_eq!(stats.reached(90.0, at(0), at(4_000)), Some(at(1_000)));
        assert_eq!(stats.reached(90.0, at(60_000), at(90_000)), None);
        // The last change can come as the last name is settled.
        assert_eq!(stats.reached(1.0, at(2_000), at(1_900)), None);
        assert_eq!(stats.accepted_between(at(900), at(2_100)), 15);
    }
}
