//! The report for a terminal: aligned, and cut after the first rows of each section.

use std::fmt::Write as _;

use super::{Cell, Report, Section, grouped, places, visible};

/// Rows shown of each section.
pub const ROWS: usize = 20;
/// Letters of a cell that are shown; the last one of a row pushes nothing aside.
const CELL_WIDTH: usize = 60;
const LAST_CELL_WIDTH: usize = 160;

/// The report as text, ended by a line end.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a `String` cannot fail.
    let _ = writeln!(out, "{}: {}", shown(&report.title, usize::MAX), report.verdict());
    let _ = writeln!(out, "{}\n", report.when());
    let rows: Vec<Vec<String>> = report
        .sources
        .iter()
        .map(|source| {
            vec![
                source.role.clone(),
                shown(&source.name, CELL_WIDTH),
                format!("{} rows", grouped(source.rows)),
                source.format.clone(),
            ]
        })
        .collect();
    table(&mut out, &rows, &[false, false, true, false]);
    for source in &report.sources {
        for note in &source.notes {
            let _ = writeln!(out, "  {}: {}", shown(&source.name, CELL_WIDTH), shown(note, 200));
        }
    }
    out.push('\n');
    let rows: Vec<Vec<String>> = report
        .summary
        .iter()
        .map(|count| vec![count.label.to_string(), grouped(count.value)])
        .collect();
    table(&mut out, &rows, &[false, true]);
    for part in &report.sections {
        section(&mut out, part);
    }
    out
}

fn section(out: &mut String, section: &Section) {
    let mark = if section.kind.is_finding() { "!" } else { "-" };
    let count = grouped(section.rows.len() as u64);
    let _ = writeln!(out, "\n{mark} {} ({count}) [{}]", section.title, section.kind.as_str());
    for words in [&section.why, &section.what_to_do] {
        wrap(out, words);
    }
    let mut rows = vec![
        section
            .columns
            .iter()
            .map(|name| name.replace('_', " "))
            .collect::<Vec<_>>(),
    ];
    let last = section.columns.len().saturating_sub(1);
    rows.extend(section.rows.iter().take(ROWS).map(|row| {
        let width = |at: usize| if at == last { LAST_CELL_WIDTH } else { CELL_WIDTH };
        let cells = section.columns.iter().zip(row).enumerate();
        cells.map(|(at, (column, one))| cell(column, one, width(at))).collect()
    }));
    let right: Vec<bool> = section
        .rows
        .first()
        .map(|row| row.iter().map(|cell| matches!(cell, Cell::Number(_))).collect())
        .unwrap_or_default();
    table(out, &rows, &right);
    let more = section.rows.len().saturating_sub(ROWS);
    if more > 0 {
        let _ = writeln!(out, "  and {} more (see --json)", grouped(more as u64));
    }
}

fn cell(column: &str, cell: &Cell, width: usize) -> String {
    let texts = cell.texts();
    let texts = if column == "where" { places(&texts) } else { texts };
    shown(&texts.join(", "), width)
}

/// `text` without anything that moves a cursor, and no longer than `width` letters.
fn shown(text: &str, width: usize) -> String {
    let mut out = String::new();
    visible(text, &mut |c| out.push(c));
    if out.chars().count() > width {
        out = out.chars().take(width.saturating_sub(1)).collect();
        out.push('…');
    }
    out
}

fn wrap(out: &mut String, words: &str) {
    let mut width = 0;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if width == 0 || width + length + 1 > 100 {
            out.push_str(if width == 0 { "  " } else { "\n  " });
            width = length;
        } else {
            out.push(' ');
            width += length + 1;
        }
        out.push_str(word);
    }
    out.push('\n');
}

fn table(out: &mut String, rows: &[Vec<String>], right: &[bool]) {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    for row in rows {
        let mut line = String::from("  ");
        for (at, (text, width)) in row.iter().zip(&widths).enumerate() {
            if right.get(at).copied().unwrap_or_default() {
                let _ = write!(line, "{text:>width$}  ");
            } else {
                let _ = write!(line, "{text:<width$}  ");
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Count, Kind, Report};
    use super::*;

    #[test]
    fn a_section_is_cut_and_says_how_much_is_left() {
        let mut section = Section::new(Kind::Invalid, &["username", "rows"]);
        for number in 0..25_u64 {
            section
                .rows
                .push(vec![format!("user\u{1b}{number}").into(), number.into()]);
        }
        let summary = vec![Count::new("identities", "rows in the map", 1234)];
        let report = Report::new(
            "Identity map",
            jiff::Timestamp::UNIX_EPOCH,
            vec![],
            summary,
            vec![section],
        );
        let text = render(&report);
        assert!(
            text.starts_with("Identity map: 25 findings\n1970-01-01 00:00:00 UTC\n"),
            "{text}"
        );
        assert!(text.contains("  rows in the map  1,234\n"), "{text}");
        assert!(text.contains("and 5 more (see --json)"), "{text}");
        assert!(
            text.contains("  user␛9       9\n") && !text.contains('\u{1b}'),
            "{text}"
        );
        assert!(!text.contains("user␛20"), "{text}");
    }
}
