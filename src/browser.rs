//! Keeping web pages out: the API reads a body of any content type, so a page elsewhere could send one for a person
//! whose browser is let in here. Uses nothing else of ours.

use std::net::IpAddr;

use http::header::{ACCEPT, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue};

/// Whether the request shows that a page of another site sent it.
#[must_use]
pub fn is_cross_site(headers: &HeaderMap) -> bool {
    // Another site, or another origin of the same one: a name beside ours, another port of this machine. Whatever browsers
    // may say there one day is none of the two that are good.
    let is_own = |site: &HeaderValue| {
        [&b"same-origin"[..], b"none"]
            .iter()
            .any(|own| site.as_bytes().eq_ignore_ascii_case(own))
    };
    if !headers.get_all("sec-fetch-site").iter().all(is_own) {
        return true;
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return false;
    };
    let same = || {
        let host = headers.get(HOST)?.to_str().ok()?;
        // The scheme in front of a proxy is not known here, so an origin is compared by its authority alone.
        let (scheme, authority) = origin.to_str().ok()?.split_once("://")?;
        let default = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => return None,
        };
        let plain = |text: &str| text.strip_suffix(default).unwrap_or(text).to_ascii_lowercase();
        Some(plain(host) == plain(authority))
    };
    !same().unwrap_or(false)
}

/// Whether the request was addressed to this machine by a name that cannot be anybody else's: a page whose own name
/// was made to point here still sends its own name.
#[must_use]
pub fn is_for_loopback(headers: &HeaderMap) -> bool {
    is_for_loopback_or(headers, &[])
}

/// The same, or by one of `names`, at whatever port.
#[must_use]
pub fn is_for_loopback_or(headers: &HeaderMap, names: &[String]) -> bool {
    let is_own = |host: &HeaderValue| {
        let name = host.to_str().ok().and_then(without_port);
        name.is_some_and(|name| is_loopback_name(name) || names.iter().any(|own| own.eq_ignore_ascii_case(name)))
    };
    let mut hosts = headers.get_all(HOST).iter().peekable();
    hosts.peek().is_some() && hosts.all(is_own)
}

fn is_loopback_name(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn without_port(host: &str) -> Option<&str> {
    Some(match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, "")) => name,
            Some((name, port)) if is_port(port) => name,
            _ => return None,
        },
        None => match host.split_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            Some(_) => return None,
            None => host,
        },
    })
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':')
        .is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether XML is all the client takes. Anything else gets JSON, whatever it says it wants.
#[must_use]
pub fn wants_xml_alone(headers: &HeaderMap) -> bool {
    // Quirk: any Accept but XML alone gets JSON (docs/compatibility.md, "Headers"): Java's own default names HTML and
    // images only.
    let mut ranges = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|range| range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
        .filter(|range| !range.is_empty())
        .peekable();
    ranges.peek().is_some()
        && ranges.all(|range| range == "application/xml" || range == "text/xml" || range.ends_with("+xml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_page_of_another_site_is_told_by_its_headers() {
        for (pairs, cross) in [
            (&[][..], false),
            (&[("host", "wiki:8090"), ("origin", "http://wiki:8090")], false),
            (&[("host", "wiki"), ("origin", "https://wiki:443")], false),
            (&[("host", "wiki:443"), ("origin", "https://WIKI")], false),
            (&[("host", "wiki"), ("origin", "https://evil.example")], true),
            (&[("host", "wiki"), ("origin", "http://wiki:8080")], true),
            (&[("host", "wiki"), ("origin", "null")], true),
            (&[("host", "wiki"), ("origin", "file://wiki")], true),
            (&[("origin", "http://wiki")], true),
            (&[("sec-fetch-site", "Cross-Site")], true),
            (&[("sec-fetch-site", "same-site")], true),
            (&[("sec-fetch-site", "")], true),
            (&[("sec-fetch-site", "Same-Origin")], false),
            (&[("sec-fetch-site", "none")], false),
        ] {
            assert_eq!(is_cross_site(&headers(pairs)), cross, "{pairs:?}");
        }
    }

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for (host, good) in [
            ("localhost", true),
            ("LOCALHOST:8090", true),
            ("127.0.0.1:1", true),
            ("127.9.9.9", true),
            ("[::1]:8090", true),
            ("[::1]", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("10.0.0.1", false),
            ("localhost:x", false),
            ("::1", false),
            ("[::1]x", false),
            ("", false),
        ] {
            assert_eq!(is_for_loopback(&headers(&[("host", host)])), good, "{host}");
        }
        assert!(!is_for_loopback(&HeaderMap::new()));
        let own = ["wiki.example".to_owned(), "2001:db8::1".to_owned()];
        for (host, good) in [
            ("wiki.example", true),
            ("WIKI.example:8090", true),
            ("[2001:db8::1]:8090", true),
            ("localhost", true),
            ("evil.wiki.example", false),
            ("wiki.example.evil", false),
            ("wiki.example:x", false),
            ("", false),
        ] {
            assert_eq!(is_for_loopback_or(&headers(&[("host", host)]), &own), good, "{host}");
        }
        let mut two = headers(&[("host", "localhost")]);
        two.append(HOST, "evil.example".parse().unwrap());
        assert!(!is_for_loopback(&two));
    }

    #[test]
    fn xml_alone_is_the_only_wish_that_is_refused() {
        for (accept, refused) in [
            ("application/xml", true),
            ("text/xml;q=0.9, application/atom+xml", true),
            ("application/xml, */*;q=.1", false),
            ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", false),
            ("text/html", false),
            ("", false),
            ("application/json", false),
        ] {
            assert_eq!(wants_xml_alone(&headers(&[("accept", accept)])), refused, "{accept}");
        }
        assert!(!wants_xml_alone(&HeaderMap::new()));
    }
}
