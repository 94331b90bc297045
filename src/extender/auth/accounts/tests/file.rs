//! The file's faults and warnings.

use std::path::Path;

use proptest::prelude::*;

use super::super::Accounts;
use super::{account, cheap_hash};
use crate::model::{Rights, Share};

fn faults(text: &str) -> String {
    Accounts::parse(text).unwrap_err().to_string()
}

#[test]
fn all_faults_of_a_file_are_told_at_once_with_their_lines() {
    let good = cheap_hash("x");
    let costly = |cost: &str| good.replace("m=8,t=1,p=1", cost);
    let text = format!(
        r#"surprise = 1
[[account]]
name = "Élan"
password = "hunter2"
role = "reader"
[[account]]
name = "ÉLAN"
password = "{}"
role = "root"
colour = "red"
[[account]]
name = " "
password = 5
[[account]]
name = "a:b"
password = "{}"
role = "reader"
[[account]]
name = "i"
password = "{}"
role = "reader"
observe = "false"
[[token]]
name = "ci"
sha256 = "{}"
role = "reader"
expires = "2027-02-30"
operator = 1
[[token]]
name = "CI"
sha256 = "xyz"
role = "administrator"
expires = "2027-01-31T12:00:00"
[[token]]
name = "third"
sha256 = "{}"
role = "reader"
"#,
        costly("m=1048577,t=65,p=1"),
        costly("m=512,t=1,p=17"),
        good.replace("argon2id", "argon2i"),
        "ab".repeat(32),
        "AB".repeat(32),
    );
    let told = faults(&text);
    let expected = r#"line 1: unknown key "surprise", expected [[account]] or [[token]]
line 4: account 1 ("Élan"): password is not an argon2id hash ($argon2id$v=19$m=…,t=…,p=…$salt$hash)
line 7: account 2 ("ÉLAN"): this name is there already (its case does not matter)
line 8: account 2 ("ÉLAN"): password has m=1048577, the most is 1048576 and has t=65, the most is 64
line 9: account 2 ("ÉLAN"): a role is "reader" or "administrator"
line 10: account 2 ("ÉLAN"): unknown key "colour", expected password, name, role, expires, groups, operations, operator, observe, may_change_protected, weight, max_in_flight
line 11: account 3 (" "): role is missing
line 12: account 3 (" "): name is blank
line 13: account 3 (" "): password is not a string
line 15: account 4 ("a:b"): a name with a colon cannot be sent by a client
line 16: account 4 ("a:b"): password has p=17, the most is 16
line 20: account 5 ("i"): password is not an argon2id hash ($argon2id$v=19$m=…,t=…,p=…$salt$hash)
line 22: account 5 ("i"): observe is neither true nor false
line 27: token 1 ("ci"): expires is neither a date (2027-01-31) nor an instant with its zone (2027-01-31T12:00:00Z)
line 28: token 1 ("ci"): operator is neither true nor false
line 30: token 2 ("CI"): this name is there already (its case does not matter)
line 31: token 2 ("CI"): sha256 is not 64 hexadecimal digits
line 33: token 2 ("CI"): expires is neither a date (2027-01-31) nor an instant with its zone (2027-01-31T12:00:00Z)
line 36: token 3 ("third"): another token has this sha256"#;
    assert_eq!(told, expected);
}

#[test]
fn a_right_is_there_only_where_the_entry_says_so() {
    let rights = |keys: &str| {
        let accounts = Accounts::parse(&(account("a", "x", "administrator") + keys)).unwrap();
        accounts.account("A").unwrap().rights
    };
    assert_eq!(rights(""), Rights::default());
    assert_eq!(rights("operator = false\nobserve = false\n"), Rights::default());
    let all = Rights {
        operator: true,
        observe: true,
        may_change_protected: true,
        share: Share {
            weight: 100,
            at_once: 4,
        },
    };
    let keys = "operator = true\nobserve = true\nmay_change_protected = true\nweight = 100\nmax_in_flight = 4\n";
    assert_eq!(rights(keys), all);
    let token = format!(
        "[[token]]\nname = \"t\"\nsha256 = \"{}\"\nrole = \"reader\"\n{keys}",
        "0".repeat(64)
    );
    assert_eq!(Accounts::parse(&token).unwrap().token("T").unwrap().rights, all);
}

#[test]
fn a_share_is_a_whole_number_within_its_bounds() {
    for (key, most) in [("weight", 100), ("max_in_flight", 256)] {
        for wrong in [
            "0",
            "-1",
            "1.5",
            "\"2\"",
            "true",
            "0x10",
            &format!("{}", most + 1),
            "99999999999999999999",
        ] {
            let told = faults(&(account("a", "x", "reader") + &format!("{key} = {wrong}\n")));
            let expected = format!("{key} is not a whole number between 1 and {most}");
            assert!(told.ends_with(&expected), "{wrong}: {told}");
        }
    }
}

