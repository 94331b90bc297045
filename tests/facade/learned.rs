//! What was learned before a start: believed for a time, asked again after it, and never written to once it is not so.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use extender_facade::metrics::Metrics;
use extender_facade::model::{AccountId, NameKey, Source, Standing};
use extender_facade::settings::{Mode, Settings};
use extender_facade::simulator::{Options, Person, Simulator};
use extender_facade::store::{Error, FILE, Learned, ReadOnly, Store};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cloud::{Reply, send};
use crate::harness::{World, options};
use crate::sources::{Keys, reason, unlock};
use crate::truth::{audit_of, lists};
use crate::worlds::refusal;

const DAY: i64 = 86_400_000;
const MINUTE: i64 = 60_000;

const NONE: Keys = Keys {
    admin: false,
    scim: false,
    jira: false,
};
const ADMIN: Keys = Keys { admin: true, ..NONE };
const ADMIN_AND_JIRA: Keys = Keys { jira: true, ..ADMIN };

/// A row to begin with: the name, whom it means by its place, who said so, and how long ago.
struct Row<'a>(&'a str, usize, Source, Standing, i64);

impl Row<'_> {
    fn learned(&self, people: &[Person]) -> Learned {
        Learned {
            name: NameKey::of(self.0),
            account: AccountId::new(&people[self.1].account_id),
            source: self.2,
            standing: self.3,
            learned_at: jiff::Timestamp::now().as_millisecond() - self.4,
        }
    }
}

/// Leaves a store with these rows behind, as a facade would that ran before.
fn prepare(state: &Path, rows: Vec<Learned>) {
    let state = state.to_owned();
    std::thread::spawn(move || {
        let store = Store::open(&state, Metrics::new()).unwrap();
        store.learn(rows);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(store.flush()).unwrap();
    })
    .join()
    .unwrap();
}

/// Everything that is kept.
fn kept(state: &Path) -> Vec<Learned> {
    let mut rows = Vec::new();
    ReadOnly::open(state)
        .unwrap()
        .for_each(|row| {
            rows.push(row);
            Ok::<_, Error>(())
        })
        .unwrap();
    rows
}

