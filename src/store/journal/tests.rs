//! The journal over real files, each in a directory of its own.

use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::model::report::{Name, Tally};
use crate::model::{GroupName, OperationKind, Skip, Wait};

fn open(directory: &TempDir) -> (Journal, Metrics) {
    let metrics = Metrics::new();
    (Journal::open(directory.path(), metrics.clone()).unwrap(), metrics)
}

fn name(name: &str) -> Name {
    Name {
        name: name.to_owned(),
        account: None,
        group: None,
        verdict: None,
    }
}

pub(super) fn report(kind: OperationKind, names: Vec<Name>) -> Report {
    Report {
        id: OperationId::random(),
        kind,
        caller: "script".to_owned(),
        caller_key: "account:script".to_owned(),
        visitor: false,
        request: "r1".to_owned(),
        site: "https://example.atlassian.net".to_owned(),
        group: None,
        dry_run: false,
        undo_of: None,
        digest: vec![1, 2, 3],
        idempotency: None,
        started_at: 1000,
        finished_at: None,
        state: State::Running,
        plan: "{}".to_owned(),
        no_access_granted: false,
        delivered: false,
        cost: Cost::default(),
        names,
    }
}

/// An operation on members of `group` with the accounts `a0`, `a1`, ….
fn adding(group: &str, accounts: usize) -> Report {
    let member = |n: usize| Name {
        account: Some(AccountId::new(&format!("a{n}"))),
        ..name(&format!("user{n}"))
    };
    Report {
        group: Some((GroupId::new(group), GroupName::new(&format!("Name of {group}")))),
        ..report(OperationKind::AddMembers, (0..accounts).map(member).collect())
    }
}

fn on_groups(kind: OperationKind, names: &[(&str, Option<&str>)]) -> Report {
    let group = |(text, id): &(&str, Option<&str>)| Name {
        group: id.map(GroupId::new),
        ..name(text)
    };
    report(kind, names.iter().map(group).collect())
}

fn accounts(of: &[&str]) -> HashSet<AccountId> {
    of.iter().copied().map(AccountId::new).collect()
}

async fn finished(journal: &Journal, id: &OperationId, at: i64) {
    journal.finish(id, at, State::Finished, Cost::default());
    journal.flush().await.unwrap();
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    let told: Vec<Verdict> = Skip::ALL.into_iter().map(Verdict::skipped).collect();
    prop_oneof![
        Just(Verdict::DONE),
        Just(Verdict::InDoubt),
        proptest::sample::select(told)
    ]
}

fn any_name() -> impl Strategy<Value = Name> {
    let id = || proptest::option::of(".{0,40}");
    (".{0,20}", id(), id(), proptest::option::of(any_verdict())).prop_map(|(name, account, group, verdict)| Name {
        name,
        account: account.as_deref().map(AccountId::new),
        group: group.as_deref().map(GroupId::new),
        verdict,
    })
}

fn any_report() -> impl Strategy<Value = Report> {
    let texts = (".{0,20}", ".{0,20}", ".{0,20}", ".{0,20}", ".{0,60}");
    let bits = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let state = prop_oneof![
        Just(State::Running),
        Just(State::Finished),
        ".{0,30}".prop_map(State::Interrupted)
    ];
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    let rest = (
        proptest::sample::select(OperationKind::ALL.to_vec()),
        proptest::option::of((".{0,9}", ".{0,9}")),
        bytes(),
        proptest::option::of((".{0,9}", bytes())),
        any::<i64>(),
        proptest::option::of(any::<i64>()),
        state,
        (0..i64::MAX as u64, 0..i64::MAX as u64, 0..i64::MAX as u64),
        proptest::array::uniform6(any::<u64>()),
        proptest::collection::vec(any_name(), 0..20),
    );
    (texts, bits, rest).prop_map(|(texts, bits, rest)| {
        let (kind, group, digest, idempotency, started_at, finished_at, state, cost, waits, names) = rest;
        Report {
            id: OperationId::random(),
            kind,
            caller: texts.0,
            caller_key: texts.1,
            visitor: bits.0,
            request: texts.2,
            site: texts.3,
            group: group.map(|(id, name)| (GroupId::new(&id), GroupName::new(&name))),
            dry_run: bits.1,
            undo_of: bits.2.then(OperationId::random),
            digest,
            idempotency,
            started_at,
            finished_at,
            state,
            plan: texts.4,
            no_access_granted: bits.3,
            delivered: false,
            cost: Cost {
                calls: cost.0,
                retries: cost.1,
                waited_ms: cost.2,
                waits: Wait::ALL.into_iter().zip(waits).collect(),
            },
            names,
        }
    })
}

