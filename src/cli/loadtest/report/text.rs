//! The report for a terminal, and for pasting into a document.

use std::fmt::{self, Write as _};

use super::{Phase, QUANTILES, Row, Summary, plain, short};

/// Letters of the longest bar.
const BAR: usize = 48;

pub(in super::super) fn render(summary: &Summary) -> String {
    let mut out = String::new();
    // Writing to a `String` cannot fail.
    let _ = write(&mut out, summary);
    out
}

fn write(out: &mut String, summary: &Summary) -> fmt::Result {
    writeln!(
        out,
        "load test of {}, begun {:.0}",
        plain(&summary.target),
        summary.began
    )?;
    for (name, value) in &summary.asked {
        writeln!(out, "  {name}: {}", plain(value))?;
    }
    for phase in &summary.phases {
        of_phase(out, phase)?;
    }
    if let Some(phase) = summary.phases.last() {
        histogram(out, phase)?;
    }
    tail(out, summary)
}

fn of_phase(out: &mut String, phase: &Phase) -> fmt::Result {
    writeln!(
        out,
        "\n{}, {} s: {} good answers a second; milliseconds since each request was meant to arrive",
        phase.name,
        short(phase.seconds),
        short(phase.answered_a_second)
    )?;
    let mut table = vec![head()];
    table.extend(phase.rows.iter().map(cells));
    let width = |place: usize| table.iter().filter_map(|row| row.get(place)).map(String::len).max();
    for (at, row) in table.iter().enumerate() {
        for (place, cell) in row.iter().enumerate() {
            let width = width(place).unwrap_or(0);
            if place == 0 {
                write!(out, "| {cell:width$} |")?;
            } else {
                write!(out, " {cell:>width$} |")?;
            }
        }
        out.write_char('\n')?;
        if at == 0 {
            for place in 0..row.len() {
                let dashes = "-".repeat(width(place).unwrap_or(0));
                write!(
                    out,
                    "{}{dashes}{}",
                    if place == 0 { "|-" } else { "-" },
                    if place == 0 { "-|" } else { ":|" }
                )?;
            }
            out.write_char('\n')?;
        }
    }
    for row in phase.rows.iter().filter(|row| !row.errors.is_empty()) {
        let kinds: Vec<String> = row
            .errors
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        writeln!(out, "errors, {}: {}", row.name, kinds.join(", "))?;
    }
    let three = |values: [f64; 3]| {
        let [p50, p99, most] = values.map(short);
        format!("p50 {p50}, p99 {p99}, at most {most} ms")
    };
    writeln!(out, "of it begun late by this machine: {}", three(phase.late))?;
    writeln!(out, "from then to the answer's end: {}", three(phase.served))
}

fn head() -> Vec<String> {
    let counts = ["call", "asked", "good", "errors"].into_iter();
    let quantiles = QUANTILES.iter().map(|(name, _)| *name);
    counts.chain(quantiles).chain(["max"]).map(str::to_owned).collect()
}

fn cells(row: &Row) -> Vec<String> {
    let mut cells = vec![
        row.name.to_owned(),
        row.asked.to_string(),
        row.good.to_string(),
        (row.asked - row.good).to_string(),
    ];
    match row.quantiles {
        Some(quantiles) => {
            cells.extend(quantiles.map(short));
            cells.push(short(row.most));
        }
        None => cells.extend(["-"; 5].map(str::to_owned)),
    }
    cells
}

fn histogram(out: &mut String, phase: &Phase) -> fmt::Result {
    let Some(all) = phase.rows.last().filter(|row| !row.histogram.is_empty()) else {
        return Ok(());
    };
    let highest = all.histogram.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    writeln!(out, "\n{}, all calls: latencies up to so many milliseconds", phase.name)?;
    for (edge, count) in &all.histogram {
        let length = (*count as f64 / highest as f64 * BAR as f64).ceil() as usize;
        let line = format!("{:>9} {:BAR$} {count}", short(*edge), "█".repeat(length));
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn tail(out: &mut String, summary: &Summary) -> fmt::Result {
    out.write_char('\n')?;
    if let Some(calls) = &summary.cloud {
        let all: u64 = calls.values().sum();
        let kinds: Vec<String> = calls
            .iter()
            .map(|(operation, count)| format!("{count} {}", plain(operation)))
            .collect();
        let colon = if kinds.is_empty() { "" } else { ": " };
        writeln!(out, "calls to Cloud behind it: {all}{colon}{}", kinds.join(", "))?;
    }
    if let Some(memory) = &summary.memory {
        write!(
            out,
            "memory of the facade, KiB: {:.0} at first, {:.0} at last, {:.0} at most",
            memory.first(),
            memory.last(),
            memory.most()
        )?;
        match memory.slope {
            Some(slope) => writeln!(
                out,
                "; in the steady phase {:+.1} a minute (standard error {:.1})",
                slope.value * 60.0,
                slope.error * 60.0
            )?,
            None => out.write_char('\n')?,
        }
    }
    if let Some(changes) = &summary.changes {
        writeln!(
            out,
            "changed: {} added, {} removed meanwhile, {} taken back at the end, {} left",
            changes.added,
            changes.removed,
            changes.removed_at_the_end,
            changes.left.len()
        )?;
        if changes.in_vain > 0 {
            writeln!(
                out,
                "  {} removals found nothing of this test's to remove; a larger weight of the additions gives them something",
                changes.in_vain
            )?;
        }
        for (group, name) in &changes.left {
            let group = group.as_ref().map(|group| format!(" in {:?}", plain(group)));
            writeln!(out, "  left: {:?}{}", plain(name), group.unwrap_or_default())?;
        }
    }
    for warning in &summary.warnings {
        writeln!(out, "warning: {}", plain(warning))?;
    }
    for verdict in &summary.verdicts {
        let value = verdict.value.map_or_else(|| "nothing was measured".to_owned(), short);
        let word = if verdict.is_met { "met" } else { "NOT MET" };
        writeln!(out, "{} {}: {word} ({value})", verdict.name, short(verdict.limit))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn everything_is_told_and_no_name_moves_the_cursor() {
        let text = render(&samples::summary("g\u{1b}[2J"));
        for told in [
            "ramp, 1.00 s",
            "steady, 3.00 s",
            "| call     | asked | good | errors |",
            "errors, getUsers: 3 status_503",
            "calls to Cloud behind it: 20: 20 add_member",
            "+600.0 a minute",
            "changed: 20 added, 15 removed meanwhile, 4 taken back at the end, 1 left",
            "left: \"user1\" in \"g\u{fffd}[2J\"",
            "max-p99-ms 10.0: NOT MET (190)",
            "warning: the machine <was> slow",
        ] {
            assert!(text.contains(told), "{told}:\n{text}");
        }
        assert!(!text.replace('\n', "").contains(char::is_control));
    }
}
