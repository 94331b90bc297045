//! The kinds of findings, in the order in which reports tell them, with their words.

/// What the rows of a section are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Several usernames of one account.
    Merged,
    /// Names of which nothing can be said, because a source could not be asked.
    NotAsked,
    /// Names or addresses that stand for several accounts.
    Ambiguous,
    /// Rows or files that contradict each other.
    Conflicts,
    /// Usernames that are equal ignoring case.
    Collisions,
    /// Names that scripts use and nothing knows.
    Unresolved,
    /// What is no address, or no readable row.
    Invalid,
    /// The same row more than once.
    Duplicates,
    /// Found by another address than the one that Cloud should have.
    OtherAddress,
    /// Nobody in Cloud has the address.
    MissingInCloud,
    /// Groups that an identity provider fills.
    GroupsExternal,
    /// Groups that belong to a team.
    GroupsTeams,
    /// Groups whose names differ in case alone.
    GroupsCase,
    /// Addresses that several users of Data Center had.
    SharedAddress,
    /// Migrated switched off.
    Tombstoned,
    /// Switched off in Cloud.
    Deactivated,
    /// Suspended in Cloud.
    Suspended,
    /// Accounts of programs.
    NotAPerson,
    /// The address has another domain in Cloud.
    ChangedDomain,
    /// The address is spelt in another case.
    DifferentCase,
}

impl Kind {
    /// Every kind, in the order of reports.
    pub const ALL: [Self; 20] = [
        Self::Merged,
        Self::NotAsked,
        Self::Ambiguous,
        Self::Conflicts,
        Self::Collisions,
        Self::Unresolved,
        Self::Invalid,
        Self::Duplicates,
        Self::OtherAddress,
        Self::MissingInCloud,
        Self::GroupsExternal,
        Self::GroupsTeams,
        Self::GroupsCase,
        Self::SharedAddress,
        Self::Tombstoned,
        Self::Deactivated,
        Self::Suspended,
        Self::NotAPerson,
        Self::ChangedDomain,
        Self::DifferentCase,
    ];

    /// Whether its rows ask for a decision; the others tell how things are.
    #[must_use]
    pub fn is_finding(self) -> bool {
        !matches!(
            self,
            Self::SharedAddress
                | Self::Tombstoned
                | Self::Deactivated
                | Self::Suspended
                | Self::NotAPerson
                | Self::ChangedDomain
                | Self::DifferentCase
        )
    }

