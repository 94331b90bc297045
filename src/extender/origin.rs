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
}

impl Origin {
    /// Of a request with these headers.
    pub fn of(connection: SocketAddr, headers: &HeaderMap, proxies: &[Network]) -> Self {
        let own = connection.ip().to_canonical();
        let is_proxy = |address: IpAddr| proxies.iter().any(|proxy| proxy.contains(address));
        let client = if is_proxy(own) {
            forwarded(headers, is_proxy).unwrap_or(own)
        } else {
            // Whoever is no proxy of ours may write into the header what he likes.
            own
        };
        Self { connection, client }
    }

    /// The caller's own address.
    pub fn client(self) -> IpAddr {
        self.client
    }

    /// Whether callers from there are taken. The accept loop has asked this of connections; not of who is behind a proxy.
    pub fn is_allowed(self, inbound: &Inbound) -> bool {
        let allowed = &inbound.allow_networks;
        allowed.is_empty() || allowed.iter().any(|network| network.contains(self.client))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connection, client } = self;
        if *client == connection.ip().to_canonical() {
            write!(f, "{connection}")
        } else {
            write!(f, "{client} via {connection}")
        }
    }
}

/// The rightmost address in the header that is no trusted proxy; the leftmost, if all are. Each proxy has added on the
/// right whom it saw, so what stands to the left of that is hearsay. `None`: there is none, or something that is no address
/// stands before it.
fn forwarded(headers: &HeaderMap, is_proxy: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let mut last = None;
    for value in headers.get_all(FORWARDED_FOR).iter().rev() {
        for entry in value.to_str().ok()?.rsplit(',') {
            let address = address(entry.trim())?;
            if !is_proxy(address) {
                return Some(address);
            }
            last = Some(address);
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
    use super::*;

    fn client(connection: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        let proxies = ["10.0.0.0/8", "2001:db8::/64"].map(|network| network.parse().unwrap());
        Origin::of(connection.parse().unwrap(), &headers, &proxies)
            .client()
            .to_string()
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
}
