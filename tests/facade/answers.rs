//! What the two lists show: keys, their order, and the three levels of detail.

use serde_json::json;

use crate::harness::{World, texts};
use crate::worlds::{MAP, small, with_map};

fn three() -> serde_json::Value {
    json!([{ "name": "three", "members": ["acc-zoe", "acc-bert", "acc-anna"] }])
}

#[tokio::test]
async fn without_a_flag_every_member_is_a_name_alone_in_lower_case_order() {
    let world = small(three(), |_| {}).await;
    let answer = world.get("getUsers/three").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(
        answer.text(),
        r#"{"total":3,"maxResults":1000,"startAt":0,"users":[{"name":"anna"},{"name":"Bert"},{"name":"zoe"}],"status":"success"}"#
    );
}

#[tokio::test]
async fn basic_details_are_name_full_name_key_and_email() {
    let world = small(three(), |_| {}).await;
    let answer = world.get("getUsers/three?showBasicDetails=true").await;
    assert_eq!(
        answer.text(),
        concat!(
            r#"{"total":3,"maxResults":1000,"startAt":0,"users":["#,
            r#"{"name":"anna","fullName":"Anna \"Ä\" of Cloud","key":"key-anna","email":"anna@cloud.example"},"#,
            r#"{"name":"Bert","fullName":"Bert of the map","key":"key-bert","email":"bert@map.example"},"#,
            r#"{"name":"zoe","fullName":"Zoe","key":"acc-zoe","email":"zoe@cloud.example"}],"status":"success"}"#
        )
    );
}

