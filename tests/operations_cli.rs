//! `operations` as it is typed, beside the running program and without it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/cloud.rs"]
mod cloud;
#[path = "support/program.rs"]
mod program;

use std::path::Path;
use std::process::Output;

use extender_facade::simulator::Options;
use serde_json::{Value, json};

use cloud::{Cloud, send};
use program::Program;

struct World {
    cloud: Cloud,
    directory: tempfile::TempDir,
    program: Program,
    facade: String,
    admin: String,
}

impl World {
    async fn start(token: &str) -> Self {
        let cloud = Cloud::start(Options {
            users: 30,
            group: vec!["g=5".parse().unwrap()],
            ..Options::default()
        })
        .await;
        let directory = tempfile::tempdir().unwrap();
        let map = directory.path().join("map.csv");
        let mut rows = String::from("username,account_id\n");
        for person in &cloud.people {
            rows.push_str(&format!("{},{}\n", person.username, person.account_id));
        }
        std::fs::write(&map, rows).unwrap();
        let more = [
            ("FACADE__IDENTITY__MAP_FILE", map.to_str().unwrap()),
            ("FACADE__ADMIN__TOKEN", token),
        ];
        let program = Program::start(&directory.path().join("state"), &cloud.url(""), &more);
        let (facade, admin) = program.serves();
        Self {
            cloud,
            directory,
            program,
            facade,
            admin,
        }
    }

    /// Adds some users to the group; the operation's id.
    async fn add(&self, users: &[&str]) -> String {
        let url = format!("http://{}/rest/extender/1.0/group/addUsers/g", self.facade);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = send(client.post(url).body(json!({ "users": users }).to_string())).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let id = answer.header("x-facade-report").unwrap().to_owned();
        // Who asks the file, and not the facade, may see for a moment that it runs.
        let began = std::time::Instant::now();
        while listed(&self.state(), &[]).contains("running") {
            assert!(began.elapsed() < program::PATIENCE, "{id} has no end");
        }
        id
    }

    fn state(&self) -> std::path::PathBuf {
        self.directory.path().join("state")
    }
}

