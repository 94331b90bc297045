//! The consent that somebody gave an app, in a file of its own, and how its refresh token is used.
//!
//! Each use of a refresh token gives a new one; the old one works some ten minutes more, and used after that it revokes
//! everything. So whoever uses it notes that first, in the file, then asks, and keeps the new one in the file before
//! anything of the answer is used. Whoever finds such a note may use the old token again while it works, and must not
//! afterwards. One lock, beside the file, keeps processes apart.

use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};

use super::login::{Failure, Login};
use super::token::margin;
use super::wire::{Grant, Issued, Kept, Secretive};
use super::{Unfit, refused};
use crate::cloud::diagnosis::{CONSENT, CONSENT_AGAIN, Symptom};
use crate::private;

/// How long a refresh token works after its first use, by what was seen (ten minutes), less what clocks and ways take.
const WORKS_AGAIN: SignedDuration = SignedDuration::from_mins(9);
/// How far a clock may have gone back since a note was made.
const CLOCK: SignedDuration = SignedDuration::from_mins(1);
/// How long a refresh token lives unused, and a consent at all.
const IDLE: SignedDuration = SignedDuration::from_hours(90 * 24);
const LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);
/// An access token that is said to live longer is not believed: a clock was set back.
const LONGEST: Duration = Duration::from_secs(86_400);
/// How long another process is waited for that refreshes.
const OTHERS: Duration = Duration::from_secs(60);

/// Where one app's consent is kept.
#[derive(Clone, Debug)]
pub struct Consent {
    folder: PathBuf,
    client_id: String,
}

/// Keeps other processes out while it lives.
#[derive(Debug)]
pub struct Hold {
    _file: File,
}

/// Fresh tokens that could not be kept.
#[derive(Debug)]
pub struct Unkept {
    kept: Kept,
    /// What stood in the file: if anything else does now, somebody has consented anew.
    instead_of: SecretString,
}

/// What came of asking for an access token.
pub type Refreshed = Result<Kept, Unfit>;

impl Consent {
    /// The consent for this client, in a file of its own in `folder`.
    pub fn new(folder: &Path, client_id: &str) -> Self {
        Self {
            folder: folder.to_owned(),
            client_id: client_id.to_owned(),
        }
    }

    /// The file that holds it.
    pub fn path(&self) -> PathBuf {
        self.folder.join(format!("{}.json", self.client_id))
    }

