//! Reports as JSON: for callers, for operators, and for the command line. They have one form wherever they are asked for.

#[cfg(test)]
pub mod samples;
pub mod waits;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::model::report::{Name, Report, State, Summary};
use crate::model::{AccountId, Fate, GroupId, GroupName, Verdict, Wait};

/// Whether a report lists the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Every name with its fate.
    Listed,
    /// The figures alone.
    LeftOut,
}

/// The report as a JSON object.
///
/// # Panics
/// Never.
#[must_use]
pub fn render(report: &Report, names: Names) -> Vec<u8> {
    let mut body = Vec::with_capacity(1024 + report.names.len() * 160);
    serde_json::to_writer(&mut body, &Answer::of(report, names))
        .expect("texts, numbers and lists of them always become JSON");
    body
}

#[derive(Serialize)]
struct Answer<'a> {
    id: &'a str,
    operation: &'static str,
    caller: &'a str,
    request_id: &'a str,
    state: &'static str,
    cause: Option<&'a str>,
    dry_run: bool,
    group: Option<Group<'a>>,
    started_at: Option<String>,
    finished_at: Option<String>,
    progress: Progress,
    /// Reasons with the number of names.
    skipped: BTreeMap<&'static str, usize>,
    plan: Value,
    cloud: Cloud,
    no_access_granted: bool,
    undo_of: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<Rows<'a>>,
}

#[derive(Serialize)]
struct Group<'a> {
    id: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
struct Progress {
    asked: usize,
    settled: usize,
    done: usize,
    skipped: usize,
    in_doubt: usize,
    left: usize,
}

#[derive(Serialize)]
struct Cloud {
    calls: u64,
    retries: u64,
    waited_ms: u64,
    /// Reasons with their part of it; those for which nothing was waited are left out.
    waited_for_ms: BTreeMap<&'static str, u64>,
}

/// The names, written one by one.
struct Rows<'a>(&'a [Name]);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Row::of))
    }
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    account: Option<&'a str>,
    group_id: Option<&'a str>,
    outcome: &'static str,
    reason: Option<&'static str>,
}

impl<'a> Row<'a> {
    fn of(name: &'a Name) -> Self {
        let (outcome, reason) = match name.verdict {
            None => ("pending", None),
            Some(Verdict::InDoubt) => ("in_doubt", None),
            Some(Verdict::Told(Fate::Done)) => ("done", None),
            Some(Verdict::Told(Fate::Skipped(reason))) => ("skipped", Some(reason.as_str())),
        };
        Self {
            name: &name.name,
            account: name.account.as_ref().map(AccountId::as_str),
            group_id: name.group.as_ref().map(GroupId::as_str),
            outcome,
            reason,
        }
    }
}

/// A list of operations as a JSON object.
///
/// # Panics
/// Never.
#[must_use]
pub fn list(operations: &[Summary]) -> Vec<u8> {
    #[derive(Serialize)]
    struct List<'a> {
        operations: Vec<Line<'a>>,
    }
    let operations = operations.iter().map(Line::of).collect();
    serde_json::to_vec(&List { operations }).expect("texts, numbers and lists of them always become JSON")
}

#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    operation: &'static str,
    caller: &'a str,
    state: &'static str,
    cause: Option<&'a str>,
    dry_run: bool,
    group: Option<&'a str>,
    started_at: Option<String>,
    finished_at: Option<String>,
    done: u64,
    skipped: u64,
    in_doubt: u64,
    left: u64,
}

impl<'a> Line<'a> {
    fn of(summary: &'a Summary) -> Self {
        Self {
            id: summary.id.as_str(),
            operation: summary.kind.as_str(),
            caller: &summary.caller,
            state: summary.state.as_str(),
            cause: cause(&summary.state),
            dry_run: summary.dry_run,
            group: summary.group.as_ref().map(GroupName::as_str),
            started_at: time(summary.started_at),
            finished_at: summary.finished_at.and_then(time),
            done: summary.tally.done,
            skipped: summary.tally.skipped,
            in_doubt: summary.tally.in_doubt,
            left: summary.tally.left,
        }
    }
}

