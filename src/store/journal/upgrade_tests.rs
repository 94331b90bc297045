//! Journals of earlier formats.

use tempfile::TempDir;

use super::tests::report;
use super::*;
use crate::model::report::Name;
use crate::model::{GroupName, Wait};
use crate::store::sqlite::Format;

/// The format's statements as they were released.
const FORMAT_1: &str = include_str!("format_1.sql");

/// The operation that stands in every one of them.
fn kept() -> Report {
    let account = |n: usize| Some(AccountId::new(&format!("a{n}")));
    let name = |n: usize, verdict| Name {
        name: format!("user{n}"),
        account: account(n),
        group: None,
        verdict,
    };
    let names = vec![name(0, Some(Verdict::DONE)), name(1, None)];
    Report {
        id: OperationId::parse("0123456789abcdef0123456789abcdef").unwrap(),
        group: Some((GroupId::new("g1"), GroupName::new("developers"))),
        cost: Cost {
            calls: 7,
            retries: 2,
            waited_ms: 1234,
            waits: Default::default(),
        },
        ..report(OperationKind::AddMembers, names)
    }
}

/// Makes a journal of format 1, closed properly, in the directory.
fn old(directory: &TempDir) -> PathBuf {
    let path = directory.path().join(FILE);
    let connection = Connection::open(&path).unwrap();
    let application = file::FORMAT.application;
    connection
        .execute_batch(&format!(
            "BEGIN; PRAGMA application_id = {application}; PRAGMA user_version = 1; {FORMAT_1} COMMIT;
             PRAGMA journal_mode = WAL;
             INSERT INTO operation (id, kind, caller, caller_key, visitor, request, site, group_id, group_name, dry_run,
                 digest, started_at, state, plan, no_access_granted, calls, retries, waited_ms, done, skipped, in_doubt,
                 unsettled)
             VALUES ('0123456789abcdef0123456789abcdef', 'add_members', 'script', 'account:script', 0, 'r1',
                 'https://example.atlassian.net', 'g1', 'developers', 0, X'010203', 1000, 'running', '{{}}', 0, 7, 2, 1234,
                 0, 0, 0, 2);
             INSERT INTO name VALUES (1, 0, 'user0', 'a0', NULL, 'done'), (1, 1, 'user1', 'a1', NULL, NULL);
             INSERT INTO setting VALUES ('audit_head', 'the head');"
        ))
        .unwrap();
    connection.close().unwrap();
    path
}

fn format_of(path: &Path) -> i64 {
    let connection = Connection::open(path).unwrap();
    connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap()
}

#[tokio::test]
async fn a_journal_of_format_1_is_upgraded_keeps_what_is_in_it_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = old(&directory);
    let mut kept = kept();
    for _ in 0..2 {
        let journal = Journal::open(directory.path(), Metrics::new()).unwrap();
        // Beside it, while the log alone tells the new format.
        let reader = ReadOnly::open(directory.path()).unwrap();
        assert_eq!(journal.unfinished().await.unwrap(), [kept.clone()]);
        assert_eq!(reader.report(&kept.id).unwrap(), Some(kept.clone()));
        assert_eq!(reader.head().unwrap().as_deref(), Some("the head"));
        reader.check().unwrap();
    }
    assert_eq!(format_of(&path), 2);
    let journal = Journal::open(directory.path(), Metrics::new()).unwrap();
    kept.cost += Cost {
        calls: 1,
        waited_ms: 70,
        waits: [(Wait::Pace, 20), (Wait::Outage, 50)].into_iter().collect(),
        ..Cost::default()
    };
    (kept.state, kept.finished_at) = (State::Finished, Some(9));
    kept.names[1].verdict = Some(Verdict::DONE);
    journal.settle(&kept.id, 1, Verdict::DONE);
    journal.finish(&kept.id, 9, State::Finished, kept.cost);
    journal.flush().await.unwrap();
    let next = Report {
        id: OperationId::random(),
        ..self::kept()
    };
    journal.begin(next.clone()).await.unwrap();
    assert_eq!(journal.report(&kept.id).await.unwrap(), Some(kept));
    assert_eq!(journal.report(&next.id).await.unwrap(), Some(next));
}

#[test]
fn an_upgraded_file_has_the_tables_of_a_new_one() {
    let [upgraded, new] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    old(&upgraded);
    let shape = |directory: &TempDir| -> Vec<String> {
        let connection = file::FORMAT.open(&directory.path().join(FILE)).unwrap();
        let mut statement = connection
            .prepare(
                "SELECT concat_ws(' ', entry.type, entry.name, place.cid, place.name, place.type, place.\"notnull\",
                     place.dflt_value, place.pk)
                 FROM sqlite_schema AS entry JOIN pragma_table_xinfo(entry.name) AS place ORDER BY 1",
            )
            .unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    let (upgraded, new) = (shape(&upgraded), shape(&new));
    assert!(new.iter().any(|row| row.contains("waits TEXT 1 ''")), "{new:#?}");
    assert_eq!(upgraded, new);
    assert_eq!(file::FORMAT.upgrades.len() as i64 + 1, file::FORMAT.number);
}

#[test]
fn who_only_reads_refuses_an_older_file_leaves_it_alone_and_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = old(&directory);
    let before = std::fs::read(&path).unwrap();
    let error = ReadOnly::open(directory.path()).unwrap_err();
    assert!(matches!(error, Error::Older { found: 1, known: 2, .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains(path.to_str().unwrap()) && text.contains("start the facade on it once"),
        "{text}"
    );
    assert!(std::fs::read(&path).unwrap() == before);
}

#[tokio::test]
async fn an_upgrade_that_fails_leaves_the_file_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = old(&directory);
    let before = std::fs::read(&path).unwrap();
    let broken = Format {
        upgrades: &["ALTER TABLE operation ADD COLUMN waits TEXT; DELETE FROM name; INSERT INTO nowhere VALUES (1);"],
        ..file::FORMAT
    };
    let error = broken.open(&path).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    assert!(std::fs::read(&path).unwrap() == before);
    let journal = Journal::open(directory.path(), Metrics::new()).unwrap();
    assert_eq!(journal.unfinished().await.unwrap(), [kept()]);
}

#[tokio::test]
async fn wherever_an_upgrade_is_cut_the_next_opening_finds_everything() {
    let directory = tempfile::tempdir().unwrap();
    let path = old(&directory);
    let connection = file::FORMAT.open(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let log = std::fs::read(directory.path().join(format!("{FILE}-wal"))).unwrap();
    drop(connection);
    assert!(log.len() > 4096, "the upgrade is not in the log: {} bytes", log.len());
    let mut formats = HashSet::new();
    for end in (0..=log.len()).step_by(509).chain([log.len()]) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        std::fs::write(&path, &bytes).unwrap();
        std::fs::write(directory.path().join(format!("{FILE}-wal")), &log[..end]).unwrap();
        formats.insert(ReadOnly::open(directory.path()).map_or(1, |_| 2));
        let journal = Journal::open(directory.path(), Metrics::new()).unwrap();
        assert_eq!(journal.unfinished().await.unwrap(), [kept()], "{end} of {}", log.len());
        drop(journal);
        assert_eq!(format_of(&path), 2);
    }
    assert_eq!(formats, HashSet::from([1, 2]), "all cuts were on one side");
}
