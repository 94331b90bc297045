//! Smaller worlds than the generated ones: a few people and groups whose names are the subject of a test.
#![allow(dead_code, reason = "every file uses another part")]

use extender_facade::server::Server;
use extender_facade::settings::Settings;
use extender_facade::simulator::Options;
use serde_json::{Value, json};

use crate::harness::World;

/// Who is in the small world: two usernames of one account (`merged`), and somebody the map has no date of.
pub const MAP: &str = "username,key,email,account_id,full_name,created,updated
anna,key-anna,anna@map.example,acc-anna,Anna of the map,1654605520699,1654605520699
Bert,key-bert,bert@map.example,acc-bert,Bert of the map,1590302967994,1727280841377
zoe,,,acc-zoe,,,
merged,key-merged,merged@map.example,acc-merged,Merged,,
merged-admin,key-other,,acc-merged,,,
";

/// `anna` and `zoe` show Cloud their e-mail addresses, `Bert` hides his and his name.
pub fn people() -> Value {
    json!([
        { "accountId": "acc-anna", "displayName": "Anna \"Ä\" of Cloud", "email": "anna@cloud.example" },
        { "accountId": "acc-bert", "displayName": "", "email": "bert@cloud.example", "emailHidden": true },
        { "accountId": "acc-zoe", "displayName": "Zoe", "email": "zoe@cloud.example" },
        { "accountId": "acc-merged", "displayName": "Merged", "email": "" },
        { "accountId": "acc-nobody-knows", "displayName": "Unmapped", "email": "" }
    ])
}

/// The people above in these groups: name, members, and whatever else the simulator's data file takes.
pub async fn small(groups: Value, change: impl FnOnce(&mut Settings)) -> World {
    with_map(groups, MAP, change).await
}

/// As [`small`], with another identity map.
pub async fn with_map(groups: Value, map: &str, change: impl FnOnce(&mut Settings)) -> World {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("cloud.json");
    std::fs::write(&data, json!({ "users": people(), "groups": groups }).to_string()).unwrap();
    let map_file = directory.path().join("map.csv");
    std::fs::write(&map_file, map).unwrap();
    let options = Options {
        data: Some(data),
        ..Options::default()
    };
    World::start(options, |settings| {
        settings.identity.map_file = Some(map_file);
        change(settings);
    })
    .await
}

/// What a server says that does not start with these settings.
pub async fn refusal(change: impl FnOnce(&mut Settings)) -> String {
    let mut kept = None;
    let world = World::start(crate::harness::options(1, &[]), |settings| {
        kept = Some(settings.clone())
    })
    .await;
    let mut settings = kept.unwrap();
    settings.state_dir = world.path("another-state");
    change(&mut settings);
    match Server::new(settings) {
        Ok(_) => panic!("it starts"),
        Err(faults) => faults.to_string(),
    }
}