    /// Takes the lock. Blocks.
    pub fn hold(&self) -> io::Result<Hold> {
        self.make_folder()?;
        let mut options = private::file();
        options.create(true).truncate(false).write(true);
        let file = options.open(self.folder.join(format!("{}.lock", self.client_id)))?;
        own_like(&self.folder, &file)?;
        let until = Instant::now() + OTHERS;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Hold { _file: file }),
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(10))
                }
                Err(TryLockError::WouldBlock) => return Err(io::Error::other("another process holds it")),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    fn make_folder(&self) -> io::Result<()> {
        let missing: Vec<&Path> = self.folder.ancestors().take_while(|folder| !folder.is_dir()).collect();
        for folder in missing
            .into_iter()
            .rev()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            private::make_dir(folder)?;
            #[cfg(unix)]
            if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                own_like(parent, &File::open(folder)?)?;
            }
        }
        Ok(())
    }

    /// What is kept, if anything is. Blocks.
    pub fn load(&self) -> io::Result<Option<Kept>> {
        let bytes = match std::fs::read(self.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => Secretive::from(read?),
        };
        let kept: Kept = serde_json::from_slice(bytes.bytes())
            // Neither the text nor what it should be is repeated: it holds secrets.
            .map_err(|e| {
                io::Error::other(format!(
                    "not what it should hold (line {}, column {})",
                    e.line(),
                    e.column()
                ))
            })?;
        if kept.format != 1 {
            return Err(io::Error::other(format!(
                "it has format {}, and this knows 1",
                kept.format
            )));
        }
        Ok(Some(kept))
    }

    /// Puts `kept` in the place of what is kept, whole or not at all, and on the disk before it returns. Blocks.
    pub fn save(&self, kept: &Kept) -> io::Result<()> {
        self.make_folder()?;
        let bytes = Secretive::of(kept).map_err(io::Error::other)?;
        let new = self.folder.join(format!("{}.new", self.client_id));
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = private::file().create_new(true).write(true).open(&new)?;
        own_like(&self.folder, &file)?;
        file.write_all(bytes.bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, self.path())?;
        // The name is as durable as the bytes only once the folder is.
        sync(&self.folder)
    }

    fn unkept(&self, error: &io::Error) -> Unfit {
        Unfit::unavailable(
            format!("{} cannot be read or written: {error}", self.path().display()),
            Duration::from_secs(5),
        )
    }

    /// When it ends by itself, if it is there.
    pub fn ends(&self) -> Option<Timestamp> {
        let kept = self.load().ok()??;
        if kept.over.is_some() {
            return Some(Timestamp::UNIX_EPOCH);
        }
        let after = |ms: i64, life| Timestamp::from_millisecond(ms).ok()?.checked_add(life).ok();
        after(kept.refreshed_ms, IDLE).min(after(kept.consented_ms, LIFE))
    }

    /// An access token: the one that is kept, unless it is `rejected` or at its end, else a fresh one. `unkept` is what an
    /// earlier turn could not keep.
    pub async fn renew(
        &self,
        login: &Login,
        secret: &SecretString,
        rejected: Option<&SecretString>,
        unkept: &mut Option<Unkept>,
    ) -> Refreshed {
        let this = self.clone();
        let held = tokio::task::spawn_blocking(move || {
            // Nothing is kept there, and whoever only asks for it makes no folder.
            if !this.folder.exists() {
                return Ok(None);
            }
            let hold = this.hold()?;
            Ok::<_, io::Error>(this.load()?.map(|kept| (hold, kept)))
        });
        let held = held
            .await
            .map_err(|_panicked| Unfit::unavailable("the consent cannot be read".to_owned(), Duration::from_secs(5)))?
            .map_err(|error| self.unkept(&error))?;
        let Some((_hold, kept)) = held else {
            let finding = format!("nobody has consented yet for the app {}", self.client_id);
            return Err(refused(Symptom::NoConsent, finding, CONSENT));
        };
        // Tokens that an earlier turn could not keep come first: another use of the old one would burn a second.
        if let Some(waiting) = unkept.take()
            && waiting.instead_of.expose_secret() == kept.refresh_token.expose_secret()
        {
            return self.keep(waiting.kept, waiting.instead_of, unkept).await;
        }
        if let Some(over) = &kept.over {
            return Err(self.over(over));
        }
        let now = Timestamp::now();
        if kept.is_fresh(now) && !same(kept.access_token.as_ref(), rejected) {
            return Ok(kept);
        }
        self.refresh(login, secret, kept, now, unkept).await
    }

    /// Uses the refresh token.
    async fn refresh(
        &self,
        login: &Login,
        secret: &SecretString,
        mut kept: Kept,
        now: Timestamp,
        unkept: &mut Option<Unkept>,
    ) -> Refreshed {
        let was_used = kept.used_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        match was_used {
            Some(used) if (-CLOCK..WORKS_AGAIN).contains(&now.duration_since(used)) => {}
            Some(_) => {
                // The note is older than the token can be used again; that it was never answered is all that is known.
                return Err(self
                    .end(kept, "a refresh token was used, and its answer lost, too long ago")
                    .await);
            }
            None => {
                kept.used_ms = Some(now.as_millisecond());
                self.write(&kept).await.map_err(|error| self.unkept(&error))?;
            }
        }
        let issued = login
            .issue(&Grant::RefreshToken {
                client_id: &self.client_id,
                client_secret: secret.expose_secret(),
                refresh_token: kept.refresh_token.expose_secret(),
            })
            .await;
        match issued {
            Ok(issued) => {
                let before = kept.refresh_token.clone();
                kept.renew(issued, Timestamp::now());
                self.keep(kept, before, unkept).await
            }
            Err(failure) => {
                if matches!(&failure, Failure::Refused(_, refusal) if refusal.ends_a_consent()) {
                    return Err(self.end(kept, &failure.to_string()).await);
                }
                if was_used.is_none() && !matches!(failure, Failure::Lost(_)) {
                    // It was not used after all.
                    kept.used_ms = None;
                    if let Err(error) = self.write(&kept).await {
                        tracing::warn!(%error, path = %self.path().display(), "a note could not be taken back");
                    }
                }
                Err(super::token::unfit(&failure, &self.client_id))
            }
        }
    }

    /// Keeps fresh tokens, on the disk, before they are used.
    async fn keep(&self, kept: Kept, instead_of: SecretString, unkept: &mut Option<Unkept>) -> Refreshed {
        match self.write(&kept).await {
            Ok(()) => Ok(kept),
            Err(error) => {
                *unkept = Some(Unkept { kept, instead_of });
                Err(self.unkept(&error))
            }
        }
    }

    async fn end(&self, mut kept: Kept, why: &str) -> Unfit {
        kept.over = Some(why.to_owned());
        kept.access_token = None;
        if let Err(error) = self.write(&kept).await {
            tracing::warn!(%error, path = %self.path().display(), "the end of a consent could not be noted");
        }
        self.over(why)
    }

    fn over(&self, why: &str) -> Unfit {
        let finding = format!("the consent for the app {} is over ({why})", self.client_id);
        refused(Symptom::ConsentOver, finding, CONSENT_AGAIN)
    }

    async fn write(&self, kept: &Kept) -> io::Result<()> {
        let (this, kept) = (self.clone(), kept.clone());
        tokio::task::spawn_blocking(move || this.save(&kept))
            .await
            .unwrap_or_else(|_panicked| Err(io::Error::other("it could not be written")))
    }
}

