//! Jira's search for users. It finds whoever shows the address, and whoever hides it, by the full address alone; and
//! whoever's name begins so, which anybody may choose for themselves.

use std::time::Instant;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

use super::super::batch::{Found, Wanted};
use super::super::claims::Claim;
use super::{Asked, Proof, about};
use crate::cloud::{Error, Jira, JiraUser, Operation, Patience, USERS_PAGE};
use crate::model::{NameKey, RequestId, Source, Standing};

/// Jira's search, which shows nothing at all to an account without the right to browse users.
pub(super) struct Search {
    jira: Jira,
    own: String,
    sees: Proof,
}

impl Asked for Search {
    const SOURCE: Source = Source::Jira;
    const OPERATION: Operation = Operation::JiraUsers;

    async fn ask(&self, names: &[Wanted], request: &RequestId, until: Instant) -> Found {
        match names.first() {
            Some(wanted) => about(wanted, self.ask_for(wanted, request, until).await),
            None => Found::default(),
        }
    }
}

impl Search {
    pub(super) fn new(jira: Jira, own: String) -> Self {
        let sees = Proof::new();
        Self { jira, own, sees }
    }

    async fn ask_for(&self, wanted: &Wanted, request: &RequestId, until: Instant) -> Result<Vec<Claim>, Error> {
        let patience = Patience::Until(until);
        let users = match self.jira.find(wanted.key.as_str(), request, patience).await {
            Ok(users) => users,
            // It does not like this very text, if it still likes another one.
            Err(Error::Rejected { status: 400 | 414, .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        let claims = who_has(wanted, users);
        if claims.is_empty() {
            self.prove_sight(request, patience).await?;
        }
        Ok(claims)
    }

    /// That it found nobody is worth something only if it can find somebody: its own account.
    async fn prove_sight(&self, request: &RequestId, patience: Patience<'_>) -> Result<(), Error> {
        let look = async {
            if self.jira.find(&self.own, request, patience).await?.is_empty() {
                return Err(self.jira.is_blind(&self.own));
            }
            Ok(())
        };
        self.sees.get(look).await
    }
}

/// Who of those whom Jira found has the address: whoever shows it, and whoever hides one and cannot have been found by
/// their name. Where nobody is left but people who may have been found by their name, they are candidates, no more: it
/// may be one of them, or nobody. Likewise everybody on a full page, which may not be the last one.
fn who_has(wanted: &Wanted, users: Vec<JiraUser>) -> Vec<Claim> {
    let is_full = users.len() >= USERS_PAGE;
    let mut claims: Vec<Claim> = Vec::new();
    for user in users.into_iter().filter(|user| user.is_active) {
        let shows = NameKey::of(&user.email) == wanted.key;
        if !shows && !user.email.is_empty() && !is_full {
            continue;
        }
        let by_name = || user.name.as_deref().is_none_or(|name| may_be_found(name, &wanted.key));
        let is_proven = !is_full && (shows || !by_name());
        let standing = if user.is_app { Standing::App } else { Standing::Active };
        if !claims.iter().any(|claim| claim.account == user.account) {
            claims.push(Claim {
                is_proven,
                ..Claim::new(user.account, Source::Jira, standing)
            });
        }
    }
    if claims.iter().any(|claim| claim.is_proven) {
        claims.retain(|claim| claim.is_proven);
    }
    claims
}

/// Whether somebody of this name may have been found by it. Jira says that a word of the name must begin like what is
/// looked for, and nothing of what a word is to it: so every word of the address must begin some word of the name,
/// whatever its case and accents. That holds for some names that Jira would not find, too; these only prove nothing.
fn may_be_found(name: &str, address: &NameKey) -> bool {
    let plain = |text: &str| -> String {
        let letters = text.nfkd().filter(|letter| !is_combining_mark(*letter));
        letters.collect::<String>().to_lowercase()
    };
    let (name, address) = (plain(name), plain(address.as_str()));
    let words = |text: &'_ str| -> Vec<String> {
        let words = text.split(|letter: char| !letter.is_alphanumeric());
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let of_name = words(&name);
    let begins_one = |word: &String| of_name.iter().any(|other| other.starts_with(word.as_str()));
    name.contains(&address) || words(&address).iter().all(begins_one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AccountId;

    fn row(account: &str, email: &str, name: &str) -> JiraUser {
        JiraUser {
            account: AccountId::new(account),
            email: email.into(),
            name: Some(name.into()),
            is_app: false,
            is_active: true,
        }
    }

    fn boss(rows: Vec<JiraUser>) -> Vec<(String, bool)> {
        let wanted = Wanted {
            key: NameKey::of("boss@example.com"),
            text: "boss@example.com".into(),
        };
        let claims = who_has(&wanted, rows);
        let told = |claim: &Claim| (claim.account.as_str().to_owned(), claim.is_proven);
        claims.iter().map(told).collect()
    }

    #[test]
    fn a_name_that_anybody_may_choose_proves_nothing() {
        for name in [
            "boss@example.com",
            "The BOSS@Example.com, really",
            "(boss@example.com)",
            "bóss@example.com",
            "ｂoss＠example.com",
            "com example boss",
            "boss@example.community",
        ] {
            assert_eq!(boss(vec![row("a", "", name)]), [("a".to_owned(), false)], "{name}");
        }
        for name in ["Ann Boss", "", "xboss@example.com"] {
            let contains = name.contains("boss@");
            assert_eq!(boss(vec![row("a", "", name)]), [("a".to_owned(), !contains)], "{name}");
        }
        let mut nameless = row("a", "", "");
        nameless.name = None;
        assert_eq!(boss(vec![nameless]), [("a".to_owned(), false)]);
    }

    #[test]
    fn whoever_is_found_by_their_address_is_not_shadowed_by_a_name() {
        let faker = || row("a", "", "boss@example.com");
        let other = row("o", "boss@example.community", "Bo");
        assert_eq!(
            boss(vec![faker(), row("b", "", "Ann Boss"), other.clone()]),
            [("b".to_owned(), true)]
        );
        assert_eq!(
            boss(vec![faker(), row("b", "BOSS@example.com", "Ann")]),
            [("b".to_owned(), true)]
        );
        assert_eq!(boss(vec![other]), []);
    }

    #[test]
    fn a_full_page_proves_nothing_of_anybody() {
        let rows = (0..USERS_PAGE).map(|n| row(&format!("a{n}"), "", "Ann Boss"));
        assert!(boss(rows.collect()).iter().all(|(_, is_proven)| !is_proven));
    }
}
