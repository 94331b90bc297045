//! From where a request comes: its connection's other end, or whom a trusted proxy there names.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};

use crate::settings::{Inbound, Network};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    connection: SocketAddr,
    client: IpAddr,
    /// The proxy says that there is somebody behind it, and not who.
    is_hidden: bool,
}

impl Origin {
    /// Of a request with these headers.
    pub fn of(connection: SocketAddr, headers: &HeaderMap, proxies: &[Network]) -> Self {
        let own = connection.ip().to_canonical();
        let is_proxy = |address: IpAddr| proxies.iter().any(|proxy| proxy.contains(address));
        let forwarded = if is_proxy(own) {
            forwarded(headers, is_proxy)
        } else {
            // Whoever is no proxy of ours may write into the header what he likes.
            Forwarded::Nobody
        };
        Self {
            connection,
            client: match forwarded {
                Forwarded::Client(client) => client,
                Forwarded::Nobody | Forwarded::Hidden => own,
            },
            is_hidden: forwarded == Forwarded::Hidden,
        }
    }

    /// The caller's own address; the proxy's, where it hides its caller's.
    pub fn client(self) -> IpAddr {
        self.client
    }

    /// Whether callers from there are taken. The accept loop has asked this of connections; not of who is behind a proxy.
    pub fn is_allowed(self, inbound: &Inbound) -> bool {
        let allowed = &inbound.allow_networks;
        // That the proxy may call says nothing of somebody whom it does not name.
        allowed.is_empty() || !self.is_hidden && allowed.iter().any(|network| network.contains(self.client))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connection, client, .. } = self;
        if *client == connection.ip().to_canonical() {
            write!(f, "{connection}")
        } else {
            write!(f, "{client} via {connection}")
        }
    }
}

/// Whom a proxy names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forwarded {
    /// The header is not there.
    Nobody,
    Client(IpAddr),
    /// Something that is no address stands where the caller's should.
    Hidden,
}

/// The rightmost address in the header that is no trusted proxy; the leftmost, if all are. Each proxy has added on the
/// right whom it saw, so what stands to the left of that is hearsay, whatever bytes it is made of.
fn forwarded(headers: &HeaderMap, is_proxy: impl Fn(IpAddr) -> bool) -> Forwarded {
    let mut last = Forwarded::Nobody;
    for value in headers.get_all(FORWARDED_FOR).iter().rev() {
        for entry in value.as_bytes().rsplit(|byte| *byte == b',') {
            let Some(address) = std::str::from_utf8(entry.trim_ascii()).ok().and_then(address) else {
                return Forwarded::Hidden;
            };
            last = Forwarded::Client(address);
            if !is_proxy(address) {
                return last;
            }
        }
    }
    last
}

/// An address, with or without a port behind it: some proxies add the client's.
fn address(text: &str) -> Option<IpAddr> {
    let plain = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    Some(plain.or_else(with_port).or_else(in_brackets)?.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::settings::Settings;

    fn origin(connection: &str, forwarded: &[&[u8]]) -> Origin {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(value).unwrap());
        }
        let proxies = ["10.0.0.0/8", "2001:db8::/64"].map(|network| network.parse().unwrap());
        Origin::of(connection.parse().unwrap(), &headers, &proxies)
    }

    fn client(connection: &str, forwarded: &[&str]) -> String {
        let forwarded: Vec<&[u8]> = forwarded.iter().map(|value| value.as_bytes()).collect();
        origin(connection, &forwarded).client().to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        assert_eq!(client("192.0.2.1:4000", &["203.0.113.9"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1:4000", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("[2001:db8::7]:4000", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("[::ffff:10.0.0.1]:4000", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("[::ffff:192.0.2.1]:4000", &["203.0.113.9"]), "192.0.2.1");
    }

    #[test]
    fn what_a_client_wrote_itself_stands_to_the_left_and_is_not_believed() {
        for (forwarded, expected) in [
            (&["203.0.113.9"][..], "203.0.113.9"),
            (&["127.0.0.1, 203.0.113.9"], "203.0.113.9"),
            (&["127.0.0.1", "203.0.113.9"], "203.0.113.9"),
            (&["127.0.0.1, 203.0.113.9, 10.1.1.1"], "203.0.113.9"),
            (&["127.0.0.1, 203.0.113.9", "10.1.1.1,10.2.2.2"], "203.0.113.9"),
            (&["nonsense, 203.0.113.9"], "203.0.113.9"),
            (&["10.3.3.3, 10.1.1.1"], "10.3.3.3"),
            (&["203.0.113.9:51234"], "203.0.113.9"),
            (&["[2001:db8:1::9]:51234"], "2001:db8:1::9"),
            (&["[2001:db8:1::9]"], "2001:db8:1::9"),
            (&["::ffff:203.0.113.9"], "203.0.113.9"),
            // Malformed: whoever sent it is behind the proxy, and no more is known.
            (&[], "10.0.0.1"),
            (&[""], "10.0.0.1"),
            (&["203.0.113.9, nonsense"], "10.0.0.1"),
            (&["203.0.113.9,"], "10.0.0.1"),
            (&["203.0.113.9, unknown, 10.1.1.1"], "10.0.0.1"),
            (&["203.0.113.9 10.1.1.1"], "10.0.0.1"),
            (&["203.0.113.9", "_hidden"], "10.0.0.1"),
        ] {
            assert_eq!(client("10.0.0.1:4000", forwarded), expected, "{forwarded:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_hide_nothing_that_stands_to_their_right() {
        for (forwarded, expected) in [
            (&[&b"\xe9, 198.51.100.1"[..]][..], "198.51.100.1"),
            (&[b"\xe9", b"198.51.100.1"], "198.51.100.1"),
            (&[b"127.0.0.1\xff,\t198.51.100.1 , 10.1.1.1"], "198.51.100.1"),
            (&[b"198.51.100.1, \xe9"], "10.0.0.1"),
        ] {
            let found = origin("10.0.0.1:4000", forwarded).client().to_string();
            assert_eq!(found, expected, "{forwarded:?}");
        }
    }

    #[test]
    fn whom_a_proxy_hides_is_not_taken_for_the_proxy() {
        let mut inbound = Settings::defaults().inbound;
        let hidden = [
            &b"198.51.100.1, \xe9"[..],
            b"unknown",
            b"",
            b"10.0.0.1, 10.0.0.1.",
            b"\xe9, 198.51.100.1",
        ];
        inbound.allow_networks = vec!["10.0.0.0/8".parse().unwrap()];
        for value in hidden {
            assert!(!origin("10.0.0.1:4000", &[value]).is_allowed(&inbound), "{value:?}");
        }
        assert!(origin("10.0.0.1:4000", &[]).is_allowed(&inbound), "it calls itself");
        assert!(origin("10.0.0.1:4000", &[b"10.3.3.3"]).is_allowed(&inbound));
        inbound.allow_networks.clear();
        for value in hidden {
            assert!(origin("10.0.0.1:4000", &[value]).is_allowed(&inbound), "{value:?}");
        }
    }
}
