//! What is measured and told.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::program::bare;
use crate::stub::{Asked, Reply, Stub, good, groups, serve};
use crate::{against, report, sum, text};

#[test]
fn a_world_of_its_own_is_tested_told_and_put_away() {
    let folder = tempfile::tempdir().unwrap();
    let (page, temporary) = (folder.path().join("report.html"), folder.path().join("temporary"));
    std::fs::create_dir(&temporary).unwrap();
    let output = bare()
        .args(["loadtest", "--rate", "60", "--ramp", "0.5", "--steady", "2.5"])
        .args([
            "--users",
            "60",
            "--group-size",
            "30",
            "--latency-ms",
            "1",
            "--distinct-groups",
            "4",
        ])
        .args([
            "--distinct-share",
            "50",
            "--mix",
            "getUsers=6,getGroups=1,addUsers=3,removeUsers=1,addGroups=2,removeGroups=1",
        ])
        .args(["--max-errors", "0", "--names-per-call", "2", "--json", "-", "--html"])
        .arg(&page)
        .env("TMPDIR", &temporary)
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    let report = report(&output);
    let asked = sum(&report, "asked");
    assert_eq!(asked, sum(&report, "good"), "{report}");
    // 60 a second for 2.5 and half of 0.5 seconds, by chance.
    assert!((90..=250).contains(&asked), "{asked}");
    for phase in ["ramp", "steady"] {
        assert!(
            report["phases"][phase]["calls"]["getUsers"]["latency_ms"]["p99.9"].is_number(),
            "{report}"
        );
    }
    // Behind it: Cloud's own count, of which every addition is one.
    let changes = &report["changes"];
    let count = |name: &str| changes[name].as_u64().unwrap();
    assert!(count("added") > 0, "{changes}");
    assert_eq!(
        count("added"),
        count("removed") + count("removed_at_the_end"),
        "{changes}"
    );
    assert_eq!(changes["left"], json!([]));
    let calls = &report["cloud_calls"];
    let made = calls["add_member"].as_u64().unwrap() + calls["create_group"].as_u64().unwrap();
    assert_eq!(made, count("added"), "{report}");
    assert!(calls["list_members"].as_u64().unwrap() >= 2, "{calls}");
    if cfg!(target_os = "linux") {
        assert!(report["memory"]["max_kib"].as_f64().unwrap() > 1_000.0, "{report}");
        assert!(report["memory"]["slope_error_kib_per_min"].is_number(), "{report}");
    }
    let page = std::fs::read_to_string(page).unwrap();
    assert!(
        page.contains("<svg") && page.contains("passed") && !page.contains("<script"),
        "{page}"
    );
    // No file, and with it no process, is left.
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
}

#[test]
fn a_stall_is_seen_by_all_who_were_meant_to_arrive_meanwhile() {
    let start = Mutex::new(None::<Instant>);
    let stub = Stub::start(move |asked| {
        let start = *start.lock().unwrap().get_or_insert_with(Instant::now);
        // Whoever comes in the second second waits for the third.
        let second = Duration::from_secs(1);
        if (second..second * 2).contains(&start.elapsed()) {
            std::thread::sleep((second * 2).saturating_sub(start.elapsed()));
        }
        good(asked)
    });
    let report = report(&against(&stub, "3", &[]));
    let all = &report["phases"]["steady"]["calls"]["all"];
    assert_eq!((&all["asked"], &all["good"]), (&json!(150), &json!(150)), "{report}");
    // Fifty requests meet the second of silence, thirty of them at least 400 ms of it. A client that waits for its
    // answers before it asks again meets it once.
    let buckets = all["histogram"].as_array().unwrap();
    let slow = buckets
        .iter()
        .filter(|bucket| bucket["le_ms"].as_f64().unwrap() > 400.0);
    let slow: u64 = slow.map(|bucket| bucket["count"].as_u64().unwrap()).sum();
    assert!(slow >= 20, "{slow} {report}");
    assert!(all["latency_ms"]["p90"].as_f64().unwrap() > 400.0, "{report}");
    // And in its own place in time.
    let steps = report["over_time"]["steps"].as_array().unwrap();
    let slow = steps
        .iter()
        .filter(|step| step["max_ms"].as_f64().is_some_and(|ms| ms > 400.0));
    assert!(slow.count() >= 4, "{report}");
}

