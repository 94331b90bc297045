//! Reading the identity map's file: CSV with a header line, columns by name in any order, UTF-8 with or without a byte
//! order mark, lines ended by LF or CRLF. Every fault is told, with its line.

use std::fmt;
use std::io::Read;
use std::path::Path;

use super::rows::{Bits, Field, Rows};
use crate::model::{AccountId, Standing};

/// Everything wrong with a map file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Faults {}

/// Faults that are told one by one; of the rest only the number.
const MOST_FAULTS: usize = 100;

/// What is read from the file at once.
const BUFFER: usize = 1 << 16;

/// The known columns; others are left alone, administrators keep notes there. The first six are [`Field`]s.
const COLUMNS: [&str; 11] = [
    "username",
    "key",
    "email",
    "old_email",
    "account_id",
    "full_name",
    "created",
    "updated",
    "status",
    "primary",
    "source",
];

/// Reads the rows of the file at `path`.
///
/// # Errors
/// All faults at once.
pub(super) fn read(path: &Path) -> Result<Rows, Faults> {
    let tell = |fault: &dyn fmt::Display| format!("{}: {fault}", path.display());
    let file = std::fs::File::open(path).map_err(|e| Faults(vec![tell(&e)]))?;
    let bytes = file.metadata().map_or(0, |metadata| metadata.len());
    parse(file, usize::try_from(bytes).unwrap_or_default())
        .map_err(|faults| Faults(faults.0.iter().map(|fault| tell(fault)).collect()))
}

/// The faults so far, and how many more there are.
#[derive(Default)]
struct Found {
    faults: Vec<String>,
    more: usize,
}

impl Found {
    fn push(&mut self, fault: String) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(fault);
        } else {
            self.more += 1;
        }
    }
}

/// Reads the rows of a file of about so many bytes.
///
/// # Errors
/// All faults at once.
pub(super) fn parse(from: impl Read, bytes: usize) -> Result<Rows, Faults> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(BUFFER)
        // A CR before the LF goes with the white space around the last field. The reader's own CRLF counts the LF to
        // the next record, and its lines would be one too few.
        .terminator(csv::Terminator::Any(b'\n'))
        .from_reader(from);
    let mut found = Found::default();
    let mut columns: Option<Columns> = None;
    let mut rows = Rows::with_capacity(bytes);
    let mut record = csv::ByteRecord::new();
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(false) => break,
            Err(e) => {
                found.push(e.to_string());
                break;
            }
            Ok(true) => {}
        }
        let line = line(&record, reader.position().line());
        if blank(&record) {
            continue;
        }
        let Some(columns) = &columns else {
            columns = Some(Columns::of(&record, line, &mut found));
            continue;
        };
        if let Err(fault) = columns.row(&record, line, &mut rows) {
            found.push(format!("line {line}: {fault}"));
        }
    }
    if columns.is_none() {
        found.push("the file is empty; its first line must name the columns".to_owned());
    }
    if found.more > 0 {
        found.faults.push(format!("and {} more", found.more));
    }
    if found.faults.is_empty() {
        Ok(rows)
    } else {
        Err(Faults(found.faults))
    }
}

/// The line on which a record begins, from where its reading began and ended: before it stand the empty lines that the
/// reader left out, within it those that it has in quotes.
fn line(record: &csv::ByteRecord, after: u64) -> u64 {
    let before = record.position().map_or(0, csv::Position::line);
    if after <= before + 1 {
        return before;
    }
    let inside = record.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64;
    before.max(after.saturating_sub(inside + 1))
}

fn blank(record: &csv::ByteRecord) -> bool {
    record.as_slice().trim_ascii().is_empty()
}

/// Where each known column is.
struct Columns {
    positions: [Option<usize>; COLUMNS.len()],
    width: usize,
}

impl Columns {
    fn of(record: &csv::ByteRecord, line: u64, found: &mut Found) -> Self {
        let names: Vec<String> = record
            .iter()
            .map(|field| String::from_utf8_lossy(field.trim_ascii()).to_lowercase())
            .collect();
        let has = |column: &str| names.iter().any(|name| name == column);
        for column in COLUMNS {
            if names.iter().filter(|name| *name == column).count() > 1 {
                found.push(format!("line {line}: the column {column} stands twice"));
            }
        }
        if !has("account_id") && !has("email") {
            found.push(format!(
                "line {line}: neither of the columns account_id and email; the first line must name the columns"
            ));
        }
        if !["username", "key", "email"].into_iter().any(has) {
            found.push(format!("line {line}: none of the columns username, key, email"));
        }
        Self {
            positions: COLUMNS.map(|column| names.iter().position(|name| name == column)),
            width: record.len(),
        }
    }