#[tokio::test]
async fn extended_details_are_the_fifteen_recorded_fields_with_null_for_unknown_dates() {
    let world = small(three(), |_| {}).await;
    let answer = world.get("getUsers/three?showExtendedDetails=true").await;
    let row = |name: &str, full: &str, key: &str, email: &str, updated: &str, created: &str, strings: (&str, &str)| {
        format!(
            concat!(
                r#"{{"business":[{{"location":"","position":"","department":""}}],"lastFailedLoginDate":null,"#,
                r#""lastSuccessfulLoginDate":null,"fullName":"{full}","personal":[{{"website":"","im":"","phone":""}}],"#,
                r#""updatedDate":{updated},"lastFailedLoginDateString":null,"createdDate":{created},"#,
                r#""createdDateString":{created_string},"hasAccessToUseConfluence":true,"name":"{name}","#,
                r#""lastSuccessfulLoginDateString":null,"key":"{key}","email":"{email}","updatedDateString":{updated_string}}}"#
            ),
            name = name,
            full = full,
            key = key,
            email = email,
            updated = updated,
            created = created,
            updated_string = strings.0,
            created_string = strings.1,
        )
    };
    let anna = row(
        "anna",
        r#"Anna \"Ä\" of Cloud"#,
        "key-anna",
        "anna@cloud.example",
        "1654605520699",
        "1654605520699",
        (r#""2022-06-07 12:38:40""#, r#""2022-06-07 12:38:40""#),
    );
    let bert = row(
        "Bert",
        "Bert of the map",
        "key-bert",
        "bert@map.example",
        "1727280841377",
        "1590302967994",
        (r#""2024-09-25 16:14:01""#, r#""2020-05-24 06:49:27""#),
    );
    let zoe = row(
        "zoe",
        "Zoe",
        "acc-zoe",
        "zoe@cloud.example",
        "null",
        "null",
        ("null", "null"),
    );
    assert_eq!(
        answer.text(),
        format!(r#"{{"total":3,"maxResults":1000,"startAt":0,"users":[{anna},{bert},{zoe}],"status":"success"}}"#)
    );
}

#[tokio::test]
async fn with_both_flags_the_details_are_extended_and_only_the_word_true_switches_one_on() {
    let world = small(three(), |_| {}).await;
    for (query, keys) in [
        ("showBasicDetails=true&showExtendedDetails=true", 15),
        ("showExtendedDetails=TRUE", 15),
        ("showExtendedDetails=True&showExtendedDetails=false", 15),
        ("showBasicDetails=tRuE", 4),
        ("showBasicDetails=false&showBasicDetails=true", 1),
        ("showBasicDetails=1", 1),
        ("showBasicDetails=yes", 1),
        ("showBasicDetails", 1),
        ("showBasicDetails=", 1),
        ("showbasicdetails=true", 1),
        ("showBasicDetails=true%20", 1),
        ("showExtendedDetails=on&showBasicDetails=true", 4),
    ] {
        let answer = world.get(&format!("getUsers/three?{query}")).await.json();
        assert_eq!(answer["users"][0].as_object().unwrap().len(), keys, "{query}");
    }
}

#[tokio::test]
async fn groups_are_sorted_ignoring_case_and_stand_between_total_and_an_empty_message() {
    let groups = json!([{ "name": "beta" }, { "name": "Alpha" }, { "name": "Älter" }, { "name": "Gamma" }, { "name": "alpha2" }]);
    let world = small(groups, |_| {}).await;
    assert_eq!(
        world.get("getGroups").await.text(),
        r#"{"total":5,"maxResults":1000,"startAt":0,"groups":["Alpha","alpha2","beta","Gamma","Älter"],"message":"","status":"success"}"#
    );
}

#[tokio::test]
async fn externally_managed_groups_are_listed_and_teams_only_if_the_setting_says_so() {
    let groups = || {
        json!([{ "name": "ours" }, { "name": "theirs", "managedBy": "EXTERNAL" },
               { "name": "a team", "usageType": "TEAM_COLLABORATION", "members": ["acc-anna"] }])
    };
    let world = small(groups(), |_| {}).await;
    assert_eq!(world.get("getGroups").await.json()["groups"], json!(["ours", "theirs"]));
    assert_eq!(world.get("getUsers/a%20team").await.status, 500);
    let world = small(groups(), |settings| settings.extender.show_teams = true).await;
    assert_eq!(
        world.get("getGroups").await.json()["groups"],
        json!(["a team", "ours", "theirs"])
    );
    assert_eq!(world.members("a team").await, ["anna"]);
}

#[tokio::test]
async fn the_maps_email_stands_in_only_if_the_setting_lets_it_and_nobody_is_shown_as_null() {
    let world = small(three(), |settings| settings.extender.show_map_email = false).await;
    let users = world.get("getUsers/three?showBasicDetails=true").await.json()["users"].clone();
    assert_eq!(
        texts(&users, Some("email")),
        ["anna@cloud.example", "", "zoe@cloud.example"]
    );
    let world = small(json!([{ "name": "one", "members": ["acc-nobody-knows"] }]), |_| {}).await;
    let row = world.get("getUsers/one?showBasicDetails=true").await.json()["users"][0].clone();
    assert_eq!(
        row,
        json!({ "name": "acc-nobody-knows", "fullName": "Unmapped", "key": "acc-nobody-knows", "email": "" })
    );
}

#[tokio::test]
async fn several_usernames_of_one_account_are_one_row_under_the_first_of_them() {
    let world = small(json!([{ "name": "g", "members": ["acc-merged"] }]), |_| {}).await;
    let answer = world.get("getUsers/g?showBasicDetails=true").await.json();
    assert_eq!(answer["total"], 1);
    assert_eq!(answer["users"][0]["name"], "merged");
    assert_eq!(answer["users"][0]["key"], "key-merged");
}

#[tokio::test]
async fn every_name_that_is_shown_is_taken_back_and_means_the_same_account() {
    let all = json!(["acc-anna", "acc-bert", "acc-zoe", "acc-merged", "acc-nobody-knows"]);
    for order in ["username", "email", "account_id"] {
        let world = small(
            json!([{ "name": "from", "members": all.clone() }, { "name": "to" }]),
            |settings| {
                use extender_facade::settings::{MergedRemoval, NameKind};
                settings.identity.merged_removal = MergedRemoval::Allow;
                settings.extender.name_order = match order {
                    "username" => vec![NameKind::Username, NameKind::Email, NameKind::AccountId],
                    "email" => vec![NameKind::Email, NameKind::Username, NameKind::AccountId],
                    _ => vec![NameKind::AccountId],
                };
            },
        )
        .await;
        let shown = world.members("from").await;
        assert_eq!(shown.len(), 5, "{shown:?}");
        for (call, group) in [("addUsers/to", "to"), ("removeUsers/from", "from")] {
            let answer = world.users(call, &shown).await;
            assert_eq!(answer.header("x-facade-skipped"), Some("0"), "{order} {answer:?}");
            let mut truth = world.cloud.truth(group).await;
            truth.sort();
            let expected = if group == "to" { 5 } else { 0 };
            assert_eq!(truth.len(), expected, "{order}");
        }
    }
}

#[tokio::test]
async fn who_has_no_username_is_shown_under_the_address_of_the_map() {
    let map = format!("{MAP}twin@x.example,,,acc-nobody-knows,,,\n");
    let world = with_map(
        json!([{ "name": "g", "members": ["acc-nobody-knows", "acc-zoe", "acc-anna"] }]),
        &map,
        |_| {},
    )
    .await;
    assert_eq!(world.members("g").await, ["anna", "twin@x.example", "zoe"]);
}

#[tokio::test]
async fn a_group_without_members_and_a_site_without_groups_have_empty_lists() {
    let world = small(json!([{ "name": "empty" }]), |_| {}).await;
    assert_eq!(
        world.get("getUsers/empty?showExtendedDetails=true").await.text(),
        r#"{"total":0,"maxResults":1000,"startAt":0,"users":[],"status":"success"}"#
    );
    let world: World = small(json!([]), |_| {}).await;
    assert_eq!(
        world.get("getGroups").await.text(),
        r#"{"total":0,"maxResults":1000,"startAt":0,"groups":[],"message":"","status":"success"}"#
    );
}
