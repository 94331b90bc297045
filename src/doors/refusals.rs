//! Who was refused and why, in the log: the first time at once, then as a number, so that somebody finds it at night and
//! nobody can fill the disk with it.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use parking_lot::Mutex;

use super::network;

/// One refusal of an account at a network for a cause is told so often, and what nobody has an entry for so often of one
/// network.
const PERIOD: Duration = Duration::from_secs(60);
const MOST_OF_A_NETWORK: u32 = 30;
const MAX_KEPT: u64 = 16_384;
/// Of what a client sent so much is shown.
const MOST_SHOWN: usize = 100;
/// How tokens begin, ours and Atlassian's, and how others look: some clients send them as a name.
const LONGEST_WORD: usize = 20;
const LONGEST_NAME: usize = 36;
const TOKENS: [&str; 4] = ["xft_", "atatt", "atstt", "atctt"];

/// Why somebody was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Nothing was shown, or nothing readable.
    NoCredential,
    /// The account is there, and its password is another.
    WrongPassword,
    /// There is no such account.
    UnknownAccount,
    /// The entry's `expires` is over.
    Expired,
    /// No entry has this token.
    UnknownToken,
    /// Too many failures before; the credential was not looked at.
    HeldBack,
    /// Cloud refused the caller's own credential.
    RefusedByCloud,
    /// A reader's entry, and a call that changes something.
    NotAdministrator,
    /// The entry's `operations` do not have the call.
    Operation,
    /// The entry's `groups` do not have the group.
    Group,
    /// The address is not in `inbound.allow_networks`.
    Network,
    /// A web page of another site, as far as one can tell.
    WebPage,
    /// On loopback, under a name that is not this machine's nor in `inbound.host_names`.
    HostName,
    /// More requests at once, or a second, than one caller may.
    TooMany,
    /// The handshake of TLS failed, for want of a client's certificate maybe.
    Handshake,
    /// The operator's token is another.
    OperatorsToken,
}

impl Cause {
    /// The word for it in the log; the README has them all.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoCredential => "no_credential",
            Self::WrongPassword => "wrong_password",
            Self::UnknownAccount => "unknown_account",
            Self::Expired => "expired",
            Self::UnknownToken => "unknown_token",
            Self::HeldBack => "held_back",
            Self::RefusedByCloud => "refused_by_cloud",
            Self::NotAdministrator => "not_administrator",
            Self::Operation => "operation",
            Self::Group => "group",
            Self::Network => "network",
            Self::WebPage => "web_page",
            Self::HostName => "host_name",
            Self::TooMany => "too_many_requests",
            Self::Handshake => "handshake",
            Self::OperatorsToken => "operators_token",
        }
    }

    /// Many clients send nothing until they are asked, and many strangers knock: neither is anybody's trouble.
    fn is_usual(self) -> bool {
        matches!(self, Self::NoCredential | Self::Handshake)
    }
}

/// One refusal.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// Why.
    pub cause: Cause,
    /// Who says to be asking: the entry's name where there is one, else what was sent as one.
    pub account: Option<&'a str>,
    /// Whether the name is an entry's: then it is told whatever else comes from its network.
    pub is_known: bool,
    /// From where.
    pub peer: IpAddr,
    /// The request, where there is one.
    pub request: Option<&'a str>,
    /// What else there is to know, such as the group.
    pub detail: Option<&'a str>,
}

/// What was told before. Clones are the same.
#[derive(Clone)]
pub struct Refusals(Arc<Inner>);

struct Inner {
    hasher: RandomState,
    same: Cache<u64, Arc<Mutex<Tally>>>,
    networks: Cache<IpAddr, Arc<Mutex<Tally>>>,
}

/// What was told of something within a period.
#[derive(Default)]
struct Tally {
    from: Option<Instant>,
    told: u32,
    untold: u64,
}

/// A line that is written, with what was not written since the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    /// The same again.
    again: u64,
    /// Others of that network.
    others: u64,
}

impl Tally {
    /// Whether one more line may be written; `most` in a period.
    fn has_room(&mut self, most: u32, now: Instant) -> bool {
        if self
            .from
            .is_none_or(|from| now.saturating_duration_since(from) >= PERIOD)
        {
            (self.from, self.told) = (Some(now), 0);
        }
        self.told < most
    }

    fn tell(&mut self) -> u64 {
        self.told = self.told.saturating_add(1);
        std::mem::take(&mut self.untold)
    }

    fn keep(&mut self) {
        self.untold = self.untold.saturating_add(1);
    }
}

impl Default for Refusals {
    fn default() -> Self {
        Self(Arc::new(Inner {
            hasher: RandomState::new(),
            same: kept(),
            networks: kept(),
        }))
    }
}

/// Least recently used go first. What comes again within a day has its number still.
fn kept<K: std::hash::Hash + Eq + Send + Sync + 'static>() -> Cache<K, Arc<Mutex<Tally>>> {
    Cache::builder()
        .max_capacity(MAX_KEPT)
        .eviction_policy(EvictionPolicy::lru())
        .time_to_idle(super::LONGEST_LIFE)
        .build()
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusals").finish_non_exhaustive()
    }
}

impl Refusals {
    /// Writes a line, unless the like of it was written a short while ago.
    pub fn tell(&self, refusal: &Refusal<'_>) {
        let Some(Line { again, others }) = self.line(refusal, Instant::now()) else {
            return;
        };
        let Refusal { cause, peer, .. } = *refusal;
        let account = refusal.account.map(|name| shown(name, refusal.is_known));
        let (account, cause, request) = (account.as_deref(), cause.as_str(), refusal.request);
        let detail = refusal.detail.map(readable);
        let detail = detail.as_deref();
        if refusal.cause.is_usual() {
            tracing::info!(account, %peer, cause, request, detail, again, others, "refused");
        } else {
            tracing::warn!(account, %peer, cause, request, detail, again, others, "refused");
        }
    }