#[test]
fn what_cannot_be_begun_is_an_error_of_its_own() {
    let stub = Stub::start(|asked| {
        std::thread::sleep(Duration::from_millis(400));
        good(asked)
    });
    let output = against(&stub, "2", &["--max-in-flight", "2", "--max-errors", "50"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let report = report(&output);
    let all = &report["phases"]["steady"]["calls"]["all"];
    // Two at a time, each of at least 400 ms: ten in two seconds.
    assert_eq!(all["asked"], 100, "{report}");
    let good = all["good"].as_u64().unwrap();
    assert!(good <= 12, "{report}");
    assert_eq!(all["errors"], json!({ "not_begun": 100 - good }), "{report}");
}

#[test]
fn every_kind_of_wrong_answer_is_told_by_its_name() {
    for (kind, answer) in [
        (
            "invalid_json",
            (|| Reply::Json("{\"total\":".to_owned())) as fn() -> Reply,
        ),
        ("invalid_json", || Reply::Json("[]".to_owned())),
        ("status_503", || Reply::Status("503 Service Unavailable")),
        ("status_302", || Reply::Status("302 Found\r\nLocation: /elsewhere")),
        ("reset", || Reply::Close),
        ("short_list", || {
            Reply::Json(json!({"total": 450, "maxResults": 1000, "startAt": 0, "users": [{}]}).to_string())
        }),
    ] {
        // The first look at the list of groups is good.
        let stub = Stub::start(move |asked| {
            if asked.line.contains("/getGroups") {
                groups()
            } else {
                answer()
            }
        });
        let output = against(
            &stub,
            "0.4",
            &["--mix", "getUsers=1", "--max-errors", "99", "--max-p99-ms", "60000"],
        );
        assert_eq!(output.status.code(), Some(1), "{kind}: {}", text(&output.stderr));
        let report = report(&output);
        let all = &report["phases"]["steady"]["calls"]["all"];
        assert_eq!(
            (&all["asked"], &all["good"]),
            (&json!(20), &json!(0)),
            "{kind}: {report}"
        );
        assert_eq!(all["errors"], json!({ kind: 20 }), "{report}");
        // Nothing was measured, which meets no threshold.
        let verdicts = report["thresholds"].as_array().unwrap();
        assert!(verdicts.iter().all(|verdict| verdict["is_met"] == false), "{report}");
        assert!(
            !stub.asked().iter().any(|asked| asked.line.contains("/elsewhere")),
            "{kind}"
        );
    }
}

#[test]
fn who_stays_silent_is_given_up_and_took_at_least_so_long() {
    let stub = Stub::start(|asked| {
        if asked.line.contains("/getGroups") {
            return groups();
        }
        std::thread::sleep(Duration::from_secs(5));
        Reply::Close
    });
    let report = report(&against(&stub, "0.2", &["--mix", "getUsers=1", "--timeout-s", "1"]));
    let all = &report["phases"]["steady"]["calls"]["all"];
    assert_eq!(all["errors"], json!({ "timeout": 10 }), "{report}");
    // Given up after a second: they took at least so long.
    assert!(all["latency_ms"]["p50"].as_f64().unwrap() >= 1_000.0, "{report}");
}

#[test]
fn who_listens_no_more_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("http://{address}");
    // One answer, to the first look; whoever comes later finds nobody.
    std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        drop(listener);
        // Bound, but nobody listens: no other test is given the port meanwhile.
        let held = tokio::net::TcpSocket::new_v4().unwrap();
        held.set_reuseaddr(true).unwrap();
        held.bind(address).unwrap();
        serve(&socket, &good, &Mutex::default());
        std::thread::park();
        drop(held);
    });
    let stub = Stub {
        url,
        asked: Arc::default(),
    };
    let report = report(&against(&stub, "0.2", &["--connections", "new"]));
    let all = &report["phases"]["steady"]["calls"]["all"];
    assert_eq!(all["errors"], json!({ "refused_connection": 10 }), "{report}");
}

#[test]
fn the_exit_code_is_that_of_the_thresholds() {
    let stub = Stub::start(good);
    let code = |more: &[&str]| against(&stub, "0.4", more).status.code();
    assert_eq!(code(&[]), Some(0));
    let good = [
        "--max-errors",
        "0",
        "--max-p50-ms",
        "60000",
        "--max-p999-ms",
        "60000",
        "--min-rate",
        "1",
    ];
    assert_eq!(code(&good), Some(0));
    assert_eq!(code(&["--max-p99-ms", "0.000001"]), Some(1));
    assert_eq!(code(&["--max-p50-ms", "0.000001", "--max-errors", "0"]), Some(1));
    for usage in [
        &["--max-errors", "101"][..],
        &["--max-p99-ms", "0"],
        &["--mix", "getUsers=0"],
        &["--rate", "-1"],
        &["--steady", "0"],
        &["--users", "5"],
        &["--user", "me"],
        &["--distinct-groups", "1"],
    ] {
        assert_eq!(code(usage), Some(2), "{usage:?}");
    }
    let report = against(&stub, "0.4", &["--max-p99-ms", "0.000001"]);
    let report = crate::report(&report);
    assert_eq!(
        (&report["is_good"], &report["thresholds"][0]["name"]),
        (&json!(false), &json!("max-p99-ms"))
    );
}

#[test]
fn pages_details_and_connections_are_those_that_were_asked_for() {
    let stub = Stub::start(good);
    let more = [
        "--details",
        "extended",
        "--start-at",
        "0",
        "--max-results",
        "1",
        "--connections",
        "new",
        "--mix",
        "getUsers=1",
    ];
    assert_eq!(against(&stub, "0.2", &more).status.code(), Some(0));
    let asked = stub.asked();
    let reads: Vec<&Asked> = asked.iter().filter(|asked| asked.line.contains("/getUsers/")).collect();
    assert_eq!(reads.len(), 10);
    for read in reads {
        assert!(
            read.line
                .contains("/rest/extender/1.0/group/getUsers/g?showExtendedDetails=true&startAt=0&maxResults=1 ")
        );
        assert!(
            read.head.contains("connection: close") && !read.head.contains("accept-encoding"),
            "{read:?}"
        );
    }
}
