//! Local accounts and tokens: who may call, read from one TOML file.
//!
//! A legacy script sends Basic credentials with every request, and a password hash is slow on purpose. So what was
//! verified is remembered for a few minutes, what was not is verified under limits ([`Limits`]), and a bearer token,
//! being long and random, needs no slow hash at all. This module knows nothing of HTTP: headers and status codes are
//! its caller's.

mod book;
mod file;
mod gate;
mod hash;
#[cfg(test)]
mod tests;
mod told;

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use unicode_normalization::UnicodeNormalization as _;

use book::Book;
use gate::Gate;

use super::scope::Scope;
use crate::model::Rights;

pub use gate::Limits;
pub use hash::{HashingFailed, MAX_PASSWORD_BYTES, NewToken, hash_password, new_token};
pub use told::{Faults, Warning};

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// May list groups and members.
    Reader,
    /// May change them too.
    Administrator,
}

impl Role {
    /// The word for it in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Administrator => "administrator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The word is no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is \"reader\" or \"administrator\"")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        match text {
            "reader" => Ok(Self::Reader),
            "administrator" => Ok(Self::Administrator),
            _ => Err(UnknownRole),
        }
    }
}

/// A caller whose credential was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The account's or token's name, as the file spells it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// What it may do, or has to, beyond that.
    pub rights: Rights,
    /// What of the API it is for.
    pub scope: Arc<Scope>,
}

/// An entry of the file, valid or not.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) has_expired: bool,
}

/// Why a credential was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The account does not exist or its password is another; which of the two is not told.
    #[error("wrong name or password")]
    WrongPassword,
    /// Too many failures of this account, or of all together, from this address. Nothing was verified.
    #[error("too many failed attempts from this address")]
    LockedOut,
    /// No such token, or it has expired.
    #[error("unknown or expired token")]
    UnknownToken,
    /// Too many verifications are waiting already.
    #[error("too many verifications are waiting")]
    Busy {
        /// When trying again makes sense.
        retry_after: Duration,
    },
}

/// The accounts of one file, with what this process remembers of their use. Cheap to clone; clones share the memory, and
/// a file that is read anew. Who was verified before is judged by the file of now.
#[derive(Clone)]
pub struct Accounts {
    book: Arc<ArcSwap<Book>>,
    gate: Arc<Gate>,
    /// How often the file has been read anew.
    readings: Arc<AtomicU64>,
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (accounts, tokens) = self.counts();
        f.debug_struct("Accounts")
            .field("accounts", &accounts)
            .field("tokens", &tokens)
            .finish_non_exhaustive()
    }
}

impl Accounts {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Every fault of the file at once, or the one that it cannot be read.
    pub fn load(path: &Path) -> Result<(Self, Vec<Warning>), Faults> {
        let (book, warnings) = file::load(path)?;
        Ok((Self::new(book, &Limits::default()), warnings))
    }

    /// Checks the text of a file.
    ///
    /// # Errors
    /// Every fault of the text at once.
    pub fn parse(text: &str) -> Result<Self, Faults> {
        Ok(Self::new(file::parse(text)?, &Limits::default()))
    }

    /// The same accounts under other limits, with an empty memory.
    #[must_use]
    pub fn with_limits(self, limits: &Limits) -> Self {
        Self {
            gate: Arc::new(Gate::new(limits)),
            ..self
        }
    }

    fn new(book: Book, limits: &Limits) -> Self {
        Self {
            book: Arc::new(ArcSwap::from_pointee(book)),
            gate: Arc::new(Gate::new(limits)),
            readings: Arc::default(),
        }
    }

    /// Reads and checks a file that takes the place of the one before, for all clones. What a faulty one says changes
    /// nothing.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn reload(&self, path: &Path) -> Result<Vec<Warning>, Faults> {
        let (book, warnings) = file::load(path)?;
        self.book.store(Arc::new(book));
        self.readings.fetch_add(1, Ordering::AcqRel);
        Ok(warnings)
    }

    /// How often the file has been read anew: as long as this does not change, who was verified is judged the same, until an
    /// entry ends.
    #[must_use]
    pub fn readings(&self) -> u64 {
        self.readings.load(Ordering::Acquire)
    }

    /// Whether an entry ends, or has ended, within `span` of `from`, which is past.
    #[must_use]
    pub fn end_within(&self, from: Instant, span: Duration) -> bool {
        let from = Timestamp::now().checked_sub(from.elapsed());
        let later = from.clone().and_then(|from| from.checked_add(span));
        self.book
            .load()
            .ends_between(from.unwrap_or(Timestamp::MIN), later.unwrap_or(Timestamp::MAX))
    }

    /// Verifies a name and password sent from `peer`, the client's own address and not a proxy's. The name's case does
    /// not matter.
    ///
    /// # Errors
    /// [`Refused`], except `UnknownToken`.
    pub async fn basic(&self, name: &str, password: &str, peer: IpAddr) -> Result<Verified, Refused> {
        // Checked before anything is computed: no account can have such a password (the command that makes entries
        // refuses it too), and the time a hash takes must not be the client's to choose.
        let book = self.book.load_full();
        if password.len() > MAX_PASSWORD_BYTES || name.len() > MAX_NAME_BYTES || book.has_no_accounts() {
            return Err(Refused::WrongPassword);
        }
        Gate::verify(&self.gate, &book, &fold(name), password, peer).await
    }

    /// Looks a bearer token up. Its expiry is judged now.
    ///
    /// # Errors
    /// [`Refused::UnknownToken`] only.
    pub fn bearer(&self, token: &str) -> Result<Verified, Refused> {
        self.bearer_at(token, Timestamp::now())
    }

    fn bearer_at(&self, token: &str, now: Timestamp) -> Result<Verified, Refused> {
        let book = self.book.load();
        book.token(&hash::sha256(token), now).ok_or(Refused::UnknownToken)
    }

    /// The account of this name as it stands in the file, unless it has expired, without its password being asked for: for
    /// work that was begun under it. The name's case does not matter.
    #[must_use]
    pub fn account(&self, name: &str) -> Option<Verified> {
        let book = self.book.load();
        book.account(&fold(name), Timestamp::now())
            .map(|(verified, _)| verified)
    }

    /// The same of the token of this name.
    #[must_use]
    pub fn token(&self, name: &str) -> Option<Verified> {
        self.book.load().token_named(&fold(name), Timestamp::now())
    }

    /// The account of this name, whether it has expired or not: for whoever wants to know why it was refused.
    pub(super) fn entry_named(&self, name: &str) -> Option<Entry> {
        self.book.load().entry_named(&fold(name), Timestamp::now())
    }

    /// The same of the entry of this token.
    pub(super) fn entry_of(&self, token: &str) -> Option<Entry> {
        self.book.load().entry_of(&hash::sha256(token), Timestamp::now())
    }

    /// How many accounts and tokens there are.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        self.book.load().counts()
    }

    /// How many password hashes this value has computed since it was made.
    pub fn hash_runs(&self) -> u64 {
        self.gate.hash_runs()
    }
}

/// The longest account name that is looked at, in bytes.
const MAX_NAME_BYTES: usize = 1024;

/// The form under which account names are compared (contract, section 3).
pub(super) fn fold(name: &str) -> String {
    name.nfc().collect::<String>().to_lowercase()
}
