//! One credential: how it is shown, and how it is renewed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use jiff::Timestamp;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;

use super::Unfit;
use super::consent::Consent;
use super::login::Login;
use super::token::{Time, Tokens};
use crate::cloud::diagnosis::{self, Suspect, Symptom};
use crate::settings::{self, CredentialKind, Origin};

/// A command is not asked again sooner.
const COMMANDS: Duration = Duration::from_secs(5);

/// One credential.
#[derive(Debug)]
pub struct Key {
    pub kind: CredentialKind,
    /// What messages call it; never a secret.
    pub name: String,
    /// Its owner's e-mail address, or the client's id.
    pub account: String,
    expires: Option<Timestamp>,
    origin: Origin,
    secret: ArcSwap<SecretString>,
    /// How often the secret was changed.
    changes: AtomicU64,
    /// One reading at a time; when the last one was.
    reading: Mutex<Option<Instant>>,
    tokens: Option<Tokens>,
    /// Something was answered to it.
    pub has_opened: AtomicBool,
}

/// What is shown to Cloud, and which one of several it is.
pub struct Proof {
    pub header: HeaderValue,
    pub number: u64,
}

impl Key {
    /// As the settings have it; consents are kept in `consents`.
    pub fn new(settings: settings::Credential, consents: &Path) -> Self {
        let name = settings.name();
        let consent = || Consent::new(consents, &settings.client_id);
        let tokens = match settings.kind {
            CredentialKind::ServiceAccount => Some(Tokens::new(&settings.client_id, None)),
            CredentialKind::Oauth => Some(Tokens::new(&settings.client_id, Some(consent()))),
            _ => None,
        };
        Self {
            kind: settings.kind,
            name,
            account: if settings.kind.is_client() {
                settings.client_id
            } else {
                settings.email
            },
            expires: settings.expires,
            origin: settings.origin,
            secret: ArcSwap::from_pointee(settings.secret),
            changes: AtomicU64::new(0),
            reading: Mutex::default(),
            tokens,
            has_opened: AtomicBool::new(false),
        }
    }

    /// The setting that holds its secret.
    pub fn setting(&self) -> &str {
        &self.origin.setting
    }

