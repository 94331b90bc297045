//! The index agrees with a list of rows that is searched from end to end, whatever the rows are; and no file makes it
//! panic.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization;

use super::super::*;

/// Names that collide with each other, some only once they are composed and in lower case.
const NAMES: [&str; 16] = [
    "",
    "",
    "",
    "a",
    "A",
    "bb",
    "\u{e4}",
    "\u{c4}",
    "A\u{308}",
    "x@e.example",
    "X@E.EXAMPLE",
    "a@e.example",
    "k",
    "\u{212a}",
    "\u{130}",
    "i\u{307}",
];
const ACCOUNTS: [&str; 5] = ["", "", "1", "2", "3"];
const ORDER: [NameKind; 2] = [NameKind::Username, NameKind::Email];
const RULES: [PrimaryRule; 3] = [PrimaryRule::First, PrimaryRule::Shortest, PrimaryRule::MatchesEmail];

#[derive(Clone, Debug)]
struct Line {
    names: [&'static str; 4],
    account: &'static str,
    standing: Standing,
    primary: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Account(String),
    Email(String),
    Conflict,
    Nothing,
}

fn key(name: &str) -> String {
    name.nfc().collect::<String>().to_lowercase()
}

impl Line {
    fn claims(&self, name: &str) -> bool {
        !name.is_empty() && self.names.iter().any(|own| key(own) == key(name))
    }

    fn gives_address(&self, address: &str) -> bool {
        !address.is_empty() && self.names[2..].iter().any(|own| key(own) == key(address))
    }
}

struct Naive {
    rule: PrimaryRule,
    lines: Vec<Line>,
}

impl Naive {
    fn target(&self, line: &Line) -> Target {
        if !line.account.is_empty() {
            return Target::Account(line.account.to_owned());
        }
        let email = line.names[2];
        if email.is_empty() {
            return Target::Nothing;
        }
        let own = || self.lines.iter().filter(|other| !other.account.is_empty());
        let owners: BTreeSet<&str> = own()
            .filter(|other| other.claims(email))
            .map(|other| other.account)
            .collect();
        match owners.first() {
            Some(_) if owners.len() > 1 => Target::Conflict,
            Some(owner) if own().any(|other| other.gives_address(email)) => Target::Account((*owner).to_owned()),
            _ => Target::Email(key(email)),
        }
    }

    fn meaning(&self, name: &str) -> Option<String> {
        let claims: Vec<(Target, Standing)> = self
            .lines
            .iter()
            .filter(|line| line.claims(name))
            .map(|line| (self.target(line), line.standing))
            .collect();
        let standing = |target: &Target| {
            claims
                .iter()
                .filter(|claim| claim.0 == *target)
                .map(|claim| claim.1)
                .min()
        };
        let targets: BTreeSet<&Target> = claims
            .iter()
            .map(|claim| &claim.0)
            .filter(|target| **target != Target::Nothing)
            .collect();
        let (target, standing) = match (claims.is_empty(), targets.first()) {
            (true, _) => return None,
            (_, None) => (&Target::Nothing, standing(&Target::Nothing)?),
            (_, Some(_)) if targets.len() > 1 => (&Target::Conflict, Standing::Active),
            (_, Some(target)) => (*target, standing(target)?),
        };
        Some(match (target, standing) {
            (Target::Account(account), standing) => format!("{account} {}", standing.as_str()),
            (Target::Conflict, _) => "ambiguous".to_owned(),
            (_, Standing::Deactivated) => "deactivated".to_owned(),
            (_, Standing::Tombstoned) => "tombstoned".to_owned(),
            (_, Standing::App) => "app".to_owned(),
            (Target::Email(email), _) => format!("<{email}>"),
            (Target::Nothing, _) => "nothing".to_owned(),
        })
    }

    fn of(&self, account: &str) -> Vec<&Line> {
        let target = Target::Account(account.to_owned());
        self.lines.iter().filter(|line| self.target(line) == target).collect()
    }

    fn leads_back(&self, name: &str, account: &str) -> bool {
        self.meaning(name)
            .is_some_and(|meaning| meaning.split(' ').next() == Some(account))
    }

    fn email(&self, account: &str) -> Option<&str> {
        let lines = self.of(account);
        let own = lines.iter().filter(|line| line.account == account);
        own.map(|line| line.names[2])
            .find(|email| !email.is_empty() && lines.iter().all(|line| key(line.names[3]) != key(email)))
    }

    fn usernames(&self, account: &str) -> Vec<&str> {
        let email = self.email(account).unwrap_or_default();
        let named: Vec<&Line> = self
            .of(account)
            .into_iter()
            .filter(|line| !line.names[0].is_empty())
            .collect();
        let rank = |line: &Line| match self.rule {
            _ if line.primary => 0,
            PrimaryRule::First => 0,
            PrimaryRule::Shortest => line.names[0].chars().count(),
            PrimaryRule::MatchesEmail => {
                let matches = [line.names[2], line.names[3], email].iter().any(|address| {
                    let local = address.split('@').next().unwrap();
                    key(line.names[0]) == key(local) || key(line.names[0]) == key(address)
                });
                usize::from(!matches)
            }
        };
        let primary = named
            .iter()
            .min_by_key(|line| (!line.primary, line.standing, rank(line)));
        let mut seen = BTreeSet::new();
        primary
            .into_iter()
            .chain(&named)
            .map(|line| line.names[0])
            .filter(|name| seen.insert(key(name)))
            .collect()
    }

    fn shown(&self, account: &str, with_email: bool) -> Option<&str> {
        let usernames = self.usernames(account).into_iter();
        let email = self.email(account).filter(|_| with_email);
        usernames.chain(email).find(|name| self.leads_back(name, account))
    }

