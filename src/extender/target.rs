//! What a request's path means. Pure.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// A path below the API's base, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One of the legacy calls, or what could be one.
    Call {
        /// The call's name in the path.
        call: String,
        /// The segment behind it, where there is one.
        group: Option<String>,
    },
    /// The report of a changing call.
    Report {
        /// What stands for its id.
        id: String,
    },
}

/// Finds what is asked for in a raw path, below any of the `prefixes`. `None`: no such resource, or an escape that is none.
#[must_use]
pub fn parse(raw: &str, prefixes: &[String]) -> Option<Target> {
    // Quirk: repeated slashes count as one (docs/compatibility.md, "Paths"): scripts glue a base URL that ends in a
    // slash to a path that begins with one. One trailing slash goes the same way.
    // Quirk: everything from `;` on is cut (docs/compatibility.md, "Paths"): matrix parameters such as `;jsessionid=`.
    // Cut before empty segments go: `getUsers/;jsessionid=1` names no group.
    let segments = raw.split('/').filter_map(|segment| segment.split(';').next());
    let segments = segments.filter(|segment| !segment.is_empty());
    let decoded: Vec<Cow<'_, str>> = segments.map(decode).collect::<Option<_>>()?;
    let decoded: Vec<&str> = decoded.iter().map(AsRef::as_ref).collect();
    prefixes.iter().find_map(|prefix| {
        let mut rest = decoded.as_slice();
        for wanted in prefix.split('/').filter(|segment| !segment.is_empty()) {
            let (first, others) = rest.split_first()?;
            if *first != wanted {
                return None;
            }
            rest = others;
        }
        match rest {
            // Quirk: `latest` stands for the version (docs/compatibility.md, "Paths"): the REST module's own alias.
            ["rest", "extender", "1.0" | "latest", "group", call, group @ ..] if group.len() <= 1 => {
                Some(Target::Call {
                    call: (*call).to_owned(),
                    group: group.first().map(|group| (*group).to_owned()),
                })
            }
            ["facade", "v1", "reports", id] => Some(Target::Report { id: (*id).to_owned() }),
            _ => None,
        }
    })
}

/// One segment, percent-decoded once, as UTF-8. A `+` is a plus, `%2F` a slash.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let hex = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
            if !(hex(bytes.next()) && hex(bytes.next())) {
                return None;
            }
        }
    }
    percent_decode_str(text).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(raw: &str) -> Option<(String, Option<String>)> {
        let prefixes = ["", "/confluence", "/a/b"].map(str::to_owned);
        match parse(raw, &prefixes)? {
            Target::Call { call, group } => Some((call, group)),
            Target::Report { id } => Some(("a report".to_owned(), Some(id))),
        }
    }

    #[test]
    fn every_spelling_of_a_path_leads_to_its_call() {
        let group = |name: &str| Some(("getUsers".to_owned(), Some(name.to_owned())));
        for (raw, expected) in [
            ("/rest/extender/1.0/group/getUsers/dev", group("dev")),
            ("//rest//extender/latest/group/getUsers/dev/", group("dev")),
            ("/confluence/rest/extender/1.0/group/getUsers/dev", group("dev")),
            ("/a/b/rest/extender/1.0/group/getUsers/dev", group("dev")),
            ("/rest/extender/1%2E0/group/getUsers/a%20b+c%2Fd", group("a b+c/d")),
            ("/rest/extender/1.0/group/getUsers/dev;jsessionid=1", group("dev")),
            ("/rest/extender/1.0/group/getUsers/a%3Bb", group("a;b")),
            ("/rest/extender/1.0/group/getUsers/%25%32%30", group("%20")),
            ("/rest/extender/1.0/group/getUsers/Z%C3%BCrich", group("Zürich")),
            (
                "/rest/extender/1.0/group/getGroups",
                Some(("getGroups".to_owned(), None)),
            ),
            (
                "/rest/extender/1.0/group/getUsers/;jsessionid=1",
                Some(("getUsers".to_owned(), None)),
            ),
            (
                "/facade/v1/reports/0f",
                Some(("a report".to_owned(), Some("0f".to_owned()))),
            ),
            (
                "/a/b//facade/v1/reports/0f/",
                Some(("a report".to_owned(), Some("0f".to_owned()))),
            ),
            ("/facade/v1/reports", None),
            ("/facade/v1/reports/0f/names", None),
            ("/facade/latest/reports/0f", None),
            ("/rest/extender/1.0/group/getUsers/100%", None),
            ("/rest/extender/1.0/group/getUsers/%zz", None),
            ("/rest/extender/1.0/group/getUsers/%+1", None),
            ("/rest/extender/1.0/group/getUsers/caf%E9", None),
            ("/rest/extender/2.0/group/getGroups", None),
            ("/rest/extender/1.0/group/getUsers/a/b", None),
            ("/other/rest/extender/1.0/group/getGroups", None),
            ("/a/rest/extender/1.0/group/getGroups", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(read(raw), expected, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn a_name_that_was_encoded_comes_back(name in "[^/;]{1,40}") {
            let encoded = percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC);
            let read = read(&format!("/rest/extender/1.0/group/getUsers/{encoded}"));
            prop_assert_eq!(read, Some(("getUsers".to_owned(), Some(name))));
        }

        #[test]
        fn no_path_panics(raw in ".*") {
            let _ = read(&raw);
        }
    }
}