/// What a list shows of it.
fn summary(report: &Report) -> Summary {
    Summary {
        id: report.id.clone(),
        kind: report.kind,
        caller: report.caller.clone(),
        group: report.group.as_ref().map(|(_, name)| name.clone()),
        dry_run: report.dry_run,
        started_at: report.started_at,
        finished_at: report.finished_at,
        state: report.state.clone(),
        tally: report.tally(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]
    #[test]
    fn every_field_comes_back_as_it_went_in(
        reports in proptest::collection::vec(any_report(), 1..4),
        settled in proptest::collection::vec((any::<proptest::sample::Index>(), any_verdict()), 0..30),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let (journal, metrics) = open(&directory);
            let mut reports = reports;
            for report in &mut reports {
                journal.begin(report.clone()).await.unwrap();
                for (index, verdict) in &settled {
                    if !report.names.is_empty() {
                        let at = index.index(report.names.len());
                        journal.settle(&report.id, at, *verdict);
                        report.names[at].verdict = Some(*verdict);
                    }
                }
                assert_eq!(journal.report(&report.id).await.unwrap().as_ref(), Some(&*report));
                report.state = State::Interrupted("again".to_owned());
                report.finished_at = Some(7);
                journal.finish(&report.id, 7, report.state.clone(), report.cost);
journal.flush().await.unwrap();
            }
            let listed: Vec<Summary> = reports.iter().rev().map(summary).collect();
            assert_eq!(journal.list(10).await.unwrap(), listed);
            drop(journal);
            let (journal, _) = open(&directory);
            let reader = ReadOnly::open(directory.path()).unwrap();
            for report in &reports {
                assert_eq!(journal.report(&report.id).await.unwrap().as_ref(), Some(report));
                assert_eq!(reader.report(&report.id).unwrap().as_ref(), Some(report));
            }
            assert_eq!(reader.list(10).unwrap(), listed);
            reader.check().unwrap();
            assert_eq!(metrics.journal_failures.get(), 0);
        });
    }
}

#[tokio::test]
async fn ten_thousand_outcomes_are_there_in_the_order_in_which_they_were_told() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, metrics) = open(&directory);
    let mut kept = adding("g1", 10_000);
    journal.begin(kept.clone()).await.unwrap();
    for n in 0..10_000 {
        // The last word counts.
        journal.settle(&kept.id, n, Verdict::InDoubt);
        let verdict = Verdict::skipped(Skip::ALL[n % Skip::ALL.len()]);
        let verdict = if n % 3 == 0 { Verdict::DONE } else { verdict };
        journal.clone().settle(&kept.id, n, verdict);
        kept.names[n].verdict = Some(verdict);
        if n % 2500 == 0 {
            let seen = journal.report(&kept.id).await.unwrap().unwrap();
            assert_eq!((seen.settled(), seen.names[n].verdict), (n + 1, Some(verdict)));
            let listed = journal.list(1).await.unwrap();
            assert_eq!(listed[0].tally, seen.tally());
        }
    }
    journal.flush().await.unwrap();
    let reader = ReadOnly::open(directory.path()).unwrap();
    assert!(reader.report(&kept.id).unwrap().unwrap() == kept);
    let cost = Cost {
        calls: 10_050,
        retries: 3,
        waited_ms: 5,
        waits: [(Wait::Quota, 5)].into_iter().collect(),
    };
    journal.finish(&kept.id, 2000, State::Finished, cost);
    journal.flush().await.unwrap();
    let done = reader.report(&kept.id).unwrap().unwrap();
    assert_eq!(
        (done.state, done.finished_at, done.cost),
        (State::Finished, Some(2000), cost)
    );
    let tally = Tally {
        done: 3334,
        skipped: 6666,
        ..Tally::default()
    };
    assert_eq!(reader.list(5).unwrap()[0].tally, tally);
    assert!(journal.is_writable());
    assert_eq!(
        (metrics.journal_failures.get(), metrics.journal_unwritten.get()),
        (0, 0)
    );
}

