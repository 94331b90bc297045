//! The four changing calls: their messages letter by letter, and every name exactly once in one of the two lists.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{World, names, texts};
use crate::worlds::small;

fn groups() -> Value {
    json!([{ "name": "g", "members": ["acc-anna"] }, { "name": "empty" },
           { "name": "theirs", "managedBy": "EXTERNAL", "members": ["acc-anna"] }])
}

async fn check(world: &World, path: &str, asked: Value, expected: &str) {
    let key = if path.contains("Users") { "users" } else { "groups" };
    let answer = world.post(path, &json!({ key: asked.clone() })).await;
    assert_eq!(answer.status, 200, "{path} {asked} {answer:?}");
    assert_eq!(answer.text(), expected, "{path} {asked}");
    let skipped = answer
        .json()
        .as_object()
        .unwrap()
        .iter()
        .find(|(key, _)| key.ends_with("Skipped"))
        .unwrap()
        .1
        .clone();
    let count = skipped.as_array().unwrap().len().to_string();
    assert_eq!(
        answer.header("x-facade-skipped"),
        Some(count.as_str()),
        "{path} {asked}"
    );
}

#[tokio::test]
async fn add_users_says_what_it_did_letter_by_letter() {
    let world = small(groups(), |_| {}).await;
    check(
        &world,
        "addUsers/g",
        json!(["zoe"]),
        r#"{"usersAdded":["zoe"],"usersSkipped":[],"message":"all users added to group","status":"success"}"#,
    )
    .await;
    check(&world, "addUsers/g", json!(["Bert", "anna"]), r#"{"usersAdded":["Bert"],"usersSkipped":["anna"],"message":"users added to group, but some users skipped","status":"success"}"#).await;
    check(&world, "addUsers/g", json!(["anna", "ghost"]), r#"{"usersAdded":[],"usersSkipped":["anna","ghost"],"message":"users added to group, but some users skipped","status":"success"}"#).await;
    check(
        &world,
        "addUsers/g",
        json!([]),
        r#"{"usersAdded":[],"usersSkipped":[],"message":"all users added to group","status":"success"}"#,
    )
    .await;
}

#[tokio::test]
async fn remove_users_says_what_it_did_letter_by_letter() {
    let world = small(groups(), |_| {}).await;
    check(
        &world,
        "removeUsers/g",
        json!(["anna"]),
        r#"{"usersRemoved":["anna"],"usersSkipped":[],"message":"all users removed from group","status":"success"}"#,
    )
    .await;
    check(
        &world,
        "addUsers/g",
        json!(["anna"]),
        r#"{"usersAdded":["anna"],"usersSkipped":[],"message":"all users added to group","status":"success"}"#,
    )
    .await;
    check(&world, "removeUsers/g", json!(["zoe", "anna"]), r#"{"usersRemoved":["anna"],"usersSkipped":["zoe"],"message":"users removed from group, but some users skipped","status":"success"}"#).await;
    check(&world, "removeUsers/g", json!(["zoe"]), r#"{"usersRemoved":[],"usersSkipped":["zoe"],"message":"users removed from group, but some users skipped","status":"success"}"#).await;
    check(
        &world,
        "removeUsers/g",
        json!([]),
        r#"{"usersRemoved":[],"usersSkipped":[],"message":"all users removed from group","status":"success"}"#,
    )
    .await;
}

#[tokio::test]
async fn add_groups_says_what_it_did_letter_by_letter() {
    let world = small(groups(), |_| {}).await;
    check(
        &world,
        "addGroups",
        json!(["New Group"]),
        r#"{"groupsAdded":["New Group"],"groupsSkipped":[],"message":"all groups added","status":"success"}"#,
    )
    .await;
    check(&world, "addGroups", json!(["new group", "G", "x", "X", ""]), r#"{"groupsAdded":["x"],"groupsSkipped":["new group","G","X",""],"message":"groups added, some groups skipped","status":"success"}"#).await;
    check(
        &world,
        "addGroups",
        json!(["g"]),
        r#"{"groupsAdded":[],"groupsSkipped":["g"],"message":"groups added, some groups skipped","status":"success"}"#,
    )
    .await;
    check(
        &world,
        "addGroups",
        json!([]),
        r#"{"groupsAdded":[],"groupsSkipped":[],"message":"all groups added","status":"success"}"#,
    )
    .await;
    let listed = world.get("getGroups").await.json();
    assert_eq!(
        listed["groups"],
        json!(["empty", "g", "New Group", "theirs", "x"]),
        "names keep their case"
    );
}

#[tokio::test]
async fn remove_groups_says_what_it_did_letter_by_letter() {
    let world = small(groups(), |_| {}).await;
    check(
        &world,
        "removeGroups",
        json!(["EMPTY"]),
        r#"{"groupsRemoved":["EMPTY"],"groupsSkipped":[],"message":"all groups removed","status":"success"}"#,
    )
    .await;
    check(&world, "removeGroups", json!(["empty", "g", "theirs", "g", " "]), r#"{"groupsRemoved":["g"],"groupsSkipped":["empty","theirs","g"," "],"message":"groups removed, some groups skipped","status":"success"}"#).await;
    check(&world, "removeGroups", json!(["none"]), r#"{"groupsRemoved":[],"groupsSkipped":["none"],"message":"groups removed, some groups skipped","status":"success"}"#).await;
    check(
        &world,
        "removeGroups",
        json!([]),
        r#"{"groupsRemoved":[],"groupsSkipped":[],"message":"all groups removed","status":"success"}"#,
    )
    .await;
}

#[tokio::test]
async fn every_name_stands_once_as_it_was_spelt_and_of_duplicates_the_first_is_done() {
    let world = small(groups(), |_| {}).await;
    let asked = [
        "ZOE",
        "zoe",
        "key-bert",
        "bert@map.example",
        "ghost",
        "GHOST",
        "",
        "  ",
        "acc-zoe",
        "MERGED-admin",
        "merged",
        "ANNA",
        "a\"b\\c\u{1}ü€",
    ];
    let answer = world.users("addUsers/empty", &asked).await;
    assert_eq!(
        answer.text(),
        format!(
            "{{\"usersAdded\":[\"ZOE\",\"key-bert\",\"MERGED-admin\",\"ANNA\"],\"usersSkipped\":{},\"message\":\"users added to group, but some users skipped\",\"status\":\"success\"}}",
            json!([
                "zoe",
                "bert@map.example",
                "ghost",
                "GHOST",
                "",
                "  ",
                "acc-zoe",
                "merged",
                "a\"b\\c\u{1}ü€"
            ])
        )
    );
    let reasons: Vec<(String, String)> = world
        .audit()
        .iter()
        .filter(|line| line["result"] == "skipped")
        .map(|line| {
            (
                line["name"].as_str().unwrap().to_owned(),
                line["reason"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    let expected = [
        ("zoe", "duplicate"),
        ("bert@map.example", "duplicate"),
        ("ghost", "unknown"),
        ("GHOST", "duplicate"),
        ("", "blank"),
        ("  ", "blank"),
        ("acc-zoe", "duplicate"),
        ("merged", "duplicate"),
        ("a\"b\\c\u{1}ü€", "unknown"),
    ];
    assert_eq!(
        reasons,
        expected.map(|(name, reason)| (name.to_owned(), reason.to_owned()))
    );
}

#[tokio::test]
async fn a_name_that_means_two_accounts_is_skipped_whatever_it_is_used_for() {
    let map = format!(
        "{}zoe,,,acc-bert,,,\n,,anna@map.example,acc-zoe,,,\n",
        crate::worlds::MAP
    );
    let world = crate::worlds::with_map(groups(), &map, |_| {}).await;
    let answer = world
        .users("addUsers/empty", &["zoe", "anna@map.example", "anna"])
        .await;
    assert_eq!(
        answer.json()["usersSkipped"],
        json!(["zoe", "anna@map.example"]),
        "{answer:?}"
    );
    let answer = world.users("removeUsers/empty", &["zoe", "anna"]).await;
    assert_eq!(answer.json()["usersRemoved"], json!(["anna"]), "{answer:?}");
}

#[tokio::test]
async fn a_merged_account_is_not_removed_unless_the_setting_allows_it() {
    let groups = || json!([{ "name": "g", "members": ["acc-merged", "acc-anna"] }]);
    let world = small(groups(), |_| {}).await;
    let answer = world.users("removeUsers/g", &["merged-admin", "anna"]).await;
    assert_eq!(answer.json()["usersSkipped"], json!(["merged-admin"]));
    assert!(
        world
            .audit()
            .iter()
            .any(|line| line["reason"] == "merged_account" && line["name"] == "merged-admin")
    );
    let world = small(groups(), |settings| {
        settings.identity.merged_removal = extender_facade::settings::MergedRemoval::Allow;
    })
    .await;
    let answer = world.users("removeUsers/g", &["merged-admin", "anna"]).await;
    assert_eq!(answer.json()["usersRemoved"], json!(["merged-admin", "anna"]));
}

#[tokio::test]
async fn an_externally_managed_group_is_shown_and_never_changed() {
    let world = small(groups(), |_| {}).await;
    assert_eq!(world.members("theirs").await, ["anna"]);
    for call in ["addUsers/theirs", "removeUsers/theirs"] {
        let answer = world.users(call, &["anna", "zoe", ""]).await;
        assert_eq!(answer.header("x-facade-skipped"), Some("3"), "{answer:?}");
    }
    let answer = world.groups("removeGroups", &["theirs"]).await;
    assert_eq!(answer.header("x-facade-skipped"), Some("1"), "{answer:?}");
    let reasons: Vec<Value> = world.audit().iter().map(|line| line["reason"].clone()).collect();
    let kept = "externally_managed";
    assert_eq!(json!(reasons), json!([kept, kept, "blank", kept, kept, "blank", kept]));
    assert!(
        world
            .calls()
            .await
            .keys()
            .all(|call| !call.contains("add") && !call.contains("remove") && !call.contains("delete"))
    );
}

#[tokio::test]
async fn own_changes_are_seen_by_the_next_read() {
    let world = World::with(20, &[("g", 5)]).await;
    world.cloud.switch(json!({ "lag_ms": 500 })).await;
    assert_eq!(world.members("g").await, names(1, 5));
    world.users("addUsers/g", &names(6, 3)).await;
    assert_eq!(world.members("g").await, names(1, 8));
    world.users("removeUsers/g", &names(1, 2)).await;
    assert_eq!(world.members("g").await, names(3, 6));
    world.cloud.switch(json!({ "lag_ms": null })).await;
    world.groups("addGroups", &["fresh"]).await;
    assert!(texts(&world.get("getGroups").await.json()["groups"], None).contains(&"fresh".to_owned()));
    assert_eq!(world.members("fresh").await, [""; 0]);
    assert_eq!(
        world
            .users("addUsers/fresh", &names(1, 1))
            .await
            .header("x-facade-skipped"),
        Some("0")
    );
    world.groups("removeGroups", &["fresh"]).await;
    assert!(!texts(&world.get("getGroups").await.json()["groups"], None).contains(&"fresh".to_owned()));
    assert_eq!(world.get("getUsers/fresh").await.status, 500);
}

/// What is shown after a change is made of what was shown before it.
#[tokio::test]
async fn a_list_read_between_changes_is_what_a_first_reading_tells() {
    let world = World::with(60, &[("everybody", 60), ("g", 20)]).await;
    let details = ["", "?showBasicDetails=true", "?showExtendedDetails=true"];
    let shown = async |group: &str, details: &str| -> Vec<Value> {
        let answer = world.get(&format!("getUsers/{group}{details}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = answer.json();
        assert_eq!(body["total"], body["users"].as_array().unwrap().len());
        body["users"].as_array().unwrap().clone()
    };
    let mut everybody = Vec::new();
    for details in details {
        everybody.push(shown("everybody", details).await);
    }
    let mut inside: BTreeSet<String> = names(1, 20).into_iter().collect();
    let mut dice = fastrand::Rng::with_seed(7);
    for _ in 0..200 {
        if dice.u8(..3) > 0 {
            let some = names(dice.usize(1..58), dice.usize(1..4));
            let is_in = dice.bool();
            let call = if is_in { "addUsers/g" } else { "removeUsers/g" };
            assert_eq!(world.users(call, &some).await.status, 200);
            for name in some {
                if is_in {
                    inside.insert(name)
                } else {
                    inside.remove(&name)
                };
            }
        }
        let which = dice.usize(..details.len());
        let is_inside = |row: &&Value| inside.contains(row["name"].as_str().unwrap());
        let expected: Vec<Value> = everybody[which].iter().filter(is_inside).cloned().collect();
        assert_eq!(shown("g", details[which]).await, expected, "{}", details[which]);
    }
}

#[tokio::test]
async fn the_audit_tells_who_asked_for_what_and_what_became_of_it() {
    let world = small(groups(), |_| {}).await;
    let body = json!({ "users": ["zoe", "Anna", "ghost"] }).to_string();
    let request = world
        .request(reqwest::Method::POST, "addUsers/G")
        .basic_auth("admin", Some("admin"));
    let answer = crate::cloud::send(request.header("x-request-id", "call-1").body(body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-facade-request-id"), Some("call-1"));
    assert_eq!(world.groups("addGroups", &["made"]).await.status, 200);
    let mut lines = world.audit();
    let mut ids = Vec::new();
    let mut operations = Vec::new();
    for (place, line) in lines.iter_mut().enumerate() {
        let line = line.as_object_mut().unwrap();
        // A chain: each line has its number and a code over it and all before it.
        assert_eq!(line.remove("seq"), Some(json!(place + 1)));
        assert_eq!(line.remove("mac").unwrap().as_str().unwrap().len(), 64);
        operations.push(line.remove("operation_id").unwrap());
        let time = line.remove("time").unwrap();
        assert!(time.as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{time}");
        ids.push(line.remove("group_id").unwrap());
    }
    assert_eq!(ids[0], ids[1]);
    assert!(ids[0].is_string());
    let report = answer.header("x-facade-report").unwrap();
    assert!(operations[..3].iter().all(|id| id == report) && operations[3] != report);
    let line = |index: usize, name: &str, account: Value, result: &str, reason: Value| {
        json!({ "request_id": "call-1", "caller": "admin", "operation": "add_members", "group": "g", "index": index,
                "name": name, "account": account, "result": result, "reason": reason })
    };
    assert_eq!(lines[0], line(0, "zoe", json!("acc-zoe"), "done", json!(null)));
    assert_eq!(
        lines[1],
        line(1, "Anna", json!("acc-anna"), "skipped", json!("already_member"))
    );
    assert_eq!(lines[2], line(2, "ghost", json!(null), "skipped", json!("unknown")));
    assert_eq!(lines.len(), 4);
    assert_eq!(
        (
            &lines[3]["operation"],
            &lines[3]["caller"],
            &lines[3]["name"],
            &lines[3]["result"]
        ),
        (
            &json!("create_groups"),
            &json!("admin-token"),
            &json!("made"),
            &json!("done")
        )
    );
}
