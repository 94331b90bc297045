//! `audit show`, `audit renew`, and `audit verify` over a facade that writes.

use std::fs;
use std::time::{Duration, Instant};

use extender_facade::audit::{Error, FILE};
use extender_facade::model::OperationKind;
use serde_json::json;

use crate::bed::{
    self, ROOMY, TIGHT, close, context, file_names, good, made, names, open, program, said, verify, write,
};
use crate::cloud::{Cloud, try_send};
use crate::program::{PATIENCE, Program};

#[tokio::test]
async fn lines_from_before_there_was_a_chain_are_kept_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let old = r#"{"time":"2026-01-02T03:04:05Z","request_id":"r","caller":"bob","operation_id":"o","operation":"add_members","index":0,"group":"team","group_id":null,"name":"x\",\"mac\":\"y","account":null,"result":"done","reason":null}"#;
    fs::write(dir.path().join(FILE), format!("{old}\n{{\"half")).unwrap();
    assert!(said(&program(&["show", "--user", "BOB"], dir.path())).contains("2026-01-02T03:04:05Z"));
    assert_eq!(
        program(&["verify"], dir.path()).status.code(),
        Some(2),
        "there is nothing to verify yet"
    );
    let audit = open(dir.path(), ROOMY, None).unwrap();
    write(&audit, &names(1, 2)).await;
    assert_eq!(file_names(dir.path()), ["audit-unchained.jsonl", FILE]);
    assert_eq!(good(dir.path()).lines, 2);
    let output = program(&["show", "--user", "BOB", "--json"], dir.path());
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{old}\n"));
    // Once there is a chain, a file without one is damage.
    close(audit).await;
    fs::write(dir.path().join(FILE), format!("{old}\n")).unwrap();
    assert!(matches!(open(dir.path(), ROOMY, None), Err(Error::Damaged { .. })));
}

#[tokio::test]
async fn show_finds_by_user_group_operation_and_time() {
    let (dir, _) = made(TIGHT, 7).await;
    let audit = open(dir.path(), TIGHT, None).unwrap();
    audit
        .refused(&context(), OperationKind::DeleteGroups, "Site-Admins", "protected")
        .await;
    assert!(audit.flush().await);
    let count = |arguments: &[&str]| {
        let output = program(&[&["show", "--json"], arguments].concat(), dir.path());
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(output.stderr.is_empty(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap().lines().count()
    };
    let operation = "0f".repeat(16);
    for (arguments, expected) in [
        (&[][..], 8),
        (&["--user", "USER000003"], 1),
        (&["--user", "a-1"], 7),
        (&["--user", "A-1"], 0),
        (&["--user", "Alice"], 8),
        (&["--user", "nobody"], 0),
        (&["--group", "TEAM"], 7),
        (&["--group", "g-1"], 7),
        (&["--group", "site-admins"], 1),
        (&["--operation", &operation], 7),
        (&["--since", "1h"], 8),
        (&["--since", "2020-01-01"], 8),
        (&["--since", "2999-01-01T00:00:00Z"], 0),
        (&["--user", "user000003", "--group", "site-admins"], 0),
    ] {
        assert_eq!(count(arguments), expected, "{arguments:?}");
    }
    let text = said(&program(&["show", "--group", "site-admins"], dir.path()));
    assert!(
        text.contains("alice delete_groups in \"Site-Admins\": (the whole call) refused protected"),
        "{text}"
    );
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(program(&["show"], empty.path()).status.code(), Some(2));
    assert_eq!(program(&["verify"], empty.path()).status.code(), Some(2));
    assert_eq!(
        program(&["verify", "--head", "nonsense"], dir.path()).status.code(),
        Some(2)
    );
}

#[tokio::test]
async fn a_damaged_audit_is_renewed_behind_the_head_and_the_old_files_stay() {
    let (dir, head) = made(TIGHT, 9).await;
    let path = dir.path().join(FILE);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("team", "tema")).unwrap();
    assert!(matches!(
        open(dir.path(), TIGHT, Some(head)),
        Err(Error::Damaged { .. })
    ));
    let before = file_names(dir.path());
    let output = program(&["renew", "--head", &head.to_string()], dir.path());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let aside = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let aside = aside.filter(|path| path.is_dir()).collect::<Vec<_>>();
    assert_eq!(file_names(&aside[0]), before);
    assert_eq!(
        program(&["verify"], &aside[0]).status.code(),
        Some(1),
        "what was damaged still is"
    );
    let audit = open(dir.path(), TIGHT, Some(head)).unwrap();
    write(&audit, &names(1, 5)).await;
    let (walked, damages) = verify(dir.path(), Some(head));
    assert!(
        damages.is_empty() && walked.is_compared && walked.is_renewed,
        "{damages:?}"
    );
    assert_eq!((walked.first_seq, walked.head.seq), (10, 14));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_programs_audit_is_verified_while_it_writes_and_after_it_was_killed() {
    let cloud = Cloud::start(extender_facade::simulator::Options {
        users: 400,
        group: vec!["team=5".parse().unwrap()],
        ..Default::default()
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let map = dir.path().join("map.csv");
    let rows = cloud
        .people
        .iter()
        .map(|person| format!("{},{}\n", person.username, person.account_id));
    fs::write(&map, format!("username,account_id\n{}", rows.collect::<String>())).unwrap();
    let more = [("FACADE__IDENTITY__MAP_FILE", map.to_str().unwrap())];
    let mut last = 0;
    for round in 0..2 {
        let mut program = Program::start(&state, &format!("http://{}", cloud.address), &more);
        let (facade, admin) = program.serves();
        let request = cloud
            .client
            .post(format!("http://{facade}/rest/extender/1.0/group/addUsers/team"))
            .body(json!({ "users": names(10 + round * 150, 150) }).to_string());
        let call = tokio::spawn(try_send(request));
        while !call.is_finished() {
            let dir = state.clone();
            let output = tokio::task::spawn_blocking(move || bed::program(&["verify"], &dir))
                .await
                .unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        }
        assert_eq!(call.await.unwrap().unwrap().status, 200);
        let began = Instant::now();
        // On the disk a moment after the answer.
        let (seq, short) = loop {
            let figures = try_send(cloud.client.get(format!("http://{admin}/metrics")))
                .await
                .unwrap()
                .text();
            let figure = |name: &str| -> u64 {
                let line = figures
                    .lines()
                    .find(|line| line.starts_with(&format!("{name} ")))
                    .unwrap();
                line.rsplit_once(' ').unwrap().1.parse().unwrap()
            };
            let (seq, short) = (figure("facade_audit_seq"), figure("facade_audit_head"));
            if seq >= last + 150 {
                break (seq, short);
            }
            assert!(began.elapsed() < PATIENCE, "{seq}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        last = seq;
        program.kill();
        let output = bed::program(&["verify", "--head", &format!("{seq}:{short:012x}")], &state);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
    let shown = said(&program(&["show", "--user", "user000200", "--json"], &state));
    assert_eq!(shown.lines().count(), 1, "{shown}");
}
