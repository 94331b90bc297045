//! Paths that would lead elsewhere than they seem to: past a scope, out of the API, to the operator's pages.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::json;

use crate::harness::{READER, digest};
use crate::legitimate::{alone, served_throughout};
use crate::raw::{Answer, Line};
use crate::worlds::small;

const TEAM: &str = "xft_for-the-teams";

/// Spellings of a group that the caller may not see, of one that he may, and of both.
const GROUPS: &[&str] = &[
    "ops",
    "OPS",
    "%6fps",
    "%6F%70%73",
    "%256fps",
    "team-red/../ops",
    "team-red/%2e%2e/ops",
    "team-red/%2E%2E%2Fops",
    "team-red%2F..%2Fops",
    "team-red%2f%2e%2e%2fops",
    "team-red%5C..%5Cops",
    "team-red\\..\\ops",
    "team-red;/../ops",
    "team-red;x=/../ops",
    "ops;team-red",
    "ops;x=team-red",
    "ops%3Bteam-red",
    ";team-red/ops",
    "./ops",
    "../getUsers/ops",
    "%2e/ops",
    "//ops",
    "/ops//",
    "ops%00",
    "ops%00team-red",
    "team-red%00/../ops",
    "%C0%AFops",
    "team-red%C0%AE%C0%AE%C0%AFops",
    "%E0%80%AFops",
    "%EF%BD%8Fps",
    "ops%20",
    "ops%09",
    "ops?x=team-red",
    "ops%23team-red",
];

async fn get(facade: SocketAddr, target: &str, token: &str) -> Option<Answer> {
    let mut line = Line::to(facade).await;
    line.say(format!(
        "GET {target} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n"
    ))
    .await;
    line.finish().await;
    line.hear().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_leads_past_a_scope_or_out_of_the_api() {
    let _alone = alone().await;
    let members = ["acc-anna", "acc-bert", "acc-merged", "acc-nobody-knows"];
    let groups = json!([
        { "name": "team-red", "members": members },
        { "name": "ops", "members": ["acc-zoe"] },
        { "name": "g", "members": ["acc-anna", "acc-bert", "acc-merged", "acc-nobody-knows", "acc-zoe"] }
    ]);
    let world = small(groups, |settings| {
        settings.extender.missing_group_status = 404;
        let file = settings.inbound.accounts_file.clone().unwrap();
        let mut text = std::fs::read_to_string(&file).unwrap();
        let sha256 = digest(TEAM);
        write!(
            text,
            "[[token]]\nname = \"team\"\nsha256 = \"{sha256}\"\nrole = \"administrator\"\ngroups = [\"team-*\"]\n"
        )
        .unwrap();
        std::fs::write(file, text).unwrap();
    })
    .await;
    let facade = world.facade;
    let attack = move || async move {
        for _ in 0..3 {
            for group in GROUPS {
                for prefix in ["", "/wiki", "//confluence/"] {
                    let target = format!("{prefix}/rest/extender/1.0/group/getUsers/{group}");
                    let answer = get(facade, &target, TEAM).await.unwrap();
                    assert!(!answer.text().contains("\"zoe\""), "{target}: {answer:?}");
                    assert!(matches!(answer.status, 400 | 403 | 404), "{target}: {answer:?}");
                }
            }
            for target in [
                "/metrics",
                "/rest/extender/1.0/group/../../../../metrics",
                "/rest/extender/1.0/group/%2e%2e/%2e%2e/%2e%2e/%2e%2e/metrics",
                "/operations",
                "/../../../../etc/passwd",
                "/facade/v1/reports/../../../operations",
                "/facade/v1/reports/%2e%2e%2f%2e%2e%2faudit.jsonl",
                "/_sim/state",
                "/wiki/rest/api/group",
                "/rest/extender/1.0/group/getUsers",
                "/rest/extender/1.0/group/getUsers/",
                "/rest/extender/1.0/group/getUsers/;/",
            ] {
                let answer = get(facade, target, READER).await.unwrap();
                assert_eq!(answer.status, 404, "{target}: {answer:?}");
                assert!(answer.text().contains("null for uri"), "{target}: {answer:?}");
            }
        }
    };
    served_throughout(&world, "paths that lead nowhere", attack).await;
}