#[tokio::test]
async fn only_what_runs_is_unfinished_and_an_answer_is_given_again_until_it_was_delivered() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = open(&directory);
    let [runs, early, late, cut, delivered] = [1, 2, 3, 4, 5].map(|n| adding("g1", n));
    let dry = Report {
        dry_run: true,
        ..adding("g1", 1)
    };
    for report in [&runs, &early, &late, &cut, &delivered, &dry] {
        journal.begin(report.clone()).await.unwrap();
    }
    for (report, at) in [(&early, 10), (&late, 20), (&delivered, 30), (&dry, 30)] {
        finished(&journal, &report.id, at).await;
    }
    let state = State::Interrupted("the account may not any more".to_owned());
    journal.finish(&cut.id, 30, state, Cost::default());
    journal.flush().await.unwrap();
    journal.delivered(&delivered.id);
    let ids = |reports: Vec<Report>| reports.into_iter().map(|report| report.id).collect::<Vec<_>>();
    assert_eq!(journal.unfinished().await.unwrap(), [runs]);
    assert_eq!(
        ids(journal.undelivered(11).await.unwrap()),
        std::slice::from_ref(&late.id)
    );
    assert_eq!(
        ids(journal.undelivered(10).await.unwrap()),
        [early.id.clone(), late.id.clone()]
    );
    let ended = ids(journal.ended_since(11).await.unwrap());
    assert!(ended.contains(&late.id) && !ended.contains(&early.id), "{ended:?}");
    let ended = ids(journal.ended_since(0).await.unwrap());
    assert_eq!(ended, [early.id.clone(), late.id, cut.id, delivered.id]);
    drop(journal);
    assert_eq!(open(&directory).0.undelivered(0).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_callers_own_key_finds_their_last_call_and_nobody_elses() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = open(&directory);
    let keyed = |caller: &str, key: &str| Report {
        caller_key: caller.to_owned(),
        idempotency: Some((key.to_owned(), vec![9])),
        ..adding("g1", 1)
    };
    let [first, second, other] = [keyed("c1", "k"), keyed("c1", "k"), keyed("c2", "k")];
    for report in [&first, &second, &other, &adding("g1", 1)] {
        journal.begin(report.clone()).await.unwrap();
    }
    assert_eq!(journal.by_key("c1", "k").await.unwrap(), Some(second));
    assert_eq!(journal.by_key("c2", "k").await.unwrap(), Some(other));
    assert_eq!(journal.by_key("c1", "K").await.unwrap(), None);
    assert_eq!(journal.by_key("c3", "k").await.unwrap(), None);
}

#[tokio::test]
async fn an_operation_is_begun_once_whole_and_the_others_do_not_suffer() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = open(&directory);
    let report = adding("g1", 2);
    journal.settle(&report.id, 0, Verdict::DONE);
    journal.begin(report.clone()).await.unwrap();
    let again = Report {
        caller: "somebody else".to_owned(),
        ..adding("g1", 50)
    };
    let again = Report {
        id: report.id.clone(),
        ..again
    };
    journal.settle(&report.id, 1, Verdict::DONE);
    let other = adding("g2", 3);
    let (refused, taken) = tokio::join!(journal.begin(again), journal.begin(other.clone()));
    assert!(refused.is_err() && taken.is_ok());
    assert!(journal.is_writable());
    let group = SnapshotGroup {
        id: GroupId::new("g1"),
        name: GroupName::new("x"),
        externally_managed: false,
        settings: "{}".to_owned(),
    };
    let nobody = OperationId::random();
    assert!(journal.snapshot(&nobody, 0, &group, &[]).await.is_err());
    assert_eq!(journal.report(&nobody).await.unwrap(), None);
    assert_eq!(journal.later_changes(&nobody).await.unwrap(), Later::default());
    let seen = journal.report(&report.id).await.unwrap().unwrap();
    // What was said before the beginning is of nobody.
    let verdicts: Vec<_> = seen.names.iter().map(|name| name.verdict).collect();
    assert_eq!(
        (verdicts, seen.caller),
        (vec![None, Some(Verdict::DONE)], "script".to_owned())
    );
    assert_eq!(journal.report(&other.id).await.unwrap(), Some(other));
}

