//! Several callers at once: every change is made once, every answer is true.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use extender_facade::model::Summary;
use extender_facade::model::report::State;
use extender_facade::store::journal::ReadOnly;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cloud::{Reply, send};
use crate::harness::{World, names, options};
use crate::truth::{hold_answer, lists};

/// Two administrators before one group: two callers of the configured credential, or each with one of their own.
struct Two {
    world: World,
    callers: [(&'static str, &'static str); 2],
}

impl Two {
    async fn start(faults: Value) -> [Self; 2] {
        let of = async |mode, callers| {
            let mut options = options(400, &[("team", 50)]);
            options.latency_ms = 2;
            let world = World::start(options, |settings| settings.inbound.mode = mode).await;
            world.cloud.switch(faults.clone()).await;
            Self { world, callers }
        };
        use extender_facade::settings::Mode;
        [
            of(Mode::Accounts, [("admin", "admin"); 2]).await,
            of(Mode::Passthrough, [("one@example.com", "a"), ("two@example.com", "b")]).await,
        ]
    }

    async fn post(&self, who: usize, path: &str, body: Value) -> Reply {
        let (name, password) = self.callers[who];
        let request = self.world.request(Method::POST, path).basic_auth(name, Some(password));
        send(request.body(body.to_string())).await
    }

    async fn users(&self, who: usize, path: &str, all: &[String]) -> Reply {
        let answer = self.post(who, path, json!({ "users": all })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        hold_answer(&self.world, all, &answer);
        answer
    }

    async fn members(&self, who: usize) -> Vec<String> {
        let (name, password) = self.callers[who];
        let request = self
            .world
            .request(Method::GET, "getUsers/team")
            .basic_auth(name, Some(password));
        crate::harness::texts(&send(request).await.json()["users"], Some("name"))
    }
}

fn set(names: &[String]) -> BTreeSet<&String> {
    names.iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_add_overlapping_lists_make_every_change_once_and_are_both_told_the_truth() {
    for two in Two::start(json!({ "lag_ms": 200 })).await {
        let (first, second) = (names(21, 200), names(121, 200));
        let (one, other) = tokio::join!(
            two.users(0, "addUsers/team", &first),
            two.users(1, "addUsers/team", &second)
        );
        let (one, other) = (lists(&one).0, lists(&other).0);
        assert!(set(&one).is_disjoint(&set(&other)));
        let all: BTreeSet<_> = &set(&one) | &set(&other);
        assert_eq!(all, set(&names(51, 270)));
        assert_eq!(two.world.truth("team").await, names(1, 320));
        assert_eq!(two.world.calls().await["add_member"], 270);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_outcome_is_what_holds_when_one_adds_and_another_removes() {
    for two in Two::start(json!({})).await {
        let all = names(26, 200);
        let (added, removed) = tokio::join!(
            two.users(0, "addUsers/team", &all),
            two.users(1, "removeUsers/team", &all)
        );
        let (added, removed) = (lists(&added).0, lists(&removed).0);
        let truth = two.world.truth("team").await;
        for name in &all {
            let was = name.as_str() <= "user000050";
            let (in_, out) = (added.contains(name), removed.contains(name));
            let is = truth.contains(name);
            // Each was judged after the other, in one order or the other.
            let possible = match (was, in_, out) {
                (true, false, true) => !is,
                (true, true, true) => is,
                (false, true, false) => is,
                (false, true, true) => !is,
                _ => false,
            };
            assert!(possible, "{name}: was {was}, added {in_}, removed {out}, is {is}");
        }
        for who in [0, 1] {
            assert_eq!(two.members(who).await, truth);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_two_make_at_once_is_made_once() {
    for two in Two::start(json!({ "lag_ms": 200 })).await {
        for call in ["addGroups", "removeGroups"] {
            let groups: Vec<String> = (0..8).map(|n| format!("new {n}")).collect();
            // Each in an order of its own: the same call of the same caller would be one call.
            let lists_of_four = [0, 1, 2, 3].map(|turn| {
                let mut list = groups.clone();
                list.rotate_left(turn);
                list
            });
            let answers = join_all(lists_of_four.iter().zip([0, 1, 0, 1]).map(|(list, who)| {
                let body = json!({ "groups": list });
                two.post(who, call, body)
            }))
            .await;
            let mut done: Vec<String> = Vec::new();
            for (answer, groups) in answers.iter().zip(&lists_of_four) {
                assert_eq!(answer.status, 200, "{answer:?}");
                hold_answer(&two.world, groups, answer);
                done.extend(lists(answer).0);
            }
            done.sort();
            assert_eq!(done, groups);
        }
        let calls = two.world.calls().await;
        assert_eq!(calls["create_group"], 8);
        let reasons: BTreeSet<String> = two
            .world
            .audit()
            .iter()
            .filter_map(|line| line["reason"].as_str().map(str::to_owned))
            .collect();
        assert_eq!(reasons, ["already_exists", "no_such_group"].map(str::to_owned).into());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_callers_change_is_soon_seen_by_the_other() {
    for two in Two::start(json!({ "lag_ms": 100 })).await {
        assert_eq!(two.members(1).await, names(1, 50));
        two.users(0, "addUsers/team", &names(51, 10)).await;
        // The other reads Cloud with eyes of their own; when Cloud shows it, so do we.
        let seen = async {
            while two.members(1).await != names(1, 60) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), seen)
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_adds_and_removes_ends_in_a_state_that_the_audit_explains() {
    let [two, _] = Two::start(json!({ "error_5xx": 0.1, "cut": 0.05 })).await;
    let before = two.world.truth("team").await;
    let calls = (0..24).map(|n| {
        let all = names(1 + (n * 13) % 60, 40);
        let two = &two;
        async move {
            let path = if n % 2 == 0 {
                "addUsers/team"
            } else {
                "removeUsers/team"
            };
            two.users(n % 2, path, &all).await;
        }
    });
    join_all(calls).await;
    let truth = two.world.truth("team").await;
    let audit = two.world.audit();
    for name in names(1, 110) {
        let count = |operation: &str| {
            audit
                .iter()
                .filter(|line| line["name"] == *name && line["operation"] == operation && line["result"] == "done")
                .count() as i64
        };
        let sum = i64::from(before.contains(&name)) + count("add_members") - count("remove_members");
        assert_eq!(sum, i64::from(truth.contains(&name)), "{name}");
    }
    assert_eq!(two.members(0).await, truth);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_operations_is_soon_on_record_as_over_however_they_overlap() {
    let world = World::start(options(200, &[("team", 0)]), |_| ()).await;
    let all = names(1, 200);
    // For as long as it takes to put on record, more than once, what has ended meanwhile.
    let lanes = all.chunks(25).map(async |lane| {
        for name in lane {
            assert_eq!(world.users("addUsers/team", &[name]).await.status, 200);
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..20))).await;
        }
    });
    join_all(lanes).await;
    let journal = ReadOnly::open(&world.path("state")).unwrap();
    let began = Instant::now();
    let is_running = |one: &Summary| one.state == State::Running;
    while journal.list(500).unwrap().iter().any(is_running) {
        assert!(began.elapsed().as_secs() < 60, "some are never over");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(journal.list(500).unwrap().len(), 200);
}
