//! What addUsers and removeUsers tell of every name, and that it is so.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::cloud::send;
use crate::harness::{ADMIN, World, encode, names, off, options};
use crate::truth::{self, accounts, lists};

const ODD: &str = "R&D / Zürich + 50%";

#[tokio::test(flavor = "multi_thread")]
async fn a_group_with_an_odd_name_is_made_filled_listed_emptied_and_deleted() {
    let world = World::with(50, &[]).await;
    assert_eq!(
        world.groups("addGroups", &[ODD]).await.json(),
        json!({ "groupsAdded": [ODD], "groupsSkipped": [], "message": "all groups added", "status": "success" })
    );
    assert!(world.get("getGroups").await.text().contains(ODD));
    let path = encode(ODD);
    let answer = world.users(&format!("addUsers/{path}"), &names(1, 20)).await;
    assert_eq!(answer.json()["message"], "all users added to group");
    assert_eq!(world.members(ODD).await, names(1, 20));
    assert_eq!(world.truth(ODD).await, names(1, 20));
    let answer = world.users(&format!("removeUsers/{path}"), &names(1, 20)).await;
    assert_eq!(answer.json()["message"], "all users removed from group");
    assert_eq!(world.members(ODD).await, names(1, 0));
    assert_eq!(
        world.groups("removeGroups", &[ODD]).await.json(),
        json!({ "groupsRemoved": [ODD], "groupsSkipped": [], "message": "all groups removed", "status": "success" })
    );
    assert_eq!(world.get(&format!("getUsers/{path}")).await.status, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_names_come_in_one_pretty_printed_body() {
    let world = World::with(5000, &[("big", 450)]).await;
    let all = names(1, 5000);
    let before = truth::members(&world, "big").await;
    let body = serde_json::to_string_pretty(&json!({ "users": all })).unwrap();
    let request = world
        .request(reqwest::Method::POST, "addUsers/big")
        .bearer_auth(ADMIN)
        .body(body);
    let answer = send(request).await;
    let (done, skipped) = lists(&answer);
    assert_eq!((done, skipped), (names(451, 4550), names(1, 450)));
    truth::hold(&world, "big", &all, &answer, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_of_a_persons_names_is_done_and_the_others_are_skipped() {
    let world = World::with(50, &[("team", 5)]).await;
    let person = &world.cloud.people[9];
    let asked = [
        "nobody".to_owned(),
        person.email.to_uppercase(),
        " ".to_owned(),
        person.username.clone(),
        person.key.to_uppercase(),
        person.account_id.clone(),
        "NOBODY".to_owned(),
        "user000003".to_owned(),
        "user000020".to_owned(),
        String::new(),
    ];
    let before = truth::members(&world, "team").await;
    let answer = world.users("addUsers/team", &asked).await;
    assert_eq!(lists(&answer).0, [asked[1].clone(), "user000020".to_owned()]);
    let audit = truth::audit_of(&world, &answer);
    let reason = |name: &str| audit.iter().find(|line| line["name"] == name).unwrap()["reason"].clone();
    for (name, expected) in [
        ("nobody", json!("unknown")),
        ("NOBODY", json!("duplicate")),
        (" ", json!("blank")),
        ("", json!("blank")),
        (&asked[1], Value::Null),
        (&asked[3], json!("duplicate")),
        (&asked[4], json!("duplicate")),
        (&asked[5], json!("duplicate")),
        ("user000003", json!("already_member")),
    ] {
        assert_eq!(reason(name), expected, "{name}");
    }
    truth::hold(&world, "team", &asked, &answer, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_list_is_a_success_without_a_change() {
    let world = World::with(10, &[("team", 5)]).await;
    let answer = world.users("addUsers/team", &names(1, 0)).await;
    assert_eq!(
        answer.json(),
        json!({ "usersAdded": [], "usersSkipped": [], "message": "all users added to group", "status": "success" })
    );
    assert_eq!(answer.header("x-facade-skipped"), Some("0"));
    assert_eq!(world.users("addUsers/nothing", &names(1, 0)).await.status, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_somebody_else_deleted_is_missing_and_not_a_success_with_all_skipped() {
    let world = World::with(10, &[("team", 5), ("other", 5)]).await;
    for (group, asked) in [("team", names(7, 1)), ("other", names(7, 3))] {
        assert_eq!(world.members(group).await, names(1, 5));
        let id = world.cloud.group_id(group).await;
        assert_eq!(world.cloud.delete(&format!("/group/by-id?id={id}")).await.status, 204);
        let answer = world.users(&format!("addUsers/{group}"), &asked).await;
        assert_eq!(answer.status, 500, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_somebody_else_made_anew_is_filled_under_its_new_id() {
    let world = World::with(10, &[("team", 5), ("other", 5)]).await;
    for (group, asked) in [("team", names(7, 1)), ("other", names(7, 3))] {
        assert_eq!(world.members(group).await, names(1, 5));
        let id = world.cloud.group_id(group).await;
        assert_eq!(world.cloud.delete(&format!("/group/by-id?id={id}")).await.status, 204);
        assert_eq!(world.cloud.post("/group", json!({ "name": group })).await.status, 201);
        let answer = world.users(&format!("addUsers/{group}"), &asked).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(lists(&answer).0, asked);
        assert_eq!(world.truth(group).await, asked);
        assert_eq!(world.members(group).await, asked);
    }
}

#[derive(Clone, Debug)]
struct Asked {
    add: bool,
    names: Vec<(usize, u8, bool)>,
    faults: Vec<usize>,
}

const PEOPLE: usize = 60;

/// Any few of them together leave every call a success.
fn faults() -> [Value; 12] {
    [
        json!({ "error_5xx": 0.15 }),
        json!({ "cut": 0.15 }),
        json!({ "truncated": 0.15 }),
        json!({ "html": 0.1 }),
        json!({ "slow": "0.1:20" }),
        json!({ "already_member": 400 }),
        json!({ "already_member": 201 }),
        json!({ "not_member": 404 }),
        json!({ "lag_ms": 150 }),
        json!({ "rate": 2000, "burst": 20, "retry_after": "zero" }),
        json!({ "no_total": true, "wrong_next": true }),
        json!({ "hidden_emails": true, "over_limit": "cap" }),
    ]
}

fn merged(of: impl IntoIterator<Item = Value>) -> Value {
    let mut all = serde_json::Map::new();
    for faults in of {
        all.extend(faults.as_object().unwrap().clone());
    }
    Value::Object(all)
}

fn asked() -> impl Strategy<Value = Asked> {
    let name = (0..PEOPLE + 5, 0..6_u8, any::<bool>());
    let names = prop::collection::vec(name, 0..60);
    let faults = prop::collection::vec(0..faults().len(), 0..5);
    (any::<bool>(), names, faults).prop_map(|(add, names, faults)| Asked { add, names, faults })
}

/// One of a person's names, and whom it means.
fn spelt(world: &World, (number, kind, upper): (usize, u8, bool)) -> (String, Option<String>) {
    let Some(person) = world.cloud.people.get(number).filter(|_| number < PEOPLE) else {
        let blank = ["", " ", "ghost", "Ghost", "712020:00000000-0000-4000-8000-000000000000"];
        return (blank[usize::from(kind) % blank.len()].to_owned(), None);
    };
    let name = match kind {
        0 | 1 | 5 => &person.username,
        2 => &person.key,
        3 => &person.email,
        _ => return (person.account_id.clone(), Some(person.account_id.clone())),
    };
    let name = if upper { name.to_uppercase() } else { name.clone() };
    (name, Some(person.account_id.clone()))
}

#[test]
fn any_list_under_any_few_faults_is_answered_with_the_truth() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(async {
        World::start(options(100, &[("team", 30)]), |settings| {
            settings.cloud.max_tries = 30;
        })
        .await
    });
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let config = Config {
        cases: 40,
        failure_persistence: None,
        max_shrink_iters: 20,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, rng)
        .run(&asked(), |asked| {
            runtime.block_on(hold_to_the_truth(&world, &asked));
            Ok(())
        })
        .unwrap();
}

async fn hold_to_the_truth(world: &World, asked: &Asked) {
    world.cloud.switch(off(&merged(faults()))).await;
    world
        .cloud
        .switch(merged(asked.faults.iter().map(|index| faults()[*index].clone())))
        .await;
    let (mut keys, mut seen, mut expected) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    let before = truth::members(world, "team").await;
    let names: Vec<(String, Option<String>)> = asked.names.iter().map(|name| spelt(world, *name)).collect();
    for (name, account) in &names {
        let is_first = keys.insert(name.to_lowercase());
        if let Some(account) = account
            && is_first
            && seen.insert(account.clone())
            && before.contains(account) != asked.add
        {
            expected.push(name.clone());
        }
    }
    let names: Vec<String> = names.into_iter().map(|(name, _)| name).collect();
    let call = if asked.add { "addUsers/team" } else { "removeUsers/team" };
    let answer = world.users(call, &names).await;
    truth::hold(world, "team", &names, &answer, &before).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(lists(&answer).0, expected);
    // Reads agree at once, lag or not.
    let shown = accounts(world, &world.members("team").await);
    assert_eq!(shown, truth::members(world, "team").await);
}
