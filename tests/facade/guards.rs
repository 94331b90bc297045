//! What must not happen by mistake: protected groups, and calls that would empty a group.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::between::Between;
use crate::cloud::{Reply, send};
use crate::errors::assert_error;
use crate::harness::{World, digest, names, options};
use crate::truth::{audit_of, lists};
use extender_facade::settings::Settings;

/// The token of an administrator who may change protected groups.
pub const KEEPER: &str = "xft_keeper-of-the-tests";
/// Simulated Clouds have it, with the first three users.
const ADMINS: &str = "site-admins";

async fn start(groups: &[(&str, u32)], change: impl FnOnce(&mut Settings)) -> World {
    World::start(options(500, groups), |settings| {
        add_keeper(settings);
        change(settings);
    })
    .await
}

pub fn add_keeper(settings: &Settings) {
    let file = settings.inbound.accounts_file.clone().unwrap();
    let digest = digest(KEEPER);
    let mut text = std::fs::read_to_string(&file).unwrap();
    write!(
        text,
        "[[token]]\nname = \"keeper\"\nsha256 = \"{digest}\"\nrole = \"administrator\"\nmay_change_protected = true\n"
    )
    .unwrap();
    std::fs::write(file, text).unwrap();
}

pub async fn as_keeper(world: &World, path: &str, names: &[impl AsRef<str>]) -> Reply {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    let request = world
        .request(Method::POST, path)
        .bearer_auth(KEEPER)
        .body(json!({ "users": names }).to_string());
    send(request).await
}

fn reasons(world: &World, answer: &Reply) -> Vec<(String, Value)> {
    let lines = audit_of(world, answer);
    lines
        .iter()
        .map(|line| (line["name"].as_str().unwrap().to_owned(), line["reason"].clone()))
        .collect()
}

