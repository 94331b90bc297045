//! Values that TOML and the environment write in their own ways.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde::de::{self, Deserializer};

pub(super) fn optional_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}

pub(super) fn optional_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        // Without the text, which may be a secret under the wrong key.
        .map_err(|_| de::Error::custom("this is not an address like 127.0.0.1:8092"))
}

/// The first instant at which something is over that says when: after the whole day in UTC if `text` is a date
/// (2027-01-31), else an instant with its zone (2027-01-31T12:00:00Z).
#[must_use]
pub fn end_of(text: &str) -> Option<Timestamp> {
    let is_date = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if !is_date {
        return text.parse().ok();
    }
    let next_day = text.parse::<Date>().ok()?.tomorrow().ok()?;
    Some(next_day.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// When something is over; an empty text is never.
pub(super) fn optional_instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    end_of(&text).map(Some).ok_or_else(|| {
        de::Error::custom("this is neither a date (2027-01-31) nor an instant with its zone (2027-01-31T12:00:00Z)")
    })
}

/// A list, or its parts in one text with commas between, as an environment variable gives it.
pub(super) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Either;
    impl<'de> de::Visitor<'de> for Either {
        type Value = Vec<String>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of texts, or one text with commas")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(text.split(',').map(|part| part.trim().to_owned()).collect())
        }
        fn visit_seq<A: de::SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(part) = parts.next_element()? {
                all.push(part);
            }
            Ok(all)
        }
    }
    deserializer.deserialize_any(Either)
}

/// A list of names: the same, and an empty text is none.
pub(super) fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let all = list(deserializer)?;
    Ok(if all == [""] { Vec::new() } else { all })
}

/// A word that names a variant of `T`. What is written instead of one is not told: it may be a secret under the wrong key.
pub(super) fn word<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    let read = T::deserialize(de::value::StringDeserializer::<de::value::Error>::new(text));
    read.map_err(|fault| {
        let fault = fault.to_string();
        let expected = fault.rfind("expected").and_then(|at| fault.get(at..));
        de::Error::custom(expected.unwrap_or("this is none of the words that are expected"))
    })
}

/// A list of words that each name a variant of `T`.
pub(super) fn words<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    list(deserializer)?
        .into_iter()
        .map(|text| {
            T::deserialize(de::value::StringDeserializer::<de::value::Error>::new(text)).map_err(de::Error::custom)
        })
        .collect()
}
