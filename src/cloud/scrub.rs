//! A credential that comes back. Pages of errors and services in debugging mode show what they were sent, and their words go
//! into answers, logs and reports: so whatever was shown is taken out of an answer before anybody reads a word of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue};
use secrecy::zeroize::Zeroizing;

/// What stands where a piece of the credential stood.
const GONE: &[u8] = b"[credential]";

/// Letters in a row from which on a piece of a credential is looked for: shorter ones are words, too.
const PIECE: usize = 8;

/// The pieces of a credential that nobody else's text has.
pub(super) struct Scrub(Vec<Zeroizing<Vec<u8>>>);

impl Scrub {
    /// Of the header that is sent: its code, and for Basic authentication also the secret within.
    ///
    /// In pieces of letters and digits: what stands between them is written in other ways in JSON, in pages and in addresses.
    pub(super) fn of(header: Option<&HeaderValue>) -> Self {
        let mut pieces = Vec::new();
        let code = header.and_then(|header| {
            let bytes = header.as_bytes();
            let space = bytes.iter().position(|byte| *byte == b' ')?;
            bytes.get(space + 1..)
        });
        if let Some(code) = code {
            add(&mut pieces, code);
            if let Ok(pair) = STANDARD.decode(code).map(Zeroizing::new) {
                let secret = pair.iter().position(|byte| *byte == b':');
                add(
                    &mut pieces,
                    secret.and_then(|colon| pair.get(colon + 1..)).unwrap_or_default(),
                );
            }
        }
        Self::from(pieces)
    }

    /// Of secrets that are sent in a body.
    pub(super) fn of_secrets(secrets: &[&str]) -> Self {
        let mut pieces = Vec::new();
        for secret in secrets {
            add(&mut pieces, secret.as_bytes());
        }
        Self::from(pieces)
    }

    fn from(mut pieces: Vec<Zeroizing<Vec<u8>>>) -> Self {
        // The longest first: a piece of a piece would leave the rest of it.
        pieces.sort_by_key(|piece| std::cmp::Reverse(piece.len()));
        Self(pieces)
    }

    /// The bytes without any piece.
    pub(super) fn bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        self.0.iter().fold(bytes, |bytes, piece| without(bytes, piece))
    }

    /// A text without any piece.
    pub(super) fn text(&self, text: String) -> String {
        String::from_utf8_lossy(&self.bytes(text.into_bytes())).into_owned()
    }

    /// Headers without any piece in a value.
    pub(super) fn headers(&self, headers: &mut HeaderMap) {
        for value in headers.values_mut() {
            let scrubbed = self.bytes(value.as_bytes().to_vec());
            if scrubbed != value.as_bytes()
                && let Ok(scrubbed) = HeaderValue::from_bytes(&scrubbed)
            {
                *value = scrubbed;
            }
        }
    }
}

fn add(pieces: &mut Vec<Zeroizing<Vec<u8>>>, secret: &[u8]) {
    let mut runs = secret
        .split(|byte| !byte.is_ascii_alphanumeric())
        .filter(|run| run.len() >= PIECE)
        .peekable();
    if runs.peek().is_none() && secret.len() >= PIECE {
        return pieces.push(Zeroizing::new(secret.to_vec()));
    }
    pieces.extend(runs.map(|run| Zeroizing::new(run.to_vec())));
}

fn without(bytes: Vec<u8>, piece: &[u8]) -> Vec<u8> {
    let mut found = bytes
        .windows(piece.len())
        .enumerate()
        .filter(|(_, window)| *window == piece)
        .map(|(at, _)| at)
        .peekable();
    if piece.is_empty() || found.peek().is_none() {
        return bytes;
    }
    let (mut left, mut from) = (Vec::with_capacity(bytes.len()), 0);
    for at in found {
        // Two that overlap are one.
        if at >= from {
            left.extend_from_slice(bytes.get(from..at).unwrap_or_default());
            left.extend_from_slice(GONE);
        }
        from = at + piece.len();
    }
    left.extend_from_slice(bytes.get(from..).unwrap_or_default());
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(pair: &str) -> HeaderValue {
        HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).unwrap()
    }

    #[test]
    fn what_was_shown_is_taken_out_however_it_is_written() {
        let header = basic("robot@example.com:ATATTabcdef/ghijklmnop=+x");
        let scrub = Scrub::of(Some(&header));
        let code = STANDARD.encode("robot@example.com:ATATTabcdef/ghijklmnop=+x");
        for text in [
            "no: ATATTabcdef/ghijklmnop=+x".to_owned(),
            "no: ATATTabcdef\\/ghijklmnop".to_owned(),
            "no: ATATTabcdef%2Fghijklmnop%3D%2Bx".to_owned(),
            format!("Basic {code}{code}"),
            code.replace('=', "&#61;"),
        ] {
            let left = scrub.text(text.clone());
            assert!(left.contains("[credential]"), "{text}: {left}");
            for piece in ["ATATTabcdef", "ghijklmnop", code.get(..30).unwrap()] {
                assert!(!left.contains(piece), "{text}: {left}");
            }
        }
        assert_eq!(scrub.text("robot@example.com".to_owned()), "robot@example.com");
        let bearer = HeaderValue::from_static("Bearer 0123456789aaaaaaaaaa");
        let scrub = Scrub::of(Some(&bearer));
        assert_eq!(scrub.text("<0123456789aaaaaaaaaaa>".to_owned()), "<[credential]a>");
        let mut headers = HeaderMap::new();
        headers.insert("location", HeaderValue::from_static("https://0123456789aaaaaaaaaa@x"));
        scrub.headers(&mut headers);
        assert_eq!(headers["location"], "https://[credential]@x");
    }

    #[test]
    fn nothing_is_taken_out_where_nothing_was_shown() {
        let text = || "anything at all".to_owned();
        assert_eq!(Scrub::of(None).text(text()), text());
        let short = basic("a@b:x");
        assert_eq!(Scrub::of(Some(&short)).text(text()), text());
    }
}
