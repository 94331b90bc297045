//! The program as it is typed: sub-commands, what they print, how they exit.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/program.rs"]
mod program;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use self::program::bare;
use serde_json::Value;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A program that runs until it is dropped.
struct Running {
    child: Child,
    /// What it printed up to and including the line that was waited for.
    printed: Vec<String>,
}

impl Running {
    /// Starts `command` and reads its output up to a line that begins with `until`.
    fn start(mut command: Command, until: &str) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut running = Self {
            child,
            printed: Vec::new(),
        };
        for line in BufReader::new(running.child.stdout.take().unwrap()).lines() {
            running.printed.push(line.unwrap());
            if running.printed.last().unwrap().starts_with(until) {
                return running;
            }
        }
        let mut errors = String::new();
        running
            .child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut errors)
            .unwrap();
        panic!("ended early: {:?} {errors}", running.printed);
    }

    /// The address behind a word at the beginning of a line.
    fn address(&self, word: &str) -> String {
        let line = self
            .printed
            .iter()
            .find(|line| line.starts_with(word))
            .unwrap_or_else(|| panic!("no {word}"));
        let url = line
            .split_whitespace()
            .find(|part| part.starts_with("http://"))
            .unwrap();
        url.trim_start_matches("http://").split('/').next().unwrap().to_owned()
    }

    /// Asks it to stop, and waits until it has.
    fn terminate(mut self) -> i32 {
        let killed = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(killed.success());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A demo on free ports, with `environment` set.
fn demo(more: &[&str], environment: &[(&str, &Path)]) -> Running {
    let mut command = bare();
    command.arg("demo").args(more).envs(environment.iter().copied());
    for option in ["--listen", "--simulator-listen", "--admin-listen"] {
        command.args([option, "127.0.0.1:0"]);
    }
    Running::start(command, "ready")
}

/// What a printed curl line asks for, without curl: not every machine has it.
fn ask(line: &str) -> Value {
    let quoted: Vec<&str> = line.split('\'').collect();
    let (url, body) = match quoted.as_slice() {
        [_, url, _] => (*url, None),
        [_, "Content-Type: application/json", _, body, _, url, _] => (*url, Some((*body).to_owned())),
        _ => panic!("{line}"),
    };
    let user = line.split_whitespace().skip_while(|part| *part != "-u").nth(1).unwrap();
    let (name, password) = user.split_once(':').unwrap();
    let client = http(url, name, password, body);
    serde_json::from_str(&client).unwrap_or_else(|e| panic!("{line}: {e}: {client}"))
}

fn http(url: &str, name: &str, password: &str, body: Option<String>) -> String {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .build()
            .unwrap();
        let request = match body {
            Some(body) => client.post(url).body(body),
            None => client.get(url),
        };
        let answer = request.basic_auth(name, Some(password)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{url}");
        answer.text().await.unwrap()
    })
}

#[test]
fn the_demo_prints_six_lines_that_answer_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let demo = demo(&["--users", "30", "--groups", "2"], &[("TMPDIR", temporary.path())]);
    assert_eq!(demo.printed.iter().filter(|line| line.starts_with("ready")).count(), 1);
    let answers: Vec<Value> = demo
        .printed
        .iter()
        .filter(|line| line.starts_with("curl "))
        .map(|line| ask(line))
        .collect();
    assert_eq!(answers.len(), 6);
    assert_eq!(answers[0]["total"], 5);
    for (answer, message) in answers[1..].iter().zip([
        Some("all groups added"),
        Some("all users added to group"),
        None,
        Some("all users removed from group"),
        Some("all groups removed"),
    ]) {
        assert_eq!(answer.get("message").and_then(Value::as_str), message);
    }
    assert_eq!(answers[3]["users"][0]["fullName"], "User 000001");
    assert_eq!(demo.terminate(), 0);
    assert_eq!(
        std::fs::read_dir(temporary.path()).unwrap().count(),
        0,
        "the temporary directory is still there"
    );
}

#[test]
fn the_demo_obeys_the_environment_and_asks_cloud_for_nothing_unasked() {
    let mut command = bare();
    command
        .env("FACADE__INBOUND__MODE", "open")
        .env("FACADE__ADMIN__LISTEN", "127.0.0.1:0");
    command.args(["demo", "--listen", "127.0.0.1:0", "--simulator-listen", "127.0.0.1:0"]);
    let demo = Running::start(command, "ready");
    assert!(
        demo.printed
            .iter()
            .any(|line| line.starts_with("curl ") && !line.contains("-u "))
    );
    let stats = http(
        &format!("http://{}/_sim/stats", demo.address("simulator")),
        "x",
        "x",
        None,
    );
    assert_eq!(serde_json::from_str::<Value>(&stats).unwrap()["total"], 0);
    let health = bare()
        .args(["healthcheck", "--ready", "--address", &demo.address("operator")])
        .output()
        .unwrap();
    assert_eq!(health.status.code(), Some(0), "{}", text(&health.stderr));
}