    /// The text of the column of this number in [`COLUMNS`]. `all` is the whole record, unless something in it is not
    /// UTF-8; that may be in a column that is none of ours.
    fn text<'r>(&self, record: &'r csv::ByteRecord, all: Option<&'r str>, column: usize) -> Result<&'r str, String> {
        let Some(position) = self.positions.get(column).copied().flatten() else {
            return Ok("");
        };
        let name = || COLUMNS.get(column).copied().unwrap_or_default();
        let text = match all {
            Some(all) => record.range(position).and_then(|range| all.get(range)),
            None => std::str::from_utf8(record.get(position).unwrap_or_default()).ok(),
        };
        let text = text.ok_or_else(|| format!("{} is not UTF-8", name()))?.trim_ascii();
        if text.len() > Rows::MOST_BYTES {
            return Err(format!("{} is longer than {} bytes", name(), Rows::MOST_BYTES));
        }
        Ok(text)
    }

    fn row(&self, record: &csv::ByteRecord, line: u64, rows: &mut Rows) -> Result<(), String> {
        if record.len() != self.width {
            return Err(format!("{} fields where the header has {}", record.len(), self.width));
        }
        let all = std::str::from_utf8(record.as_slice()).ok();
        let mut texts = [""; Field::COUNT];
        for (column, text) in texts.iter_mut().enumerate() {
            *text = self.text(record, all, column)?;
        }
        let [username, key, email, old_email, account, _] = texts;
        if !account.is_empty() && !AccountId::is_possible(account) {
            return Err(format!("{account:?} cannot be an account id"));
        }
        let dates = [
            instant("created", self.text(record, all, 6)?)?,
            instant("updated", self.text(record, all, 7)?)?,
        ];
        let standing = standing(self.text(record, all, 8)?)?;
        let primary = primary(self.text(record, all, 9)?)?;
        if [username, key, email, old_email].iter().all(|name| name.is_empty()) {
            return Err("no username, key or email".to_owned());
        }
        if rows.push(texts, dates, line, Bits::new(standing, primary)) {
            Ok(())
        } else {
            Err(format!("more than {} bytes of text", Rows::MOST_TEXT))
        }
    }
}

fn standing(text: &str) -> Result<Standing, String> {
    if text.is_empty() {
        return Ok(Standing::Active);
    }
    Standing::ALL
        .into_iter()
        .find(|standing| standing.as_str().eq_ignore_ascii_case(text))
        .ok_or_else(|| format!("status {text:?} is none of active, deactivated, tombstoned, app"))
}

fn primary(text: &str) -> Result<bool, String> {
    if text.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if text.is_empty() || text.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(format!("primary {text:?} is neither true nor false"))
    }
}

/// Epoch milliseconds, an RFC 3339 instant, or a date with or without a time (then UTC).
fn instant(column: &str, text: &str) -> Result<Option<i64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if let Some(time) = plain(text.as_bytes()).and_then(|time| jiff::tz::Offset::UTC.to_timestamp(time).ok()) {
        return Ok(Some(time.as_millisecond()));
    }
    if let Ok(millis) = text.parse::<i64>() {
        return Ok(Some(millis));
    }
    // A failed attempt costs more than a good one, so the likelier one goes first: an offset can only follow the date.
    let civil = || {
        let time = text.parse::<jiff::civil::DateTime>().ok()?;
        jiff::tz::Offset::UTC.to_timestamp(time).ok()
    };
    let offset = text
        .bytes()
        .skip(10)
        .any(|byte| matches!(byte, b'Z' | b'z' | b'+' | b'-' | b'['));
    let instant = if offset {
        text.parse().ok().or_else(civil)
    } else {
        civil()
    };
    instant
        .map(|instant: jiff::Timestamp| Some(instant.as_millisecond()))
        .ok_or_else(|| format!("{column} {text:?} is neither epoch milliseconds nor a date like 2024-09-25 18:14:01"))
}

