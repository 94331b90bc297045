//! The store over real files, each in a directory of its own.

use std::path::Path;

use tempfile::TempDir;

use super::*;

fn row(name: &str, source: Source, account: &str, learned_at: i64) -> Learned {
    Learned {
        name: NameKey::of(name),
        account: AccountId::new(account),
        source,
        standing: Standing::Active,
        learned_at,
    }
}

fn open(directory: &TempDir) -> (Store, Metrics) {
    let metrics = Metrics::new();
    (Store::open(directory.path(), metrics.clone()).unwrap(), metrics)
}

async fn one(store: &Store, name: &str) -> Vec<Learned> {
    let mut found = store.look_up(&[NameKey::of(name)]).await.unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[tokio::test]
async fn what_was_learned_is_there_after_a_restart_in_every_direction() {
    let directory = tempfile::tempdir().unwrap();
    let rows = [
        row("Ärger", Source::Jira, "a1", 3),
        // Lower case composes where the capital does not: the text of a key is not made a key again.
        row("J\u{30c}", Source::Admin, "a2", 2),
        Learned {
            standing: Standing::Tombstoned,
            ..row("jdoe", Source::Members, "a1", 1)
        },
        row("jdoe", Source::Scim, "a3", i64::MAX),
    ];
    let (store, _) = open(&directory);
    store.learn(rows.to_vec());
    store.flush().await.unwrap();
    drop(store);

    let (store, _) = open(&directory);
    let names = [
        NameKey::of("JDOE"),
        NameKey::of("nobody"),
        NameKey::of("J\u{30c}"),
        NameKey::of("ärger"),
    ];
    let found = store.look_up(&names).await.unwrap();
    assert_eq!(
        found,
        [
            vec![rows[2].clone(), rows[3].clone()],
            vec![],
            vec![rows[1].clone()],
            vec![rows[0].clone()]
        ]
    );
    let accounts = ["a3", "a1", "a0"].map(AccountId::new);
    let found = store.by_accounts(&accounts).await.unwrap();
    assert_eq!(
        found,
        [vec![rows[3].clone()], vec![rows[2].clone(), rows[0].clone()], vec![]]
    );
    assert!(store.look_up(&[]).await.unwrap().is_empty());

    let mut all = Vec::new();
    let reader = ReadOnly::open(directory.path()).unwrap();
    reader
        .for_each(|row| {
            all.push(row);
            Ok::<_, Error>(())
        })
        .unwrap();
    assert!(all.is_sorted_by_key(|row| row.name.as_str().to_owned()));
    assert_eq!((all.len(), reader.count().unwrap()), (4, 4));
    reader.check().unwrap();
}

#[tokio::test]
async fn the_newest_answer_wins_whatever_the_order() {
    let directory = tempfile::tempdir().unwrap();
    let (store, metrics) = open(&directory);
    let newest = Learned {
        standing: Standing::Deactivated,
        ..row("jdoe", Source::Jira, "a1", 5)
    };
    store.learn(vec![row("jdoe", Source::Jira, "a1", 4), newest.clone()]);
    store.learn(vec![row("jdoe", Source::Jira, "a1", 3)]);
    assert_eq!(one(&store, "jdoe").await, std::slice::from_ref(&newest));
    // The same source may mean two accounts: that is what makes a name ambiguous.
    store.learn(vec![row("jdoe", Source::Jira, "a2", 1)]);
    assert_eq!(one(&store, "jdoe").await, [newest, row("jdoe", Source::Jira, "a2", 1)]);
    store.flush().await.unwrap();
    assert_eq!((metrics.store_learned.get(), metrics.store_dropped.get()), (4, 0));
}

#[tokio::test]
async fn a_replacement_forgets_what_this_source_said_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(&directory);
    let others = [row("jdoe", Source::Scim, "a1", 1), row("jdoe2", Source::Jira, "a1", 1)];
    store.learn(others.to_vec());
    store.learn(vec![
        row("jdoe", Source::Jira, "a1", 9),
        row("jdoe", Source::Jira, "a2", 9),
    ]);
    // Older than what it replaces, and with rows that are none of its business.
    let with = vec![
        row("jdoe", Source::Jira, "a3", 2),
        row("jdoe", Source::Admin, "a4", 2),
        row("other", Source::Jira, "a4", 2),
    ];
    store.replace(NameKey::of("jdoe"), Source::Jira, with.clone());
    assert_eq!(one(&store, "jdoe").await, [with[0].clone(), others[0].clone()]);
    store.replace(NameKey::of("jdoe"), Source::Jira, vec![]);
    store.learn(vec![row("jdoe", Source::Map, "a5", 1)]);
    assert_eq!(
        one(&store, "jdoe").await,
        [row("jdoe", Source::Map, "a5", 1), others[0].clone()]
    );
    assert_eq!(one(&store, "jdoe2").await, [others[1].clone()]);
    assert!(one(&store, "other").await.is_empty());
}