#[test]
fn a_demo_is_refused_anywhere_but_on_loopback() {
    for option in ["--listen", "--simulator-listen", "--admin-listen"] {
        let mut command = bare();
        command.arg("demo");
        for other in ["--listen", "--simulator-listen", "--admin-listen"] {
            command.args([other, if other == option { "0.0.0.0:0" } else { "127.0.0.1:0" }]);
        }
        let ended = command.output().unwrap();
        assert_eq!(ended.status.code(), Some(2));
        assert!(text(&ended.stderr).contains("loopback"), "{}", text(&ended.stderr));
    }
}

fn check(config: &Path) -> Output {
    bare()
        .args(["check", "--patience", "5", "--config"])
        .arg(config)
        .output()
        .unwrap()
}

#[test]
fn check_tells_good_from_bad_and_exits_by_it() {
    let directory = tempfile::tempdir().unwrap();
    let demo = demo(&["--users", "10"], &[]);
    let simulator = demo.address("simulator");
    let config = directory.path().join("facade.toml");
    let write = |map: &str, token: &str| {
        let text = format!(
            "[inbound]\nmode = \"open\"\n[identity]\nmap_file = {map:?}\n[cloud]\nbase_url = \"http://{simulator}\"\n\
             email = \"robot@example.com\"\napi_token = {token:?}\n"
        );
        std::fs::write(&config, text).unwrap();
    };
    let map = directory.path().join("map.csv");
    std::fs::write(&map, "username,account_id\njdoe,abc\n").unwrap();
    write(map.to_str().unwrap(), "secret-token");
    let good = check(&config);
    assert_eq!(
        good.status.code(),
        Some(0),
        "{}{}",
        text(&good.stdout),
        text(&good.stderr)
    );
    for what in [
        "settings",
        "map",
        "reach",
        "credential",
        "read groups",
        "read members",
        "write",
    ] {
        assert!(
            text(&good.stdout)
                .lines()
                .any(|line| line.starts_with("ok") && line.contains(what)),
            "{what}"
        );
    }

    std::fs::write(&map, "username,account_id\njdoe,a b\n,c\n").unwrap();
    let faults = serde_json::json!({ "unauthorized": "403" }).to_string();
    http(&format!("http://{simulator}/_sim/faults"), "x", "x", Some(faults));
    let bad = check(&config);
    assert_eq!(bad.status.code(), Some(1));
    let lines = text(&bad.stdout);
    for part in [
        "line 2",
        "line 3",
        "FAIL  credential",
        "cloud.api_token of robot@example.com",
    ] {
        assert!(lines.contains(part), "{part}: {lines}");
    }
    assert!(!lines.contains("secret-token"));

    std::fs::write(&config, "[cloud]\nbase_ulr = \"x\"\n").unwrap();
    let broken = check(&config);
    assert_eq!(broken.status.code(), Some(2));
    assert!(text(&broken.stderr).contains("base_ulr"), "{}", text(&broken.stderr));
}

#[test]
fn serve_refuses_faulty_settings_with_all_faults_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("facade.toml");
    std::fs::write(
        &config,
        "[inbound]\nlisten = \"0.0.0.0:0\"\nmode = \"open\"\n[extender]\ntimezone = \"Nowhere\"\n",
    )
    .unwrap();
    let ended = bare()
        .args(["serve", "--config"])
        .arg(&config)
        .env("FACADE__ADMIN__LISTEN", "")
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(2));
    for part in ["loopback", "Nowhere", "cloud.base_url", "cloud.email"] {
        assert!(text(&ended.stderr).contains(part), "{part}: {}", text(&ended.stderr));
    }
}

