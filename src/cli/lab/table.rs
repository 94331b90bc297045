//! How results are printed: one table, the further figures, and the accepted rate over time.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::cloud::STEP;
use super::run::Row;

/// So many columns has a plot.
const COLUMNS: usize = 60;
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

const HEAD: [&str; 9] = [
    "scenario",
    "client",
    "wall s",
    "theory s",
    "wall/theory",
    "429s at first",
    "429s/1000 later",
    "lost",
    "done",
];

/// 429s after the first contact, for each 1,000 requests that were accepted then; none without any.
fn per_thousand(row: &Row) -> f64 {
    row.stats.limited_later as f64 * 1_000.0 / row.stats.accepted_later.max(1) as f64
}

fn cells(row: &Row) -> [String; 9] {
    [
        row.scenario.clone(),
        row.client.name().to_owned(),
        format!("{:.2}", row.wall),
        format!("{:.2}", row.theory),
        format!("{:.2}", row.wall / row.theory),
        row.stats.limited_at_first.to_string(),
        format!("{:.1}", per_thousand(row)),
        row.lost.to_string(),
        row.done.to_string(),
    ]
}

/// Everything, as text.
pub(super) fn text(rows: &[Row]) -> String {
    let mut text = table(rows);
    for row in rows {
        let _ = write!(text, "\n{} {}:", row.scenario, row.client.name());
        for (name, value) in &row.figures {
            match value {
                Some(value) => _ = write!(text, " {name}={}", shortest(*value)),
                None => _ = write!(text, " {name}=never"),
            }
        }
    }
    text.push('\n');
    for of_one in rows.chunk_by(|one, other| one.scenario == other.scenario) {
        text.push('\n');
        text.push_str(&plot(of_one));
    }
    text
}

/// A Markdown table with columns as wide as they must be, good for a terminal as well.
fn table(rows: &[Row]) -> String {
    let lines: Vec<[String; 9]> = std::iter::once(HEAD.map(str::to_owned))
        .chain(rows.iter().map(cells))
        .collect();
    let width = |place: usize| {
        let of_line = |line: &[String; 9]| line.get(place).map_or(0, |cell| cell.chars().count());
        lines.iter().map(of_line).max().unwrap_or(0)
    };
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (place, cell) in line.iter().enumerate() {
            let width = width(place);
            let _ = match place {
                0 | 1 => write!(text, "| {cell:width$} "),
                _ => write!(text, "| {cell:>width$} "),
            };
        }
        text.push_str("|\n");
        if number == 0 {
            for place in 0..HEAD.len() {
                let end = if place < 2 { "-" } else { ":" };
                let _ = write!(text, "|{}{end}", "-".repeat(width(place) + 1));
            }
            text.push_str("|\n");
        }
    }
    text
}

fn shortest(value: f64) -> String {
    if value.fract().abs() < 1e-9 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

/// The accepted requests a second, one line a client, on the same axes.
fn plot(rows: &[Row]) -> String {
    let longest = rows.iter().map(|row| row.stats.accepted.len()).max().unwrap_or(0);
    let steps = longest.div_ceil(COLUMNS).max(1);
    let seconds = STEP.as_secs_f64() * steps as f64;
    let rates: Vec<Vec<f64>> = rows
        .iter()
        .map(|row| {
            let columns = row.stats.accepted.chunks(steps);
            columns
                .map(|column| column.iter().sum::<u64>() as f64 / seconds)
                .collect()
        })
        .collect();
    let highest = rates.iter().flatten().copied().fold(0.0, f64::max);
    let name = rows.first().map_or("", |row| row.scenario.as_str());
    let mut text = format!("{name}: accepted a second, 0 to {highest:.0}; a column is {seconds:.1} s\n");
    for (row, rates) in rows.iter().zip(&rates) {
        let line: String = rates.iter().map(|rate| level(*rate, highest)).collect();
        let _ = writeln!(text, "  {:6} |{line}| {:.1} s", row.client.name(), row.wall);
    }
    text
}

fn level(rate: f64, highest: f64) -> char {
    if rate <= 0.0 {
        return ' ';
    }
    let level = (rate / highest * LEVELS.len() as f64).ceil() as usize;
    LEVELS.get(level.saturating_sub(1)).copied().unwrap_or('█')
}

/// Everything, as JSON.
pub(super) fn json(rows: &[Row]) -> Value {
    let row = |row: &Row| {
        let figures: Map<String, Value> = row
            .figures
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        json!({
            "scenario": row.scenario,
            "client": row.client.name(),
            "wall_s": row.wall,
            "theory_s": row.theory,
            "wall_by_theory": row.wall / row.theory,
            "service_s": row.stats.service,
            "limited_at_first": row.stats.limited_at_first,
            "limited_later": row.stats.limited_later,
            "limited_later_per_1000": per_thousand(row),
            "lost": row.lost,
            "done": row.done,
            "figures": figures,
            "accepted_per_100_ms": row.stats.accepted,
            "limited_per_100_ms": row.stats.limited,
        })
    };
    json!({ "rows": rows.iter().map(row).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::super::cloud::Stats;
    use super::super::scenario::Client;
    use super::*;

    #[test]
    fn a_row_is_a_line_of_the_table_and_of_the_plot() {
        let row = Row {
            scenario: "learn".to_owned(),
            client: Client::Facade,
            wall: 2.0,
            theory: 1.6,
            done: 9,
            lost: 1,
            stats: Stats {
                adds: 10,
                limited_at_first: 3,
                limited_later: 2,
                accepted_later: 400,
                accepted: vec![8, 0, 1],
                ..Stats::default()
            },
            figures: vec![("reached_s", None), ("pace", Some(1.5))],
        };
        let text = text(&[row]);
        let lines: Vec<&str> = text.lines().collect();
        let cells: Vec<&str> = lines[2]
            .split('|')
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect();
        assert_eq!(cells, ["learn", "facade", "2.00", "1.60", "1.25", "3", "5.0", "1", "9"]);
        assert_eq!(lines[0].len(), lines[1].len());
        assert!(text.contains("learn facade: reached_s=never pace=1.50"), "{text}");
        assert!(text.contains("|█ ▁| 2.0 s"), "{text}");
    }
}
