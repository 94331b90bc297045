//! What an account is for, and for how long: groups, calls, expiry, and a file that changes while the facade runs.

use std::fmt::Write as _;

use argon2::password_hash::PasswordHasher as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cloud::{Cloud, Reply, send};
use crate::errors::assert_error;
use crate::harness::{ADMIN, World, digest, names, options, texts};
use crate::program::Program;

const TEAM: &str = "xft_for-the-teams";
const CALLS: &str = "xft_for-two-calls";
const CHIEF: &str = "xft_sees-reports-of-teams";
const UNAUTHORISED: &str = "Client must be authenticated as an administrator to access this resource.";

pub fn token(name: &str, token: &str, lines: &str) -> String {
    let sha256 = digest(token);
    format!("[[token]]\nname = \"{name}\"\nsha256 = \"{sha256}\"\n{lines}")
}

async fn world() -> World {
    let groups = [("team-red", 3), ("Team-Blue", 2), ("ops", 2)];
    World::start(options(9, &groups), |settings| {
        let file = settings.inbound.accounts_file.clone().unwrap();
        let mut text = std::fs::read_to_string(&file).unwrap();
        let scope = "groups = [\"TEAM-*\"]\n";
        for entry in [
            token("team", TEAM, &format!("role = \"administrator\"\n{scope}")),
            token(
                "calls",
                CALLS,
                "role = \"administrator\"\noperations = [\"getUsers\", \"addUsers\"]\n",
            ),
            token("chief", CHIEF, &format!("role = \"reader\"\noperator = true\n{scope}")),
        ] {
            text.write_str(&entry).unwrap();
        }
        std::fs::write(file, text).unwrap();
    })
    .await
}

async fn get(world: &World, token: &str, path: &str) -> Reply {
    send(world.request(Method::GET, path).bearer_auth(token)).await
}

async fn post(world: &World, token: &str, path: &str, body: Value) -> Reply {
    send(
        world
            .request(Method::POST, path)
            .bearer_auth(token)
            .body(body.to_string()),
    )
    .await
}

fn outside(group: &str) -> String {
    format!("Client may not use group {group:?}: it is not among the groups of its account.")
}

#[tokio::test]
async fn a_group_that_an_account_is_not_for_is_403_before_anything_is_asked_or_changed() {
    let world = world().await;
    for (path, group) in [
        ("getUsers/ops", "ops"),
        ("getUsers/missing?showExtendedDetails=true", "missing"),
        ("getUsers/team", "team"),
        ("getUsers/%74eams-red", "teams-red"),
        ("getUsers/a%2Fteam-red", "a/team-red"),
    ] {
        assert_error(&get(&world, TEAM, path).await, 403, &outside(group));
    }
    let users = json!({ "users": names(1, 1) });
    for call in ["addUsers", "removeUsers"] {
        let answer = post(&world, TEAM, &format!("{call}/ops"), users.clone()).await;
        assert_error(&answer, 403, &outside("ops"));
        // Before the body is looked at.
        let answer = post(&world, TEAM, &format!("{call}/OPS"), json!(7)).await;
        assert_error(&answer, 403, &outside("OPS"));
    }
    for call in ["addGroups", "removeGroups"] {
        let answer = post(&world, TEAM, call, json!({ "groups": ["team-red", "ops"] })).await;
        assert_error(&answer, 403, &outside("ops"));
        let answer = post(&world, TEAM, call, json!({ "groups": ["ops", "team-red", "x"] })).await;
        let text = "Client may not use group \"ops\" and 1 more: they are not among the groups of its account.";
        assert_error(&answer, 403, text);
    }
    assert_eq!(world.calls().await, Default::default());
    assert!(world.audit().is_empty());
}

#[tokio::test]
async fn within_its_groups_an_account_does_what_its_role_allows() {
    let world = world().await;
    let answer = get(&world, TEAM, "getUsers/TEAM-RED").await;
    assert_eq!((answer.status, &answer.json()["total"]), (200, &json!(3)));
    let answer = post(&world, TEAM, "addUsers/team-blue", json!({ "users": names(5, 1) })).await;
    assert_eq!(texts(&answer.json()["usersAdded"], None), names(5, 1));
    let answer = post(&world, TEAM, "addGroups", json!({ "groups": ["team-new", " "] })).await;
    assert_eq!(answer.json()["groupsAdded"], json!(["team-new"]), "{answer:?}");
    assert_eq!(answer.json()["groupsSkipped"], json!([" "]));
    let answer = post(&world, TEAM, "removeGroups", json!({ "groups": ["Team-New"] })).await;
    assert_eq!(answer.json()["groupsRemoved"], json!(["Team-New"]));
}

