//! What a changing call may say besides its names: that it is a dry run, and a key of its own.

use http::{HeaderMap, HeaderName, StatusCode};

use super::Error;
use super::query::Query;
use crate::directory::Conduct;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest key.
const MAX_KEY: usize = 255;

/// Whether the call is a dry run. Whoever writes something that looks like it and is not exactly it, means to change
/// nothing: that is never a real run.
///
/// # Errors
/// A parameter or a header that is nearly right.
pub fn conduct(query: &Query, headers: &HeaderMap) -> Result<Conduct, Error> {
    let mut conduct = Conduct::Real;
    for (name, value) in query.pairs() {
        if (name, value) == ("dryRun", "true") {
            conduct = Conduct::Dry;
            continue;
        }
        // No other parameter of these calls has anything to do with it, wherever the word stands.
        let all = name.chars().chain(value.chars());
        let letters: String = all
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect();
        if letters.contains("dryrun") {
            return Err(bad(format!(
                "{name}={value}: a dry run is asked for by dryRun=true, a real run by leaving it out; nothing was changed"
            )));
        }
    }
    for value in headers.get_all(super::reply::DRY_RUN) {
        if value.as_bytes() != b"true" {
            let text = "X-Facade-Dry-Run: only true is known; leave the header out for a real run; nothing was changed";
            return Err(bad(text.to_owned()));
        }
        conduct = Conduct::Dry;
    }
    Ok(conduct)
}

/// The caller's own key for the call.
///
/// # Errors
/// No key that can be kept, or several.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(first) = keys.next() else { return Ok(None) };
    let text = first.to_str().ok().map(str::trim);
    // The draft of the standard has it as a quoted text; most write it bare.
    let text = text.map(|text| {
        text.strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .unwrap_or(text)
    });
    match text.filter(|text| (1..=MAX_KEY).contains(&text.len()) && keys.next().is_none()) {
        Some(key) => Ok(Some(key.to_owned())),
        None => Err(bad(format!(
            "Idempotency-Key: one text of 1 to {MAX_KEY} printable letters of ASCII; nothing was changed"
        ))),
    }
}

fn bad(text: String) -> Error {
    Error::new(StatusCode::BAD_REQUEST, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_the_exact_words_are_a_dry_run_and_nothing_like_them_is_a_real_one() {
        let judged = |raw: &str, pairs: &[(&'static str, &'static str)]| {
            conduct(&Query::parse(raw), &headers(pairs)).map_err(|error| error.status.as_u16())
        };
        assert_eq!(judged("", &[]), Ok(Conduct::Real));
        assert_eq!(judged("x=y&dry=true&running=true", &[]), Ok(Conduct::Real));
        assert_eq!(judged("dryRun=true", &[]), Ok(Conduct::Dry));
        assert_eq!(judged("a=1&dryRun=true&dryRun=true", &[]), Ok(Conduct::Dry));
        assert_eq!(judged("dry%52un=true", &[]), Ok(Conduct::Dry));
        assert_eq!(judged("", &[("x-facade-dry-run", "true")]), Ok(Conduct::Dry));
        for raw in [
            "dryrun=true",
            "DRYRUN=true",
            "dry_run=true",
            "dry-run=true",
            "dryRun",
            "dryRun=",
            "dryRun=false",
            "dryRun=True",
            "dryRun=1",
            "dryRun=true%20",
            "dryRun=true&dryRun=false",
            "dryRun%20=true",
            "dryRuns=true",
            "x=dryRun",
            "x=1;dryRun=true",
            "dryRun%3Dtrue",
            "dryRun:true",
            "x=1&amp;dryRun=true",
        ] {
            assert_eq!(judged(raw, &[]), Err(400), "{raw}");
        }
        for value in ["false", "TRUE", "1", "", "true, true"] {
            assert_eq!(judged("", &[("x-facade-dry-run", value)]), Err(400), "{value}");
        }
        assert_eq!(
            judged("", &[("x-facade-dry-run", "true"), ("x-facade-dry-run", "false")]),
            Err(400)
        );
    }

    #[test]
    fn a_key_is_one_text_with_or_without_quotes() {
        let key = |pairs: &[(&'static str, &'static str)]| {
            idempotency_key(&headers(pairs)).map_err(|error| error.status.as_u16())
        };
        assert_eq!(key(&[]), Ok(None));
        assert_eq!(key(&[("idempotency-key", "a b")]), Ok(Some("a b".to_owned())));
        assert_eq!(key(&[("idempotency-key", "\"a\"")]), Ok(Some("a".to_owned())));
        assert_eq!(key(&[("idempotency-key", "")]), Err(400));
        assert_eq!(key(&[("idempotency-key", "ä")]), Err(400));
        assert_eq!(key(&[("idempotency-key", "a"), ("idempotency-key", "a")]), Err(400));
        let long: &'static str = "x".repeat(256).leak();
        assert_eq!(key(&[("idempotency-key", long)]), Err(400));
    }
}