/// The form in which databases export a time, without the general reader's cost: a million rows have two million.
fn plain(text: &[u8]) -> Option<jiff::civil::DateTime> {
    let &[
        y1,
        y2,
        y3,
        y4,
        b'-',
        m1,
        m2,
        b'-',
        d1,
        d2,
        b' ' | b'T',
        h1,
        h2,
        b':',
        i1,
        i2,
        b':',
        s1,
        s2,
    ] = text
    else {
        return None;
    };
    let two = |tens: u8, ones: u8| {
        let digit = |byte: u8| byte.is_ascii_digit().then(|| i8::try_from(byte - b'0').ok())?;
        Some(digit(tens)? * 10 + digit(ones)?)
    };
    let year = i16::from(two(y1, y2)?) * 100 + i16::from(two(y3, y4)?);
    let (month, day) = (two(m1, m2)?, two(d1, d2)?);
    jiff::civil::DateTime::new(year, month, day, two(h1, h2)?, two(i1, i2)?, two(s1, s2)?, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &[u8]) -> Vec<String> {
        parse(text, text.len()).err().unwrap().0
    }

    #[test]
    fn columns_come_in_any_order_with_any_line_ends_and_a_mark_in_front() {
        let text = "\u{feff}Email,note,ACCOUNT_ID,username,created,Status,PRIMARY,old_email\r\n a@example.com ,x,5b10,\"O'Neil, \"\"Bob\"\"\",2022-06-07 12:38:40,Tombstoned,TRUE,\"b@example.com\"\r\n,,,,,,,\r\n";
        let rows = parse(text.as_bytes(), 0).unwrap();
        assert_eq!(rows.rows.len(), 1);
        let row = rows.get(0).unwrap();
        assert_eq!(rows.text(row, Field::Email), Some("a@example.com"));
        assert_eq!(rows.text(row, Field::OldEmail), Some("b@example.com"));
        assert_eq!(rows.text(row, Field::Username), Some("O'Neil, \"Bob\""));
        assert_eq!(rows.text(row, Field::Account), Some("5b10"));
        assert_eq!(rows.text(row, Field::FullName), None);
        assert_eq!(rows.date(0, 0), Some(1_654_605_520_000));
        assert_eq!(rows.date(0, 1), None);
        assert_eq!(row.bits.standing(), Standing::Tombstoned);
        assert!(row.bits.has(Bits::PRIMARY));
    }

    #[test]
    fn every_fault_is_told_with_its_line() {
        let text = b"username,account_id,created,status,primary\njdoe,bad id!,,,\nok,a1\n,a2,,,\nx,a3,tomorrow,,\n\xff,a4,,,\ny,a5,,gone,\nz,a6,,,yes\n";
        assert_eq!(
            faults(text),
            [
                "line 2: \"bad id!\" cannot be an account id",
                "line 3: 2 fields where the header has 5",
                "line 4: no username, key or email",
                "line 5: created \"tomorrow\" is neither epoch milliseconds nor a date like 2024-09-25 18:14:01",
                "line 6: username is not UTF-8",
                "line 7: status \"gone\" is none of active, deactivated, tombstoned, app",
                "line 8: primary \"yes\" is neither true nor false",
            ]
        );
        assert!(faults(b"")[0].contains("empty"));
        assert!(faults(b"a,b\n")[0].contains("account_id"));
        assert!(faults(b"username,username,email\n")[0].contains("stands twice"));
        assert!(parse(&b"username,email\n"[..], 0).is_ok(), "an e-mail address will do");
    }

    #[test]
    fn lines_are_counted_over_empty_ones_quoted_ones_and_either_end() {
        for end in ["\n", "\r\n"] {
            let text = format!(
                "username,account_id{end}{end}{end}bad,b!{end}\"two{end}lines\",b!{end}good,b{end}\"two{end}lines\",b{end}last,b!"
            );
            let lines: Vec<String> = faults(text.as_bytes())
                .iter()
                .map(|fault| fault.split(':').next().unwrap().to_owned())
                .collect();
            assert_eq!(lines, ["line 4", "line 5", "line 10"], "{end:?}");
            let rows = parse(text.replace('!', "").as_bytes(), 0).unwrap();
            let lines: Vec<u32> = rows.rows.iter().map(|row| row.line).collect();
            assert_eq!(lines, [4, 5, 7, 8, 10], "{end:?}");
        }
    }

    #[test]
    fn a_hopeless_file_is_not_told_line_by_line() {
        let text = format!("username,account_id\n{}", "x,b!\n".repeat(250));
        let faults = faults(text.as_bytes());
        assert_eq!(faults.len(), 101);
        assert_eq!(faults[100], "and 150 more");
        let long = format!("username,account_id\n{},b\n", "x".repeat(9000));
        assert!(super::parse(long.as_bytes(), 0).err().unwrap().0[0].contains("longer"));
    }

    #[test]
    fn dates_come_in_every_form_that_was_ever_exported() {
        for (text, expected) in [
            ("1654605520000", 1_654_605_520_000),
            ("2022-06-07 12:38:40", 1_654_605_520_000),
            ("2022-06-07T12:38:40", 1_654_605_520_000),
            ("2022-06-07T12:38:40Z", 1_654_605_520_000),
            ("2022-06-07T14:38:40+02:00", 1_654_605_520_000),
            ("2022-06-07", 1_654_560_000_000),
        ] {
            assert_eq!(instant("created", text), Ok(Some(expected)), "{text}");
        }
    }
}
