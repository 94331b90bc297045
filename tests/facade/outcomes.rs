//! A table of names and what becomes of each: one account, or a named reason. Never a guess.

use serde_json::{Value, json};

use crate::harness::World;
use crate::sources::{Keys, reason, world_of};
use crate::truth::lists;

const MAP: &str = "\
username,key,email,account_id,status
paul,,paul@example.com,712020:paul,
paul@example.com,,p2@example.com,712020:other,
m1,,merged@example.com,712020:merged,
m2,,,712020:merged,
m3,,,712020:merged,
ghost,ghost-key,,,tombstoned
late,,late@example.com,712020:late,tombstoned
off,,,712020:off,deactivated
robot,,,712020:robot,app
ſam,,,712020:longs,
sam,,,712020:sam,
groß,,,712020:sharp,
gross,,,712020:double,
ılgaz,,,712020:dotless,
ilgaz,,,712020:dotted,
İnan,,,712020:inan,
zoë,,,712020:zoe,
abcdefghijklmnopqrstuvwx,,,712020:shaped,
712020:zoe,,,712020:other,
indirect,,Hidden@Example.com,,
twice,,first@example.com,,
twice,,second@example.com,,
nowhere,,nobody@example.com,,
";

/// A name, and the account it means or why it means none.
const TABLE: [(&str, Result<&str, &str>); 47] = [
    ("m1", Ok("merged")),
    ("M2", Ok("merged")),
    ("m3", Ok("merged")),
    ("merged@example.com", Ok("merged")),
    ("paul", Ok("paul")),
    // One person's username is another's address.
    ("paul@example.com", Err("ambiguous")),
    ("p2@example.com", Ok("other")),
    ("ghost", Err("tombstoned")),
    ("GHOST-KEY", Err("tombstoned")),
    ("late", Err("tombstoned")),
    ("off", Err("deactivated")),
    ("robot", Err("not_a_person")),
    // Lower case as Java has it, and no folding: these are pairs of different people.
    ("ſam", Ok("longs")),
    ("ſAM", Ok("longs")),
    ("SAM", Ok("sam")),
    ("GROß", Ok("sharp")),
    ("GROẞ", Ok("sharp")),
    ("GROSS", Ok("double")),
    ("ılgaz", Ok("dotless")),
    ("ILGAZ", Ok("dotted")),
    ("İNAN", Ok("inan")),
    ("i\u{307}nan", Ok("inan")),
    ("inan", Err("unknown")),
    // Composed or not.
    ("zoe\u{308}", Ok("zoe")),
    ("ZOË", Ok("zoe")),
    ("zoe", Err("unknown")),
    // A username with the shape of an id, and one that is somebody else's id.
    ("abcdefghijklmnopqrstuvwx", Ok("shaped")),
    ("712020:zoe", Err("ambiguous")),
    ("712020:sam", Ok("sam")),
    // The letters of an id, and no more: nobody confirmed them, though Cloud has such an account.
    ("712020:anna", Err("unknown")),
    ("somebody", Err("unknown")),
    ("5b10a2844c20165700ede21g", Err("unknown")),
    // Through the organisation's key.
    ("hidden@example.com", Ok("hidden")),
    ("HIDDEN@EXAMPLE.COM", Ok("hidden")),
    ("indirect", Ok("hidden")),
    ("shared@example.com", Err("ambiguous")),
    ("retired@example.com", Err("deactivated")),
    ("closed@example.com", Err("deactivated")),
    ("away@example.com", Ok("away")),
    ("twice", Err("ambiguous")),
    ("nowhere", Err("unknown")),
    ("nobody@example.com", Err("unknown")),
    // Programs are in no answer about people.
    ("bot@example.com", Err("unknown")),
    ("712020:bot-00000000", Err("unknown")),
    ("", Err("blank")),
    (" \t", Err("blank")),
    ("a@b@c", Err("unknown")),
];

