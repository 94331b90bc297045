//! `identities check`, `resolve` and `export`, and `check` with every key: the true binary before a simulated Cloud.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/cloud.rs"]
mod cloud;
#[path = "support/seclude.rs"]
mod seclude;

use std::process::{Command, Output};

use cloud::Cloud;
use extender_facade::simulator::Options;
use seclude::seclude;
use serde_json::{Value, json};

struct Desk {
    cloud: Cloud,
    folder: tempfile::TempDir,
}

impl Desk {
    async fn new(users: u32, groups: u32, map: &str) -> Self {
        let simulated = Options {
            users,
            groups,
            group: vec!["Big Team=20".parse().unwrap()],
            ..Options::default()
        };
        let cloud = Cloud::start(simulated).await;
        let desk = Self {
            cloud,
            folder: tempfile::tempdir().unwrap(),
        };
        // Root makes none for a service that may be another user's.
        std::fs::create_dir(desk.path("state")).unwrap();
        seclude(desk.path("state").as_ref());
        desk.write("map.csv", map);
        desk.write(
            "facade.toml",
            &format!(
                "state_dir = {:?}\n[inbound]\nmode = \"open\"\n[identity]\nmap_file = {:?}\n[cloud]\nbase_url = {:?}\nemail = \
                 \"user000001@example.com\"\napi_token = \"site-token\"\n[cloud.admin]\norg_id = {:?}\napi_key = \
                 \"organisation-key\"\nbase_url = {:?}\n[log]\nfilter = \"error\"\n",
                desk.path("state"),
                desk.path("map.csv"),
                desk.cloud.url(""),
                desk.cloud.org_id,
                desk.cloud.url("/admin"),
            ),
        );
        desk
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn replace(&self, what: &str, with: &str) {
        let settings = std::fs::read_to_string(self.path("facade.toml")).unwrap();
        assert!(settings.contains(what), "{settings}");
        self.write("facade.toml", &settings.replacen(what, with, 1));
    }

    /// Adds settings to a section.
    fn add(&self, section: &str, settings: &str) {
        self.replace(section, &format!("{section}{settings}"));
    }

    async fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_extender-facade"));
        command.args(arguments).args(["--config", &self.path("facade.toml")]);
        command.current_dir(self.folder.path());
        command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        let input = input.to_owned();
        tokio::task::spawn_blocking(move || {
            use std::io::Write as _;
            let mut child = command.spawn().unwrap();
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        })
        .await
        .unwrap()
    }
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap() + &String::from_utf8_lossy(&output.stderr)
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|wrong| panic!("{wrong}: {}", text(output)))
}

fn section<'a>(report: &'a Value, kind: &str) -> Vec<&'a Value> {
    let sections = report["sections"].as_array().unwrap().iter();
    let of_kind = sections.filter(|section| section["kind"] == kind);
    of_kind
        .flat_map(|section| section["rows"].as_array().unwrap())
        .collect()
}

