//! Bulk calls: what they are, and what becomes of their names.

use std::fmt;
use std::sync::Arc;

/// What a bulk call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OperationKind {
    /// Put accounts into a group.
    AddMembers,
    /// Take accounts out of a group.
    RemoveMembers,
    /// Make groups.
    CreateGroups,
    /// Delete groups.
    DeleteGroups,
}

impl OperationKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [
        Self::AddMembers,
        Self::RemoveMembers,
        Self::CreateGroups,
        Self::DeleteGroups,
    ];

    /// The kind's name in log, audit, journal and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AddMembers => "add_members",
            Self::RemoveMembers => "remove_members",
            Self::CreateGroups => "create_groups",
            Self::DeleteGroups => "delete_groups",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// One bulk operation's id: 128 random bits in hexadecimal digits. Whoever knows it may ask for the report if it is
/// their own.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId(Arc<str>);

impl OperationId {
    /// A new one, that nobody can guess.
    #[must_use]
    pub fn random() -> Self {
        let mut bits = [0; 16];
        if getrandom::fill(&mut bits).is_err() {
            // Unlikely to come twice all the same; and an id alone opens nothing.
            bits = fastrand::u128(..).to_ne_bytes();
        }
        Self(bits.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
    }

    /// The id that is written so, if it can be one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_id = text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        is_id.then(|| Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why a name of a bulk call ended as skipped: one list for the whole product (contract, section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Skip {
    /// The account is in the group already.
    AlreadyMember,
    /// The account is not in the group.
    NotMember,
    /// A group of that name exists already.
    AlreadyExists,
    /// No group has that name.
    NoSuchGroup,
    /// The same name, or another name of the same account, stands earlier in the list.
    Duplicate,
    /// Nothing but white space.
    Blank,
    /// No source knows the name.
    Unknown,
    /// The name stands for more than one account or group.
    Ambiguous,
    /// The person left before the migration: what is in Cloud is only their tombstone.
    Tombstoned,
    /// The account is switched off in Cloud.
    Deactivated,
    /// The account belongs to a program.
    NotAPerson,
    /// Several usernames were merged into the account, and the setting refuses to remove such accounts.
    MergedAccount,
    /// The group is synchronised from an identity provider; only that may change it.
    ExternallyManaged,
    /// The group is protected by a setting: from this caller, or this member is its last.
    Protected,
    /// No free seat in the licence.
    NoSeat,
    /// Cloud answered about this very name, and said no.
    Refused,
    /// The operation ended before this name's turn.
    NotAttempted,
}

impl Skip {
    /// Every reason.
    pub const ALL: [Self; 17] = [
        Self::AlreadyMember,
        Self::NotMember,
        Self::AlreadyExists,
        Self::NoSuchGroup,
        Self::Duplicate,
        Self::Blank,
        Self::Unknown,
        Self::Ambiguous,
        Self::Tombstoned,
        Self::Deactivated,
        Self::NotAPerson,
        Self::MergedAccount,
        Self::ExternallyManaged,
        Self::Protected,
        Self::NoSeat,
        Self::Refused,
        Self::NotAttempted,
    ];

    /// The reason of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// The reason's name in log, audit, journal, reports and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyMember => "already_member",
            Self::NotMember => "not_member",
            Self::AlreadyExists => "already_exists",
            Self::NoSuchGroup => "no_such_group",
            Self::Duplicate => "duplicate",
            Self::Blank => "blank",
            Self::Unknown => "unknown",
            Self::Ambiguous => "ambiguous",
            Self::Tombstoned => "tombstoned",
            Self::Deactivated => "deactivated",
            Self::NotAPerson => "not_a_person",
            Self::MergedAccount => "merged_account",
            Self::ExternallyManaged => "externally_managed",
            Self::Protected => "protected",
            Self::NoSeat => "no_seat",
            Self::Refused => "refused",
            Self::NotAttempted => "not_attempted",
        }
    }
}

/// What became of one name, as audit and journal tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As the caller is told.
    Told(Fate),
    /// The change may have happened; Cloud could not be asked.
    InDoubt,
}

impl Verdict {
    /// Cloud was changed as asked.
    pub const DONE: Self = Self::Told(Fate::Done);

    /// Nothing was changed, for this reason.
    #[must_use]
    pub const fn skipped(reason: Skip) -> Self {
        Self::Told(Fate::Skipped(reason))
    }

    /// The fate the caller is told: a name in doubt counts as not attempted, and is told in report and audit.
    #[must_use]
    pub fn fate(self) -> Fate {
        match self {
            Self::Told(fate) => fate,
            Self::InDoubt => Fate::Skipped(Skip::NotAttempted),
        }
    }

    /// The verdict's name in journal and reports: `done`, `in_doubt`, or the reason.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Told(Fate::Done) => "done",
            Self::Told(Fate::Skipped(reason)) => reason.as_str(),
            Self::InDoubt => "in_doubt",
        }
    }

    /// The verdict of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "done" => Some(Self::DONE),
            "in_doubt" => Some(Self::InDoubt),
            _ => Skip::named(name).map(Self::skipped),
        }
    }
}

/// What became of one name of a bulk call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Cloud was changed as asked.
    Done,
    /// Nothing was changed, for this reason.
    Skipped(Skip),
}

/// The names of a bulk call in the order of the request, each with its fate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Every name asked for, once.
    pub names: Vec<(String, Fate)>,
}

impl Outcome {
    /// The names for which Cloud was changed.
    pub fn done(&self) -> impl Iterator<Item = &str> {
        self.names
            .iter()
            .filter(|(_, fate)| *fate == Fate::Done)
            .map(|(name, _)| name.as_str())
    }

    /// The names left as they were, with the reason.
    pub fn skipped(&self) -> impl Iterator<Item = (&str, Skip)> {
        self.names.iter().filter_map(|(name, fate)| match fate {
            Fate::Done => None,
            Fate::Skipped(reason) => Some((name.as_str(), *reason)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_as_it_is_written() {
        for reason in Skip::ALL {
            assert_eq!(Skip::named(reason.as_str()), Some(reason));
            assert_eq!(Verdict::named(reason.as_str()), Some(Verdict::skipped(reason)));
        }
        for verdict in [Verdict::DONE, Verdict::InDoubt] {
            assert_eq!(Verdict::named(verdict.as_str()), Some(verdict));
        }
        for kind in OperationKind::ALL {
            assert_eq!(OperationKind::named(kind.as_str()), Some(kind));
        }
        assert_eq!((Skip::named("done"), Verdict::named("Done")), (None, None));
    }

    #[test]
    fn an_operations_id_is_32_hexadecimal_digits() {
        let id = OperationId::random();
        assert_eq!(OperationId::parse(id.as_str()), Some(id.clone()));
        assert_ne!(id, OperationId::random());
        for text in [
            "",
            "0",
            "../../../../etc/passwd/////////",
            &"g".repeat(32),
            &"A".repeat(32),
        ] {
            assert_eq!(OperationId::parse(text), None, "{text}");
        }
    }
}
