//! Access tokens: one at a time is fetched, whoever waits for it, and a failure is remembered for a moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;

use super::consent::{Consent, Unkept};
use super::login::{Failure, Login};
use super::wire::Grant;
use super::{BESIDE_ANOTHER, Unfit, refused};
use crate::cloud::diagnosis::{CLIENT, Symptom};

/// So long before its end a token is no longer shown, or a tenth of its life if that is less.
const BEFORE_THE_END: Duration = Duration::from_secs(60);
/// A token that is refused sooner after it was made, and before half of its life, is not at fault itself.
const TOO_YOUNG: Duration = Duration::from_secs(30);
const JUST_MADE: Duration = Duration::from_secs(1);
/// How long a refused client is believed to be one.
const REFUSAL: Duration = Duration::from_secs(30);
/// How long a failure is waited for after the first and at most.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long somebody waits for a token.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    pub until: Instant,
    /// Another credential can be used instead.
    pub has_another: bool,
}

/// An access token.
#[derive(Debug)]
pub struct Access {
    pub secret: SecretString,
    pub number: u64,
    made: Instant,
    until: Instant,
}

impl Access {
    fn life(&self) -> Duration {
        self.until.saturating_duration_since(self.made)
    }

    /// Whether it has a while to live. One that was just made is shown once, however short its life is said to be: else
    /// each would be followed by the next.
    fn is_fresh(&self) -> bool {
        self.made.elapsed() < JUST_MADE || Instant::now() + margin(self.life()) < self.until
    }

    /// Whether it cannot have come to its end, so that something else must be wrong.
    fn is_young(&self) -> bool {
        self.made.elapsed() < TOO_YOUNG.min(self.life() / 2)
    }
}

/// How long before its end a token of this life is no longer shown.
pub fn margin(life: Duration) -> Duration {
    BEFORE_THE_END.min(life / 10)
}

/// The access tokens of one client. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tokens(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client_id: String,
    /// None: the client itself is all there is to show.
    consent: Option<Consent>,
    current: ArcSwapOption<Access>,
    count: AtomicU64,
    turn: Mutex<Turn>,
    /// Since when a token is wanted and there is none.
    wanted: parking_lot::Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Turn {
    failed: Option<(Instant, Unfit)>,
    failures: u32,
    rejected: Option<SecretString>,
    unkept: Option<Unkept>,
}

impl Tokens {
    pub fn new(client_id: &str, consent: Option<Consent>) -> Self {
        Self(Arc::new(Inner {
            client_id: client_id.to_owned(),
            consent,
            current: ArcSwapOption::empty(),
            count: AtomicU64::new(0),
            turn: Mutex::default(),
            wanted: parking_lot::Mutex::default(),
        }))
    }

    pub fn consent(&self) -> Option<&Consent> {
        self.0.consent.as_ref()
    }

    /// A token with a while to live, if there is one.
    pub fn at_hand(&self) -> Option<Arc<Access>> {
        self.0.current.load_full().filter(|access| access.is_fresh())
    }

    /// A token with a while to live, made if there is none, and waited for. Where another credential can be used instead,
    /// nobody waits once it has taken too long for those before.
    pub async fn get(&self, login: &Login, secret: &SecretString, time: Time) -> Result<Arc<Access>, Unfit> {
        if let Some(access) = self.at_hand() {
            return Ok(access);
        }
        let busy = || Unfit::unavailable("an access token is being fetched".to_owned(), PAUSE);
        let mut until = time.until;
        if time.has_another {
            let since = *self.0.wanted.lock().get_or_insert_with(Instant::now);
            until = until.min(since + BESIDE_ANOTHER);
            let now = Instant::now();
            if until <= now {
                match self.0.turn.try_lock() {
                    Err(_held) => return Err(busy()),
                    Ok(turn) => {
                        if let Some((_, unfit)) = turn.failed.as_ref().filter(|(again, _)| now < *again) {
                            return Err(unfit.clone());
                        }
                    }
                }
            }
        }
        let (this, login, secret) = (self.clone(), login.clone(), secret.clone());
        // On a task of its own: whoever hangs up must not cut short what others wait for, and what cannot be done twice.
        let turn = tokio::spawn(async move { this.renew(&login, &secret).await });
        match tokio::time::timeout_at(until.into(), turn).await {
            Ok(Ok(renewed)) => renewed,
            Ok(Err(_panicked)) => Err(Unfit::unavailable(
                "an access token could not be fetched".to_owned(),
                PAUSE,
            )),
            Err(_elapsed) => Err(busy()),
        }
    }