async fn world() -> World {
    let plain = [
        "paul", "other", "merged", "late", "off", "robot", "longs", "sam", "sharp", "double", "dotless", "dotted",
        "inan", "zoe", "shaped", "anna",
    ];
    let mut users: Vec<Value> = plain
        .iter()
        .map(|name| json!({ "accountId": format!("712020:{name}"), "email": format!("{name}@elsewhere.example") }))
        .collect();
    for (id, email, more) in [
        ("hidden", "hidden@example.com", json!({ "emailHidden": true })),
        ("one", "shared@example.com", json!({})),
        ("two", "shared@example.com", json!({ "emailHidden": true })),
        ("retired", "retired@example.com", json!({ "status": "inactive" })),
        ("closed", "closed@example.com", json!({ "status": "closed" })),
        ("away", "away@example.com", json!({ "status": "suspended" })),
        ("bot-00000000", "bot@example.com", json!({ "accountType": "app" })),
    ] {
        let mut user = json!({ "accountId": format!("712020:{id}"), "email": email });
        user.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        users.push(user);
    }
    let groups: Vec<Value> = (0..TABLE.len())
        .map(|n| json!({ "name": format!("team-{n}") }))
        .collect();
    let data = json!({ "users": users, "groups": groups });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), data.to_string()).unwrap();
    let simulated = extender_facade::simulator::Options {
        data: Some(file.path().to_owned()),
        ..Default::default()
    };
    let keys = Keys {
        admin: true,
        ..Keys::default()
    };
    world_of(simulated, MAP, keys, |_| {}).await
}

/// What the facade made of a name that was added to an empty group: the account in it, or the reason.
async fn outcome(world: &World, group: &str, name: &str) -> Result<String, String> {
    let answer = world.users(&format!("addUsers/{group}"), &[name]).await;
    assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    let (done, skipped) = lists(&answer);
    assert_eq!(done.len() + skipped.len(), 1);
    let truth = world.cloud.truth(group).await;
    if skipped.is_empty() {
        assert_eq!(truth.len(), 1, "{name}");
        return Ok(truth[0].trim_start_matches("712020:").to_owned());
    }
    assert!(truth.is_empty(), "{name}");
    Err(reason(world, &answer, name).as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_of_the_table_becomes_exactly_what_stands_beside_it() {
    let world = world().await;
    let mut wrong = Vec::new();
    for (n, (name, expected)) in TABLE.iter().enumerate() {
        let outcome = outcome(&world, &format!("team-{n}"), name).await;
        if outcome.as_ref().map(String::as_str).map_err(String::as_str) != *expected {
            wrong.push(format!("{name:?}: {outcome:?} instead of {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_names_at_once_become_the_same_and_each_account_is_added_once() {
    let world = world().await;
    let names: Vec<&str> = TABLE.iter().map(|(name, _)| *name).collect();
    let answer = world.users("addUsers/team-0", &names).await;
    let (done, skipped) = lists(&answer);
    assert_eq!(done.len() + skipped.len(), names.len());
    let mut expected: Vec<String> = TABLE
        .iter()
        .filter_map(|(_, outcome)| outcome.ok())
        .map(|account| format!("712020:{account}"))
        .collect();
    expected.sort();
    expected.dedup();
    let mut truth = world.cloud.truth("team-0").await;
    truth.sort();
    assert_eq!(truth, expected);
    assert_eq!(world.calls().await["add_member"], expected.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_shown_can_be_taken_out_even_if_nobody_could_put_them_in() {
    let world = world().await;
    let group = world.cloud.group_id("team-0").await;
    for account in ["off", "retired", "away", "bot-00000000", "late", "one", "hidden"] {
        world.cloud.add(&group, &format!("712020:{account}")).await;
    }
    for details in ["", "?showExtendedDetails=true"] {
        let answer = world.get(&format!("getUsers/team-0{details}")).await.json();
        assert_eq!(answer["total"], 7, "{answer}");
    }
    let shown = world.members("team-0").await;
    assert_eq!(shown.len(), 7, "{shown:?}");
    let answer = world.users("removeUsers/team-0", &shown).await;
    assert_eq!(lists(&answer).0, shown);
    assert!(world.cloud.truth("team-0").await.is_empty());
}