#[tokio::test]
async fn later_changes_of_members_are_those_of_the_same_group_that_happened_or_may_have() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = open(&directory);
    let before = adding("g1", 9);
    // The clock went back: what counts is who was begun later.
    let asked = Report {
        started_at: 5000,
        ..adding("g1", 9)
    };
    let later = adding("g1", 9);
    let elsewhere = adding("g2", 9);
    let dry = Report {
        dry_run: true,
        ..adding("g1", 9)
    };
    for report in [&before, &asked, &later, &elsewhere, &dry] {
        journal.begin(report.clone()).await.unwrap();
        journal.settle(&report.id, 8, Verdict::skipped(Skip::AlreadyMember));
    }
    for report in [&before, &asked, &elsewhere, &dry] {
        journal.settle(&report.id, 5, Verdict::DONE);
    }
    journal.settle(&later.id, 0, Verdict::DONE);
    journal.settle(&later.id, 1, Verdict::InDoubt);
    journal.settle(&later.id, 2, Verdict::skipped(Skip::NotAttempted));
    let found = journal.later_changes(&asked.id).await.unwrap();
    assert_eq!(found.changed.accounts, accounts(&["a0", "a1"]));
    assert_eq!(found.open.accounts, accounts(&["a3", "a4", "a5", "a6", "a7"]));
    assert_eq!(found.any().accounts.len(), 7);
    // It ended: what it has not come to, it never will.
    finished(&journal, &later.id, 1).await;
    let found = journal.later_changes(&asked.id).await.unwrap();
    assert_eq!(
        (found.changed.accounts, found.open),
        (accounts(&["a0", "a1"]), Touched::default())
    );
    assert!(journal.later_changes(&dry.id).await.unwrap() == Later::default());
    // Somebody deleted the group itself.
    let gone = on_groups(
        OperationKind::DeleteGroups,
        &[("Name of G1", Some("g1")), ("other", Some("g9"))],
    );
    journal.begin(gone.clone()).await.unwrap();
    journal.settle(&gone.id, 0, Verdict::DONE);
    journal.settle(&gone.id, 1, Verdict::skipped(Skip::Protected));
    let found = journal.later_changes(&asked.id).await.unwrap();
    assert_eq!(found.changed.groups, HashSet::from([GroupId::new("g1")]));
    assert_eq!(found.changed.names, HashSet::from([NameKey::of("name OF g1")]));
}

#[tokio::test]
async fn later_changes_of_groups_are_groups_made_deleted_or_filled() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = open(&directory);
    let asked = on_groups(OperationKind::CreateGroups, &[("One", None), ("Two", None)]);
    journal.begin(asked.clone()).await.unwrap();
    journal.settle_created(&asked.id, 0, GroupId::new("g1"));
    journal.settle(&asked.id, 1, Verdict::skipped(Skip::AlreadyExists));
    let seen = journal.report(&asked.id).await.unwrap().unwrap();
    assert_eq!(
        (&seen.names[0].group, seen.names[0].verdict),
        (&Some(GroupId::new("g1")), Some(Verdict::DONE))
    );
    assert_eq!(journal.later_changes(&asked.id).await.unwrap(), Later::default());

    let made = on_groups(
        OperationKind::CreateGroups,
        &[("THREE", None), ("Four", None), ("Five", None)],
    );
    journal.begin(made.clone()).await.unwrap();
    journal.settle(&made.id, 0, Verdict::InDoubt);
    journal.settle(&made.id, 1, Verdict::skipped(Skip::AlreadyExists));
    // One added somebody, one found everybody there already, one runs and has done something, one has not yet.
    for (group, verdict, ended) in [
        ("g1", Some(Verdict::DONE), true),
        ("g2", Some(Verdict::skipped(Skip::AlreadyMember)), true),
        ("g3", Some(Verdict::DONE), false),
        ("g4", None, false),
    ] {
        let adds = adding(group, 1);
        journal.begin(adds.clone()).await.unwrap();
        verdict
            .into_iter()
            .for_each(|verdict| journal.settle(&adds.id, 0, verdict));
        if ended {
            finished(&journal, &adds.id, 1).await;
        }
    }
    let found = journal.later_changes(&asked.id).await.unwrap();
    let ids = |of: &[&str]| of.iter().copied().map(GroupId::new).collect::<HashSet<_>>();
    let keys = |of: &[&str]| of.iter().copied().map(NameKey::of).collect::<HashSet<_>>();
    assert_eq!(found.changed.groups, ids(&["g1", "g3"]));
    assert_eq!(found.changed.names, keys(&["three", "name of g1", "name of g3"]));
    assert_eq!(found.open.groups, ids(&["g4"]));
    assert_eq!(found.open.names, keys(&["five", "name of g4"]));
    assert!(found.changed.accounts.is_empty() && found.open.accounts.is_empty());
}

