//! What opens Cloud's door. A credential is shown to Cloud and to nobody else.
//!
//! There may be several for one purpose: each is used where those before it are refused. A secret that comes from a file or
//! a command is read again when Cloud refuses it; tokens of OAuth are fetched and renewed here (`token`, `login`), and the
//! consent behind them is kept in a file (`consent`).

mod asking;
mod consent;
mod key;
mod login;
mod token;
mod wire;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use url::Url;

pub use asking::{Asking, Consented, SCOPES};
use key::Key;
pub(super) use key::Proof;
pub use login::Login;
pub(super) use login::below;
use token::Time;

use super::diagnosis::{Diagnosis, Suspect, Symptom};
use super::scrub::Scrub;
use super::{Client, Operation};
use crate::settings::{self, CredentialKind, Origin};

/// How long a consent that is not there, or is over, counts as refused.
const CONSENT_AGAIN: Duration = Duration::from_secs(5);
/// How long a credential that was refused is passed over, where there is another.
const PASSED_OVER: Duration = Duration::from_secs(300);

/// How long whoever makes tokens, or tells a secret, is waited for where another credential can be used meanwhile.
const BESIDE_ANOTHER: Duration = Duration::from_secs(5);

/// So long before a credential ends it is warned of.
const WARN_BEFORE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Every credential of a process, for all purposes. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Credentials(Arc<Vec<Credential>>);

impl Credentials {
    /// These, in this order.
    #[must_use]
    pub fn new(all: Vec<Credential>) -> Self {
        Self(Arc::new(all))
    }

    /// How each of them stands.
    pub async fn standing(&self) -> Vec<Standing> {
        let this = self.clone();
        // A consent's end stands in its file.
        let standing = tokio::task::spawn_blocking(move || this.0.iter().flat_map(Credential::standing).collect());
        standing.await.unwrap_or_default()
    }

    /// Ends what a refresh left open, in this process or in one before: later it could not be ended any more.
    pub async fn settle(&self, client: &Client) {
        for credential in self.0.iter() {
            credential.settle(client.login()).await;
        }
    }

    /// Reads every secret again where it came from, and gives those that were refused another try.
    pub async fn reread(&self) {
        for credential in self.0.iter() {
            credential.reread().await;
        }
    }
}

/// The credentials for one purpose, in the order in which they are used. Clones are the same.
#[derive(Clone)]
pub struct Credential(Arc<Ring>);

struct Ring {
    keys: Vec<Arc<Key>>,
    owner: Owner,
    /// What each key was refused for.
    marks: Mutex<Vec<Marks>>,
    /// Whether any was ever refused anything.
    is_marked: AtomicBool,
}

/// What one key was refused for: until when, and what was found, for each kind of request.
#[derive(Default)]
struct Marks(Vec<Option<(Instant, Symptom)>>);

/// Which of several credentials one request has tried in vain.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tried(u64);

impl Tried {
    /// Nobody has as many as 64; those beyond are not tried.
    fn has(self, at: usize) -> bool {
        u32::try_from(at)
            .ok()
            .and_then(|at| 1_u64.checked_shl(at))
            .is_none_or(|bit| self.0 & bit != 0)
    }

    fn note(&mut self, at: usize) {
        self.0 |= u32::try_from(at).ok().and_then(|at| 1_u64.checked_shl(at)).unwrap_or(0);
    }
}

/// Reads `data` as everything that an authorisation server may say, and as a consent that is kept.
pub(super) fn read_anything(data: &[u8]) {
    let _ = serde_json::from_slice::<wire::Issued>(data);
    let _ = serde_json::from_slice::<Vec<wire::Resource>>(data);
    let _ =
        serde_json::from_slice::<wire::Refusal>(data).map(|refusal| refusal.without(&Scrub::of_secrets(&["secrets!"])));
    let _ = serde_json::from_slice::<wire::Kept>(data);
}

/// Whose credential it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The facade's own: that it is refused is a fault of the facade's set-up.
    Facade,
    /// A caller's: that it is refused is the caller's affair.
    Caller,
}

