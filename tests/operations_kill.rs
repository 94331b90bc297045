//! What becomes of bulk operations whose process is killed: `kill -9` at any moment over adds and removes, against a Cloud
//! that stays up, and the next process ends what the last one began.
//!
//! After every round each operation in the journal has an end; its names, replayed in the journal's order over what Cloud
//! held before, give what Cloud holds now, name by name; the audit tells the same, nothing twice, and its chain holds. In
//! some rounds the next process is killed as well, while it takes over; in some it may not go on: `recovery = "close"`, an
//! account that is gone, an operation that is too old or a visitor's, another site. Nine rounds, or 1,000 with `FACADE_LONG=1`.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/cloud.rs"]
mod cloud;
#[path = "support/program.rs"]
mod program;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use extender_facade::audit::{self, Entry, Expected, Head};
use extender_facade::model::report::{Report, State};
use extender_facade::model::{OperationId, OperationKind, Skip, Verdict};
use extender_facade::simulator::Options;
use extender_facade::store::Error;
use extender_facade::store::journal::{self, ReadOnly};
use serde_json::{Value, json};

use cloud::{Cloud, Reply, try_send};
use program::{PATIENCE, Program};

const PEOPLE: u32 = 60;
/// Rounds that share a state directory.
const SHARED: usize = 10;
const CALLER: &str = "xft_the-caller-of-the-rounds";

/// How the process after the killed one is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// As the first.
    Resume,
    /// As the first, and killed itself while it takes over, a few times.
    Again,
    /// With `recovery = "close"`.
    Close,
    /// Without the account whose operations they are.
    AccountGone,
    /// With operations that are older than `recovery_max_age_s`.
    Old,
    /// With operations of callers who had brought their own credential, which is not kept.
    Visitors,
    /// With another site.
    OtherSite,
}

const ROUNDS: [After; 9] = [
    After::Resume,
    After::Again,
    After::Close,
    After::Resume,
    After::AccountGone,
    After::Again,
    After::Old,
    After::Visitors,
    After::OtherSite,
];

/// What was seen in all rounds.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    rounds: usize,
    operations: usize,
    names: usize,
    done: usize,
    /// Operations that a killed process had left without an end.
    left: usize,
    /// Of those, names that had no outcome.
    open: usize,
    /// Names in doubt at last.
    in_doubt: usize,
    /// Answers that a later process gave to the same call.
    given: usize,
    /// Calls whose answer was given before the process was killed, sent again.
    told_before: usize,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, more: Self) {
        self.rounds += more.rounds;
        self.operations += more.operations;
        self.names += more.names;
        self.done += more.done;
        self.left += more.left;
        self.open += more.open;
        self.in_doubt += more.in_doubt;
        self.given += more.given;
        self.told_before += more.told_before;
    }
}

/// Made without certificates: to read them takes longer than a round's calls.
fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    builder.build().unwrap()
}

/// A bulk call.
#[derive(Clone, Debug)]
struct Call {
    path: String,
    kind: OperationKind,
    group: Option<String>,
    names: Vec<String>,
    key: Option<String>,
}

impl Call {
    fn random() -> Self {
        let count = fastrand::usize(1..60);
        let (kind, group) = match fastrand::u8(0..10) {
            0..=4 => (OperationKind::AddMembers, Some("team")),
            5..=7 => (OperationKind::RemoveMembers, Some("team")),
            8 => (OperationKind::CreateGroups, None),
            _ => (OperationKind::DeleteGroups, None),
        };
        let name = |_| match (fastrand::u8(0..12), &group) {
            (0, _) => ["", " ", "nobody", "Nobody"][fastrand::usize(0..4)].to_owned(),
            (_, None) => format!("made {}", fastrand::u8(0..8)),
            (1, _) => format!("USER{:06}", fastrand::u32(1..=PEOPLE)),
            _ => format!("user{:06}", fastrand::u32(1..=PEOPLE)),
        };
        let group = match group {
            Some(_) if fastrand::u8(0..4) == 0 => Some("other".to_owned()),
            group => group.map(str::to_owned),
        };
        let path = match (kind, &group) {
            (OperationKind::AddMembers, Some(group)) => format!("addUsers/{group}"),
            (OperationKind::RemoveMembers, Some(group)) => format!("removeUsers/{group}"),
            (OperationKind::CreateGroups, _) => "addGroups".to_owned(),
            _ => "removeGroups".to_owned(),
        };
        let count = if group.is_none() { count / 5 + 1 } else { count };
        Self {
            names: (0..count).map(name).collect(),
            path,
            kind,
            group,
            key: None,
        }
    }

