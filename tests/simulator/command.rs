//! The sub-command `simulate`, as a process.
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::cloud::{Cloud, send};

fn simulate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_extender-facade"));
    command.arg("simulate").args(arguments);
    command
}

#[tokio::test]
async fn it_says_where_it_listens_and_ends_well_when_told_to() {
    let options = [
        "--listen",
        "127.0.0.1:0",
        "--users",
        "7",
        "--group",
        "few=2",
        "--fault",
        "suspended=counted",
    ];
    let mut process = simulate(&options).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let base = line
        .trim()
        .strip_prefix("simulator listening on ")
        .unwrap_or_else(|| panic!("{line:?}"))
        .to_owned();
    let client = Cloud::start(Default::default()).await.client;
    let members = send(client.get(format!("{base}/_sim/members?group=few"))).await.json();
    assert_eq!(members.as_array().unwrap().len(), 2);
    let killed = Command::new("kill")
        .args(["-TERM", &process.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    assert!(process.wait().unwrap().success());
}

#[test]
fn wrong_options_end_it_with_a_message() {
    for (arguments, told) in [
        (&["--fault", "nonsense"][..], "hidden_emails"),
        (&["--fault", "cut=7"], "probability"),
        (&["--group", "x"], "NAME=SIZE"),
        (&["--burst", "3"], "--rate"),
        (&["--data", "x.json", "--users", "3"], "--users"),
        (&["--data", "/no/such/file.json"], "/no/such/file.json"),
        (&["--rate", "0"], "rate"),
        (&["--credentials", "/no/such/keys.json"], "/no/such/keys.json"),
        (&["--credentials", "Cargo.toml"], "Cargo.toml: expected value at line 1"),
    ] {
        let output = simulate(arguments).output().unwrap();
        assert!(!output.status.success());
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains(told), "{arguments:?}: {message}");
    }
}