#[tokio::test]
async fn a_deleted_groups_members_are_kept_as_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = open(&directory);
    let gone = on_groups(OperationKind::DeleteGroups, &[("One", Some("g1")), ("Two", Some("g2"))]);
    journal.begin(gone.clone()).await.unwrap();
    let group = |n: usize, settings: &str| SnapshotGroup {
        id: GroupId::new(&format!("g{n}")),
        name: GroupName::new("Ünï"),
        externally_managed: n == 2,
        settings: settings.to_owned(),
    };
    // In no order, and one twice, as a page that slipped would show it.
    let members: Vec<AccountId> = (0..10_000)
        .map(|n| AccountId::new(&format!("a{}", n * 7919 % 9999)))
        .collect();
    journal
        .snapshot(&gone.id, 1, &group(2, "{\"a\":1}"), &members)
        .await
        .unwrap();
    journal.snapshot(&gone.id, 0, &group(1, "old"), &members).await.unwrap();
    journal
        .snapshot(&gone.id, 0, &group(1, "{}"), &members[..2])
        .await
        .unwrap();
    drop(journal);
    let (journal, _) = open(&directory);
    let kept = journal.snapshots(&gone.id).await.unwrap();
    let expected = vec![
        (0, group(1, "{}"), members[..2].to_vec()),
        (1, group(2, "{\"a\":1}"), members),
    ];
    assert!(kept == expected);
    assert!(journal.snapshots(&OperationId::random()).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_old_and_ended_is_forgotten_with_all_that_belongs_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = open(&directory);
    let group = SnapshotGroup {
        id: GroupId::new("g1"),
        name: GroupName::new("x"),
        externally_managed: false,
        settings: "{}".to_owned(),
    };
    let members: Vec<AccountId> = (0..5000).map(|n| AccountId::new(&format!("a{n}"))).collect();
    let mut last = Vec::new();
    for n in 0..250 {
        let report = adding("g1", if n == 100 { 6000 } else { 3 });
        journal.begin(report.clone()).await.unwrap();
        if n == 120 {
            journal.snapshot(&report.id, 0, &group, &members).await.unwrap();
        }
        if n == 3 {
            last.push(report.id);
            continue;
        }
        finished(&journal, &report.id, n).await;
        if n >= 240 {
            last.push(report.id);
        }
    }
    journal.forget_before(240).await.unwrap();
    let listed: Vec<_> = journal
        .list(1000)
        .await
        .unwrap()
        .into_iter()
        .map(|one| one.id)
        .rev()
        .collect();
    assert_eq!(listed, last, "the one that runs is the oldest");
    let bare = Connection::open(directory.path().join(FILE)).unwrap();
    let rows = |table: &str| -> i64 {
        bare.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
            .unwrap()
    };
    let left = ["operation", "name", "snapshot", "snapshot_member", "forgotten"].map(rows);
    assert_eq!(left, [11, 33, 0, 0, 0]);
    // A number is never given twice, or something old would count as later.
    journal.forget_before(i64::MAX).await.unwrap();
    journal.begin(adding("g1", 1)).await.unwrap();
    let number: i64 = bare
        .query_row("SELECT max(number) FROM operation", [], |row| row.get(0))
        .unwrap();
    assert_eq!(number, 251);
    ReadOnly::open(directory.path()).unwrap().check().unwrap();
}