    async fn send(&self, facade: &str) -> reqwest::Result<Reply> {
        let list = if self.group.is_some() { "users" } else { "groups" };
        let url = format!("http://{facade}/rest/extender/1.0/group/{}", self.path);
        let body = json!({ list: self.names }).to_string();
        let mut request = client().post(url).bearer_auth(CALLER).body(body);
        if let Some(key) = &self.key {
            request = request.header("idempotency-key", key);
        }
        try_send(request).await
    }

    fn is_of(&self, report: &Report) -> bool {
        let names = report.names.iter().map(|name| name.name.as_str());
        report.kind == self.kind
            && report.group.as_ref().map(|(_, name)| name.as_str()) == self.group.as_deref()
            && names.eq(self.names.iter().map(String::as_str))
    }
}

/// The operations on record, in their order.
fn operations(state: &Path) -> Vec<Report> {
    let journal = match ReadOnly::open(state) {
        Ok(journal) => journal,
        // Killed before there was one.
        Err(Error::Absent { .. }) => return Vec::new(),
        Err(error) => panic!("{error}"),
    };
    journal.check().unwrap();
    let mut summaries = journal.list(10_000).unwrap();
    summaries.reverse();
    let report = |id: &OperationId| journal.report(id).unwrap().unwrap();
    summaries.iter().map(|summary| report(&summary.id)).collect()
}

/// What operations say, a line for each.
fn shown(operations: &[Report]) -> String {
    let line = |report: &Report| {
        let names = report.names.iter().map(|name| {
            let verdict = name.verdict.map_or("-", Verdict::as_str);
            format!("{}={verdict}", name.name)
        });
        let group = report.group.as_ref().map_or("", |(_, name)| name.as_str());
        let names: Vec<String> = names.collect();
        let (id, kind) = (report.id.as_str(), report.kind.as_str());
        let state = &report.state;
        format!(
            "{id} {kind} {group} {state:?} {}: {}\n",
            report.started_at,
            names.join(" ")
        )
    };
    operations.iter().map(line).collect()
}

/// Groups by id: the name, and the accounts in it.
type Groups = BTreeMap<String, (String, BTreeSet<String>)>;

async fn groups(cloud: &Cloud) -> Groups {
    let state = cloud.state().await;
    let group = |group: &Value| {
        let members = group["members"].as_array().unwrap().iter();
        let members = members.map(|account| account.as_str().unwrap().to_owned());
        (group["name"].as_str().unwrap().to_owned(), members.collect())
    };
    let groups = state.as_object().unwrap().iter();
    groups.map(|(id, of)| (id.clone(), group(of))).collect()
}

/// What the operations made of `before`, by their own account; the ids of new groups are looked up in `now`.
fn replay(
    before: &Groups,
    operations: &[Report],
    now: &Groups,
) -> (BTreeSet<String>, HashMap<String, BTreeSet<String>>) {
    let mut names: BTreeSet<String> = before.values().map(|(name, _)| name.to_lowercase()).collect();
    let mut members: HashMap<String, BTreeSet<String>> = now.keys().map(|id| (id.clone(), BTreeSet::new())).collect();
    for (id, (_, of)) in before {
        members.insert(id.clone(), of.clone());
    }
    for operation in operations {
        for name in operation
            .names
            .iter()
            .filter(|name| name.verdict == Some(Verdict::DONE))
        {
            let wrong = || {
                format!(
                    "{:?} of {} was so already:\n{}",
                    name.name,
                    operation.id,
                    shown(operations)
                )
            };
            match (operation.kind, &operation.group) {
                (OperationKind::CreateGroups, _) => {
                    assert!(names.insert(name.name.to_lowercase()), "{}", wrong());
                }
                (OperationKind::DeleteGroups, _) => {
                    assert!(names.remove(&name.name.to_lowercase()), "{}", wrong());
                }
                (kind, Some((id, _))) => {
                    let account = name.account.as_ref().unwrap().as_str().to_owned();
                    let of = members.entry(id.as_str().to_owned()).or_default();
                    let is_change = match kind {
                        OperationKind::AddMembers => of.insert(account),
                        _ => of.remove(&account),
                    };
                    assert!(is_change, "{}", wrong());
                }
                (_, None) => panic!("{operation:?}"),
            }
        }
    }
    (names, members)
}