/// Why there is nothing to show.
#[derive(Clone, Debug)]
pub(super) enum Unfit {
    /// It would be refused.
    Refused(Diagnosis),
    /// Whoever makes tokens is not there.
    Unavailable { cause: String, retry_after: Duration },
}

impl Unfit {
    fn unavailable(cause: String, retry_after: Duration) -> Self {
        Self::Unavailable { cause, retry_after }
    }

    fn is(&self, symptom: Symptom) -> bool {
        matches!(self, Self::Refused(diagnosis) if diagnosis.symptom == symptom)
    }
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(diagnosis) => diagnosis.fmt(f),
            Self::Unavailable { cause, .. } => f.write_str(cause),
        }
    }
}

fn refused(symptom: Symptom, finding: String, mend: &str) -> Unfit {
    Unfit::Refused(Diagnosis {
        symptom,
        finding,
        mend: mend.to_owned(),
    })
}

/// What goes with a request.
pub(super) struct Shown {
    pub header: HeaderValue,
    /// Where it is taken; none: at the client's own address.
    pub base: Option<Url>,
    key: usize,
    number: u64,
}

/// How one credential stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// What messages call it; never a secret.
    pub name: String,
    /// The setting that holds its secret.
    pub setting: String,
    /// Its kind.
    pub kind: CredentialKind,
    /// When it ends, as far as that is known; long ago where it is over already.
    pub ends: Option<Timestamp>,
    /// What it was refused for a short while ago.
    pub refused: Option<Symptom>,
}

/// What a credential has before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// Nobody knows when it ends.
    Unknown,
    /// Nothing: it has ended.
    Over,
    /// So many days, few enough to be warned of.
    Days(i64),
    /// Long enough.
    Long,
}

impl Ahead {
    /// Of what ends then, as of `now`.
    #[must_use]
    pub fn of(ends: Option<Timestamp>, now: Timestamp) -> Self {
        match ends.map(|ends| ends.duration_since(now)) {
            None => Self::Unknown,
            Some(left) if !left.is_positive() => Self::Over,
            Some(left) if left < WARN_BEFORE => Self::Days(left.as_hours() / 24),
            Some(_) => Self::Long,
        }
    }
}

impl Standing {
    /// What it has before it, as of `now`.
    #[must_use]
    pub fn ahead(&self, now: Timestamp) -> Ahead {
        Ahead::of(self.ends, now)
    }
}

impl Credential {
    /// The credentials of `settings`, in this order; consents are kept in the folder `consents`.
    #[must_use]
    pub fn of(settings: Vec<settings::Credential>, consents: &Path) -> Self {
        Self::ring(settings, consents, Owner::Facade)
    }

    /// An account's e-mail address and API token, of a kind that is shown as such a pair.
    #[must_use]
    pub fn pair(kind: CredentialKind, email: &str, token: &str, owner: Owner) -> Self {
        let settings = settings::Credential {
            kind,
            email: email.to_owned(),
            secret: token.into(),
            origin: Origin::new("cloud.api_token", None, ""),
            ..settings::Credential::default()
        };
        Self::ring(vec![settings], Path::new(""), owner)
    }

    fn ring(settings: Vec<settings::Credential>, consents: &Path, owner: Owner) -> Self {
        let keys: Vec<Arc<Key>> = settings
            .into_iter()
            .map(|settings| Arc::new(Key::new(settings, consents)))
            .collect();
        let marks = keys.iter().map(|_| Marks::default()).collect();
        Self(Arc::new(Ring {
            keys,
            owner,
            marks: Mutex::new(marks),
            is_marked: AtomicBool::new(false),
        }))
    }

