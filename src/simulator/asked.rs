//! What the other sources of identity were asked for, for `GET /_sim/asked`: a test can see that nobody was asked for twice.
use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::request::Request;
use super::routes::Operation;

/// Beyond so many different entries of one source no new ones are kept.
const MOST: usize = 100_000;

type Counts = BTreeMap<String, u64>;

#[derive(Debug, Default)]
struct Sources {
    admin: Counts,
    scim: Counts,
    jira: Counts,
}

/// How often each address, filter and query was asked for, whatever the answer was.
#[derive(Debug, Default)]
pub(super) struct Asked(Mutex<Sources>);

impl Asked {
    /// Notes what a request asks for, exactly as it is written.
    pub(super) fn arrived(&self, operation: Operation, request: &Request) {
        match operation {
            Operation::AdminSearchUsers => {
                let body: Value =
                    serde_json::from_slice(request.body.as_deref().unwrap_or_default()).unwrap_or_default();
                let emails = body.get("emails").and_then(Value::as_array);
                let mut sources = self.0.lock();
                for email in emails.into_iter().flatten().filter_map(Value::as_str) {
                    count(&mut sources.admin, email);
                }
            }
            Operation::ScimUsers => {
                if let Some(filter) = request.first("filter") {
                    count(&mut self.0.lock().scim, filter);
                }
            }
            Operation::JiraFindUser => {
                if let Some(query) = request.first("query") {
                    count(&mut self.0.lock().jira, query);
                }
            }
            _ => {}
        }
    }

    pub(super) fn zero(&self) {
        *self.0.lock() = Sources::default();
    }

    pub(super) fn shown(&self) -> Value {
        let sources = self.0.lock();
        json!({"admin": sources.admin, "scim": sources.scim, "jira": sources.jira})
    }
}

fn count(counts: &mut Counts, key: &str) {
    if let Some(known) = counts.get_mut(key) {
        *known += 1;
    } else if counts.len() < MOST {
        counts.insert(key.to_owned(), 1);
    }
}
