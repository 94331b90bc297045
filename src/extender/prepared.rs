//! The answers to the two lists: made once in each form in which they are asked for, compressed once, and sent as they are
//! from then on.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

use crate::model::{Form, Listing};

/// From so many bytes on an answer is compressed on a thread of its own: the milliseconds are everybody else's, too.
const LARGE: usize = 64 * 1024;

/// The answer in this form, made by `make` if nobody has asked for it before. Shorter ones than `compress_from` bytes are
/// sent as they are, whatever the form says. Returns with it whether it is compressed.
pub async fn prepared<T>(
    listing: &Listing<T>,
    mut form: Form,
    compress_from: usize,
    make: impl FnOnce() -> Vec<u8>,
) -> (Arc<Bytes>, bool) {
    if let Some(ready) = listing.prints.get(&form) {
        return (ready, form.is_compressed);
    }
    let wants_compressed = std::mem::replace(&mut form.is_compressed, false);
    let plain = listing.prints.get(&form).unwrap_or_else(|| {
        let made = Arc::new(Bytes::from(make()));
        listing.prints.keep(&form, &made);
        made
    });
    if !wants_compressed || plain.len() < compress_from {
        return (plain, false);
    }
    let text = Bytes::clone(&plain);
    let compressed = if text.len() < LARGE {
        gzip(&text)
    } else {
        tokio::task::spawn_blocking(move || gzip(&text)).await.ok().flatten()
    };
    let Some(compressed) = compressed else {
        return (plain, false);
    };
    form.is_compressed = true;
    let compressed = Arc::new(compressed);
    listing.prints.keep(&form, &compressed);
    (compressed, true)
}

/// Nothing where it fails, which memory does not: what is not compressed is as good an answer.
fn gzip(text: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::default());
    encoder.write_all(text).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// Whether a client says that it reads gzip (RFC 9110, section 12.5.3).
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter();
    let codings = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let mut any = false;
    for coding in codings {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let is_wanted = weight(parameters) > 0.0;
        match name.trim() {
            // Said by name, it outranks what is said of all.
            name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => return is_wanted,
            "*" => any = is_wanted,
            _ => {}
        }
    }
    any
}

/// What is not to be understood is no wish for it.
fn weight(parameters: &str) -> f32 {
    let mut weights = parameters.split(';').filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("q")
            .then(|| value.trim().parse().unwrap_or(0.0))
    });
    weights.next().unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Detail, Page};
    use std::cell::Cell;

    fn accepts(values: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT_ENCODING, http::HeaderValue::from_static(value));
        }
        accepts_gzip(&headers)
    }

    #[test]
    fn gzip_is_sent_to_who_says_that_it_reads_it() {
        for yes in [
            "gzip",
            "GZip",
            "deflate, gzip",
            "gzip;q=0.1",
            "br;q=1.0, gzip ; q=0.8, *;q=0",
            "*",
            "x-gzip",
            "gzip;q=1;x=y",
        ] {
            assert!(accepts(&[yes]), "{yes}");
        }
        for no in [
            "",
            "identity",
            "deflate",
            "gzip;q=0",
            "gzip; q=0.000",
            "*;q=0",
            "gzip;q=many",
            "*, gzip;q=0",
            "gzipped",
            "br",
        ] {
            assert!(!accepts(&[no]), "{no}");
        }
        assert!(!accepts(&[]) && accepts(&["identity", "gzip"]));
    }

    #[tokio::test]
    async fn an_answer_is_made_once_and_compressed_once() {
        let listing = Listing::from(vec![(); 100]);
        let made = Cell::new(0);
        let ask = async |is_compressed| {
            let page = Page {
                start_at: 0,
                max_results: 9,
            };
            let form = Form {
                page,
                detail: Detail::Names,
                dates: None,
                is_compressed,
            };
            let make = || {
                made.set(made.get() + 1);
                b"twelve bytes".repeat(100)
            };
            prepared(&listing, form, 1000, make).await
        };
        let (compressed, is_compressed) = ask(true).await;
        assert!(is_compressed && compressed.len() < 100);
        let mut text = Vec::new();
        std::io::copy(&mut flate2::read::GzDecoder::new(&**compressed), &mut text).unwrap();
        assert_eq!(text, b"twelve bytes".repeat(100));
        let (plain, is_compressed) = ask(false).await;
        assert!(!is_compressed && **plain == *text);
        let again = ask(true).await.0;
        assert_eq!((again.as_ptr(), made.get()), (compressed.as_ptr(), 1), "the very bytes");
    }
}
