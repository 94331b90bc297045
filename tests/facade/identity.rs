//! Names: whom they mean, and that what is shown can be sent back.

use serde_json::{Value, json};

use crate::harness::{World, options};
use crate::truth::{audit_of, lists};

/// Ten people in Cloud, and of the map only what `map` writes, given their account ids.
async fn world(map: impl FnOnce(&[String]) -> String, faults: Value) -> World {
    let mut ids = Vec::new();
    let simulated = options(10, &[("team", 3)]);
    let people = extender_facade::simulator::Simulator::new(&simulated).unwrap().people();
    ids.extend(people.into_iter().map(|person| person.account_id));
    let map = map(&ids);
    let world = World::start(simulated, |settings| {
        std::fs::write(settings.identity.map_file.as_ref().unwrap(), map).unwrap();
    })
    .await;
    world.cloud.switch(faults).await;
    world
}

fn reasons(world: &World, answer: &crate::cloud::Reply) -> Vec<(String, Value)> {
    let line = |line: &Value| (line["name"].as_str().unwrap().to_owned(), line["reason"].clone());
    let mut all: Vec<_> = audit_of(world, answer).iter().map(line).collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_the_map_does_not_know_is_shown_by_id_and_can_be_removed_by_it() {
    let map = |ids: &[String]| format!("username,account_id\nfirst,{}\n", ids[0]);
    let world = world(map, json!({ "hidden_emails": true })).await;
    let shown = world.members("team").await;
    let mut expected = vec!["first".to_owned()];
    expected.extend(world.cloud.people[1..3].iter().map(|person| person.account_id.clone()));
    expected.sort();
    assert_eq!(shown, expected);
    let answer = world.users("removeUsers/team", &shown).await;
    assert_eq!(lists(&answer).0, shown);
    assert!(world.cloud.truth("team").await.is_empty());
    // And put back by the same names, which nobody shows any more.
    assert_eq!(lists(&world.users("addUsers/team", &shown).await).0, shown);
    assert_eq!(world.members("team").await, shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_usernames_of_one_account_are_one_row_and_removing_them_is_refused() {
    let map = |ids: &[String]| {
        format!(
            "username,account_id\njdoe,{0}\njdoe-admin,{0}\nother,{1}\n",
            ids[0], ids[1]
        )
    };
    let world = world(map, json!({})).await;
    // The third is in no map, but Cloud shows an address, and that leads back.
    let expected = ["jdoe", "other", "user000003@example.com"];
    assert_eq!(world.members("team").await, expected);
    let answer = world.users("removeUsers/team", &["jdoe", "other"]).await;
    assert_eq!(lists(&answer).0, ["other"]);
    assert_eq!(
        reasons(&world, &answer)[0],
        ("jdoe".to_owned(), json!("merged_account"))
    );
    let answer = world.users("addUsers/team", &["JDOE-admin", "jdoe", "other"]).await;
    assert_eq!(
        reasons(&world, &answer),
        [
            ("JDOE-admin".to_owned(), json!("already_member")),
            ("jdoe".to_owned(), json!("duplicate")),
            ("other".to_owned(), Value::Null)
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_two_accounts_is_ambiguous_and_never_written() {
    let map = |ids: &[String]| {
        format!(
            "username,email,account_id\nsame,a@example.com,{}\nb,same,{}\n,c@example.com,{}\n",
            ids[4], ids[5], ids[6]
        )
    };
    let world = world(map, json!({})).await;
    let answer = world
        .users("addUsers/team", &["same", "SAME", "b", "c@example.com", "user000009"])
        .await;
    assert_eq!(lists(&answer).0, ["b", "c@example.com"]);
    let reasons = reasons(&world, &answer);
    assert!(
        reasons.contains(&("same".to_owned(), json!("ambiguous"))),
        "{reasons:?}"
    );
    assert!(
        reasons.contains(&("SAME".to_owned(), json!("duplicate"))),
        "{reasons:?}"
    );
    // In Cloud there is such a person, but nothing says which name is whose.
    assert!(
        reasons.contains(&("user000009".to_owned(), json!("unknown"))),
        "{reasons:?}"
    );
    assert_eq!(world.calls().await["add_member"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_written_to_only_when_cloud_confirms_it_in_whichever_form_it_understands() {
    for form in ["comma", "repeated", "both"] {
        let map = |_: &[String]| "username,account_id\n".to_owned();
        let world = world(map, json!({ "bulk": form })).await;
        let real: Vec<String> = world.cloud.people[4..8]
            .iter()
            .map(|person| person.account_id.clone())
            .collect();
        let mut asked = real.clone();
        asked.insert(1, "5b10a2844c20165700ede21g".to_owned());
        asked.push("712020:3f2c1a9e-0d4b-4e8f-9a1b-2c3d4e5f6a7b".to_owned());
        let answer = world.users("addUsers/team", &asked).await;
        assert_eq!(lists(&answer).0, real, "{form}");
        assert_eq!(world.calls().await["add_member"], 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_cannot_be_confirmed_fails_the_call_before_anything_is_changed() {
    let map = |_: &[String]| "username,account_id\n".to_owned();
    let world = world(map, json!({})).await;
    assert_eq!(world.users("addUsers/team", &["x"]).await.status, 200);
    world.cloud.switch(json!({ "down": true })).await;
    let id = world.cloud.people[5].account_id.clone();
    let answer = world.users("addUsers/team", &[id]).await;
    assert_eq!(answer.status, 503);
    assert!(audit_of(&world, &answer).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_was_put_together_from_two_lists_means_what_both_say() {
    // Usernames with addresses from the migration, addresses with accounts from Cloud; one address has changed.
    let map = |ids: &[String]| {
        format!(
            "Username,Email,old_email,account_id,status\n\
             jdoe,jane@old.example,,,\nleft,left@example.com,,,tombstoned\ntwice,jane@new.example,,,\ntwice,ann@example.com,,,\n\
             ,jane@new.example,jane@old.example,{0},\n,ann@example.com,,{1},\n",
            ids[0], ids[1]
        )
    };
    let world = world(map, json!({ "hidden_emails": true })).await;
    let third = world.cloud.people[2].account_id.clone();
    let mut expected = vec!["jdoe".to_owned(), "ann@example.com".to_owned(), third];
    expected.sort();
    assert_eq!(world.members("team").await, expected);
    let names = ["jane@OLD.example", "JANE@new.example", "left", "twice"];
    let answer = world.users("addUsers/team", &names).await;
    assert_eq!(
        reasons(&world, &answer),
        [
            ("JANE@new.example".to_owned(), json!("duplicate")),
            ("jane@OLD.example".to_owned(), json!("already_member")),
            ("left".to_owned(), json!("tombstoned")),
            ("twice".to_owned(), json!("ambiguous")),
        ]
    );
}
