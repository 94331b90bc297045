//! Whatever list is sent, under whatever faults: every name stands exactly once in done or skipped, in the order of the
//! request, and done means that Cloud says so. The simulator's state before and after is held against every answer and
//! its report, name by name; 240 cases, or 5,000 with `FACADE_LONG=1`, and others with another `FACADE_SEED`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::cloud::Reply;
use crate::harness::{ADMIN, World, options, texts};
use crate::truth::lists;

/// Those with usernames in the map, and those besides who are only known by their account ids.
const MAPPED: usize = 24;
const PEOPLE: usize = 32;
/// Every so manieth person of the map has a second username.
const MERGED: usize = 6;
const WORKERS: u64 = 4;

/// The state of Cloud: the groups' names with their members, by their ids.
type State = BTreeMap<String, (String, BTreeSet<String>)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    AddUsers,
    RemoveUsers,
    AddGroups,
    RemoveGroups,
}

impl Call {
    fn path(self) -> &'static str {
        match self {
            Self::AddUsers => "addUsers/team",
            Self::RemoveUsers => "removeUsers/team",
            Self::AddGroups => "addGroups",
            Self::RemoveGroups => "removeGroups",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::AddUsers | Self::RemoveUsers => "users",
            Self::AddGroups | Self::RemoveGroups => "groups",
        }
    }

    /// What is there afterwards.
    fn leaves_present(self) -> bool {
        matches!(self, Self::AddUsers | Self::AddGroups)
    }
}

/// A name and what it means: an account's id, or a group's key; nothing for what means nobody.
type Name = (String, Option<String>);

struct Dice(fastrand::Rng);

impl Dice {
    fn chance(&mut self, of: f64) -> bool {
        self.0.f64() < of
    }

    fn case_of(&mut self, name: &str) -> String {
        match self.0.u8(..6) {
            0 => name.to_uppercase(),
            1 => name
                .chars()
                .map(|c| if self.0.bool() { c.to_ascii_uppercase() } else { c })
                .collect(),
            _ => name.to_owned(),
        }
    }

    fn stranger(&mut self) -> Name {
        let all = [
            "",
            " ",
            "\t\u{a0}",
            "ghost",
            "GHOST",
            "no.body@example.com",
            "712020:00000000-0000-4000-8000-000000000000",
            "💥\u{0}<b>",
            "user000001 x",
        ];
        (all[self.0.usize(..all.len())].to_owned(), None)
    }

    fn user(&mut self, world: &World) -> Name {
        if self.chance(0.15) {
            return self.stranger();
        }
        let number = self.0.usize(..PEOPLE);
        let person = &world.cloud.people[number];
        let name = match self.0.u8(..8) {
            _ if number >= MAPPED => person.account_id.clone(),
            0 => person.account_id.clone(),
            1 => self.case_of(&person.email),
            2 => self.case_of(&person.key),
            3 | 4 if number.is_multiple_of(MERGED) => self.case_of(&format!("alias{number}")),
            _ => self.case_of(&person.username),
        };
        (name, Some(person.account_id.clone()))
    }

    fn group(&mut self) -> Name {
        let all = [
            "new 0",
            "new 1",
            "new 2",
            "new 3",
            "new 4",
            "new 5",
            "new 6",
            "r&d / zürich + 50%",
            "日本",
            "a\"b\\c",
            "old",
        ];
        if self.chance(0.1) {
            return (["", "  ", "\n"][self.0.usize(..3)].to_owned(), None);
        }
        let key = all[self.0.usize(..all.len())];
        (self.case_of(key), Some(key.to_owned()))
    }

    fn list(&mut self, call: Call, world: &World) -> Vec<Name> {
        let most = if call.key() == "users" { 40 } else { 14 };
        let mut list: Vec<Name> = Vec::new();
        for _ in 0..self.0.usize(..=most) {
            let again = !list.is_empty() && self.chance(0.1);
            let name = match call {
                _ if again => list[self.0.usize(..list.len())].clone(),
                Call::AddUsers | Call::RemoveUsers => self.user(world),
                Call::AddGroups | Call::RemoveGroups => self.group(),
            };
            list.push(name);
        }
        list
    }

