//! What the authorization server has given out: codes, consents and their tokens.
//!
//! A consent with all the tokens that come from it is a family. A refresh token is exchanged for another one; it may be used
//! again for a while, for an answer can be lost, and whoever uses it later is taken for a thief: the whole family ends.
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::chance::{Kind, Sequence};

/// Beyond so many access tokens the oldest are forgotten.
const MOST_ACCESS: usize = 10_000;
/// Real tokens are long: whoever keeps or sends them must have room.
const ACCESS_LENGTH: usize = 30;
const REFRESH_LENGTH: usize = 20;
const CODE_LENGTH: usize = 4;

/// Why no token is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The code was never given, or was used before.
    Code,
    /// The code was given for another address.
    Redirect,
    /// No such refresh token.
    Unknown,
    /// The refresh token's family has ended, maybe just now.
    Ended,
}

/// Tokens, as they are answered.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) access: String,
    pub(super) refresh: Option<String>,
    pub(super) scopes: Vec<String>,
    pub(super) life: Duration,
}

/// How long tokens are good for, by the switches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) life: Duration,
    pub(super) leeway: Duration,
}

/// What somebody agreed to.
#[derive(Clone, Debug)]
pub(super) struct Consent {
    pub(super) client: String,
    pub(super) redirect_uri: String,
    pub(super) scopes: Vec<String>,
    /// Whether tokens may be refreshed.
    pub(super) offline: bool,
}

#[derive(Debug)]
struct Family {
    consent: Consent,
    has_ended: bool,
}

#[derive(Debug)]
struct Refresh {
    number: u64,
    family: u64,
    first_used: Option<Instant>,
}

/// An access token.
#[derive(Debug)]
pub(super) struct Access {
    number: u64,
    pub(super) client: String,
    pub(super) scopes: Vec<String>,
    family: Option<u64>,
    until: Instant,
}

/// What became of one client's tokens so far.
#[derive(Debug, Default)]
struct Counts {
    issued: u64,
    refreshes: u64,
    reuses: u64,
}

/// Everything that was given out.
#[derive(Debug)]
pub(super) struct Grants {
    seed: u64,
    drawn: u64,
    codes: HashMap<String, Consent>,
    families: BTreeMap<u64, Family>,
    refresh: HashMap<String, Refresh>,
    access: HashMap<String, Access>,
    counts: BTreeMap<String, Counts>,
}

