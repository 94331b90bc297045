//! Journal and audit that cannot be used: a clear refusal of changes, and reads that go on where they can.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use extender_facade::audit;
use extender_facade::model::Verdict;
use extender_facade::model::report::State;
use extender_facade::store::journal::ReadOnly;
use serde_json::{Value, json};

use crate::cloud::{Cloud, Reply, send, try_send};
use crate::harness::{ADMIN, World, names, options, texts};
use crate::program::PATIENCE;

async fn ready(world: &World) -> Value {
    send(world.client.get(format!("http://{}/ready", world.admin)))
        .await
        .json()
}

/// Changes are refused with words that contain each of `said`; reads are answered; nothing has changed.
async fn only_reads(world: &World, said: &[&str]) {
    let before = world.cloud.state().await;
    for (path, body) in [
        ("addUsers/team", json!({ "users": names(6, 2) })),
        ("removeUsers/team", json!({ "users": names(1, 2) })),
        ("addGroups", json!({ "groups": ["new"] })),
        ("removeGroups", json!({ "groups": ["team"] })),
    ] {
        let answer = world.post(path, &body).await;
        assert_eq!(answer.status, 503, "{path} {answer:?}");
        let seconds: u64 = answer
            .header("retry-after")
            .expect("a time to come back")
            .parse()
            .unwrap();
        assert!(seconds >= 1);
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        for part in said.iter().chain(&["nothing is changed"]) {
            assert!(message.contains(part), "{path}: {part:?} is not in {message:?}");
        }
    }
    assert_eq!(world.cloud.state().await, before);
    assert_eq!(world.members("team").await, names(1, 5));
    assert_eq!(world.get("getGroups").await.status, 200);
    let ready = ready(world).await;
    let refused = ready["changes_refused"].as_str().unwrap_or_default();
    assert!(said.iter().all(|part| refused.contains(part)), "{ready}");
    assert_eq!(ready["ready"], true, "reads are to be sent on: {ready}");
}

