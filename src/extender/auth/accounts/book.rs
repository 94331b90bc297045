//! The accounts and tokens of a file that was found good.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use subtle::ConstantTimeEq as _;

use super::hash::{Cost, HashingFailed, StoredHash};
use super::{Role, Verified, fold};
use crate::model::Rights;

/// What a file holds.
pub(super) struct Book {
    /// By the name as it is compared.
    accounts: HashMap<String, Account>,
    /// By the digest of the secret. Looking one up takes no secret-dependent time worth knowing: to steer it, a caller
    /// would have to know secrets of a chosen SHA-256.
    tokens: HashMap<[u8; 32], Token>,
    /// What unknown names are verified against.
    decoy: Arc<StoredHash>,
}

struct Account {
    verified: Verified,
    hash: Arc<StoredHash>,
}

struct Token {
    verified: Verified,
    expires: Option<Timestamp>,
}

impl Token {
    fn is_valid(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

/// An account as it stands in the file.
pub(super) struct AccountEntry {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) rights: Rights,
    pub(super) hash: StoredHash,
}

/// A token as it stands in the file.
pub(super) struct TokenEntry {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) rights: Rights,
    pub(super) sha256: [u8; 32],
    /// The first instant at which it is void.
    pub(super) expires: Option<Timestamp>,
}

impl Book {
    /// Names and digests must be unique already.
    pub(super) fn new(accounts: Vec<AccountEntry>, tokens: Vec<TokenEntry>) -> Result<Self, HashingFailed> {
        let costs: Vec<Cost> = accounts.iter().map(|account| account.hash.cost()).collect();
        let decoy = Arc::new(StoredHash::decoy(most_common(&costs)).ok_or(HashingFailed)?);
        let accounts = accounts.into_iter().map(|entry| {
            let AccountEntry {
                name,
                role,
                rights,
                hash,
            } = entry;
            let (folded, hash) = (fold(&name), Arc::new(hash));
            let verified = Verified { name, role, rights };
            (folded, Account { verified, hash })
        });
        let tokens = tokens.into_iter().map(|entry| {
            let TokenEntry {
                name,
                role,
                rights,
                sha256,
                expires,
            } = entry;
            let verified = Verified { name, role, rights };
            (sha256, Token { verified, expires })
        });
        Ok(Self {
            accounts: accounts.collect(),
            tokens: tokens.collect(),
            decoy,
        })
    }

    /// How many accounts and tokens there are.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.accounts.len(), self.tokens.len())
    }

    pub(super) fn has_no_accounts(&self) -> bool {
        self.accounts.is_empty()
    }

    pub(super) fn account(&self, folded: &str) -> Option<(Verified, Arc<StoredHash>)> {
        let account = self.accounts.get(folded)?;
        Some((account.verified.clone(), Arc::clone(&account.hash)))
    }

    pub(super) fn decoy(&self) -> Arc<StoredHash> {
        Arc::clone(&self.decoy)
    }

    /// The token of that name, as it is compared, if it is valid.
    pub(super) fn token_named(&self, folded: &str, now: Timestamp) -> Option<Verified> {
        let named = |token: &&Token| fold(&token.verified.name) == folded && token.is_valid(now);
        self.tokens.values().find(named).map(|token| token.verified.clone())
    }

    pub(super) fn token(&self, sha256: &[u8; 32], now: Timestamp) -> Option<Verified> {
        let (stored, token) = self.tokens.get_key_value(sha256)?;
        let same = bool::from(stored.ct_eq(sha256));
        (same && token.is_valid(now)).then(|| token.verified.clone())
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