/// The audit's account is the journal's.
fn hold_audit(state: &Path, operations: &[Report]) {
    let head = ReadOnly::open(state).unwrap().head().unwrap();
    let head: Option<Head> = head.map(|head| head.parse().unwrap());
    let expected = head.map(Expected::from);
    audit::verify(state, expected.as_ref(), None, |damage| panic!("{damage}")).unwrap();
    let (mut told, mut done) = (HashSet::new(), HashMap::new());
    audit::each_line(state, |line| {
        if let Some(entry) = Entry::parse(line).filter(|entry| entry.torn.is_none()) {
            let place = (entry.operation_id.clone().unwrap(), entry.index.unwrap());
            if entry.result == "done" {
                assert_eq!(
                    done.insert(place.clone(), entry.account.clone()),
                    None,
                    "twice: {entry:?}"
                );
            }
            told.insert((place, entry.verdict().map(Verdict::as_str)));
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    let mut expected = HashMap::new();
    for operation in operations {
        for (index, name) in operation.names.iter().enumerate() {
            let place = (operation.id.as_str().to_owned(), index);
            if name.verdict.is_some() {
                assert!(
                    told.contains(&(place.clone(), name.verdict.map(Verdict::as_str))),
                    "{name:?} of {}",
                    shown(std::slice::from_ref(operation))
                );
            }
            if name.verdict == Some(Verdict::DONE) {
                expected.insert(place, name.account.as_ref().map(|account| account.as_str().to_owned()));
            }
        }
    }
    assert_eq!(done, expected);
}

/// One Cloud, and one facade after the other before it.
struct Lane {
    cloud: Cloud,
    other: Cloud,
    directory: tempfile::TempDir,
    files: tempfile::TempDir,
    /// Operations that were held to the truth already.
    seen: usize,
    /// Rounds of the state directory.
    rounds: usize,
    /// How long Cloud's reads may lag, in seconds; nothing is judged before.
    lag: &'static str,
}

impl Lane {
    async fn start() -> Self {
        let options = Options {
            users: PEOPLE,
            group: ["team=20", "other=3"].map(|group| group.parse().unwrap()).to_vec(),
            ..Options::default()
        };
        let lane = Self {
            cloud: Cloud::start(options.clone()).await,
            other: Cloud::start(options).await,
            directory: tempfile::tempdir().unwrap(),
            files: tempfile::tempdir().unwrap(),
            seen: 0,
            rounds: 0,
            lag: "1",
        };
        let mut map = "username,account_id\n".to_owned();
        for person in &lane.cloud.people {
            map.push_str(&format!("{},{}\n", person.username, person.account_id));
        }
        std::fs::write(lane.file("map.csv"), map).unwrap();
        let digest = <sha2::Sha256 as sha2::Digest>::digest(CALLER.as_bytes());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        for (file, name) in [("accounts.toml", "caller"), ("others.toml", "somebody else")] {
            let text = format!("[[token]]\nname = \"{name}\"\nsha256 = \"{digest}\"\nrole = \"administrator\"\n");
            std::fs::write(lane.file(file), text).unwrap();
        }
        lane
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn program(&self, after: After) -> Program {
        let (map, mut accounts) = (self.file("map.csv"), self.file("accounts.toml"));
        let (mut site, mut recovery) = (self.cloud.url(""), "resume");
        match after {
            After::Resume | After::Again | After::Old | After::Visitors => {}
            After::Close => recovery = "close",
            After::AccountGone => accounts = self.file("others.toml"),
            After::OtherSite => site = self.other.url(""),
        }
        let settings = [
            ("FACADE__INBOUND__MODE", "accounts"),
            ("FACADE__INBOUND__ACCOUNTS_FILE", accounts.to_str().unwrap()),
            ("FACADE__IDENTITY__MAP_FILE", map.to_str().unwrap()),
            ("FACADE__EXTENDER__RECOVERY", recovery),
            ("FACADE__CACHE__READ_LAG_S", self.lag),
            ("FACADE__SHUTDOWN_S", "1"),
            ("FACADE__LOG__FILTER", "error,extender_facade::cli=info"),
        ];
        Program::start(&self.state(), &site, &settings)
    }

    async fn round(&mut self, after: After) -> Figures {
        if self.rounds >= SHARED {
            self.directory = tempfile::tempdir().unwrap();
            (self.seen, self.rounds) = (0, 0);
        }
        // What is left in doubt casts doubt on what follows.
        let is_doubtful = matches!(after, After::OtherSite | After::Visitors);
        self.rounds += if is_doubtful { SHARED } else { 1 };
        let before = groups(&self.cloud).await;
        let latency = [1, 3, 10, 25][fastrand::usize(0..4)];
        self.cloud.switch(json!({ "latency_ms": latency })).await;
        let calls = self.begin_and_kill().await;
        // Sent by nobody any more, and worked on by nobody.
        let cut: Vec<Report> = operations(&self.state()).split_off(self.seen);
        let is_left = |report: &&Report| report.state == State::Running;
        let open = |report: &Report| report.names.iter().filter(|name| name.verdict.is_none()).count();
        let mut figures = Figures {
            rounds: 1,
            left: cut.iter().filter(is_left).count(),
            open: cut.iter().filter(is_left).map(open).sum(),
            ..Figures::default()
        };
        if after == After::Again {
            for _ in 0..fastrand::u8(1..4) {
                let mut program = self.program(after);
                tokio::time::sleep(Duration::from_micros(fastrand::u64(0..1_600_000))).await;
                assert_eq!(program.kill().signal(), Some(9), "it ended by itself");
            }
        }
        if after == After::Old {
            let journal = rusqlite::Connection::open(self.state().join(journal::FILE)).unwrap();
            let age = "UPDATE operation SET started_at = started_at - 901000, finished_at = finished_at - 901000";
            journal.execute_batch(age).unwrap();
        }
        if after == After::Visitors {
            let journal = rusqlite::Connection::open(self.state().join(journal::FILE)).unwrap();
            journal.execute_batch("UPDATE operation SET visitor = 1").unwrap();
        }
        let untouched = self.other.state().await;
        let mut program = self.program(after);
        let (facade, admin) = tokio::task::block_in_place(|| program.serves());
        if matches!(after, After::Resume | After::Again) {
            let same = |delivered| {
                calls.iter().find_map(|call| {
                    let of_it = |report: &&Report| report.delivered == delivered && call.is_of(report);
                    let report = cut.iter().filter(is_left).find(of_it)?;
                    Some((call, report.id.clone()))
                })
            };
            if let Some((call, id)) = same(false) {
                self.is_given_once(&facade, call, &id).await;
                figures.given += 1;
            }
            // It only lacked its end: whoever sends the same again means a call of its own, but under the same key.
            if let Some((call, id)) = same(true) {
                let again = call.send(&facade).await.unwrap();
                assert_eq!(again.status, 200, "{again:?}");
                let is_same = again.header("x-facade-report") == Some(id.as_str());
                assert_eq!(is_same, call.key.is_some(), "{again:?}");
                figures.told_before += 1;
            }
        }
        self.quiet(&admin).await;
        if matches!(after, After::OtherSite) {
            assert_eq!(self.other.state().await, untouched, "another site was changed");
        }
        let operations = operations(&self.state());
        let new = &operations[self.seen..];
        self.hold(after, &before, &cut, new).await;
        hold_audit(&self.state(), &operations);
        self.seen = operations.len();
        let verdicts = || new.iter().flat_map(|report| &report.names).map(|name| name.verdict);
        figures.operations = new.len();
        figures.names = verdicts().count();
        figures.done = verdicts().filter(|verdict| *verdict == Some(Verdict::DONE)).count();
        figures.in_doubt = verdicts().filter(|verdict| *verdict == Some(Verdict::InDoubt)).count();
        program.kill();
        figures
    }

    /// Several calls side by side, and `kill -9` at some moment.
    async fn begin_and_kill(&self) -> Vec<Call> {
        let mut program = self.program(After::Resume);
        let (facade, _) = tokio::task::block_in_place(|| program.serves());
        self.cloud.reset().await;
        let calls: Vec<Call> = (0..fastrand::usize(1..6)).map(|_| Call::random()).collect();
        let sent: Vec<_> = calls
            .iter()
            .cloned()
            .map(|call| {
                let (facade, pause) = (facade.clone(), Duration::from_millis(fastrand::u64(0..60)));
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    call.send(&facade).await
                })
            })
            .collect();
        // Any moment will do: in most rounds one in the middle of the changes.
        if fastrand::u8(0..5) > 0 {
            let some = fastrand::u64(1..40);
            while self.changes().await < some && !sent.iter().all(tokio::task::JoinHandle::is_finished) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::time::sleep(Duration::from_micros(fastrand::u64(0..20_000))).await;
        } else {
            tokio::time::sleep(Duration::from_micros(fastrand::u64(0..150_000))).await;
        }
        assert_eq!(program.kill().signal(), Some(9), "it ended by itself");
        for sent in sent {
            if let Ok(answer) = sent.await.unwrap() {
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        }
        calls
    }

    /// Changes that Cloud was asked for.
    async fn changes(&self) -> u64 {
        let stats = self.cloud.stats().await;
        let changes = ["add_member", "remove_member", "create_group", "delete_group"];
        let count = |name: &str| stats["by_operation"][name].as_u64().unwrap_or(0);
        changes.into_iter().map(count).sum()
    }

    /// The same call as that of an operation which goes on gets its answer, and the next one is a call of its own.
    async fn is_given_once(&self, facade: &str, call: &Call, id: &OperationId) {
        let answer = call.send(facade).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("x-facade-report"), Some(id.as_str()), "{answer:?}");
        let journal = ReadOnly::open(&self.state()).unwrap();
        let until = Instant::now() + PATIENCE;
        let report = loop {
            let report = journal.report(id).unwrap().unwrap();
            if report.state != State::Running {
                break report;
            }
            assert!(Instant::now() < until, "{report:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert_eq!(report.state, State::Finished, "{report:?}");
        let done = report.names.iter().filter(|name| name.verdict == Some(Verdict::DONE));
        let done: Vec<&str> = done.map(|name| name.name.as_str()).collect();
        let body = answer.json();
        let lists = ["usersAdded", "usersRemoved", "groupsAdded", "groupsRemoved"];
        let told = lists.iter().find_map(|list| body[list].as_array()).unwrap();
        assert_eq!(told.iter().map(|name| name.as_str().unwrap()).collect::<Vec<_>>(), done);
        let again = call.send(facade).await.unwrap();
        assert_ne!(again.header("x-facade-report"), Some(id.as_str()), "{again:?}");
    }

    /// Waits until nothing runs any more.
    async fn quiet(&self, admin: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let ready = try_send(client().get(format!("http://{admin}/ready")))
                .await
                .unwrap()
                .json();
            assert_eq!(ready["changes_refused"], Value::Null, "{ready}");
            let all = operations(&self.state());
            if ready["operations"] == 0 && all.iter().all(|report| report.state != State::Running) {
                return;
            }
            assert!(
                Instant::now() < until,
                "operations without an end: {ready}\n{}",
                shown(&all)
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Every operation has its end, and what they say is so.
    async fn hold(&self, after: After, before: &Groups, cut: &[Report], new: &[Report]) {
        for operation in new {
            let was_left = cut
                .iter()
                .any(|report| report.id == operation.id && report.state == State::Running);
            let is = |name: &&extender_facade::model::report::Name, verdict| name.verdict == verdict;
            let of = |verdict| operation.names.iter().filter(|name| is(name, verdict)).count();
            let (unsettled, in_doubt) = (of(None), of(Some(Verdict::InDoubt)));
            let left = of(Some(Verdict::skipped(Skip::NotAttempted)));
            assert_eq!(unsettled, 0, "{}", shown(new));
            let whole = in_doubt + left == 0;
            assert_eq!(operation.state == State::Finished, whole, "{operation:?}");
            match after {
                _ if !was_left => assert!(whole, "{}", shown(new)),
                After::Resume | After::Again => assert!(whole, "{after:?}:\n{}", shown(new)),
                After::OtherSite | After::Visitors => assert_eq!(left, 0, "{}", shown(new)),
                After::Close | After::AccountGone | After::Old => assert_eq!(in_doubt, 0, "{}", shown(new)),
            }
        }
        let now = groups(&self.cloud).await;
        if matches!(after, After::OtherSite | After::Visitors) {
            // What is in doubt is so or not.
            return;
        }
        let (names, members) = replay(before, new, &now);
        assert_eq!(
            now.values()
                .map(|(name, _)| name.to_lowercase())
                .collect::<BTreeSet<_>>(),
            names
        );
        for (id, (name, of)) in &now {
            assert_eq!(of, &members[id], "{name} after {after:?}:\n{}", shown(new));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn operations_whose_process_is_killed_end_as_journal_audit_and_cloud_tell_alike() {
    let (rounds, lanes) = if std::env::var("FACADE_LONG").is_ok_and(|long| long == "1") {
        (1000, 8)
    } else {
        (ROUNDS.len(), 4)
    };
    let running: Vec<_> = (0..lanes)
        .map(|first| {
            tokio::spawn(async move {
                let (mut lane, mut all) = (Lane::start().await, Figures::default());
                for number in (first..rounds).step_by(lanes) {
                    // Not the same in each of a lane's rounds.
                    let after = ROUNDS[(number + number / ROUNDS.len()) % ROUNDS.len()];
                    let figures = lane.round(after).await;
                    println!("round {number}: {after:?} {figures:?}");
                    all += figures;
                }
                all
            })
        })
        .collect();
    let mut all = Figures::default();
    for lane in running {
        all += lane.await.unwrap();
    }
    println!("{all:?}");
    assert!(
        all.left > 0 && all.open > 0 && all.done > 0,
        "nothing was cut short: {all:?}"
    );
}

/// An addition of forty names, killed in the middle of it.
async fn cut_short(lane: &Lane, key: &str) -> (Call, OperationId) {
    lane.cloud.switch(json!({ "latency_ms": 20 })).await;
    let call = Call {
        path: "addUsers/team".to_owned(),
        kind: OperationKind::AddMembers,
        group: Some("team".to_owned()),
        names: (1..=PEOPLE).map(|n| format!("user{n:06}")).collect(),
        key: Some(key.to_owned()),
    };
    let mut program = lane.program(After::Resume);
    let (facade, _) = tokio::task::block_in_place(|| program.serves());
    let sent = tokio::spawn({
        let call = call.clone();
        async move { call.send(&facade).await }
    });
    let until = Instant::now() + PATIENCE;
    let audit = lane.state().join(audit::FILE);
    let is_told = || std::fs::read_to_string(&audit).is_ok_and(|lines| lines.contains(r#""result":"done""#));
    while lane.changes().await < 10 || !is_told() {
        assert!(Instant::now() < until, "nothing is changed");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    program.kill();
    assert!(sent.await.unwrap().is_err());
    let operations = operations(&lane.state());
    assert_eq!(operations.len(), 1);
    assert_eq!(operations[0].state, State::Running);
    (call, operations[0].id.clone())
}

/// Takes from the journal the last change that the audit tells of, as if the process had been killed between the two.
fn lose_a_verdict(state: &Path) -> usize {
    let id = operations(state)[0].id.clone();
    let told = audit::told(state, &HashSet::from([id.clone()])).unwrap();
    let done = told[&id].iter().filter(|(_, verdict)| **verdict == Verdict::DONE);
    let place = *done.map(|(place, _)| place).max().unwrap();
    let journal = rusqlite::Connection::open(state.join(journal::FILE)).unwrap();
    let lose = "UPDATE name SET verdict = NULL WHERE place = ?1";
    assert_eq!(journal.execute(lose, [i64::try_from(place).unwrap()]).unwrap(), 1);
    place
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stop_leaves_what_is_taken_over_to_the_next_process_and_tells_its_caller_so() {
    let mut lane = Lane::start().await;
    let before = groups(&lane.cloud).await;
    let (call, id) = cut_short(&lane, "once").await;
    let place = lose_a_verdict(&lane.state());
    let left = operations(&lane.state());
    // It is taken over, and nothing can be judged for a minute.
    lane.lag = "60";
    let mut program = lane.program(After::Resume);
    let (facade, _) = tokio::task::block_in_place(|| program.serves());
    lane.cloud.reset().await;
    let sent = tokio::spawn({
        // Without its key the group is looked up, which tells that the call is there.
        let call = Call {
            key: None,
            ..call.clone()
        };
        async move { call.send(&facade).await }
    });
    let until = Instant::now() + PATIENCE;
    while lane.cloud.stats().await["by_operation"]["find_group"] == 0 {
        assert!(Instant::now() < until, "the call does not come");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    program.signal("-TERM");
    let answer = sent.await.unwrap().unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert!(tokio::task::block_in_place(|| program.ended()).success());
    let mut told = audit::told(&lane.state(), &HashSet::from([id.clone()])).unwrap();
    let told = told.remove(&id).unwrap();
    assert_eq!(told.get(&place), Some(&Verdict::DONE));
    let mut as_it_was = left.clone();
    for (place, name) in as_it_was[0].names.iter_mut().enumerate() {
        // What the audit was told and the journal was not, the process that is stopped may have put right.
        name.verdict = name.verdict.or(told.get(&place).copied());
    }
    assert_eq!(operations(&lane.state()), as_it_was, "it is as it was");
    lane.lag = "1";
    let mut program = lane.program(After::Resume);
    let (facade, admin) = tokio::task::block_in_place(|| program.serves());
    let answer = call.send(&facade).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-facade-report"), Some(id.as_str()));
    assert_eq!(answer.json()["usersAdded"].as_array().unwrap().len(), 40);
    // Under its key the answer is the same for a day, and another call is none.
    let again = call.send(&facade).await.unwrap();
    assert_eq!(
        (again.header("x-facade-report"), &again.body),
        (Some(id.as_str()), &answer.body)
    );
    let other = Call {
        names: vec!["user000001".to_owned()],
        ..call
    };
    assert_eq!(other.send(&facade).await.unwrap().status, 422);
    lane.quiet(&admin).await;
    let all = operations(&lane.state());
    lane.hold(After::Resume, &before, &left, &all).await;
    hold_audit(&lane.state(), &all);
    program.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_operation_that_only_lacked_its_end_is_ended_without_a_call_though_cloud_is_down() {
    let lane = Lane::start().await;
    let (call, id) = cut_short(&lane, "once").await;
    let mut program = lane.program(After::Resume);
    let (_, admin) = tokio::task::block_in_place(|| program.serves());
    lane.quiet(&admin).await;
    program.kill();
    let journal = rusqlite::Connection::open(lane.state().join(journal::FILE)).unwrap();
    journal
        .execute_batch("UPDATE operation SET state = 'running', finished_at = NULL")
        .unwrap();
    drop(journal);
    lane.cloud.switch(json!({ "down": true })).await;
    lane.cloud.reset().await;
    let mut program = lane.program(After::Resume);
    let (facade, admin) = tokio::task::block_in_place(|| program.serves());
    lane.quiet(&admin).await;
    assert_eq!(lane.changes().await, 0);
    lane.cloud.switch(json!({ "down": null })).await;
    let answer = call.send(&facade).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-facade-report"), Some(id.as_str()));
    assert_eq!(answer.json()["usersAdded"].as_array().unwrap().len(), 40);
    hold_audit(&lane.state(), &operations(&lane.state()));
    program.kill();
}
