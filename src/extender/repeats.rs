//! The same request again: who asks for a list as he asked a moment ago, letter by letter, is given the same bytes, as long
//! as nothing has happened that the answer rests on.
//!
//! Judging a request costs several times as much as answering it, and a script in a loop, or a load test, asks the same
//! thing thousands of times a second. So what a request came to is kept under a code of everything that was judged: the
//! whole head and the address it came from. Nothing of that is kept in itself, and whoever does not show the same
//! credential has another code. An answer serves for a second at most, and not beyond any change of the accounts, the
//! identity map, what was learned of names, or a change of ours ([`Moment`]). Answers are found without a lock, belong to
//! their lists, and go with them.

use std::hash::Hasher as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use prometheus_client::metrics::counter::Counter;
use siphasher::sip128::{Hasher128 as _, SipHasher24};

use super::auth::{Door, Moment};
use super::delivery::Delivered;
use super::origin::Origin;
use super::reply::{REQUEST_ID, tell_answered};
use super::turns::Tally;
use super::{reply, request_id};
use crate::metrics::{Inbound, Lookup, Metrics};
use crate::model::RequestId;
use crate::settings::{Mode, Network, Settings, seconds};

/// How many answers are kept in mind, at most: a few hundred bytes each, beside what belongs to a list.
const PLACES: usize = 4096;

/// How long one serves, at most. What is not counted in a [`Moment`], as the age of a list, may be so much out.
const LONGEST: Duration = Duration::from_secs(1);

/// And not longer than this part of the life of a list.
const PART_OF_LIFE: u32 = 10;

/// A code of a request's whole head and where it came from, under a key of this process: 128 bits that nobody can aim at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Code(u128);

/// A request that may be asked again, and what was known when it was: to be judged as any other.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    code: Code,
    moment: Moment,
    from: Instant,
}

/// What a request came to.
pub(super) struct Came {
    /// With an id that another one is to take the place of.
    pub head: HeaderMap,
    pub print: Weak<Bytes>,
    pub caller: String,
    pub tally: Arc<Tally>,
    pub call: &'static str,
    /// As the log tells it.
    pub path: String,
}

struct Kept {
    code: Code,
    moment: Moment,
    until: Instant,
    came: Came,
    counted: Counter,
}

/// Requests that were answered a moment ago.
pub struct Repeats {
    door: Arc<Door>,
    places: Box<[ArcSwapOption<Kept>]>,
    key: [u8; 16],
    /// Zero: nothing is repeated.
    life: Duration,
    proxies: Vec<Network>,
    metrics: Metrics,
    repeated: Counter,
}

impl Repeats {
    /// Nothing was asked yet.
    pub fn new(door: Arc<Door>, settings: &Settings, metrics: Metrics) -> Self {
        let cache = &settings.cache;
        let lists = seconds(cache.members_ttl_s.min(cache.groups_ttl_s)) / PART_OF_LIFE;
        let life = LONGEST.min(lists);
        let life = match settings.inbound.mode {
            Mode::Open => life,
            Mode::Accounts => life.min(seconds(settings.inbound.verified_ttl_s)),
            Mode::Passthrough => Duration::ZERO,
        };
        // Without a key that nobody knows, nothing is repeated.
        let mut key = [0; 16];
        let life = getrandom::fill(&mut key).map_or(Duration::ZERO, |()| life);
        let places = if life.is_zero() { 0 } else { PLACES };
        let repeated = metrics.lookups.get_or_create_owned(&Lookup {
            cache: "answers",
            result: "hit",
        });
        Self {
            door,
            places: std::iter::repeat_with(ArcSwapOption::empty).take(places).collect(),
            key,
            life,
            proxies: settings.inbound.trusted_proxies.clone(),
            metrics,
            repeated,
        }
    }

    /// The answer of a moment ago to this request, if it is the same. Otherwise what is to be kept with what it comes to, once it
    /// is judged; nothing where it is of no kind that is repeated.
    pub fn answer<B>(
        &self,
        request: &Request<B>,
        peer: SocketAddr,
        now: Instant,
    ) -> Result<(Response<Bytes>, Delivered), Option<Asked>> {
        let is_a_reading = request.method() == Method::GET && request.uri().authority().is_none();
        let is_repeated = is_a_reading && !self.places.is_empty();
        let Some(moment) = is_repeated.then(|| self.door.moment()).flatten() else {
            return Err(None);
        };
        let asked = Asked {
            code: Code::of(request, peer.ip(), &self.key),
            moment,
            from: now,
        };
        self.repeat(&asked, request, peer).ok_or(Some(asked))
    }

