//! What each operation costs in requests to Cloud, counted by the simulator, against the least that a planner who knows only
//! the cache must spend. `cargo test --test facade costs -- --nocapture` prints the tables.

use std::collections::BTreeMap;

use extender_facade::settings::{Pays, Settings};
use serde_json::json;

use crate::harness::{World, names, options};
use crate::sources::{Keys, unlock};
use crate::truth::lists;

const NAMES: [usize; 3] = [1, 10, 1000];
const PAGE: usize = 200;
/// People who are in no group of the tables.
const OUTSIDERS: usize = 1500;

/// How many of the names are in the group already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Already {
    None,
    Some,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Add,
    Remove,
}

/// One line of the table, in a group of its own: nothing is cached of a group that nobody asked for.
#[derive(Clone, Debug)]
struct Case {
    call: Call,
    already: Already,
    names: usize,
    members: usize,
    warm: bool,
    group: String,
}

impl Case {
    /// Names that are in the group; of a small group, all that there are.
    fn inside(&self) -> usize {
        match self.already {
            Already::None => 0,
            Already::Some => (self.names / 2).min(self.members),
            Already::All => self.names.min(self.members),
        }
    }

    /// Names that have to be changed: one call each.
    fn changes(&self) -> usize {
        match self.call {
            Call::Add => self.names - self.inside(),
            Call::Remove => self.inside(),
        }
    }

    /// The least of a planner who knows only the cache: find the group; one name: one `memberof`; k ≥ 2 names: the first page tells the
    /// total T, then min(⌈T ÷ 200⌉ − 1, k) more reads; one call a change. What is warm needs no read.
    fn minimum(&self) -> usize {
        let more = self.members.div_ceil(PAGE).max(1) - 1;
        let reads = match (self.warm, self.names) {
            (true, _) => 0,
            (false, 1) => 1 + 1,
            (false, k) => 1 + 1 + more.min(k),
        };
        reads + self.changes()
    }
}

/// Every line for groups of this size; combinations that are none are left out.
fn cases(members: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for call in [Call::Add, Call::Remove] {
        for names in NAMES {
            for already in [Already::None, Already::Some, Already::All] {
                for warm in [false, true] {
                    let group = format!("table-{:03}", cases.len());
                    let case = Case {
                        call,
                        already,
                        names,
                        members,
                        warm,
                        group,
                    };
                    if already == Already::None || case.inside() > 0 {
                        cases.push(case);
                    }
                }
            }
        }
    }
    cases
}

/// The names of a line: members from the end of the group, so that the first page shows none of them if there are others,
/// and outsiders; whose groups one line has asked for, no other of few names asks for.
fn names_of(case: &Case, line: usize) -> Vec<String> {
    let apart = if case.names > 10 { 0 } else { line * 10 };
    let inside = case.inside();
    let last = case.members - apart.min(case.members.saturating_sub(inside));
    let mut all = names(last - inside + 1, inside);
    all.extend(names(case.members + 1 + apart, case.names - inside));
    all
}

fn warm_for_long(settings: &mut Settings) {
    settings.cache.members_ttl_s = 3600;
    settings.cache.members_write_ttl_s = 3600;
}

/// A Cloud with a group of this size for every line, and a facade before it.
async fn world_of(cases: &[Case], members: usize, keys: Keys) -> World {
    let size = u32::try_from(members).unwrap();
    let groups: Vec<(&str, u32)> = cases.iter().map(|case| (case.group.as_str(), size)).collect();
    let simulated = options(u32::try_from(members + OUTSIDERS).unwrap(), &groups);
    World::start(simulated.clone(), |settings| {
        warm_for_long(settings);
        unlock(settings, keys, &simulated);
    })
    .await
}

