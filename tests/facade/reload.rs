//! The identity map read anew while the facade works: when its file changes, and at SIGHUP. Every answer is by one map
//! or by the other, never by both; a faulty file changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use extender_facade::simulator::{Options, Person, Simulator};
use reqwest::Client;
use serde_json::{Value, json};

use crate::between::Between;
use crate::cloud::{Cloud, Reply, send, try_send};
use crate::harness::{World, names, options, texts};
use crate::program::{PATIENCE, Program};
use crate::sources::{Keys, reason, wait_for_reload, world_of};
use crate::truth::lists;

/// Names that move from one person to another with the map, all at once.
const MOVERS: usize = 12;
const CLIENTS: usize = 8;

fn mover(n: usize) -> String {
    format!("mover{n}")
}

fn rest(n: usize) -> String {
    format!("rest{n}")
}

/// The two maps that take turns. By the first, the movers are the first people; by the second, the next ones; and the
/// other way round for the names called rest.
fn maps(people: &[Person]) -> [String; 2] {
    [0, MOVERS].map(|shift| {
        let mut map = String::from("username,account_id\n");
        for n in 0..MOVERS {
            map.push_str(&format!("{},{}\n", mover(n), people[n + shift].account_id));
            map.push_str(&format!("{},{}\n", rest(n), people[n + MOVERS - shift].account_id));
        }
        map
    })
}

/// Puts a file in place of another in one step, as every careful writer does.
fn put(path: &Path, text: impl AsRef<[u8]>) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}

/// A client of a facade that takes changes from everybody.
#[derive(Clone)]
struct Script {
    client: Client,
    facade: String,
}

impl Script {
    fn url(&self, path: &str) -> String {
        format!("http://{}/rest/extender/1.0/group/{path}", self.facade)
    }