    async fn renew(&self, login: &Login, secret: &SecretString) -> Result<Arc<Access>, Unfit> {
        let mut turn = self.0.turn.lock().await;
        if let Some(access) = self.at_hand() {
            return Ok(access);
        }
        if let Some((until, unfit)) = &turn.failed
            && Instant::now() < *until
        {
            return Err(unfit.clone());
        }
        let asked = Instant::now();
        let made = match &self.0.consent {
            None => {
                let issued = self.issue(login, secret).await;
                issued.map(|(secret, life)| (secret, asked, asked + life))
            }
            Some(consent) => {
                let Turn { rejected, unkept, .. } = &mut *turn;
                let kept = consent.renew(login, secret, rejected.as_ref(), unkept).await;
                kept.and_then(|kept| {
                    let left = kept.access_until_ms.saturating_sub(Timestamp::now().as_millisecond());
                    let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
                    let token = kept
                        .access_token
                        .ok_or_else(|| Unfit::unavailable("no access token is kept".to_owned(), PAUSE));
                    let age = Timestamp::now().as_millisecond().saturating_sub(kept.refreshed_ms);
                    let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
                    Ok((token?, asked.checked_sub(age).unwrap_or(asked), asked + left))
                })
            }
        };
        match made {
            Ok((secret, made, until)) => {
                turn.failed = None;
                turn.failures = 0;
                turn.rejected = None;
                *self.0.wanted.lock() = None;
                let access = Arc::new(Access {
                    secret,
                    number: self.0.count.fetch_add(1, Ordering::Relaxed) + 1,
                    made,
                    until,
                });
                self.0.current.store(Some(Arc::clone(&access)));
                Ok(access)
            }
            Err(unfit) => {
                let doubled = PAUSE.saturating_mul(1 << turn.failures.min(10)).min(LONGEST_PAUSE);
                turn.failures = turn.failures.saturating_add(1);
                let (pause, unfit) = match unfit {
                    Unfit::Unavailable { cause, .. } => (doubled, Unfit::unavailable(cause, doubled)),
                    // What the file says is looked at each time: somebody may have consented.
                    refused if self.0.consent.is_some() && !refused.is(Symptom::Client) => (Duration::ZERO, refused),
                    refused => (REFUSAL, refused),
                };
                turn.failed = Some((Instant::now() + pause, unfit.clone()));
                Err(unfit)
            }
        }
    }

    async fn issue(&self, login: &Login, secret: &SecretString) -> Result<(SecretString, Duration), Unfit> {
        let client_id = &self.0.client_id;
        let issued = login
            .issue(&Grant::ClientCredentials {
                client_id,
                client_secret: secret.expose_secret(),
            })
            .await
            .map_err(|failure| unfit(&failure, client_id))?;
        // A day is far beyond what such tokens live, and what a clock can add.
        Ok((issued.access_token, Duration::from_secs(issued.expires_in.min(86_400))))
    }

    /// Whether somebody has consented anew since the token of that number was read: it is let go then.
    pub async fn is_superseded(&self, number: u64) -> bool {
        let Some(consent) = self.0.consent.clone() else {
            return false;
        };
        let kept = tokio::task::spawn_blocking(move || consent.load()).await;
        let Ok(Ok(Some(kept))) = kept else { return false };
        let Some(access) = self.0.current.load_full().filter(|access| access.number == number) else {
            return true;
        };
        let is_other = kept
            .access_token
            .is_some_and(|kept| kept.expose_secret() != access.secret.expose_secret());
        if is_other {
            self.0.current.store(None);
        }
        is_other
    }

    /// Lets go of what is at hand, for a client that may have other rights now.
    pub fn let_go(&self) {
        self.0.current.store(None);
    }

    /// Ends what was begun and not ended: a use of the refresh token whose answer never came. Nobody may ask before the old
    /// token works no more.
    pub async fn settle(&self, login: &Login, secret: &SecretString) {
        let Some(consent) = self.0.consent.clone() else { return };
        let kept = tokio::task::spawn_blocking(move || consent.load()).await;
        let Ok(Ok(Some(kept))) = kept else { return };
        if kept.used_ms.is_none() || kept.over.is_some() {
            return;
        }
        {
            let mut turn = self.0.turn.lock().await;
            turn.rejected = kept.access_token;
            self.0.current.store(None);
        }
        let this = self.clone();
        let (login, secret) = (login.clone(), secret.clone());
        let _ = tokio::spawn(async move { this.renew(&login, &secret).await }).await;
    }

    /// The token of that number was refused. Whether another may be better.
    pub async fn reject(&self, number: u64) -> bool {
        let current = self.0.current.load_full();
        let Some(access) = current.filter(|access| access.number == number) else {
            // There is another already, or one is on its way.
            return true;
        };
        if access.is_young() {
            return false;
        }
        let mut turn = self.0.turn.lock().await;
        turn.rejected = Some(access.secret.clone());
        let still = self.0.current.load_full();
        if still.is_some_and(|still| still.number == number) {
            self.0.current.store(None);
        }
        true
    }

    /// The client's secret is another now: what was said of the last one means nothing.
    pub async fn forget_failures(&self) {
        let mut turn = self.0.turn.lock().await;
        turn.failed = None;
        turn.failures = 0;
        *self.0.wanted.lock() = None;
    }
}

/// What a failure of the authorisation server means for who waits for a token.
pub fn unfit(failure: &Failure, client_id: &str) -> Unfit {
    match failure {
        Failure::Refused(_, refusal) if refusal.is_about_the_client() => {
            let finding = format!("Atlassian's authorisation server refuses the client {client_id} ({failure})");
            refused(Symptom::Client, finding, CLIENT)
        }
        Failure::NotDone(_) | Failure::Lost(_) | Failure::Refused(..) => Unfit::unavailable(
            format!("no access token can be had from Atlassian's authorisation server: {failure}"),
            PAUSE,
        ),
    }
}
