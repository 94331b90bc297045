//! Holds an answer to the state of the simulated Cloud before and after it, name by name.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::cloud::Reply;
use crate::harness::{World, texts};

/// Account ids.
pub type Members = BTreeSet<String>;

/// The true members of a group.
pub async fn members(world: &World, group: &str) -> Members {
    world.cloud.truth(group).await.into_iter().collect()
}

/// The account ids of usernames.
pub fn accounts(world: &World, names: &[String]) -> Members {
    let ids: BTreeMap<&str, &str> = world
        .cloud
        .people
        .iter()
        .map(|person| (person.username.as_str(), person.account_id.as_str()))
        .collect();
    names.iter().map(|name| ids[name.as_str()].to_owned()).collect()
}

/// The names done and the names skipped.
pub fn lists(answer: &Reply) -> (Vec<String>, Vec<String>) {
    let body = answer.json();
    let list = |ends: &[&str]| {
        let keys = ["users", "groups"]
            .iter()
            .flat_map(|what| ends.iter().map(move |end| format!("{what}{end}")));
        let found: Vec<&Value> = keys.filter_map(|key| body.get(&key)).collect();
        assert_eq!(found.len(), 1, "{body}");
        texts(found[0], None)
    };
    (list(&["Added", "Removed"]), list(&["Skipped"]))
}

/// The audit's lines of one answer's request.
pub fn audit_of(world: &World, answer: &Reply) -> Vec<Value> {
    let id = answer.header("x-facade-request-id").unwrap();
    world
        .audit()
        .into_iter()
        .filter(|line| line["request_id"] == id)
        .collect()
}

fn is_within(part: &[String], whole: &[String]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|name| rest.any(|other| other == name))
}

/// A success has every name once, in the order of the request; a failure has a time to come back. Both: the audit.
pub fn hold_answer(world: &World, asked: &[String], answer: &Reply) -> Vec<Value> {
    let audit = audit_of(world, answer);
    let mut audited: Vec<&str> = audit.iter().map(|line| line["name"].as_str().unwrap()).collect();
    let mut expected: Vec<&str> = asked.iter().map(String::as_str).collect();
    audited.sort_unstable();
    expected.sort_unstable();
    let of_audit = |result: &str| -> Vec<String> {
        let mut names: Vec<String> = audit
            .iter()
            .filter(|line| line["result"] == result)
            .map(|line| line["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    if answer.status == 200 {
        let (done, skipped) = lists(answer);
        assert!(
            is_within(&done, asked) && is_within(&skipped, asked),
            "the order is lost"
        );
        let mut told: Vec<&str> = done.iter().chain(&skipped).map(String::as_str).collect();
        told.sort_unstable();
        assert_eq!(told, expected, "every name once");
        assert_eq!(
            answer.header("x-facade-skipped"),
            Some(skipped.len().to_string().as_str())
        );
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert_eq!(message.contains("skipped"), !skipped.is_empty(), "{message}");
        assert_eq!(audited, expected, "the audit has every name once");
        let (mut done, mut skipped) = (done, skipped);
        done.sort();
        skipped.sort();
        assert_eq!(of_audit("done"), done);
        // Whoever was passed over because the licence is full is told as skipped, too.
        let mut passed_over = [of_audit("skipped"), of_audit("not_attempted")].concat();
        passed_over.sort();
        assert_eq!(passed_over, skipped);
    } else {
        assert_eq!(answer.status, 503, "{answer:?}");
        let again: u64 = answer
            .header("retry-after")
            .expect("a time to come back")
            .parse()
            .unwrap();
        assert!(again >= 1);
        let body = answer.json();
        assert_eq!(body["status-code"], 503);
        assert_eq!(body.as_object().unwrap().len(), 2);
        if !audit.is_empty() {
            assert_eq!(audited, expected, "the audit has every name once");
        }
    }
    audit
}

/// Besides [`hold_answer`]: what the audit calls done is what changed, name by name.
pub async fn hold(world: &World, group: &str, asked: &[String], answer: &Reply, before: &Members) -> Members {
    let after = members(world, group).await;
    let audit = hold_answer(world, asked, answer);
    let with = |results: &[&str]| -> Members {
        audit
            .iter()
            .filter(|line| results.iter().any(|result| line["result"] == *result))
            .filter_map(|line| line["account"].as_str().map(str::to_owned))
            .collect()
    };
    let changed: Members = before.symmetric_difference(&after).cloned().collect();
    let done = with(&["done"]);
    let perhaps = with(&["done", "in_doubt"]);
    assert!(done.is_subset(&changed), "done and not changed: {:?}", &done - &changed);
    assert!(
        changed.is_subset(&perhaps),
        "changed and not told, with {}: {:?}",
        answer.status,
        audit
            .iter()
            .filter(|line| line["account"]
                .as_str()
                .is_some_and(|id| (&changed - &perhaps).contains(id)))
            .collect::<Vec<_>>()
    );
    if answer.status == 200 {
        assert_eq!(done, changed);
    }
    after
}