fn reason(world: &World, answer: &Reply, name: &str) -> Value {
    let found = reasons(world, answer).into_iter().find(|(other, _)| other == name);
    found.unwrap_or_else(|| panic!("no {name} in {answer:?}")).1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_group_is_changed_by_nobody_who_may_not_and_costs_no_call_but_its_look_up() {
    let world = start(&[], |_| {}).await;
    for (call, asked) in [
        ("addUsers/site-admins", names(4, 2)),
        ("removeUsers/SITE-Admins", names(1, 3)),
        ("removeUsers/site-admins", vec!["user000001".to_owned(), " ".to_owned()]),
    ] {
        let answer = world.users(call, &asked).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(lists(&answer), (Vec::new(), asked.clone()));
        for (name, reason) in reasons(&world, &answer) {
            let expected = if name == " " { "blank" } else { "protected" };
            assert_eq!(reason, expected, "{name}");
        }
    }
    assert_eq!(world.truth(ADMINS).await, names(1, 3));
    let calls = world.calls().await;
    assert!(calls.keys().all(|call| call == "find_group"), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_changes_a_protected_group_but_its_last_member_stays() {
    let world = start(&[], |_| {}).await;
    let answer = as_keeper(&world, "addUsers/site-admins", &names(4, 2)).await;
    assert_eq!(lists(&answer).0, names(4, 2));
    assert_eq!(world.truth(ADMINS).await, names(1, 5));
    // Of five, four go; those who are no members leave nobody behind.
    let asked = [&names(2, 4)[..], &names(1, 1), &names(40, 2), &["nobody".to_owned()]].concat();
    let answer = as_keeper(&world, "removeUsers/site-admins", &asked).await;
    assert_eq!(lists(&answer).0, names(2, 4));
    assert_eq!(reason(&world, &answer, "user000001"), "protected");
    assert_eq!(reason(&world, &answer, "user000040"), "not_member");
    assert_eq!(reason(&world, &answer, "nobody"), "unknown");
    assert_eq!(world.truth(ADMINS).await, names(1, 1));
    let answer = as_keeper(&world, "removeUsers/site-admins", &names(1, 1)).await;
    assert_eq!(reason(&world, &answer, "user000001"), "protected");
    // Somebody else is there: the one may go.
    as_keeper(&world, "addUsers/site-admins", &names(9, 1)).await;
    let answer = as_keeper(&world, "removeUsers/site-admins", &names(1, 1)).await;
    assert_eq!(lists(&answer).0, names(1, 1));
    assert_eq!(world.truth(ADMINS).await, names(9, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_protected_group_is_read_no_further_than_to_somebody_who_stays() {
    let protect = |settings: &mut Settings| settings.extender.protected_groups = vec!["team".to_owned()];
    let world = start(&[("team", 450)], protect).await;
    let answer = as_keeper(&world, "removeUsers/team", &names(450, 1)).await;
    assert_eq!(lists(&answer).0, names(450, 1));
    let calls = world.calls().await;
    assert_eq!((calls["member_of"], calls["list_members"]), (1, 1), "{calls:?}");
    // All but the last: the pages are read until somebody turns up who stays.
    let answer = as_keeper(&world, "removeUsers/team", &names(1, 448)).await;
    assert_eq!(lists(&answer).0, names(1, 448));
    assert_eq!(world.truth("team").await, names(449, 1));
    let answer = as_keeper(&world, "removeUsers/team", &names(1, 500)).await;
    assert_eq!(lists(&answer).0, names(1, 0));
    assert_eq!(reason(&world, &answer, "user000449"), "protected");
}

#[tokio::test(flavor = "multi_thread")]
async fn removals_that_overlap_leave_somebody_though_reads_lag() {
    let world = start(&[], |_| {}).await;
    world.cloud.switch(json!({ "lag_ms": 600, "latency_ms": 10 })).await;
    let asked = [
        names(1, 3),
        vec!["user000003".to_owned(), "user000002".to_owned()],
        names(1, 2),
    ];
    for round in 0..4 {
        let [one, other, third] = &asked;
        let call = "removeUsers/site-admins";
        let answers = tokio::join!(
            as_keeper(&world, call, one),
            as_keeper(&world, call, other),
            as_keeper(&world, call, third)
        );
        let left = world.truth(ADMINS).await;
        assert_eq!(left.len(), 1, "round {round}: {answers:?}");
        let removed: usize = [answers.0, answers.1, answers.2]
            .iter()
            .map(|answer| {
                assert_eq!(answer.status, 200, "{answer:?}");
                lists(answer).0.len()
            })
            .sum();
        assert_eq!(removed, 2, "round {round}");
        let answer = as_keeper(&world, "addUsers/site-admins", &names(1, 3)).await;
        assert_eq!(lists(&answer).0.len(), 2, "round {round}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_stays_protected_when_it_is_renamed() {
    let renamed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&renamed);
    let world = start(&[], |settings| {
        let (_, address) = Between::start(&settings.cloud.base_url, move |exchange| {
            if seen.load(Ordering::Relaxed) {
                let text = String::from_utf8_lossy(&exchange.answer).replace(ADMINS, "harmless");
                exchange.answer = text.into();
            }
        });
        settings.cloud.base_url = address;
        settings.cache.groups_ttl_s = 2;
    })
    .await;
    // Nobody has asked to change it yet: it was only seen in the list.
    assert!(world.get("getGroups").await.text().contains(ADMINS));
    renamed.store(true, Ordering::Relaxed);
    let deadline = Instant::now() + Duration::from_secs(30);
    let answer = loop {
        world.get("getGroups").await;
        let answer = world.users("removeUsers/harmless", &names(1, 2)).await;
        // Missing, until the list under its old name is too old to be shown.
        if answer.status == 200 || Instant::now() > deadline {
            break answer;
        }
        assert_eq!(answer.status, 500, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(lists(&answer), (Vec::new(), names(1, 2)));
    assert_eq!(reason(&world, &answer, "user000001"), "protected");
    assert_eq!(world.truth(ADMINS).await, names(1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_would_remove_more_than_a_number_is_refused_before_anything_is_changed() {
    let world = start(&[("team", 10)], |settings| settings.extender.max_removed = 3).await;
    let answer = world.users("removeUsers/TEAM", &names(1, 4)).await;
    let text = "4 of 10 members of group \"team\" would be removed, and extender.max_removed = 3 allows no more; nothing \
                was changed";
    assert_error(&answer, 409, text);
    assert_eq!(world.truth("team").await, names(1, 10));
    assert!(!world.calls().await.contains_key("remove_member"));
    // Whoever is no member is not removed, and does not count.
    let answer = world.users("removeUsers/team", &names(8, 50)).await;
    assert_eq!(lists(&answer).0, names(8, 3));
    let answer = world.users("removeUsers/team", &names(8, 10)).await;
    assert_eq!(lists(&answer).0, names(1, 0));
    assert_eq!(world.users("removeUsers/team", &names(1, 4)).await.status, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_would_remove_more_than_its_share_is_refused_whatever_cloud_tells_of_totals() {
    for faults in [json!({}), json!({ "no_total": true })] {
        let limit = |settings: &mut Settings| settings.extender.max_removed_percent = 20;
        let world = start(&[("team", 450), ("few", 4), ("five", 5)], limit).await;
        world.cloud.switch(faults.clone()).await;
        let answer = world.users("removeUsers/team", &names(1, 91)).await;
        let text = "91 of 450 members of group \"team\" would be removed, and extender.max_removed_percent = 20 allows no \
                    more (in percent of them); nothing was changed";
        assert_error(&answer, 409, text);
        let answer = world.users("removeUsers/team", &names(1, 90)).await;
        assert_eq!(lists(&answer).0, names(1, 90), "{faults}");
        assert_eq!(world.users("removeUsers/team", &names(91, 73)).await.status, 409);
        // One name is judged by its own groups, so the total costs a call.
        world.forget_calls().await;
        assert_eq!(world.users("removeUsers/few", &names(1, 1)).await.status, 409);
        let calls = world.calls().await;
        assert_eq!((calls["member_of"], calls["list_members"]), (1, 1), "{calls:?}");
        let answer = world.users("removeUsers/five", &names(1, 1)).await;
        assert_eq!(lists(&answer).0, names(1, 1));
        // Who is no member costs no call for a total.
        world.forget_calls().await;
        let answer = world.users("removeUsers/few", &names(9, 1)).await;
        assert_eq!(reason(&world, &answer, "user000009"), "not_member");
        assert!(!world.calls().await.contains_key("list_members"));
        assert_eq!(world.truth("few").await, names(1, 4));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_under_a_protected_name_are_neither_made_nor_deleted_by_who_may_not() {
    let world = start(&[("team", 0)], |_| {}).await;
    let answer = world.groups("addGroups", &["Org-Admins", "new"]).await;
    assert_eq!(lists(&answer), (vec!["new".to_owned()], vec!["Org-Admins".to_owned()]));
    assert_eq!(reason(&world, &answer, "Org-Admins"), "protected");
    let answer = world.groups("addGroups", &["CONFLUENCE-administrators"]).await;
    assert_eq!(reason(&world, &answer, "CONFLUENCE-administrators"), "already_exists");
    let answer = world
        .groups("removeGroups", &["confluence-administrators", "team"])
        .await;
    assert_eq!(lists(&answer).0, ["team"]);
    assert_eq!(reason(&world, &answer, "confluence-administrators"), "protected");
    assert_eq!(world.truth("confluence-administrators").await, names(1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn additions_have_no_limit_of_removals() {
    let limits = |settings: &mut Settings| {
        settings.extender.max_removed = 1;
        settings.extender.max_removed_percent = 1;
    };
    let world = start(&[("team", 10)], limits).await;
    let answer = world.users("addUsers/team", &names(1, 50)).await;
    assert_eq!(lists(&answer).0, names(11, 40));
}
