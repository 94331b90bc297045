//! A test that is run again as a process of its own, and killed.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Runs this file's test `child` with a variable set, waits until it says a line for which `until` holds, kills it `after`
/// that, and returns all that it said.
pub fn said((name, value): (&str, &str), until: impl Fn(&str) -> bool, after: Duration) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(name, value)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut said: Vec<String> = Vec::new();
    while !said.last().is_some_and(|line| until(line)) {
        said.push(lines.next().expect("the child ended"));
    }
    std::thread::sleep(after);
    child.kill().unwrap();
    // What it said before it was killed is still in the pipe.
    said.extend(lines);
    assert_eq!(child.wait().unwrap().signal(), Some(9), "the child ended by itself");
    said
}
