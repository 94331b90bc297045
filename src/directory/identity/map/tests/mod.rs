//! What names mean.

mod naive;

use super::*;

const HEADER: &str = "username,key,email,old_email,account_id,status,primary\n";
const ORDER: [NameKind; 3] = [NameKind::Username, NameKind::Email, NameKind::AccountId];

fn map(rows: &str) -> Map {
    map_by(PrimaryRule::First, rows)
}

fn map_by(rule: PrimaryRule, rows: &str) -> Map {
    Map::parse(format!("{HEADER}{rows}").as_bytes(), rule).unwrap()
}

fn meaning(map: &Map, name: &str) -> String {
    match map.by_name(name) {
        None => "unknown".to_owned(),
        Some(Meaning::One(entry)) if entry.standing() == Standing::Active => entry.account().to_owned(),
        Some(Meaning::One(entry)) => format!("{} {}", entry.account(), entry.standing().as_str()),
        Some(Meaning::Email(email)) => format!("<{email}>"),
        Some(other) => format!("{other:?}").to_lowercase(),
    }
}

fn shown(map: &Map, account: &str, with_email: bool) -> String {
    let id = AccountId::new(account);
    map.shown_name(&id, &ORDER, with_email).unwrap().to_owned()
}

#[test]
fn a_name_that_two_accounts_claim_in_any_column_is_ambiguous() {
    let map = map("jdoe,k1,j@example.com,,a1,,\n\
         j@example.com,k2,x@example.com,,a2,,\n\
         lost,,,,,,\n\
         LOST,,,,a3,,\n\
         nowhere,,,,,,\n\
         moved,,,k1,a4,,\n");
    for (name, expected) in [
        ("JDoe", "a1"),
        ("K1", "ambiguous"),
        ("k2", "a2"),
        ("j@EXAMPLE.com", "ambiguous"),
        ("x@example.com", "a2"),
        ("lost", "a3"),
        ("nowhere", "noaccount"),
        ("nobody", "unknown"),
        ("", "unknown"),
    ] {
        assert_eq!(meaning(&map, name), expected, "{name}");
    }
    assert_eq!((map.len(), map.rows(), map.ambiguous()), (4, 6, 2));
    let claims: Vec<_> = map
        .candidates("J@example.com")
        .iter()
        .map(|claim| (claim.line, claim.column, claim.account))
        .collect();
    assert_eq!(
        claims,
        [(2, Column::Email, Some("a1")), (3, Column::Username, Some("a2"))]
    );
    assert_eq!(map.candidates("lost").len(), 2);
    assert!(map.candidates("nobody").is_empty());
}

#[test]
fn a_row_without_account_agrees_by_its_address_or_not_at_all() {
    let map = map("jdoe,,new@example.com,,a1,,\n\
         jdoe,,NEW@example.com,,,,\n\
         asmith,,smith@example.com,smith@old.example,a2,,\n\
         asmith,,smith@old.example,,,,\n\
         bob,,bob@example.com,,a3,,\n\
         bob,,robert@example.com,,,,\n\
         eve,,one@example.com,,,,\n\
         eve,,two@example.com,,,,\n\
         dan,,dan@example.com,,,,\n\
         dan,,DAN@example.com,,,,\n\
         alias,,new@example.com,,,,\n");
    for (name, expected) in [
        ("jdoe", "a1"),
        ("asmith", "a2"),
        ("bob", "ambiguous"),
        ("eve", "ambiguous"),
        ("dan", "<dan@example.com>"),
        ("two@example.com", "<two@example.com>"),
        ("alias", "a1"),
    ] {
        assert_eq!(meaning(&map, name), expected, "{name}");
    }
    let entry = map.by_account("a1").unwrap();
    assert_eq!(entry.usernames().collect::<Vec<_>>(), ["jdoe", "alias"]);
    assert!(entry.is_merged());
    assert_eq!(entry.email(), Some("new@example.com"));
    let entry = map.by_account("a2").unwrap();
    assert_eq!(entry.email(), Some("smith@example.com"));
    assert!(!entry.is_merged());
    let lines: Vec<u32> = map.unlinked().map(|row| row.line).collect();
    assert_eq!(lines, [7, 8, 9, 10, 11]);
}

