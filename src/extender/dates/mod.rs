//! Dates as the legacy side writes them: patterns of Java's `SimpleDateFormat`, in the semantics of Java 17 and in
//! English, whatever the machine's own language.
//!
//! It knows nothing of groups, users or HTTP: a text becomes a [`Pattern`], a zone id becomes a [`Zone`], and both
//! together write an instant. `tests/java_dates.rs` holds every word of it against a recording of Java's own answers.
//!
//! One difference is deliberate: Java writes dates before 15 October 1582 in the Julian calendar. The dates here are
//! those of user accounts, so such an instant is written in the Gregorian calendar, as every other one.

mod fields;
mod zones;

use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

pub use zones::{UnknownZone, Zone};

/// The pattern a caller gets who asks for none (contract, section 5).
pub const DEFAULT_PATTERN: &str = "yyyy-MM-dd";

/// The longest pattern taken, in characters. A pattern comes from the query string and its letters are minimum widths.
pub const MAX_PATTERN_CHARS: usize = 256;

/// The letters that stand for something; any other ASCII letter outside quotes is an error.
const LETTERS: &str = "GyYMLwWDdFEuaHkKhmsSzZX";

/// A compiled `SimpleDateFormat` pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Part>,
}

/// One piece of a pattern, in the order of writing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

/// A run of one letter, as `yyyy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    letter: char,
    count: usize,
}

/// Why a pattern was refused. `Display` is Java's own message, since it reaches the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternError {
    /// An ASCII letter that stands for nothing.
    IllegalCharacter(char),
    /// A quote was opened and never closed.
    UnterminatedQuote,
    /// More than three `X` in a row; the number of them.
    IsoZoneTooLong(usize),
    /// Longer than [`MAX_PATTERN_CHARS`]: this project's rule, Java has none.
    TooLong,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IllegalCharacter(letter) => write!(f, "Illegal pattern character '{letter}'"),
            Self::UnterminatedQuote => f.write_str("Unterminated quote"),
            Self::IsoZoneTooLong(length) => write!(f, "invalid ISO 8601 format: length={length}"),
            Self::TooLong => write!(f, "dateFormat is longer than {MAX_PATTERN_CHARS} characters"),
        }
    }
}

impl std::error::Error for PatternError {}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// What Java would say of it, or [`PatternError::TooLong`]. Of several faults the one Java meets first is named.
    pub fn compile(text: &str) -> Result<Self, PatternError> {
        if text.chars().nth(MAX_PATTERN_CHARS).is_some() {
            return Err(PatternError::TooLong);
        }
        let mut compiler = Compiler::default();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\'' if chars.next_if_eq(&'\'').is_some() => compiler.literal('\'')?,
                '\'' => compiler.quoted(&mut chars)?,
                c if c.is_ascii_alphabetic() => compiler.letter(c)?,
                c => compiler.literal(c)?,
            }
        }
        compiler.finish()
    }

    /// Writes the instant `epoch_ms` (milliseconds since 1970 UTC) as it is called in `zone`. An instant outside the
    /// years -9999 to 9999 is written as the nearest one inside them.
    pub fn format(&self, epoch_ms: i64, zone: &Zone) -> String {
        let mut out = String::with_capacity(32);
        self.write(&mut out, &zone.moment(epoch_ms), zone);
        out
    }

    fn write(&self, out: &mut String, moment: &zones::Moment, zone: &Zone) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field(field) => fields::write(out, *field, moment, zone),
            }
        }
    }
}

impl Default for Pattern {
    /// [`DEFAULT_PATTERN`], compiled.
    fn default() -> Self {
        let field = |letter, count| Part::Field(Field { letter, count });
        let dash = || Part::Text("-".to_owned());
        Self {
            parts: vec![field('y', 4), dash(), field('M', 2), dash(), field('d', 2)],
        }
    }
}

/// Writes a `…DateString` value: the instant in `pattern`, a space, and the time of day as `HH:mm:ss`. Milliseconds are
/// cut off, not rounded.
// Quirk: docs/compatibility.md, "Dates": the time of day follows whatever the pattern is, even one that has a time.
pub fn date_string(pattern: &Pattern, epoch_ms: i64, zone: &Zone) -> String {
    let moment = zone.moment(epoch_ms);
    let mut out = String::with_capacity(32);
    pattern.write(&mut out, &moment, zone);
    fields::write_time_of_day(&mut out, &moment);
    out
}

/// The pieces met so far and the run of one letter that is still growing.
///
/// A run is checked when it ends, a letter when it is met, because Java does so: `XXXXT` is an illegal `T`, while
/// `XXXX'` is a wrong length and not an open quote.
#[derive(Default)]
struct Compiler {
    parts: Vec<Part>,
    run: Option<Field>,
}

impl Compiler {
    fn letter(&mut self, letter: char) -> Result<(), PatternError> {
        if !LETTERS.contains(letter) {
            return Err(PatternError::IllegalCharacter(letter));
        }
        match &mut self.run {
            Some(run) if run.letter == letter => run.count += 1,
            _ => {
                self.end_run()?;
                self.run = Some(Field { letter, count: 1 });
            }
        }
        Ok(())
    }

    fn literal(&mut self, c: char) -> Result<(), PatternError> {
        self.end_run()?;
        match self.parts.last_mut() {
            Some(Part::Text(text)) => text.push(c),
            _ => self.parts.push(Part::Text(c.to_string())),
        }
        Ok(())
    }