const MAP: &str = "\
username,email,account_id,status
jdoe,user000002@example.com,,
jdoe-admin,USER000002@example.com,,
plain,user000003@example.com,,
left,,,tombstoned
ghost,ghost@example.com,,
two,user000004@example.com,,
TWO,user000005@example.com,,
again,user000006@example.com,,
again,user000006@example.com,,
stale,,712020:00000000-0000-4000-8000-000000000000,
";

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn root_makes_no_state_directory_before_the_services_first_start() {
    use std::os::unix::fs::MetadataExt as _;
    let desk = Desk::new(30, 20, MAP).await;
    let is_root = std::fs::metadata(desk.folder.path()).unwrap().uid() == 0;
    std::fs::remove_dir(desk.path("state")).unwrap();
    for arguments in [
        &["identities", "resolve", "plain"][..],
        &["identities", "check"],
        &["check"],
    ] {
        let said = text(&desk.run(arguments, "").await);
        if !is_root {
            // Whoever is not root is the service's user.
            continue;
        }
        assert!(!std::fs::exists(desk.path("state")).unwrap(), "{said}");
        assert!(said.contains("is not there yet, and one that root makes"), "{said}");
    }
    assert_eq!(std::fs::exists(desk.path("state")).unwrap(), !is_root);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readiness_report_tells_every_trouble_and_warms_the_store() {
    let desk = Desk::new(30, 20, MAP).await;
    desk.cloud
        .switch(json!({ "hidden_emails": true, "external": true }))
        .await;
    let output = desk
        .run(&["identities", "check", "--json", "--report", "r.html", "r.txt"], "")
        .await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let report = json_of(&output);
    let merged = section(&report, "merged");
    assert_eq!(merged.len(), 1, "{report:#}");
    assert_eq!(
        (&merged[0]["shown_as"], &merged[0]["also"][0]),
        (&json!("jdoe"), &json!("jdoe-admin"))
    );
    // Read first.
    assert_eq!(report["sections"][0]["kind"], "merged");
    assert_eq!(section(&report, "ambiguous")[0]["name"], "two");
    assert!(
        section(&report, "ambiguous")[0]["accounts"][0]
            .as_str()
            .unwrap()
            .contains("line 7")
    );
    let unresolved: Vec<&Value> = section(&report, "unresolved").iter().map(|row| &row["name"]).collect();
    assert_eq!(unresolved, ["ghost", "ghost@example.com"]);
    assert_eq!(section(&report, "tombstoned")[0]["name"], "left");
    assert_eq!(section(&report, "missing_in_cloud")[0]["usernames"][0], "stale");
    assert_eq!(section(&report, "collisions")[0]["usernames"], json!(["two", "TWO"]));
    assert_eq!(section(&report, "duplicates")[0]["lines"], json!(["9", "10"]));
    assert_eq!(section(&report, "groups_external").len(), 2);
    let page = std::fs::read_to_string(desk.path("r.html")).unwrap();
    assert!(
        page.contains("jdoe-admin") && !page.contains("http://") && !page.contains("src="),
        "{page}"
    );
    assert!(std::fs::read_to_string(desk.path("r.txt")).unwrap().contains("ghost"));
    // What was found out is there for the next one.
    desk.cloud.reset().await;
    let output = desk
        .run(&["identities", "resolve", "--json", "plain", "JDOE", "two", "left"], "")
        .await;
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<Value> = text(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["account_id"], desk.cloud.account(2));
    assert_eq!(lines[0]["claims"][0]["source"], "admin");
    assert_eq!(lines[1]["account_id"], desk.cloud.account(1));
    assert_eq!(
        (&lines[2]["reason"], &lines[3]["reason"]),
        (&json!("ambiguous"), &json!("tombstoned"))
    );
    assert_eq!(lines[4]["calls"], json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_read_from_standard_input_and_their_cost_is_told() {
    let desk = Desk::new(30, 0, "username,account_id\n").await;
    let input = "user000007@example.com\n\n  user000008@example.com  \n";
    let output = desk.run(&["identities", "resolve", "-"], input).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let told = text(&output);
    assert!(
        told.contains(desk.cloud.account(6)) && told.contains("(admin)"),
        "{told}"
    );
    assert!(told.contains("requests to Cloud: admin_search_users 1"), "{told}");
    // A source that cannot be asked is not "unknown".
    desk.cloud.switch(json!({ "admin_refused": 401 })).await;
    let output = desk.run(&["identities", "resolve", "user000009@example.com"], "").await;
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("cloud.admin.api_key"), "{}", text(&output));
    let output = desk
        .run(
            &[
                "identities",
                "check",
                "--json",
                "--names",
                "facade.toml",
                "--report",
                "r.txt",
            ],
            "",
        )
        .await;
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let not_asked = json_of(&output);
    let rows = section(&not_asked, "not_asked");
    assert!(
        !rows.is_empty() && section(&not_asked, "unresolved").is_empty(),
        "{not_asked:#}"
    );
    assert!(rows[0]["reason"].as_str().unwrap().contains("cloud.admin.api_key"));
    assert!(text(&output).contains("could not be asked"), "{}", text(&output));
    assert!(
        std::fs::read_to_string(desk.path("r.txt"))
            .unwrap()
            .contains("Could not be asked")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_comes_back_is_asked_again_and_one_that_stays_away_costs_only_its_own_names() {
    let names: Vec<String> = (1..=1500).map(|n| format!("user{n:06}@example.com")).collect();
    let map = format!("email,account_id\n{},\nnobody@example.com,\n", names.join(",\n"));
    let desk = Desk::new(1600, 3, &map).await;
    desk.add("[cloud]\n", "max_tries = 1\n");
    desk.cloud.switch(json!({ "error_5xx": 0.4 })).await;
    let switched_off = async {
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        desk.cloud.switch(json!({ "error_5xx": null })).await;
    };
    let input = names.join("\n");
    let resolve = desk.run(&["identities", "resolve", "--json", "-"], &input);
    let (output, ()) = tokio::join!(resolve, switched_off);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(text(&output).lines().count(), 1501);
    // All of it was kept, so that the source can be away now.
    desk.cloud.switch(json!({ "admin_refused": 403 })).await;
    let output = desk.run(&["identities", "check", "--json"], "").await;
    assert_eq!(
        output.status.code(),
        Some(2),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report = json_of(&output);
    let not_asked = section(&report, "not_asked");
    assert_eq!(
        (not_asked.len(), &not_asked[0]["name"]),
        (1, &json!("nobody@example.com"))
    );
    let figures = report["summary"].to_string();
    assert!(figures.contains("1500"), "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_see_the_groups_is_told_before_the_names_are_asked_about() {
    let desk = Desk::new(30, 3, MAP).await;
    desk.cloud.switch(json!({ "unauthorized": 401 })).await;
    let output = desk.run(&["identities", "check"], "").await;
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(
        text(&output).contains("the groups cannot be listed"),
        "{}",
        text(&output)
    );
    let calls = desk.cloud.stats().await["by_operation"].clone();
    assert_eq!(calls["admin_search_users"].as_u64().unwrap_or(0), 0, "{calls}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_not_there_to_bring_a_credential() {
    let desk = Desk::new(30, 0, MAP).await;
    desk.replace("mode = \"open\"", "mode = \"passthrough\"");
    desk.replace("email = \"user000001@example.com\"\n", "");
    desk.replace("api_token = \"site-token\"\n", "");
    for arguments in [&["identities", "check"][..], &["identities", "resolve", "jdoe"]] {
        let output = desk.run(arguments, "").await;
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        let wanted = "needs a credential of its own: cloud.email and cloud.api_token";
        assert!(text(&output).contains(wanted), "{}", text(&output));
    }
    let calls = desk.cloud.stats().await["by_operation"].clone();
    let asked: Vec<_> = calls
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, calls)| *calls != 0)
        .collect();
    assert!(asked.is_empty(), "{asked:?}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_where_another_user_keeps_it() {
    let desk = Desk::new(30, 0, MAP).await;
    if std::os::unix::fs::chown(desk.path("state"), Some(4242), Some(4242)).is_err() {
        eprintln!("only an administrator can give a folder away: not tested");
        return;
    }
    for arguments in [
        &["identities", "check"][..],
        &["identities", "resolve", "user000003@example.com"],
        &["check"],
    ] {
        let output = desk.run(arguments, "").await;
        assert!(output.status.code() < Some(2), "{}", text(&output));
        assert!(
            text(&output).contains("belongs to the user with id 4242"),
            "{}",
            text(&output)
        );
        assert_eq!(
            std::fs::read_dir(desk.path("state")).unwrap().count(),
            0,
            "{arguments:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_in_scripts_are_reported_with_their_places() {
    let desk = Desk::new(30, 20, MAP).await;
    desk.cloud.switch(json!({ "external": true })).await;
    desk.write(
        "sync.sh",
        "curl -d '{\"users\":[\"jdoe\",\"nobody.here@example.com\"]}' http://dc/rest/extender/1.0/group/addUsers/Big%20Team\n\
         curl http://dc/rest/extender/1.0/group/getUsers/no-such-group\n\
         curl http://dc/rest/extender/1.0/group/getUsers/GROUP-00010\n",
    );
    let output = desk
        .run(&["identities", "check", "--json", "--names", "sync.sh"], "")
        .await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let report = json_of(&output);
    let unresolved = section(&report, "unresolved");
    let row = |name: &str| unresolved.iter().find(|row| row["name"] == name).unwrap()["where"][0].clone();
    assert_eq!(unresolved.len(), 2, "{report:#}");
    assert_eq!(row("nobody.here@example.com"), "sync.sh:1");
    assert_eq!(row("no-such-group"), "sync.sh:2");
    assert_eq!(section(&report, "groups_external").len(), 1);
    // The other username of the account is in no script, and matters all the same.
    assert_eq!(section(&report, "merged").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_learned_is_exported_as_a_map_that_can_be_used() {
    let desk = Desk::new(30, 0, "username,account_id\n").await;
    let output = desk.run(&["identities", "export"], "").await;
    assert_eq!(
        output.status.code(),
        Some(2),
        "nothing was learned yet: {}",
        text(&output)
    );
    let names: Vec<String> = (1..=20).map(|n| format!("user{n:06}@example.com")).collect();
    desk.run(&["identities", "resolve", "-"], &names.join("\n")).await;
    let output = desk.run(&["identities", "export", "--out", "learned.csv"], "").await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let map = extender_facade::directory::identity::Map::read(
        desk.folder.path().join("learned.csv").as_path(),
        extender_facade::settings::PrimaryRule::First,
    )
    .unwrap();
    assert_eq!(map.len(), 20);
    assert_eq!(
        desk.run(&["identities", "export", "--out", "learned.csv"], "")
            .await
            .status
            .code(),
        Some(2)
    );
    // What nobody would believe now is told, and left out.
    desk.replace(
        "[identity]\n",
        "[identity]\nsources = [\"map\", \"account_id\", \"learned\", \"members\"]\n",
    );
    for (arguments, lines, told) in [
        (&["identities", "export"][..], 1, true),
        (&["identities", "export", "--all"], 21, false),
        (&["identities", "export", "--json"], 20, false),
    ] {
        let output = desk.run(arguments, "").await;
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).lines().count(),
            lines,
            "{arguments:?}"
        );
        let why = "20 answers were left out: of sources that are not in identity.sources";
        assert_eq!(text(&output).contains(why), told, "{}", text(&output));
    }
    let lines = text(&desk.run(&["identities", "export", "--json"], "").await);
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["name"], &first["source"]),
        (&json!("user000001@example.com"), &json!("admin"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_each_key_is_worth() {
    let desk = Desk::new(30, 0, MAP).await;
    let output = desk.run(&["check"], "").await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("ok    admin"), "{}", text(&output));
    desk.cloud.switch(json!({ "admin_refused": 403 })).await;
    let output = desk.run(&["check", "--patience", "3"], "").await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("cloud.admin.api_key"), "{}", text(&output));
    assert!(!text(&output).contains("organisation-key"));
}
