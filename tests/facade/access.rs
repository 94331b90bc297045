//! What a report says of the access that a group gives, whom it asks for that, and when it had better say nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use extender_facade::settings::Settings;
use reqwest::Method;
use serde_json::{Value, json};

use crate::between::{Between, Exchange};
use crate::cloud::{Reply, send};
use crate::harness::{ADMIN, READER, World, names, options};
use crate::sources::{Keys, unlock};

const SEARCH: &str = "admin_search_groups";
const ROLES: &str = "admin_group_roles";

/// Some groups of five, and the organisation's key.
async fn world(change: impl FnOnce(&mut Settings)) -> World {
    let groups = [("team", 5), ("crew", 5), ("band", 5)];
    let simulated = options(30, &groups);
    World::start(simulated.clone(), |settings| {
        let keys = Keys {
            admin: true,
            ..Keys::default()
        };
        unlock(settings, keys, &simulated);
        change(settings);
    })
    .await
}

/// Between the facade and the Admin API somebody changes the answers.
async fn world_behind(change: impl Fn(&mut Exchange) + Send + Sync + 'static) -> World {
    world(|settings| {
        let (_, address) = Between::start(&settings.cloud.base_url, change);
        settings.cloud.admin.base_url = format!("{address}/admin");
    })
    .await
}

/// The report that an answer names, as `token` sees it.
async fn report_as(world: &World, answer: &Reply, token: &str) -> Reply {
    assert_eq!(answer.status, 200, "{answer:?}");
    let id = answer.header("x-facade-report").unwrap();
    let url = format!("http://{}/facade/v1/reports/{id}", world.facade);
    send(world.client.get(url).bearer_auth(token)).await
}

async fn gives_nobody_access(world: &World, answer: &Reply) -> bool {
    let report = report_as(world, answer, ADMIN).await.json();
    report["no_access_granted"]
        .as_bool()
        .unwrap_or_else(|| panic!("{report}"))
}