#[tokio::test]
async fn the_audits_head_is_the_last_one_that_was_set() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = open(&directory);
    assert_eq!(journal.head().await.unwrap(), None);
    (0..1000).for_each(|n| journal.set_head(&format!("head {n}")));
    assert_eq!(journal.head().await.unwrap().as_deref(), Some("head 999"));
    journal.flush().await.unwrap();
    let reader = ReadOnly::open(directory.path()).unwrap();
    assert_eq!(reader.head().unwrap().as_deref(), Some("head 999"));
    journal.set_head("the end");
    drop(journal);
    // The thread may not have come to its end yet.
    let began = std::time::Instant::now();
    while reader.head().unwrap().as_deref() != Some("the end") {
        assert!(began.elapsed().as_secs() < 60, "it was lost");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A journal whose file somebody else can hold on to.
fn impatient(directory: &TempDir) -> (Journal, Connection, Metrics) {
    let path = directory.path().join(FILE);
    let connection = file::FORMAT.open(&path).unwrap();
    connection.busy_timeout(Duration::ZERO).unwrap();
    let metrics = Metrics::new();
    let journal = Journal::start(connection, path.clone(), metrics.clone()).unwrap();
    let other = Connection::open(path).unwrap();
    other.busy_timeout(Duration::from_secs(30)).unwrap();
    (journal, other, metrics)
}

#[tokio::test]
async fn what_cannot_be_written_is_told_kept_and_written_later() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, other, metrics) = impatient(&directory);
    let mut running = adding("g1", 10);
    let waiting = adding("g2", 1);
    journal.begin(running.clone()).await.unwrap();
    journal.begin(waiting.clone()).await.unwrap();
    finished(&journal, &waiting.id, 50).await;
    assert!(journal.is_writable());

    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for n in 0..6 {
        journal.settle(&running.id, n, Verdict::DONE);
        running.names[n].verdict = Some(Verdict::DONE);
    }
    journal.delivered(&waiting.id);
    journal.set_head("new");
    assert!(journal.flush().await.is_err());
    assert!(!journal.is_writable());
    assert!(journal.check().await.is_err());
    let refused = adding("g1", 1);
    assert!(journal.begin(refused.clone()).await.is_err());
    // Reading goes on, and shows what is known.
    assert_eq!(journal.report(&running.id).await.unwrap(), Some(running.clone()));
    assert_eq!(journal.unfinished().await.unwrap(), [running.clone()]);
    assert!(journal.undelivered(0).await.unwrap().is_empty());
    assert_eq!(journal.head().await.unwrap().as_deref(), Some("new"));
    assert!(journal.later_changes(&running.id).await.is_err(), "nobody can say");
    let cost = Cost {
        calls: 5,
        ..Cost::default()
    };
    journal.finish(&running.id, 60, State::Finished, cost);
    assert!(journal.flush().await.is_err());
    (running.finished_at, running.state, running.cost) = (Some(60), State::Finished, cost);
    assert_eq!(journal.report(&running.id).await.unwrap(), Some(running.clone()));
    assert!(journal.unfinished().await.unwrap().is_empty());
    let began = std::time::Instant::now();
    while metrics.journal_unwritten.get() != 9 {
        assert!(began.elapsed().as_secs() < 60, "{}", metrics.journal_unwritten.get());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    // Nobody has to ask for it.
    other.execute_batch("COMMIT").unwrap();
    let reader = ReadOnly::open(directory.path()).unwrap();
    while reader.report(&running.id).unwrap().as_ref() != Some(&running) || metrics.journal_unwritten.get() != 0 {
        assert!(began.elapsed().as_secs() < 60, "it was not tried again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(journal.is_writable());
    journal.check().await.unwrap();
    journal.flush().await.unwrap();
    assert_eq!(
        reader.report(&refused.id).unwrap(),
        None,
        "its caller was told that nothing was begun"
    );
    assert_eq!(reader.head().unwrap().as_deref(), Some("new"));
    assert!(
        journal
            .undelivered(0)
            .await
            .unwrap()
            .iter()
            .all(|report| report.id != waiting.id)
    );
    assert!(metrics.journal_failures.get() > 0);
}

#[tokio::test]
async fn a_journal_that_nobody_asks_finds_out_that_it_can_be_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, other, _) = impatient(&directory);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(journal.begin(adding("g1", 1)).await.is_err());
    other.execute_batch("COMMIT").unwrap();
    let began = std::time::Instant::now();
    while !journal.is_writable() {
        assert!(began.elapsed().as_secs() < 60, "it does not");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(journal.list(5).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_full_disk_refuses_what_does_not_fit_and_loses_nothing_that_was_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    let connection = file::FORMAT.open(&path).unwrap();
    connection.execute_batch("PRAGMA max_page_count = 40").unwrap();
    let metrics = Metrics::new();
    let journal = Journal::start(connection, path, metrics.clone()).unwrap();
    let mut small = adding("g1", 5);
    journal.begin(small.clone()).await.unwrap();
    journal.settle(&small.id, 0, Verdict::DONE);
    let large = adding("g1", 10_000);
    let error = journal.begin(large.clone()).await.unwrap_err();
    assert!(error.to_string().contains("full"), "{error}");
    let members = vec![AccountId::new("5b10a2844c20165700ede21g"); 10_000];
    let group = SnapshotGroup {
        id: GroupId::new("g1"),
        name: GroupName::new("x"),
        externally_managed: false,
        settings: "{}".to_owned(),
    };
    journal.settle(&small.id, 1, Verdict::InDoubt);
    assert!(journal.snapshot(&small.id, 0, &group, &members).await.is_err());
    assert_eq!(metrics.journal_failures.get(), 2);
    // What is told fits where it stands already.
    journal.settle(&small.id, 2, Verdict::DONE);
    journal.flush().await.unwrap();
    assert!(journal.is_writable());
    let told = [Some(Verdict::DONE), Some(Verdict::InDoubt), Some(Verdict::DONE)];
    for (name, verdict) in small.names.iter_mut().zip(told) {
        name.verdict = verdict;
    }
    let reader = ReadOnly::open(directory.path()).unwrap();
    assert_eq!(reader.report(&small.id).unwrap(), Some(small.clone()));
    assert_eq!(reader.report(&large.id).unwrap(), None);
    assert!(journal.snapshots(&small.id).await.unwrap().is_empty());
    reader.check().unwrap();
}

/// What `Journal::open` says about a state directory whose journal is `content`; it must leave it as it is.
fn refusal(content: &[u8]) -> Error {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    std::fs::write(&path, content).unwrap();
    let error = Journal::open(directory.path(), Metrics::new()).unwrap_err();
    assert!(std::fs::read(&path).unwrap() == content, "touched: {error}");
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()) && text.contains("move"), "{text}");
    assert!(!text.contains("learned"), "{text}");
    assert!(ReadOnly::open(directory.path()).is_err() || matches!(error, Error::Damaged { .. }));
    error
}