/// A state directory with a change on record.
async fn used(directory: &Path) {
    let world = World::start(options(30, &[("team", 5)]), |settings| {
        settings.state_dir = directory.to_owned();
    })
    .await;
    assert_eq!(world.users("addUsers/team", &names(6, 3)).await.status, 200);
    world.stop.say();
    world.task.await.unwrap();
    // A process would be at its end; its threads close their files by themselves.
    let until = Instant::now() + PATIENCE;
    let is_open = |file: &str| directory.join(file).exists();
    while is_open("operations.sqlite3-wal") || is_open("identities.sqlite3-wal") {
        assert!(Instant::now() < until, "the files are not closed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn over(directory: &Path) -> World {
    World::start(options(30, &[("team", 5)]), |settings| {
        settings.state_dir = directory.to_owned();
    })
    .await
}

/// Changes a byte in the middle of a file.
fn spoil(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x15;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_journal_refuses_changes_and_is_left_as_it_is() {
    for damage in ["no journal at all", "a page", "cut short"] {
        let directory = tempfile::tempdir().unwrap();
        used(directory.path()).await;
        let journal = directory.path().join("operations.sqlite3");
        let length = std::fs::metadata(&journal).unwrap().len();
        match damage {
            "a page" => {
                let mut bytes = std::fs::read(&journal).unwrap();
                bytes[4096..8192].fill(0xa5);
                std::fs::write(&journal, bytes).unwrap();
            }
            "cut short" => {
                let file = std::fs::OpenOptions::new().write(true).open(&journal).unwrap();
                file.set_len(length / 2).unwrap();
            }
            _ => std::fs::write(&journal, "somebody's notes\n".repeat(100)).unwrap(),
        }
        let bytes = std::fs::read(&journal).unwrap();
        let world = over(directory.path()).await;
        only_reads(&world, &["operations.sqlite3"]).await;
        assert!(std::fs::read(&journal).unwrap() == bytes, "{damage}: it is evidence");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_an_earlier_version_is_upgraded_at_the_start_and_changes_go_on() {
    let directory = tempfile::tempdir().unwrap();
    used(directory.path()).await;
    let before = ReadOnly::open(directory.path()).unwrap().list(9).unwrap();
    let journal = rusqlite::Connection::open(directory.path().join("operations.sqlite3")).unwrap();
    journal
        .execute_batch("ALTER TABLE operation DROP COLUMN waits; PRAGMA user_version = 1;")
        .unwrap();
    journal.close().unwrap();
    let place = ["--state-dir", directory.path().to_str().unwrap()];
    let run = |command: [&str; 2]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_extender-facade"));
        program.args(command).args(place).output().unwrap()
    };
    for command in [["operations", "list"], ["audit", "verify"]] {
        let said = String::from_utf8(run(command).stderr).unwrap();
        assert!(said.contains("start the facade on it once"), "{command:?}: {said}");
    }
    let world = World::start(options(30, &[("team", 5)]), |settings| {
        settings.state_dir = directory.path().to_owned();
        crate::harness::seclude(directory.path());
        let notes = extender_facade::server::check_files(settings).unwrap();
        let told = |note: &String| note.contains("start the facade on it once");
        assert_eq!(notes.iter().filter(|note| told(note)).count(), 1, "{notes:?}");
    })
    .await;
    let answer = world.users("addUsers/team", &names(6, 3)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let after = ReadOnly::open(directory.path()).unwrap().list(9).unwrap();
    assert_eq!((after.len(), &after[1..]), (2, before.as_slice()));
    assert!(run(["audit", "verify"]).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_audit_refuses_changes_and_says_what_to_do() {
    for (damage, said) in [
        ("changed", "audit verify"),
        ("cut", "audit renew"),
        ("without its key", "put the key back from a backup"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        used(directory.path()).await;
        let file = directory.path().join("audit.jsonl");
        let text = std::fs::read(&file).unwrap();
        match damage {
            "changed" => spoil(&file, text.len() - 150),
            "cut" => {
                let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
                std::fs::write(&file, lines[..lines.len() - 1].concat()).unwrap();
            }
            _ => std::fs::remove_file(directory.path().join("audit.key")).unwrap(),
        }
        let bytes = std::fs::read(&file).unwrap();
        let world = over(directory.path()).await;
        only_reads(&world, &["audit", said]).await;
        assert!(std::fs::read(&file).unwrap() == bytes, "{damage}: it is evidence");
    }
}

/// `serve` over a state directory, which is to refuse; ends it where it does not.
fn refused(cloud: &Cloud, directory: &Path) -> Output {
    crate::harness::seclude(directory);
    let mut program = Command::new(env!("CARGO_BIN_EXE_extender-facade"))
        .arg("serve")
        .env("FACADE__INBOUND__MODE", "open")
        .env("FACADE__INBOUND__LISTEN", "127.0.0.1:0")
        .env("FACADE__ADMIN__LISTEN", "")
        .env("FACADE__STATE_DIR", directory)
        .env("FACADE__CLOUD__BASE_URL", cloud.url(""))
        .env("FACADE__CLOUD__EMAIL", "robot@example.com")
        .env("FACADE__CLOUD__API_TOKEN", "token")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let until = Instant::now() + PATIENCE;
    while program.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            let _ = program.kill();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    program.wait_with_output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_in_use_and_damaged_identities_are_no_start_at_all() {
    let world = World::with(30, &[("team", 5)]).await;
    let second = refused(&world.cloud, &world.path("state"));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success());
    let process = format!("pid {}", std::process::id());
    for part in [
        "is used by another extender-facade",
        "give each its own",
        process.as_str(),
    ] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    let answer = world.users("addUsers/team", &names(6, 3)).await;
    assert_eq!(
        texts(&answer.json()["usersAdded"], None),
        names(6, 3),
        "the first goes on"
    );

    let directory = tempfile::tempdir().unwrap();
    used(directory.path()).await;
    let identities = directory.path().join("identities.sqlite3");
    std::fs::write(&identities, "somebody's notes\n".repeat(100)).unwrap();
    let spoilt = refused(&world.cloud, directory.path());
    let said = String::from_utf8_lossy(&spoilt.stderr).into_owned();
    assert!(!spoilt.status.success());
    for part in ["identities.sqlite3", "was left untouched", "move it away"] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
}

/// A small file system of its own; unmounted when it is dropped. None where this may not be done.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(directory.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(directory)),
            failed => {
                println!("skipped: no file system can be mounted here: {failed:?}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn make_read_only(&self) {
        let done = Command::new("mount")
            .args(["-o", "remount,ro"])
            .arg(self.path())
            .status();
        assert!(done.unwrap().success());
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let mut ballast = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path().join("ballast"))
            .unwrap();
        for size in [65_536, 4096, 1] {
            while std::io::Write::write_all(&mut ballast, &vec![b' '; size]).is_ok() {}
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.path().join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_state_directory_is_no_start_and_says_which_file_is_in_the_way() {
    let Some(disk) = Disk::mount("16m") else { return };
    used(&disk.path().join("state")).await;
    disk.make_read_only();
    let cloud = Cloud::start(options(5, &[])).await;
    let output = refused(&cloud, &disk.path().join("state"));
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in ["state_dir", "Read-only file system"] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
}

/// Waits until changes are accepted again.
async fn until_there_is_room(world: &World, call: impl AsyncFn() -> Reply) -> Reply {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = call().await;
        if answer.status == 200 {
            assert_eq!(ready(world).await["changes_refused"], Value::Null);
            return answer;
        }
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(Instant::now() < until, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_changes_until_there_is_room_again() {
    let Some(disk) = Disk::mount("4m") else { return };
    let world = over(&disk.path().join("state")).await;
    disk.fill();
    // What was allotted before may take a few calls: each is taken back, so that nothing is changed at last.
    let until = Instant::now() + PATIENCE;
    let is_refused = async |path: &str| {
        assert!(Instant::now() < until, "a full disk is not noticed");
        world.users(path, &names(6, 1)).await.status == 503
    };
    while !is_refused("addUsers/team").await {
        if is_refused("removeUsers/team").await {
            disk.empty();
            until_there_is_room(&world, async || world.users("removeUsers/team", &names(6, 1)).await).await;
            disk.fill();
        }
    }
    only_reads(&world, &["cannot be written", "disk full"]).await;
    disk.empty();
    let answer = until_there_is_room(&world, async || world.users("addUsers/team", &names(6, 3)).await).await;
    assert_eq!(texts(&answer.json()["usersAdded"], None), names(6, 3));
    assert_eq!(world.truth("team").await, names(1, 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_during_an_operation_stops_it_and_loses_nothing_that_was_done() {
    let Some(disk) = Disk::mount("6m") else { return };
    let directory = disk.path().join("state");
    let mut options = options(700, &[("team", 5)]);
    options.latency_ms = 5;
    let world = World::start(options, |settings| {
        settings.state_dir = directory.clone();
    })
    .await;
    let call = || {
        let body = json!({ "users": names(6, 600) }).to_string();
        let request = world.request(reqwest::Method::POST, "addUsers/team");
        try_send(request.bearer_auth(ADMIN).body(body))
    };
    let running = tokio::spawn(call());
    while world.truth("team").await.len() < 30 {
        tokio::task::yield_now().await;
    }
    disk.fill();
    let answer = running.await.unwrap().unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    for part in ["cannot be written", "disk full", "sending the same call again is safe"] {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
    let stopped_at = world.truth("team").await.len();
    assert!((30..605).contains(&stopped_at), "{stopped_at}");
    assert_eq!(world.members("team").await.len(), stopped_at, "reads go on");
    let refused = call().await.unwrap();
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(
        world.truth("team").await.len(),
        stopped_at,
        "nothing was changed meanwhile"
    );
    disk.empty();
    let answer = until_there_is_room(&world, async || call().await.unwrap()).await;
    assert_eq!(texts(&answer.json()["usersAdded"], None).len(), 605 - stopped_at);
    assert_eq!(world.truth("team").await.len(), 605);
    world.stop.say();
    world.task.await.unwrap();
    // Journal and audit know of every change, once, and of nothing else.
    let journal = ReadOnly::open(&directory).unwrap();
    let reports = journal.list(100).unwrap();
    let reports: Vec<_> = reports
        .iter()
        .map(|one| journal.report(&one.id).unwrap().unwrap())
        .collect();
    assert!(
        reports.iter().all(|report| report.state != State::Running),
        "{reports:?}"
    );
    let done = reports.iter().flat_map(|report| &report.names);
    let mut done: Vec<&str> = done
        .filter(|name| name.verdict == Some(Verdict::DONE))
        .map(|name| name.name.as_str())
        .collect();
    done.sort_unstable();
    assert_eq!(done, names(6, 600));
    let mut audited = Vec::new();
    audit::each_line(&directory, |line| {
        audited.extend(
            audit::Entry::parse(line)
                .filter(|entry| entry.result == "done")
                .and_then(|entry| entry.name),
        );
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    audited.sort_unstable();
    assert_eq!(audited, names(6, 600));
    audit::verify(&directory, None, None, |damage| panic!("{damage}")).unwrap();
}