#[test]
fn account_entries_made_on_the_command_line_let_their_owner_in() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = bare()
        .args(["account", "hash", "--name", "svc \"sync\"", "--role", "administrator"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"pass:word\n").unwrap();
    let hash = child.wait_with_output().unwrap();
    assert_eq!(hash.status.code(), Some(0));
    let token = bare()
        .args(["account", "token", "--name", "ci", "--role", "reader"])
        .output()
        .unwrap();
    assert_eq!(token.status.code(), Some(0));
    let accounts = directory.path().join("accounts.toml");
    std::fs::write(&accounts, [hash.stdout, token.stdout].concat()).unwrap();
    let demo = demo(&[], &[("FACADE__INBOUND__ACCOUNTS_FILE", &accounts)]);
    let url = format!("http://{}/rest/extender/1.0/group/getGroups", demo.address("facade"));
    let answer: Value = serde_json::from_str(&http(&url, "SVC \"sync\"", "pass:word", None)).unwrap();
    assert_eq!(answer["total"], 3);
}

#[test]
fn groups_with_a_comma_between_them_make_no_entry() {
    for kind in ["hash", "token"] {
        let ended = bare()
            .args(["account", kind, "--name", "ci", "--groups", "team-a,team-b"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!((ended.status.code(), text(&ended.stdout)), (Some(2), String::new()));
        assert!(text(&ended.stderr).contains("comma"), "{}", text(&ended.stderr));
    }
    let two = bare()
        .args([
            "account", "token", "--name", "ci", "--groups", "team a", "--groups", "team-b",
        ])
        .output()
        .unwrap();
    assert!(
        text(&two.stdout).contains("groups = [\"team a\", \"team-b\"]\n"),
        "{two:?}"
    );
}

#[test]
fn a_health_check_of_nobody_fails() {
    let ended = bare()
        .args(["healthcheck", "--address", "127.0.0.1:1"])
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(1));
}

/// A `serve` that has said that it serves.
#[cfg(unix)]
fn serve(config: &Path) -> Child {
    let mut child = bare()
        .args(["serve", "--config"])
        .arg(config)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut seen = Vec::new();
    loop {
        match lines.next() {
            Some(line) if line.contains("serving") => break,
            Some(line) => seen.push(line),
            None => panic!("it does not serve: {seen:?}"),
        }
    }
    // Nobody may hold up a program that logs.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

#[cfg(unix)]
#[test]
fn a_state_directory_serves_one_process_and_the_next_one_when_that_was_killed() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("facade.toml");
    let state = directory.path().join("state");
    std::fs::write(
        &config,
        format!(
            "state_dir = {state:?}\n[inbound]\nlisten = \"127.0.0.1:0\"\nmode = \"open\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [cloud]\nbase_url = \"http://127.0.0.1:1\"\nemail = \"robot@example.com\"\napi_token = \"t\"\n"
        ),
    )
    .unwrap();
    let stop = |mut child: Child| {
        child.kill().unwrap();
        child.wait().unwrap();
    };
    let first = serve(&config);
    let pid = format!("(pid {})", first.id());
    let second = bare().args(["serve", "--config"]).arg(&config).output().unwrap();
    assert_eq!(second.status.code(), Some(2));
    let said = text(&second.stderr);
    let state = state.to_str().unwrap();
    for part in ["is used by another extender-facade", "give each its own", &pid, state] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let looked = text(&check(&config).stdout);
    for line in [
        format!("ok    state        state_dir {state} is used by a running facade {pid}"),
        "ok    state        0 learned identities".to_owned(),
    ] {
        assert!(looked.lines().any(|other| other == line), "{line}: {looked}");
    }

    stop(first);
    let free = text(&check(&config).stdout);
    assert!(free.contains("used by nobody"), "{free}");
    stop(serve(&config));
}

#[test]
fn checking_makes_no_state_directory() {
    let directory = tempfile::tempdir().unwrap();
    let (config, state) = (directory.path().join("facade.toml"), directory.path().join("var/state"));
    let settings = format!(
        "state_dir = {state:?}\n[inbound]\nmode = \"open\"\n[cloud]\nbase_url = \"http://127.0.0.1:1\"\nemail = \
         \"robot@example.com\"\napi_token = \"t\"\n"
    );
    std::fs::write(&config, settings).unwrap();
    let said = text(&check(&config).stdout);
    assert!(!directory.path().join("var").exists(), "{said}");
    let line = said.lines().find(|line| line.contains("state  ")).unwrap();
    assert!(
        line.starts_with("ok ") && line.contains(state.to_str().unwrap()),
        "{said}"
    );
    // That the service could not make it is told beforehand.
    std::fs::write(directory.path().join("var"), "").unwrap();
    let said = text(&check(&config).stdout);
    assert!(said.contains("FAIL  files        state_dir: "), "{said}");
}
