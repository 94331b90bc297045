//! Whatever is changed, taken out, moved or cut shows, and where.

use std::fs;
use std::path::Path;

use extender_facade::audit::{Error, FILE, What};
use proptest::prelude::*;

use crate::bed::{
    ROOMY, TIGHT, close, good, lines, made, names, open, program, put, said, sample, spread, verify, write,
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_byte_changed_anywhere_is_found_in_its_line(file in 0_usize..1000, at in 0_usize..1_000_000, flip in 1_u8..=255) {
        let (files, _) = sample();
        let mut files = files.clone();
        let logs: Vec<String> = files.keys().filter(|name| name.ends_with(".jsonl")).cloned().collect();
        let name = &logs[file % logs.len()];
        let bytes = files.get_mut(name).unwrap();
        let at = at % bytes.len();
        let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        bytes[at] ^= flip;
        let dir = spread(&files);
        let (_, damages) = verify(dir.path(), None);
        prop_assert!(!damages.is_empty(), "{name} byte {at} ^ {flip}");
        prop_assert_eq!((&damages[0].file, damages[0].line), (name, line), "byte {} ^ {}: {:?}", at, flip, damages);
        // The file that is written is looked at when the audit is opened, and so is the one before it.
        if name != &logs[0] {
            let refused = open(dir.path(), TIGHT, None).err();
            if name == FILE || name == &logs[logs.len() - 2] {
                prop_assert!(matches!(refused, Some(Error::Damaged { .. })), "{:?}", refused);
            }
        }
    }
}

#[tokio::test]
async fn a_line_taken_out_doubled_or_exchanged_is_found() {
    let (dir, _) = made(ROOMY, 9).await;
    let path = dir.path().join(FILE);
    let whole = lines(&path);
    type Change = fn(&mut Vec<String>);
    let changes: [(&str, Change); 5] = [
        ("seq 4 is missing", |lines| drop(lines.remove(4))),
        ("seq 3 to 5 are missing", |lines| drop(lines.drain(3..6))),
        ("seq 4 stands there twice", |lines| lines.insert(5, lines[4].clone())),
        ("seq 4 is missing", |lines| lines.swap(4, 5)),
        ("not begin with the line", |lines| drop(lines.remove(0))),
    ];
    for (expected, change) in changes {
        let mut changed = whole.clone();
        change(&mut changed);
        put(&path, &changed);
        let output = program(&["verify"], dir.path());
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.contains("audit.jsonl line ") && text.contains(expected),
            "{expected}: {text}"
        );
        let refused = open(dir.path(), ROOMY, None).unwrap_err().to_string();
        assert!(
            refused.contains(expected) && refused.contains("audit renew"),
            "{refused}"
        );
        assert_eq!(lines(&path), changed, "nothing is touched");
    }
    put(&path, &whole);
    assert_eq!(program(&["verify"], dir.path()).status.code(), Some(0));
}

#[tokio::test]
async fn a_cut_end_shows_against_the_head_that_the_journal_keeps() {
    use extender_facade::metrics::Metrics;
    use extender_facade::store::Journal;
    let (dir, head) = made(ROOMY, 9).await;
    let journal = Journal::open(dir.path(), Metrics::new()).unwrap();
    journal.set_head(&head.to_string());
    journal.flush().await.unwrap();
    drop(journal);
    assert_eq!(program(&["verify"], dir.path()).status.code(), Some(0));
    let path = dir.path().join(FILE);
    let mut all = lines(&path);
    all.truncate(all.len() - 2);
    put(&path, &all);
    let output = program(&["verify"], dir.path());
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}

#[tokio::test]
async fn a_cut_end_shows_against_a_head_that_was_kept() {
    let (dir, head) = made(ROOMY, 9).await;
    let path = dir.path().join(FILE);
    let whole = lines(&path);
    put(&path, &whole[..7]);
    assert!(verify(dir.path(), None).1.is_empty(), "by itself the chain cannot know");
    let what = What::Cut { last: 6, head: 9 };
    assert_eq!(verify(dir.path(), Some(head)).1.last().unwrap().what, what);
    let refused = open(dir.path(), ROOMY, Some(head)).unwrap_err();
    assert!(refused.to_string().contains(&format!("--head {head}")), "{refused}");
    // As it stands in the metrics: the number, and 48 bits.
    let short = format!("9:{:012x}", head.short());
    let output = program(&["verify", "--head", &short], dir.path());
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("the last line is seq 6"), "{}", said(&output));
    put(&path, &whole);
    assert_eq!(
        program(&["verify", "--head", &short], dir.path()).status.code(),
        Some(0)
    );
    // All of it gone.
    fs::remove_file(&path).unwrap();
    assert!(matches!(
        open(dir.path(), ROOMY, Some(head)),
        Err(Error::Damaged { .. })
    ));
    // Being ahead of what was kept is no fault.
    put(&path, &whole);
    let earlier = whole[5]
        .rsplit_once("\"mac\":\"")
        .unwrap()
        .1
        .trim_end_matches("\"}")
        .to_owned();
    assert!(open(dir.path(), ROOMY, Some(format!("5:{earlier}").parse().unwrap())).is_ok());
}

#[tokio::test]
async fn a_rewrite_by_somebody_with_the_key_shows_against_a_head_that_was_kept() {
    let (dir, head) = made(ROOMY, 5).await;
    fs::remove_file(dir.path().join(FILE)).unwrap();
    let audit = open(dir.path(), ROOMY, None).unwrap();
    write(&audit, &names(50, 8)).await;
    good(dir.path());
    let (_, damages) = verify(dir.path(), Some(head));
    assert_eq!(damages[0].what, What::Rewritten { seq: 5 });
    close(audit).await;
    assert!(matches!(
        open(dir.path(), ROOMY, Some(head)),
        Err(Error::Damaged { .. })
    ));
}

#[tokio::test]
async fn a_file_taken_out_of_the_middle_or_from_the_beginning_is_found() {
    let (files, head) = sample();
    let full: Vec<&String> = files.keys().filter(|name| name.starts_with("audit-")).collect();
    for (place, name) in full.iter().enumerate() {
        let dir = spread(files);
        fs::remove_file(dir.path().join(name)).unwrap();
        let (_, damages) = verify(dir.path(), Some(*head));
        assert!(matches!(damages[0].what, What::Missing { .. }), "{name}: {damages:?}");
        if place == 0 {
            // Somebody archived it, and says so.
            let first = good_from(dir.path(), full[1]);
            assert!(first > 1);
        }
    }
    let dir = spread(files);
    fs::rename(dir.path().join(full[0]), dir.path().join("audit-000000000777.jsonl")).unwrap();
    assert!(!verify(dir.path(), None).1.is_empty(), "a file under another's name");
}

/// Verifies with `--from` the first line of that file.
fn good_from(dir: &Path, name: &str) -> u64 {
    let first: u64 = name["audit-".len()..].trim_end_matches(".jsonl").parse().unwrap();
    let output = program(&["verify", "--from", &first.to_string()], dir);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(
        said(&output).contains(&format!("verified from seq {first} on")),
        "{}",
        said(&output)
    );
    first
}
