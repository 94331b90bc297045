//! The words both sides share: names, ids, callers, outcomes. Nothing here knows HTTP, JSON or a file format.

mod bulk;
mod listing;
pub mod report;
mod request;

use std::fmt;
use std::sync::Arc;

use unicode_normalization::UnicodeNormalization;

pub use bulk::{Fate, OperationId, OperationKind, Outcome, Skip, Verdict};
pub use listing::{Form, Listing, Prints};
pub use report::{Report, SnapshotGroup, Summary};
pub use request::{Caller, Context, Effort, Flow, RequestId, Rights, Share, Wait, Waits};

/// A name as it is compared "ignoring case": NFC, then lower case as Java's `toLowerCase(Locale.ROOT)`.
///
/// There is no case folding: `ſ` is not `s`, `ß` is not `ss`, `ı` is not `i` (contract, section 3).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NameKey(Box<str>);

impl NameKey {
    /// The key under which `name` is compared.
    #[must_use]
    pub fn of(name: &str) -> Self {
        if name.is_ascii() {
            return Self(name.to_ascii_lowercase().into_boxed_str());
        }
        Self(name.nfc().collect::<String>().to_lowercase().into_boxed_str())
    }

    /// The key whose text this is, as [`Self::as_str`] gave it. Making a key of a key's text may change it once more:
    /// lower-case letters compose where their capitals do not (`J̌`).
    #[must_use]
    pub fn stored(text: &str) -> Self {
        Self(text.into())
    }

    /// The key's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both names have the same key.
    #[must_use]
    pub fn same(one: &str, other: &str) -> bool {
        if one.is_ascii() && other.is_ascii() {
            one.eq_ignore_ascii_case(other)
        } else {
            Self::of(one) == Self::of(other)
        }
    }
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is.
            #[must_use]
            pub fn new(text: &str) -> Self {
                Self(Arc::from(text))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

text_type! {
    /// A group's name, in the spelling its owner gave it. Two groups may differ in case alone.
    GroupName
}
text_type! {
    /// Cloud's id of a group. Groups are renamed and re-created; an id is never used again.
    GroupId
}
text_type! {
    /// Cloud's id of an account: opaque, compared letter by letter.
    AccountId
}
impl GroupName {
    /// How the name is compared when no group is spelt exactly so.
    #[must_use]
    pub fn key(&self) -> NameKey {
        NameKey::of(&self.0)
    }

    /// The name in composed letters (NFC), as nearly everything writes it.
    #[must_use]
    pub fn composed(&self) -> Self {
        if self.0.is_ascii() {
            self.clone()
        } else {
            Self::new(&self.0.nfc().collect::<String>())
        }
    }

    /// Whether a group could bear this name at all. Nobody needs to ask Cloud about the others.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        !self.0.trim().is_empty() && !self.0.chars().any(char::is_control)
    }
}

impl AccountId {
    /// Whether `text` has only letters an account id may have, and a length it may have.
    #[must_use]
    pub fn is_possible(text: &str) -> bool {
        (1..=128).contains(&text.len())
            && text.bytes().fold(true, |all, b| {
                all & (b.is_ascii_alphanumeric() | matches!(b, b'_' | b'|' | b':' | b'-'))
            })
    }

    /// Whether `text` has one of the shapes account ids are known to have: 24 of `[0-9a-z]`, or digits, a colon and a
    /// UUID. Many usernames have the letters of an id; far fewer have its shape, and even those are only candidates
    /// that a read must confirm.
    #[must_use]
    pub fn has_known_shape(text: &str) -> bool {
        if text.len() == 24 && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase()) {
            return true;
        }
        text.split_once(':').is_some_and(|(digits, uuid)| {
            !digits.is_empty()
                && digits.bytes().all(|b| b.is_ascii_digit())
                && uuid.len() == 36
                && uuid.bytes().enumerate().all(|(i, b)| match i {
                    8 | 13 | 18 | 23 => b == b'-',
                    _ => b.is_ascii_hexdigit(),
                })
        })
    }
}

/// How much of each member a reader wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Names only.
    Names,
    /// Name, full name, key and e-mail.
    Basic,
    /// Everything the legacy API had.
    Extended,
}

/// The part of a list that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Rows left out at the beginning.
    pub start_at: usize,
    /// Rows at the most.
    pub max_results: usize,
}

impl Page {
    /// The rows of `all` that lie on this page; none beyond the end.
    #[must_use]
    pub fn of<'a, T>(&self, all: &'a [T]) -> &'a [T] {
        let from = self.start_at.min(all.len());
        let to = from.saturating_add(self.max_results).min(all.len());
        all.get(from..to).unwrap_or_default()
    }
}