    async fn users(&self, path: &str, names: &[String]) -> Reply {
        let answer = try_send(
            self.client
                .post(self.url(path))
                .body(json!({ "users": names }).to_string()),
        );
        let answer = answer.await.unwrap_or_else(|error| panic!("{path}: {error:?}"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer
    }

    async fn get(&self, path: &str) -> Value {
        let answer = try_send(self.client.get(self.url(path))).await;
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error:?}"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }
}

/// The people who are to be seen under these two maps.
struct Cast {
    accounts: [BTreeSet<String>; 2],
    /// Name to address, as getUsers shows them.
    shown: [BTreeMap<String, String>; 2],
}

impl Cast {
    fn of(people: &[Person]) -> Self {
        let ids = |from: usize| {
            people[from..from + MOVERS]
                .iter()
                .map(|person| person.account_id.clone())
                .collect()
        };
        let shown = |shift: usize| {
            let row = |name, n: usize| (name, people[n].email.clone());
            let movers = (0..MOVERS).map(|n| row(mover(n), n + shift));
            movers
                .chain((0..MOVERS).map(|n| row(rest(n), n + MOVERS - shift)))
                .collect()
        };
        Self {
            accounts: [ids(0), ids(MOVERS)],
            shown: [shown(0), shown(MOVERS)],
        }
    }

    /// The list of everybody is by one map.
    fn hold_list(&self, answer: &Value) {
        let rows = answer["users"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let shown: BTreeMap<String, String> = rows
            .iter()
            .map(|row| (text(&row["name"]), text(&row["email"])))
            .collect();
        assert_eq!(shown.len(), rows.len());
        assert!(
            self.shown.contains(&shown),
            "neither by the one map nor by the other: {shown:?}"
        );
    }
}

/// Reads the list of everybody, adds the movers to a group of its own, takes them out again, and whoever is left by
/// account id; over and over. Counts the rounds.
async fn load(script: Script, cloud: Arc<Cloud>, group: String, stop: Arc<AtomicBool>, rounds: Arc<AtomicU64>) {
    let cast = Cast::of(&cloud.people);
    let movers: Vec<String> = (0..MOVERS).map(mover).collect();
    let everybody: Vec<String> = cloud.people[..2 * MOVERS]
        .iter()
        .map(|person| person.account_id.clone())
        .collect();
    let truth = async || cloud.truth(&group).await.into_iter().collect::<BTreeSet<_>>();
    while !stop.load(Ordering::Relaxed) {
        cast.hold_list(&script.get("getUsers/everybody?showBasicDetails=true").await);

        let answer = script.users(&format!("addUsers/{group}"), &movers).await;
        assert_eq!(lists(&answer), (movers.clone(), vec![]));
        let added = truth().await;
        assert!(cast.accounts.contains(&added), "added by both maps: {added:?}");

        let answer = script.users(&format!("removeUsers/{group}"), &movers).await;
        let (removed, skipped) = lists(&answer);
        let left = truth().await;
        // By the map that added them all are out; by the other one, nobody was in.
        match removed.len() {
            MOVERS => assert!(left.is_empty(), "{left:?}"),
            0 => assert_eq!((&skipped, &left), (&movers, &added)),
            _ => panic!("removed by both maps: {removed:?}"),
        }

        script.users(&format!("removeUsers/{group}"), &everybody).await;
        assert!(truth().await.is_empty());
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

struct Loaded {
    tasks: Vec<tokio::task::JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
}

impl Loaded {
    fn start(script: &Script, cloud: &Arc<Cloud>) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let task = |n| {
            let (script, cloud) = (script.clone(), Arc::clone(cloud));
            tokio::spawn(load(
                script,
                cloud,
                format!("group{n}"),
                Arc::clone(&stop),
                Arc::clone(&rounds),
            ))
        };
        Self {
            tasks: (0..CLIENTS).map(task).collect(),
            stop,
            rounds,
        }
    }

    /// Waits until some more rounds were gone through.
    async fn more(&self) {
        let (from, until) = (self.rounds.load(Ordering::Relaxed), Instant::now() + PATIENCE);
        while self.rounds.load(Ordering::Relaxed) < from + CLIENTS as u64 {
            assert!(
                !self.tasks.iter().any(tokio::task::JoinHandle::is_finished),
                "a client gave up"
            );
            assert!(Instant::now() < until, "the load stands still");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

/// A Cloud for the movers: a group of all of them, and one for each client.
fn stage() -> Options {
    let groups: Vec<String> = (0..CLIENTS).map(|n| format!("group{n}")).collect();
    let mut sizes: Vec<(&str, u32)> = groups.iter().map(|name| (name.as_str(), 0)).collect();
    sizes.push(("everybody", 2 * MOVERS as u32));
    options(2 * MOVERS as u32 + 5, &sizes)
}

fn client() -> Client {
    Client::builder().no_proxy().tls_certs_only([]).build().unwrap()
}

/// How many times the program has read the map anew with this result.
async fn reloads(admin: &str, result: &str) -> u64 {
    let page = send(client().get(format!("http://{admin}/metrics"))).await.text();
    let name = format!("facade_map_reloads_total{{result=\"{result}\"}} ");
    page.lines()
        .find_map(|line| line.strip_prefix(&name))
        .map_or(0, |count| count.parse().unwrap())
}

/// Sends SIGHUP, and waits for what becomes of it.
async fn hang_up(program: &Program, admin: &str, result: &str) {
    let before = reloads(admin, result).await;
    program.signal("-HUP");
    let until = Instant::now() + PATIENCE;
    while reloads(admin, result).await == before {
        assert!(Instant::now() < until, "the map was not {result}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_under_load_fails_no_call_and_no_answer_is_by_two_maps() {
    let simulated = stage();
    let maps = maps(&Simulator::new(&simulated).unwrap().people());
    let world = world_of(simulated, &maps[0], Keys::default(), |settings| {
        settings.inbound.mode = extender_facade::settings::Mode::Open;
        settings.identity.map_reload_s = 1;
    })
    .await;
    let script = Script {
        client: world.client.clone(),
        facade: world.facade.to_string(),
    };
    let path = world.path("identities.csv");
    let cloud = Arc::new(world.cloud);
    let load = Loaded::start(&script, &cloud);
    let admin = world.admin.to_string();
    for turn in 1..=4 {
        load.more().await;
        if turn % 2 == 0 {
            // As an editor does that knows no better: the file is empty for a moment.
            std::fs::write(&path, &maps[turn % 2]).unwrap();
        } else {
            put(&path, &maps[turn % 2]);
        }
        let until = Instant::now() + PATIENCE;
        while reloads(&admin, "done").await < turn as u64 {
            assert!(Instant::now() < until, "the map was not read anew");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        // From now on it is the new one.
        let shown = script.get("getUsers/everybody?showBasicDetails=true").await;
        let first = shown["users"]
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["name"] == "mover0")
            .unwrap();
        assert_eq!(first["email"], cloud.people[(turn % 2) * MOVERS].email);
    }
    load.more().await;
    load.end().await;
    assert_eq!(reloads(&admin, "refused").await, 0);
}

/// What was made ready before a change is used again after it; not if there is another map by the time that the rest is.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_list_is_by_one_map_though_it_changes_while_cloud_is_asked_who_was_added() {
    let simulated = options(3, &[("g", 2)]);
    let people = Simulator::new(&simulated).unwrap().people();
    let map = |names: [&str; 3]| {
        let rows = names.iter().zip(&people);
        let rows: String = rows
            .map(|(name, person)| format!("{name},{}\n", person.account_id))
            .collect();
        format!("username,account_id\n{rows}")
    };
    let later = map(["ben", "carl", "anna"]);
    let (is_asked, is_read) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (asked, read) = (Arc::clone(&is_asked), Arc::clone(&is_read));
    let world = world_of(simulated, &map(["anna", "ben", "carl"]), Keys::default(), |settings| {
        let path = settings.identity.map_file.clone().unwrap();
        settings.identity.map_reload_s = 1;
        let (_, address) = Between::start(&settings.cloud.base_url, move |exchange| {
            if exchange.path_and_query.contains("/user/bulk") && !asked.swap(true, Ordering::SeqCst) {
                put(&path, &later);
                let until = Instant::now() + PATIENCE;
                while !read.load(Ordering::SeqCst) && Instant::now() < until {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
            }
        });
        settings.cloud.base_url = address;
    })
    .await;
    assert_eq!(world.members("g").await, ["anna", "ben"]);
    assert_eq!(lists(&world.users("addUsers/g", &["carl"]).await).0, ["carl"]);
    let (answer, ()) = tokio::join!(world.get("getUsers/g?showBasicDetails=true"), async {
        wait_for_reload(&world, "done", 1).await;
        is_read.store(true, Ordering::SeqCst);
    });
    assert!(is_asked.load(Ordering::SeqCst), "nobody was asked for");
    let rows = answer.json()["users"].as_array().unwrap().clone();
    let shown = |row: &Value| ["name", "email"].map(|key| row[key].as_str().unwrap().to_owned());
    let shown: BTreeSet<[String; 2]> = rows.iter().map(shown).collect();
    let by = |names: [&str; 3]| -> BTreeSet<[String; 2]> {
        let rows = names.iter().zip(&people);
        rows.map(|(name, person)| [(*name).to_owned(), person.email.clone()])
            .collect()
    };
    assert!(
        shown == by(["anna", "ben", "carl"]) || shown == by(["ben", "carl", "anna"]),
        "{shown:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_under_load_takes_good_files_at_once_and_refuses_every_faulty_one() {
    let simulated = stage();
    let maps = maps(&Simulator::new(&simulated).unwrap().people());
    let cloud = Arc::new(Cloud::start(simulated).await);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("map.csv");
    put(&path, &maps[0]);
    let mut program = Program::start(
        &directory.path().join("state"),
        &cloud.url(""),
        &[
            ("FACADE__IDENTITY__MAP_FILE", path.to_str().unwrap()),
            ("FACADE__IDENTITY__MAP_RELOAD_S", "0"),
            ("FACADE__LOG__FILTER", "error,extender_facade::cli=info"),
        ],
    );
    let (facade, admin) = program.serves();
    // The very first moment is not too early.
    hang_up(&program, &admin, "done").await;
    let script = Script {
        client: client(),
        facade,
    };
    let load = Loaded::start(&script, &cloud);
    let first_mover = async || {
        let shown = script.get("getUsers/everybody?showBasicDetails=true").await;
        let rows = shown["users"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == "mover0").unwrap()["email"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let id = cloud.people[0].account_id.clone();
    let faulty = [
        ("a bad account id", format!("{}mover0,bad id!\n", maps[1])),
        ("a quote that is never closed", format!("{}\"mover99,{id}\n", maps[1])),
        ("a line too short", format!("{}mover99\n", maps[1])),
        ("no columns", "mover0\n".to_owned()),
        ("nothing", String::new()),
    ];
    for turn in 1..=20 {
        put(&path, &maps[turn % 2]);
        hang_up(&program, &admin, "done").await;
        assert_eq!(first_mover().await, cloud.people[(turn % 2) * MOVERS].email);
        if turn % 2 == 1 {
            continue;
        }
        // By the faulty files `mover0` would be somebody else again.
        let (what, text) = &faulty[(turn / 2) % faulty.len()];
        put(&path, text);
        hang_up(&program, &admin, "refused").await;
        assert_eq!(first_mover().await, cloud.people[0].email, "{what}");
    }
    // A file that cannot be read, and one that is not there.
    std::fs::remove_file(&path).unwrap();
    hang_up(&program, &admin, "refused").await;
    std::fs::create_dir(&path).unwrap();
    hang_up(&program, &admin, "refused").await;
    assert_eq!(first_mover().await, cloud.people[0].email);
    std::fs::remove_dir(&path).unwrap();
    put(&path, &maps[1]);
    // Many at once are as good as one.
    for _ in 0..50 {
        program.signal("-HUP");
    }
    hang_up(&program, &admin, "done").await;
    assert_eq!(first_mover().await, cloud.people[MOVERS].email);
    load.more().await;
    load.end().await;
    assert!(program.is_running());
    program.signal("-TERM");
    assert!(program.ended().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_without_a_map_stops_nobody() {
    let cloud = Cloud::start(options(5, &[("team", 2)])).await;
    let directory = tempfile::tempdir().unwrap();
    let mut program = Program::start(&directory.path().join("state"), &cloud.url(""), &[]);
    let (facade, _) = program.serves();
    let script = Script {
        client: client(),
        facade,
    };
    program.signal("-HUP");
    for _ in 0..20 {
        assert_eq!(script.get("getUsers/team").await["total"], 2);
    }
    assert!(program.is_running());
    program.signal("-TERM");
    assert!(program.ended().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_file_that_is_seen_by_itself_is_refused_and_one_that_is_gone_is_waited_for() {
    let world = World::start(options(5, &[("team", 1)]), |settings| {
        settings.identity.map_reload_s = 1
    })
    .await;
    let path = world.path("identities.csv");
    let good = std::fs::read_to_string(&path).unwrap();
    put(&path, format!("{good}somebody,,,bad id!,,,\n"));
    wait_for_reload(&world, "refused", 1).await;
    assert_eq!(
        lists(&world.users("addUsers/team", &["user000002", "somebody"]).await).0,
        ["user000002"]
    );
    std::fs::remove_file(&path).unwrap();
    assert_eq!(
        lists(&world.users("addUsers/team", &["user000003"]).await).0,
        ["user000003"]
    );
    put(&path, format!("{good}somebody,,,{},,,\n", world.cloud.account(4)));
    wait_for_reload(&world, "done", 1).await;
    assert_eq!(
        lists(&world.users("addUsers/team", &["somebody"]).await).0,
        ["somebody"]
    );
    let page = world.metrics().await;
    assert!(
        page.contains("facade_map_reloads_total{result=\"refused\"} 1"),
        "a missing file is no new file"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_list_shows_the_new_names_and_new_names_are_known_at_once_without_a_call() {
    let world = World::start(options(5, &[("team", 3)]), |settings| {
        settings.identity.map_reload_s = 1
    })
    .await;
    assert_eq!(world.members("team").await, names(1, 3));
    let answer = world.users("addUsers/team", &["newcomer"]).await;
    assert_eq!(reason(&world, &answer, "newcomer"), "unknown");
    world.forget_calls().await;
    let mut map = String::from("username,account_id\n");
    for (name, place) in [("zoe", 0), ("user000002", 2), ("user000003", 1), ("newcomer", 4)] {
        map.push_str(&format!("{name},{}\n", world.cloud.account(place)));
    }
    put(&world.path("identities.csv"), map);
    wait_for_reload(&world, "done", 1).await;
    assert_eq!(world.members("team").await, ["user000002", "user000003", "zoe"]);
    let shown = world.get("getUsers/team?showBasicDetails=true").await.json();
    let emails = [3, 2, 1].map(|n| format!("user{n:06}@example.com"));
    assert_eq!(texts(&shown["users"], Some("email")), emails);
    assert!(world.calls().await.is_empty(), "{:?}", world.calls().await);
    let answer = world.users("addUsers/team", &["newcomer", "user000001"]).await;
    assert_eq!(lists(&answer).0, ["newcomer"]);
    assert_eq!(reason(&world, &answer, "user000001"), "unknown");
    assert_eq!(
        world.truth("team").await,
        ["user000001", "user000002", "user000003", "user000005"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_changes_in_the_middle_of_a_removal_does_not_lift_the_protection_of_the_one_before() {
    let simulated = options(5, &[("team", 2)]);
    let people = Simulator::new(&simulated).unwrap().people();
    let (first, second) = (&people[0].account_id, &people[1].account_id);
    let map = format!("username,account_id\njdoe,{first}\njdoe-admin,{first}\n");
    let keys = Keys {
        admin: true,
        ..Keys::default()
    };
    let world = world_of(simulated.clone(), &map, keys, |settings| {
        settings.identity.map_reload_s = 1
    })
    .await;
    // The other name holds the call up until the map has changed.
    world.cloud.switch(json!({ "admin_slow_ms": 4000 })).await;
    let removal = async {
        let names = ["jdoe", "user000004@example.com"];
        let answer = world.users("removeUsers/team", &names).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
    };
    let change = async {
        put(
            &world.path("identities.csv"),
            format!("username,account_id\njdoe,{second}\njdoe-admin,{first}\n"),
        );
        wait_for_reload(&world, "done", 1).await;
    };
    let (answer, ()) = tokio::join!(removal, change);
    // By the old map the account is protected; by the new one the name is somebody else's.
    assert_eq!(reason(&world, &answer, "jdoe"), "merged_account");
    assert_eq!(world.truth("team").await, ["user000001", "user000002"]);
    // And the next call is by the new one.
    assert_eq!(lists(&world.users("removeUsers/team", &["jdoe"]).await).0, ["jdoe"]);
    assert_eq!(world.truth("team").await, ["user000001"]);
}