#[tokio::test]
async fn get_groups_shows_the_groups_that_an_account_is_for() {
    let world = world().await;
    for _ in 0..2 {
        let answer = get(&world, TEAM, "getGroups").await.json();
        assert_eq!(
            (&answer["total"], &answer["groups"]),
            (&json!(2), &json!(["Team-Blue", "team-red"]))
        );
        let answer = get(&world, TEAM, "getGroups?startAt=1&maxResults=1").await.json();
        assert_eq!((&answer["total"], &answer["groups"]), (&json!(2), &json!(["team-red"])));
        let everybody = get(&world, ADMIN, "getGroups").await.json();
        assert!(everybody["total"].as_u64().unwrap() >= 5, "{everybody}");
    }
}

#[tokio::test]
async fn a_call_that_an_account_is_not_for_is_403() {
    let world = world().await;
    let refused = |call: &str| format!("Client may not call {call}: it is not among the operations of its account.");
    assert_error(&get(&world, CALLS, "getGroups").await, 403, &refused("getGroups"));
    for (path, call) in [
        ("removeUsers/ops", "removeUsers"),
        ("addGroups", "addGroups"),
        ("removeGroups", "removeGroups"),
    ] {
        let answer = post(&world, CALLS, path, json!({ "users": names(1, 1), "groups": ["x"] })).await;
        assert_error(&answer, 403, &refused(call));
    }
    assert_eq!(world.calls().await, Default::default());
    assert_eq!(get(&world, CALLS, "getUsers/ops").await.status, 200);
    let answer = post(&world, CALLS, "addUsers/ops", json!({ "users": names(7, 1) })).await;
    assert_eq!(answer.status, 200);
    // The role is asked first, and a path that leads nowhere before both.
    assert_error(&post(&world, CHIEF, "addUsers/ops", json!({})).await, 403, UNAUTHORISED);
    assert_eq!(get(&world, CALLS, "nowhere").await.status, 404);
}

