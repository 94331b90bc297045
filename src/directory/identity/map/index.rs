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
    /// The keys of names that are spelt otherwise in their row; the others are compared where they stand.
    keys: Vec<u8>,
    hasher: RandomState,
}

/// The names that are ambiguous, as a table of their own that is small where all is well.
pub(super) struct Doubts<'a> {
    names: &'a Names,
    table: HashTable<Slot>,
}

/// One name in twelve bytes; a table of millions is mostly a matter of how many fit into the cache.
#[derive(Clone, Copy)]
struct Slot {
    /// Where its key begins: in the rows' texts, or from [`KEYS`] on in the keys.
    at: u32,
    target: u32,
    len: u16,
    kind: Kind,
    standing: Standing,
}

/// The rows' texts end below.
const KEYS: u32 = 1 << 31;

impl Slot {
    fn put(&mut self, lead: Lead) {
        (self.kind, self.standing, self.target) = (lead.kind, lead.standing, lead.target);
    }

    fn lead(self) -> Lead {
        Lead {
            kind: self.kind,
            standing: self.standing,
            target: self.target,
        }
    }
}

fn bytes(texts: &[u8], at: u32, len: u16) -> &[u8] {
    let at = at as usize;
    texts.get(at..at + usize::from(len)).unwrap_or_default()
}

fn hash(hasher: &RandomState, key: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(key);
    hasher.finish()
}

/// The key of a slot; of both arenas, since a table cannot be borrowed while it changes.
fn key<'a>(texts: &'a str, keys: &'a [u8], slot: &Slot) -> &'a [u8] {
    match slot.at.checked_sub(KEYS) {
        Some(at) => bytes(keys, at, slot.len),
        None => bytes(texts.as_bytes(), slot.at, slot.len),
    }
}

fn is(texts: &str, keys: &[u8], slot: &Slot, wanted: &[u8]) -> bool {
    usize::from(slot.len) == wanted.len() && key(texts, keys, slot) == wanted
}

impl Names {
    /// Room for so many names.
    pub(super) fn with_capacity(names: usize) -> Self {
        Self {
            table: HashTable::with_capacity(names),
            ..Self::default()
        }
    }

    /// What the name leads to, and where its key stands, which tells it from every other name.
    pub(super) fn find(&self, texts: &str, name: &str) -> Option<(Lead, u32)> {
        let slot = self.find_in(&self.table, texts, name)?;
        Some((slot.lead(), slot.at))
    }

    fn find_in<'t>(&self, table: &'t HashTable<Slot>, texts: &str, name: &str) -> Option<&'t Slot> {
        NameKey::fold(name, |wanted| {
            table.find(hash(&self.hasher, wanted), |slot| is(texts, &self.keys, slot, wanted))
        })
    }

    /// Adds what a row says of the name that stands at `name`. Returns whether nobody said anything of it before.
    pub(super) fn claim(
        &mut self,
        texts: &str,
        name: Span,
        lead: Lead,
        same_email: impl FnOnce(u32, u32) -> bool,
    ) -> bool {
        let Self { table, keys, hasher } = self;
        NameKey::fold(name.of(texts), |wanted| {
            let entry = table.entry(
                hash(hasher, wanted),
                |slot| is(texts, keys, slot, wanted),
                |slot| hash(hasher, key(texts, keys, slot)),
            );
            match entry {
                Entry::Occupied(mut slot) => {
                    let slot = slot.get_mut();
                    slot.put(slot.lead().join(lead, same_email));
                    false
                }
                Entry::Vacant(slot) => {
                    let mut text = name;
                    if bytes(texts.as_bytes(), name.at, name.len) != wanted {
                        // Beyond the last offset a name is not found: there is room for twice what rows may hold.
                        text.at = u32::try_from(keys.len()).unwrap_or(u32::MAX).saturating_add(KEYS);
                        text.len = u16::try_from(wanted.len()).unwrap_or(u16::MAX);
                        keys.extend_from_slice(wanted);
                    }
                    slot.insert(Slot {
                        at: text.at,
                        target: lead.target,
                        len: text.len,
                        kind: lead.kind,
                        standing: lead.standing,
                    });
                    true
                }
            }
        })
    }

    /// Gives back what was reserved and not needed.
    pub(super) fn shrink(&mut self) {
        self.keys.shrink_to_fit();
    }

    /// The names that are ambiguous.
    pub(super) fn doubts(&self, texts: &str) -> Doubts<'_> {
        let hash = |slot: &Slot| hash(&self.hasher, key(texts, &self.keys, slot));
        let mut table = HashTable::new();
        for slot in self.table.iter().filter(|slot| slot.kind == Kind::Ambiguous) {
            table.insert_unique(hash(slot), *slot, hash);
        }
        Doubts { names: self, table }
    }
}

impl Doubts<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Where the key of an ambiguous name stands.
    pub(super) fn find(&self, texts: &str, name: &str) -> Option<u32> {
        self.names.find_in(&self.table, texts, name).map(|slot| slot.at)
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
    fn text<'a>(&self, texts: &'a str) -> &'a [u8] {
        bytes(texts.as_bytes(), self.at, self.len)
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
            .find(hash(&self.hasher, id), |slot| slot.text(texts) == id)
            .map(|slot| slot.entry)
    }

    /// The number of the account whose id stands at `text`; `next` if it is new.
    pub(super) fn number(&mut self, texts: &str, text: Span, next: u32) -> u32 {
        let id = bytes(texts.as_bytes(), text.at, text.len);
        let rehash = |slot: &Id| hash(&self.hasher, slot.text(texts));
        self.table
            .entry(hash(&self.hasher, id), |slot| slot.text(texts) == id, rehash)
            .or_insert(Id {
                at: text.at,
                entry: next,
                len: text.len,
            })
            .get()
            .entry
    }
}