/// Requests for the group's directory, and for its roles.
async fn asked(world: &World) -> (u64, u64) {
    let calls = world.calls().await;
    let of = |name| calls.get(name).copied().unwrap_or(0);
    (of(SEARCH), of(ROLES))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_gives_no_access_is_told_when_its_report_is_read_and_costs_the_operation_nothing() {
    let world = world(|_| {}).await;
    world.cloud.switch(json!({ "admin_roles": "none" })).await;
    let answer = world.users("addUsers/team", &names(4, 4)).await;
    assert_eq!(asked(&world).await, (0, 0), "the operation does not ask");
    let first = report_as(&world, &answer, ADMIN).await.json();
    assert_eq!(first["no_access_granted"], true, "{first}");
    assert_eq!(asked(&world).await, (1, 1));
    let again = report_as(&world, &answer, ADMIN).await.json();
    assert_eq!(first, again);
    let page = report_as(&world, &answer, ADMIN);
    assert!(page.await.text().contains("\"no_access_granted\":true"));
    let id = answer.header("x-facade-report").unwrap();
    let page = format!("http://{}/facade/v1/reports/{id}?format=html", world.facade);
    let page = send(world.client.get(page).bearer_auth(ADMIN)).await.text();
    assert!(page.contains("gives nobody access to Confluence"), "{page}");
    // Another operation on the same group, and one that changes nothing.
    let dry = world.users("addUsers/team?dryRun=true", &names(1, 9)).await;
    assert!(gives_nobody_access(&world, &dry).await);
    assert_eq!(asked(&world).await, (1, 1), "an answer is believed for an hour");
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_without_access_and_those_of_other_products_give_none_and_all_others_give_it() {
    let world = world(|_| {}).await;
    world.cloud.switch(json!({ "admin_roles": "powerless" })).await;
    let answer = world.users("addUsers/team", &names(4, 4)).await;
    assert!(gives_nobody_access(&world, &answer).await);
    // The default group gives access whatever the others give.
    let answer = world.users("addUsers/confluence-users", &names(1, 1)).await;
    assert!(!gives_nobody_access(&world, &answer).await);
    world.cloud.switch(json!({ "admin_roles": null })).await;
    let answer = world.users("addUsers/crew", &names(4, 4)).await;
    assert!(!gives_nobody_access(&world, &answer).await);
    assert_eq!(asked(&world).await, (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_that_lie_on_more_than_one_page_are_not_all_known() {
    let world = world(|_| {}).await;
    world.cloud.switch(json!({ "admin_roles": "many" })).await;
    let answer = world.users("addUsers/team", &names(4, 4)).await;
    for _ in 0..2 {
        assert!(!gives_nobody_access(&world, &answer).await);
    }
    assert_eq!(asked(&world).await, (1, 1), "and no more is asked for the time being");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_people_out_and_what_changes_groups_says_nothing_of_access() {
    let world = world(|_| {}).await;
    world.cloud.switch(json!({ "admin_roles": "none" })).await;
    let answers = [
        world.users("removeUsers/team", &names(4, 4)).await,
        world.groups("addGroups", &["new"]).await,
        world.groups("removeGroups", &["new"]).await,
    ];
    world.forget_calls().await;
    for answer in answers {
        assert!(!gives_nobody_access(&world, &answer).await);
    }
    assert_eq!(asked(&world).await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_organisations_key_nothing_is_said_and_nobody_is_asked() {
    let world = World::with(20, &[("team", 5)]).await;
    world.cloud.switch(json!({ "admin_roles": "none" })).await;
    let answer = world.users("addUsers/team", &names(4, 4)).await;
    assert!(!gives_nobody_access(&world, &answer).await);
    assert_eq!(asked(&world).await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_asks_for_a_report_causes_no_call() {
    let world = world(|_| {}).await;
    world.cloud.switch(json!({ "admin_roles": "none" })).await;
    let answer = world.users("addUsers/team", &names(4, 4)).await;
    assert_eq!(report_as(&world, &answer, READER).await.status, 404);
    assert_eq!(asked(&world).await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_read_reports_at_once_share_one_answer() {
    let world = world(|_| {}).await;
    world
        .cloud
        .switch(json!({ "admin_roles": "none", "admin_slow_ms": 150 }))
        .await;
    let one = world.users("addUsers/team", &names(4, 4)).await;
    let other = world.users("addUsers/team", &names(10, 2)).await;
    let reports = (0..20).map(|n| gives_nobody_access(&world, if n % 2 == 0 { &one } else { &other }));
    let told = futures_util::future::join_all(reports).await;
    assert!(told.iter().all(|told| *told), "{told:?}");
    assert_eq!(asked(&world).await, (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_hangs_up_leaves_the_answer_to_the_others() {
    let world = world(|_| {}).await;
    world
        .cloud
        .switch(json!({ "admin_roles": "none", "admin_slow_ms": 300 }))
        .await;
    let answer = world.users("addUsers/team", &names(4, 4)).await;
    let id = answer.header("x-facade-report").unwrap();
    let url = format!("http://{}/facade/v1/reports/{id}", world.facade);
    let impatient = world.client.get(url).bearer_auth(ADMIN);
    let impatient = impatient.timeout(std::time::Duration::from_millis(100)).send();
    let (gone, told) = tokio::join!(impatient, gives_nobody_access(&world, &answer));
    assert!(gone.is_err_and(|error| error.is_timeout()));
    assert!(told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_told_without_it_where_the_organisation_fails_in_whatever_way() {
    for fault in [
        json!({ "admin_down": true }),
        json!({ "admin_refused": 401 }),
        json!({ "admin_refused": 403 }),
        json!({ "admin_garbage": "empty" }),
        json!({ "admin_garbage": "truncated" }),
        json!({ "admin_garbage": "foreign" }),
        json!({ "admin_slow_ms": 60_000 }),
        json!({ "admin_429": 1_000_000, "retry_after": "absurd" }),
    ] {
        let world = world(|_| {}).await;
        let answer = world.users("addUsers/team", &names(4, 4)).await;
        world.cloud.switch(json!({ "admin_roles": "none" })).await;
        world.cloud.switch(fault.clone()).await;
        let report = report_as(&world, &answer, ADMIN).await;
        assert_eq!(report.status, 200, "{fault}");
        let report = report.json();
        assert_eq!(report["no_access_granted"], false, "{fault}");
        assert_eq!(report["names"].as_array().unwrap().len(), 4, "{fault}");
        // Whoever looks again at once waits for nothing.
        world.forget_calls().await;
        assert!(!gives_nobody_access(&world, &answer).await, "{fault}");
        assert_eq!(asked(&world).await, (0, 0), "{fault}");
    }
}

/// Changes the JSON of the answers whose path ends so.
fn rewriting(ending: &'static str, change: impl Fn(&mut Value) + Send + Sync) -> impl Fn(&mut Exchange) + Send + Sync {
    move |exchange| {
        let path = exchange.path_and_query.split('?').next().unwrap();
        if path.ends_with(ending) {
            let mut body: Value = serde_json::from_slice(&exchange.answer).unwrap();
            change(&mut body);
            exchange.answer = body.to_string().into();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_not_certainly_this_one_says_nothing() {
    type Spoil = fn(&mut Value);
    let spoils: [Spoil; 6] = [
        |body| body["data"] = json!([]),
        // The same name in another directory, and its own row is missing.
        |body| body["data"][0]["id"] = json!("another"),
        |body| {
            let mut twin = body["data"][0].clone();
            twin["directoryId"] = json!("another");
            body["data"].as_array_mut().unwrap().push(twin);
        },
        |body| body["data"][0]["directoryId"] = json!("-"),
        |body| body["data"][0]["directoryId"] = json!(null),
        |body| body["links"]["next"] = json!("more"),
    ];
    for (number, spoil) in spoils.into_iter().enumerate() {
        let world = world_behind(rewriting("/groups/search", spoil)).await;
        world.cloud.switch(json!({ "admin_roles": "none" })).await;
        let answer = world.users("addUsers/team", &names(4, 4)).await;
        assert!(!gives_nobody_access(&world, &answer).await, "{number}");
        assert_eq!(asked(&world).await, (1, 0), "{number}");
    }
    // Besides others of the same name it is told by its id.
    let world = world_behind(rewriting("/groups/search", |body| {
        let rows = body["data"].as_array_mut().unwrap();
        let mut namesake = rows[0].clone();
        (namesake["id"], namesake["directoryId"]) = (json!("another"), json!("elsewhere"));
        rows.insert(0, namesake);
    }))
    .await;
    world.cloud.switch(json!({ "admin_roles": "none" })).await;
    let answer = world.users("addUsers/team", &names(4, 4)).await;
    assert!(gives_nobody_access(&world, &answer).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_be_access_counts_as_access() {
    let confluence = |roles: Value| json!({"resourceId": "ari:cloud:confluence::site/1", "resourceOwner": "confluence", "roles": roles});
    for row in [
        confluence(json!(["atlassian/guest"])),
        confluence(json!(["atlassian/a-role-of-tomorrow"])),
        confluence(json!([])),
        json!({"resourceId": "ari:cloud:platform::org/1", "resourceOwner": "platform", "roles": ["atlassian/org-admin"]}),
        json!({"roles": ["atlassian/user"]}),
    ] {
        let told = row.clone();
        let world = world_behind(rewriting("/role-assignments", move |body| body["data"] = json!([told]))).await;
        world.cloud.switch(json!({ "admin_roles": "none" })).await;
        let answer = world.users("addUsers/team", &names(4, 4)).await;
        assert!(!gives_nobody_access(&world, &answer).await, "{row}");
        assert_eq!(asked(&world).await, (1, 1), "{row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_a_caller_with_a_credential_of_their_own_does_not_use_the_facades_key() {
    let world = world(|settings| settings.inbound.mode = extender_facade::settings::Mode::Passthrough).await;
    world.cloud.switch(json!({ "admin_roles": "none" })).await;
    let visitor = |method, url: String| {
        let request = world.client.request(method, url);
        request.basic_auth("user000001@example.com", Some("own-token"))
    };
    let body = json!({ "users": names(4, 4) }).to_string();
    let add = format!("http://{}/rest/extender/1.0/group/addUsers/team", world.facade);
    let answer = send(visitor(Method::POST, add).body(body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let id = answer.header("x-facade-report").unwrap();
    let report = format!("http://{}/facade/v1/reports/{id}", world.facade);
    let report = send(visitor(Method::GET, report)).await;
    assert_eq!(report.json()["no_access_granted"], false, "{report:?}");
    assert_eq!(asked(&world).await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_organisation_is_asked_again_for_another_group() {
    let withheld = Arc::new(AtomicBool::new(true));
    let seen = Arc::clone(&withheld);
    let world = world_behind(rewriting("/role-assignments", move |body| {
        if !seen.load(Ordering::Relaxed) {
            body["data"] = json!([]);
        }
    }))
    .await;
    let answer = world.users("addUsers/crew", &names(4, 4)).await;
    assert!(!gives_nobody_access(&world, &answer).await);
    withheld.store(false, Ordering::Relaxed);
    assert!(!gives_nobody_access(&world, &answer).await, "within the hour");
    let answer = world.users("addUsers/band", &names(4, 4)).await;
    assert!(gives_nobody_access(&world, &answer).await);
    assert_eq!(asked(&world).await, (2, 2));
}
