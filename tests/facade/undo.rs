//! Taking operations back: at the operator's listener, by plan and by order.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use extender_facade::settings::Mode;
use reqwest::Method;
use serde_json::{Value, json};

use crate::between::Between;
use crate::cloud::{Cloud, Reply, send};
use crate::guards::{add_keeper, as_keeper};
use crate::harness::{ADMIN, World, names, options, texts};
use crate::program::Program;
use crate::raw::exchange;

/// The id of a call's operation.
fn id(answer: &Reply) -> String {
    answer.header("x-facade-report").unwrap().to_owned()
}

/// What opens the operations: who may read the state directory may ask for them.
fn token(state: &Path) -> String {
    std::fs::read_to_string(state.join("operator.token")).unwrap()
}

/// A request of the operator's.
fn ask(world: &World, method: Method, path: &str) -> reqwest::RequestBuilder {
    let request = world.client.request(method, format!("http://{}{path}", world.admin));
    request.bearer_auth(token(&world.settings.state_dir))
}

async fn order(world: &World, id: &str, body: Value) -> Reply {
    let path = format!("/operations/{id}/undo");
    send(ask(world, Method::POST, &path).body(body.to_string())).await
}

async fn plan(world: &World, id: &str) -> Value {
    let answer = order(world, id, json!({ "apply": false })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Has the plan carried out; the operations that were begun.
async fn apply(world: &World, id: &str, plan: &Value) -> Vec<String> {
    let answer = order(world, id, json!({ "apply": true, "plan": plan["plan"] })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["failure"], Value::Null);
    texts(&answer.json()["operations"], None)
}

async fn undo(world: &World, id: &str) -> Vec<String> {
    let plan = plan(world, id).await;
    apply(world, id, &plan).await
}

async fn report(world: &World, id: &str) -> Value {
    let answer = send(ask(world, Method::GET, &format!("/operations/{id}"))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn left(plan: &Value) -> Vec<(String, String)> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let rows = plan["left"].as_array().unwrap().iter();
    rows.map(|row| (text(row, "name"), text(row, "reason"))).collect()
}

/// The names of the only step.
fn step(plan: &Value) -> Vec<String> {
    assert_eq!(plan["steps"].as_array().unwrap().len(), 1, "{plan}");
    texts(&plan["steps"][0]["names"], Some("name"))
}

/// Every group's members by its name; ids of groups that are made anew are new.
fn by_name(state: &Value) -> BTreeMap<String, Value> {
    let groups = state.as_object().unwrap().values();
    groups
        .map(|group| (group["name"].as_str().unwrap().to_owned(), group["members"].clone()))
        .collect()
}

fn error(answer: &Reply) -> String {
    answer.json()["error"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn memberships_go_there_and_back() {
    let world = World::with(60, &[("g", 10)]).await;
    for (call, reverse, done) in [
        ("addUsers/g", "remove_members", names(11, 5)),
        ("removeUsers/g", "add_members", names(8, 3)),
    ] {
        let before = world.cloud.state().await;
        let mut asked = names(8, 8);
        asked.extend(["nobody".to_owned(), "USER000009".to_owned()]);
        let answer = world.users(call, &asked).await;
        let changed = world.cloud.state().await;
        assert_ne!(changed, before, "{answer:?}");
        let plan = plan(&world, &id(&answer)).await;
        assert_eq!(world.cloud.state().await, changed, "a plan changes nothing");
        assert_eq!((step(&plan), left(&plan)), (done.clone(), Vec::new()), "{plan}");
        assert_eq!(plan["steps"][0]["operation"], reverse);
        assert_eq!(plan["note"], Value::Null);
        let operations = apply(&world, &id(&answer), &plan).await;
        assert_eq!(world.cloud.state().await, before);

        assert_eq!(operations.len(), 1);
        let report = report(&world, &operations[0]).await;
        assert_eq!(
            (
                &report["undo_of"],
                &report["caller"],
                &report["operation"],
                &report["state"]
            ),
            (
                &json!(id(&answer)),
                &json!("operator"),
                &json!(reverse),
                &json!("finished")
            )
        );
        assert_eq!(report["progress"]["done"], done.len());
        let audit = world.audit();
        let lines: Vec<&Value> = audit
            .iter()
            .filter(|line| line["operation_id"] == operations[0])
            .collect();
        assert_eq!(lines.len(), done.len());
        assert!(
            lines
                .iter()
                .all(|line| line["caller"] == "operator" && line["result"] == "done")
        );

        let again = order(&world, &id(&answer), json!({ "apply": false })).await;
        assert_eq!(again.status, 409);
        assert!(
            error(&again).contains(&format!("already, by operation {}", operations[0])),
            "{again:?}"
        );
        // What takes back can be taken back.
        undo(&world, &operations[0]).await;
        assert_eq!(world.cloud.state().await, changed);
        restore(&world, "g", &before).await;
    }
}

/// Brings a group back to what it was.
async fn restore(world: &World, group: &str, state: &Value) {
    let wanted = by_name(state)[group].clone();
    let there: Vec<String> = world.cloud.truth(group).await;
    let username = |account: &str| {
        let person = world.cloud.people.iter().find(|person| person.account_id == account);
        person.unwrap().username.clone()
    };
    let wanted: Vec<String> = texts(&wanted, None);
    let add: Vec<String> = wanted
        .iter()
        .filter(|id| !there.contains(id))
        .map(|id| username(id))
        .collect();
    let remove: Vec<String> = there
        .iter()
        .filter(|id| !wanted.contains(id))
        .map(|id| username(id))
        .collect();
    assert_eq!(world.users(&format!("addUsers/{group}"), &add).await.status, 200);
    assert_eq!(world.users(&format!("removeUsers/{group}"), &remove).await.status, 200);
    assert_eq!(world.cloud.state().await, *state);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_go_there_and_back() {
    let world = World::with(500, &[("g", 10), ("h", 250), ("empty", 0)]).await;
    let before = world.cloud.state().await;
    let answer = world.groups("addGroups", &["one", "g", "Two", "two", " "]).await;
    let plan_ = plan(&world, &id(&answer)).await;
    assert_eq!(
        (step(&plan_), left(&plan_)),
        (vec!["one".to_owned(), "Two".to_owned()], Vec::new())
    );
    let operations = apply(&world, &id(&answer), &plan_).await;
    assert_eq!(world.cloud.state().await, before);
    assert_eq!(report(&world, &operations[0]).await["operation"], "delete_groups");

    let answer = world.groups("removeGroups", &["H", "empty", "gone"]).await;
    let plan_ = plan(&world, &id(&answer)).await;
    let steps: Vec<(&str, usize)> = plan_["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| {
            (
                step["operation"].as_str().unwrap(),
                step["names"].as_array().unwrap().len(),
            )
        })
        .collect();
    assert_eq!(steps, [("create_groups", 2), ("add_members", 250)]);
    assert!(plan_["note"].as_str().unwrap().contains("permissions"), "{plan_}");
    let operations = apply(&world, &id(&answer), &plan_).await;
    assert_eq!(operations.len(), 2);
    let after = world.cloud.state().await;
    assert_eq!(by_name(&after), by_name(&before));
    assert_ne!(after, before, "the ids are new");
    let made = report(&world, &operations[0]).await;
    for row in made["names"].as_array().unwrap() {
        assert!(after.get(row["group_id"].as_str().unwrap()).is_some(), "{row}");
    }
    let again = order(&world, &id(&answer), json!({ "apply": false })).await;
    assert_eq!(again.status, 409, "{again:?}");
    assert!(error(&again).contains("already"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_later_operation_changed_is_left_and_listed() {
    let world = World::start(options(60, &[("g", 10), ("other", 0)]), |settings| {
        settings.cache.members_write_ttl_s = 0;
        settings.cache.read_lag_s = 0;
    })
    .await;
    let added = world.users("addUsers/g", &names(11, 6)).await;
    // Gone and there again: the later word counts, though the group looks as after the first.
    assert_eq!(world.users("removeUsers/g", &names(11, 2)).await.status, 200);
    assert_eq!(world.users("addUsers/g", &names(11, 1)).await.status, 200);
    assert_eq!(world.users("addUsers/other", &names(13, 1)).await.status, 200);
    // Somebody else takes one out, which the facade knows nothing of.
    let group = world.cloud.group_id("g").await;
    let account = world
        .cloud
        .people
        .iter()
        .find(|person| person.username == "user000016")
        .unwrap();
    assert!(world.cloud.remove(&group, &account.account_id).await.status < 300);
    let planned = plan(&world, &id(&added)).await;
    let later = |name: &str| (name.to_owned(), "changed_later".to_owned());
    let mut expected = vec![later("user000011"), later("user000012")];
    expected.push(("user000016".to_owned(), "not_member".to_owned()));
    assert_eq!((step(&planned), left(&planned)), (names(13, 3), expected), "{planned}");
    assert_eq!(planned["left_because"], json!({ "changed_later": 2, "not_member": 1 }));
    apply(&world, &id(&added), &planned).await;
    assert_eq!(world.truth("g").await, names(1, 11));

    let made = world.groups("addGroups", &["a", "b", "c"]).await;
    assert_eq!(world.users("addUsers/a", &names(1, 1)).await.status, 200);
    assert_eq!(world.users("removeUsers/a", &names(1, 1)).await.status, 200);
    let planned = plan(&world, &id(&made)).await;
    assert_eq!(
        (step(&planned), left(&planned)),
        (vec!["b".to_owned(), "c".to_owned()], vec![later("a")])
    );

    let gone = world.groups("removeGroups", &["b", "g"]).await;
    assert_eq!(world.groups("addGroups", &["G"]).await.status, 200);
    let planned = plan(&world, &id(&gone)).await;
    assert_eq!(
        (step(&planned), left(&planned)),
        (vec!["b".to_owned()], vec![later("g")])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_not_empty_any_more_is_left() {
    let world = World::with(20, &[]).await;
    let made = world.groups("addGroups", &["a", "b"]).await;
    let first = plan(&world, &id(&made)).await;
    let b = world.cloud.group_id("b").await;
    assert!(world.cloud.add(&b, world.cloud.account(0)).await.status < 300);
    // What was shown is not so any more: nothing is done, and it is shown anew.
    let refused = order(&world, &id(&made), json!({ "apply": true, "plan": first["plan"] })).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(error(&refused).contains("another"), "{refused:?}");
    assert!(by_name(&world.cloud.state().await).contains_key("a"));
    let now = refused.json()["now"].clone();
    assert_eq!(left(&now), [("b".to_owned(), "has_members".to_owned())]);
    apply(&world, &id(&made), &now).await;
    let state = by_name(&world.cloud.state().await);
    assert!(!state.contains_key("a") && state.contains_key("b"), "{state:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_looked_at_once_more_directly_before_it_is_deleted() {
    let readings = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&readings);
    let world = World::start(options(20, &[]), |settings| {
        let (_, address) = Between::start(&settings.cloud.base_url, move |exchange| {
            // The plan that is shown, the plan that is carried out; then somebody comes.
            if exchange.path_and_query.contains("membersByGroupId") && seen.fetch_add(1, Ordering::Relaxed) == 2 {
                let page = json!({ "results": [{ "accountId": "acc-late", "type": "known" }], "start": 0, "limit": 200, "size": 1 });
                exchange.answer = page.to_string().into();
            }
        });
        settings.cloud.base_url = address;
    })
    .await;
    let made = world.groups("addGroups", &["a"]).await;
    let operations = undo(&world, &id(&made)).await;
    assert_eq!(readings.load(Ordering::Relaxed), 3);
    assert_eq!(report(&world, &operations[0]).await["names"][0]["reason"], "refused");
    assert!(by_name(&world.cloud.state().await).contains_key("a"));
    // Nothing was taken back, so it still can be.
    undo(&world, &id(&made)).await;
    assert!(!by_name(&world.cloud.state().await).contains_key("a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn guards_hold_for_the_operator_too() {
    let world = World::start(options(60, &[("g", 10)]), |settings| {
        add_keeper(settings);
        settings.extender.max_removed = 3;
    })
    .await;
    let before = world.cloud.state().await;
    let added = as_keeper(&world, "addUsers/site-admins", &names(30, 2)).await;
    let changed = world.cloud.state().await;
    assert_ne!(changed, before);
    let planned = plan(&world, &id(&added)).await;
    assert_eq!(planned["steps"], json!([]));
    let protected = |name: &String| (name.clone(), "protected".to_owned());
    assert_eq!(left(&planned), names(30, 2).iter().map(protected).collect::<Vec<_>>());
    assert_eq!(apply(&world, &id(&added), &planned).await, Vec::<String>::new());
    assert_eq!(world.cloud.state().await, changed);
    let audit = world.audit();
    let line = audit.last().unwrap();
    assert_eq!(
        (&line["caller"], &line["reason"]),
        (&json!("operator"), &json!("protected")),
        "{line}"
    );

    let added = world.users("addUsers/g", &names(30, 4)).await;
    let refused = order(&world, &id(&added), json!({ "apply": false })).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(error(&refused).contains("extender.max_removed"), "{refused:?}");
    assert_eq!(world.truth("g").await, [names(1, 10), names(30, 4)].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_back_is_refused_and_says_why() {
    let world = World::with(60, &[("g", 10)]).await;
    let refusal = async |id: &str| {
        let answer = order(&world, id, json!({ "apply": false })).await;
        let applied = order(&world, id, json!({ "apply": true, "plan": "0" })).await;
        assert_eq!((answer.status, &answer.body), (applied.status, &applied.body));
        (answer.status, error(&answer))
    };
    for unknown in ["0123456789abcdef0123456789abcdef", "x", "%2e%2e%2f", "%00"] {
        let (status, why) = refusal(unknown).await;
        assert_eq!(status, 404, "{unknown} {why}");
    }
    let dry = world
        .post("addUsers/g?dryRun=true", &json!({ "users": names(20, 2) }))
        .await;
    assert_eq!(
        refusal(&id(&dry)).await,
        (409, "it was a dry run, which changed nothing".to_owned())
    );
    let nothing = world.users("addUsers/g", &names(1, 2)).await;
    assert_eq!(refusal(&id(&nothing)).await, (409, "it changed nothing".to_owned()));
    let gone = world.users("addUsers/g", &names(20, 2)).await;
    world.groups("removeGroups", &["g"]).await;
    let planned = plan(&world, &id(&gone)).await;
    let why = |name: &String| (name.clone(), "group_gone".to_owned());
    assert_eq!(
        (&planned["steps"], left(&planned)),
        (&json!([]), names(20, 2).iter().map(why).collect())
    );

    // While it runs.
    let made = world.groups("addGroups", &["slow"]).await;
    assert_eq!(made.status, 200);
    world.cloud.switch(json!({ "latency_ms": 300 })).await;
    let request = world
        .request(Method::POST, "addUsers/slow")
        .bearer_auth(ADMIN)
        .body(json!({ "users": names(1, 20) }).to_string());
    let running = tokio::spawn(send(request));
    let begun = loop {
        let list = send(ask(&world, Method::GET, "/operations?most=1")).await.json();
        let newest = list["operations"][0].clone();
        if newest["state"] == "running" {
            break newest["id"].as_str().unwrap().to_owned();
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(refusal(&begun).await, (409, "it has not ended yet".to_owned()));
    world.cloud.switch(json!({ "latency_ms": null })).await;
    assert_eq!(running.await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_visitor_did_and_what_was_done_elsewhere_is_not_taken_back() {
    let world = World::start(options(20, &[("g", 5)]), |settings| {
        settings.inbound.mode = Mode::Passthrough;
        settings.inbound.accounts_file = None;
    })
    .await;
    let request = world
        .request(Method::POST, "addUsers/g")
        .basic_auth("ann@example.com", Some("t-ann"))
        .body(json!({ "users": names(9, 1) }).to_string());
    let visited = send(request).await;
    assert_eq!(visited.status, 200, "{visited:?}");
    let refused = order(&world, &id(&visited), json!({ "apply": false })).await;
    assert_eq!(refused.status, 409);
    assert!(error(&refused).contains("credential of their own"), "{refused:?}");

    let first = World::with(20, &[("g", 5)]).await;
    let added = first.users("addUsers/g", &names(9, 1)).await;
    first.stop.say();
    first.task.await.unwrap();
    let state = first.directory.path().join("state");
    let second = World::start(options(20, &[("g", 5)]), |settings| settings.state_dir = state).await;
    let refused = order(&second, &id(&added), json!({ "apply": false })).await;
    assert_eq!(refused.status, 409);
    assert!(error(&refused).contains("another site"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_orders_at_once_are_one_undo() {
    let world = World::with(60, &[("g", 10)]).await;
    let added = world.users("addUsers/g", &names(11, 30)).await;
    let planned = plan(&world, &id(&added)).await;
    world.cloud.switch(json!({ "latency_ms": 20 })).await;
    world.forget_calls().await;
    let body = json!({ "apply": true, "plan": planned["plan"] });
    let id = id(&added);
    let orders = (0..4).map(|_| order(&world, &id, body.clone()));
    let answers = futures_util::future::join_all(orders).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409], "{answers:?}");
    assert_eq!(world.calls().await["remove_member"], 30);
    assert_eq!(world.truth("g").await, names(1, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_operators_program_gives_orders() {
    let world = World::with(20, &[("g", 5)]).await;
    let added = world.users("addUsers/g", &names(9, 1)).await;
    let path = format!("/operations/{}/undo", id(&added));
    let planned = plan(&world, &id(&added)).await;
    let before = world.cloud.state().await;
    let order = json!({ "apply": true, "plan": planned["plan"] }).to_string();
    let bearer = format!("authorization: Bearer {}\r\n", token(&world.settings.state_dir));
    let host = format!("host: {}\r\n{bearer}", world.admin);
    for (headers, status) in [
        (format!("{host}origin: http://{}\r\n", world.admin), 403),
        (format!("{host}origin: null\r\n"), 401),
        (format!("{host}sec-fetch-site: cross-site\r\n"), 401),
        (format!("host: evil.example\r\n{bearer}"), 401),
        (format!("host: {}\r\n", world.admin), 401),
        (
            format!("host: {}\r\nauthorization: Bearer nobody\r\n", world.admin),
            401,
        ),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\n{headers}content-length: {}\r\n\r\n",
            order.len()
        );
        let answer = exchange(world.admin, format!("{head}{order}")).await;
        assert_eq!(answer.status, status, "{headers} {answer:?}");
    }
    for body in [
        "",
        "{}",
        "[]",
        "{\"apply\":1}",
        "{\"apply\":true}",
        "{\"apply\":false,\"x\":1}",
        "nonsense",
    ] {
        let answer = send(ask(&world, Method::POST, &path).body(body)).await;
        assert_eq!(answer.status, 400, "{body} {answer:?}");
    }
    let long = json!({ "apply": false, "plan": "x".repeat(5000) });
    assert_eq!(
        send(ask(&world, Method::POST, &path).body(long.to_string()))
            .await
            .status,
        413
    );
    for (method, path, allow) in [
        (Method::GET, path.as_str(), "POST"),
        (Method::DELETE, path.as_str(), "POST"),
        (Method::POST, "/operations", "GET, HEAD"),
        (Method::DELETE, &path[..path.len() - 5], "GET, HEAD"),
    ] {
        let answer = send(ask(&world, method, path)).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{path}");
    }
    assert_eq!(world.cloud.state().await, before);

    let closed = World::start(options(5, &[("g", 2)]), |settings| {
        settings.admin.token = "the-operators-token".into()
    })
    .await;
    let added = closed.users("addUsers/g", &names(4, 1)).await;
    let url = format!("http://{}/operations/{}/undo", closed.admin, id(&added));
    for (token, status) in [("the-operators-toke", 401), ("the-operators-token", 200)] {
        let request = closed.client.post(&url).bearer_auth(token).body("{\"apply\":false}");
        assert_eq!(send(request).await.status, status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_shows_the_newest_first() {
    let world = World::with(20, &[("g", 5)]).await;
    let list = async |query: &str| {
        let answer = send(ask(&world, Method::GET, &format!("/operations{query}"))).await;
        (answer.status, answer)
    };
    assert_eq!(list("").await.1.json(), json!({ "operations": [] }));
    let first = world.users("addUsers/g", &names(5, 3)).await;
    let second = world.groups("addGroups", &["new"]).await;
    let all = list("").await.1.json();
    assert_eq!(texts(&all["operations"], Some("id")), [id(&second), id(&first)]);
    let row = &all["operations"][1];
    assert_eq!(
        (
            &row["operation"],
            &row["group"],
            &row["done"],
            &row["skipped"],
            &row["state"]
        ),
        (
            &json!("add_members"),
            &json!("g"),
            &json!(2),
            &json!(1),
            &json!("finished")
        )
    );
    assert_eq!(
        texts(&list("?most=1").await.1.json()["operations"], Some("id")),
        [id(&second)]
    );
    for query in [
        "?most=0",
        "?most=x",
        "?most=",
        "?most=1&most=2",
        "?other=1",
        "?most=99999999999999999999",
    ] {
        assert_eq!(list(query).await.0, 400, "{query}");
    }
    // What a caller is shown and what the operator is shown is one report.
    let theirs = send(
        world
            .client
            .get(format!("http://{}/facade/v1/reports/{}", world.facade, id(&first)))
            .bearer_auth(ADMIN),
    )
    .await;
    assert_eq!(theirs.json(), report(&world, &id(&first)).await);
    let nobodys = send(ask(&world, Method::GET, "/operations/0/")).await;
    assert_eq!(nobodys.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_that_fails_half_way_says_so_and_goes_on_when_it_is_asked_for_again() {
    let refuses = Arc::new(AtomicU64::new(0));
    let switch = Arc::clone(&refuses);
    let world = World::start(options(60, &[("g", 12), ("h", 20)]), |settings| {
        let (_, address) = Between::start(&settings.cloud.base_url, move |exchange| {
            let adds = exchange.method == "POST" && exchange.path_and_query.contains("userByGroupId");
            if adds && switch.load(Ordering::Relaxed) == 1 {
                (exchange.status, exchange.answer) = (401, "{}".into());
            }
        });
        settings.cloud.base_url = address;
    })
    .await;
    let before = by_name(&world.cloud.state().await);
    let removed = world.groups("removeGroups", &["g", "h"]).await;
    let planned = plan(&world, &id(&removed)).await;
    refuses.store(1, Ordering::Relaxed);
    let body = json!({ "apply": true, "plan": planned["plan"] });
    let failed = order(&world, &id(&removed), body.clone()).await;
    assert_eq!(failed.status, 503, "{failed:?}");
    let told = failed.json();
    assert!(told["failure"].as_str().unwrap().contains("cloud.api_token"), "{told}");
    let begun = texts(&told["operations"], None);
    assert_eq!(begun.len(), 2);
    assert_eq!(report(&world, &begun[1]).await["state"], "interrupted");
    refuses.store(0, Ordering::Relaxed);
    let stale = order(&world, &id(&removed), body).await;
    assert_eq!(stale.status, 409, "{stale:?}");
    undo(&world, &id(&removed)).await;
    assert_eq!(by_name(&world.cloud.state().await), before);
}

/// A program before a simulated Cloud; it can be killed.
struct Killable {
    cloud: Cloud,
    directory: tempfile::TempDir,
    program: Program,
    client: reqwest::Client,
    facade: String,
    admin: String,
}

impl Killable {
    async fn start(users: u32, groups: &[(&str, u32)]) -> Self {
        let cloud = Cloud::start(options(users, groups)).await;
        let directory = tempfile::tempdir().unwrap();
        let mut map = String::from("username,account_id\n");
        for person in &cloud.people {
            map.push_str(&format!("{},{}\n", person.username, person.account_id));
        }
        std::fs::write(directory.path().join("map.csv"), map).unwrap();
        let (program, facade, admin) = Self::serve(directory.path(), &cloud);
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .build()
            .unwrap();
        Self {
            cloud,
            directory,
            program,
            client,
            facade,
            admin,
        }
    }

    fn serve(directory: &Path, cloud: &Cloud) -> (Program, String, String) {
        let map = directory.join("map.csv");
        let more = [
            ("FACADE__IDENTITY__MAP_FILE", map.to_str().unwrap()),
            ("FACADE__CACHE__READ_LAG_S", "1"),
            ("FACADE__CLOUD__MAX_IN_FLIGHT", "2"),
        ];
        let program = Program::start(&directory.join("state"), &cloud.url(""), &more);
        let (facade, admin) = program.serves();
        (program, facade, admin)
    }

    async fn call(&self, call: &str, key: &str, list: &[impl serde::Serialize]) -> Reply {
        let url = format!("http://{}/rest/extender/1.0/group/{call}", self.facade);
        let answer = send(self.client.post(url).body(json!({ key: list }).to_string())).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    }

    fn order(&self, id: &str, body: &Value) -> reqwest::RequestBuilder {
        let url = format!("http://{}/operations/{id}/undo", self.admin);
        let request = self
            .client
            .post(url)
            .bearer_auth(token(&self.directory.path().join("state")));
        request.body(body.to_string())
    }

    /// Orders the undo, kills the program once Cloud has answered so many calls of one kind, and starts it again.
    async fn kill_after(&mut self, id: &str, operation: &str, calls: u64) {
        let plan = send(self.order(id, &json!({ "apply": false }))).await.json();
        self.cloud.switch(json!({ "latency_ms": 20 })).await;
        self.cloud.reset().await;
        let order = self.order(id, &json!({ "apply": true, "plan": plan["plan"] }));
        let ordered = tokio::spawn(order.send());
        while self.cloud.stats().await["by_operation"][operation]
            .as_u64()
            .unwrap_or(0)
            < calls
        {
            tokio::task::yield_now().await;
        }
        self.program.kill();
        assert!(ordered.await.unwrap().is_err());
        self.cloud.switch(json!({ "latency_ms": null })).await;
        (self.program, self.facade, self.admin) = Self::serve(self.directory.path(), &self.cloud);
        self.ended().await;
    }

    /// Waits until every operation has ended, also those that an earlier process began.
    async fn ended(&self) {
        loop {
            let request = self.client.get(format!("http://{}/operations", self.admin));
            let list = send(request.bearer_auth(token(&self.directory.path().join("state"))))
                .await
                .json();
            let states = texts(&list["operations"], Some("state"));
            if states.iter().all(|state| state != "running") {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_that_is_killed_goes_on_with_the_next_process() {
    let mut world = Killable::start(80, &[("g", 10)]).await;
    let before = world.cloud.state().await;
    let added = world.call("addUsers/g", "users", &names(8, 60)).await;
    world.kill_after(&id(&added), "remove_member", 15).await;
    assert_eq!(world.cloud.state().await, before);
    let again = send(world.order(&id(&added), &json!({ "apply": false }))).await;
    assert_eq!(again.status, 409, "{again:?}");
    assert!(error(&again).contains("already"));
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_were_made_again_before_the_kill_are_filled_by_the_next_order() {
    let mut world = Killable::start(80, &[("g", 30), ("h", 20), ("i", 0)]).await;
    let before = world.cloud.state().await;
    let removed = world.call("removeGroups", "groups", &["g", "h", "i"]).await;
    // The first group is being filled; that the others are to be filled is not on record yet.
    world.kill_after(&id(&removed), "add_member", 5).await;
    let state = world.cloud.state().await;
    assert_eq!(by_name(&state).len(), by_name(&before).len(), "{state}");
    assert_ne!(by_name(&state), by_name(&before));
    let plan = send(world.order(&id(&removed), &json!({ "apply": false })))
        .await
        .json();
    assert_eq!(plan["steps"].as_array().unwrap().len(), 1, "{plan}");
    let order = json!({ "apply": true, "plan": plan["plan"] });
    assert_eq!(send(world.order(&id(&removed), &order)).await.status, 200);
    assert_eq!(by_name(&world.cloud.state().await), by_name(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_undo_of_made_groups_deletes_no_group_that_was_filled_meanwhile() {
    let mut world = Killable::start(20, &[]).await;
    let names: Vec<String> = (0..30).map(|n| format!("made{n:02}")).collect();
    let before = by_name(&world.cloud.state().await);
    let made = world.call("addGroups", "groups", &names).await;
    let last = world.cloud.group_id("made29").await;
    let plan = send(world.order(&id(&made), &json!({ "apply": false }))).await.json();
    world.cloud.switch(json!({ "latency_ms": 20 })).await;
    world.cloud.reset().await;
    let order = world.order(&id(&made), &json!({ "apply": true, "plan": plan["plan"] }));
    let ordered = tokio::spawn(order.send());
    while world.cloud.stats().await["by_operation"]["delete_group"]
        .as_u64()
        .unwrap_or(0)
        < 5
    {
        tokio::task::yield_now().await;
    }
    world.program.kill();
    assert!(ordered.await.unwrap().is_err());
    world.cloud.switch(json!({ "latency_ms": null })).await;
    assert!(world.cloud.add(&last, world.cloud.account(3)).await.status < 300);
    (world.program, world.facade, world.admin) = Killable::serve(world.directory.path(), &world.cloud);
    world.ended().await;
    let mut after = by_name(&world.cloud.state().await);
    assert_eq!(after.remove("made29"), Some(json!([world.cloud.account(3)])));
    assert_eq!(after, before);
}