#[tokio::test]
async fn every_look_up_sees_what_was_learned_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(&directory);
    for n in 0..500 {
        let name = format!("user{n}");
        store.learn(vec![row(&name, Source::Members, &format!("a{n}"), n)]);
        assert_eq!(one(&store.clone(), &name).await.len(), 1, "{n}");
    }
}

#[tokio::test]
async fn what_finds_no_room_is_dropped_and_counted_and_old_claims_are_not_told_in_its_stead() {
    let directory = tempfile::tempdir().unwrap();
    let (store, metrics) = open(&directory);
    store.learn(vec![
        row("jdoe", Source::Jira, "a1", 1),
        row("jdoe", Source::Scim, "a1", 1),
    ]);
    store.flush().await.unwrap();
    // Somebody else writes: the thread waits for them, and the queue fills behind it.
    let other = Connection::open(directory.path().join(FILE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let batch = MAX_QUEUED / 5;
    for n in 0..7 {
        store.learn(vec![row(&format!("user{n}"), Source::Jira, "a2", 1); batch]);
    }
    // The thread may have taken one batch, not more; five fill the queue.
    let dropped = metrics.store_dropped.get();
    assert!(
        dropped == batch as u64 || dropped == 2 * batch as u64,
        "{dropped} of {}",
        7 * batch
    );
    store.replace(NameKey::of("jdoe"), Source::Jira, vec![]);
    assert_eq!(metrics.store_dropped.get(), dropped + 1);
    other.execute_batch("COMMIT").unwrap();
    store.flush().await.unwrap();
    assert_eq!(metrics.store_learned.get(), 2 + 7 * batch as u64 - dropped);
    // The file still says otherwise.
    assert_eq!(one(&store, "jdoe").await, [row("jdoe", Source::Scim, "a1", 1)]);
    store.replace(
        NameKey::of("jdoe"),
        Source::Jira,
        vec![row("jdoe", Source::Jira, "a3", 1)],
    );
    store.flush().await.unwrap();
    assert_eq!(one(&store, "jdoe").await.len(), 2);
}

#[tokio::test]
async fn doubt_ends_however_much_was_lost() {
    let directory = tempfile::tempdir().unwrap();
    let (store, metrics) = open(&directory);
    let names = doubt::MAX + 10;
    let old = |n: usize| row(&format!("user{n}"), Source::Scim, "a1", 1);
    // A large answer finds room whole.
    let answer = (0..names).map(|n| (old(n).name, Source::Scim, vec![old(n)]));
    store.replace_all(answer.collect());
    store.learn(vec![row("user1", Source::Jira, "a1", 1)]);
    store.flush().await.unwrap();
    assert_eq!(metrics.store_dropped.get(), 0);
    assert_eq!(
        store.by_accounts(&[AccountId::new("a1")]).await.unwrap()[0].len(),
        names + 1
    );

    let other = Connection::open(directory.path().join(FILE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for _ in 0..3 {
        store.learn(vec![row("other", Source::Jira, "a2", 1); MAX_QUEUED]);
    }
    let lost = (0..names).map(|n| (old(n).name, Source::Scim, vec![]));
    store.replace_all(lost.collect());
    other.execute_batch("COMMIT").unwrap();
    store.flush().await.unwrap();
    // What is in doubt is not told, and soon not there any more.
    let jira = row("user1", Source::Jira, "a1", 1);
    assert_eq!(store.by_accounts(&[AccountId::new("a1")]).await.unwrap()[0], [jira]);
    let reader = ReadOnly::open(directory.path()).unwrap();
    let began = std::time::Instant::now();
    while !store.doubts.some(1).is_empty() {
        assert!(began.elapsed().as_secs() < 60, "it does not end");
        store.flush().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(reader.count().unwrap(), 2);
    // From then on everything is believed again, however old.
    store.learn(vec![old(3), old(names - 1)]);
    assert_eq!(one(&store, "user3").await, [old(3)]);
    assert_eq!(one(&store, &format!("user{}", names - 1)).await, [old(names - 1)]);
}

#[tokio::test]
async fn a_large_question_lets_others_come_between() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(&directory);
    store.learn(
        (0..5000)
            .map(|n| row(&format!("user{n}"), Source::Jira, &format!("a{n}"), 1))
            .collect(),
    );
    let names: Vec<NameKey> = (0..3 * MAX_ASKED).map(|n| NameKey::of(&format!("user{n}"))).collect();
    let found = store.look_up(&names).await.unwrap();
    let known = |(n, rows): (usize, &Vec<Learned>)| rows.len() == usize::from(n < 5000);
    assert!(found.len() == names.len() && found.iter().enumerate().all(known));
}

#[tokio::test]
async fn a_full_disk_loses_answers_and_ends_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let connection = file::FORMAT.open(&directory.path().join(FILE)).unwrap();
    connection.execute_batch("PRAGMA max_page_count = 30").unwrap();
    let metrics = Metrics::new();
    let store = Store::start(connection, metrics.clone()).unwrap();
    let jdoe = row("jdoe", Source::Jira, "a1", 1);
    store.learn(vec![jdoe.clone()]);
    store.flush().await.unwrap();
    let many = |name: &str| {
        (0..5000)
            .map(|n| row(name, Source::Jira, &format!("a{n}"), n))
            .collect::<Vec<_>>()
    };
    store.learn(many("many"));
    let error = store.flush().await.unwrap_err();
    assert!(error.to_string().contains("full"), "{error}");
    assert_eq!((metrics.store_failures.get(), metrics.store_dropped.get()), (1, 5000));
    assert!(one(&store, "many").await.is_empty());
    assert_eq!(one(&store, "jdoe").await, [jdoe]);

    store.replace(NameKey::of("jdoe"), Source::Jira, many("jdoe"));
    assert!(store.flush().await.is_err());
    assert!(one(&store, "jdoe").await.is_empty(), "in doubt");
    let second = row("jdoe", Source::Jira, "a2", 1);
    store.replace(NameKey::of("jdoe"), Source::Jira, vec![second.clone()]);
    store.flush().await.unwrap();
    assert_eq!(one(&store, "jdoe").await, [second]);
}

/// What `Store::open` says about a state directory whose store is `content`; it must leave it as it is.
fn refusal(content: &[u8]) -> Error {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    std::fs::write(&path, content).unwrap();
    let error = Store::open(directory.path(), Metrics::new()).unwrap_err();
    assert!(std::fs::read(&path).unwrap() == content, "touched: {error}");
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()) && text.contains("move"), "{text}");
    assert!(ReadOnly::open(directory.path()).is_err() || matches!(error, Error::Damaged { .. }));
    error
}

/// The bytes of a store with some rows, closed properly.
fn bytes(change: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    let connection = file::FORMAT.open(&path).unwrap();
    for n in 0..1000 {
        let row = row(&format!("user{n}"), Source::Jira, &format!("a{n}"), n);
        file::learn(&connection, &row).unwrap();
    }
    connection.execute_batch(change).unwrap();
    connection.close().unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn somebody_elses_file_is_refused_and_left_alone() {
    let mut foreign = vec![
        b"dear diary".to_vec(),
        vec![0; 4096],
        bytes("PRAGMA application_id = 77"),
        bytes("")[..60].to_vec(),
    ];
    foreign.push([b"x", &bytes("")[1..]].concat());
    for content in foreign {
        assert!(matches!(refusal(&content), Error::Foreign { .. }));
    }
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let error = refusal(&bytes("PRAGMA user_version = 2"));
    assert!(matches!(error, Error::Newer { found: 2, .. }), "{error}");
}

#[test]
fn a_newer_format_that_stands_in_the_log_alone_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let connection = file::FORMAT.open(&directory.path().join(FILE)).unwrap();
    connection.execute_batch("PRAGMA user_version = 2").unwrap();
    let error = Store::open(directory.path(), Metrics::new()).unwrap_err();
    assert!(matches!(error, Error::Newer { found: 2, .. }), "{error}");
}

#[test]
fn a_damaged_file_is_refused_and_left_alone() {
    let good = bytes("");
    let mut scratched = good.clone();
    scratched[3 * 4096..4 * 4096].fill(0x5a);
    let mut header = good.clone();
    header[16..20].fill(0xff);
    for content in [
        &good[..good.len() - 4096],
        &good[..5000],
        &good[..100],
        &scratched,
        &header,
    ] {
        let error = refusal(content);
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
    }
}

#[tokio::test]
async fn an_empty_file_is_a_store_that_was_never_begun() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(FILE), b"").unwrap();
    assert!(matches!(ReadOnly::open(directory.path()), Err(Error::Absent { .. })));
    let (store, _) = open(&directory);
    store.learn(vec![row("jdoe", Source::Jira, "a1", 1)]);
    assert_eq!(one(&store, "jdoe").await.len(), 1);
}

