//! The whole facade in this process, before a simulated Cloud, with a state directory of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::cloud::{Cloud, client};
use super::scenario::Scenario;
use crate::cli::{demo, rehearsal};
use crate::server::{Server, Stop};
use crate::settings::Settings;

/// How many accounts may change something.
const CALLERS: usize = 4;

/// A facade on a port of its own.
pub(super) struct Facade {
    base: String,
    http: reqwest::Client,
    stop: Stop,
    task: JoinHandle<()>,
    directory: TempDir,
}

/// How a read was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Got {
    pub(super) is_good: bool,
    pub(super) is_stale: bool,
    pub(super) took: Duration,
}

impl Facade {
    /// A facade with the settings of `config`, else the defaults, and what the scenario says differs.
    pub(super) async fn start(cloud: &Cloud, scenario: &Scenario, config: Option<&Path>) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("extender-facade-lab-")
            .tempdir()
            .context("no temporary directory")?;
        let map = directory.path().join(rehearsal::MAP);
        demo::write_map(&map, &cloud.people).context("the identity map cannot be written")?;
        let accounts = directory.path().join(rehearsal::ACCOUNTS);
        demo::write_secret(&accounts, &accounts_file()).context("the accounts cannot be written")?;
        let mut settings = rehearsal::settings(config, directory.path(), cloud.base.clone())?;
        settings.cloud.max_in_flight = scenario.in_flight;
        scale(&mut settings, scenario.scale);
        let listeners = Server::bind(&settings).await?;
        let address = listeners.inbound.local_addr().context("the listener has no address")?;
        let server = Server::new(settings)?;
        let stop = Stop::new();
        let task = tokio::spawn(server.run(listeners, stop.clone()));
        Ok(Self {
            base: format!("http://{address}/rest/extender/1.0/group"),
            http: client(None)?,
            stop,
            task,
            directory,
        })
    }

    /// Adds the names to the group in one call, and waits for its answer.
    pub(super) async fn add(&self, caller: usize, group: &str, names: &[&str]) -> anyhow::Result<()> {
        let url = format!("{}/addUsers/{group}", self.base);
        let request = self.http.post(url).bearer_auth(token(caller));
        let answer = request.json(&json!({ "users": names })).send().await;
        let answer = answer.context("the facade does not answer")?;
        // Whatever it says: what was lost is counted in Cloud.
        answer.bytes().await.context("the facade broke off")?;
        Ok(())
    }

    /// Reads the group's members.
    pub(super) async fn get(&self, group: &str) -> Got {
        let start = Instant::now();
        let url = format!("{}/getUsers/{group}", self.base);
        let answer = self.http.get(url).bearer_auth(token(0)).send().await;
        let (mut is_good, mut is_stale) = (false, false);
        if let Ok(answer) = answer {
            is_good = answer.status().is_success();
            is_stale = answer.headers().contains_key("x-facade-stale");
            is_good &= answer.bytes().await.is_ok();
        }
        Got {
            is_good,
            is_stale,
            took: start.elapsed(),
        }
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.stop.say();
        self.task.await.context("the facade ended badly")?;
        self.directory
            .close()
            .context("the temporary directory cannot be removed")
    }
}

/// Divides the waits of production: a scaled outage is as long for them as a true one.
fn scale(settings: &mut Settings, by: f64) {
    if by <= 1.0 {
        return;
    }
    let scaled = |value: u64, least: u64| ((value as f64 / by) as u64).max(least);
    let cloud = &mut settings.cloud;
    cloud.try_timeout_ms = scaled(cloud.try_timeout_ms, 300);
    cloud.connect_timeout_ms = scaled(cloud.connect_timeout_ms, 300);
    cloud.backoff_cap_ms = scaled(cloud.backoff_cap_ms, cloud.backoff_base_ms);
    settings.extender.read_deadline_s = scaled(settings.extender.read_deadline_s, 1);
    settings.cache.members_ttl_s = scaled(settings.cache.members_ttl_s, 1);
    settings.cache.groups_ttl_s = scaled(settings.cache.groups_ttl_s, 1);
}

fn token(caller: usize) -> String {
    format!("xft_caller-{caller}-of-the-laboratory")
}

fn accounts_file() -> String {
    let entry = |caller| {
        let digest: String = Sha256::digest(token(caller))
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("[[token]]\nname = \"caller-{caller}\"\nsha256 = \"{digest}\"\nrole = \"administrator\"\n")
    };
    (0..CALLERS).map(entry).collect()
}
