//! Pages of members, and how they can be wrong.
use extender_facade::simulator::Options;
use serde_json::{Value, json};

use crate::cloud::{Cloud, faults};
use crate::reads::{accounts, names};

async fn members(cloud: &Cloud, group: &str, query: &str) -> Value {
    let id = cloud.group_id(group).await;
    let reply = cloud.get(&format!("/group/{id}/membersByGroupId?{query}")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

#[tokio::test]
async fn members_are_paged_in_order_to_the_last_and_counted_when_asked() {
    let cloud = Cloud::start(Options {
        users: 450,
        ..Options::default()
    })
    .await;
    let mut walked = Vec::new();
    for (start, size, more) in [(0, 200, true), (200, 200, true), (400, 50, false)] {
        let page = members(
            &cloud,
            "confluence-users",
            &format!("start={start}&limit=200&shouldReturnTotalSize=true"),
        )
        .await;
        assert_eq!(
            (&page["size"], &page["start"], &page["totalSize"]),
            (&json!(size), &json!(start), &json!(450))
        );
        assert_eq!(page["_links"].get("next").is_some(), more);
        walked.extend(accounts(&page).into_iter().map(str::to_owned));
    }
    assert_eq!(walked, cloud.truth("confluence-users").await);
    let exact = members(&cloud, "confluence-users", "start=250&limit=200").await;
    assert!(exact["_links"].get("next").is_none() && exact.get("totalSize").is_none());
    assert_eq!(members(&cloud, "confluence-users", "start=450").await["size"], 0);
    assert_eq!(cloud.get("/group/none/membersByGroupId").await.status, 404);
}

#[tokio::test]
async fn a_page_of_more_than_200_members_is_refused_or_capped() {
    let cloud = Cloud::start(Options {
        users: 300,
        ..Options::default()
    })
    .await;
    let id = cloud.group_id("confluence-users").await;
    assert_eq!(
        cloud
            .get(&format!("/group/{id}/membersByGroupId?limit=201"))
            .await
            .status,
        400
    );
    cloud.switch(json!({ "over_limit": "cap" })).await;
    let page = cloud
        .get(&format!("/group/{id}/membersByGroupId?limit=1000"))
        .await
        .json();
    assert_eq!((&page["limit"], &page["size"]), (&json!(200), &json!(200)));
    let next = page["_links"]["next"].as_str().unwrap();
    assert!(next.ends_with("start=200&limit=200"), "{next}");
}

#[tokio::test]
async fn a_wrong_next_skips_rows_and_follows_a_full_last_page() {
    let options = Options {
        users: 400,
        ..faults(&["over_limit=cap", "wrong_next", "no_total"])
    };
    let cloud = Cloud::start(options).await;
    let page = members(&cloud, "confluence-users", "limit=300&shouldReturnTotalSize=true").await;
    assert!(page.get("totalSize").is_none());
    let next = page["_links"]["next"].as_str().unwrap();
    assert!(next.ends_with("start=300&limit=300"), "{next}");
    let last = members(&cloud, "confluence-users", "start=200&limit=200").await;
    assert!(
        last["_links"]["next"]
            .as_str()
            .unwrap()
            .ends_with("start=400&limit=200")
    );
    assert_eq!(
        members(&cloud, "confluence-users", "start=400&limit=200").await["size"],
        0
    );
}

#[tokio::test]
async fn a_repeated_page_is_the_first_one_however_far_it_is() {
    let cloud = Cloud::start(Options {
        users: 30,
        ..faults(&["repeat_page"])
    })
    .await;
    let first = members(&cloud, "confluence-users", "limit=10").await;
    let far = members(&cloud, "confluence-users", "start=500&limit=10").await;
    assert_eq!(accounts(&first), accounts(&far));
    assert_eq!(far["start"], 500);
}

#[tokio::test]
async fn suspended_users_are_absent_and_counted_only_if_told_so() {
    let cloud = Cloud::start(Options {
        users: 40,
        ..faults(&["suspended"])
    })
    .await;
    let page = members(&cloud, "confluence-users", "limit=20&shouldReturnTotalSize=true").await;
    assert_eq!((&page["size"], &page["totalSize"]), (&json!(20), &json!(36)));
    assert!(!accounts(&page).contains(&cloud.account(9)) && accounts(&page).contains(&cloud.account(20)));
    assert_eq!(
        members(&cloud, "confluence-users", "start=20&limit=20").await["size"],
        16
    );
    cloud.switch(json!({ "suspended": "counted" })).await;
    let page = members(&cloud, "confluence-users", "limit=20&shouldReturnTotalSize=true").await;
    assert_eq!((&page["size"], &page["totalSize"]), (&json!(18), &json!(40)));
    assert!(page["_links"].get("next").is_some());
    let groups = cloud
        .get(&format!("/user/memberof?accountId={}", cloud.account(9)))
        .await
        .json();
    assert_eq!(names(&groups), ["confluence-users"]);
    assert_eq!(
        cloud.get(&format!("/user?accountId={}", cloud.account(9))).await.status,
        200
    );
}

#[tokio::test]
async fn numbers_without_sense_are_refused() {
    let cloud = Cloud::start(Options::default()).await;
    for query in [
        "start=-1",
        "limit=-1",
        "start=x",
        "limit=1.5",
        "start=99999999999",
        "limit=",
    ] {
        assert_eq!(cloud.get(&format!("/group?{query}")).await.status, 400, "{query}");
        assert_eq!(
            cloud.get(&format!("/group/picker?query=&{query}")).await.status,
            400,
            "{query}"
        );
    }
    let none = cloud.get("/group?limit=0").await.json();
    assert_eq!(none["size"], 0);
    assert!(none["_links"].get("next").is_none());
    assert_eq!(
        cloud.get("/group?start=2147483647&limit=2147483647").await.json()["size"],
        0
    );
}
