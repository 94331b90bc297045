use proptest::prelude::*;

use super::*;

fn names(file: &str, what: What) -> Vec<(String, u64)> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/harvest");
    let bytes = std::fs::read(path.join(file)).unwrap();
    of(&harvest(file, &bytes), what)
}

fn of(harvest: &Harvest, what: What) -> Vec<(String, u64)> {
    let wanted = harvest.found.iter().filter(|found| found.what == what);
    wanted.map(|found| (found.name.clone(), found.line)).collect()
}

fn expected(names: &[(&str, u64)]) -> Vec<(String, u64)> {
    names.iter().map(|(name, line)| ((*name).to_owned(), *line)).collect()
}

#[test]
fn a_shell_script_gives_its_arrays_loops_bodies_and_urls_and_no_variables() {
    assert_eq!(
        names("sync.sh", What::User),
        expected(&[
            ("wiki.admins@example.com", 2),
            ("asmith", 5),
            ("jdoe", 5),
            ("m muster", 5),
            ("bwayne", 6),
            ("ckent", 6),
            ("dprince", 8),
        ])
    );
    assert_eq!(
        names("sync.sh", What::Group),
        expected(&[("confluence-users", 4), ("team space admins", 10), ("R&D (Berlin)", 11)])
    );
}

#[test]
fn a_python_script_gives_its_lists_and_no_code() {
    assert_eq!(
        names("sync.py", What::User),
        expected(&[
            ("jdoe", 8),
            ("o'neil", 9),
            ("hulk", 13),
            ("loki", 13),
            ("thor", 13),
            ("wanda", 17),
        ])
    );
    assert_eq!(
        names("sync.py", What::Group),
        expected(&[
            ("confluence-administrators", 4),
            ("docs-readers", 5),
            ("docs-team", 5),
            ("new-group", 18),
            ("Übüng", 18),
        ])
    );
}

#[test]
fn a_powershell_script_gives_its_lists_with_and_without_brackets() {
    assert_eq!(
        names("sync.ps1", What::User),
        expected(&[("nromanoff", 1), ("tstark", 1), ("bbanner", 2), ("srogers", 2)])
    );
    assert_eq!(
        names("sync.ps1", What::Group),
        expected(&[("avengers", 3), ("wiki-editors", 5)])
    );
    let wide: Vec<u8> = "\u{feff}$users = 'jürgen'\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(of(&harvest("a.ps1", &wide), What::User), expected(&[("jürgen", 1)]));
}

#[test]
fn a_log_gives_the_groups_of_its_calls_and_the_names_of_its_answers() {
    assert_eq!(
        names("access.log", What::Group),
        expected(&[("confluence-users", 1), ("café", 2)])
    );
    assert_eq!(
        names("access.log", What::User),
        expected(&[("asmith", 4), ("jane.doe@example.com", 4), ("jdoe", 4)])
    );
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/harvest/access.log");
    let found = harvest("access.log", &std::fs::read(path).unwrap()).found;
    assert_eq!((found[0].times, found[0].how), (2, How::Url));
}

#[test]
fn tables_and_bare_lists_are_what_their_headings_and_names_say() {
    assert_eq!(names("people.csv", What::User), expected(&[("jdoe", 2), ("o'neil", 3)]));
    assert_eq!(names("people.csv", What::Group), expected(&[("staff", 2)]));
    assert_eq!(
        names("groups.txt", What::Group),
        expected(&[("confluence-users", 2), ("staff", 3)])
    );
    assert_eq!(
        of(&harvest("people.txt", b"jdoe\r\n\r\nasmith@example.com\n"), What::User).len(),
        2
    );
    assert_eq!(
        of(&harvest("x", b"groupname\nstaff\n"), What::Group),
        expected(&[("staff", 2)])
    );
    assert!(harvest("empty", b"").found.is_empty());
}

#[test]
fn lists_that_never_end_are_given_up() {
    for (text, names) in [("users=[", 0), ("users=\"", 1), ("members=[1,\"a\"", 0), ("@a.bc", 1)] {
        assert_eq!(
            harvest("x", text.repeat(20_000).as_bytes()).found.len(),
            names,
            "{text}"
        );
    }
}

#[test]
fn names_that_nothing_knows_are_told_and_known_ones_are_not() {
    let identity = Identity {
        username: "JDoe".to_owned(),
        email: Some("jane.doe@example.com".to_owned()),
        ..Identity::default()
    };
    let harvest = harvest(
        "a.py",
        b"users = ['jdoe', 'nobody', 'Jane.Doe@example.com']\nusers = ['nobody']\n",
    );
    let section = unresolved(&[("a.py".to_owned(), harvest)], &[identity]);
    assert_eq!(
        section.rows,
        [vec!["nobody".into(), 2_u64.into(), vec!["a.py:1".to_owned()].into()]]
    );
}

proptest! {
    #[test]
    fn any_bytes_are_harvested_to_bounded_names(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        check(&harvest("names", &bytes), &bytes)?;
    }

    #[test]
    fn any_text_that_looks_like_a_script_is_harvested_to_bounded_names(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("users".to_owned()), Just("groups".to_owned()), Just("/getUsers/".to_owned()), Just("for user in ".to_owned()),
                Just("=".to_owned()), Just(":".to_owned()), Just("[".to_owned()), Just("]".to_owned()), Just("{".to_owned()),
                Just("}".to_owned()), Just("(".to_owned()), Just("\"".to_owned()), Just("\\".to_owned()), Just("'".to_owned()),
                Just("\\u00".to_owned()), Just("%C3".to_owned()), Just("é@b.cd".to_owned()), Just("\n".to_owned()),
                "\\PC{0,3}",
            ],
            0..200,
        )
    ) {
        let text = parts.concat();
        check(&harvest("x", text.as_bytes()), text.as_bytes())?;
    }
}

fn check(harvest: &Harvest, bytes: &[u8]) -> Result<(), TestCaseError> {
    let lines = 1 + bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
    for found in &harvest.found {
        prop_assert!(found.name.chars().count() <= MAX_LETTERS && !found.name.is_empty());
        prop_assert!((1..=lines).contains(&found.line), "{found:?}");
        prop_assert!(found.times >= 1);
    }
    Ok(())
}