    fn line(&self, refusal: &Refusal<'_>, now: Instant) -> Option<Line> {
        let Inner { hasher, same, networks } = &*self.0;
        let network = network(refusal.peer);
        let key = hasher.hash_one((refusal.cause, refusal.account, network));
        let same = same.get_with(key, Arc::default);
        let mut same = same.lock();
        if !same.has_room(1, now) {
            same.keep();
            return None;
        }
        if refusal.is_known {
            return Some(Line {
                again: same.tell(),
                others: 0,
            });
        }
        let of_network = networks.get_with(network, Arc::default);
        let mut of_network = of_network.lock();
        if !of_network.has_room(MOST_OF_A_NETWORK, now) {
            of_network.keep();
            return None;
        }
        Some(Line {
            again: same.tell(),
            others: of_network.tell(),
        })
    }
}

/// A name as the log may have it. One that nobody has an entry for may be a secret that was put in its place.
fn shown(name: &str, is_known: bool) -> String {
    if !is_known && may_be_a_token(name) {
        return "(perhaps a token)".to_owned();
    }
    readable(name)
}

/// People and services are called by words, not by so many letters in a row.
fn may_be_a_token(name: &str) -> bool {
    let begins = |token: &str| {
        name.get(..token.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(token))
    };
    let is_run = |word: &str| word.len() >= LONGEST_WORD;
    TOKENS.into_iter().any(begins)
        || name.split(|c: char| !c.is_ascii_alphanumeric()).any(is_run)
        || name.len() >= LONGEST_NAME && !name.contains('@')
}

/// Text of a client's on one line, and no longer than one reads.
fn readable(text: &str) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == MOST_SHOWN {
            out.push('…');
            break;
        }
        // What the standard library would not print: controls, ends of lines, marks that turn the text round.
        let is_plain = matches!(c, '"' | '\'' | '\\') || c.escape_debug().count() == 1;
        if is_plain {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(cause: Cause, account: &str, last: u8, is_known: bool) -> Refusal<'_> {
        Refusal {
            cause,
            account: Some(account),
            is_known,
            peer: IpAddr::from([10, 0, 0, last]),
            request: None,
            detail: None,
        }
    }

    #[test]
    fn the_same_is_told_once_a_while_with_how_often_it_came() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let line = |refusal: Refusal<'_>, after: Duration| refusals.line(&refusal, now + after);
        let again = |again| Some(Line { again, others: 0 });
        let ann = |cause| refusal(cause, "ann", 1, true);
        assert_eq!(line(ann(Cause::WrongPassword), Duration::ZERO), again(0));
        for _ in 0..7 {
            assert_eq!(line(ann(Cause::WrongPassword), Duration::from_secs(59)), None);
        }
        assert_eq!(line(ann(Cause::HeldBack), Duration::ZERO), again(0), "another cause");
        let elsewhere = refusal(Cause::WrongPassword, "ann", 2, true);
        assert_eq!(line(elsewhere, Duration::ZERO), again(0), "another address");
        assert_eq!(line(ann(Cause::WrongPassword), PERIOD), again(7));
        assert_eq!(line(ann(Cause::WrongPassword), PERIOD * 3), again(0));
    }

    #[test]
    fn invented_names_fill_no_log_and_hide_no_entry() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let names: Vec<String> = (0..1000).map(|n| format!("name{n}")).collect();
        let told = |after: Duration| {
            let lines = names.iter().map(|name| refusal(Cause::UnknownAccount, name, 1, false));
            lines.filter_map(|one| refusals.line(&one, now + after)).count()
        };
        assert_eq!(told(Duration::ZERO), MOST_OF_A_NETWORK as usize);
        let entry = refusal(Cause::WrongPassword, "ann", 1, true);
        assert!(refusals.line(&entry, now).is_some());
        let neighbour = refusal(Cause::UnknownAccount, "name1", 2, false);
        assert!(refusals.line(&neighbour, now).is_some());
        let later = refusal(Cause::UnknownAccount, "one more", 1, false);
        assert_eq!(
            refusals.line(&later, now + PERIOD),
            Some(Line { again: 0, others: 970 })
        );
    }

    #[test]
    fn a_name_is_one_line_and_no_token() {
        for (name, expected) in [
            ("CORP\\ann", "CORP\\ann"),
            ("élan \"x\"", "élan \"x\""),
            (
                "a\r\nb\u{1b}[31m\u{85}\u{2028}\u{202e}",
                "a\\u{d}\\u{a}b\\u{1b}[31m\\u{85}\\u{2028}\\u{202e}",
            ),
            ("xft_secret", "(perhaps a token)"),
            ("ATATT3xsecret", "(perhaps a token)"),
            ("abcdefghijklmnopqrst/", "(perhaps a token)"),
            ("0f6c1d2e-3f4a-5b6c-7d8e-9f0a1b2c3d4e", "(perhaps a token)"),
            (
                "ann.example-of-a-long-name@example.com",
                "ann.example-of-a-long-name@example.com",
            ),
        ] {
            assert_eq!(shown(name, false), expected);
        }
        assert_eq!(shown("xft_sync", true), "xft_sync", "an entry's own name is none");
        assert_eq!(readable(&"é".repeat(5000)).chars().count(), MOST_SHOWN + 1);
    }
}