fn operations(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = program::bare();
    command
        .arg("operations")
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn listed(state: &Path, more: &[&str]) -> String {
    let place = ["list", "--state-dir", state.to_str().unwrap()];
    let output = operations(&[&place[..], more].concat(), &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    out(&output)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_listed_shown_and_taken_back() {
    let mut world = World::start("").await;
    let before = world.cloud.state().await;
    let id = world
        .add(&["user000004", "user000007", "nob\u{1b}[2Jody", "user000009"])
        .await;
    let changed = world.cloud.state().await;
    let state = world.state();
    let list = listed(&state, &[]);
    assert_eq!(list.lines().count(), 1);
    for part in [
        id.as_str(),
        "add_members in \"g\" by anonymous: finished, 2 done, 2 skipped",
    ] {
        assert!(list.contains(part), "{part}: {list}");
    }
    let list: Value = serde_json::from_str(&listed(&state, &["--json", "--most", "1"])).unwrap();
    assert_eq!(list["operations"][0]["id"], id);

    let place = ["--state-dir", state.to_str().unwrap()];
    let shown = operations(&[&["show", id.as_str()][..], &place].concat(), &[]);
    let text = out(&shown);
    assert_eq!((shown.status.code(), text.lines().count()), (Some(0), 5), "{text}");
    assert!(
        text.contains("\"user000004\"") && text.contains("already_member") && !text.contains('\u{1b}'),
        "{text}"
    );
    let shown = operations(&[&["show", id.as_str(), "--json"][..], &place].concat(), &[]);
    let report: Value = serde_json::from_str(&out(&shown)).unwrap();
    assert_eq!(report["names"][1]["outcome"], "done");

    // Shown only: nothing happens, and it is said what to do.
    let ask = |more: &[&str]| {
        operations(
            &[&["undo", id.as_str(), "--address", world.admin.as_str()][..], more].concat(),
            &[("FACADE__STATE_DIR", state.to_str().unwrap())],
        )
    };
    let planned = ask(&[]);
    assert_eq!(planned.status.code(), Some(1));
    assert!(
        out(&planned).contains("remove_members in \"g\": 2") && said(&planned).contains("--yes"),
        "{planned:?}"
    );
    let planned = ask(&["--json"]);
    assert_eq!(planned.status.code(), Some(1));
    let plan: Value = serde_json::from_str(&out(&planned)).unwrap();
    assert_eq!(plan["steps"][0]["names"].as_array().unwrap().len(), 2);
    assert_eq!(world.cloud.state().await, changed);

    let done = ask(&["--yes"]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert!(
        out(&done).contains("by operator: finished, 2 done, 0 skipped"),
        "{done:?}"
    );
    assert_eq!(world.cloud.state().await, before);
    let list: Value = serde_json::from_str(&listed(&state, &["--json"])).unwrap();
    let undo = list["operations"][0]["id"].as_str().unwrap().to_owned();
    let shown = operations(&[&["show", undo.as_str()][..], &place].concat(), &[]);
    assert!(out(&shown).contains(&format!("it takes back {id}")), "{shown:?}");
    let again = ask(&["--yes"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        said(&again).contains(&format!("already, by operation {undo}")),
        "{again:?}"
    );

    // Without a facade everything can be read and nothing done.
    world.program.kill();
    assert_eq!(listed(&state, &[]).lines().count(), 2);
    let nobody = operations(
        &["undo", &undo, "--yes", "--address", &world.admin],
        &[("FACADE__STATE_DIR", state.to_str().unwrap())],
    );
    assert_eq!(nobody.status.code(), Some(2));
    assert!(said(&nobody).contains("no facade answers at"), "{nobody:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_and_the_address_come_from_the_settings() {
    let world = World::start("the-operators-token").await;
    let before = world.cloud.state().await;
    let id = world.add(&["user000020"]).await;
    let config = world.directory.path().join("facade.toml");
    let write = |token: &str| {
        std::fs::write(
            &config,
            format!("[admin]\nlisten = {:?}\ntoken = {token:?}\n", world.admin),
        )
        .unwrap();
    };
    let undo = || operations(&["undo", &id, "--yes", "--config", config.to_str().unwrap()], &[]);
    write("another");
    let refused = undo();
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        said(&refused).contains("admin.token") && !said(&refused).contains("the-operators-token"),
        "{refused:?}"
    );
    assert_ne!(world.cloud.state().await, before);
    write("the-operators-token");
    let done = undo();
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert_eq!(world.cloud.state().await, before);
}

#[test]
fn what_cannot_be_read_or_asked_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    let id = "0123456789abcdef0123456789abcdef";
    for arguments in [&["list"][..], &["show", id]] {
        let nothing = operations(&[arguments, &["--state-dir", place]].concat(), &[]);
        assert_eq!(nothing.status.code(), Some(2));
        assert!(said(&nothing).contains("operations.sqlite3"), "{nothing:?}");
    }
    for wrong in ["", "x", "0123456789ABCDEF0123456789ABCDEF"] {
        let refused = operations(&["undo", wrong], &[]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(said(&refused).contains("32 hexadecimal digits"), "{refused:?}");
    }
    let none = operations(&["undo", id], &[("FACADE__STATE_DIR", place)]);
    assert_eq!(none.status.code(), Some(2));
    assert!(said(&none).contains("operator.token"), "{none:?}");
    let off = operations(&["undo", id], &[("FACADE__ADMIN__LISTEN", "")]);
    assert_eq!(off.status.code(), Some(2));
    assert!(said(&off).contains("admin.listen is switched off"), "{off:?}");
    // Somebody else listens there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stranger = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi")
            .unwrap();
    });
    let strange = operations(
        &["undo", id, "--address", &address],
        &[("FACADE__ADMIN__TOKEN", "somebodys-own-token")],
    );
    stranger.join().unwrap();
    assert_eq!(strange.status.code(), Some(2));
    assert!(said(&strange).contains("no facade of this version"), "{strange:?}");
}