#[test]
fn a_mark_stands_for_its_own_names_alone() {
    let map = map("left,,merged@example.com,,a1,tombstoned,\n\
         here,,merged@example.com,,a1,,\n\
         robot,,,,a2,app,\n\
         gone,,gone@example.com,,,tombstoned,\n\
         off,,,,,deactivated,\n\
         tool,,,,,app,\n");
    for (name, expected) in [
        ("left", "a1 tombstoned"),
        ("here", "a1"),
        ("merged@example.com", "a1"),
        ("robot", "a2 app"),
        ("gone", "tombstoned"),
        ("gone@example.com", "tombstoned"),
        ("off", "deactivated"),
        ("tool", "app"),
    ] {
        assert_eq!(meaning(&map, name), expected, "{name}");
    }
    assert_eq!(map.by_account("a1").unwrap().standing(), Standing::Active);
    assert_eq!(map.by_account("a2").unwrap().standing(), Standing::App);
    // What is shown is a name that is accepted.
    assert_eq!(shown(&map, "a1", true), "here");
}

#[test]
fn the_shown_name_always_leads_back() {
    let map = map("shared,,one@example.com,,a1,,\n\
         shared,,two@example.com,,a2,,\n\
         primary,,,,a3,,\n\
         PRIMARY,,,,a3,,\n\
         alias,,,,a3,,\n\
         ,,new@example.com,old@example.com,a4,,\n\
         ,,old@example.com,,a4,,\n");
    assert_eq!(shown(&map, "a1", true), "one@example.com");
    assert_eq!(shown(&map, "a1", false), "a1");
    assert_eq!(shown(&map, "a3", true), "primary");
    assert_eq!(shown(&map, "a4", true), "new@example.com");
    assert_eq!(shown(&map, "elsewhere", true), "elsewhere");
    let entry = map.by_account("a3").unwrap();
    assert_eq!(entry.usernames().collect::<Vec<_>>(), ["primary", "alias"]);
    assert!(entry.is_merged());
    assert_eq!(map.shown_name(&AccountId::new("a1"), &[NameKind::Username], true), None);
    assert_eq!(map.entries().count(), 4);
    let names: Vec<&str> = map.names().collect();
    assert_eq!(
        names,
        [
            "shared",
            "one@example.com",
            "two@example.com",
            "primary",
            "alias",
            "new@example.com",
            "old@example.com"
        ]
    );
}

#[test]
fn the_primary_username_is_chosen_by_row_then_rule_then_file() {
    let rows = "j.doe.admin,,jdoe@example.com,,a1,,\njdoe,,jdoe@example.com,,a1,,\njd,,jdoe@example.com,,a1,,\n";
    for (rule, expected) in [
        (PrimaryRule::First, "j.doe.admin"),
        (PrimaryRule::Shortest, "jd"),
        (PrimaryRule::MatchesEmail, "jdoe"),
    ] {
        assert_eq!(shown(&map_by(rule, rows), "a1", true), expected);
        let marked = map_by(rule, &format!("{rows}marked,,,,a1,,true\nlater,,,,a1,,true\n"));
        let usernames: Vec<_> = marked.by_account("a1").unwrap().usernames().collect();
        assert_eq!(usernames, ["marked", "j.doe.admin", "jdoe", "jd", "later"]);
    }
}

#[test]
fn names_are_compared_composed_and_in_lower_case_and_never_folded() {
    let map =
        map("M\u{fc}ller,,,,a1,,\n\u{130}x,,,,a2,,\nstra\u{df}e,,,,a3,,\n\u{212a},,,,a4,,\nMu\u{308}LLER,,,,a1,,\n");
    for (name, expected) in [
        ("mu\u{308}ller", "a1"),
        ("M\u{dc}LLER", "a1"),
        ("i\u{307}x", "a2"),
        ("ix", "unknown"),
        ("strasse", "unknown"),
        ("k", "a4"),
    ] {
        assert_eq!(meaning(&map, name), expected, "{name}");
    }
    assert_eq!(map.names().next(), Some("M\u{fc}ller"));
    assert!(!map.by_account("a1").unwrap().is_merged());
}
