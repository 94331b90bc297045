//! What the doors of both listeners have in common: guesses are limited, and who is refused is told. Uses nothing else of
//! ours.

mod attempts;
mod refusals;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

pub use attempts::{Attempts, Digest, LONGEST_LIFE};
pub use refusals::{Cause, Refusal, Refusals};

/// Where a connection comes from; the accept loop puts it into each request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// What counts as one address: an IPv4 address, or the /64 an IPv6 host can pick its addresses from at will.
#[must_use]
pub fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}