    /// What a diagnosis rests on.
    pub fn suspect(&self) -> Suspect<'_> {
        Suspect {
            name: &self.name,
            setting: self.setting(),
            kind: self.kind,
            look: diagnosis::look(self.kind, self.secret.load().expose_secret()),
        }
    }

    /// When it ends, as far as that is known. Blocks for a moment where a consent is kept.
    pub fn ends(&self) -> Option<Timestamp> {
        let consent = self.tokens.as_ref().and_then(Tokens::consent).and_then(Consent::ends);
        match (self.expires, consent) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// What can be shown without waiting for anybody.
    pub fn at_hand(&self) -> Option<Proof> {
        match &self.tokens {
            None => Some(self.own()),
            Some(tokens) => tokens.at_hand().map(|access| Proof {
                header: bearer(&access.secret),
                number: access.number,
            }),
        }
    }

    /// Sees to it that there is something to show.
    pub async fn prepare(self: &Arc<Self>, login: &Login, time: Time) -> Result<(), Unfit> {
        let Some(tokens) = &self.tokens else { return Ok(()) };
        let mut got = tokens.get(login, &self.secret.load_full(), time).await;
        // A client's secret may have been exchanged like any other.
        if got.as_ref().is_err_and(|unfit| unfit.is(Symptom::Client))
            && tokio::time::timeout_at(time.until.into(), self.reread()).await == Ok(true)
        {
            got = tokens.get(login, &self.secret.load_full(), time).await;
        }
        got.map(|_| ()).map_err(|unfit| match (unfit, self.suspect().look) {
            (Unfit::Refused(mut diagnosis), Some(look)) if diagnosis.symptom == Symptom::Client => {
                diagnosis.mend = format!("{}; {look}", diagnosis.mend);
                Unfit::Refused(diagnosis)
            }
            (unfit, _) => unfit,
        })
    }

    /// Ends what a refresh left open.
    pub async fn settle(&self, login: &Login) {
        if let Some(tokens) = &self.tokens {
            tokens.settle(login, &self.secret.load_full()).await;
        }
    }

    /// Has what may have changed be looked at anew.
    pub async fn refresh(self: &Arc<Self>) {
        *self.reading.lock().await = None;
        self.reread().await;
        if let Some(tokens) = &self.tokens {
            tokens.let_go();
            tokens.forget_failures().await;
        }
    }

    /// What was shown under this number was not taken. Whether there is something else to show now.
    pub async fn renew(self: &Arc<Self>, number: u64, symptom: Symptom) -> bool {
        if let Some(tokens) = &self.tokens
            && tokens.is_superseded(number).await
        {
            return true;
        }
        if !symptom.may_be_stale() {
            return false;
        }
        let is_changed = || self.tokens.is_none() && self.changes.load(Ordering::Acquire) != number;
        if is_changed() || self.reread().await || is_changed() {
            return true;
        }
        match &self.tokens {
            Some(tokens) => tokens.reject(number).await,
            None => false,
        }
    }

    /// Reads the secret again where it came from. Whether it is another now.
    async fn reread(self: &Arc<Self>) -> bool {
        let this = Arc::clone(self);
        // On a task of its own: a command that nobody waits for any more is not run once more beside itself.
        tokio::spawn(async move { this.read_in_turn().await })
            .await
            .unwrap_or(false)
    }

    async fn read_in_turn(&self) -> bool {
        let mut last = self.reading.lock().await;
        // Refusals come in crowds, and a command may be slow, or ask somebody.
        if self.origin.is_command() && last.is_some_and(|last| last.elapsed() < COMMANDS) {
            return false;
        }
        let is_another = self.read_now().await;
        *last = Some(Instant::now());
        is_another
    }

    async fn read_now(&self) -> bool {
        let origin = self.origin.clone();
        let read = tokio::task::spawn_blocking(move || origin.read()).await;
        let new = match read {
            Ok(Ok(Some(new))) if !new.expose_secret().is_empty() => new,
            Ok(Err(fault)) => {
                tracing::warn!(%fault, "a secret cannot be read again; the last one is used");
                return false;
            }
            _ => return false,
        };
        if new.expose_secret() == self.secret.load().expose_secret() {
            return false;
        }
        if !settings::is_writable(new.expose_secret()) {
            tracing::warn!(credential = %self.name, "the new secret has blanks or letters that none can have; the last one is used");
            return false;
        }
        tracing::info!(credential = %self.name, "the secret was changed");
        self.secret.store(Arc::new(new));
        self.changes.fetch_add(1, Ordering::AcqRel);
        if let Some(tokens) = &self.tokens {
            tokens.forget_failures().await;
        }
        true
    }

    fn own(&self) -> Proof {
        // Before the secret: one that is changed between the two is only asked for once more.
        let number = self.changes.load(Ordering::Acquire);
        let secret = self.secret.load();
        let header = if self.kind == CredentialKind::Key {
            bearer(&secret)
        } else {
            basic(&self.account, secret.expose_secret())
        };
        Proof { header, number }
    }
}

/// Both encoded together, as Basic authentication wants it.
fn basic(email: &str, token: &str) -> HeaderValue {
    let pair = Zeroizing::new(format!("{email}:{token}"));
    let text = Zeroizing::new(format!(
        "Basic {}",
        Zeroizing::new(STANDARD.encode(pair.as_bytes())).as_str()
    ));
    header(&text)
}

fn bearer(token: &SecretString) -> HeaderValue {
    header(&Zeroizing::new(format!("Bearer {}", token.expose_secret())))
}

/// Nothing where it has letters that no header may have: that is refused like any other that is wrong.
fn header(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}