    /// Whose it is.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.0.owner
    }

    /// How each of them stands. Blocks for a moment where consents are kept.
    #[must_use]
    pub fn standing(&self) -> Vec<Standing> {
        let marks = self.0.marks.lock().iter().map(Marks::any).collect::<Vec<_>>();
        let keys = self.0.keys.iter().zip(marks);
        keys.map(|(key, refused)| Standing {
            name: key.name.clone(),
            setting: key.setting().to_owned(),
            kind: key.kind,
            ends: key.ends(),
            refused,
        })
        .collect()
    }

    async fn settle(&self, login: &Login) {
        for key in &self.0.keys {
            key.settle(login).await;
        }
    }

    async fn reread(&self) {
        for key in &self.0.keys {
            key.refresh().await;
        }
        self.0
            .marks
            .lock()
            .iter_mut()
            .for_each(|marks| *marks = Marks::default());
    }

    /// What goes with a request of this kind, if nobody has to be waited for.
    pub(super) fn at_hand(&self, client: &Client, operation: Operation) -> Option<Shown> {
        self.of_key(self.0.next(operation, Tried::default())?, client, operation)
    }

    /// The same of the credential that was prepared for it.
    pub(super) fn of_key(&self, at: usize, client: &Client, operation: Operation) -> Option<Shown> {
        let key = self.0.keys.get(at)?;
        let proof = key.at_hand()?;
        let base = if key.kind.is_at_gateway() {
            Some(client.gateway(operation.service())?)
        } else {
            None
        };
        let Proof { header, number } = proof;
        Some(Shown {
            header,
            base,
            key: at,
            number,
        })
    }

    /// Sees to it that there is something to show for a request of this kind: tokens, and the address that takes them.
    /// What cannot be had, or takes too long while there is another, is passed over for the next.
    pub(super) async fn prepare(
        &self,
        client: &Client,
        operation: Operation,
        until: Instant,
        tried: &mut Tried,
    ) -> Result<usize, Unfit> {
        let mut first = None;
        // Who makes tokens may be there again a moment later: that is for now alone.
        let mut now = *tried;
        while let Some(at) = self.0.next(operation, now) {
            let Some(key) = self.0.keys.get(at) else { break };
            let time = self.0.time(at, operation, now, until);
            let ready = async {
                key.prepare(client.login(), time).await?;
                if !key.kind.is_at_gateway() || client.cloud_id().is_some() {
                    return Ok(());
                }
                client.find_gateway(&key.suspect(), until).await
            };
            let unfit = match ready.await {
                Ok(()) => return Ok(at),
                Err(unfit) => unfit,
            };
            match &unfit {
                Unfit::Refused(diagnosis) => {
                    tried.note(at);
                    self.0.pass_over(at, operation, diagnosis.symptom, &mut now);
                }
                Unfit::Unavailable { .. } => now.note(at),
            }
            first.get_or_insert(unfit);
        }
        Err(first.unwrap_or_else(|| {
            refused(
                Symptom::Unknown,
                "no credential is configured".to_owned(),
                "give cloud.email and cloud.api_token",
            )
        }))
    }

    /// What was shown was refused. Whether it is worth another try, with something else to show.
    pub(super) async fn refused(
        &self,
        shown: &Shown,
        operation: Operation,
        symptom: Symptom,
        until: Instant,
        tried: &mut Tried,
    ) -> bool {
        let Some(key) = self.0.keys.get(shown.key) else {
            return false;
        };
        // A command may take its time, which is not the caller's.
        let until = self.0.time(shown.key, operation, *tried, until).until;
        let renewed = tokio::time::timeout_at(until.into(), key.renew(shown.number, symptom)).await;
        if renewed == Ok(true) {
            return true;
        }
        self.0.pass_over(shown.key, operation, symptom, tried)
    }

    /// Whether what was shown was ever taken where it is shown; at the site itself that is not the question.
    pub(super) fn has_opened(&self, shown: &Shown) -> bool {
        let key = self.0.keys.get(shown.key);
        shown.base.is_none() || key.is_some_and(|key| key.has_opened.load(Ordering::Relaxed))
    }

    /// What was shown was taken.
    pub(super) fn accepted(&self, shown: &Shown, operation: Operation) {
        if let Some(key) = self.0.keys.get(shown.key) {
            key.has_opened.store(true, Ordering::Relaxed);
        }
        if self.0.is_marked.load(Ordering::Relaxed)
            && let Some(marks) = self.0.marks.lock().get_mut(shown.key)
        {
            marks.clear(operation);
        }
    }

    /// What a diagnosis of a refusal rests on.
    pub(super) fn suspect(&self, shown: &Shown) -> Option<Suspect<'_>> {
        let mut suspect = self.0.keys.get(shown.key)?.suspect();
        if self.0.owner == Owner::Caller {
            suspect.name = "the caller's own token";
        }
        Some(suspect)
    }
}

