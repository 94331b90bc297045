//! The facade's own journal and audit, apart from it, to see what each step on disk costs.

use std::path::Path;
use std::time::{Duration, Instant};

use extender_facade::audit::{Audit, Evidence, Limits, Record};
use extender_facade::metrics::Metrics;
use extender_facade::model::report::{Cost, Name, State};
use extender_facade::model::{
    AccountId, Caller, Context, GroupId, GroupName, OperationId, OperationKind, Report, RequestId, Verdict,
};
use extender_facade::simulator::Person;
use extender_facade::store::Journal;

/// What a caller waits for, in the order in which an operation takes it.
pub const STEPS: [&str; 3] = [
    "is there room? (audit and journal, before anything)",
    "journal: the operation begins, with its names, on the disk",
    "audit and journal: what became of the name, in the audit's file",
];

/// What nobody waits for, and operations that end within a tenth of a second share.
pub const AFTER: &str = "afterwards: the audit on the disk, and that the operation is over";

/// A journal and an audit of the facade's kind, on the disk where its own are.
pub struct Books {
    runtime: tokio::runtime::Runtime,
    journal: Journal,
    audit: Audit,
    context: Context,
}

impl Books {
    pub fn open(folder: &Path) -> Self {
        let state = folder.join("books");
        let limits = Limits {
            max_file_bytes: 64 << 20,
            keep_files: 0,
        };
        let caller = Caller::named("bench");
        Self {
            runtime: tokio::runtime::Runtime::new().expect("a runtime"),
            audit: Audit::open(&state, limits, None, Metrics::new()).expect("an audit"),
            journal: Journal::open(&state, Metrics::new()).expect("a journal"),
            context: Context::new(RequestId::new("bench"), caller, Duration::from_secs(60)),
        }
    }

    /// What an operation of one name writes, each step awaited as there, and what follows: microseconds.
    pub fn one_operation(&mut self, person: &Person) -> ([f64; 3], f64) {
        let id = OperationId::random();
        let (group_id, group) = (GroupId::new("bench"), GroupName::new("by-facade"));
        let account = AccountId::new(&person.account_id);
        let kind = OperationKind::AddMembers;
        let report = Report {
            id: id.clone(),
            kind,
            caller: "bench".to_owned(),
            caller_key: "token:bench".to_owned(),
            visitor: false,
            request: "bench".to_owned(),
            site: "http://127.0.0.1".to_owned(),
            group: Some((group_id.clone(), group.clone())),
            dry_run: false,
            undo_of: None,
            digest: vec![7; 32],
            idempotency: None,
            started_at: jiff::Timestamp::now().as_millisecond(),
            finished_at: None,
            state: State::Running,
            plan: "{}".to_owned(),
            no_access_granted: false,
            delivered: false,
            cost: Cost::default(),
            names: vec![Name {
                name: person.username.clone(),
                account: Some(account.clone()),
                group: None,
                verdict: None,
            }],
        };
        let record = Record {
            operation: &id,
            kind,
            index: 0,
            group: group.as_str(),
            group_id: Some(&group_id),
            name: &person.username,
            account: Some(&account),
            verdict: Verdict::DONE,
            evidence: Evidence::Witnessed,
        };
        let (audit, journal) = (&self.audit, &self.journal);
        self.runtime.block_on(async {
            let mut times = [0.0; 3];
            let mut begun = Instant::now();
            let mut lap = || std::mem::replace(&mut begun, Instant::now()).elapsed().as_secs_f64() * 1e6;
            assert!(audit.check().await);
            journal.check().await.expect("a journal");
            times[0] = lap();
            journal.begin(report).await.expect("a journal");
            times[1] = lap();
            audit.write(&self.context, std::slice::from_ref(&record)).await;
            journal.settle(&id, 0, Verdict::DONE);
            assert!(audit.told().await);
            times[2] = lap();
            assert!(audit.flush().await);
            journal.set_head(&audit.head().to_string());
            journal.finish(&id, 1, State::Finished, Cost::default());
            journal.flush().await.expect("a journal");
            (times, lap())
        })
    }
}
