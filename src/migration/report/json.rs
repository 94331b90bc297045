//! The report for programs: every row, under keys that do not change.

use serde_json::{Map, Value, json};

use super::{Cell, Report, Section};

/// The report as one JSON object.
#[must_use]
pub fn render(report: &Report) -> Value {
    json!({
        "title": report.title,
        "generated_at": report.generated_at.to_string(),
        "verdict": if report.findings() == 0 { "ready" } else { "findings" },
        "findings": report.findings(),
        "sources": report.sources.iter().map(|source| json!({
            "role": source.role,
            "name": source.name,
            "format": source.format,
            "rows": source.rows,
            "notes": source.notes,
        })).collect::<Vec<_>>(),
        "summary": report.summary.iter()
            .map(|count| (count.key.to_owned(), json!(count.value)))
            .collect::<Map<String, Value>>(),
        "sections": report.sections.iter().map(section).collect::<Vec<_>>(),
    })
}

fn section(section: &Section) -> Value {
    let rows: Vec<Value> = section
        .rows
        .iter()
        .map(|row| {
            section
                .columns
                .iter()
                .zip(row)
                .map(|(column, cell)| ((*column).to_owned(), value(cell)))
                .collect::<Map<String, Value>>()
                .into()
        })
        .collect();
    json!({
        "kind": section.kind.as_str(),
        "finding": section.kind.is_finding(),
        "title": section.title,
        "why": section.why,
        "what_to_do": section.what_to_do,
        "count": rows.len(),
        "rows": rows,
    })
}

fn value(cell: &Cell) -> Value {
    match cell {
        Cell::Text(text) => json!(text),
        Cell::List(list) => json!(list),
        Cell::Number(number) => json!(number),
    }
}