impl Ring {
    /// Of the keys that this request has not tried, the first that was not refused for its kind a short while ago, else the
    /// first of them.
    fn next(&self, operation: Operation, tried: Tried) -> Option<usize> {
        let mut left = (0..self.keys.len()).filter(|at| !tried.has(*at));
        if self.keys.len() < 2 {
            return left.next();
        }
        let marks = self.marks.lock();
        let is_unmarked = |at: &usize| marks.get(*at).is_none_or(|marks| marks.of(operation).is_none());
        left.clone().find(is_unmarked).or_else(|| left.next())
    }

    /// How long the key at `at` is waited for. Where there is another that was not refused, that has as much time at least.
    fn time(&self, at: usize, operation: Operation, mut tried: Tried, until: Instant) -> Time {
        tried.note(at);
        let marks = self.marks.lock();
        let has_another = (0..self.keys.len())
            .filter(|other| !tried.has(*other))
            .any(|other| marks.get(other).is_none_or(|marks| marks.of(operation).is_none()));
        let now = Instant::now();
        let mut left = until.saturating_duration_since(now);
        if has_another {
            left = BESIDE_ANOTHER.min(left / 2);
        }
        Time {
            until: now + left,
            has_another,
        }
    }

    /// The key at `at` is not to be used for a while. Whether there is another that this request has not tried.
    fn pass_over(&self, at: usize, operation: Operation, symptom: Symptom, tried: &mut Tried) -> bool {
        tried.note(at);
        self.is_marked.store(true, Ordering::Relaxed);
        // What is looked up in a file may be another the next moment.
        let time = match symptom {
            Symptom::NoConsent | Symptom::ConsentOver => CONSENT_AGAIN,
            _ => PASSED_OVER,
        };
        let is_news = self.marks.lock().get_mut(at).is_some_and(|marks| {
            let is_news = marks.of(operation).is_none();
            marks.set(operation, Instant::now() + time, symptom);
            is_news
        });
        let Some(next) = self.next(operation, *tried) else {
            return false;
        };
        let name = |at: usize| self.keys.get(at).map_or("", |key| key.name.as_str());
        if is_news {
            let (refused, next) = (name(at), name(next));
            tracing::warn!(
                refused,
                next,
                operation = operation.name(),
                symptom = symptom.as_str(),
                "a credential is refused; the next one is used"
            );
        }
        true
    }
}

impl Marks {
    fn of(&self, operation: Operation) -> Option<Symptom> {
        let now = Instant::now();
        let (until, symptom) = (*self.0.get(operation as usize)?)?;
        (now < until).then_some(symptom)
    }

    fn any(&self) -> Option<Symptom> {
        Operation::ALL.iter().find_map(|operation| self.of(*operation))
    }

    fn set(&mut self, operation: Operation, until: Instant, symptom: Symptom) {
        self.0.resize(Operation::COUNT, None);
        for (mark, marked) in self.0.iter_mut().zip(Operation::ALL) {
            // One scope covers several kinds of request.
            if !symptom.is_of_one_operation() || marked.scopes() == operation.scopes() {
                *mark = Some((until, symptom));
            }
        }
    }

    fn clear(&mut self, operation: Operation) {
        if let Some(mark) = self.0.get_mut(operation as usize) {
            *mark = None;
        }
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.0.keys.iter().map(|key| key.name.as_str()).collect();
        f.debug_tuple("Credential").field(&names).finish()
    }
}