impl Grants {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            drawn: 0,
            codes: HashMap::new(),
            families: BTreeMap::new(),
            refresh: HashMap::new(),
            access: HashMap::new(),
            counts: BTreeMap::new(),
        }
    }

    /// A text that was never given before, and its number.
    fn draw(&mut self, length: usize) -> (u64, String) {
        self.drawn += 1;
        let mut sequence = Sequence::new(self.seed, Kind::Token, self.drawn);
        let keys = (0..length).map(|_| sequence.key());
        (self.drawn, format!("eyJ{}", keys.collect::<String>()))
    }

    /// Somebody agreed: gives the code for it.
    pub(super) fn agreed(&mut self, consent: Consent) -> String {
        let (_, code) = self.draw(CODE_LENGTH);
        self.codes.insert(code.clone(), consent);
        code
    }

    /// Exchanges a code for the first tokens of a family. A code that was shown is used up, whatever comes of it.
    pub(super) fn exchange(
        &mut self,
        client: &str,
        code: &str,
        redirect_uri: &str,
        terms: Terms,
        now: Instant,
    ) -> Result<Issued, Refused> {
        let is_theirs = self.codes.get(code).is_some_and(|consent| consent.client == client);
        let consent = is_theirs.then(|| self.codes.remove(code)).flatten();
        let consent = consent.ok_or(Refused::Code)?;
        if consent.redirect_uri != redirect_uri {
            return Err(Refused::Redirect);
        }
        self.drawn += 1;
        let family = self.drawn;
        let issued = self.issue(&consent, Some(family), terms, now);
        let has_ended = false;
        self.families.insert(family, Family { consent, has_ended });
        Ok(issued)
    }

    /// Exchanges a refresh token for the next one and an access token.
    pub(super) fn refresh(&mut self, client: &str, token: &str, terms: Terms, now: Instant) -> Result<Issued, Refused> {
        let known = self.refresh.get_mut(token).ok_or(Refused::Unknown)?;
        let number = known.family;
        let family = self.families.get_mut(&number).ok_or(Refused::Unknown)?;
        if family.consent.client != client {
            return Err(Refused::Unknown);
        }
        if family.has_ended {
            return Err(Refused::Ended);
        }
        let counts = self.counts.entry(client.to_owned()).or_default();
        let used = known.first_used;
        if used.is_some_and(|used| now.duration_since(used) >= terms.leeway) {
            family.has_ended = true;
            counts.reuses += 1;
            return Err(Refused::Ended);
        }
        known.first_used = Some(used.unwrap_or(now));
        counts.refreshes += 1;
        let consent = family.consent.clone();
        Ok(self.issue(&consent, Some(number), terms, now))
    }

    /// An access token of a client for itself, without anybody's consent.
    pub(super) fn direct(&mut self, client: &str, scopes: Vec<String>, terms: Terms, now: Instant) -> Issued {
        let consent = Consent {
            client: client.to_owned(),
            redirect_uri: String::new(),
            scopes,
            offline: false,
        };
        self.issue(&consent, None, terms, now)
    }

    fn issue(&mut self, consent: &Consent, family: Option<u64>, terms: Terms, now: Instant) -> Issued {
        self.counts.entry(consent.client.clone()).or_default().issued += 1;
        let refresh = family.filter(|_| consent.offline).map(|family| {
            let (number, text) = self.draw(REFRESH_LENGTH);
            let kept = Refresh {
                number,
                family,
                first_used: None,
            };
            self.refresh.insert(text.clone(), kept);
            text
        });
        let (number, access) = self.draw(ACCESS_LENGTH);
        let kept = Access {
            number,
            client: consent.client.clone(),
            scopes: consent.scopes.clone(),
            family,
            until: now + terms.life,
        };
        if self.access.len() >= MOST_ACCESS {
            let oldest = self.access.iter().min_by_key(|(_, one)| one.number);
            if let Some(oldest) = oldest.map(|(text, _)| text.clone()) {
                self.access.remove(&oldest);
            }
        }
        self.access.insert(access.clone(), kept);
        Issued {
            access,
            refresh,
            scopes: consent.scopes.clone(),
            life: terms.life,
        }
    }

    /// The access token, while it is good.
    pub(super) fn access(&self, token: &str, now: Instant) -> Option<&Access> {
        self.access.get(token).filter(|access| self.is_good(access, now))
    }

    fn is_good(&self, access: &Access, now: Instant) -> bool {
        let family = access.family.and_then(|number| self.families.get(&number));
        let is_alive = access.family.is_none() || family.is_some_and(|family| !family.has_ended);
        is_alive && now < access.until
    }

    /// Ends every consent to a client.
    pub(super) fn end(&mut self, client: &str) {
        let theirs = self.families.values_mut().filter(|one| one.consent.client == client);
        theirs.for_each(|one| one.has_ended = true);
        self.codes.retain(|_, consent| consent.client != client);
    }

    /// Forgets everything of the clients that are not to stay.
    pub(super) fn keep(&mut self, stays: impl Fn(&str) -> bool) {
        self.codes.retain(|_, consent| stays(&consent.client));
        self.families.retain(|_, family| stays(&family.consent.client));
        self.access.retain(|_, access| stays(&access.client));
        self.counts.retain(|client, _| stays(client));
        let families = &self.families;
        self.refresh.retain(|_, refresh| families.contains_key(&refresh.family));
    }

    /// What there is of one client.
    pub(super) fn of(&self, client: &str, leeway: Duration, now: Instant) -> Value {
        let mut families = self.families.iter().filter(|(_, one)| one.consent.client == client);
        let all = families.clone().count();
        let ended = families.clone().filter(|(_, one)| one.has_ended).count();
        let alive: Vec<u64> = families
            .by_ref()
            .filter(|(_, one)| !one.has_ended)
            .map(|(number, _)| *number)
            .collect();
        let theirs = self.refresh.values().filter(|one| alive.contains(&one.family));
        let (mut unused, mut in_leeway) = (0, 0);
        for refresh in theirs {
            match refresh.first_used {
                None => unused += 1,
                Some(used) if now.duration_since(used) < leeway => in_leeway += 1,
                Some(_) => {}
            }
        }
        let access = self.access.values().filter(|one| one.client == client);
        let none = Counts::default();
        let counts = self.counts.get(client).unwrap_or(&none);
        json!({
            "families": all,
            "revoked_families": ended,
            "issued": counts.issued,
            "refreshes": counts.refreshes,
            "reuses": counts.reuses,
            "valid_refresh_tokens": unused,
            "leeway_refresh_tokens": in_leeway,
            "valid_access_tokens": access.filter(|one| self.is_good(one, now)).count(),
        })
    }

    /// The text of every token that was given out, in order, so that a test can look whether one was told to somebody else.
    pub(super) fn texts(&self) -> Value {
        let mut access: Vec<_> = self.access.iter().map(|(text, one)| (one.number, text)).collect();
        let mut refresh: Vec<_> = self.refresh.iter().map(|(text, one)| (one.number, text)).collect();
        access.sort_unstable();
        refresh.sort_unstable();
        let texts =
            |numbered: Vec<(u64, &String)>| numbered.into_iter().map(|(_, text)| text.as_str().into()).collect();
        let (access, refresh): (Vec<Value>, Vec<Value>) = (texts(access), texts(refresh));
        json!({"access_tokens": access, "refresh_tokens": refresh})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        life: Duration::from_secs(3_600),
        leeway: Duration::from_secs(600),
    };

    fn consent() -> Consent {
        Consent {
            client: "c".to_owned(),
            redirect_uri: "http://here/".to_owned(),
            scopes: vec!["a".to_owned()],
            offline: true,
        }
    }

    fn begun() -> (Grants, Instant, Issued) {
        let (mut grants, now) = (Grants::new(1), Instant::now());
        let code = grants.agreed(consent());
        let issued = grants.exchange("c", &code, "http://here/", TERMS, now).unwrap();
        (grants, now, issued)
    }

    #[test]
    fn a_used_refresh_token_is_good_until_the_leeway_after_its_first_use_and_no_longer() {
        let (mut grants, start, first) = begun();
        let at = |s| start + Duration::from_secs(s);
        let old = first.refresh.unwrap();
        // Before its first use it does not age.
        let second = grants.refresh("c", &old, TERMS, at(10_000)).unwrap();
        // A second use does not prolong the leeway of the first.
        let third = grants.refresh("c", &old, TERMS, at(10_500)).unwrap();
        assert_ne!(second.refresh, third.refresh);
        assert!(grants.refresh("c", &old, TERMS, at(10_599)).is_ok());
        assert!(grants.access(&third.access, at(10_599)).is_some());
        assert_eq!(
            grants.refresh("c", &old, TERMS, at(10_600)).unwrap_err(),
            Refused::Ended
        );
        // The thief and the owner alike have nothing left.
        for token in [&old, &second.refresh.unwrap(), &third.refresh.unwrap()] {
            assert_eq!(
                grants.refresh("c", token, TERMS, at(10_600)).unwrap_err(),
                Refused::Ended
            );
        }
        assert!(grants.access(&third.access, at(10_600)).is_none());
        let shown = grants.of("c", TERMS.leeway, at(10_600));
        assert_eq!((&shown["reuses"], &shown["revoked_families"]), (&json!(1), &json!(1)));
        assert_eq!(
            (&shown["refreshes"], &shown["valid_refresh_tokens"]),
            (&json!(3), &json!(0))
        );
    }

    #[test]
    fn another_family_of_the_same_client_lives_on() {
        let (mut grants, now, first) = begun();
        let code = grants.agreed(consent());
        let other = grants.exchange("c", &code, "http://here/", TERMS, now).unwrap();
        let old = first.refresh.unwrap();
        grants.refresh("c", &old, TERMS, now).unwrap();
        let late = now + TERMS.leeway;
        assert_eq!(grants.refresh("c", &old, TERMS, late).unwrap_err(), Refused::Ended);
        assert!(grants.access(&other.access, late).is_some());
        assert!(grants.refresh("c", &other.refresh.unwrap(), TERMS, late).is_ok());
    }

    #[test]
    fn a_code_is_used_up_by_being_shown_to_its_own_client() {
        let (mut grants, now) = (Grants::new(1), Instant::now());
        let code = grants.agreed(consent());
        assert_eq!(
            grants.exchange("d", &code, "http://here/", TERMS, now).unwrap_err(),
            Refused::Code
        );
        assert_eq!(
            grants.exchange("c", &code, "http://there/", TERMS, now).unwrap_err(),
            Refused::Redirect
        );
        assert_eq!(
            grants.exchange("c", &code, "http://here/", TERMS, now).unwrap_err(),
            Refused::Code
        );
    }

    #[test]
    fn another_client_has_no_use_for_a_refresh_token_and_does_no_harm_with_it() {
        let (mut grants, now, first) = begun();
        let token = first.refresh.unwrap();
        assert_eq!(grants.refresh("d", &token, TERMS, now).unwrap_err(), Refused::Unknown);
        assert_eq!(grants.refresh("c", "eyJ", TERMS, now).unwrap_err(), Refused::Unknown);
        assert!(grants.refresh("c", &token, TERMS, now).is_ok());
    }

    #[test]
    fn an_access_token_ends_with_its_life() {
        let (grants, start, issued) = begun();
        assert!(
            grants
                .access(&issued.access, start + Duration::from_secs(3_599))
                .is_some()
        );
        assert!(grants.access(&issued.access, start + TERMS.life).is_none());
    }

    #[test]
    fn the_oldest_access_tokens_are_forgotten_and_no_two_are_the_same() {
        let (mut grants, now, first) = begun();
        for _ in 0..MOST_ACCESS {
            grants.direct("c", Vec::new(), TERMS, now);
        }
        assert!(grants.access(&first.access, now).is_none());
        assert_eq!(grants.access.len(), MOST_ACCESS);
    }

    #[test]
    fn who_does_not_stay_leaves_nothing_behind() {
        let (mut grants, now, first) = begun();
        grants.keep(|client| client == "c");
        assert!(grants.access(&first.access, now).is_some());
        grants.keep(|_| false);
        assert!(grants.refresh.is_empty() && grants.access.is_empty() && grants.counts.is_empty());
    }
}
