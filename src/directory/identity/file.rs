//! Reading the identity map's file: CSV with a header line, columns by name in any order, UTF-8 with or without a byte
//! order mark, lines ended by LF or CRLF. Every fault is told, with its line.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::map::Row;
use crate::model::AccountId;

/// Everything wrong with a map file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Faults {}

/// The known columns; others are left alone, administrators keep notes there.
const COLUMNS: [&str; 7] = [
    "username",
    "key",
    "email",
    "account_id",
    "full_name",
    "created",
    "updated",
];

/// Reads the rows of the file at `path`.
///
/// # Errors
/// All faults at once.
pub fn read(path: &Path) -> Result<Vec<Row>, Faults> {
    let bytes = std::fs::read(path).map_err(|e| Faults(vec![format!("{}: {e}", path.display())]))?;
    parse(&bytes).map_err(|faults| {
        Faults(
            faults
                .0
                .into_iter()
                .map(|fault| format!("{}: {fault}", path.display()))
                .collect(),
        )
    })
}

/// Reads the rows of a file's bytes.
///
/// # Errors
/// All faults at once.
pub fn parse(bytes: &[u8]) -> Result<Vec<Row>, Faults> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(bytes);
    let mut faults = Vec::new();
    let mut columns: Option<Vec<Option<usize>>> = None;
    let mut width = 0;
    let mut rows = Vec::new();
    let mut record = csv::ByteRecord::new();
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(false) => break,
            Err(e) => {
                // Only reading itself can fail here, and the bytes are in memory.
                faults.push(e.to_string());
                break;
            }
            Ok(true) => {}
        }
        let line = record.position().map_or(0, csv::Position::line);
        let Some(columns) = &columns else {
            width = record.len();
            columns = Some(header(&record, &mut faults));
            continue;
        };
        if record.len() != width {
            faults.push(format!(
                "line {line}: {} fields where the header has {width}",
                record.len()
            ));
            continue;
        }
        match row(&record, columns) {
            Ok(row) => rows.extend(row),
            Err(fault) => faults.push(format!("line {line}: {fault}")),
        }
    }
    if columns.is_none() {
        faults.push("the file is empty; its first line must name the columns".to_owned());
    }
    if faults.is_empty() {
        Ok(rows)
    } else {
        Err(Faults(faults))
    }
}

/// Where each known column is.
fn header(record: &csv::ByteRecord, faults: &mut Vec<String>) -> Vec<Option<usize>> {
    let names: Vec<String> = record
        .iter()
        .map(|field| String::from_utf8_lossy(field).to_lowercase())
        .collect();
    let columns: Vec<Option<usize>> = COLUMNS
        .iter()
        .map(|column| names.iter().position(|name| name == column))
        .collect();
    for column in COLUMNS {
        if names.iter().filter(|name| *name == column).count() > 1 {
            faults.push(format!("line 1: the column {column} stands twice"));
        }
    }
    if !names.iter().any(|name| name == "account_id") {
        faults.push("line 1: no column account_id; the first line must name the columns".to_owned());
    }
    if !["username", "key", "email"]
        .iter()
        .any(|wanted| names.iter().any(|name| name == wanted))
    {
        faults.push("line 1: none of the columns username, key, email".to_owned());
    }
    columns
}

fn row(record: &csv::ByteRecord, columns: &[Option<usize>]) -> Result<Option<Row>, String> {
    let field = |index: usize| -> Result<Option<&str>, String> {
        let Some(position) = columns.get(index).copied().flatten() else {
            return Ok(None);
        };
        let bytes = record.get(position).unwrap_or_default();
        let text = std::str::from_utf8(bytes)
            .map_err(|_| format!("{} is not UTF-8", COLUMNS.get(index).copied().unwrap_or_default()))?;
        Ok((!text.is_empty()).then_some(text))
    };
    let account = match field(3)? {
        Some(text) if !AccountId::is_possible(text) => return Err(format!("{text:?} cannot be an account id")),
        account => account.map(AccountId::new),
    };
    let row = Row {
        username: field(0)?.map(Arc::from),
        key: field(1)?.map(Arc::from),
        email: field(2)?.map(Arc::from),
        account,
        full_name: field(4)?.map(Arc::from),
        created: field(5)?.map(|text| instant("created", text)).transpose()?,
        updated: field(6)?.map(|text| instant("updated", text)).transpose()?,
    };
    if row.username.is_none() && row.key.is_none() && row.email.is_none() {
        if row.account.is_none() && record.iter().all(<[u8]>::is_empty) {
            return Ok(None);
        }
        return Err("no username, key or email".to_owned());
    }
    Ok(Some(row))
}

/// Epoch milliseconds, an RFC 3339 instant, or a date with or without a time (then UTC).
fn instant(column: &str, text: &str) -> Result<i64, String> {
    if let Ok(millis) = text.parse::<i64>() {
        return Ok(millis);
    }
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Ok(instant.as_millisecond());
    }
    text.parse::<jiff::civil::DateTime>()
        .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC))
        .map(|time| time.timestamp().as_millisecond())
        .map_err(|_| format!("{column} {text:?} is neither epoch milliseconds nor a date like 2024-09-25 18:14:01"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_in_any_order_with_any_line_ends_and_a_mark_in_front() {
        let text = "\u{feff}Email,note,ACCOUNT_ID,username,created\r\n a@example.com ,x,5b10,\"O'Neil, \"\"Bob\"\"\",2022-06-07 12:38:40\r\n,,,,\r\n";
        let rows = parse(text.as_bytes()).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].email.as_deref(), Some("a@example.com"));
        assert_eq!(rows[0].username.as_deref(), Some("O'Neil, \"Bob\""));
        assert_eq!(rows[0].account, Some(AccountId::new("5b10")));
        assert_eq!(rows[0].created, Some(1_654_605_520_000));
    }

    #[test]
    fn every_fault_is_told_with_its_line() {
        let text = b"username,account_id,created\njdoe,bad id!,\nok,a1\n,a2,\nx,a3,tomorrow\n\xff,a4,\n";
        let faults = parse(text).unwrap_err();
        assert_eq!(
            faults.0,
            [
                "line 2: \"bad id!\" cannot be an account id",
                "line 3: 2 fields where the header has 3",
                "line 4: no username, key or email",
                "line 5: created \"tomorrow\" is neither epoch milliseconds nor a date like 2024-09-25 18:14:01",
                "line 6: username is not UTF-8",
            ]
        );
        assert!(parse(b"").unwrap_err().0[0].contains("empty"));
        assert!(parse(b"a,b\n").unwrap_err().0[0].contains("account_id"));
    }
}
