//! A simulated Cloud on a port of its own, and a client that has a credential for it.
#![allow(dead_code, reason = "every test binary uses another part")]
use std::sync::Once;
use std::time::Duration;

use bytes::Bytes;
use extender_facade::simulator::{Options, Person, Simulator};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running simulator. It ends with the test's runtime, or when it is stopped.
pub struct Cloud {
    pub address: String,
    pub people: Vec<Person>,
    pub org_id: String,
    pub directory_id: String,
    pub client: Client,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|wrong| panic!("{wrong}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Options with these faults, written as on the command line.
pub fn faults(faults: &[&str]) -> Options {
    Options {
        fault: faults.iter().map(|fault| fault.parse().unwrap()).collect(),
        ..Options::default()
    }
}

impl Cloud {
    pub async fn start(options: Options) -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let simulator = Simulator::new(&options).unwrap();
        let people = simulator.people();
        let (org_id, directory_id) = (simulator.org_id(), simulator.directory_id());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(simulator.run(listener, async move {
            let _ = stopped.await;
        }));
        let client = Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        Self {
            address,
            people,
            org_id,
            directory_id,
            client,
            stop,
            task,
        }
    }

    pub async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap();
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request without a credential.
    pub fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    /// A request under `/wiki/rest/api` with what every write needs.
    pub fn api(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, &format!("/wiki/rest/api{path}"))
            .basic_auth("admin@example.com", Some("token"))
            .header("x-atlassian-token", "no-check")
    }

    /// A request to the Admin API, below its one directory.
    pub fn admin(&self, method: Method, path: &str) -> RequestBuilder {
        let (org, directory) = (&self.org_id, &self.directory_id);
        self.bare(method, &format!("/admin/v2/orgs/{org}/directories/{directory}{path}"))
            .bearer_auth("org-key")
    }

    /// A search of the Admin API in all directories.
    pub async fn admin_search(&self, what: &str, body: Value) -> Reply {
        let path = format!("/admin/v2/orgs/{}/directories/-/{what}/search", self.org_id);
        send(self.bare(Method::POST, &path).bearer_auth("org-key").json(&body)).await
    }

    /// The provisioned users that the parameters mean.
    pub fn scim(&self, parameters: &[(&str, &str)]) -> RequestBuilder {
        self.bare(Method::GET, &format!("/scim/directory/{}/Users", self.directory_id))
            .bearer_auth("scim-key")
            .query(parameters)
    }

    /// A request to Jira's API, version 3.
    pub fn jira(&self, path: &str) -> RequestBuilder {
        self.bare(Method::GET, &format!("/rest/api/3{path}"))
            .basic_auth("admin@example.com", Some("token"))
    }

    /// Changes a user.
    pub async fn change_user(&self, body: Value) -> u16 {
        send(self.bare(Method::POST, "/_sim/users").json(&body)).await.status
    }

    /// What the other sources were asked for.
    pub async fn asked(&self) -> Value {
        send(self.bare(Method::GET, "/_sim/asked")).await.json()
    }

    pub async fn get(&self, path: &str) -> Reply {
        send(self.api(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        send(self.api(Method::POST, path).json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        send(self.api(Method::DELETE, path)).await
    }

    pub async fn add(&self, group_id: &str, account_id: &str) -> Reply {
        self.post(
            &format!("/group/userByGroupId?groupId={group_id}"),
            json!({ "accountId": account_id }),
        )
        .await
    }

    pub async fn remove(&self, group_id: &str, account_id: &str) -> Reply {
        self.delete(&format!(
            "/group/userByGroupId?groupId={group_id}&accountId={account_id}"
        ))
        .await
    }

    /// The id of the group with this name.
    pub async fn group_id(&self, name: &str) -> String {
        let found = self.get(&format!("/group/picker?query={name}")).await.json();
        let group = found["results"]
            .as_array()
            .unwrap()
            .iter()
            .find(|group| group["name"] == name);
        group.unwrap_or_else(|| panic!("no group {name}"))["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub fn account(&self, place: usize) -> &str {
        &self.people[place].account_id
    }

    pub async fn stats(&self) -> Value {
        send(self.bare(Method::GET, "/_sim/stats")).await.json()
    }

    pub async fn reset(&self) {
        assert_eq!(send(self.bare(Method::POST, "/_sim/reset")).await.status, 204);
    }

    /// Every group with its members as they truly are.
    pub async fn state(&self) -> Value {
        send(self.bare(Method::GET, "/_sim/state")).await.json()
    }

    /// The account ids of a group's members as they truly are.
    pub async fn truth(&self, group: &str) -> Vec<String> {
        let reply = send(self.bare(Method::GET, "/_sim/members").query(&[("group", group)])).await;
        serde_json::from_value(reply.json()).unwrap()
    }

    /// Turns switches.
    pub async fn switch(&self, body: Value) {
        let reply = self.try_switch(body).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }

    pub async fn try_switch(&self, body: Value) -> Reply {
        send(self.bare(Method::POST, "/_sim/faults").json(&body)).await
    }
}

/// Quotas begin anew at whole hours or days of the clock: where one has fewer seconds than `left` to go, waits for the next.
pub async fn quota_of(window_s: u64, left: u64) {
    let clock = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let until = window_s - clock.as_secs() % window_s;
    if until < left {
        tokio::time::sleep(Duration::from_secs(until)).await;
    }
}

/// Sends a request that must be answered.
pub async fn send(request: RequestBuilder) -> Reply {
    try_send(request).await.unwrap()
}

pub async fn try_send(request: RequestBuilder) -> reqwest::Result<Reply> {
    let answer = request.send().await?;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Ok(Reply {
        status,
        headers,
        body: answer.bytes().await?,
    })
}
