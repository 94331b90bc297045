//! The load test as it is typed: against a world of its own, a facade that runs, and servers that misbehave. How fast anything
//! was is not asserted, only that what was slow on purpose is seen.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/cloud.rs"]
mod cloud;
#[path = "../support/program.rs"]
mod program;

mod changes;
mod refused;
mod stub;
mod told;

use std::process::Output;

use serde_json::Value;

use program::bare;
use stub::Stub;

fn loadtest(arguments: &[&str]) -> Output {
    bare()
        .arg("loadtest")
        .args(arguments)
        .env_remove("LOADTEST_SECRET")
        .env_remove("LOADTEST_ADMIN_TOKEN")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// What was printed by `--json -`.
fn report(output: &Output) -> Value {
    let printed = text(&output.stdout);
    serde_json::from_str(printed).unwrap_or_else(|wrong| panic!("{wrong}: {printed} {}", text(&output.stderr)))
}

/// Everything of both phases, in one number.
fn sum(report: &Value, of: &str) -> u64 {
    let phases = report["phases"].as_object().unwrap();
    phases
        .values()
        .map(|phase| phase["calls"]["all"][of].as_u64().unwrap())
        .sum()
}

const SHORT: [&str; 6] = ["--rate", "50", "--ramp", "0", "--arrivals", "constant"];

/// A test of the stub alone, with these further words.
fn against(stub: &Stub, steady: &str, more: &[&str]) -> Output {
    let mut arguments = vec!["--target", stub.url.as_str(), "--steady", steady, "--json", "-"];
    arguments.extend(SHORT);
    arguments.extend(["--group", "g"]);
    arguments.extend(more);
    loadtest(&arguments)
}