/// A world without a map that learned these rows before.
async fn world_of(simulated: Options, rows: &[Row<'_>], keys: Keys, change: impl FnOnce(&mut Settings)) -> World {
    let people = Simulator::new(&simulated).unwrap().people();
    let rows: Vec<Learned> = rows.iter().map(|row| row.learned(&people)).collect();
    World::start(simulated.clone(), |settings| {
        std::fs::write(settings.identity.map_file.as_ref().unwrap(), "username,account_id\n").unwrap();
        prepare(&settings.state_dir, rows);
        unlock(settings, keys, &simulated);
        settings.cloud.max_tries = 2;
        settings.extender.read_deadline_s = 5;
        change(settings);
    })
    .await
}

async fn world(rows: &[Row<'_>], keys: Keys) -> World {
    world_of(options(20, &[("team", 0)]), rows, keys, |_| {}).await
}

fn email(n: usize) -> String {
    format!("user{n:06}@example.com")
}

/// What the simulator was asked for by this service, with how often.
async fn asked(world: &World, service: &str) -> BTreeMap<String, u64> {
    let all = send(world.cloud.bare(Method::GET, "/_sim/asked")).await.json();
    serde_json::from_value(all[service].clone()).unwrap_or_default()
}

/// Waits until what is kept is so; it is written beside the stream.
async fn wait_for(world: &World, what: &str, is_so: impl Fn(&[Learned]) -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let rows = kept(&world.path("state"));
        if is_so(&rows) {
            return;
        }
        assert!(Instant::now() < until, "{what}: {rows:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn give(world: &World, place: usize, change: Value) {
    let mut change = change;
    change["accountId"] = json!(world.cloud.account(place));
    let changed = world.cloud.bare(Method::POST, "/_sim/users").json(&change);
    assert_eq!(send(changed).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_old_is_asked_again_and_kept_if_it_is_still_so() {
    let rows = [
        Row(&email(5), 4, Source::Admin, Standing::Active, 31 * DAY),
        Row(&email(6), 5, Source::Admin, Standing::Active, 29 * DAY),
    ];
    let world = world(&rows, ADMIN).await;
    world.cloud.switch(json!({ "hidden_emails": true })).await;
    let wanted = [email(5), email(6)];
    assert_eq!(lists(&world.users("addUsers/team", &wanted).await).0, wanted);
    assert_eq!(asked(&world, "admin").await, BTreeMap::from([(email(5), 1)]));
    assert_eq!(world.truth("team").await, ["user000005", "user000006"]);
    // From now on it is as young as any: another start asks nobody.
    let now = jiff::Timestamp::now().as_millisecond();
    wait_for(&world, "both", |rows| {
        rows.len() == 2 && rows[0].learned_at > now - DAY && rows[1].learned_at < now - 28 * DAY
    })
    .await;
    assert_eq!(lists(&world.users("removeUsers/team", &wanted).await).0, wanted);
    assert_eq!(asked(&world, "admin").await, BTreeMap::from([(email(5), 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_somebody_else_has_by_now_is_written_to_the_new_one_and_never_to_the_old() {
    let rows = [Row(&email(5), 8, Source::Admin, Standing::Active, 31 * DAY)];
    let world = world_of(options(20, &[("team", 0), ("nine", 9)]), &rows, ADMIN, |_| {}).await;
    world.cloud.switch(json!({ "hidden_emails": true })).await;
    // Not a name to show the old one under, either.
    assert!(!world.members("nine").await.contains(&email(5)));
    let answer = world.users("removeUsers/nine", &[email(5)]).await;
    assert_eq!(lists(&answer).0, [email(5)]);
    assert_eq!(lists(&world.users("addUsers/team", &[email(5)]).await).0, [email(5)]);
    assert_eq!(world.truth("team").await, ["user000005"]);
    assert!(world.truth("nine").await.contains(&"user000009".to_owned()));
    let account = world.cloud.account(4).to_owned();
    wait_for(&world, "the new one alone", |rows| {
        rows.len() == 1 && rows[0].account.as_str() == account
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_nobody_has_by_now_is_unknown() {
    let rows = [Row("left@example.com", 8, Source::Admin, Standing::Active, 31 * DAY)];
    let world = world(&rows, ADMIN).await;
    for _ in 0..2 {
        let answer = world.users("addUsers/team", &["left@example.com"]).await;
        assert_eq!(reason(&world, &answer, "left@example.com"), "unknown");
    }
    assert!(world.truth("team").await.is_empty());
    wait_for(&world, "nobody", <[Learned]>::is_empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_answer_that_nobody_can_confirm_is_no_answer() {
    for source in [Source::Admin, Source::Scim, Source::Jira, Source::Members] {
        // The person it names is there, and even has the address; but nobody who can be asked says so.
        let rows = [Row(&email(5), 4, source, Standing::Active, 31 * DAY)];
        let world = world(&rows, NONE).await;
        world.cloud.switch(json!({ "hidden_emails": true })).await;
        let answer = world.users("addUsers/team", &[email(5)]).await;
        assert_eq!(reason(&world, &answer, &email(5)), "unknown", "{source:?}");
        assert!(world.truth("team").await.is_empty());
    }
    // And if the one who could say so fails, nothing can be said.
    let rows = [Row(&email(5), 4, Source::Admin, Standing::Active, 31 * DAY)];
    let world = world(&rows, ADMIN).await;
    world
        .cloud
        .switch(json!({ "admin_down": true, "hidden_emails": true }))
        .await;
    let answer = world.users("addUsers/team", &[email(5)]).await;
    assert_eq!(answer.status, 503);
    assert!(audit_of(&world, &answer).is_empty() && world.truth("team").await.is_empty());
    // What is not known to be wrong is not forgotten over that.
    assert_eq!(kept(&world.path("state")).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_a_page_showed_long_ago_must_still_be_shown() {
    let rows = [
        Row(&email(5), 4, Source::Members, Standing::Active, 31 * DAY),
        Row(&email(6), 8, Source::Members, Standing::Active, 31 * DAY),
    ];
    let world = world(&rows, NONE).await;
    let answer = world.users("addUsers/team", &[email(5), email(6)]).await;
    assert_eq!(lists(&answer).0, [email(5)]);
    assert_eq!(reason(&world, &answer, &email(6)), "unknown");
    assert_eq!(world.truth("team").await, ["user000005"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_switched_off_is_believed_to_be_so_for_a_short_time_only() {
    let rows = [
        Row(&email(5), 4, Source::Admin, Standing::Deactivated, 60 * MINUTE),
        Row(&email(6), 5, Source::Admin, Standing::Deactivated, 5 * MINUTE),
        Row(&email(7), 6, Source::Admin, Standing::Deactivated, 60 * MINUTE),
    ];
    let world = world_of(options(20, &[("team", 0)]), &rows, ADMIN, |settings| {
        settings.cache.negative_ttl_s = 1800;
    })
    .await;
    give(&world, 6, json!({ "status": "inactive" })).await;
    let answer = world.users("addUsers/team", &[email(5), email(6), email(7)]).await;
    assert_eq!(lists(&answer).0, [email(5)]);
    for n in [6, 7] {
        assert_eq!(reason(&world, &answer, &email(n)), "deactivated");
    }
    assert_eq!(
        asked(&world, "admin").await,
        BTreeMap::from([(email(5), 1), (email(7), 1)])
    );
    assert_eq!(world.truth("team").await, ["user000005"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_switched_off_is_not_added_because_the_source_that_knows_is_down() {
    for standing in [Standing::Deactivated, Standing::Tombstoned, Standing::App] {
        // Confluence shows the address, and cannot tell whether anybody is behind it.
        let rows = [
            Row(&email(5), 4, Source::Admin, standing, 31 * DAY),
            Row(&email(5), 4, Source::Members, standing, 31 * DAY),
        ];
        let world = world(&rows, ADMIN).await;
        give(&world, 4, json!({ "status": "suspended" })).await;
        world.cloud.switch(json!({ "admin_down": true })).await;
        let answer = world.users("addUsers/team", &[email(5)]).await;
        assert!(world.truth("team").await.is_empty(), "{standing:?}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_disagreed_are_asked_again_and_believed_once_they_agree() {
    let rows = [
        Row(&email(5), 8, Source::Admin, Standing::Active, MINUTE),
        Row(&email(5), 4, Source::Jira, Standing::Active, MINUTE),
        Row(&email(6), 5, Source::Admin, Standing::Active, MINUTE),
        Row(&email(6), 8, Source::Jira, Standing::Active, MINUTE),
        Row(&email(7), 6, Source::Jira, Standing::Active, MINUTE),
        Row(&email(7), 8, Source::Members, Standing::Active, MINUTE),
    ];
    let world = world(&rows, ADMIN_AND_JIRA).await;
    let wanted = [email(5), email(6), email(7)];
    let answer = world.users("addUsers/team", &wanted).await;
    assert_eq!(lists(&answer).0, wanted);
    assert_eq!(world.truth("team").await, ["user000005", "user000006", "user000007"]);
    // Nobody who has nothing to do with it.
    assert!(!asked(&world, "admin").await.contains_key(&email(7)));
    let ninth = world.cloud.account(8).to_owned();
    wait_for(&world, "nobody is the ninth", |rows| {
        rows.iter().all(|row| row.account.as_str() != ninth)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_disagreed_and_cannot_be_asked_decide_nothing() {
    let rows = [
        Row(&email(5), 8, Source::Admin, Standing::Active, MINUTE),
        Row(&email(5), 4, Source::Jira, Standing::Active, MINUTE),
    ];
    // Without their keys nobody can be asked; with them, they are down.
    let world = world(&rows, NONE).await;
    let answer = world.users("addUsers/team", &[email(5)]).await;
    assert_eq!(reason(&world, &answer, &email(5)), "ambiguous");
    assert!(world.truth("team").await.is_empty());

    let world = self::world(&rows, ADMIN_AND_JIRA).await;
    world
        .cloud
        .switch(json!({ "admin_down": true, "jira_down": true }))
        .await;
    let answer = world.users("addUsers/team", &[email(5)]).await;
    assert_eq!(answer.status, 503);
    assert!(world.truth("team").await.is_empty());
}

/// `x@example.com` is the address of the first, and what the identity provider calls the second.
fn disagreeing(directory: &Path) -> Options {
    let data = directory.join("cloud.json");
    let users = json!([
        { "accountId": "acc-first", "email": "x@example.com", "scim": false },
        { "accountId": "acc-second", "email": "y@example.com", "scim": { "userName": "x@example.com" } },
    ]);
    let groups = json!([{ "name": "team" }]);
    std::fs::write(&data, json!({ "users": users, "groups": groups }).to_string()).unwrap();
    Options {
        data: Some(data),
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_still_disagree_stay_ambiguous_however_often_they_are_asked() {
    let directory = tempfile::tempdir().unwrap();
    let rows = [
        Row("x@example.com", 0, Source::Admin, Standing::Active, MINUTE),
        Row("x@example.com", 1, Source::Scim, Standing::Active, MINUTE),
    ];
    let keys = Keys { scim: true, ..ADMIN };
    let world = world_of(disagreeing(directory.path()), &rows, keys, |settings| {
        settings.cache.negative_ttl_s = 1;
    })
    .await;
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = world.users("addUsers/team", &["X@example.com", "y@example.com"]).await;
        assert_eq!(reason(&world, &answer, "X@example.com"), "ambiguous");
        let times = async |service| asked(&world, service).await.values().copied().max().unwrap_or(0);
        if times("admin").await >= 2 && times("scim").await >= 2 {
            break;
        }
        assert!(Instant::now() < until, "they are not asked again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(world.cloud.truth("team").await, ["acc-second"]);
    let audited = world.audit();
    let of_x = audited.iter().find(|line| line["name"] == "X@example.com").unwrap();
    assert_eq!(of_x["account"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_was_given_away_is_never_written_to_the_one_who_had_it() {
    let world = world_of(
        options(20, &[("had", 5), ("has", 9), ("team", 0)]),
        &[],
        ADMIN,
        |settings| {
            settings.cache.negative_ttl_s = 1;
            settings.cache.members_ttl_s = 1;
        },
    )
    .await;
    // Learned from the Admin API, and from a page.
    assert_eq!(lists(&world.users("addUsers/team", &[email(5)]).await).0, [email(5)]);
    assert!(world.members("had").await.contains(&email(5)));
    assert_eq!(lists(&world.users("removeUsers/team", &[email(5)]).await).0, [email(5)]);
    assert!(world.truth("team").await.is_empty());

    give(&world, 4, json!({ "email": "formerly5@example.com" })).await;
    give(&world, 8, json!({ "email": email(5) })).await;
    let until = Instant::now() + Duration::from_secs(30);
    // A page shows it on the ninth. How long a page is old is not this test's affair.
    let ninth = world.cloud.account(8).to_owned();
    loop {
        let shown = world.get("getUsers/has?showBasicDetails=true").await.json();
        let emails: Vec<&str> = shown["users"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|row| row["email"].as_str())
            .collect();
        if emails.contains(&"formerly5@example.com") {
            break;
        }
        assert!(Instant::now() < until, "{emails:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Refused while it is in doubt, then the ninth; the fifth in no case.
    loop {
        let answer = world.users("addUsers/team", &[email(5)]).await;
        let truth = world.cloud.truth("team").await;
        if !truth.is_empty() {
            assert_eq!(truth, [ninth.as_str()]);
            break;
        }
        assert_eq!(reason(&world, &answer, &email(5)), "ambiguous");
        let answer = world.users("removeUsers/had", &[email(5)]).await;
        assert_ne!(reason(&world, &answer, &email(5)), Value::Null);
        assert!(Instant::now() < until, "it stays in doubt");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let answer = world.users("removeUsers/had", &[email(5)]).await;
    assert_eq!(reason(&world, &answer, &email(5)), "not_member");
    assert_eq!(lists(&world.users("removeUsers/has", &[email(5)]).await).0, [email(5)]);
    assert!(world.truth("had").await.contains(&"user000005".to_owned()));
    assert!(world.truth("has").await.contains(&"user000005".to_owned()));
    // The one who had it is shown under what he has now.
    assert!(!world.members("had").await.contains(&email(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_a_day_that_has_not_come_is_asked_again() {
    // The clock was wrong when they were learned, and would keep them young for ever.
    let rows = [
        Row(&email(5), 8, Source::Admin, Standing::Active, -3650 * DAY),
        Row(&email(6), 8, Source::Members, Standing::Active, -3650 * DAY),
    ];
    let world = world(&rows, ADMIN).await;
    let answer = world.users("addUsers/team", &[email(5), email(6)]).await;
    assert_eq!(lists(&answer).0, [email(5), email(6)]);
    assert_eq!(world.truth("team").await, ["user000005", "user000006"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_trusted_stops_the_start_and_stays_as_it_is() {
    type Spoil = fn(&mut Vec<u8>);
    let spoils: [(&str, &str, Spoil); 6] = [
        ("half of it", "is damaged", |bytes| bytes.truncate(bytes.len() / 2)),
        ("a page of nothing", "is damaged", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle..].fill(0);
        }),
        ("noise behind the header", "is damaged", |bytes| bytes[100..].fill(0xa5)),
        ("another file", "is not a file of extender-facade", |bytes| {
            *bytes = b"name,account\n".repeat(100)
        }),
        (
            "another program's database",
            "is not a file of extender-facade",
            |bytes| bytes[68..72].fill(1),
        ),
        ("a later version's", "was written by a newer extender-facade", |bytes| {
            bytes[60..64].copy_from_slice(&[0, 0, 0, 99])
        }),
    ];
    let people = Simulator::new(&options(2000, &[])).unwrap().people();
    let emails: Vec<String> = (1..=2000).map(email).collect();
    for (what, said, spoil) in spoils {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let rows = emails.iter().enumerate();
        let rows = rows.map(|(place, name)| Row(name, place, Source::Admin, Standing::Active, 0).learned(&people));
        prepare(&state, rows.collect());
        let file = state.join(FILE);
        let until = Instant::now() + Duration::from_secs(30);
        while state.join(format!("{FILE}-wal")).exists() {
            assert!(Instant::now() < until, "the one who made it holds on to it");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut bytes = std::fs::read(&file).unwrap();
        spoil(&mut bytes);
        std::fs::write(&file, &bytes).unwrap();
        for _ in 0..2 {
            let faults = refusal(|settings| settings.state_dir = state.clone()).await;
            assert!(faults.contains(said), "{what}: {faults}");
            assert!(faults.contains(file.to_str().unwrap()), "{what}: {faults}");
            assert!(std::fs::read(&file).unwrap() == bytes, "{what}: it was changed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_that_cannot_be_had_is_told_with_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let plain = directory.path().join("plain");
    std::fs::write(&plain, "a file").unwrap();
    let below = plain.join("state");
    let faults = refusal(|settings| settings.state_dir = below.clone()).await;
    assert!(
        faults.contains("state_dir") && faults.contains(below.to_str().unwrap()),
        "{faults}"
    );
    // A directory where the file should be.
    let state = directory.path().join("state");
    std::fs::create_dir_all(state.join(FILE)).unwrap();
    crate::harness::seclude(&state);
    let faults = refusal(|settings| settings.state_dir = state.clone()).await;
    assert!(faults.contains(state.join(FILE).to_str().unwrap()), "{faults}");
    // One that may only be looked at. Whoever may do everything may do that, too.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let closed = directory.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o500)).unwrap();
        if std::fs::write(closed.join("probe"), "").is_err() {
            let faults = refusal(|settings| settings.state_dir = closed.clone()).await;
            assert!(
                faults.contains("state_dir") && faults.contains(closed.to_str().unwrap()),
                "{faults}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_with_their_own_credential_neither_use_what_was_learned_nor_add_to_it() {
    let rows = [
        Row(&email(5), 4, Source::Admin, Standing::Active, MINUTE),
        Row("jdoe", 1, Source::Scim, Standing::Active, MINUTE),
    ];
    let world = world_of(options(20, &[("team", 3)]), &rows, ADMIN, |settings| {
        settings.inbound.mode = Mode::Passthrough;
    })
    .await;
    let call = async |method, path: &str, body: Value| -> Reply {
        let request = world
            .request(method, path)
            .basic_auth(email(1), Some("theirs"))
            .body(body.to_string());
        send(request).await
    };
    let names = [email(5), "jdoe".to_owned()];
    let answer = call(Method::POST, "addUsers/team", json!({ "users": names })).await;
    assert_eq!(lists(&answer).1, names);
    for name in &names {
        assert_eq!(reason(&world, &answer, name), "unknown");
    }
    // Their page shows addresses, which are theirs alone.
    let shown = call(Method::GET, "getUsers/team", json!({})).await.json();
    assert_eq!(
        crate::harness::texts(&shown["users"], Some("name")),
        [1, 2, 3].map(email)
    );
    let answer = call(Method::POST, "removeUsers/team", json!({ "users": [email(2)] })).await;
    assert_eq!(lists(&answer).0, [email(2)]);
    let state = world.path("state");
    world.stop.say();
    world.task.await.unwrap();
    assert_eq!(kept(&state).len(), 2);
}