/// The bytes of a journal with some names, closed properly.
fn bytes(change: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    let connection = file::FORMAT.open(&path).unwrap();
    file::begin(&connection, &adding("g1", 1000)).unwrap();
    connection.execute_batch(change).unwrap();
    connection.close().unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn somebody_elses_a_newer_and_a_damaged_file_are_refused_and_left_alone() {
    let good = bytes("");
    let identities = {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        drop(crate::store::file::FORMAT.open(&path).unwrap());
        std::fs::read(path).unwrap()
    };
    for content in [b"dear diary".to_vec(), vec![0; 4096], identities, good[..60].to_vec()] {
        assert!(matches!(refusal(&content), Error::Foreign { .. }));
    }
    let error = refusal(&bytes("PRAGMA user_version = 3"));
    assert!(matches!(error, Error::Newer { found: 3, known: 2, .. }), "{error}");
    let mut scratched = good.clone();
    scratched[3 * 4096..4 * 4096].fill(0x5a);
    for content in [&good[..good.len() - 4096], &good[..100], &scratched] {
        let error = refusal(content);
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_directory_that_cannot_be_written_is_refused_by_its_name() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let rights = |mode| std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    rights(0o500);
    // Nothing is forbidden to root.
    let is_root = std::fs::write(directory.path().join("probe"), b"").is_ok();
    let opened = Journal::open(directory.path(), Metrics::new());
    rights(0o700);
    match opened {
        Ok(_) => assert!(is_root),
        Err(error) => assert!(
            matches!(error, Error::Io { .. }) && error.to_string().contains(FILE),
            "{error}"
        ),
    }
}

#[tokio::test]
async fn a_file_that_may_only_be_read_still_shows_its_reports() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    let kept = adding("g1", 3);
    let connection = file::FORMAT.open(&path).unwrap();
    file::begin(&connection, &kept).unwrap();
    connection.execute_batch("PRAGMA query_only = ON").unwrap();
    let journal = Journal::start(connection, path, Metrics::new()).unwrap();
    let error = journal.check().await.unwrap_err();
    assert!(error.to_string().contains("readonly"), "{error}");
    assert!(!journal.is_writable());
    assert!(journal.begin(adding("g1", 1)).await.is_err());
    assert_eq!(journal.report(&kept.id).await.unwrap(), Some(kept));
}

#[tokio::test]
async fn a_word_that_nobody_knows_is_told_as_damage() {
    for (change, word) in [
        ("UPDATE name SET verdict = 'perhaps' WHERE place = 7", "perhaps"),
        ("UPDATE operation SET kind = 'dance'", "dance"),
        ("UPDATE operation SET state = 'asleep'", "asleep"),
        ("UPDATE operation SET id = 'ID', undo_of = 'ID'", "ID"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), bytes(change)).unwrap();
        let (journal, metrics) = open(&directory);
        let error = match word {
            "ID" => journal.unfinished().await.unwrap_err(),
            _ => journal.list(5).await.unwrap_err(),
        };
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("{word:?}")) && text.contains(FILE), "{text}");
        assert_eq!(metrics.journal_failures.get(), 1);
        // The rest goes on.
        journal.begin(adding("g2", 1)).await.unwrap();
    }
}

