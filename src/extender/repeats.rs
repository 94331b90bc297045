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
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use prometheus_client::metrics::counter::Counter;
use siphasher::sip128::{Hasher128 as _, SipHasher24};

use super::auth::{Door, Moment};
use super::delivery::Delivery;
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
    hasher: SipHasher24,
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
            hasher: SipHasher24::new_with_key(&key),
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
    ) -> Result<(Response<Bytes>, Delivery), Option<Asked>> {
        let is_a_reading = request.method() == Method::GET && request.uri().authority().is_none();
        let is_repeated = is_a_reading && !self.places.is_empty();
        let Some(moment) = is_repeated.then(|| self.door.moment()).flatten() else {
            return Err(None);
        };
        let asked = Asked {
            code: self.code(request, peer.ip()),
            moment,
            from: Instant::now(),
        };
        self.repeat(&asked, request, peer).ok_or(Some(asked))
    }

    fn repeat<B>(&self, asked: &Asked, request: &Request<B>, peer: SocketAddr) -> Option<(Response<Bytes>, Delivery)> {
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
        let given = request_id(request.headers()).map(str::to_owned);
        let id = HeaderValue::try_from(given.unwrap_or_else(RequestId::random_text)).ok()?;
        head.insert(REQUEST_ID, id.clone());
        let delivery = Delivery::default();
        delivery.keep(turn);
        self.repeated.inc();
        kept.counted.inc();
        let took = asked.from.elapsed().as_secs_f64();
        self.metrics.request_seconds.observe(took);
        tell_answered(&reply::Answered {
            id: id.to_str().unwrap_or_default(),
            origin: Origin::of(peer, request.headers(), &self.proxies),
            caller: Some(&came.caller),
            method: request.method(),
            path: &came.path,
            status: 200,
            took,
        });
        Some((response, delivery))
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

    /// Of all that is judged but the method, which is always the same.
    fn code<B>(&self, request: &Request<B>, peer: IpAddr) -> Code {
        // Not put together first: a credential is among it.
        let mut hasher = self.hasher;
        let mut put = |piece: &[u8]| {
            hasher.write(piece);
            // No piece has it, so what ends one cannot begin the next. The last one has a length of its own.
            hasher.write_u8(0);
        };
        put(request.uri().path().as_bytes());
        put(request.uri().query().unwrap_or_default().as_bytes());
        for (name, value) in request.headers() {
            put(name.as_str().as_bytes());
            put(value.as_bytes());
        }
        put(if request.version() == Version::HTTP_11 {
            b"1"
        } else {
            b"0"
        });
        match peer {
            IpAddr::V4(peer) => put(&peer.octets()),
            IpAddr::V6(peer) => put(&peer.octets()),
        }
        Code(hasher.finish128().as_u128())
    }
}

impl Kept {
    fn is_good(&self, moment: Moment, now: Instant) -> bool {
        self.moment == moment && now < self.until
    }
}