#[test]
fn a_scope_that_is_none_is_told_and_never_taken_for_all() {
    let with = |lines: &str| account("a", "x", "reader") + lines;
    for (lines, part) in [
        ("groups = []\n", "groups is not a list of texts"),
        ("groups = \"team-*\"\n", "groups is not a list of texts"),
        ("groups = [\"a\", 7]\n", "groups is not a list of texts"),
        ("groups = [\"a\", \" \"]\n", "\" \" names no group"),
        ("groups = [\"id:4\"]\n", "by their names"),
        (
            "operations = [\"getusers\"]\n",
            "\"getusers\" is none of getUsers, getGroups",
        ),
        ("operations = []\n", "operations is not a list of texts"),
        ("operations = [\"addUsers\"]\n", "a reader cannot call addUsers"),
        ("expires = true\n", "expires is neither"),
    ] {
        let told = faults(&with(lines));
        assert!(
            told.contains(part) && told.contains("account 1 (\"a\")"),
            "{lines}: {told}"
        );
    }
    let text = with("groups = [\"Team-*\"]\noperations = [\"getUsers\"]\nexpires = 2999-12-31\n");
    let scope = Accounts::parse(&text).unwrap().account("a").unwrap().scope;
    assert!(scope.holds_group("team-RED") && !scope.holds_group("red") && !scope.holds_all_groups());
    assert!(
        Accounts::parse(&with(""))
            .unwrap()
            .account("a")
            .unwrap()
            .scope
            .holds_all_groups()
    );
}

#[test]
fn a_file_that_is_not_toml_is_told_by_line_and_without_what_stands_there() {
    let told = faults("[[account]]\nname = \"a\"\npassword = \"$argon2id$secret\nrole = reader\n");
    assert!(told.contains("line 3: ") && told.contains("line 4: "), "{told}");
    assert!(!told.contains("secret"), "{told}");
    assert!(faults("account = 3").contains("account must be written [[account]]"));
    assert!(faults("token = [1]").contains("token 1 is not a table"));
}

#[test]
fn a_repeated_parameter_does_not_slip_past_the_bounds() {
    for cost in ["m=8,t=1,p=1,m=2000000", "m=2000000,t=1,p=1,m=8", "m=8,t=1,p=1,t=65"] {
        let hash = cheap_hash("x").replace("m=8,t=1,p=1", cost);
        let text = format!("[[account]]\nname = \"a\"\npassword = \"{hash}\"\nrole = \"reader\"\n");
        match Accounts::parse(&text) {
            Err(told) => assert!(told.to_string().contains("password has"), "{told}"),
            Ok(accounts) => {
                let (_, hash) = accounts.book.load().account("a", jiff::Timestamp::now()).unwrap();
                assert!(
                    hash.matches("x"),
                    "{cost}: what counts is the cheap value, or matching would not succeed"
                );
            }
        }
    }
}

#[test]
fn passwords_that_cost_unlike_are_warned_of() {
    let (one, other) = (account("a", "x", "reader"), account("b", "x", "reader"));
    let dearer = other.replace("m=8,t=1,p=1", "m=8,t=2,p=1");
    for (text, warned) in [
        (one.clone() + &other, false),
        (one.clone() + &dearer, true),
        (one, false),
    ] {
        let file = super::written(&text);
        let (_, warnings) = Accounts::load(file.path()).unwrap();
        assert_eq!(warnings.contains(&super::super::Warning::CostsDiffer), warned, "{text}");
    }
}

#[cfg(unix)]
#[test]
fn a_file_open_to_others_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), account("a", "b", "reader")).unwrap();
    let warnings = |mode| {
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        Accounts::load(file.path()).unwrap().1
    };
    assert_eq!(warnings(0o600), []);
    let [warning] = warnings(0o640).try_into().unwrap();
    assert!(
        warning
            .to_string()
            .ends_with("is open to others than its owner (mode 640, expected 600)")
    );
    let missing = Accounts::load(Path::new("/nowhere/accounts.toml"))
        .unwrap_err()
        .to_string();
    assert!(missing.starts_with("cannot read /nowhere/accounts.toml: "), "{missing}");
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "\\PC{0,60}", entry in "(\\[\\[(account|token)\\]\\]\n)?((name|password|role|sha256|expires) = (\"[a-z0-9:$=-]{0,12}\"|[0-9-]{1,10}|\\[\\]|\\{\\})\n){0,6}") {
        let _ = Accounts::parse(&text);
        let _ = Accounts::parse(&entry);
    }
}
