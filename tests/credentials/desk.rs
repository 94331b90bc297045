//! A facade before a Cloud that is strict about credentials, and the command line beside it.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use extender_facade::settings::{Settings, Variables};
use extender_facade::simulator::Options;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cloud::{Reply, send};
use crate::harness::{World, names, options};
use crate::login::Login;
use crate::program::bare;

/// What the e-mail address of the tests' credentials is.
pub const ROBOT: &str = "robot@example.com";

/// What a facade is given to open Cloud with, and what Cloud knows.
pub struct Desk {
    pub world: World,
}

impl Desk {
    /// A Cloud that knows `registry` alone, and a facade whose section `cloud` says `fragment`. Members 1 to 10 are in `team`.
    pub async fn new(registry: Value, fragment: &str) -> Self {
        Self::with(options(40, &[("team", 10)]), registry, fragment).await
    }

    pub async fn with(options: Options, registry: Value, fragment: &str) -> Self {
        let world = World::start(options, |settings| {
            settings.extender.read_deadline_s = 3;
            settings.extender.bulk_give_up_s = 3;
            let base = settings.cloud.base_url.clone();
            let (state, map) = (&settings.state_dir, settings.identity.map_file.as_ref().unwrap());
            let [top, rest] = match fragment.split_once("\n[") {
                Some((top, rest)) => [top.to_owned(), format!("[{rest}")],
                None => [fragment.to_owned(), String::new()],
            };
            let base_url = if top.contains("base_url") {
                String::new()
            } else {
                format!("base_url = {base:?}\n")
            };
            let try_timeout = if top.contains("try_timeout_ms") {
                ""
            } else {
                "try_timeout_ms = 2000\n"
            };
            let text = format!(
                "state_dir = {state:?}\n[inbound]\nmode = \"open\"\n[identity]\nmap_file = {map:?}\n[cloud]\n{base_url}\
                 gateway_url = {base:?}\nlogin_url = {base:?}\n{try_timeout}backoff_base_ms = 5\n\
                 backoff_cap_ms = 200\n{top}\n{rest}\n"
            )
            .replace("{BASE}", &base);
            let path = settings.state_dir.with_file_name("facade.toml");
            std::fs::write(&path, text).unwrap();
            settings.cloud = Settings::load(Some(&path), "", Some(Variables::new())).unwrap().cloud;
        })
        .await;
        let desk = Self { world };
        desk.register(registry).await;
        desk
    }

    /// What Cloud knows from now on.
    pub async fn register(&self, registry: Value) {
        let url = self.world.cloud.url("/_sim/credentials");
        let answer = send(self.world.client.post(url).json(&json!({ "credentials": registry }))).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// How often Cloud took each credential.
    pub async fn opened(&self) -> Value {
        let url = self.world.cloud.url("/_sim/credentials");
        send(self.world.client.get(url)).await.json()["opened"].clone()
    }

    /// What the authorisation server gave out to a client.
    pub async fn tokens(&self, client_id: &str) -> Value {
        let all = send(self.world.client.get(self.world.cloud.url("/_sim/tokens")))
            .await
            .json();
        all["clients"][client_id].clone()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare();
        command
            .args(arguments)
            .arg("--config")
            .arg(self.world.path("facade.toml"))
            .stdin(Stdio::null());
        command
    }

    /// What `check --json` says, and its exit code.
    pub async fn check(&self) -> (Value, i32) {
        let output = output(self.command(&["check", "--json", "--patience", "3"])).await;
        let text = String::from_utf8(output.stdout).unwrap();
        let said = serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("{e}: {text}{}", String::from_utf8_lossy(&output.stderr)));
        (said, output.status.code().unwrap())
    }

    /// The same as text.
    pub async fn check_text(&self) -> String {
        let output = output(self.command(&["check", "--patience", "3"])).await;
        String::from_utf8(output.stdout).unwrap()
    }

    pub async fn run(&self, arguments: &[&str]) -> (String, i32) {
        let output = output(self.command(arguments)).await;
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8(text).unwrap(), output.status.code().unwrap())
    }

    /// Begins `credential login`.
    pub async fn begin_login(&self) -> Login {
        let config = self.world.path("facade.toml");
        Login::begin(bare, &["--config", config.to_str().unwrap()]).await
    }

    /// Consents, as somebody with a browser does: the exit code, and what was said on standard error.
    pub async fn login(&self) -> (i32, String) {
        let login = self.begin_login().await;
        // Follows the redirect to the callback.
        let page = send(self.world.client.get(&login.address)).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let ended = login.ended().await;
        (ended.code, ended.errors)
    }

    /// The six calls, the reading ones first: all of them as they should be.
    pub async fn assert_all_six_work(&self) {
        let world = &self.world;
        let groups = world.get("getGroups").await;
        assert_eq!(groups.status, 200, "{}", groups.text());
        assert_eq!(world.members("team").await, names(1, 10));
        let added = world.users("addUsers/team", &names(5, 10)).await;
        assert_eq!(added.json()["usersAdded"], json!(names(11, 4)), "{}", added.text());
        let removed = world.users("removeUsers/team", &names(11, 5)).await;
        assert_eq!(
            removed.json()["usersRemoved"],
            json!(names(11, 4)),
            "{}",
            removed.text()
        );
        let made = world.groups("addGroups", &["new"]).await;
        assert_eq!(made.json()["groupsAdded"], json!(["new"]), "{}", made.text());
        let gone = world.groups("removeGroups", &["new"]).await;
        assert_eq!(gone.json()["groupsRemoved"], json!(["new"]), "{}", gone.text());
        assert_eq!(world.truth("team").await, names(1, 10));
    }

    /// One read by the reader, one change by the administrator.
    pub async fn script(&self) -> (Reply, Reply) {
        let read = self.world.get("getUsers/team").await;
        let written = self.world.users("addUsers/team", &names(21, 3)).await;
        (read, written)
    }

    /// Waits until something is so.
    pub async fn assert_soon(&self, is_so: impl AsyncFn() -> bool) {
        let until = Instant::now() + Duration::from_secs(30);
        while !is_so().await {
            assert!(Instant::now() < until, "it did not become so");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A request to the facade's operator's listener.
    pub async fn operator(&self, path: &str) -> Reply {
        let url = format!("http://{}{path}", self.world.admin);
        send(self.world.client.request(Method::GET, url)).await
    }
}

async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}
