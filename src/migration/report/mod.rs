//! The readiness report: what a person must decide or know before scripts run against Cloud. Plain data here, so that it
//! can be made from files alone or from a live site; [`text`], [`json`] and [`html`] render it.

pub mod html;
pub mod json;
mod kind;
pub mod text;

use std::borrow::Cow;

use jiff::Timestamp;

pub use kind::Kind;

/// Everything that was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was looked at.
    pub title: String,
    /// When.
    pub generated_at: Timestamp,
    /// What was read for it.
    pub sources: Vec<Source>,
    /// The figures, in a fixed order.
    pub summary: Vec<Count>,
    /// The findings and notes, in the order of [`Kind`]; none is empty.
    pub sections: Vec<Section>,
}

/// Something that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// What it was given as.
    pub role: String,
    /// Its name.
    pub name: String,
    /// How it is written, or how it was asked.
    pub format: String,
    /// Rows it held.
    pub rows: u64,
    /// What else should be known of it, such as the columns that were understood.
    pub notes: Vec<String>,
}

/// How a part of the whole is to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// As it should be, and of no use: left before the migration, for example.
    Quiet,
    /// Not yet as it should be.
    Open,
    /// Left out.
    Bad,
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// Its name for programs.
    pub key: &'static str,
    /// Its name for people.
    pub label: Cow<'static, str>,
    /// The figure.
    pub value: u64,
    /// Set on the figures that together are the whole, drawn as one bar.
    pub part: Option<Tone>,
}

impl Count {
    /// A figure that stands alone.
    #[must_use]
    pub fn new(key: &'static str, label: &'static str, value: usize) -> Self {
        Self {
            key,
            label: Cow::Borrowed(label),
            value: value as u64,
            part: None,
        }
    }

    /// A part of the whole.
    #[must_use]
    pub fn part(key: &'static str, label: &'static str, value: usize, tone: Tone) -> Self {
        Self {
            part: Some(tone),
            ..Self::new(key, label, value)
        }
    }
}

/// One field of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// A text; it may be empty.
    Text(String),
    /// Several texts.
    List(Vec<String>),
    /// A figure.
    Number(u64),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Option<&str>> for Cell {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.unwrap_or_default().to_owned())
    }
}

impl From<Vec<String>> for Cell {
    fn from(list: Vec<String>) -> Self {
        Self::List(list)
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl Cell {
    /// The texts of the cell, in order.
    fn texts(&self) -> Vec<Cow<'_, str>> {
        match self {
            Self::Text(text) => vec![Cow::Borrowed(text)],
            Self::List(list) => list.iter().map(|text| Cow::Borrowed(text.as_str())).collect(),
            Self::Number(number) => vec![Cow::Owned(grouped(*number))],
        }
    }
}

/// Places of one file behind each other, its name told once: `users.csv:12, 40`.
fn places<'a>(texts: &[Cow<'a, str>]) -> Vec<Cow<'a, str>> {
    let mut out: Vec<Cow<'a, str>> = Vec::new();
    let mut file = None;
    for text in texts {
        let (name, line) = text.rsplit_once(':').unwrap_or((text, ""));
        match out.last_mut() {
            Some(last) if file == Some(name) => {
                let last = last.to_mut();
                last.push_str(", ");
                last.push_str(line);
            }
            _ => out.push(text.clone()),
        }
        file = Some(name);
    }
    out
}

/// All rows of one kind.
#[derive(Clone, Debug)]
pub struct Section {
    /// What they are.
    pub kind: Kind,
    /// The heading.
    pub title: Cow<'static, str>,
    /// Why it matters.
    pub why: Cow<'static, str>,
    /// The next step.
    pub what_to_do: Cow<'static, str>,
    /// The columns' names, in snake case: JSON has them so, people see spaces.
    pub columns: Vec<&'static str>,
    /// The rows; each has as many cells as there are columns.
    pub rows: Vec<Vec<Cell>>,
}

impl Section {
    /// A section with the words of its kind.
    #[must_use]
    pub fn new(kind: Kind, columns: &[&'static str]) -> Self {
        Self {
            kind,
            title: Cow::Borrowed(kind.title()),
            why: Cow::Borrowed(kind.why()),
            what_to_do: Cow::Borrowed(kind.what_to_do()),
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }
}

impl Report {
    /// A report without findings. Empty sections are left out and the others put into the order of their kinds, so
    /// that two reports can be compared.
    #[must_use]
    pub fn new(
        title: &str,
        generated_at: Timestamp,
        sources: Vec<Source>,
        summary: Vec<Count>,
        sections: Vec<Section>,
    ) -> Self {
        let mut sections: Vec<Section> = sections
            .into_iter()
            .filter(|section| !section.rows.is_empty())
            .collect();
        sections.sort_by_key(|section| section.kind);
        Self {
            title: title.to_owned(),
            generated_at,
            sources,
            summary,
            sections,
        }
    }

    /// How many rows ask for a decision. Rows that only tell how things are do not count.
    #[must_use]
    pub fn findings(&self) -> usize {
        let asking = self.sections.iter().filter(|section| section.kind.is_finding());
        asking.map(|section| section.rows.len()).sum()
    }

    /// The verdict in a few words.
    #[must_use]
    pub fn verdict(&self) -> String {
        match self.findings() {
            0 => "ready".to_owned(),
            1 => "1 finding".to_owned(),
            many => format!("{} findings", grouped(many as u64)),
        }
    }

    fn when(&self) -> String {
        let utc = self.generated_at.to_zoned(jiff::tz::TimeZone::UTC);
        utc.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
    }
}

/// A figure with its thousands apart: `12,345`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Makes visible what a name could hide or break with: control characters move a terminal's cursor, and marks of
/// direction turn what stands behind them around.
fn visible(text: &str, push: &mut dyn FnMut(char)) {
    for c in text.chars() {
        match c {
            '\0'..='\u{1f}' => push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}')),
            '\u{7f}' => push('\u{2421}'),
            '\u{80}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}' => format!("<U+{:04X}>", u32::from(c)).chars().for_each(&mut *push),
            c => push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn places_of_one_file_name_it_once() {
        let texts = ["a.csv:1", "a.csv:2", "b:7:1", "c.csv:3"].map(Cow::Borrowed);
        assert_eq!(places(&texts), ["a.csv:1, 2", "b:7:1", "c.csv:3"]);
        assert!(places(&[]).is_empty());
    }

    #[test]
    fn sections_stand_in_the_order_of_their_kinds_and_empty_ones_not_at_all() {
        let mut tombstoned = Section::new(Kind::Tombstoned, &["username"]);
        tombstoned.rows.push(vec!["a".into()]);
        let mut merged = Section::new(Kind::Merged, &["username"]);
        merged.rows.push(vec!["b".into()]);
        let empty = Section::new(Kind::Invalid, &["username"]);
        let report = Report::new(
            "t",
            Timestamp::UNIX_EPOCH,
            vec![],
            vec![],
            vec![tombstoned, empty, merged],
        );
        let kinds: Vec<Kind> = report.sections.iter().map(|section| section.kind).collect();
        assert_eq!(kinds, [Kind::Merged, Kind::Tombstoned]);
        assert_eq!((report.findings(), report.verdict().as_str()), (1, "1 finding"));
    }

    #[test]
    fn what_could_hide_is_made_visible() {
        let mut out = String::new();
        visible("a\u{1b}[2J\n\u{202e}b\u{7f}", &mut |c| out.push(c));
        assert_eq!(out, "a␛[2J␊<U+202E>b␡");
    }
}
