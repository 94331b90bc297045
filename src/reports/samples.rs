//! Reports for the tests.

use crate::model::report::{Cost, Name, Report, State};
use crate::model::{AccountId, Fate, GroupId, GroupName, OperationId, OperationKind, Skip, Verdict, Wait};

/// One name with its verdict.
pub fn name(text: &str, verdict: Option<Verdict>) -> Name {
    Name {
        name: text.to_owned(),
        account: Some(AccountId::new("557058:f58131cb-b67d-43c7-b30d-6b58d40bd077")),
        group: None,
        verdict,
    }
}

/// Four names: changed, skipped twice, in doubt.
pub fn finished() -> Report {
    Report {
        id: OperationId::parse("0123456789abcdef0123456789abcdef").unwrap(),
        kind: OperationKind::AddMembers,
        caller: "jenkins".to_owned(),
        caller_key: "the-callers-key".to_owned(),
        visitor: false,
        request: "req-1".to_owned(),
        site: "https://example.atlassian.net".to_owned(),
        group: Some((GroupId::new("g-1"), GroupName::new("developers"))),
        dry_run: false,
        undo_of: None,
        digest: vec![0xd1, 0x9e],
        idempotency: Some(("the-callers-own-key".to_owned(), vec![1])),
        started_at: 1_700_000_000_123,
        finished_at: Some(1_700_000_061_000),
        state: State::Finished,
        plan: r#"{"changes":2,"reads":{"find_group":1,"list_members":3},"seconds":61.5,"notes":["<b>", null, true]}"#
            .to_owned(),
        no_access_granted: false,
        delivered: false,
        cost: Cost {
            calls: 12_345,
            retries: 6,
            waited_ms: 7_890,
            waits: [(Wait::Pace, 2_000), (Wait::Pause, 5_840), (Wait::Backoff, 50)]
                .into_iter()
                .collect(),
        },
        names: vec![
            name("hopper", Some(Verdict::DONE)),
            name("lovelace", Some(Verdict::skipped(Skip::AlreadyMember))),
            Name {
                account: None,
                ..name("nobody", Some(Verdict::Told(Fate::Skipped(Skip::Unknown))))
            },
            name("turing", Some(Verdict::InDoubt)),
        ],
    }
}

/// The same, two names of which have no verdict yet.
pub fn running() -> Report {
    let mut report = finished();
    report.state = State::Running;
    report.finished_at = None;
    for name in report.names.iter_mut().skip(2) {
        name.verdict = None;
    }
    report
}

/// `count` names, every fourth of them skipped for one of seven reasons.
pub fn large(count: usize) -> Report {
    let reasons = [
        Skip::AlreadyMember,
        Skip::Unknown,
        Skip::Duplicate,
        Skip::Tombstoned,
        Skip::Deactivated,
        Skip::Ambiguous,
        Skip::NoSeat,
    ];
    let mut reasons = reasons.iter().cycle();
    let names = (1..=count).map(|n| {
        let verdict = if n % 4 == 0 {
            Verdict::skipped(*reasons.next().unwrap())
        } else {
            Verdict::DONE
        };
        name(&format!("user{n:06}"), Some(verdict))
    });
    Report {
        names: names.collect(),
        ..finished()
    }
}
