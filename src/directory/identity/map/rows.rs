//! The map's rows as they stood in the file: all texts in one string, a record of 32 bytes a row beside it.

use crate::model::Standing;

/// No row, or no account.
pub(super) const NONE: u32 = u32::MAX;

/// A date that is not given.
const NO_DATE: i64 = i64::MIN;

/// The texts of a row that are kept, in the order in which they stand in the arena. The first four are names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Username,
    Key,
    Email,
    OldEmail,
    Account,
    FullName,
}

impl Field {
    pub(super) const COUNT: usize = 6;
    /// The fields that are names, under which an account is found.
    pub(super) const NAMES: [Self; 4] = [Self::Username, Self::Key, Self::Email, Self::OldEmail];
}

/// What is known of a row besides its texts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bits(u16);

impl Bits {
    /// The row says that its username is the one to show.
    pub(super) const PRIMARY: u16 = 1 << 2;
    /// The row has no account id of its own; its e-mail address led to an account.
    pub(super) const LINKED: u16 = 1 << 3;
    /// The row has no account id, and its e-mail address stands for several accounts.
    pub(super) const CONFLICT: u16 = 1 << 4;
    /// Another row of the same account stands for this username already.
    pub(super) const REPEATS: u16 = 1 << 5;
    /// The name in this column is ambiguous: one bit a column.
    const AMBIGUOUS: u16 = 1 << 8;
    /// The name in this column is spelt so first: one bit a column.
    const FIRST: u16 = 1 << 12;

    pub(super) fn new(standing: Standing, primary: bool) -> Self {
        let standing = match standing {
            Standing::Active => 0,
            Standing::Deactivated => 1,
            Standing::Tombstoned => 2,
            Standing::App => 3,
        };
        Self(standing | if primary { Self::PRIMARY } else { 0 })
    }

    pub(super) fn standing(self) -> Standing {
        match self.0 & 3 {
            0 => Standing::Active,
            1 => Standing::Deactivated,
            2 => Standing::Tombstoned,
            _ => Standing::App,
        }
    }

    pub(super) fn has(self, bit: u16) -> bool {
        self.0 & bit != 0
    }

    pub(super) fn set(&mut self, bit: u16) {
        self.0 |= bit;
    }

    pub(super) fn clear(&mut self, bit: u16) {
        self.0 &= !bit;
    }

    pub(super) fn ambiguous(name: Field) -> u16 {
        Self::AMBIGUOUS << name as u16
    }

    pub(super) fn first(name: Field) -> u16 {
        Self::FIRST << name as u16
    }
}

/// A piece of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) at: u32,
    pub(super) len: u16,
}

impl Span {
    /// The text. A span is only made of what stands in the arena, so it is never missing.
    pub(super) fn of(self, texts: &str) -> &str {
        let at = self.at as usize;
        texts.get(at..at + usize::from(self.len)).unwrap_or_default()
    }
}

/// One row. Its texts stand in the arena without a gap, so their lengths are enough.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    at: u32,
    lengths: [u16; Field::COUNT],
    /// Where it stood in the file.
    pub(super) line: u32,
    /// The account it belongs to, by number.
    pub(super) entry: u32,
    /// The account's next row.
    pub(super) next: u32,
    pub(super) bits: Bits,
}

impl Row {
    pub(super) fn span(&self, field: Field) -> Span {
        let before: u32 = self
            .lengths
            .iter()
            .take(field as usize)
            .map(|len| u32::from(*len))
            .sum();
        Span {
            at: self.at + before,
            len: self.lengths.get(field as usize).copied().unwrap_or_default(),
        }
    }

    pub(super) fn has(&self, field: Field) -> bool {
        self.span(field).len > 0
    }
}

/// All rows, in the order of the file.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) texts: String,
    pub(super) rows: Vec<Row>,
    /// Created and updated, a pair a row; empty if no row has either.
    dates: Vec<[i64; 2]>,
    /// Names that are not empty.
    pub(super) names: usize,
    /// Rows with an account id.
    pub(super) linked: usize,
}

impl Rows {
    /// The most bytes of one text. The longest that Data Center allows is 255 letters.
    pub(super) const MOST_BYTES: usize = 8192;
    /// The most bytes of all texts together: folded spellings need room behind them, and offsets have 32 bits.
    pub(super) const MOST_TEXT: usize = 1 << 30;

    /// Room for the texts of a file of so many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        let mut rows = Self::default();
        rows.texts.reserve(bytes.min(Self::MOST_TEXT));
        rows
    }

    /// Appends a row, unless the arena is full. No text is longer than [`Self::MOST_BYTES`].
    pub(super) fn push(&mut self, texts: [&str; Field::COUNT], dates: [Option<i64>; 2], line: u64, bits: Bits) -> bool {
        let (true, Ok(at)) = (self.texts.len() <= Self::MOST_TEXT, u32::try_from(self.texts.len())) else {
            return false;
        };
        if dates != [None, None] {
            self.dates.resize(self.rows.len(), [NO_DATE; 2]);
            self.dates.push(dates.map(|date| date.unwrap_or(NO_DATE)));
        }
        let lengths = texts.map(|text| {
            self.texts.push_str(text);
            u16::try_from(text.len()).unwrap_or_default()
        });
        self.names += lengths.iter().take(Field::NAMES.len()).filter(|len| **len > 0).count();
        self.linked += usize::from(texts.get(Field::Account as usize).is_some_and(|id| !id.is_empty()));
        self.rows.push(Row {
            at,
            lengths,
            line: u32::try_from(line).unwrap_or(u32::MAX),
            entry: NONE,
            next: NONE,
            bits,
        });
        true
    }

    /// Gives back what was reserved and not needed.
    pub(super) fn shrink(&mut self) {
        self.texts.shrink_to_fit();
        self.rows.shrink_to_fit();
        self.dates.shrink_to_fit();
    }

    pub(super) fn get(&self, row: u32) -> Option<&Row> {
        self.rows.get(row as usize)
    }

    /// The text, if it is not empty.
    pub(super) fn text(&self, row: &Row, field: Field) -> Option<&str> {
        let span = row.span(field);
        (span.len > 0).then(|| span.of(&self.texts))
    }

    /// Created or updated, by number.
    pub(super) fn date(&self, row: u32, which: usize) -> Option<i64> {
        self.dates
            .get(row as usize)?
            .get(which)
            .copied()
            .filter(|date| *date != NO_DATE)
    }

    /// The rows of one account in the order of the file, from the first on.
    pub(super) fn chain(&self, first: u32) -> impl Iterator<Item = (u32, &Row)> {
        std::iter::successors(self.get(first).map(|row| (first, row)), |(_, row)| {
            self.get(row.next).map(|next| (row.next, next))
        })
    }
}
