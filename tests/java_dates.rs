//! What Java 17 answered, replayed: pattern, zone, instant, and the text or the message of the error.
//!
//! The recording is `tests/fixtures/java_dates.tsv`; `tests/fixtures/JavaDates.java` says how to make it, or a larger
//! one, which is then replayed with `JAVA_DATES=/path/to/rows.tsv cargo test --test java_dates`. A row that fails after
//! an update of the time zone database and of nothing else is a government's doing: record anew.

use std::collections::HashMap;

use extender_facade::extender::dates::{Pattern, Zone};

const RECORDING: &str = include_str!("fixtures/java_dates.tsv");

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let plain = match c {
            '\\' => match chars.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                _ => '\\',
            },
            c => c,
        };
        out.push(plain);
    }
    out
}

#[test]
fn every_recorded_row_comes_out_as_java_wrote_it() {
    let rows = match std::env::var_os("JAVA_DATES") {
        Some(path) => std::fs::read_to_string(path).expect("JAVA_DATES names a readable file"),
        None => RECORDING.to_owned(),
    };
    let mut zones: HashMap<&str, Zone> = HashMap::new();
    let mut compared = 0_usize;
    let mut wrong = Vec::new();
    for row in rows.lines() {
        let columns: Vec<&str> = row.split('\t').collect();
        let [pattern, id, epoch_ms, expected] = columns.as_slice() else {
            panic!("not four columns: {row:?}");
        };
        let zone = match zones.get(id) {
            Some(zone) => zone,
            None => zones
                .entry(id)
                .or_insert(Zone::named(id).expect("a zone Java knows is a zone we know")),
        };
        let epoch_ms = epoch_ms.parse().expect("epoch milliseconds are a number");
        let written = match Pattern::compile(&unescape(pattern)) {
            Ok(pattern) => pattern.format(epoch_ms, zone),
            Err(error) => format!("!{error}"),
        };
        compared += 1;
        if written != unescape(expected) {
            wrong.push(format!("{row}\n    instead of the last column: {written:?}"));
        }
    }
    println!("{compared} rows, {} of them wrong", wrong.len());
    let shown = wrong.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
    assert!(
        wrong.is_empty(),
        "{} of {compared} rows differ from Java:\n{shown}",
        wrong.len()
    );
    assert!(compared >= 3_000, "a recording of {compared} rows is not the one meant");
}