#[test]
fn an_empty_file_beside_a_log_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(FILE), b"").unwrap();
    let log = directory.path().join(format!("{FILE}-wal"));
    std::fs::write(&log, b"what was learned").unwrap();
    let error = Store::open(directory.path(), Metrics::new()).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert_eq!(std::fs::read(log).unwrap(), b"what was learned");
}

#[tokio::test]
async fn somebody_who_only_reads_makes_nothing_and_sees_what_is_committed() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(ReadOnly::open(directory.path()), Err(Error::Absent { .. })));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let (store, _) = open(&directory);
    let reader = ReadOnly::open(directory.path()).unwrap();
    assert_eq!(reader.count().unwrap(), 0);
    store.learn(vec![row("jdoe", Source::Jira, "a1", 1)]);
    store.flush().await.unwrap();
    assert_eq!(reader.count().unwrap(), 1);
}

#[cfg(unix)]
#[tokio::test]
async fn only_its_owner_can_look_into_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let outer = tempfile::tempdir().unwrap();
    let directory = outer.path().join("state");
    let _lock = StateLock::take(&directory).unwrap();
    let store = Store::open(&directory, Metrics::new()).unwrap();
    store.learn(vec![row("jdoe", Source::Jira, "a1", 1)]);
    store.flush().await.unwrap();
    let rights = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(rights(&directory), 0o700);
    let files: Vec<_> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        assert_eq!(rights(&file), 0o600, "{file:?}");
    }
}

#[test]
fn a_state_directory_is_taken_once_and_free_again_afterwards() {
    let outer = tempfile::tempdir().unwrap();
    let directory = outer.path().join("state");
    StateLock::ask(&directory).unwrap();
    assert!(!directory.exists(), "asking makes nothing");
    let lock = StateLock::take(&directory).unwrap();
    for error in [
        StateLock::take(&directory).unwrap_err(),
        StateLock::ask(&directory).unwrap_err(),
    ] {
        let said = format!("(pid {})", std::process::id());
        assert!(error.to_string().contains(&said), "{error}");
    }
    drop(lock);
    StateLock::ask(&directory).unwrap();
    StateLock::take(&directory).unwrap();
}