/// Runs every line for groups of this size and holds it to the minimum and `allowance` more.
async fn hold_table(members: usize, keys: Keys, allowance: impl Fn(&Case) -> usize) {
    let mut cases = cases(members);
    // Warm, a key makes no difference; the lists are long to read.
    cases.retain(|case| !(keys.admin && case.warm && members > 1000));
    let world = world_of(&cases, members, keys).await;
    println!(
        "\n| call | names | members | already | cache | calls | minimum | by operation |\n|---|---|---|---|---|---|---|---|"
    );
    let mut wrong = Vec::new();
    for (line, case) in cases.iter().enumerate() {
        if case.warm {
            // One row is enough to have the whole group read.
            let answer = world.get(&format!("getUsers/{}?maxResults=1", case.group)).await;
            assert_eq!(answer.json()["total"], members);
        }
        world.forget_calls().await;
        let path = match case.call {
            Call::Add => format!("addUsers/{}", case.group),
            Call::Remove => format!("removeUsers/{}", case.group),
        };
        let answer = world.users(&path, &names_of(case, line)).await;
        assert_eq!(answer.status, 200, "{case:?}: {answer:?}");
        assert_eq!(lists(&answer).0.len(), case.changes(), "{case:?}");
        let by_operation = world.calls().await;
        let calls: u64 = by_operation.values().sum();
        let minimum = case.minimum();
        println!(
            "| {:?} | {} | {} | {:?} | {} | {calls} | {minimum} | {} |",
            case.call,
            case.names,
            members,
            case.already,
            if case.warm { "warm" } else { "cold" },
            shown(&by_operation)
        );
        let changed = match case.call {
            Call::Add => by_operation.get("add_member"),
            Call::Remove => by_operation.get("remove_member"),
        };
        let exact = changed.copied().unwrap_or(0) == case.changes() as u64;
        if !exact || calls as usize > minimum + allowance(case) {
            wrong.push(format!("{case:?}: {calls} calls, minimum {minimum}: {by_operation:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn shown(calls: &BTreeMap<String, u64>) -> String {
    let calls: Vec<String> = calls.iter().map(|(name, n)| format!("{name} {n}")).collect();
    calls.join(", ")
}

const NO_KEYS: Keys = Keys {
    admin: false,
    scim: false,
    jira: false,
};

const ORGANISATION: Keys = Keys { admin: true, ..NO_KEYS };

fn nothing_more(_: &Case) -> usize {
    0
}

/// Where many are to be taken out, the pages are compared with one search for the suspended, whom no page shows: without
/// it they would stay in the group and be told "not a member".
fn the_suspended(case: &Case) -> usize {
    usize::from(case.call == Call::Remove && !case.warm && case.names > 10)
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_in_empty_groups_cost_the_minimum() {
    hold_table(0, NO_KEYS, nothing_more).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_in_groups_of_450_cost_the_minimum() {
    hold_table(450, NO_KEYS, nothing_more).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_in_groups_of_10_000_cost_the_minimum() {
    hold_table(10_000, NO_KEYS, nothing_more).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_organisations_key_nothing_costs_more_but_the_search_for_the_suspended() {
    for members in [0, 450, 10_000] {
        hold_table(members, ORGANISATION, the_suspended).await;
    }
}

/// What a call of these names costs in a group of 10,000, by operation.
async fn cost(world: &World, path: &str, names: &[String]) -> BTreeMap<String, u64> {
    world.forget_calls().await;
    let answer = world.users(path, names).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    world.calls().await
}

#[tokio::test(flavor = "multi_thread")]
async fn names_on_the_first_page_cost_no_further_read() {
    let world = World::with(10_100, &[("one-side", 10_000), ("two-sided", 10_000)]).await;
    let calls = cost(&world, "addUsers/one-side", &names(1, 10)).await;
    assert_eq!(json!(calls), json!({ "find_group": 1, "list_members": 1 }));
    let some: Vec<String> = names(1, 7).into_iter().chain(names(10_001, 3)).collect();
    let calls = cost(&world, "addUsers/two-sided", &some).await;
    assert_eq!(
        json!(calls),
        json!({ "find_group": 1, "list_members": 1, "member_of": 3, "add_member": 3 })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_organisations_key_ten_names_cost_one_search_however_big_the_group_is() {
    let simulated = options(10_100, &[("huge", 10_000)]);
    let world = World::start(simulated.clone(), |settings| unlock(settings, ORGANISATION, &simulated)).await;
    world.cloud.switch(json!({ "suspended": true })).await;
    let asked: Vec<String> = names(9_991, 5).into_iter().chain(names(10_001, 5)).collect();
    let before = world.truth("huge").await;
    let calls = cost(&world, "removeUsers/huge", &asked).await;
    assert_eq!(calls.get("admin_search_users"), Some(&1), "{calls:?}");
    assert_eq!(calls.get("list_members"), None, "{calls:?}");
    assert_eq!(calls.get("member_of"), None, "{calls:?}");
    assert_eq!(calls.get("remove_member"), Some(&5), "{calls:?}");
    assert_eq!(world.truth("huge").await.len(), before.len() - 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_organisation_does_not_tell_confluence_does() {
    let simulated = options(300, &[("team", 250)]);
    let asked: Vec<String> = names(249, 4);
    for fault in [
        json!({ "admin_down": true }),
        json!({ "admin_refused": 403 }),
        json!({ "admin_garbage": "empty" }),
        json!({ "admin_garbage": "foreign" }),
    ] {
        let world = World::start(simulated.clone(), |settings| {
            unlock(settings, ORGANISATION, &simulated);
            settings.extender.read_deadline_s = 4;
        })
        .await;
        world.cloud.switch(fault.clone()).await;
        for (path, done) in [("addUsers/team", names(251, 2)), ("removeUsers/team", names(249, 4))] {
            let answer = world.users(path, &asked).await;
            assert_eq!(answer.status, 200, "{fault} {answer:?}");
            assert_eq!(lists(&answer).0, done, "{fault}");
        }
        assert_eq!(world.truth("team").await, names(1, 248), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_points_are_paid_few_names_are_asked_one_by_one_and_many_by_pages() {
    let world = World::start(options(10_100, &[("huge", 10_000)]), |settings| {
        settings.cloud.pays = Pays::Points;
    })
    .await;
    // A page of 200 costs 401 points, an account in ten groups 21.
    let calls = cost(&world, "removeUsers/huge", &names(10_001, 15)).await;
    assert_eq!(json!(calls), json!({ "find_group": 1, "member_of": 15 }));
    let calls = cost(&world, "removeUsers/huge", &names(10_021, 30)).await;
    assert_eq!(json!(calls), json!({ "list_members": 1, "member_of": 30 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn making_groups_costs_the_look_ups_or_the_list_and_one_call_each() {
    let mut simulated = options(10, &[]);
    simulated.groups = 297;
    for (count, look_ups, pages) in [(1, 1, 0), (3, 3, 0), (10, 0, 2), (100, 0, 2)] {
        let world = World::start(simulated.clone(), |_| {}).await;
        let fresh: Vec<String> = (0..count).map(|n| format!("new {n:03}")).collect();
        let fresh: Vec<&str> = fresh.iter().map(String::as_str).collect();
        world.groups("addGroups", &fresh).await;
        let calls = world.calls().await;
        let of = |name: &str| calls.get(name).copied().unwrap_or(0);
        assert_eq!((of("find_group"), of("list_groups")), (look_ups, pages), "{calls:?}");
        assert_eq!(of("create_group"), count, "{calls:?}");
        assert_eq!(calls.values().sum::<u64>(), look_ups + pages + count, "{calls:?}");
        world.forget_calls().await;
        world.groups("removeGroups", &fresh).await;
        let calls = world.calls().await;
        let of = |name: &str| calls.get(name).copied().unwrap_or(0);
        // Known from their making: nothing is looked up. Each id is confirmed directly before; who was in the group is read
        // where it is kept for an undo.
        assert_eq!((of("find_group"), of("list_groups")), (0, 0), "{calls:?}");
        assert_eq!((of("get_group"), of("delete_group")), (count, count), "{calls:?}");
        let rest = calls.values().sum::<u64>() - 2 * count;
        assert!(rest == of("list_members") && rest <= count, "{calls:?}");
    }
}

/// What a dry run's report says a run would cost, by operation.
async fn plan_of(world: &World, answer: &crate::cloud::Reply) -> (BTreeMap<String, u64>, serde_json::Value) {
    let id = answer.header("x-facade-report").expect("a report");
    let address = format!("http://{}/facade/v1/reports/{id}?names=false", world.facade);
    let report = crate::cloud::send(world.client.get(address).bearer_auth(crate::harness::ADMIN)).await;
    assert_eq!(report.status, 200, "{report:?}");
    let plan = report.json()["plan"].clone();
    let calls = plan["calls"].as_object().expect("calls");
    let calls = calls
        .iter()
        .map(|(name, n)| (name.clone(), n.as_u64().unwrap()))
        .collect();
    (calls, plan)
}

/// For every line of the table: a dry run changes nothing, costs no more than the reads of a run, and foretells letter by
/// letter what a run answers and to the call what it costs then.
async fn hold_dry_runs(members: usize, keys: Keys) {
    let mut cases = cases(members);
    cases.retain(|case| !(case.warm && members > 1000));
    let world = world_of(&cases, members, keys).await;
    for (line, case) in cases.iter().enumerate() {
        if case.warm {
            world.get(&format!("getUsers/{}?maxResults=1", case.group)).await;
        }
        let path = match case.call {
            Call::Add => format!("addUsers/{}", case.group),
            Call::Remove => format!("removeUsers/{}", case.group),
        };
        let asked = names_of(case, line);
        let before = world.cloud.truth(&case.group).await;
        world.forget_calls().await;
        let dry = world.users(&format!("{path}?dryRun=true"), &asked).await;
        assert_eq!(
            (dry.status, dry.header("x-facade-dry-run")),
            (200, Some("true")),
            "{case:?}"
        );
        let reads = world.calls().await;
        assert!(
            !reads.contains_key("add_member") && !reads.contains_key("remove_member"),
            "{case:?} {reads:?}"
        );
        assert!(
            reads.values().sum::<u64>() as usize <= case.minimum() - case.changes() + usize::from(keys.admin),
            "{case:?} {reads:?}"
        );
        assert_eq!(world.cloud.truth(&case.group).await, before, "{case:?}");
        let (foretold, plan) = plan_of(&world, &dry).await;
        assert_eq!(plan["changes"], case.changes(), "{case:?} {plan}");
        world.forget_calls().await;
        let real = world.users(&path, &asked).await;
        assert_eq!((real.status, &real.body), (200, &dry.body), "{case:?}");
        assert_eq!(world.calls().await, foretold, "{case:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_foretells_every_line_of_the_table_and_changes_nothing() {
    for members in [0, 450] {
        hold_dry_runs(members, NO_KEYS).await;
        hold_dry_runs(members, ORGANISATION).await;
    }
    hold_dry_runs(10_000, NO_KEYS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_foretells_what_making_and_deleting_groups_costs() {
    let world = World::with(500, &[("empty", 0), ("some", 30), ("many", 450)]).await;
    for (path, asked) in [
        ("addGroups", ["new one", "some", "new two"]),
        ("removeGroups", ["empty", "nothing", "many"]),
    ] {
        let before = world.cloud.state().await;
        let dry = world.groups(&format!("{path}?dryRun=true"), &asked).await;
        assert_eq!(dry.status, 200, "{dry:?}");
        assert_eq!(world.cloud.state().await, before);
        let (foretold, _) = plan_of(&world, &dry).await;
        world.forget_calls().await;
        let real = world.groups(path, &asked).await;
        assert_eq!(real.body, dry.body);
        assert_eq!(world.calls().await, foretold, "{path}");
    }
}
