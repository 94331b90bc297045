//! Names and account ids to numbers: open tables of a few bytes an entry over texts that stand in the rows' arena.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::fold::{folded, hash, same};
use super::rows::{Field, Span};
use crate::model::Standing;

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

/// Every distinct name, in tables that each fit into the cache while they are filled.
#[derive(Default)]
pub(super) struct Names {
    tables: Vec<HashTable<Slot>>,
    /// The keys of names beyond ASCII that are spelt otherwise in their row. All others are compared where they stand:
    /// a copy of them would be one more place in memory to wait for at each look-up.
    keys: Vec<u8>,
    hasher: RandomState,
}

/// The names that are ambiguous, as a table of their own that is small where all is well.
pub(super) struct Doubts<'a> {
    names: &'a Names,
    table: HashTable<Slot>,
}

/// How many tables there are. Which one is told by bits of the hash that a table does not look at.
const TABLES: usize = 64;

/// Names from which on it pays to start threads. Tests start them for one.
const WORTH_THREADS: usize = if cfg!(test) { 1 } else { 10_000 };

fn table_of(hash: u64) -> usize {
    (hash >> 48) as usize % TABLES
}

/// What rows say of names, sorted by the table that will have it; in the order of the rows.
pub(super) struct Said(Vec<Vec<Word>>);

/// What one row says of one name.
#[derive(Clone, Copy)]
struct Word {
    hash: u64,
    slot: Slot,
    row: u32,
    field: Field,
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

/// The key of a slot, but for the case of its ASCII letters; of both arenas, since a table cannot be borrowed while it
/// changes.
fn key<'a>(texts: &'a str, keys: &'a [u8], slot: &Slot) -> &'a [u8] {
    match slot.at.checked_sub(KEYS) {
        Some(at) => bytes(keys, at, slot.len),
        None => bytes(texts.as_bytes(), slot.at, slot.len),
    }
}

fn is(texts: &str, keys: &[u8], slot: &Slot, wanted: &[u8]) -> bool {
    same(key(texts, keys, slot), wanted)
}

impl Names {
    /// No name yet.
    pub(super) fn new() -> Self {
        Self {
            tables: (0..TABLES).map(|_| HashTable::new()).collect(),
            ..Self::default()
        }
    }

    /// What the name leads to, and where its key stands, which tells it from every other name.
    pub(super) fn find(&self, texts: &str, name: &str) -> Option<(Lead, u32)> {
        let wanted = folded(name);
        let hash = hash(&self.hasher, &wanted);
        let slot = self
            .tables
            .get(table_of(hash))?
            .find(hash, |slot| is(texts, &self.keys, slot, &wanted))?;
        Some((slot.lead(), slot.at))
    }

    /// Notes what row `row` says of the name that stands at `name`, for [`Self::enter`].
    pub(super) fn note(&mut self, texts: &str, name: Span, lead: Lead, row: u32, field: Field, said: &mut Said) {
        let Self { keys, hasher, .. } = self;
        let wanted = folded(name.of(texts));
        let mut text = name;
        if bytes(texts.as_bytes(), name.at, name.len) != &*wanted {
            // Beyond the last offset a name is not found: there is room for twice what rows may hold.
            text.at = u32::try_from(keys.len()).unwrap_or(u32::MAX).saturating_add(KEYS);
            text.len = u16::try_from(wanted.len()).unwrap_or(u16::MAX);
            keys.extend_from_slice(&wanted);
        }
        let hash = hash(hasher, &wanted);
        let slot = Slot {
            at: text.at,
            target: lead.target,
            len: text.len,
            kind: lead.kind,
            standing: lead.standing,
        };
        if let Some(words) = said.0.get_mut(table_of(hash)) {
            words.push(Word { hash, slot, row, field });
        }
    }

    /// Enters what was noted, table by table, on as many threads as there are processors. Returns whose names others
    /// had said something of before.
    pub(super) fn enter(
        &mut self,
        texts: &str,
        said: Said,
        same_email: impl Fn(u32, u32) -> bool + Sync,
    ) -> Vec<(u32, Field)> {
        let Self { tables, keys, hasher } = self;
        let (keys, hasher, same_email) = (&*keys, &*hasher, &same_email);
        let mut said = said.0;
        let enter = |tables: &mut [HashTable<Slot>], said: &mut [Vec<Word>]| {
            let mut repeated = Vec::new();
            for (table, words) in tables.iter_mut().zip(said) {
                // Let go of as soon as it is entered.
                let words = std::mem::take(words);
                fill(table, &words, texts, keys, hasher, same_email, &mut repeated);
            }
            repeated
        };
        if said.iter().map(Vec::len).sum::<usize>() < WORTH_THREADS {
            return enter(tables, &mut said);
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
        let share = TABLES.div_ceil(threads);
        std::thread::scope(|scope| {
            let work: Vec<_> = tables
                .chunks_mut(share)
                .zip(said.chunks_mut(share))
                .map(|(tables, said)| scope.spawn(move || enter(tables, said)))
                .collect();
            let joined = work.into_iter().map(|thread| thread.join());
            joined
                .flat_map(|repeated| repeated.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
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
        let slots = self.tables.iter().flat_map(HashTable::iter);
        for slot in slots.filter(|slot| slot.kind == Kind::Ambiguous) {
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
        let Names { keys, hasher, .. } = self.names;
        let wanted = folded(name);
        let found = self
            .table
            .find(hash(hasher, &wanted), |slot| is(texts, keys, slot, &wanted));
        found.map(|slot| slot.at)
    }
}

impl Said {
    /// Room for so many words.
    pub(super) fn with_capacity(words: usize) -> Self {
        Self(
            (0..TABLES)
                .map(|_| Vec::with_capacity(words / TABLES + words / TABLES / 8))
                .collect(),
        )
    }
}

/// Enters the words of one table.
fn fill(
    table: &mut HashTable<Slot>,
    words: &[Word],
    texts: &str,
    keys: &[u8],
    hasher: &RandomState,
    same_email: &impl Fn(u32, u32) -> bool,
    repeated: &mut Vec<(u32, Field)>,
) {
    let rehash = |slot: &Slot| hash(hasher, key(texts, keys, slot));
    table.reserve(words.len(), rehash);
    for word in words {
        let is_same = |slot: &Slot| is(texts, keys, slot, key(texts, keys, &word.slot));
        match table.entry(word.hash, is_same, rehash) {
            Entry::Occupied(mut slot) => {
                let slot = slot.get_mut();
                slot.put(slot.lead().join(word.slot.lead(), same_email));
                repeated.push((word.row, word.field));
            }
            Entry::Vacant(slot) => _ = slot.insert(word.slot),
        }
    }
    table.shrink_to_fit(rehash);
}

/// Ids are compared letter by letter.
fn exact(hasher: &RandomState, id: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(id);
    hasher.finish()
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
            .find(exact(&self.hasher, id), |slot| slot.text(texts) == id)
            .map(|slot| slot.entry)
    }

    /// The number of the account whose id stands at `text`; `next` if it is new.
    pub(super) fn number(&mut self, texts: &str, text: Span, next: u32) -> u32 {
        let id = bytes(texts.as_bytes(), text.at, text.len);
        let rehash = |slot: &Id| exact(&self.hasher, slot.text(texts));
        self.table
            .entry(exact(&self.hasher, id), |slot| slot.text(texts) == id, rehash)
            .or_insert(Id {
                at: text.at,
                entry: next,
                len: text.len,
            })
            .get()
            .entry
    }
}
