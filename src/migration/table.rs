//! Text to rows: the delimiter is detected, quoted fields may hold anything, every row knows its line.

use super::text::{self, Encoding};

/// Rows looked at to find the delimiter.
const SAMPLE_ROWS: usize = 50;
/// How often the reader of rows tells how far it is, in rows.
const TELL_EVERY: u64 = 4096;

const DELIMITERS: [(u8, &str); 4] = [(b',', "comma"), (b';', "semicolon"), (b'\t', "tab"), (b'|', "pipe")];

/// A file of rows below a line of headings.
#[derive(Debug)]
pub struct Table {
    text: String,
    encoding: Encoding,
    delimiter: u8,
    header: Vec<String>,
    /// Bytes before the line of headings: Excel's `sep=;`.
    skipped: usize,
}

/// One row that does not fit the headings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Its line, from 1.
    pub line: u64,
    /// Its fields.
    pub fields: usize,
}

impl Table {
    /// Finds out how the file is written.
    ///
    /// # Errors
    /// Why it is no such table.
    pub fn new(bytes: Vec<u8>) -> Result<Self, String> {
        if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\xd0\xcf\x11\xe0") {
            return Err("is a spreadsheet or an archive, not CSV: save it as CSV first".to_owned());
        }
        let (text, encoding) = text::decode(bytes)?;
        let (skipped, told) = announced(&text);
        let body = text.get(skipped..).unwrap_or_default();
        let delimiter = told.unwrap_or_else(|| detect(body));
        let header: Vec<String> = {
            let mut record = csv::StringRecord::new();
            let read = reader(body, delimiter).read_record(&mut record);
            match read {
                Ok(true) => record.iter().map(str::to_owned).collect(),
                _ => return Err("is empty; its first line must name the columns".to_owned()),
            }
        };
        let table = Self {
            text,
            encoding,
            delimiter,
            header,
            skipped,
        };
        Ok(table)
    }

    /// How its text is written down.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// What parts its fields, in words.
    #[must_use]
    pub fn delimiter(&self) -> &'static str {
        DELIMITERS
            .iter()
            .find(|(byte, _)| *byte == self.delimiter)
            .map_or("other", |(_, name)| name)
    }

    /// Its headings as they are written.
    #[must_use]
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// Its whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Hands every row that fits the headings to `take`, with its line, and tells `progress` how many bytes are done.
    /// A row may have more fields than the headings if they are empty: spreadsheets write such.
    ///
    /// # Errors
    /// A quote that is opened and never closed: it swallows the rest of the file, and nobody knows which rows.
    pub fn read(
        &self,
        progress: &mut dyn FnMut(u64),
        mut take: impl FnMut(u64, &csv::StringRecord),
    ) -> Result<Vec<Misfit>, String> {
        let body = self.text.get(self.skipped..).unwrap_or_default();
        let mut reader = reader(body, self.delimiter);
        let mut record = csv::StringRecord::new();
        let mut misfits = Vec::new();
        let mut place = Place {
            bytes: body.as_bytes(),
            at: 0,
            line: 1 + u64::try_from(self.text.get(..self.skipped).unwrap_or_default().matches('\n').count())
                .unwrap_or_default(),
        };
        let mut rows = 0_u64;
        let mut start = 0;
        // Reading from memory fails only for text that is no text, and it was decoded.
        while reader.read_record(&mut record).map_err(|e| e.to_string())? {
            start = record.position().map_or(0, csv::Position::byte);
            let line = place.line_of(start);
            rows += 1;
            if rows.is_multiple_of(TELL_EVERY) {
                progress(start);
            }
            if rows == 1 || record.iter().all(str::is_empty) {
                continue;
            }
            let more_are_empty = record.iter().skip(self.header.len()).all(str::is_empty);
            if record.len() < self.header.len() || !more_are_empty {
                misfits.push(Misfit {
                    line,
                    fields: record.len(),
                });
                continue;
            }
            take(line, &record);
        }
        let last = usize::try_from(start)
            .ok()
            .and_then(|start| body.get(start..))
            .unwrap_or_default();
        if last.trim().contains('\n') && last.matches('"').count() % 2 == 1 {
            return Err(format!(
                "line {}: a quote is opened and never closed",
                place.line_of(start)
            ));
        }
        Ok(misfits)
    }
}