#[tokio::test]
async fn reports_are_for_their_caller_and_for_operators_of_those_groups() {
    let world = world().await;
    let report = async |path: &str| {
        let answer = post(&world, ADMIN, path, json!({ "users": names(8, 1) })).await;
        answer.header("x-facade-report").unwrap().to_owned()
    };
    let (of_a_team, of_ops) = (report("addUsers/team-red").await, report("addUsers/ops").await);
    for (token, team, ops) in [(ADMIN, 200, 200), (CHIEF, 200, 404), (TEAM, 404, 404)] {
        assert_eq!(world.report(&of_a_team, token, "").await.status, team, "{token}");
        assert_eq!(world.report(&of_ops, token, "").await.status, ops, "{token}");
    }
    let answer = post(&world, TEAM, "addUsers/team-red", json!({ "users": names(9, 1) })).await;
    let own = answer.header("x-facade-report").unwrap();
    assert_eq!(world.report(own, TEAM, "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_read_only_within_the_groups_that_its_caller_is_for_now() {
    let groups = [("team-red", 3), ("ops", 2)];
    let world = World::start(options(9, &groups), |settings| settings.inbound.reload_s = 1).await;
    let put = async |secret: &str, lines: &str, times: u64| {
        let entry = token("sync", secret, &format!("role = \"administrator\"\n{lines}"));
        std::fs::write(world.path("new.toml"), entry).unwrap();
        std::fs::rename(world.path("new.toml"), world.path("accounts.toml")).unwrap();
        wait_for(&world, "done", times).await;
    };
    put("xft_first", "", 1).await;
    let users = json!({ "users": names(8, 1) });
    let made = json!({ "groups": ["team-new", "ops-new"] });
    let mut reports = Vec::new();
    for (path, body) in [
        ("addUsers/team-red", &users),
        ("addUsers/ops", &users),
        ("addGroups", &made),
    ] {
        let answer = post(&world, "xft_first", path, body.clone()).await;
        reports.push(answer.header("x-facade-report").unwrap().to_owned());
    }
    let read = async |secret: &str| {
        let mut statuses = Vec::new();
        for id in &reports {
            statuses.push(world.report(id, secret, "").await.status);
        }
        statuses
    };
    assert_eq!(read("xft_first").await, [200, 200, 200]);
    // A new token of the same name is the same caller.
    put("xft_second", "", 2).await;
    assert_eq!(
        (read("xft_first").await, read("xft_second").await),
        (vec![401; 3], vec![200; 3])
    );
    // For fewer groups, what is told of the others is told no more; a report that has one of them is one of them.
    put("xft_second", "groups = [\"team-*\"]\n", 3).await;
    assert_eq!(read("xft_second").await, [200, 404, 404]);
}

/// Waits until the accounts were read anew.
async fn wait_for(world: &World, result: &str, times: u64) {
    let wanted = format!("facade_file_reloads_total{{file=\"accounts\",result=\"{result}\"}} {times}");
    for _ in 0..600 {
        if world.metrics().await.contains(&wanted) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the accounts were not {result} {times} times");
}

pub fn account(name: &str, password: &str, lines: &str) -> String {
    let cheap = argon2::Argon2::from(argon2::Params::new(8, 1, 1, None).unwrap());
    let hash = cheap.hash_password(password.as_bytes()).unwrap();
    format!("[[account]]\nname = \"{name}\"\npassword = \"{hash}\"\n{lines}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_of_accounts_counts_at_once_and_a_faulty_one_never() {
    let world = World::start(options(1, &[]), |settings| settings.inbound.reload_s = 1).await;
    let basic = async |name: &str, password: &str| {
        let request = world.request(Method::GET, "getGroups");
        send(request.basic_auth(name, Some(password))).await.status
    };
    let put = |text: &str| {
        std::fs::write(world.path("new.toml"), text).unwrap();
        std::fs::rename(world.path("new.toml"), world.path("accounts.toml")).unwrap();
    };
    assert_eq!(
        (basic("reader", "reader").await, basic("admin", "admin").await),
        (200, 200)
    );
    put(&(account("admin", "changed", "role = \"reader\"\n") + &account("new", "new", "role = \"reader\"\n")));
    wait_for(&world, "done", 1).await;
    // Both had been verified, and were remembered.
    assert_eq!(
        (basic("reader", "reader").await, basic("admin", "admin").await),
        (401, 401)
    );
    assert_eq!(world.get("getGroups").await.status, 401);
    assert_eq!((basic("new", "new").await, basic("admin", "changed").await), (200, 200));
    put("[[account]]\nname = \"admin\"\nrole = \"root\"\n");
    wait_for(&world, "refused", 1).await;
    assert_eq!((basic("new", "new").await, basic("admin", "changed").await), (200, 200));
    put(&(account("new", "new", "role = \"reader\"\nexpires = 2020-01-31\n")));
    wait_for(&world, "done", 2).await;
    assert_eq!((basic("new", "new").await, basic("admin", "changed").await), (401, 401));
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_hang_up_the_accounts_are_read_anew() {
    let cloud = Cloud::start(options(1, &[])).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("accounts.toml");
    std::fs::write(&file, token("a", "xft_a", "role = \"reader\"\n")).unwrap();
    let path = file.to_str().unwrap();
    let program = Program::start(
        &directory.path().join("state"),
        &cloud.url(""),
        &[
            ("FACADE__INBOUND__MODE", "accounts"),
            ("FACADE__INBOUND__ACCOUNTS_FILE", path),
            ("FACADE__INBOUND__RELOAD_S", "0"),
        ],
    );
    let (facade, _) = tokio::task::block_in_place(|| program.serves());
    let url = format!("http://{facade}/rest/extender/1.0/group/getGroups");
    let ask = async |token: &str| send(cloud.client.get(&url).bearer_auth(token)).await.status;
    assert_eq!((ask("xft_a").await, ask("xft_b").await), (200, 401));
    std::fs::write(&file, token("b", "xft_b", "role = \"reader\"\n")).unwrap();
    program.signal("-HUP");
    while ask("xft_b").await != 200 {}
    assert_eq!(ask("xft_a").await, 401);
}
