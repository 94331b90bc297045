//! The laboratory as it is typed: what it prints, and that the facade loses nobody. How fast it was is not asserted.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::process::{Command, Output};

use serde_json::Value;

fn lab(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_extender-facade"));
    command.arg("lab").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_scenario_is_a_line_a_client_and_a_plot() {
    let output = lab(&["--quick", "--only", "learn/100-100/bare"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    let rows: Vec<Vec<&str>> = printed
        .lines()
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows[0].len(), 9, "{printed}");
    assert_eq!((rows[0][2], rows[0][4], rows[0][7]), ("wall s", "wall/theory", "lost"));
    let clients: Vec<&str> = rows[2..].iter().map(|row| row[1]).collect();
    assert_eq!(clients, ["facade", "naive", "fixed", "serial"], "{printed}");
    for row in &rows[2..] {
        assert_eq!((row.len(), row[0]), (9, "learn/100-100/bare"), "{printed}");
        for place in [2, 3, 4, 6] {
            assert!(row[place].parse::<f64>().unwrap() >= 0.0, "{printed}");
        }
        let (lost, done): (u32, u32) = (row[7].parse().unwrap(), row[8].parse().unwrap());
        assert_eq!(lost + done, 60, "{printed}");
    }
    assert_eq!(rows[2][7], "0", "{printed}");
    assert!(
        printed.contains("learn/100-100/bare: accepted a second, 0 to "),
        "{printed}"
    );
    let plotted = printed
        .lines()
        .filter(|line| line.starts_with("  ") && line.ends_with(" s"));
    assert_eq!(plotted.count(), 4, "{printed}");
}

#[test]
fn what_a_story_is_told_for_stands_in_its_figures() {
    let output = lab(&["--quick", "--only", "callers", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = printed["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!(
        (&row["scenario"], &row["client"]),
        (&"callers".into(), &"facade".into())
    );
    assert_eq!((&row["lost"], &row["done"]), (&0.into(), &120.into()), "{row}");
    let figure = |name: &str| row["figures"][name].as_f64().unwrap_or_else(|| panic!("{name}: {row}"));
    assert!(figure("first_finished_s") <= figure("last_finished_s"), "{row}");
    assert!(figure("most_under_way") <= 8.0, "{row}");
    let accepted = row["accepted_per_100_ms"].as_array().unwrap();
    let accepted: u64 = accepted.iter().map(|step| step.as_u64().unwrap()).sum();
    assert_eq!(accepted as f64, figure("adds") + figure("other_requests"), "{row}");
}

#[test]
fn an_outage_in_the_middle_costs_nobody() {
    let output = lab(&["--quick", "--client", "facade", "--only", "outage", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let row = &printed["rows"][0];
    assert_eq!((&row["lost"], &row["done"]), (&0.into(), &200.into()), "{row}");
}

#[test]
fn names_are_listed_and_a_wrong_one_is_refused() {
    let output = lab(&["--list"]);
    let names: Vec<&str> = text(&output.stdout).lines().collect();
    assert!(output.status.success());
    for name in [
        "learn/10-20/full",
        "halves/bare",
        "shared",
        "callers",
        "reads/none",
        "outage",
        "tail",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let output = lab(&["--list", "--only", "learn/25-50"]);
    assert_eq!(text(&output.stdout).lines().count(), 3);
    for wrong in [
        &["--only", "learn/25"][..],
        &["--client", "curl"],
        &["--only", "callers", "--client", "naive"],
        &["--outage-s", "0"],
    ] {
        assert_eq!(lab(wrong).status.code(), Some(2), "{wrong:?}");
    }
}