    fn faults(&mut self) -> Map<String, Value> {
        let mut all = [
            json!({ "error_5xx": self.0.f64() * 0.6 }),
            json!({ "cut": self.0.f64() * 0.5 }),
            json!({ "truncated": self.0.f64() * 0.5 }),
            json!({ "html": self.0.f64() * 0.4 }),
            json!({ "lag_ms": self.0.u32(10..300) }),
            json!({ "rate": self.0.u32(200..2000), "burst": self.0.u32(1..20), "retry_after": "zero" }),
            json!({ "rate": self.0.u32(200..2000), "burst": self.0.u32(1..20), "retry_after": "none" }),
            json!({ "seats": self.0.u32(..25) }),
            json!({ "slow": format!("{}:{}", self.0.f64() * 0.3, self.0.u32(1..40)) }),
            json!({ "already_member": if self.0.bool() { 400 } else { 201 } }),
            json!({ "not_member": 404 }),
            json!({ "no_total": true, "wrong_next": true }),
            json!({ "over_limit": "cap", "hidden_emails": true }),
        ];
        self.0.shuffle(&mut all);
        let many = self.0.usize(..5);
        let mut faults = Map::new();
        for one in all.into_iter().take(many) {
            faults.extend(one.as_object().unwrap().clone());
        }
        faults
    }
}

/// How often what happened: a test in which nothing fails shows nothing.
#[derive(Debug, Default)]
struct Seen {
    whole: usize,
    cut_short: usize,
    refused_before: usize,
    /// Dry runs whose answer was that of the run after them.
    foretold: usize,
    done: usize,
    in_doubt: usize,
    /// The faults of the case may lose answers.
    may_lose_answers: bool,
    /// Told as done, and so before.
    so_before: usize,
    reasons: BTreeMap<String, usize>,
}

async fn state(world: &World) -> State {
    let state = world.cloud.state().await;
    let groups = state.as_object().unwrap().iter();
    let group = groups.map(|(id, group)| {
        let members = texts(&group["members"], None).into_iter().collect();
        (id.clone(), (group["name"].as_str().unwrap().to_owned(), members))
    });
    group.collect()
}

/// What a call can change, and what it cannot.
fn halves(call: Call, state: State) -> (BTreeSet<String>, State) {
    match call {
        Call::AddUsers | Call::RemoveUsers => {
            let (team, rest): (State, State) = state.into_iter().partition(|(_, (name, _))| name == "team");
            (team.into_values().flat_map(|(_, members)| members).collect(), rest)
        }
        Call::AddGroups | Call::RemoveGroups => {
            let fixed = ["team", "confluence-users", "site-admins"];
            let (rest, groups): (State, State) = state
                .into_iter()
                .partition(|(_, (name, _))| fixed.contains(&name.as_str()));
            let count = groups.len();
            let keys: BTreeSet<String> = groups.into_values().map(|(name, _)| name.to_lowercase()).collect();
            assert_eq!(keys.len(), count, "a group stands there twice");
            (keys, rest)
        }
    }
}