    fn file(&self) -> String {
        let mut text = "username,key,email,old_email,account_id,status,primary\n".to_owned();
        for line in &self.lines {
            let (standing, primary) = (line.standing.as_str(), line.primary);
            writeln!(text, "{},{},{standing},{primary}", line.names.join(","), line.account).unwrap();
        }
        text
    }
}

fn said(map: &Map, name: &str) -> Option<String> {
    map.by_name(name).map(|meaning| match meaning {
        Meaning::One(entry) => format!("{} {}", entry.account(), entry.standing().as_str()),
        Meaning::Ambiguous => "ambiguous".to_owned(),
        Meaning::Email(email) => format!("<{}>", key(email)),
        Meaning::Tombstoned => "tombstoned".to_owned(),
        Meaning::Deactivated => "deactivated".to_owned(),
        Meaning::App => "app".to_owned(),
        Meaning::NoAccount => "nothing".to_owned(),
    })
}

fn check(naive: &Naive) {
    let map = Map::parse(naive.file().as_bytes(), naive.rule).unwrap();
    let mut keys = BTreeSet::new();
    for name in NAMES {
        assert_eq!(said(&map, name), naive.meaning(name), "{name:?}");
        let columns: usize = naive
            .lines
            .iter()
            .flat_map(|line| line.names)
            .filter(|own| !name.is_empty() && key(own) == key(name))
            .count();
        assert_eq!(map.candidates(name).len(), columns, "{name:?}");
        if naive.meaning(name).is_some() {
            keys.insert(key(name));
        }
    }
    let ambiguous = keys
        .iter()
        .filter(|name| said(&map, name).as_deref() == Some("ambiguous"));
    assert_eq!(map.ambiguous(), ambiguous.count());
    let names: Vec<String> = map.names().map(key).collect();
    assert_eq!(names.len(), keys.len());
    assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), keys);
    assert_eq!(map.rows(), naive.lines.len());
    let unlinked = naive
        .lines
        .iter()
        .filter(|line| !matches!(naive.target(line), Target::Account(_)));
    assert_eq!(map.unlinked().count(), unlinked.count());

    let mut accounts: Vec<&str> = Vec::new();
    for line in naive.lines.iter().filter(|line| !line.account.is_empty()) {
        if !accounts.contains(&line.account) {
            accounts.push(line.account);
        }
    }
    assert_eq!(map.entries().map(Entry::account).collect::<Vec<_>>(), accounts);
    for account in accounts {
        let entry = map.by_account(account).unwrap();
        let lines = naive.of(account);
        assert_eq!(entry.usernames().collect::<Vec<_>>(), naive.usernames(account));
        assert_eq!(entry.is_merged(), naive.usernames(account).len() > 1);
        assert_eq!(entry.email(), naive.email(account));
        assert_eq!(Some(entry.standing()), lines.iter().map(|line| line.standing).min());
        let given = |column: usize| {
            lines
                .iter()
                .map(move |line| line.names[column])
                .filter(|name| !name.is_empty())
        };
        assert_eq!(entry.key(), given(1).next());
        assert!(entry.old_emails().eq(given(3)));
        for with_email in [false, true] {
            let id = AccountId::new(account);
            assert_eq!(
                map.shown_name(&id, &ORDER, with_email),
                naive.shown(account, with_email)
            );
        }
    }
}

fn line() -> impl Strategy<Value = Line> {
    let name = || proptest::sample::select(NAMES.to_vec());
    let account = proptest::sample::select(ACCOUNTS.to_vec());
    let standing = proptest::sample::select(vec![
        Standing::Active,
        Standing::Active,
        Standing::Active,
        Standing::Deactivated,
        Standing::Tombstoned,
        Standing::App,
    ]);
    let primary = proptest::bool::weighted(0.1);
    ([name(), name(), name(), name()], account, standing, primary)
        .prop_filter("a row without a name", |(names, ..)| {
            names.iter().any(|name| !name.is_empty())
        })
        .prop_map(|(names, account, standing, primary)| Line {
            names,
            account,
            standing,
            primary,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_index_agrees_with_a_search_from_end_to_end(
        lines in proptest::collection::vec(line(), 0..8),
        rule in proptest::sample::select(RULES.to_vec()),
    ) {
        check(&Naive { rule, lines });
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Map::parse(&bytes, PrimaryRule::First);
    }

    #[test]
    fn no_file_that_is_nearly_right_makes_the_reader_panic(
        columns in proptest::sample::subsequence(
            vec!["username", "key", "email", "old_email", "account_id", "full_name", "status", "primary", "created", "note"],
            1..10,
        ),
        body in proptest::collection::vec(
            proptest::sample::select(vec![
                ",", ",", ",", "\n", "\r\n", "\"", "a", "A\u{308}", "x@e.example", "tombstoned", "true", "1",
                "2022-06-07", " ", "\0", "\u{feff}", "\u{130}",
            ]),
            0..120,
        ),
        cut in 0..4_usize,
    ) {
        let mut bytes = format!("{}\n{}", columns.join(","), body.concat()).into_bytes();
        // In the middle of a letter, at times.
        bytes.truncate(bytes.len().saturating_sub(cut));
        match Map::parse(&bytes, PrimaryRule::MatchesEmail) {
            Ok(map) => {
                for name in map.names() {
                    prop_assert!(map.by_name(name).is_some(), "{name:?}");
                    prop_assert!(!map.candidates(name).is_empty(), "{name:?}");
                }
                for entry in map.entries() {
                    let id = entry.account_id();
                    prop_assert!(map.by_account(id.as_str()).is_some());
                    prop_assert!(map.shown_name(&id, &[NameKind::Username, NameKind::AccountId], true).is_some());
                }
            }
            Err(faults) => prop_assert!(!faults.0.is_empty()),
        }
    }
}
