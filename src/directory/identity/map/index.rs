//! Names and account ids to numbers: open tables of a few bytes an entry over texts that stand in the rows' arena.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::rows::Span;
use crate::model::{NameKey, Standing};

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The account of this number.
    Account,
    /// The same, and one of its own rows gives the name as its e-mail address.
    AccountsEmail,
    /// No account, but the e-mail address of the row of this number.
    Email,
    /// Neither account nor e-mail address.
    Nothing,
    /// Several of these.
    Ambiguous,
}

/// What one row says of a name, and what all of them together do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lead {
    pub(super) kind: Kind,
    pub(super) standing: Standing,
    /// An account or a row, as `kind` says.
    pub(super) target: u32,
}

impl Lead {
    pub(super) const AMBIGUOUS: Self = Self {
        kind: Kind::Ambiguous,
        standing: Standing::Active,
        target: 0,
    };

    /// What both together say. Nothing yields to anything; the same target keeps the more alive standing; all else is
    /// ambiguous. The order does not matter, so neither does the order of the rows.
    fn join(self, other: Self, same_email: impl FnOnce(u32, u32) -> bool) -> Self {
        use Kind::{Account, AccountsEmail, Ambiguous, Email, Nothing};
        let agree = match (self.kind, other.kind) {
            (Ambiguous, _) | (_, Ambiguous) => false,
            (Nothing, Nothing) => true,
            (Nothing, _) => return other,
            (_, Nothing) => return self,
            (Account | AccountsEmail, Account | AccountsEmail) => self.target == other.target,
            (Email, Email) => same_email(self.target, other.target),
            _ => false,
        };
        if !agree {
            return Self::AMBIGUOUS;
        }
        Self {
            kind: if other.kind == AccountsEmail {
                AccountsEmail
            } else {
                self.kind
            },
            standing: self.standing.min(other.standing),
            target: self.target.min(other.target),
        }
    }
}

/// Every distinct name.
#[derive(Default)]
pub(super) struct Names {
    table: HashTable<Slot>,
    hasher: RandomState,
}

/// One name in twelve bytes; a table of millions is mostly a matter of how many fit into the cache.
#[derive(Clone, Copy)]
struct Slot {
    at: u32,
    target: u32,
    len: u16,
    kind: Kind,
    standing: Standing,
}

impl Slot {
    fn new(text: Span, lead: Lead) -> Self {
        Self {
            at: text.at,
            target: lead.target,
            len: text.len,
            kind: lead.kind,
            standing: lead.standing,
        }
    }

    /// A spelling of the name: ASCII as it stands in a row, or its key.
    fn text(self) -> Span {
        Span {
            at: self.at,
            len: self.len,
        }
    }

    fn lead(self) -> Lead {
        Lead {
            kind: self.kind,
            standing: self.standing,
            target: self.target,
        }
    }

    /// Whether this is the name with this key. What stands in the arena is a key already if it is not ASCII.
    fn is(self, texts: &str, key: &[u8]) -> bool {
        usize::from(self.len) == key.len()
            && bytes(texts, self.text()).is_some_and(|text| text.eq_ignore_ascii_case(key))
    }
}

fn bytes(texts: &str, span: Span) -> Option<&[u8]> {
    let at = span.at as usize;
    texts.as_bytes().get(at..at + usize::from(span.len))
}

fn hash(hasher: &RandomState, key: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(key);
    hasher.finish()
}

impl Names {
    /// Room for so many names.
    pub(super) fn with_capacity(names: usize) -> Self {
        Self {
            table: HashTable::with_capacity(names),
            hasher: RandomState::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// What the name leads to, and where its text stands, which tells it from every other name.
    pub(super) fn find(&self, texts: &str, name: &str) -> Option<(Lead, u32)> {
        NameKey::fold(name, |key| {
            self.table
                .find(hash(&self.hasher, key), |slot| slot.is(texts, key))
                .map(|slot| (slot.lead(), slot.at))
        })
    }

    /// Adds what a row says of the name that stands at `name`. Returns whether nobody said anything of it before.
    pub(super) fn claim(
        &mut self,
        texts: &mut String,
        name: Span,
        lead: Lead,
        same_email: impl FnOnce(&str, u32, u32) -> bool,
    ) -> bool {
        let text = name.of(texts);
        if text.is_ascii() {
            return NameKey::fold(text, |key| self.enter(texts, key, name, lead, same_email));
        }
        let key = NameKey::of(text);
        let folded = Span {
            at: u32::try_from(texts.len()).unwrap_or(u32::MAX),
            len: u16::try_from(key.as_str().len()).unwrap_or(u16::MAX),
        };
        let first = self.enter(texts, key.as_str().as_bytes(), folded, lead, same_email);
        if first {
            texts.push_str(key.as_str());
        }
        first
    }

    fn enter(
        &mut self,
        texts: &str,
        key: &[u8],
        text: Span,
        lead: Lead,
        same_email: impl FnOnce(&str, u32, u32) -> bool,
    ) -> bool {
        let rehash = |slot: &Slot| NameKey::fold(slot.text().of(texts), |key| hash(&self.hasher, key));
        match self
            .table
            .entry(hash(&self.hasher, key), |slot| slot.is(texts, key), rehash)
        {
            Entry::Occupied(mut slot) => {
                let slot = slot.get_mut();
                let lead = slot.lead().join(lead, |one, other| same_email(texts, one, other));
                *slot = Slot::new(slot.text(), lead);
                false
            }
            Entry::Vacant(slot) => {
                slot.insert(Slot::new(text, lead));
                true
            }
        }
    }

    /// The names that are ambiguous, as a table of their own that is small where all is well.
    pub(super) fn ambiguous(&self, texts: &str) -> Self {
        let mut some = Self::default();
        for slot in self.table.iter().filter(|slot| slot.kind == Kind::Ambiguous) {
            let rehash = |slot: &Slot| NameKey::fold(slot.text().of(texts), |key| hash(&some.hasher, key));
            let hash = rehash(slot);
            some.table.insert_unique(hash, *slot, rehash);
        }
        some
    }
}

/// Account ids to numbers.
#[derive(Default)]
pub(super) struct Ids {
    table: HashTable<Id>,
    hasher: RandomState,
}

#[derive(Clone, Copy)]
struct Id {
    at: u32,
    entry: u32,
    len: u16,
}

impl Id {
    fn text(self) -> Span {
        Span {
            at: self.at,
            len: self.len,
        }
    }
}

impl Ids {
    /// Room for so many accounts.
    pub(super) fn with_capacity(accounts: usize) -> Self {
        Self {
            table: HashTable::with_capacity(accounts),
            hasher: RandomState::default(),
        }
    }

    pub(super) fn find(&self, texts: &str, id: &str) -> Option<u32> {
        let id = id.as_bytes();
        self.table
            .find(hash(&self.hasher, id), |slot| bytes(texts, slot.text()) == Some(id))
            .map(|slot| slot.entry)
    }

    /// The number of the account whose id stands at `text`; `next` if it is new.
    pub(super) fn number(&mut self, texts: &str, text: Span, next: u32) -> u32 {
        let id = bytes(texts, text).unwrap_or_default();
        let rehash = |slot: &Id| hash(&self.hasher, bytes(texts, slot.text()).unwrap_or_default());
        self.table
            .entry(
                hash(&self.hasher, id),
                |slot| bytes(texts, slot.text()) == Some(id),
                rehash,
            )
            .or_insert(Id {
                at: text.at,
                entry: next,
                len: text.len,
            })
            .get()
            .entry
    }
}