/// Why an operation ended early.
fn cause(state: &State) -> Option<&str> {
    match state {
        State::Interrupted(cause) => Some(cause),
        State::Running | State::Finished => None,
    }
}

/// A time in epoch milliseconds as RFC 3339 writes it, in UTC; none for a time beyond all calendars.
#[must_use]
pub fn time(millis: i64) -> Option<String> {
    let time = Timestamp::from_millisecond(millis).ok()?;
    Some(format!("{time:.3}"))
}

impl<'a> Answer<'a> {
    fn of(report: &'a Report, names: Names) -> Self {
        let mut skipped = BTreeMap::new();
        let (mut done, mut in_doubt) = (0, 0);
        for name in &report.names {
            match name.verdict {
                None => {}
                Some(Verdict::InDoubt) => in_doubt += 1,
                Some(Verdict::Told(Fate::Done)) => done += 1,
                Some(Verdict::Told(Fate::Skipped(reason))) => *skipped.entry(reason.as_str()).or_default() += 1,
            }
        }
        let reason = |(wait, ms): (Wait, u64)| (wait.as_str(), ms);
        let (asked, settled) = (report.names.len(), report.settled());
        let group = |(id, name): &'a (GroupId, GroupName)| Group {
            id: id.as_str(),
            name: name.as_str(),
        };
        Self {
            id: report.id.as_str(),
            operation: report.kind.as_str(),
            caller: &report.caller,
            request_id: &report.request,
            state: report.state.as_str(),
            cause: cause(&report.state),
            dry_run: report.dry_run,
            group: report.group.as_ref().map(group),
            started_at: time(report.started_at),
            finished_at: report.finished_at.and_then(time),
            progress: Progress {
                asked,
                settled,
                done,
                skipped: skipped.values().sum(),
                in_doubt,
                left: asked - settled,
            },
            skipped,
            plan: serde_json::from_str(&report.plan).unwrap_or_default(),
            cloud: Cloud {
                calls: report.cost.calls,
                retries: report.cost.retries,
                waited_ms: report.cost.waited_ms,
                waited_for_ms: report.cost.waits.iter().map(reason).collect(),
            },
            no_access_granted: report.no_access_granted,
            undo_of: report.undo_of.as_ref().map(crate::model::OperationId::as_str),
            names: (names == Names::Listed).then_some(Rows(&report.names)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn json(report: &Report, names: Names) -> Value {
        serde_json::from_slice(&render(report, names)).unwrap()
    }

    #[test]
    fn a_finished_report_tells_everything_but_the_secrets() {
        let account = "557058:f58131cb-b67d-43c7-b30d-6b58d40bd077";
        let expected = json!({
            "id": "0123456789abcdef0123456789abcdef",
            "operation": "add_members",
            "caller": "jenkins",
            "request_id": "req-1",
            "state": "finished",
            "cause": null,
            "dry_run": false,
            "group": {"id": "g-1", "name": "developers"},
            "started_at": "2023-11-14T22:13:20.123Z",
            "finished_at": "2023-11-14T22:14:21.000Z",
            "progress": {"asked": 4, "settled": 4, "done": 1, "skipped": 2, "in_doubt": 1, "left": 0},
            "skipped": {"already_member": 1, "unknown": 1},
            "plan": {
                "changes": 2,
                "reads": {"find_group": 1, "list_members": 3},
                "seconds": 61.5,
                "notes": ["<b>", null, true],
            },
            "cloud": {
                "calls": 12345,
                "retries": 6,
                "waited_ms": 7890,
                "waited_for_ms": {"pace": 2000, "pause": 5840, "backoff": 50},
            },
            "no_access_granted": false,
            "undo_of": null,
            "names": [
                {"name": "hopper", "account": account, "group_id": null, "outcome": "done", "reason": null},
                {"name": "lovelace", "account": account, "group_id": null, "outcome": "skipped", "reason": "already_member"},
                {"name": "nobody", "account": null, "group_id": null, "outcome": "skipped", "reason": "unknown"},
                {"name": "turing", "account": account, "group_id": null, "outcome": "in_doubt", "reason": null},
            ],
        });
        assert_eq!(json(&samples::finished(), Names::Listed), expected);
        let text = String::from_utf8(render(&samples::finished(), Names::Listed)).unwrap();
        assert!(
            !text.contains("the-callers-key") && !text.contains("the-callers-own-key"),
            "{text}"
        );
    }

    #[test]
    fn a_line_of_the_list_tells_how_many_ended_how() {
        let report = samples::finished();
        let summary = Summary {
            id: report.id.clone(),
            kind: report.kind,
            caller: report.caller.clone(),
            group: report.group.clone().map(|(_, name)| name),
            dry_run: false,
            started_at: report.started_at,
            finished_at: None,
            state: State::Interrupted("stopped".to_owned()),
            tally: report.tally(),
        };
        let list: Value = serde_json::from_slice(&list(&[summary])).unwrap();
        assert_eq!(
            list,
            json!({ "operations": [{
                "id": "0123456789abcdef0123456789abcdef",
                "operation": "add_members",
                "caller": "jenkins",
                "state": "interrupted",
                "cause": "stopped",
                "dry_run": false,
                "group": "developers",
                "started_at": "2023-11-14T22:13:20.123Z",
                "finished_at": null,
                "done": 1, "skipped": 2, "in_doubt": 1, "left": 0,
            }] })
        );
    }

    #[test]
    fn a_running_report_has_no_end_and_names_that_are_pending() {
        let json = json(&samples::running(), Names::Listed);
        assert_eq!(json["state"], "running");
        assert_eq!(json["finished_at"], Value::Null);
        assert_eq!(
            json["progress"],
            json!({"asked": 4, "settled": 2, "done": 1, "skipped": 1, "in_doubt": 0, "left": 2})
        );
        assert_eq!(json["names"][3]["outcome"], "pending");
    }

    #[test]
    fn what_ended_early_says_why_and_what_is_no_json_is_no_plan() {
        let mut report = samples::finished();
        report.state = State::Interrupted("the server was \"stopped\"\n".to_owned());
        report.plan = "{\"half".to_owned();
        report.started_at = i64::MAX;
        report.group = None;
        report.cost.waits = crate::model::Waits::default();
        let json = json(&report, Names::LeftOut);
        assert_eq!(json["state"], "interrupted");
        assert_eq!(json["cause"], "the server was \"stopped\"\n");
        assert_eq!(
            (&json["plan"], &json["started_at"], &json["group"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
        assert!(json.get("names").is_none());
        assert_eq!(
            (&json["cloud"]["waited_ms"], &json["cloud"]["waited_for_ms"]),
            (&json!(7890), &json!({}))
        );
    }

    #[test]
    fn names_come_back_as_they_were_sent_in_their_order() {
        let hostile = [
            "<script>",
            "\"",
            "\u{0}\u{1b}[2J",
            "\u{202e}txt",
            "אבג",
            &"x".repeat(100_000),
            "",
            "\u{2028}",
        ];
        let mut report = samples::finished();
        report.names = hostile.iter().map(|text| samples::name(text, None)).collect();
        let json = json(&report, Names::Listed);
        let names: Vec<&str> = json["names"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, hostile);
    }

    #[test]
    fn ten_thousand_names_are_told_in_order() {
        let report = samples::large(10_000);
        let json = json(&report, Names::Listed);
        let names = json["names"].as_array().unwrap();
        assert!(
            names
                .iter()
                .zip(&report.names)
                .all(|(row, name)| row["name"] == name.name)
        );
        assert_eq!(names.len(), 10_000);
        let skipped: u64 = json["skipped"]
            .as_object()
            .unwrap()
            .values()
            .map(|n| n.as_u64().unwrap())
            .sum();
        assert_eq!(skipped, 2_500);
    }
}