/// Holds an answer and its report to what became of Cloud.
async fn hold(
    world: &World,
    call: Call,
    list: &[Name],
    answer: &Reply,
    before: State,
    may_lack_seats: bool,
    seen: &mut Seen,
) {
    let (before, rest_before) = halves(call, before);
    let (after, rest_after) = halves(call, state(world).await);
    assert_eq!(rest_before, rest_after, "something else was changed");
    let changed: BTreeSet<String> = before.symmetric_difference(&after).cloned().collect();
    let Some(report) = answer.header("x-facade-report") else {
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(changed, BTreeSet::new(), "changed without a report");
        seen.refused_before += 1;
        return;
    };
    let report = world.report(report, ADMIN, "").await.json();
    let rows = report["names"].as_array().unwrap();
    let asked: Vec<&str> = list.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        texts(&report["names"], Some("name")),
        asked,
        "every name once, in order"
    );
    let (mut done, mut in_doubt) = (BTreeSet::new(), BTreeSet::new());
    let (mut keys, mut met) = (BTreeSet::new(), BTreeSet::new());
    let mut told = (Vec::new(), Vec::new());
    for ((name, meaning), row) in list.iter().zip(rows) {
        let shown = || format!("{name:?}, which means {meaning:?}: {row} in {answer:?}");
        let is_first = keys.insert(name.to_lowercase()) && meaning.as_ref().is_none_or(|what| met.insert(what.clone()));
        let was = meaning.as_ref().is_some_and(|what| before.contains(what));
        match row["outcome"].as_str().unwrap() {
            "done" => {
                let what = meaning.clone().unwrap_or_else(|| panic!("{}", shown()));
                assert!(is_first, "{}", shown());
                assert_eq!(after.contains(&what), call.leaves_present(), "{}", shown());
                // After an answer that was lost nobody can tell whether it was so before or our first try made it so.
                if was == call.leaves_present() {
                    assert!(seen.may_lose_answers, "{}", shown());
                    seen.so_before += 1;
                    told.0.push(name.clone());
                    continue;
                }
                if call.key() == "users" {
                    assert_eq!(row["account"], what.as_str(), "{}", shown());
                }
                done.insert(what);
                told.0.push(name.clone());
            }
            "skipped" => {
                let reason = row["reason"].as_str().unwrap();
                *seen.reasons.entry(reason.to_owned()).or_default() += 1;
                let is_so = match reason {
                    "blank" => name.trim().is_empty(),
                    "duplicate" => !is_first,
                    "unknown" => meaning.is_none(),
                    "already_member" | "already_exists" => was && call.leaves_present(),
                    "not_member" | "no_such_group" => !was && !call.leaves_present(),
                    "merged_account" => call == Call::RemoveUsers,
                    // Cloud said no, and whether it was so before could not be read.
                    "refused" => was == call.leaves_present(),
                    "no_seat" => may_lack_seats && call == Call::AddUsers,
                    "not_attempted" => answer.status == 503 || may_lack_seats,
                    _ => false,
                };
                assert!(is_so, "{}", shown());
                if let Some(what) = meaning.as_ref().filter(|_| is_first) {
                    assert_eq!(after.contains(what), was, "{}", shown());
                }
                told.1.push(name.clone());
            }
            "in_doubt" => {
                assert_eq!(answer.status, 503, "{}", shown());
                in_doubt.extend(meaning.clone());
            }
            _ => panic!("{}", shown()),
        }
    }
    assert!(done.is_subset(&changed), "told and not so: {:?}", &done - &changed);
    let untold = &(&changed - &done) - &in_doubt;
    assert_eq!(untold, BTreeSet::new(), "changed and not told");
    seen.done += done.len();
    seen.in_doubt += in_doubt.len();
    if answer.status == 200 {
        assert_eq!(lists(answer), told, "the answer and its report");
        assert_eq!(
            answer.header("x-facade-skipped"),
            Some(told.1.len().to_string().as_str())
        );
        assert_eq!(report["state"], "finished");
        seen.whole += 1;
    } else {
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.header("retry-after").is_some());
        assert_eq!(report["state"], "interrupted");
        seen.cut_short += 1;
    }
}