    fn repeat<B>(&self, asked: &Asked, request: &Request<B>, peer: SocketAddr) -> Option<(Response<Bytes>, Delivered)> {
        let mut places = self
            .places_of(asked.code)
            .into_iter()
            .flatten()
            .map(ArcSwapOption::load);
        let kept = places.find(|kept| kept.as_ref().is_some_and(|kept| kept.code == asked.code))?;
        let kept = kept.as_ref().filter(|kept| kept.is_good(asked.moment, asked.from))?;
        let came = &kept.came;
        let print = came.print.upgrade()?;
        // Whoever asks too much is told so by who judges.
        let turn = came.tally.take().ok()?;
        let mut response = Response::new(Bytes::clone(&print));
        let head = response.headers_mut();
        head.clone_from(&came.head);
        let id = request_id(request.headers()).map_or_else(RequestId::random_text, str::to_owned);
        self.repeated.inc();
        kept.counted.inc();
        let took = asked.from.elapsed().as_secs_f64();
        self.metrics.request_seconds.observe(took);
        tell_answered(&reply::Answered {
            id: &id,
            origin: Origin::of(peer, request.headers(), &self.proxies),
            caller: Some(&came.caller),
            method: request.method(),
            path: &came.path,
            status: 200,
            took,
        });
        // Not inserted: that would make room for one more first.
        if let (Some(place), Ok(id)) = (head.get_mut(REQUEST_ID), HeaderValue::try_from(id)) {
            *place = id;
        }
        Some((response, Delivered::from(turn)))
    }

    /// Keeps what a request came to.
    pub(super) fn keep(&self, asked: &Asked, came: Came) {
        if self.door.changes_within(asked.from, self.life) {
            return;
        }
        let counted = Inbound {
            call: came.call,
            status: 200,
        };
        let kept = Arc::new(Kept {
            code: asked.code,
            moment: asked.moment,
            until: asked.from + self.life,
            came,
            counted: self.metrics.requests.get_or_create_owned(&counted),
        });
        let is_free = |place: &&ArcSwapOption<Kept>| {
            let kept = place.load();
            kept.as_ref()
                .is_none_or(|kept| kept.code == asked.code || !kept.is_good(asked.moment, asked.from))
        };
        let places = self.places_of(asked.code);
        let place = places.into_iter().flatten().find(is_free).or(places[0]);
        if let Some(place) = place {
            place.store(Some(kept));
        }
    }

    /// The two places where an answer may be.
    fn places_of(&self, code: Code) -> [Option<&ArcSwapOption<Kept>>; 2] {
        let [.., one, two] = [code.0 >> 64, code.0].map(|half| half as usize % PLACES);
        [self.places.get(one), self.places.get(two)]
    }
}

impl Code {
    /// Of all that is judged but the method, which is always the same.
    fn of<B>(request: &Request<B>, peer: IpAddr, key: &[u8; 16]) -> Self {
        let peer = match peer {
            IpAddr::V4(peer) => peer.to_ipv6_mapped(),
            IpAddr::V6(peer) => peer,
        };
        let target = request.uri().path_and_query().map_or("", PathAndQuery::as_str);
        // Not put together first: a credential is among it.
        let mut hasher = SipHasher24::new_with_key(key);
        // Of one length always, unlike all that follows.
        hasher.write(&peer.octets());
        hasher.write_u8(u8::from(request.version() == Version::HTTP_11));
        let mut put = |piece: &[u8]| {
            hasher.write(piece);
            // No piece has it, so what ends one cannot begin the next.
            hasher.write_u8(0);
        };
        put(target.as_bytes());
        for (name, value) in request.headers() {
            put(name.as_str().as_bytes());
            put(value.as_bytes());
        }
        Self(hasher.finish128().as_u128())
    }
}

impl Kept {
    fn is_good(&self, moment: Moment, now: Instant) -> bool {
        self.moment == moment && now < self.until
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_heads_have_one_code() {
        let parts = ["", "b", "bb", "bbbbbbbb", "bbbbbbbbb", "bbbbbbbbbbbbbbbb"];
        let mut heads = vec![Vec::new()];
        for part in parts {
            heads.push(vec![("b", part)]);
            heads.push(vec![("bb", part)]);
            heads.push(vec![("bbbbbbbb", part)]);
            heads.push(vec![("b", part), ("b", "")]);
            heads.push(vec![("b", ""), ("b", part)]);
            heads.push(vec![("b", part), ("bbbbbbbbb", "b")]);
        }
        // As the end of the last of the addresses would be.
        heads.push(vec![("1", "*........")]);
        heads.sort_unstable();
        heads.dedup();
        let peers = [
            "192.0.2.1",
            "192.0.2.2",
            "2001:db8::1",
            "2a2e:2e2e:2e2e:2e2e:2e00:3100:c000:201",
        ];
        let peers = peers.map(|peer| peer.parse().unwrap());
        let (mut codes, mut asked) = (HashSet::new(), 0);
        for target in ["/", "/b", "/b?", "/?b", "/bbbbbbb", "/bbbbbbbb", "/bbbbbbbbbbbbbbb?b"] {
            for head in &heads {
                for version in [Version::HTTP_10, Version::HTTP_11] {
                    let mut request = Request::builder().uri(target).version(version);
                    for (name, value) in head {
                        request = request.header(*name, *value);
                    }
                    let request = request.body(()).unwrap();
                    for peer in peers {
                        let code = Code::of(&request, peer, &[7; 16]);
                        assert_eq!(code, Code::of(&request, peer, &[7; 16]));
                        assert_ne!(code, Code::of(&request, peer, &[8; 16]));
                        codes.insert(code.0);
                        asked += 1;
                    }
                }
            }
        }
        assert_eq!(codes.len(), asked);
    }
}
