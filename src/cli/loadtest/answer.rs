//! What an answer says: whether it is what its call is answered with, and what a change did. Pure.

use std::fmt;

use serde::Deserialize;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;

use super::mix::Call;

/// What is wrong with an answer whose status is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is not the JSON of its call.
    InvalidJson,
    /// Fewer rows, or more, than its page must have by its own numbers.
    ShortList,
}

/// The names that a change did; empty for a read.
///
/// # Errors
/// What is wrong with the body.
pub(super) fn read(call: Call, body: &[u8]) -> Result<Vec<String>, Fault> {
    match call {
        Call::GetUsers | Call::GetGroups => page(call, body).map(|()| Vec::new()),
        Call::AddUsers | Call::AddGroups => done(body, "Added"),
        Call::RemoveUsers | Call::RemoveGroups => done(body, "Removed"),
    }
}

/// A page of a list; rows are counted, not kept.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    total: u64,
    max_results: u64,
    start_at: u64,
    users: Option<Count>,
    groups: Option<Count>,
}

struct Count(u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Counting;
        impl<'de> Visitor<'de> for Counting {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<Count, A::Error> {
                let mut count = 0;
                while rows.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Count(count))
            }
        }
        from.deserialize_seq(Counting)
    }
}

fn page(call: Call, body: &[u8]) -> Result<(), Fault> {
    let page: Page = serde_json::from_slice(body).map_err(|_| Fault::InvalidJson)?;
    let rows = if call == Call::GetUsers {
        page.users
    } else {
        page.groups
    };
    let Count(rows) = rows.ok_or(Fault::InvalidJson)?;
    let expected = page.total.saturating_sub(page.start_at).min(page.max_results);
    if rows == expected {
        Ok(())
    } else {
        Err(Fault::ShortList)
    }
}

/// The names of the list whose key ends so.
fn done(body: &[u8], ending: &str) -> Result<Vec<String>, Fault> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| Fault::InvalidJson)?;
    let lists = answer.as_object().ok_or(Fault::InvalidJson)?;
    let (_, names) = lists
        .iter()
        .find(|(key, _)| key.ends_with(ending))
        .ok_or(Fault::InvalidJson)?;
    let names = names.as_array().ok_or(Fault::InvalidJson)?;
    let text = |name: &Value| name.as_str().map(str::to_owned).ok_or(Fault::InvalidJson);
    names.iter().map(text).collect()
}

/// The names by which the rows of a page of users are known, in lower case.
pub(super) fn member_names(body: &[u8]) -> Option<Vec<String>> {
    page(Call::GetUsers, body).ok()?;
    let page: Value = serde_json::from_slice(body).ok()?;
    let rows = page.get("users")?.as_array()?;
    let words = rows.iter().flat_map(|row| {
        let word = |key: &str| row.get(key).and_then(Value::as_str);
        ["name", "key", "email"].into_iter().filter_map(word)
    });
    Some(words.map(str::to_lowercase).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_the_rows_that_its_numbers_say() {
        let get = |body: &str| read(Call::GetUsers, body.as_bytes());
        let page = |total, most, start, rows: &str| {
            get(&format!(
                r#"{{"total":{total},"maxResults":{most},"startAt":{start},"users":[{rows}],"status":"success"}}"#
            ))
        };
        assert_eq!(page(2, 100, 0, r#"{"name":"a"},{"name":"b"}"#), Ok(Vec::new()));
        assert_eq!(page(5, 2, 4, r#"{"name":"a"}"#), Ok(Vec::new()));
        assert_eq!(page(5, 2, 9, ""), Ok(Vec::new()));
        assert_eq!(page(3, 100, 0, r#"{"name":"a"}"#), Err(Fault::ShortList));
        assert_eq!(page(450, 1000, 0, r#"{"name":"a"}"#), Err(Fault::ShortList));
        assert_eq!(page(1, 100, 0, r#"{"name":"a"},{"name":"b"}"#), Err(Fault::ShortList));
    }

    #[test]
    fn what_is_not_the_json_of_its_call_is_told() {
        for body in [
            "",
            "{",
            "<html>",
            "[]",
            "{}",
            r#"{"total":0,"maxResults":1,"startAt":0}"#,
        ] {
            for call in Call::ALL {
                assert_eq!(read(call, body.as_bytes()), Err(Fault::InvalidJson), "{call:?} {body}");
            }
        }
        let groups = br#"{"total":0,"maxResults":1,"startAt":0,"groups":[],"message":"","status":"success"}"#;
        assert_eq!(read(Call::GetGroups, groups), Ok(Vec::new()));
        assert_eq!(read(Call::GetUsers, groups), Err(Fault::InvalidJson));
    }

    #[test]
    fn a_change_tells_what_it_did() {
        let added = br#"{"xAdded":["a","b"],"xSkipped":["c"],"message":"m","status":"success"}"#;
        assert_eq!(read(Call::AddUsers, added).unwrap(), ["a", "b"]);
        assert_eq!(read(Call::RemoveUsers, added), Err(Fault::InvalidJson));
        assert_eq!(read(Call::AddGroups, br#"{"gAdded":[1]}"#), Err(Fault::InvalidJson));
    }

    #[test]
    fn a_member_is_known_by_every_name_of_the_row() {
        let body = br#"{"total":1,"maxResults":9,"startAt":0,"users":[{"name":"JDoe","fullName":"J","key":"k1","email":"J@x"}]}"#;
        assert_eq!(member_names(body).unwrap(), ["jdoe", "k1", "j@x"]);
        assert_eq!(member_names(b"{}"), None);
    }
}