    /// Takes everything up to the closing quote; a doubled quote inside stands for one quote.
    fn quoted(&mut self, chars: &mut Peekable<Chars<'_>>) -> Result<(), PatternError> {
        self.end_run()?;
        while let Some(c) = chars.next() {
            if c == '\'' && chars.next_if_eq(&'\'').is_none() {
                return Ok(());
            }
            self.literal(c)?;
        }
        Err(PatternError::UnterminatedQuote)
    }

    fn end_run(&mut self) -> Result<(), PatternError> {
        match self.run.take() {
            Some(Field { letter: 'X', count }) if count > 3 => Err(PatternError::IsoZoneTooLong(count)),
            Some(run) => {
                self.parts.push(Part::Field(run));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn finish(mut self) -> Result<Pattern, PatternError> {
        self.end_run()?;
        Ok(Pattern { parts: self.parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn zone(id: &str) -> Zone {
        Zone::named(id).unwrap()
    }

    #[test]
    fn the_known_pairs_of_the_contract_come_out() {
        let plain = Pattern::compile(DEFAULT_PATTERN).unwrap();
        assert_eq!(
            date_string(&plain, 1_590_302_967_994, &zone("Europe/Warsaw")),
            "2020-05-24 08:49:27"
        );
        assert_eq!(
            date_string(&plain, 1_727_280_841_377, &zone("Europe/Warsaw")),
            "2024-09-25 18:14:01"
        );
        assert_eq!(
            date_string(&plain, 1_654_605_520_699, &Zone::utc()),
            "2022-06-07 12:38:40"
        );
    }

    #[test]
    fn the_vendors_patterns_come_out() {
        let of = |pattern: &str| date_string(&Pattern::compile(pattern).unwrap(), 1_654_605_520_699, &Zone::utc());
        assert_eq!(of("MM/dd/yyyy"), "06/07/2022 12:38:40");
        assert_eq!(of("dd.MM.yyyy"), "07.06.2022 12:38:40");
        assert_eq!(of(""), " 12:38:40");
    }

    #[test]
    fn the_default_pattern_is_the_one_written_down() {
        assert_eq!(Pattern::compile(DEFAULT_PATTERN).unwrap(), Pattern::default());
    }

    #[test]
    fn faults_are_told_in_javas_words_and_order() {
        let told = |pattern: &str| Pattern::compile(pattern).unwrap_err().to_string();
        assert_eq!(told("yyyy-MM-ddTHH"), "Illegal pattern character 'T'");
        assert_eq!(told("yyyy 'year"), "Unterminated quote");
        assert_eq!(told("XXXX"), "invalid ISO 8601 format: length=4");
        assert_eq!(told("XXXXT"), "Illegal pattern character 'T'");
        assert_eq!(told("XXXX'"), "invalid ISO 8601 format: length=4");
        assert_eq!(told("'XXXXT"), "Unterminated quote");
    }

    #[test]
    fn a_pattern_has_at_most_256_characters_not_bytes() {
        assert!(Pattern::compile(&"é".repeat(256)).is_ok());
        let told = Pattern::compile(&"é".repeat(257)).unwrap_err().to_string();
        assert_eq!(told, "dateFormat is longer than 256 characters");
    }

    #[test]
    fn the_longest_run_is_padded_to_its_length() {
        let text = Pattern::compile(&"y".repeat(256)).unwrap().format(0, &Zone::utc());
        assert_eq!(text.len(), 256);
        assert!(text.ends_with("01970"));
    }

    #[test]
    fn instants_no_calendar_holds_are_written_as_the_nearest() {
        let all = Pattern::compile("G yyyy-MM-dd'T'HH:mm:ss.SSS Y w W D F E u a k K h z zzzz Z XXX").unwrap();
        for id in ["UTC", "Pacific/Kiritimati", "America/Adak", "GMT-23:59"] {
            assert!(all.format(i64::MAX, &zone(id)).starts_with("AD 9999-12-"));
            assert!(all.format(i64::MIN, &zone(id)).starts_with("BC 1"));
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_compiling_and_no_instant_breaks_writing(
            text in "\\PC{0,40}",
            letters in "[GyYMLwWDdFEuaHkKhmsSzZX' :]{0,40}",
            epoch_ms in any::<i64>(),
            near in -62_135_596_800_000_i64..253_402_300_800_000,
            id in prop::sample::select(vec!["UTC", "Europe/Dublin", "Africa/Monrovia", "GMT+14", "Asia/Kathmandu"]),
        ) {
            let zone = zone(id);
            for pattern in [text, letters] {
                if let Ok(pattern) = Pattern::compile(&pattern) {
                    pattern.format(epoch_ms, &zone);
                    date_string(&pattern, near, &zone);
                }
            }
        }

        #[test]
        fn what_is_quoted_is_written_as_it_stands(text in "\\PC{0,40}") {
            let quoted = format!("'{}'", text.replace('\'', "''"));
            let pattern = Pattern::compile(&quoted).unwrap();
            // Quotes and nothing else are read in pairs from the first: one more of them comes out, as in Java.
            let quotes_alone = text.chars().all(|c| c == '\'');
            let expected = if quotes_alone { format!("{text}'") } else { text };
            prop_assert_eq!(pattern.format(0, &Zone::utc()), expected);
        }
    }
}
