//! What a caller shows: the `Authorization` header, read as leniently as the legacy server read it.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use secrecy::SecretString;

/// A credential, not judged yet.
#[derive(Debug)]
pub enum Shown {
    /// A name and a password, or an e-mail address and an API token.
    Basic {
        /// The part before the first colon.
        name: String,
        /// The part behind it.
        password: SecretString,
    },
    /// A token.
    Bearer(SecretString),
}

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The credential of a request; none where there is no header, or none of the two schemes, or nothing readable in it.
/// A password in the query (`os_password`) is no credential: it stands in every log on the way.
#[must_use]
pub fn shown(headers: &HeaderMap) -> Option<Shown> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, rest) = value.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !rest.is_empty() {
        return Some(Shown::Bearer(rest.into()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = LENIENT.decode(rest).ok()?;
    // Quirk: passwords in ISO-8859-1 (docs/compatibility.md, "Credentials"): old Java clients encode them so.
    let pair =
        String::from_utf8(bytes).unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect());
    let (name, password) = pair.split_once(':')?;
    Some(Shown::Basic {
        name: name.to_owned(),
        password: password.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    fn read(value: &[u8]) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, http::HeaderValue::from_bytes(value).unwrap());
        match shown(&headers)? {
            Shown::Basic { name, password } => Some((name, password.expose_secret().to_owned())),
            Shown::Bearer(token) => Some(("bearer".to_owned(), token.expose_secret().to_owned())),
        }
    }

    #[test]
    fn both_schemes_are_read_in_any_case_with_or_without_padding() {
        let pair = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
        assert_eq!(read(b"Basic YWRtaW46YTpi"), pair("admin", "a:b"));
        assert_eq!(read(b"bASIC  YTpi "), pair("a", "b"));
        assert_eq!(read(b"Basic YWE6Yg"), pair("aa", "b"));
        assert_eq!(read(b"Basic YTrk"), pair("a", "ä"));
        assert_eq!(read(b"BEARER xft_1"), pair("bearer", "xft_1"));
        for nothing in ["Basic", "Basic !!!", "Basic YWRtaW4=", "Digest x", "Bearer ", "\u{e4}"] {
            assert_eq!(read(nothing.as_bytes()), None, "{nothing}");
        }
    }
}
