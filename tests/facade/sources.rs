//! The sources beside the map: what they cost, what they tell, and what happens when they fail.

use extender_facade::settings::{Link, ScimMatch, ScimRead, Settings};
use extender_facade::simulator::{Options, Simulator};
use serde_json::{Value, json};

use crate::cloud::Reply;
use crate::harness::{World, off, options};
use crate::truth::{audit_of, lists};

const ADMIN_USERS: &str = "admin_search_users";

/// Which sources have a credential.
#[derive(Clone, Copy, Default)]
pub struct Keys {
    pub admin: bool,
    pub scim: bool,
    pub jira: bool,
}

const ADMIN: Keys = Keys {
    admin: true,
    scim: false,
    jira: false,
};
const SCIM: Keys = Keys {
    admin: false,
    scim: true,
    jira: false,
};
const JIRA: Keys = Keys {
    admin: false,
    scim: false,
    jira: true,
};
const ALL: Keys = Keys {
    admin: true,
    scim: true,
    jira: true,
};

/// Gives the facade the keys.
pub fn unlock(settings: &mut Settings, keys: Keys, simulated: &Options) {
    let simulator = Simulator::new(simulated).unwrap();
    let site = settings.cloud.base_url.clone();
    if keys.admin {
        settings.cloud.admin.org_id = simulator.org_id();
        settings.cloud.admin.api_key = "organisation-key".into();
        settings.cloud.admin.base_url = format!("{site}/admin");
    }
    if keys.scim {
        settings.cloud.scim.directory_id = simulator.directory_id();
        settings.cloud.scim.api_key = "directory-key".into();
        settings.cloud.scim.base_url = format!("{site}/scim");
    }
    if keys.jira {
        settings.cloud.jira.email = "user000001@example.com".to_owned();
        settings.cloud.jira.api_token = "jira-token".into();
    }
}

/// A simulator with `options`, of the map only what `map` writes, and these keys.
pub async fn world_of(simulated: Options, map: &str, keys: Keys, change: impl FnOnce(&mut Settings)) -> World {
    World::start(simulated.clone(), |settings| {
        std::fs::write(settings.identity.map_file.as_ref().unwrap(), map).unwrap();
        unlock(settings, keys, &simulated);
        change(settings);
    })
    .await
}

const NO_MAP: &str = "username,account_id\n";

async fn world(users: u32, groups: &[(&str, u32)], keys: Keys) -> World {
    world_of(options(users, groups), NO_MAP, keys, |_| {}).await
}

fn emails(from: usize, count: usize) -> Vec<String> {
    (from..from + count)
        .map(|n| format!("user{n:06}@example.com"))
        .collect()
}

async fn count(world: &World, operation: &str) -> u64 {
    world.calls().await.get(operation).copied().unwrap_or(0)
}

/// How often each name was asked for, by service.
async fn asked(world: &World, service: &str) -> serde_json::Map<String, Value> {
    let asked = world.cloud.bare(reqwest::Method::GET, "/_sim/asked");
    let all = crate::cloud::send(asked).await.json();
    all[service].as_object().cloned().unwrap_or_default()
}