    /// The kind's name for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Merged => "merged",
            Self::NotAsked => "not_asked",
            Self::Ambiguous => "ambiguous",
            Self::Conflicts => "conflicts",
            Self::Collisions => "collisions",
            Self::Unresolved => "unresolved",
            Self::Invalid => "invalid",
            Self::Duplicates => "duplicates",
            Self::OtherAddress => "other_address",
            Self::MissingInCloud => "missing_in_cloud",
            Self::GroupsExternal => "groups_external",
            Self::GroupsTeams => "groups_teams",
            Self::GroupsCase => "groups_case",
            Self::SharedAddress => "shared_address",
            Self::Tombstoned => "tombstoned",
            Self::Deactivated => "deactivated",
            Self::Suspended => "suspended",
            Self::NotAPerson => "not_a_person",
            Self::ChangedDomain => "changed_domain",
            Self::DifferentCase => "different_case",
        }
    }

    /// The heading.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Merged => "Several usernames, one account",
            Self::NotAsked => "Could not be asked",
            Self::Ambiguous => "One name, several accounts",
            Self::Conflicts => "Sources that contradict each other",
            Self::Collisions => "Usernames that differ in case alone",
            Self::Unresolved => "Names in scripts that nothing knows",
            Self::Invalid => "Invalid addresses and rows",
            Self::Duplicates => "The same row more than once",
            Self::OtherAddress => "Found by another address",
            Self::MissingInCloud => "Not found in Cloud",
            Self::GroupsExternal => "Groups that an identity provider fills",
            Self::GroupsTeams => "Groups that belong to a team",
            Self::GroupsCase => "Groups that differ in case alone",
            Self::SharedAddress => "Addresses that several users had",
            Self::Tombstoned => "Migrated as former users",
            Self::Deactivated => "Switched off in Cloud",
            Self::Suspended => "Suspended in Cloud",
            Self::NotAPerson => "Accounts of programs",
            Self::ChangedDomain => "The address has a new domain",
            Self::DifferentCase => "The address is spelt in another case",
        }
    }

    /// Why it matters.
    #[must_use]
    pub fn why(self) -> &'static str {
        match self {
            Self::Merged => {
                "A script that removes everybody it does not want finds a username here that it never put there. Taking \
                 that username out of a group takes the person out who is wanted under the other one."
            }
            Self::NotAsked => {
                "A source gave no answer, so nothing can be said: these are neither known nor unknown. Calls that use \
                 them are refused until it answers."
            }
            Self::Ambiguous => {
                "Nobody can say which account is meant, so none is used: the name is refused rather than guessed."
            }
            Self::Conflicts => {
                "Two rows, or two files, name different accounts for one user. Either could be old; neither is used."
            }
            Self::Collisions => {
                "Data Center compares usernames ignoring case. Where the rows name different addresses, the users are \
                 left out of the map."
            }
            Self::Unresolved => "Calls that use these names will report them as skipped.",
            Self::Invalid => {
                "Nobody can be found by what is not an address, and a row that cannot be read joins nothing."
            }
            Self::Duplicates => "The rows say the same, and one of them is used. A file may have been joined twice.",
            Self::OtherAddress => {
                "The address that should be the one in Cloud leads nowhere, but another address of the same user does. \
                 The map has that account."
            }
            Self::MissingInCloud => {
                "No account of the site's export has the address. The map has the user without an account, and Cloud is \
                 asked for the address when the name is used."
            }
            Self::GroupsExternal => {
                "Cloud refuses changes to these groups: only their identity provider may change them."
            }
            Self::GroupsTeams => "Cloud refuses changes to these groups: their members are those of the team.",
            Self::GroupsCase => {
                "A script that spells such a name in any other way does not say which group it means, and is refused."
            }
            Self::SharedAddress => {
                "On Data Center the address belonged to several users, so it says nothing about any of them. They are \
                 found by their new addresses."
            }
            Self::Tombstoned => "These people left before the migration. They are known, and are not put into groups.",
            Self::Deactivated => "Cloud knows the account, and it is switched off: it is not put into groups.",
            Self::Suspended => {
                "The account keeps its groups, but Cloud does not show it on the lists of members while it is suspended."
            }
            Self::NotAPerson => "Accounts of programs are known, and are not put into groups.",
            Self::ChangedDomain => "Expected after a change of domain, and a way to notice an unexpected one.",
            Self::DifferentCase => {
                "Addresses are compared ignoring case. Scripts that compare them otherwise will not."
            }
        }
    }

    /// The next step.
    #[must_use]
    pub fn what_to_do(self) -> &'static str {
        match self {
            Self::Merged => {
                "Read these first. Keep one username of each account in the scripts, best the first one here, which is \
                 the one that lists show, and leave removals of merged accounts refused until that is done."
            }
            Self::NotAsked => "Mend what the reason says, and check again: what was answered is not asked again.",
            Self::Ambiguous => {
                "Find out which account is the right one, mend the source or switch the other account off, and build the \
                 map again."
            }
            Self::Conflicts => "Mend the source that is wrong, or leave it out, and build the map again.",
            Self::Collisions => "Decide which of the users is meant, rename the other, and build the map again.",
            Self::Unresolved => {
                "Look for misspelt names and for users who were removed; add what is right to a source."
            }
            Self::Invalid => "Give the user a valid address in the source, or leave them out on purpose.",
            Self::Duplicates => {
                "Nothing, if the same export was given twice. Else look where the second row comes from."
            }
            Self::OtherAddress => "Compare the names. If the account is the wrong one, mend the address in the source.",
            Self::MissingInCloud => "Invite them, correct the address, or accept that their names are skipped.",
            Self::GroupsExternal => {
                "Change their members at the identity provider, and take the groups out of the scripts."
            }
            Self::GroupsTeams => "Change the team instead, and take the groups out of the scripts.",
            Self::GroupsCase => "Rename one of the groups, or spell the name in the scripts exactly.",
            Self::SharedAddress => "Nothing.",
            Self::Tombstoned => "Nothing, unless somebody on this list came back.",
            Self::Deactivated => "Nothing, unless somebody on this list should have access.",
            Self::Suspended => "Nothing, unless somebody on this list should have access.",
            Self::NotAPerson => "Nothing.",
            Self::ChangedDomain => "Look whether a domain stands here that you do not know.",
            Self::DifferentCase => "Nothing.",
        }
    }
}
