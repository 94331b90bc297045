//! The bodies of the four changing calls: one list of names, in whatever wrapping old clients send it.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize as _, Deserializer};

/// A request's body as it comes in.
pub type Incoming = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send + Sync>>;

/// Why a body could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It is larger than the limit.
    TooLarge,
    /// It did not come in time.
    TooSlow,
    /// The connection ended in the middle.
    Broken,
}

/// Reads a body of at most `limit` bytes that is there within `patience`; chunked or not makes no difference.
///
/// # Errors
/// [`Lost`].
pub async fn read(body: &mut Incoming, limit: usize, patience: Duration) -> Result<Bytes, Lost> {
    let read = async {
        let mut all = BytesMut::new();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|_| Lost::Broken)?;
            if all.len() + chunk.len() > limit {
                return Err(Lost::TooLarge);
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    };
    tokio::time::timeout(patience, read).await.unwrap_or(Err(Lost::TooSlow))
}

/// Reads away, beside the answer, what a client still sends of a body that nobody wants: many clients send the whole
/// body before they look for an answer, and a connection that is closed before that takes the answer with it. Bounded
/// by the time that a body may take anyway.
pub fn drain(mut body: Incoming, patience: Duration) {
    // Nearly every body has been read, or was never there.
    if body.next().now_or_never().is_some_and(|chunk| chunk.is_none()) {
        return;
    }
    tokio::spawn(async move {
        let read = async { while let Some(Ok(_)) = body.next().await {} };
        let _ = tokio::time::timeout(patience, read).await;
    });
}

/// The names under `key` in a JSON object.
///
/// # Errors
/// What is wrong with the body, and where.
pub fn names(body: &[u8], key: &'static str) -> Result<Vec<String>, String> {
    // Quirk: a byte order mark is passed over (docs/compatibility.md, "Bodies"): PowerShell writes one.
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(format!("the body is empty; expected {{\"{key}\":[…]}}"));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let names = Names { key }.deserialize(tracked);
    match names.and_then(|names| json.end().map(|()| names)) {
        Ok(names) => Ok(names),
        Err(error) => {
            let (path, error) = (track.path().to_string(), without_values(&error.to_string()));
            Err(if path == "." {
                error
            } else {
                let path: String = path.chars().take(MOST_TOLD).collect();
                format!("{path}: {error}")
            })
        }
    }
}

/// Letters that are told of a place in a body, and of what is wrong there.
const MOST_TOLD: usize = 150;

/// The reader's words without the text that it met: that may be a password in the wrong place, and sixteen megabytes of it.
fn without_values(told: &str) -> String {
    let told = match told.split_once("string \"") {
        Some((before, rest)) => {
            let after = rest.rfind("\", expected").and_then(|end| rest.get(end + 1..));
            format!("{before}string{}", after.unwrap_or_default())
        }
        None => told.to_owned(),
    };
    told.chars().take(MOST_TOLD).collect()
}

/// An object, and in it a list of texts under `key`; further keys are nobody's business.
struct Names {
    key: &'static str,
}

impl<'de> DeserializeSeed<'de> for Names {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Names {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with a list of texts under {:?}", self.key)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut names = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != self.key {
                map.next_value::<IgnoredAny>()?;
            } else if names.is_some() {
                return Err(A::Error::custom(format!("{:?} stands twice", self.key)));
            } else {
                names = Some(map.next_value_seed(Texts)?);
            }
        }
        names.ok_or_else(|| A::Error::custom(format!("no list under {:?}", self.key)))
    }
}

struct Texts;

impl<'de> DeserializeSeed<'de> for Texts {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        Vec::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (body, parts) in [
            ("", &["empty"][..]),
            (" \n", &["empty"]),
            ("users", &["line 1 column 1"]),
            ("{}", &["no list under \"users\""]),
            ("{\"Users\":[]}", &["no list under \"users\""]),
            ("[[\"a\"]]", &["expected an object", "line 1"]),
            ("null", &["expected an object"]),
            ("{\"users\":null}", &["users", "null", "column"]),
            ("{\"users\":\"a\"}", &["users", "string", "column"]),
            ("{\"users\":[\"a\",\n 7]}", &["users[1]", "integer", "line 2"]),
            ("{\"users\":[\"a\",null]}", &["users[1]", "null"]),
            ("{\"users\":[],\"users\":[]}", &["twice"]),
            ("{\"users\":[]} x", &["trailing"]),
            ("{\"users\":[\"a\"", &["EOF"]),
            ("{\"users\":[\"\\ud800\"]}", &["users[0]"]),
        ] {
            let error = names(body.as_bytes(), "users").unwrap_err();
            for part in parts {
                assert!(error.contains(part), "{body}: {error}");
            }
        }
        // What was read is not told, and what is told is short.
        let long = "s3cret".repeat(100_000);
        for body in [
            format!("{{\"users\":\"{long}\"}}"),
            format!("{{\"users\":[\"a\",{{\"{long}\":1}}]}}"),
            format!("{{\"{long}\":tru}}"),
            format!("\"{long}\\\", expected x\""),
        ] {
            let error = names(body.as_bytes(), "users").unwrap_err();
            assert!(error.len() < 1000 && !error.contains(": s3cret"), "{error}");
        }
        // However deep something unknown is nested, passing over it takes no stack; and nothing known nests.
        for (start, part) in [
            ("{\"x\":", "EOF"),
            ("{\"users\":", "users[0]"),
            ("", "expected an object"),
        ] {
            let deep = format!("{start}{}", "[".repeat(1_000_000));
            let error = names(deep.as_bytes(), "users").unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn extra_keys_and_a_byte_order_mark_do_not_matter() {
        let body = "\u{feff}{\"a\":{\"users\":[1]}, \"users\" : [ \"ü\", \"b\" ], \"z\":null}";
        assert_eq!(names(body.as_bytes(), "users").unwrap(), ["ü", "b"]);
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = names(&body, "users");
        }

        #[test]
        fn every_list_of_texts_comes_back(list in proptest::collection::vec(".*", 0..20)) {
            let body = serde_json::json!({ "groups": list }).to_string();
            prop_assert_eq!(names(body.as_bytes(), "groups").unwrap(), list);
        }
    }
}
