//! The accounts and tokens of a file that was found good.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use subtle::ConstantTimeEq as _;

use super::hash::{Cost, HashingFailed, StoredHash};
use super::{Entry, Verified, fold};

/// What a file holds.
pub(super) struct Book {
    /// By the name as it is compared.
    accounts: HashMap<String, Account>,
    /// By the digest of the secret. Looking one up takes no secret-dependent time worth knowing: to steer it, a caller
    /// would have to know secrets of a chosen SHA-256.
    tokens: HashMap<[u8; 32], Token>,
    /// What unknown names are verified against.
    decoy: Arc<StoredHash>,
    /// When entries become void, in order.
    ends: Vec<Timestamp>,
}

struct Account {
    verified: Verified,
    hash: Arc<StoredHash>,
    expires: Expiry,
}

struct Token {
    verified: Verified,
    expires: Expiry,
}

/// The first instant at which an entry is void, if there is one.
#[derive(Clone, Copy)]
pub(super) struct Expiry(pub(super) Option<Timestamp>);

impl Expiry {
    fn is_valid(self, now: Timestamp) -> bool {
        self.0.is_none_or(|expires| now < expires)
    }
}

/// An account as it stands in the file.
pub(super) struct AccountEntry {
    pub(super) verified: Verified,
    pub(super) hash: StoredHash,
    pub(super) expires: Expiry,
}

/// A token as it stands in the file.
pub(super) struct TokenEntry {
    pub(super) verified: Verified,
    pub(super) sha256: [u8; 32],
    pub(super) expires: Expiry,
}

impl Book {
    /// Names and digests must be unique already.
    pub(super) fn new(accounts: Vec<AccountEntry>, tokens: Vec<TokenEntry>) -> Result<Self, HashingFailed> {
        let costs: Vec<Cost> = accounts.iter().map(|account| account.hash.cost()).collect();
        let decoy = Arc::new(StoredHash::decoy(most_common(&costs)).ok_or(HashingFailed)?);
        let ends = accounts.iter().map(|entry| entry.expires);
        let ends = ends.chain(tokens.iter().map(|entry| entry.expires));
        let mut ends: Vec<Timestamp> = ends.filter_map(|expiry| expiry.0).collect();
        ends.sort_unstable();
        let accounts = accounts.into_iter().map(|entry| {
            let account = Account {
                hash: Arc::new(entry.hash),
                expires: entry.expires,
                verified: entry.verified,
            };
            (fold(&account.verified.name), account)
        });
        let tokens = tokens.into_iter().map(|entry| {
            let TokenEntry {
                verified,
                sha256,
                expires,
            } = entry;
            (sha256, Token { verified, expires })
        });
        Ok(Self {
            accounts: accounts.collect(),
            tokens: tokens.collect(),
            decoy,
            ends,
        })
    }

    /// Whether some entry becomes void after `from` and not after `later`.
    pub(super) fn ends_between(&self, from: Timestamp, later: Timestamp) -> bool {
        let next = self.ends.partition_point(|end| *end <= from);
        self.ends.get(next).is_some_and(|end| *end <= later)
    }

    /// How many accounts and tokens there are.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.accounts.len(), self.tokens.len())
    }

    /// Whether some accounts take longer to verify than others, so that no decoy is like all of them.
    pub(super) fn costs_differ(&self) -> bool {
        let mut costs = self.accounts.values().map(|account| account.hash.cost());
        let first = costs.next();
        costs.any(|cost| Some(cost) != first)
    }

    pub(super) fn has_no_accounts(&self) -> bool {
        self.accounts.is_empty()
    }

    /// The account of that name, as it is compared, if it is valid.
    pub(super) fn account(&self, folded: &str, now: Timestamp) -> Option<(Verified, Arc<StoredHash>)> {
        let account = self
            .accounts
            .get(folded)
            .filter(|account| account.expires.is_valid(now))?;
        Some((account.verified.clone(), Arc::clone(&account.hash)))
    }

    /// What a password for that name is verified against, and who has it then: nobody where there is no such account.
    pub(super) fn challenge(&self, folded: &str) -> (Option<Verified>, Arc<StoredHash>) {
        match self.account(folded, Timestamp::now()) {
            Some((verified, hash)) => (Some(verified), hash),
            None => (None, Arc::clone(&self.decoy)),
        }
    }

    /// The account of that name, as it is compared, valid or not.
    pub(super) fn entry_named(&self, folded: &str, now: Timestamp) -> Option<Entry> {
        let account = self.accounts.get(folded)?;
        Some(Entry {
            name: account.verified.name.clone(),
            has_expired: !account.expires.is_valid(now),
        })
    }

    /// The entry of that token, valid or not.
    pub(super) fn entry_of(&self, sha256: &[u8; 32], now: Timestamp) -> Option<Entry> {
        let token = self.tokens.get(sha256)?;
        Some(Entry {
            name: token.verified.name.clone(),
            has_expired: !token.expires.is_valid(now),
        })
    }

    /// The token of that name, as it is compared, if it is valid.
    pub(super) fn token_named(&self, folded: &str, now: Timestamp) -> Option<Verified> {
        let named = |token: &&Token| fold(&token.verified.name) == folded && token.expires.is_valid(now);
        self.tokens.values().find(named).map(|token| token.verified.clone())
    }

    pub(super) fn token(&self, sha256: &[u8; 32], now: Timestamp) -> Option<Verified> {
        let (stored, token) = self.tokens.get_key_value(sha256)?;
        let same = bool::from(stored.ct_eq(sha256));
        (same && token.expires.is_valid(now)).then(|| token.verified.clone())
    }
}

/// The cost most accounts have, of several the one that comes first.
fn most_common(costs: &[Cost]) -> Cost {
    let count = |cost: &Cost| costs.iter().filter(|other| *other == cost).count();
    costs
        .iter()
        .rev()
        .max_by_key(|cost| count(cost))
        .copied()
        .unwrap_or_default()
}