#[tokio::test]
async fn no_question_looks_at_every_operation() {
    let directory = tempfile::tempdir().unwrap();
    let connection = file::FORMAT.open(&directory.path().join(FILE)).unwrap();
    for question in read::questions() {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {question}")).unwrap();
        let unbound = vec![rusqlite::types::Null; statement.parameter_count()];
        let steps: Vec<String> = statement
            .query_map(rusqlite::params_from_iter(unbound), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let looks = |step: &String| step.starts_with("SCAN") && !step.contains("USING INDEX operation_running");
        assert!(!steps.iter().any(looks), "{question}: {steps:?}");
    }
}

#[tokio::test]
async fn an_answer_of_a_moment_ago_is_answer_enough() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, other, _) = impatient(&directory);
    journal.check().await.unwrap();
    let health = Arc::clone(&journal.health);
    assert!(health.is_fresh());
    // Fresh or not, a failure ends it.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    journal.set_head("x");
    assert!(journal.flush().await.is_err());
    assert!(!health.is_fresh() && journal.check().await.is_err());
}

#[tokio::test]
async fn what_takes_an_operation_back_is_found_by_it() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = open(&directory);
    let undone = adding("g1", 2);
    let of = |id: &OperationId| Report {
        undo_of: Some(id.clone()),
        ..adding("g1", 2)
    };
    let [first, second, other] = [of(&undone.id), of(&undone.id), of(&OperationId::random())];
    for report in [&undone, &first, &second, &other] {
        journal.begin(report.clone()).await.unwrap();
    }
    journal.settle(&first.id, 1, Verdict::DONE);
    let found = journal.undos_of(&undone.id).await.unwrap();
    let ids: Vec<&OperationId> = found.iter().map(|report| &report.id).collect();
    assert_eq!(ids, [&first.id, &second.id]);
    assert_eq!(found[0].names[1].verdict, Some(Verdict::DONE));
    assert!(journal.undos_of(&first.id).await.unwrap().is_empty());
}
