//! Lines, their numbers, full files, restarts, and half a line.

use std::fs;
use std::ops::ControlFlow;

use extender_facade::audit::{self, Entry, Error, Evidence, FILE, Head, Limits, What};
use extender_facade::model::OperationKind;
use serde_json::{Value, json};

use crate::bed::{
    ROOMY, TIGHT, close, context, file_names, good, hand_over, lines, made, names, open, program, said, sample, spread,
    verify, write,
};

#[tokio::test]
async fn what_was_written_is_good_and_numbered_from_one_over_all_files() {
    let (files, head) = sample();
    let dir = spread(files);
    let walked = good(dir.path());
    assert_eq!((walked.first_seq, walked.lines, walked.head), (1, 13, *head));
    assert_eq!(walked.files as usize, files.len() - 1);
    let mut seqs = Vec::new();
    let in_place = audit::each_line(dir.path(), |line| {
        seqs.push(Entry::parse(line).unwrap().seq);
        ControlFlow::Continue(())
    });
    assert!(in_place.unwrap());
    assert_eq!(seqs, (1..=13).collect::<Vec<u64>>());
    let (walked, damages) = verify(dir.path(), Some(*head));
    assert!(damages.is_empty() && walked.is_compared);
}

#[tokio::test]
async fn a_line_says_who_asked_for_what_and_what_became_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path(), ROOMY, None).unwrap();
    assert_eq!(audit.head(), Head::default());
    hand_over(&audit, &names(1, 1), Evidence::Recovered).await;
    audit
        .refused(&context(), OperationKind::DeleteGroups, "site-admins", "protected")
        .await;
    assert!(audit.flush().await && audit.check().await);
    let lines: Vec<Value> = lines(&dir.path().join(FILE))
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((&lines[0]["audit"], &lines[0]["first_seq"]), (&json!(1), &json!(1)));
    assert_eq!((&lines[1]["seq"], &lines[1]["recovered"]), (&json!(1), &json!(true)));
    assert_eq!(
        (&lines[1]["name"], &lines[1]["result"]),
        (&json!("user000001"), &json!("done"))
    );
    assert_eq!((&lines[2]["seq"], &lines[2]["result"]), (&json!(2), &json!("refused")));
    assert_eq!(
        (&lines[2]["group"], &lines[2]["reason"]),
        (&json!("site-admins"), &json!("protected"))
    );
    assert!(lines[2].get("recovered").is_none() && lines[2]["name"].is_null());
    let head = audit.head();
    assert_eq!(head.to_string(), format!("2:{}", lines[2]["mac"].as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_under_load_keeps_the_chain_while_others_verify() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        max_file_bytes: 20_000,
        keep_files: 0,
    };
    let audit = open(dir.path(), limits, None).unwrap();
    let writers: Vec<_> = (0..4)
        .map(|n| {
            let audit = audit.clone();
            tokio::spawn(async move {
                for name in names(n * 1000, 250) {
                    hand_over(&audit, &[name], Evidence::Witnessed).await;
                    if fastrand::u8(0..4) == 0 {
                        assert!(audit.check().await && audit.flush().await);
                    }
                }
            })
        })
        .collect();
    let mut verified = 0;
    while !writers.iter().all(|writer| writer.is_finished()) {
        let head = audit.head();
        let (walked, damages) = verify(dir.path(), Some(head));
        assert!(damages.is_empty(), "{damages:?}");
        assert!(walked.head.seq >= head.seq);
        verified += 1;
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(audit.flush().await && verified > 0);
    let walked = good(dir.path());
    assert_eq!((walked.lines, walked.head), (1000, audit.head()));
    assert!(walked.files > 5, "{}", walked.files);
    for name in file_names(dir.path()) {
        let size = fs::metadata(dir.path().join(&name)).unwrap().len();
        assert!(size < 20_000 + 256 * 1024, "{name}: {size}");
    }
}

#[tokio::test]
async fn of_full_files_as_many_are_kept_as_the_settings_say() {
    let limits = Limits { keep_files: 2, ..TIGHT };
    let (dir, head) = made(limits, 40).await;
    let names = file_names(dir.path());
    assert_eq!(names.len(), 3, "{names:?}");
    let walked = good(dir.path());
    assert!(walked.first_seq > 20 && walked.head == head);
    let output = program(&["verify"], dir.path());
    assert_eq!(output.status.code(), Some(0));
    assert!(said(&output).contains(&format!("verified from seq {} on", walked.first_seq)));
    // What the settings did not take away is damage all the same.
    fs::remove_file(dir.path().join(&names[0])).unwrap();
    assert!(matches!(verify(dir.path(), None).1[0].what, What::Missing { .. }));
}

#[tokio::test]
async fn a_restart_goes_on_where_the_last_process_ended_wherever_that_was() {
    let (dir, mut head) = made(TIGHT, 5).await;
    for round in 0..6 {
        if round == 3 {
            // Killed between setting a full file aside and beginning the next.
            let full = lines(&dir.path().join(FILE)).len();
            assert!(full > 1);
            let first: Value = serde_json::from_str(&lines(&dir.path().join(FILE))[0]).unwrap();
            let aside = format!("audit-{:012}.jsonl", first["first_seq"].as_u64().unwrap());
            fs::rename(dir.path().join(FILE), dir.path().join(aside)).unwrap();
        }
        let audit = open(dir.path(), TIGHT, Some(head)).unwrap();
        assert_eq!(audit.head(), head);
        write(&audit, &names(round * 10, 2)).await;
        assert_eq!(audit.head().seq, head.seq + 2);
        head = audit.head();
        close(audit).await;
    }
    assert_eq!(good(dir.path()).head, head);
}

#[tokio::test]
async fn half_a_line_at_the_end_is_no_damage_and_is_kept() {
    let (whole, head) = made(ROOMY, 3).await;
    let bytes = fs::read(whole.path().join(FILE)).unwrap();
    let last = bytes[..bytes.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap()
        + 1;
    let header = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for cut in [last + 1, last + 40, bytes.len() - 2, bytes.len() - 1] {
        let dir = spread(
            &sample()
                .0
                .clone()
                .into_iter()
                .filter(|(name, _)| name == "none")
                .collect(),
        );
        fs::copy(whole.path().join("audit.key"), dir.path().join("audit.key")).unwrap();
        fs::write(dir.path().join(FILE), &bytes[..cut]).unwrap();
        assert_eq!(good(dir.path()).head.seq, 2, "{cut}");
        assert!(said(&program(&["verify"], dir.path())).contains("the beginning of another"));
        // If the whole line was known to be there, it is not half a line but a cut end.
        assert!(
            matches!(open(dir.path(), ROOMY, Some(head)), Err(Error::Damaged { .. })),
            "{cut}"
        );
        let audit = open(dir.path(), ROOMY, None).unwrap();
        write(&audit, &names(7, 1)).await;
        assert_eq!(good(dir.path()).head.seq, 4, "{cut}");
        let torn: Value = serde_json::from_str(&lines(&dir.path().join(FILE))[3]).unwrap();
        assert_eq!(torn["torn"].as_str().unwrap().as_bytes(), &bytes[last..cut]);
        assert!(said(&program(&["show", "--user", "nobody"], dir.path())).contains("half a line was found"));
    }
    // Within the file's header, or behind blanks that a check for room left.
    for text in [
        bytes[..header / 2].to_vec(),
        b"    ".to_vec(),
        [&bytes[..], &b"      "[..]].concat(),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::copy(whole.path().join("audit.key"), dir.path().join("audit.key")).unwrap();
        fs::write(dir.path().join(FILE), text).unwrap();
        let audit = open(dir.path(), ROOMY, None).unwrap();
        write(&audit, &names(7, 1)).await;
        good(dir.path());
    }
}