/// Where a row begins. The reader's own lines are those before the empty lines and line ends that it skips.
struct Place<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl Place<'_> {
    fn line_of(&mut self, start: u64) -> u64 {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let passed = self.bytes.get(self.at..start).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at = self.at.max(start.min(self.bytes.len()));
        let blank = self.bytes.get(self.at..).unwrap_or_default();
        let ends = blank.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
        self.line + ends.filter(|byte| **byte == b'\n').count() as u64
    }
}

fn reader(text: &str, delimiter: u8) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .delimiter(delimiter)
        .from_reader(text.as_bytes())
}

/// The first line `sep=;` that spreadsheets write: where it ends, and what it says.
fn announced(text: &str) -> (usize, Option<u8>) {
    let Some(rest) = text.strip_prefix("sep=") else {
        return (0, None);
    };
    let mut bytes = rest.bytes();
    let told = bytes
        .next()
        .filter(|told| DELIMITERS.iter().any(|(byte, _)| byte == told));
    match (told, rest.find('\n')) {
        (Some(told), Some(end)) if end <= 2 => (end + "sep=".len() + 1, Some(told)),
        _ => (0, None),
    }
}

/// The delimiter under which the first rows agree best about their width, the headings being parted at all.
fn detect(text: &str) -> u8 {
    let mut best = (b',', (0, 0));
    for (delimiter, _) in DELIMITERS {
        let mut reader = reader(text, delimiter);
        let mut record = csv::StringRecord::new();
        let (mut width, mut rows, mut alike) = (0, 0_usize, 0_usize);
        while rows < SAMPLE_ROWS && reader.read_record(&mut record).unwrap_or_default() {
            if rows == 0 {
                width = record.len();
            }
            rows += 1;
            alike += usize::from(record.len() == width);
        }
        if width < 2 {
            continue;
        }
        let score = (alike.saturating_mul(1000) / rows.max(1), width);
        if score > best.1 {
            best = (delimiter, score);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Result<Vec<(u64, Vec<String>)>, String> {
        let mut rows = Vec::new();
        Table::new(text.as_bytes().to_vec())?.read(&mut |_| {}, |line, record| {
            rows.push((line, record.iter().map(str::to_owned).collect()));
        })?;
        Ok(rows)
    }

    #[test]
    fn every_row_knows_its_line_whatever_ends_the_lines_and_stands_between() {
        for end in ["\n", "\r\n"] {
            let text = "a,b\n1,\"x\ny\"\n\n\n2,z\n3,w\n".replace('\n', end);
            let found: Vec<u64> = lines(&text).unwrap().into_iter().map(|(line, _)| line).collect();
            assert_eq!(found, [2, 6, 7], "{end:?}");
        }
        assert_eq!(
            lines("sep=;\r\na;b\r\n1;2\r\n").unwrap(),
            [(3, vec!["1".into(), "2".into()])]
        );
    }

    #[test]
    fn delimiters_are_told_by_the_rows_and_not_by_a_name_that_holds_one() {
        for (delimiter, name) in DELIMITERS {
            let part = char::from(delimiter);
            let text =
                format!("user name{part}email{part}x\n\"O'Neil{part} Bob\"{part}a@b.c{part}1,5\nc|d{part}e;f{part}g\n");
            let table = Table::new(text.replace(if part == '|' { "c|d" } else { "~" }, "cd").into_bytes()).unwrap();
            assert_eq!((table.delimiter(), table.header().len()), (name, 3));
        }
        assert_eq!(Table::new(b"username\njdoe\n".to_vec()).unwrap().delimiter(), "comma");
    }

    #[test]
    fn rows_that_do_not_fit_are_told_and_empty_fields_behind_are_forgiven() {
        let table = Table::new(b"a,b\n1\n1,2,,\n1,2,3\n,,\n".to_vec()).unwrap();
        let mut taken = 0;
        let misfits = table.read(&mut |_| {}, |_, _| taken += 1).unwrap();
        assert_eq!(taken, 1);
        assert_eq!(misfits, [Misfit { line: 2, fields: 1 }, Misfit { line: 4, fields: 3 }]);
    }

    #[test]
    fn a_quote_that_is_never_closed_swallows_nobody_silently() {
        assert!(lines("a,b\n1,\"x\n2,y\n3,z\n").unwrap_err().contains("line 2"));
        assert!(lines("a,b\n1,x\"\n").is_ok(), "a stray quote within a field is data");
    }

    #[test]
    fn what_is_no_table_says_what_it_is() {
        assert!(
            Table::new(b"PK\x03\x04....".to_vec())
                .unwrap_err()
                .contains("spreadsheet")
        );
        assert!(Table::new(b"\r\n\n".to_vec()).unwrap_err().contains("empty"));
    }
}
