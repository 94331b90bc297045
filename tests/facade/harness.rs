//! A facade on a port of its own, before a simulated Cloud on another: the true server, reached over loopback alone.
#![allow(dead_code, reason = "every file uses another part")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use argon2::password_hash::PasswordHasher as _;
use extender_facade::server::{Server, Stop};
use extender_facade::settings::{Settings, Variables};
use extender_facade::simulator::Options;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::cloud::{Cloud, Reply, send};

#[path = "../support/seclude.rs"]
mod seclude;
pub use seclude::seclude;

/// Tokens of the accounts file; `admin:admin` and `reader:reader` are there as well.
pub const ADMIN: &str = "xft_administrator-of-the-tests";
pub const READER: &str = "xft_reader-of-the-tests";
/// An administrator whose every change is a dry run.
pub const OBSERVER: &str = "xft_observer-of-the-tests";
/// A reader who may see everybody's reports.
pub const OPERATOR: &str = "xft_operator-of-the-tests";

/// After an outage Cloud is asked again when a pause is over: asks until the answer tells nothing of it any more.
pub async fn once_back(ask: impl AsyncFn() -> Reply) -> Reply {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = ask().await;
        let is_back = answer.status != 503 && answer.header("x-facade-stale").is_none();
        if is_back || Instant::now() > until {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub struct World {
    pub cloud: Cloud,
    pub facade: SocketAddr,
    pub admin: SocketAddr,
    pub client: Client,
    pub stop: Stop,
    pub task: JoinHandle<()>,
    pub directory: tempfile::TempDir,
    pub settings: Settings,
}

impl World {
    /// Generated data: users `user000001…`, and the groups of `groups` with their sizes.
    pub async fn with(users: u32, groups: &[(&str, u32)]) -> Self {
        Self::start(options(users, groups), |_| {}).await
    }

    /// A simulator with `options`, everybody in the identity map, mode `accounts`, and whatever `change` sets.
    pub async fn start(options: Options, change: impl FnOnce(&mut Settings)) -> Self {
        let cloud = Cloud::start(options).await;
        let directory = tempfile::tempdir().unwrap();
        let mut map = String::from("username,key,email,account_id,full_name,created,updated\n");
        for person in &cloud.people {
            map.push_str(&format!(
                "{},{},{},{},{},1654605520699,1654605520699\n",
                person.username, person.key, person.email, person.account_id, person.display_name
            ));
        }
        std::fs::write(directory.path().join("identities.csv"), map).unwrap();
        std::fs::write(directory.path().join("accounts.toml"), accounts()).unwrap();
        let mut settings = Settings::load(None, "", Some(Variables::new())).unwrap();
        settings.state_dir = directory.path().join("state");
        settings.inbound.listen = ([127, 0, 0, 1], 0).into();
        settings.admin.listen = Some(([127, 0, 0, 1], 0).into());
        settings.inbound.accounts_file = Some(directory.path().join("accounts.toml"));
        settings.identity.map_file = Some(directory.path().join("identities.csv"));
        settings.cloud.base_url = cloud.url("");
        settings.cloud.email = "robot@example.com".to_owned();
        settings.cloud.api_token = "robot-token".into();
        // What a test waits for should not be the pauses of production.
        settings.cloud.backoff_base_ms = 5;
        settings.cloud.backoff_cap_ms = 200;
        settings.cache.read_lag_s = 1;
        change(&mut settings);
        let (facade, admin, stop, task) = serve(&settings).await;
        let client = Client::builder()
            .no_proxy()
            .no_gzip()
            .tls_certs_only([])
            .build()
            .unwrap();
        Self {
            cloud,
            facade,
            admin,
            client,
            stop,
            task,
            directory,
            settings,
        }
    }

    /// Stops the facade, and starts another on the same state, at other addresses.
    pub async fn restart(&mut self) {
        self.stop.say();
        (&mut self.task).await.unwrap();
        (self.facade, self.admin, self.stop, self.task) = serve(&self.settings).await;
    }

    /// The report of that id, for whoever has the token.
    pub async fn report(&self, id: &str, token: &str, query: &str) -> Reply {
        let url = format!("http://{}/facade/v1/reports/{id}{query}", self.facade);
        send(self.client.get(url).bearer_auth(token)).await
    }

    /// A request below `/rest/extender/1.0/group/`, without a credential.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("http://{}/rest/extender/1.0/group/{path}", self.facade))
    }

    /// A GET by the reader.
    pub async fn get(&self, path: &str) -> Reply {
        send(self.request(Method::GET, path).bearer_auth(READER)).await
    }

    /// A POST by the administrator.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        send(
            self.request(Method::POST, path)
                .bearer_auth(ADMIN)
                .body(body.to_string()),
        )
        .await
    }

    /// A POST of `{"users":[…]}` by the administrator, to `addUsers/…` or `removeUsers/…`.
    pub async fn users(&self, path: &str, names: &[impl AsRef<str>]) -> Reply {
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        self.post(path, &json!({ "users": names })).await
    }

    /// A POST of `{"groups":[…]}` by the administrator.
    pub async fn groups(&self, path: &str, names: &[&str]) -> Reply {
        self.post(path, &json!({ "groups": names })).await
    }

    /// The names that getUsers shows, in order; anything but a 200 fails the test.
    pub async fn members(&self, group: &str) -> Vec<String> {
        let answer = self.get(&format!("getUsers/{}", encode(group))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        texts(&answer.json()["users"], Some("name"))
    }

    /// The true members of a group as usernames, sorted.
    pub async fn truth(&self, group: &str) -> Vec<String> {
        let mut names: Vec<String> = self
            .cloud
            .truth(group)
            .await
            .iter()
            .map(|id| {
                self.cloud
                    .people
                    .iter()
                    .find(|person| person.account_id == *id)
                    .unwrap()
                    .username
                    .clone()
            })
            .collect();
        names.sort();
        names
    }

    /// Requests the simulator has counted, by operation; those with none left out.
    pub async fn calls(&self) -> std::collections::BTreeMap<String, u64> {
        let stats = self.cloud.stats().await;
        let counts = stats["by_operation"].as_object().unwrap();
        counts
            .iter()
            .map(|(name, n)| (name.clone(), n.as_u64().unwrap()))
            .filter(|(_, n)| *n > 0)
            .collect()
    }

    /// Counts from zero again.
    pub async fn forget_calls(&self) {
        self.cloud.reset().await;
    }

    /// The operator's figures.
    pub async fn metrics(&self) -> String {
        send(self.client.get(format!("http://{}/metrics", self.admin)))
            .await
            .text()
    }

    /// The audit's lines so far.
    pub fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.directory.path().join("state/audit.jsonl")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        // The file's first line says what it continues.
        lines.filter(|line: &Value| line.get("audit").is_none()).collect()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

async fn serve(settings: &Settings) -> (SocketAddr, SocketAddr, Stop, JoinHandle<()>) {
    seclude(&settings.state_dir);
    let listeners = Server::bind(settings).await.unwrap();
    let facade = listeners.inbound.local_addr().unwrap();
    let admin = listeners.admin.as_ref();
    let admin = admin.map_or(facade, |admin| admin.local_addr().unwrap());
    let server = Server::new(settings.clone()).unwrap_or_else(|faults| panic!("{faults}"));
    let stop = Stop::new();
    let task = tokio::spawn(server.run(listeners, stop.clone()));
    (facade, admin, stop, task)
}

/// A token as the accounts file has it.
pub fn digest(token: &str) -> String {
    let digest = <sha2::Sha256 as sha2::Digest>::digest(token.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What switches these faults off.
pub fn off(faults: &Value) -> Value {
    let names = faults.as_object().unwrap().keys();
    names.map(|name| (name.clone(), Value::Null)).collect()
}

/// Generated data without faults.
pub fn options(users: u32, groups: &[(&str, u32)]) -> Options {
    let group = groups
        .iter()
        .map(|(name, size)| format!("{name}={size}").parse().unwrap())
        .collect();
    Options {
        users,
        group,
        ..Options::default()
    }
}

/// `user000001` and so on: `count` names from number `from` on.
pub fn names(from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(|n| format!("user{n:06}")).collect()
}

pub fn encode(segment: &str) -> String {
    percent_encoding::utf8_percent_encode(segment, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The texts of a JSON list, or those under `key` of its objects.
pub fn texts(list: &Value, key: Option<&str>) -> Vec<String> {
    let rows = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    rows.iter()
        .map(|row| key.map_or(row, |key| &row[key]).as_str().unwrap().to_owned())
        .collect()
}

/// The accounts file; its hashes are as cheap as can be.
fn accounts() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let cheap = argon2::Argon2::from(argon2::Params::new(8, 1, 1, None).unwrap());
        let mut text = String::new();
        for (name, role, token, right) in [
            ("admin", "administrator", ADMIN, ""),
            ("reader", "reader", READER, ""),
            ("observer", "administrator", OBSERVER, "observe = true\n"),
            ("operator", "reader", OPERATOR, "operator = true\n"),
        ] {
            let hash = cheap.hash_password(name.as_bytes()).unwrap();
            let digest = digest(token);
            text.push_str(&format!(
                "[[account]]\nname = \"{name}\"\npassword = \"{hash}\"\nrole = \"{role}\"\n{right}"
            ));
            text.push_str(&format!(
                "[[token]]\nname = \"{name}-token\"\nsha256 = \"{digest}\"\nrole = \"{role}\"\n{right}"
            ));
        }
        text
    })
}