/// Who says which account a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The identity map, a file of the operator's.
    Map,
    /// The name is the account's own id, and Cloud confirmed it.
    AccountId,
    /// Members' pages and profiles that Confluence showed, with their e-mail addresses.
    Members,
    /// The organisation's Admin API.
    Admin,
    /// The directory that an identity provider fills.
    Scim,
    /// Jira's search for users.
    Jira,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 6] = [
        Self::Map,
        Self::AccountId,
        Self::Members,
        Self::Admin,
        Self::Scim,
        Self::Jira,
    ];

    /// The source's name in settings, store, reports and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::AccountId => "account_id",
            Self::Members => "members",
            Self::Admin => "admin",
            Self::Scim => "scim",
            Self::Jira => "jira",
        }
    }

    /// The source of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == name)
    }
}

/// Whether there is still somebody behind an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Standing {
    /// A person's account, as far as anybody knows.
    #[default]
    Active,
    /// Switched off in Cloud.
    Deactivated,
    /// Migrated switched off, because its owner had left before.
    Tombstoned,
    /// A program's account.
    App,
}

impl Standing {
    /// Every standing.
    pub const ALL: [Self; 4] = [Self::Active, Self::Deactivated, Self::Tombstoned, Self::App];

    /// The standing's name in map, store and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deactivated => "deactivated",
            Self::Tombstoned => "tombstoned",
            Self::App => "app",
        }
    }

    /// The standing of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|standing| standing.as_str() == name)
    }

    /// Why such an account is not put into groups.
    #[must_use]
    pub fn objection(self) -> Option<Skip> {
        match self {
            Self::Active => None,
            Self::Deactivated => Some(Skip::Deactivated),
            Self::Tombstoned => Some(Skip::Tombstoned),
            Self::App => Some(Skip::NotAPerson),
        }
    }
}

/// One member of a group as the legacy side shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// A name that means this account when it comes back.
    pub name: Arc<str>,
    /// The display name, or an empty text.
    pub full_name: Arc<str>,
    /// The user key of Data Center where it is known, else the account id.
    pub key: Arc<str>,
    /// The e-mail address, or an empty text.
    pub email: Arc<str>,
    /// The job title, or an empty text.
    pub position: Arc<str>,
    /// The department, or an empty text.
    pub department: Arc<str>,
    /// The location, or an empty text.
    pub location: Arc<str>,
    /// When the account was created, in epoch milliseconds.
    pub created: Option<i64>,
    /// When the account was last changed, in epoch milliseconds.
    pub updated: Option<i64>,
    /// The last activity, which is as near to a login as Cloud tells, in epoch milliseconds.
    pub last_login: Option<i64>,
    /// Whether the account may use Confluence; true where nobody knows.
    pub has_access: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignoring_case_is_lower_case_and_not_folding() {
        assert_eq!(NameKey::of("ÄRGER"), NameKey::of("ärger"));
        assert_eq!(NameKey::of("e\u{301}"), NameKey::of("É"));
        for (one, other) in [("ſ", "s"), ("ß", "ss"), ("ı", "i"), ("ẞ", "ss")] {
            assert_ne!(NameKey::of(one), NameKey::of(other), "{one} {other}");
        }
        assert_eq!(NameKey::of("ẞ"), NameKey::of("ß"));
    }

    #[test]
    fn a_page_beyond_the_end_is_empty_and_never_wraps() {
        let all = [1, 2, 3];
        assert_eq!(
            Page {
                start_at: 1,
                max_results: usize::MAX
            }
            .of(&all),
            [2, 3]
        );
        assert!(
            Page {
                start_at: usize::MAX,
                max_results: usize::MAX
            }
            .of(&all)
            .is_empty()
        );
    }

    #[test]
    fn only_the_known_shapes_are_candidates_for_account_ids() {
        assert!(AccountId::has_known_shape("5b10a2844c20165700ede21g"));
        assert!(AccountId::has_known_shape(
            "712020:3f2c1a9e-0d4b-4e8f-9a1b-2c3d4e5f6a7b"
        ));
        for text in [
            "jdoe",
            "5B10A2844C20165700EDE21G",
            ":3f2c1a9e-0d4b-4e8f-9a1b-2c3d4e5f6a7b",
            "1:x",
        ] {
            assert!(!AccountId::has_known_shape(text), "{text}");
        }
    }
}