fn same(one: Option<&SecretString>, other: Option<&SecretString>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.expose_secret() == other.expose_secret(),
        _ => false,
    }
}

/// Puts a folder's entries on the disk, where that can be done.
fn sync(folder: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    match File::open(folder)?.sync_all() {
        // A file system that knows no such thing.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

/// What is made in a folder is its owner's: an operator who looks at credentials as root leaves nothing behind that the
/// service cannot read.
fn own_like(folder: &Path, file: &File) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, fchown};
        let (theirs, ours) = (std::fs::metadata(folder)?, file.metadata()?);
        // Only root can give something away; for anybody else it is the same user, whatever the group.
        if theirs.uid() != ours.uid() {
            fchown(file, Some(theirs.uid()), Some(theirs.gid()))?;
        }
    }
    #[cfg(not(unix))]
    let _ = (folder, file);
    Ok(())
}

impl Kept {
    /// What a consent that was given now keeps.
    pub fn given(client_id: &str, issued: Issued, now: Timestamp) -> Option<Self> {
        let refresh_token = issued.refresh_token.clone()?;
        let mut kept = Self {
            format: 1,
            client_id: client_id.to_owned(),
            scope: String::new(),
            consented_ms: now.as_millisecond(),
            refreshed_ms: 0,
            refresh_token,
            access_token: None,
            access_until_ms: 0,
            used_ms: None,
            over: None,
        };
        kept.renew(issued, now);
        Some(kept)
    }

    fn renew(&mut self, issued: Issued, now: Timestamp) {
        let seconds = i64::try_from(issued.expires_in).unwrap_or(i64::MAX);
        self.access_until_ms = now.as_millisecond().saturating_add(seconds.saturating_mul(1000));
        self.access_token = Some(issued.access_token);
        self.refreshed_ms = now.as_millisecond();
        if let Some(refresh_token) = issued.refresh_token {
            self.refresh_token = refresh_token;
        }
        if !issued.scope.is_empty() {
            self.scope = issued.scope;
        }
        self.used_ms = None;
    }

    /// Whether its access token still has a while to live.
    fn is_fresh(&self, now: Timestamp) -> bool {
        let millis = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        let left = millis(self.access_until_ms.saturating_sub(now.as_millisecond()));
        let life = millis(self.access_until_ms.saturating_sub(self.refreshed_ms));
        // The same as of a token in memory: else one that is no longer shown there would be taken from here again.
        self.access_token.is_some() && left > margin(life) && left <= LONGEST
    }
}