pub fn reason(world: &World, answer: &Reply, name: &str) -> Value {
    let line = audit_of(world, answer).into_iter().find(|line| line["name"] == name);
    line.unwrap_or_else(|| panic!("{name} is not in the audit"))["reason"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_addresses_cost_ten_calls_and_then_none_even_after_a_restart() {
    let simulated = options(1100, &[("team", 0)]);
    let world = world_of(simulated.clone(), NO_MAP, ADMIN, |_| {}).await;
    world.cloud.switch(json!({ "hidden_emails": true })).await;
    let wanted = emails(1, 1000);
    let answer = world.users("addUsers/team", &wanted).await;
    assert_eq!(lists(&answer).0, wanted);
    assert_eq!(count(&world, ADMIN_USERS).await, 10);
    world.forget_calls().await;
    let answer = world.users("addUsers/team", &wanted).await;
    assert_eq!(lists(&answer).1, wanted);
    assert_eq!(count(&world, ADMIN_USERS).await, 0);
    assert_eq!(world.cloud.truth("team").await.len(), 1000);

    // Another facade over the same state, once the first has let go of it.
    world.stop.say();
    world.task.await.unwrap();
    let state = world.directory.path().join("state");
    let (site, map) = (world.cloud.url(""), world.directory.path().join("identities.csv"));
    let again = World::start(options(1, &[]), |settings| {
        settings.cloud.base_url = site;
        settings.state_dir = state;
        settings.identity.map_file = Some(map);
        unlock(settings, ADMIN, &simulated);
    })
    .await;
    world.cloud.reset().await;
    let answer = again.users("addUsers/team", &emails(1, 1000)).await;
    assert_eq!(lists(&answer).1.len(), 1000);
    let calls = world.cloud.stats().await["by_operation"].clone();
    assert_eq!(calls[ADMIN_USERS].as_u64().unwrap_or(0), 0, "{calls}");
    // And back: whoever was added by an address is shown under it, though Cloud hides it.
    let shown = again.members("team").await;
    assert_eq!(shown, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_calls_share_their_look_ups_and_nobody_is_asked_for_twice() {
    let world = world_of(options(1000, &[("team", 0)]), NO_MAP, ADMIN, |settings| {
        settings.identity.batch_window_ms = 200;
    })
    .await;
    let batches: Vec<Vec<String>> = (0..20).map(|n| emails(n * 50 + 1, 50)).collect();
    let calls = batches.iter().map(|names| world.users("addUsers/team", names));
    let answers = futures_util::future::join_all(calls).await;
    for (answer, names) in answers.iter().zip(&batches) {
        assert_eq!(lists(answer).0, *names);
    }
    let calls = count(&world, ADMIN_USERS).await;
    assert!((10..=12).contains(&calls), "{calls}");
    let asked = asked(&world, "admin").await;
    assert_eq!(asked.len(), 1000);
    assert!(asked.values().all(|times| times == 1), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_addresses_are_asked_for_once_and_again_only_when_they_may_be_known() {
    let world = world_of(options(10, &[("team", 0)]), NO_MAP, ADMIN, |settings| {
        settings.cache.negative_ttl_s = 3600;
    })
    .await;
    let names = [
        "nobody@example.com",
        "NOBODY@example.com",
        "not an address",
        "a@b@c",
        "user000003@EXAMPLE.com",
    ];
    for _ in 0..3 {
        let answer = world.users("addUsers/team", &names).await;
        assert_eq!(reason(&world, &answer, "nobody@example.com"), "unknown");
        assert_eq!(reason(&world, &answer, "NOBODY@example.com"), "duplicate");
        assert_eq!(reason(&world, &answer, "not an address"), "unknown");
    }
    assert_eq!(count(&world, ADMIN_USERS).await, 1);
    // A new map: what was asked in vain may be asked again.
    std::fs::write(world.path("identities.csv"), "username,email\nx,nobody@example.com\n").unwrap();
    wait_for_reload(&world, "done", 1).await;
    world.users("addUsers/team", &["nobody@example.com"]).await;
    assert_eq!(count(&world, ADMIN_USERS).await, 2);
}

/// Waits until the map was read anew so often.
pub async fn wait_for_reload(world: &World, result: &str, times: u64) {
    let wanted = format!("facade_map_reloads_total{{result=\"{result}\"}} {times}");
    for _ in 0..600 {
        if world.metrics().await.contains(&wanted) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the map was not read anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_username_goes_on_through_the_chain_with_the_address_the_map_has_for_it() {
    for (keys, operation) in [(ADMIN, ADMIN_USERS), (JIRA, "jira_find_user")] {
        let map = "username,email\njdoe,User000002@example.com\nlost,\ngone,nobody@example.com\n";
        let world = world_of(options(10, &[("team", 0)]), map, keys, |_| {}).await;
        let answer = world.users("addUsers/team", &["JDoe", "lost", "gone"]).await;
        assert_eq!(lists(&answer).0, ["JDoe"]);
        assert_eq!(world.truth("team").await, ["user000002"]);
        assert!(count(&world, operation).await >= 1);
        // And it is shown as the script knows it, or the script would take out whom it put in.
        for details in ["", "?showBasicDetails=true", "?showExtendedDetails=true"] {
            let answer = world.get(&format!("getUsers/team{details}")).await.json();
            assert_eq!(answer["users"][0]["name"], "jdoe", "{answer}");
        }
        assert_eq!(lists(&world.users("removeUsers/team", &["jdoe"]).await).0, ["jdoe"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scim_knows_people_by_their_login_and_by_the_providers_key() {
    for read in [ScimRead::Each, ScimRead::All] {
        let world = world_of(options(350, &[("team", 0)]), NO_MAP, SCIM, |settings| {
            settings.cloud.scim.read = read;
            settings.cloud.scim.match_by = vec![ScimMatch::UserName, ScimMatch::ExternalId];
        })
        .await;
        let key = world.cloud.people[6].key.clone();
        let names = ["USER000005", &key, "nobody", "we\"ird\\name"];
        let answer = world.users("addUsers/team", &names).await;
        assert_eq!(lists(&answer).0, ["USER000005", &key], "{read:?}");
        assert_eq!(world.truth("team").await, ["user000005", "user000007"]);
        let calls = count(&world, "scim_users").await;
        match read {
            ScimRead::All => assert_eq!(calls, 4),
            ScimRead::Each => assert!((6..=8).contains(&calls), "{calls}"),
        }
        let shown = world.members("team").await;
        assert!(shown.contains(&"user000005".to_owned()), "{shown:?}");
        assert_eq!(lists(&world.users("removeUsers/team", &shown).await).0, shown);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jira_finds_hidden_addresses_and_is_not_misled_by_beginnings() {
    let world = world(30, &[("team", 0)], JIRA).await;
    world.cloud.switch(json!({ "hidden_emails": true })).await;
    let answer = world.users("addUsers/team", &emails(2, 3)).await;
    assert_eq!(lists(&answer).0, emails(2, 3));
    assert_eq!(world.truth("team").await, ["user000002", "user000003", "user000004"]);
    world
        .cloud
        .switch(json!({ "hidden_emails": null, "jira_garbage": "prefix" }))
        .await;
    let answer = world.users("addUsers/team", &["user000007@example.com"]).await;
    assert_eq!(answer.status, 200);
    // Either the one or nobody; never somebody whose name merely begins so.
    let truth = world.truth("team").await;
    assert!(
        truth.len() == 3 || truth.contains(&"user000007".to_owned()),
        "{truth:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_unknown_because_a_source_fails() {
    let faults = [
        (ADMIN, json!({ "admin_down": true }), 503),
        (ADMIN, json!({ "admin_garbage": "empty" }), 503),
        (ADMIN, json!({ "admin_garbage": "truncated" }), 503),
        (ADMIN, json!({ "admin_refused": 401 }), 502),
        (ADMIN, json!({ "admin_refused": 403 }), 502),
        (SCIM, json!({ "scim_down": true }), 503),
        (SCIM, json!({ "scim_refused": 401 }), 502),
        (JIRA, json!({ "jira_down": true }), 503),
        (JIRA, json!({ "jira_refused": 401 }), 502),
        (JIRA, json!({ "jira_blind": true }), 502),
    ];
    for (keys, fault, status) in faults {
        let map = "username,account_id,email\nmapped,ID,m@example.com\n";
        let simulated = options(20, &[("team", 2)]);
        let id = Simulator::new(&simulated).unwrap().people()[8].account_id.clone();
        let world = world_of(simulated, &map.replace("ID", &id), keys, |settings| {
            settings.cloud.max_tries = 2;
            settings.extender.read_deadline_s = 5;
        })
        .await;
        world.cloud.switch(fault.clone()).await;
        let name = if keys.scim {
            "user000005"
        } else {
            "user000005@example.com"
        };
        let answer = world.users("addUsers/team", &["mapped", name]).await;
        assert_eq!(answer.status, status, "{fault}: {}", answer.text());
        assert!(audit_of(&world, &answer).is_empty(), "{fault}");
        assert_eq!(world.cloud.truth("team").await.len(), 2, "{fault}");
        // Whoever needs no source is served.
        let answer = world.users("addUsers/team", &["mapped"]).await;
        assert_eq!(lists(&answer).0, ["mapped"], "{fault}");
        // And once the source is well again, so is the call.
        world.cloud.switch(off(&fault)).await;
        let answer = world.users("addUsers/team", &["mapped", name]).await;
        assert_eq!(lists(&answer).0, [name], "{fault}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_back_without_an_address_is_nobody_for_certain_and_holds_nobody_up() {
    let map = "username,account_id,email\nmapped,ID,m@example.com\n";
    let simulated = options(20, &[("team", 2)]);
    let id = Simulator::new(&simulated).unwrap().people()[8].account_id.clone();
    let world = world_of(simulated, &map.replace("ID", &id), ADMIN, |_| {}).await;
    world.cloud.switch(json!({ "admin_garbage": "no_email" })).await;
    let answer = world
        .users("addUsers/team", &["mapped", "user000005@example.com"])
        .await;
    assert_eq!(lists(&answer).0, ["mapped"], "{}", answer.text());
    assert_eq!(reason(&world, &answer, "user000005@example.com"), "ambiguous");
    assert_eq!(world.cloud.truth("team").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_asked_for_is_not_believed_and_a_slow_or_busy_source_is_waited_for() {
    for fault in [
        json!({ "admin_garbage": "foreign" }),
        json!({ "admin_429": 2 }),
        json!({ "admin_slow_ms": 300 }),
        json!({ "error_5xx": 0.3 }),
    ] {
        let world = world(400, &[("team", 0)], ADMIN).await;
        world.cloud.switch(fault.clone()).await;
        let names: Vec<String> = emails(1, 150)
            .into_iter()
            .chain(["nobody@example.com".to_owned()])
            .collect();
        let answer = world.users("addUsers/team", &names).await;
        assert_eq!(lists(&answer).0, emails(1, 150), "{fault}: {}", answer.text());
        assert_eq!(reason(&world, &answer, "nobody@example.com"), "unknown");
        assert_eq!(world.cloud.truth("team").await.len(), 150);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_one_source_fails_another_may_know_and_only_the_rest_is_in_doubt() {
    let world = world_of(options(20, &[("team", 0)]), NO_MAP, ALL, |settings| {
        settings.cloud.max_tries = 1;
    })
    .await;
    world.cloud.switch(json!({ "admin_down": true })).await;
    let answer = world.users("addUsers/team", &["user000005@example.com"]).await;
    assert_eq!(lists(&answer).0, ["user000005@example.com"]);
    let answer = world
        .users("addUsers/team", &["user000006@example.com", "nobody@example.com"])
        .await;
    assert_eq!(answer.status, 503);
    assert_eq!(world.truth("team").await, ["user000005"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_asks_only_whom_the_setting_names_and_in_its_order() {
    let world = world_of(options(20, &[("team", 0)]), NO_MAP, ALL, |settings| {
        settings.identity.sources = vec![Link::Map, Link::Learned, Link::Jira, Link::Admin, Link::AccountId];
    })
    .await;
    let answer = world
        .users("addUsers/team", &["user000005@example.com", "user000006"])
        .await;
    assert_eq!(lists(&answer).0, ["user000005@example.com"]);
    let calls = world.calls().await;
    assert_eq!(calls.get("jira_find_user"), Some(&1));
    assert!(!calls.contains_key("scim_users"), "{calls:?}");
    assert!(!calls.contains_key(ADMIN_USERS), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_with_their_own_credential_see_nothing_through_the_facades_keys() {
    let world = world_of(options(20, &[("team", 3)]), NO_MAP, ALL, |settings| {
        settings.inbound.mode = extender_facade::settings::Mode::Passthrough;
    })
    .await;
    let call = world
        .request(reqwest::Method::POST, "addUsers/team")
        .basic_auth("user000001@example.com", Some("theirs"))
        .body(json!({ "users": ["user000009@example.com", "user000009"] }).to_string());
    let answer = crate::cloud::send(call).await;
    assert_eq!(lists(&answer).1.len(), 2);
    let calls = world.calls().await;
    assert!(
        calls.keys().all(|operation| !operation.starts_with("admin_")
            && !operation.starts_with("scim_")
            && !operation.starts_with("jira_")),
        "{calls:?}"
    );
    // Their own view of Cloud: addresses on pages they read.
    let call = world
        .request(reqwest::Method::GET, "getUsers/team")
        .basic_auth("user000001@example.com", Some("theirs"));
    let shown = crate::harness::texts(&crate::cloud::send(call).await.json()["users"], Some("name"));
    assert_eq!(shown, emails(1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn extended_details_of_450_members_cost_five_pages_and_are_all_filled() {
    let world = world(460, &[("big", 450)], ADMIN).await;
    world
        .cloud
        .switch(json!({ "hidden_emails": true, "suspended": true }))
        .await;
    let answer = world.get("getUsers/big?showExtendedDetails=true").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    // Every tenth is suspended, and is there.
    assert_eq!(answer["total"], 450);
    let calls = world.calls().await;
    assert_eq!(calls.get(ADMIN_USERS), Some(&5), "{calls:?}");
    assert!(!calls.contains_key("list_members"), "{calls:?}");
    let users = answer["users"].as_array().unwrap();
    let without_access = users
        .iter()
        .filter(|user| user["hasAccessToUseConfluence"] == false)
        .count();
    assert_eq!(without_access, 45);
    for user in users {
        assert_eq!(user.as_object().unwrap().len(), 15);
        for field in ["position", "department", "location"] {
            assert_ne!(user["business"][0][field], "", "{field} of {user}");
        }
        for field in ["createdDate", "createdDateString", "fullName", "email", "name"] {
            assert!(!user[field].is_null() && user[field] != "", "{field} of {user}");
        }
        assert!(user["email"].as_str().unwrap().contains('@'));
    }
    let active = users.iter().filter(|user| !user["lastSuccessfulLoginDate"].is_null());
    assert!(active.count() > 300);
    // Warm: no call at all, whatever is asked of the same members.
    world.forget_calls().await;
    for details in ["", "?showBasicDetails=true", "?showExtendedDetails=true"] {
        assert_eq!(world.get(&format!("getUsers/big{details}")).await.json()["total"], 450);
    }
    assert!(world.calls().await.is_empty(), "{:?}", world.calls().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_organisations_key_suspended_members_are_listed_and_can_be_removed() {
    let world = world(460, &[("big", 450)], ADMIN).await;
    world.cloud.switch(json!({ "suspended": true })).await;
    let shown = world.members("big").await;
    assert_eq!(shown.len(), 450);
    let calls = world.calls().await;
    // Confluence's pages side by side, and one page of those whom it leaves out.
    assert_eq!(
        (calls.get("list_members"), calls.get(ADMIN_USERS)),
        (Some(&3), Some(&1)),
        "{calls:?}"
    );
    let some = [
        "user000010@example.com",
        "user000011@example.com",
        "user000020@example.com",
    ];
    assert_eq!(lists(&world.users("removeUsers/big", &some).await).0, some);
    assert_eq!(world.cloud.truth("big").await.len(), 447);
}

#[tokio::test(flavor = "multi_thread")]
async fn group_names_are_looked_up_a_hundred_a_call() {
    let mut simulated = options(30, &[]);
    simulated.groups = 240;
    let world = world_of(simulated, NO_MAP, ADMIN, |_| {}).await;
    let names: Vec<String> = (1..=230).map(|n| format!("GROUP-{n:05}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).chain(["no such group"]).collect();
    let answer = world.groups("removeGroups", &names).await;
    assert_eq!(lists(&answer).1, ["no such group"]);
    let calls = world.calls().await;
    assert_eq!(calls.get("admin_search_groups"), Some(&3), "{calls:?}");
    // That there is none, only Confluence can say.
    assert_eq!(calls.get("find_group"), Some(&1), "{calls:?}");
    assert!(!calls.contains_key("list_groups"), "{calls:?}");
    assert_eq!(calls.get("delete_group"), Some(&230));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_usernames_with_one_address_are_one_merged_account() {
    let map = "username,email,primary\njdoe,user000002@example.com,\njdoe-admin,user000002@example.com,true\n";
    for keys in [ADMIN, JIRA] {
        let world = world_of(options(10, &[("team", 0)]), map, keys, |_| {}).await;
        assert_eq!(lists(&world.users("addUsers/team", &["jdoe"]).await).0, ["jdoe"]);
        // Shown under the primary one, and removed under none of them.
        assert_eq!(world.members("team").await, ["jdoe-admin"]);
        for name in ["jdoe", "jdoe-admin", "user000002@example.com"] {
            let answer = world.users("removeUsers/team", &[name]).await;
            assert_eq!(reason(&world, &answer, name), "merged_account");
        }
        assert_eq!(world.truth("team").await, ["user000002"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_read_a_cold_group_at_once_are_all_shown_the_same_names() {
    for _ in 0..5 {
        let world = world(300, &[("big", 260)], Keys::default()).await;
        let reads = (0..8).map(|_| world.members("big"));
        for shown in futures_util::future::join_all(reads).await {
            assert_eq!(shown, emails(1, 260));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_over_the_login_of_somebody_who_left_does_not_inherit_their_groups() {
    let map = "username,account_id,status\nuser000004,,tombstoned\n";
    let world = world_of(options(10, &[("team", 0)]), map, SCIM, |_| {}).await;
    let answer = world.users("addUsers/team", &["user000004", "user000005"]).await;
    assert_eq!(lists(&answer).0, ["user000005"]);
    assert_eq!(reason(&world, &answer, "user000004"), "tombstoned");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_switched_off_stays_out_at_every_try_until_the_source_says_otherwise() {
    let world = world_of(options(10, &[("team", 0)]), NO_MAP, ADMIN, |settings| {
        settings.cache.negative_ttl_s = 0;
    })
    .await;
    let name = "user000010@example.com";
    let switch = async |status: &str| {
        let change = json!({ "accountId": world.cloud.people[9].account_id, "status": status });
        world.cloud.change_user(change).await;
    };
    switch("inactive").await;
    for _ in 0..3 {
        let answer = world.users("addUsers/team", &[name]).await;
        assert_eq!(reason(&world, &answer, name), "deactivated");
    }
    switch("active").await;
    assert_eq!(lists(&world.users("addUsers/team", &[name]).await).0, [name]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_taken_for_an_address_that_they_call_themselves() {
    let world = world_of(options(30, &[("team", 0)]), NO_MAP, JIRA, |settings| {
        settings.identity.sources.retain(|link| *link != Link::Members);
    })
    .await;
    let change = async |place: usize, change: Value| {
        let mut change = change;
        change["accountId"] = world.cloud.people[place].account_id.clone().into();
        let call = world.cloud.bare(reqwest::Method::POST, "/_sim/users");
        assert_eq!(crate::cloud::send(call.body(change.to_string())).await.status, 204);
    };
    change(4, json!({ "displayName": "boss@example.com", "emailHidden": true })).await;
    change(
        5,
        json!({ "displayName": "I am Chief@Example.com", "emailHidden": true }),
    )
    .await;
    change(
        6,
        json!({ "displayName": "Ann Other", "email": "chief@example.com", "emailHidden": true }),
    )
    .await;
    let answer = world
        .users("addUsers/team", &["boss@example.com", "chief@example.com"])
        .await;
    assert_eq!(lists(&answer).0, ["chief@example.com"]);
    assert_eq!(reason(&world, &answer, "boss@example.com"), "ambiguous");
    assert_eq!(world.truth("team").await, ["user000007"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_providers_key_is_found_by_the_spelling_it_has_whoever_asked_before() {
    let world = world_of(options(30, &[("team", 0)]), NO_MAP, SCIM, |settings| {
        settings.cloud.scim.match_by = vec![ScimMatch::ExternalId];
        settings.cache.negative_ttl_s = 3600;
    })
    .await;
    let key = world.cloud.people[6].key.clone();
    let other = key.to_uppercase();
    assert_ne!(key, other);
    assert_eq!(lists(&world.users("addUsers/team", &[&other]).await).1, [other]);
    assert_eq!(lists(&world.users("addUsers/team", &[&key]).await).0, [key]);
    assert_eq!(world.truth("team").await, ["user000007"]);
    // Too long for anybody, and so for a question.
    world.forget_calls().await;
    assert_eq!(
        lists(&world.users("addUsers/team", &["x".repeat(256)]).await).1.len(),
        1
    );
    assert_eq!(count(&world, "scim_users").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_whom_the_map_knows_by_hidden_addresses_are_shown_by_their_usernames_from_the_first_reading() {
    let mut map = String::from("username,email\n");
    for n in 1..=250 {
        map.push_str(&format!("u{n},user{n:06}@example.com\n"));
    }
    let world = world_of(options(300, &[("big", 250)]), &map, ADMIN, |settings| {
        settings.cache.members_ttl_s = 0;
        settings.extender.read_deadline_s = 5;
        settings.cloud.max_tries = 2;
    })
    .await;
    // Nobody is shown by an id because the one who could introduce them is away.
    world
        .cloud
        .switch(json!({ "hidden_emails": true, "admin_down": true }))
        .await;
    assert_eq!(world.get("getUsers/big").await.status, 503);
    world.cloud.switch(json!({ "admin_down": null })).await;
    world.forget_calls().await;
    for _ in 0..2 {
        let mut shown = world.members("big").await;
        shown.sort_by_key(|name| name[1..].parse::<u32>().unwrap());
        assert_eq!(shown, (1..=250).map(|n| format!("u{n}")).collect::<Vec<_>>());
    }
    // Three pages to be introduced, once, and at each reading one page of those whom Confluence leaves out.
    assert_eq!(count(&world, ADMIN_USERS).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_a_group_already_is_shown_by_the_name_that_was_sent_as_soon_as_it_is_known() {
    let map = "username,email\njdoe,user000002@example.com\n";
    let world = world_of(options(10, &[("team", 3)]), map, JIRA, |_| {}).await;
    world.cloud.switch(json!({ "hidden_emails": true })).await;
    let id = world.cloud.account(1).to_owned();
    assert!(world.members("team").await.contains(&id));
    let answer = world.users("addUsers/team", &["jdoe"]).await;
    assert_eq!(reason(&world, &answer, "jdoe"), "already_member");
    // The list is warm, and tells the name all the same.
    let shown = world.members("team").await;
    assert!(shown.contains(&"jdoe".to_owned()) && !shown.contains(&id), "{shown:?}");
}
