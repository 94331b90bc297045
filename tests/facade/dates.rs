//! The date strings of extended details.

use serde_json::{Value, json};

use crate::cloud::Reply;
use crate::errors::assert_error;
use crate::harness::{World, encode};
use crate::worlds::{small, with_map};

const MAP: &str = "username,account_id,created,updated
anna,acc-anna,1590302967994,1727280841377
Bert,acc-bert,1654605520699,1654605520999
zoe,acc-zoe,,1654605520699
";

async fn world(timezone: &str) -> World {
    let groups = json!([{ "name": "g", "members": ["acc-anna", "acc-bert", "acc-zoe"] }, { "name": "empty" }]);
    with_map(groups, MAP, |settings| settings.extender.timezone = timezone.to_owned()).await
}

async fn with(world: &World, format: &str) -> Reply {
    world
        .get(&format!(
            "getUsers/g?showExtendedDetails=true&dateFormat={}",
            encode(format)
        ))
        .await
}

/// The two dates and their strings, row by row.
fn dates(answer: &Reply) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    let rows = answer.json()["users"].as_array().unwrap().clone();
    let of = |row: &Value| {
        json!([
            row["createdDate"],
            row["createdDateString"],
            row["updatedDate"],
            row["updatedDateString"]
        ])
    };
    rows.iter().map(of).collect()
}

#[tokio::test]
async fn dates_are_milliseconds_and_strings_in_the_zone_of_the_setting() {
    let world = world("Europe/Warsaw").await;
    let answer = world.get("getUsers/g?showExtendedDetails=true").await;
    assert_eq!(
        dates(&answer),
        json!([
            [
                1590302967994_i64,
                "2020-05-24 08:49:27",
                1727280841377_i64,
                "2024-09-25 18:14:01"
            ],
            [
                1654605520699_i64,
                "2022-06-07 14:38:40",
                1654605520999_i64,
                "2022-06-07 14:38:40"
            ],
            [null, null, 1654605520699_i64, "2022-06-07 14:38:40"],
        ])
    );
}

#[tokio::test]
async fn without_a_setting_the_zone_is_utc() {
    let groups = json!([{ "name": "g", "members": ["acc-bert"] }]);
    let world = with_map(groups, MAP, |_| {}).await;
    let answer = world.get("getUsers/g?showExtendedDetails=true").await;
    assert_eq!(dates(&answer)[0][1], "2022-06-07 12:38:40");
}

#[tokio::test]
async fn the_time_of_day_follows_whatever_the_pattern_is() {
    let world = world("UTC").await;
    for (pattern, expected) in [
        ("MM/dd/yyyy", "06/07/2022 12:38:40"),
        ("dd.MM.yyyy", "07.06.2022 12:38:40"),
        ("yyyy-MM-dd HH:mm", "2022-06-07 12:38 12:38:40"),
        ("yy", "22 12:38:40"),
        ("y", "2022 12:38:40"),
        ("yyy", "2022 12:38:40"),
        ("yyyyy", "02022 12:38:40"),
        ("Y 'week' w", "2022 week 24 12:38:40"),
        ("d MMM yyyy", "7 Jun 2022 12:38:40"),
        ("EEEE, d MMMM yyyy G", "Tuesday, 7 June 2022 AD 12:38:40"),
        ("hh:mm a", "12:38 PM 12:38:40"),
        ("D F E u k K S SSS", "158 1 Tue 2 12 0 699 699 12:38:40"),
        ("z Z X XX XXX", "UTC +0000 Z Z Z 12:38:40"),
        ("'T'yyyy", "T2022 12:38:40"),
        ("'it''s' yyyy", "it's 2022 12:38:40"),
        ("''", "' 12:38:40"),
        ("年yyyy", "年2022 12:38:40"),
        ("-", "- 12:38:40"),
    ] {
        assert_eq!(dates(&with(&world, pattern).await)[1][1], expected, "{pattern}");
    }
}

#[tokio::test]
async fn an_empty_or_blank_pattern_is_the_default_and_the_first_of_several_counts() {
    let world = world("UTC").await;
    for query in [
        "dateFormat=",
        "dateFormat",
        "dateFormat=%20+",
        "dateFormat=yyyy-MM-dd&dateFormat=T",
        "dateformat=T",
    ] {
        let answer = world.get(&format!("getUsers/g?showExtendedDetails=true&{query}")).await;
        assert_eq!(dates(&answer)[1][1], "2022-06-07 12:38:40", "{query}");
    }
}

#[tokio::test]
async fn a_bad_pattern_is_500_in_javas_words() {
    let world = world("UTC").await;
    for (pattern, message) in [
        ("yyyy-MM-ddTHH:mm", "Illegal pattern character 'T'"),
        ("foo", "Illegal pattern character 'f'"),
        ("YYYY-MM-DD b", "Illegal pattern character 'b'"),
        ("yyyy 'open", "Unterminated quote"),
        ("'", "Unterminated quote"),
        ("XXXX", "invalid ISO 8601 format: length=4"),
    ] {
        assert_error(&with(&world, pattern).await, 500, message);
        let group = format!("getUsers/empty?showExtendedDetails=true&dateFormat={}", encode(pattern));
        assert_error(&world.get(&group).await, 500, message);
    }
}

#[tokio::test]
async fn a_bad_pattern_counts_only_with_extended_details_and_for_a_group_that_exists() {
    let groups = json!([{ "name": "g", "members": ["acc-anna"] }, { "name": "A" }, { "name": "a" }]);
    let world = small(groups.clone(), |settings| settings.extender.missing_group_status = 404).await;
    for query in [
        "",
        "&showBasicDetails=true",
        "&showExtendedDetails=false",
        "&showExtendedDetails=1",
    ] {
        assert_eq!(
            world.get(&format!("getUsers/g?dateFormat=T{query}")).await.status,
            200,
            "{query}"
        );
    }
    assert_eq!(
        world
            .get("getUsers/none?dateFormat=T&showExtendedDetails=true")
            .await
            .status,
        404
    );
    assert_eq!(
        world
            .get("getUsers/g?dateFormat=T&showExtendedDetails=true&startAt=x")
            .await
            .status,
        404
    );
    assert_eq!(
        world
            .get("getUsers/g?dateFormat=T&showExtendedDetails=true&showBasicDetails=true")
            .await
            .status,
        500
    );
    assert_eq!(
        world
            .get("getGroups?dateFormat=T&showExtendedDetails=true")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_pattern_has_at_most_256_characters() {
    let world = world("UTC").await;
    for longest in ["y".repeat(256), "é".repeat(256)] {
        assert_eq!(with(&world, &longest).await.status, 200);
    }
    assert_error(
        &with(&world, &"y".repeat(257)).await,
        500,
        "dateFormat is longer than 256 characters",
    );
    assert_error(
        &with(&world, &"x".repeat(60_000)).await,
        500,
        "dateFormat is longer than 256 characters",
    );
    assert_eq!(
        world
            .get(&format!("getUsers/g?dateFormat={}", "y".repeat(257)))
            .await
            .status,
        200
    );
}