async fn case(world: &World, dice: &mut Dice, seen: &mut Seen) {
    let call = match dice.0.u8(..10) {
        0..4 => Call::AddUsers,
        4..7 => Call::RemoveUsers,
        7..9 => Call::AddGroups,
        _ => Call::RemoveGroups,
    };
    let list = dice.list(call, world);
    let names: Vec<&str> = list.iter().map(|(name, _)| name.as_str()).collect();
    let body = json!({ call.key(): names });
    let faults = dice.faults();
    let off: Map<String, Value> = faults.keys().map(|name| (name.clone(), Value::Null)).collect();
    let has_seats = faults.contains_key("seats");
    seen.may_lose_answers = ["error_5xx", "cut", "truncated", "html", "slow"]
        .iter()
        .any(|fault| faults.contains_key(*fault));
    let mut before = state(world).await;
    let foretold = if dice.chance(0.25) {
        let foretold = world.post(&format!("{}?dryRun=true", call.path()), &body).await;
        assert_eq!(foretold.status, 200, "{foretold:?}");
        assert_eq!(state(world).await, before, "a dry run changes nothing");
        Some(foretold)
    } else {
        None
    };
    world.cloud.switch(Value::Object(faults)).await;
    let falls = dice.chance(0.04).then(|| Duration::from_millis(dice.0.u64(..60)));
    let outage = async {
        if let Some(after) = falls {
            world.cloud.switch(json!({ "latency_ms": 5 })).await;
            tokio::time::sleep(after).await;
            world.cloud.switch(json!({ "down": true })).await;
        }
    };
    let (mut answer, ()) = tokio::join!(world.post(call.path(), &body), outage);
    hold(world, call, &list, &answer, before, has_seats, seen).await;
    if let Some(foretold) = foretold.filter(|_| answer.status == 200 && !has_seats) {
        assert_eq!(foretold.text(), answer.text(), "foretold, and done");
        seen.foretold += 1;
    }
    // The same call again, first under the same faults, finishes the work.
    for round in 0.. {
        if answer.status == 200 {
            break;
        }
        assert!(round < 8, "it never ends: {answer:?}");
        if falls.is_some() || round == 3 {
            world.cloud.switch(json!({ "down": null, "latency_ms": null })).await;
            world.cloud.switch(Value::Object(off.clone())).await;
        }
        if round > 3 {
            // All is well, and is found to be so when the pause that was told is over.
            let pause: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            tokio::time::sleep(Duration::from_secs(pause)).await;
        }
        before = state(world).await;
        answer = world.post(call.path(), &body).await;
        hold(world, call, &list, &answer, before, has_seats, seen).await;
    }
    world.cloud.switch(json!({ "down": null, "latency_ms": null })).await;
    world.cloud.switch(Value::Object(off)).await;
}

/// A map with second usernames, and without the last people.
async fn world(seed: u64) -> World {
    let mut options = options(40, &[("team", 10), ("old", 3)]);
    options.seed = seed;
    World::start(options, |settings| {
        let map = settings.identity.map_file.clone().unwrap();
        let text = std::fs::read_to_string(&map).unwrap();
        let mut lines: Vec<String> = text.lines().take(MAPPED + 1).map(str::to_owned).collect();
        let accounts: Vec<String> = lines[1..]
            .iter()
            .map(|line| line.split(',').nth(3).unwrap().to_owned())
            .collect();
        for number in (0..MAPPED).step_by(MERGED) {
            lines.push(format!("alias{number},,,{},,,", accounts[number]));
        }
        std::fs::write(map, lines.join("\n")).unwrap();
        settings.extender.bulk_give_up_s = 1;
        settings.extender.read_deadline_s = 2;
        settings.cloud.max_tries = 3;
        settings.cloud.backoff_cap_ms = 40;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_of_any_list_is_told_once_and_truly_under_any_faults() {
    let long = std::env::var("FACADE_LONG").is_ok_and(|long| long == "1");
    let cases: u64 = if long { 5_000 } else { 240 };
    let first: u64 = std::env::var("FACADE_SEED").map_or(0, |seed| seed.parse().unwrap());
    let workers = (0..WORKERS).map(|seed| {
        tokio::spawn(async move {
            let mut seen = Seen::default();
            let mut place = None;
            for number in 0..cases / WORKERS {
                // A new world now and then: a long history is no list's usual one.
                let world = match place.take() {
                    Some(world) if number % 20 != 0 => world,
                    _ => world(number + 1).await,
                };
                let mut dice = Dice(fastrand::Rng::with_seed((first * WORKERS + seed) * 1_000_000 + number));
                eprintln!("worker {seed}, case {number}");
                case(&world, &mut dice, &mut seen).await;
                place = Some(world);
            }
            seen
        })
    });
    let workers: Vec<_> = workers.collect();
    let mut all = Seen::default();
    for worker in workers {
        let seen = worker.await.unwrap();
        all.whole += seen.whole;
        all.cut_short += seen.cut_short;
        all.refused_before += seen.refused_before;
        all.foretold += seen.foretold;
        all.done += seen.done;
        all.in_doubt += seen.in_doubt;
        all.so_before += seen.so_before;
        for (reason, count) in seen.reasons {
            *all.reasons.entry(reason).or_default() += count;
        }
    }
    eprintln!("{cases} lists: {all:?}");
    assert_eq!(u64::try_from(all.whole).unwrap(), cases, "each is answered at last");
    assert!(all.cut_short > 0 && all.refused_before > 0 && all.done > 100, "{all:?}");
}
