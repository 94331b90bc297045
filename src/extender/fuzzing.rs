//! The readers of what callers send, for [`crate::fuzzing`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::ExposeSecret as _;

use super::auth::{Shown, shown};
use super::dates::{Pattern, Zone, date_string};
use super::options;
use super::query::Query;
use super::target::{Target, parse};

/// A path and its query. What is read is read again when it is written with every letter escaped.
pub fn target(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let prefixes = ["", "/confluence", "/a/b"].map(str::to_owned);
    if let Some(target) = parse(path, &prefixes) {
        let escaped = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let written = match &target {
            Target::Call { call, group } => {
                let group = group.iter().map(|group| format!("/{}", escaped(group)));
                format!(
                    "/rest/extender/1.0/group/{}{}",
                    escaped(call),
                    group.collect::<String>()
                )
            }
            Target::Report { id } => format!("/facade/v1/reports/{}", escaped(id)),
        };
        assert_eq!(parse(&written, &prefixes), Some(target), "{written}");
    }

    let query = Query::parse(query);
    let mut written = url::form_urlencoded::Serializer::new(String::new());
    written.extend_pairs(query.pairs());
    let again = Query::parse(&written.finish());
    assert!(query.pairs().eq(again.pairs()), "{query:?} {again:?}");
    if let Ok(page) = query.page(1000) {
        assert!(page.max_results > 0 && page.start_at <= i32::MAX as usize, "{page:?}");
    }
    let _ = query.detail();
    let _ = options::conduct(&query, &HeaderMap::new());
}

/// The longest sentence on a body that is no list of names: it is answered and logged.
const MOST_TOLD: usize = 1000;

/// The body of a changing call. The names that are read are read again when they are written as JSON.
pub fn body(data: &[u8]) {
    match super::body::names(data, "users") {
        Ok(names) => {
            let written = serde_json::json!({ "users": names }).to_string();
            assert_eq!(super::body::names(written.as_bytes(), "users"), Ok(names));
        }
        Err(told) => assert!(told.len() <= MOST_TOLD, "{} bytes are told of a bad body", told.len()),
    }
}

/// A date pattern, behind eight bytes of an instant and one of a zone.
pub fn date(data: &[u8]) {
    const ZONES: [&str; 6] = [
        "UTC",
        "Europe/Warsaw",
        "Africa/Monrovia",
        "GMT-23:59",
        "Asia/Kathmandu",
        "Pacific/Kiritimati",
    ];
    let Some((instant, rest)) = data.split_first_chunk::<8>() else {
        return;
    };
    let Some((zone, pattern)) = rest.split_first() else {
        return;
    };
    let Ok(pattern) = std::str::from_utf8(pattern) else {
        return;
    };
    let Ok(compiled) = Pattern::compile(pattern) else {
        return;
    };
    let zone = ZONES.get(usize::from(*zone) % ZONES.len()).copied().unwrap_or("UTC");
    let zone = Zone::named(zone).expect("these zones are compiled in");
    let instant = i64::from_le_bytes(*instant);
    let written = compiled.format(instant, &zone);
    let whole = date_string(&compiled, instant, &zone);
    assert_eq!(
        whole.strip_prefix(&written).map(str::len),
        Some(" HH:mm:ss".len()),
        "{whole:?} {written:?}"
    );
    // The longest name of a zone for every letter.
    assert!(written.len() <= pattern.len().max(1) * 64, "{} bytes", written.len());
}

/// An `Authorization` header; also what else of a caller's headers is read. A pair that is read is read again.
pub fn authorization(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else {
        return;
    };
    let mut headers = HeaderMap::new();
    for name in ["idempotency-key", "x-request-id", "x-facade-dry-run"] {
        headers.insert(name, value.clone());
    }
    let _ = options::idempotency_key(&headers);
    let _ = options::conduct(&Query::default(), &headers);
    let id = super::request_id(&headers);
    assert!(id.is_none_or(|id| (1..=super::MAX_REQUEST_ID).contains(&id.len())));
    let read = |value: HeaderValue| {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value);
        shown(&headers).map(|shown| match shown {
            Shown::Basic { name, password } => (Some(name), password.expose_secret().to_owned()),
            Shown::Bearer(token) => (None, token.expose_secret().to_owned()),
        })
    };
    let Some((name, secret)) = read(value) else { return };
    let written = match &name {
        Some(name) => {
            assert!(!name.contains(':'), "{name:?}");
            format!("Basic {}", STANDARD.encode(format!("{name}:{secret}")))
        }
        None => format!("Bearer {secret}"),
    };
    let written = HeaderValue::from_str(&written).expect("what came in a header goes into one");
    assert_eq!(read(written), Some((name, secret)));
}
