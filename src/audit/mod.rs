//! The audit: one JSON line for every name of every bulk call and for every call refused as a whole, numbered and
//! chained by codes, appended to `audit.jsonl` in the state directory.
//!
//! Written beside the stream by a thread of its own; a request only waits for it before it answers. What cannot be
//! written stays in memory and is tried again; meanwhile [`Audit::check`] refuses new changes.
//!
//! A line's code is an HMAC over the code before it and the line's own bytes, so a line that is changed, taken out, moved
//! or put in shows, wherever it stands ([`verify`]). What the chain cannot show by itself is that its end was cut off: for
//! that somebody else keeps the [`Head`]. Whoever has the key and the files can rewrite both.

mod chain;
mod error;
mod files;
mod read;
mod room;
mod seen;
mod walk;
mod wire;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

pub use chain::{Expected, Head};
pub use error::{Damage, Error, What};
pub use files::FILE;
pub use read::{each_line, last_readable, told, verify};
pub use walk::{Tail, Walked};
pub use wire::Entry;

use crate::metrics::Metrics;
use crate::model::{AccountId, Context, GroupId, OperationId, OperationKind, Verdict};
use crate::private;
use chain::Chain;
use seen::Seen;
use walk::{Start, Step};
use writer::{Message, Question, ROOM, Writer};

/// One name of one bulk call.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// The bulk operation.
    pub operation: &'a OperationId,
    /// What it does.
    pub kind: OperationKind,
    /// The name's place in the request, from 0.
    pub index: usize,
    /// The group's name.
    pub group: &'a str,
    /// The group's id, where there is one.
    pub group_id: Option<&'a GroupId>,
    /// The name as the caller spelt it.
    pub name: &'a str,
    /// The account it means, where that is known.
    pub account: Option<&'a AccountId>,
    /// What became of it.
    pub verdict: Verdict,
    /// How that is known.
    pub evidence: Evidence,
}

/// How the facade knows what became of a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Evidence {
    /// The operation's own process saw it.
    #[default]
    Witnessed,
    /// A later process found it out.
    Recovered,
}

/// How large the audit may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes after which a file is full and the next one is begun.
    pub max_file_bytes: u64,
    /// Full files that are kept beside the one that is written; 0: all.
    pub keep_files: usize,
}

/// A handle on the audit's thread; clones share it.
#[derive(Clone, Debug)]
pub struct Audit {
    sender: mpsc::Sender<Message>,
    seen: Arc<Seen>,
}

impl Audit {
    /// Opens the audit in `state_dir`, which is made if it is not there: with `audit.key` and an empty `audit.jsonl` where
    /// there are none. Holds the last file, and everything behind `expected`, against the chain first.
    ///
    /// # Errors
    /// The directory or a file cannot be made or opened, the key is missing beside lines or cannot be used, the lines are
    /// not as they were written or end before `expected`, or no thread can be started. Nothing was touched then.
    pub fn open(state_dir: &Path, limits: Limits, expected: Option<Head>, metrics: Metrics) -> Result<Self, Error> {
        private::make_dir(state_dir).map_err(files::fault(state_dir))?;
        let chain = load_or_make_key(state_dir, expected)?;
        let start = expected.map_or(Start::Tail, |head| Start::Line(head.seq));
        let expected = expected.map(Expected::from);
        let mut found = None;
        let walked = walk::walk(
            state_dir,
            start,
            Some(&chain),
            expected.as_ref(),
            &mut |step| match step {
                Step::Damage(damage) => {
                    found = Some(Box::new(damage));
                    std::ops::ControlFlow::Break(())
                }
                Step::Line(_) => std::ops::ControlFlow::Continue(()),
            },
        )?;
        if let Some(damage) = found {
            let dir = state_dir.to_owned();
            return Err(Error::Damaged { dir, damage, expected });
        }
        let seen = Arc::new(Seen::new(walked.head));
        let writer = Writer::open(state_dir, chain, limits, &walked, Arc::clone(&seen), metrics)?;
        let (sender, receiver) = mpsc::channel(256);
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(receiver))
            .map_err(files::fault(state_dir))?;
        Ok(Self { sender, seen })
    }

    /// Whether changes may be made: there is room for some lines about them. Costs nothing where some was reserved, or written
    /// to, within the last second.
    pub async fn check(&self) -> bool {
        self.is_writable() && self.seen.room.is_there_for(ROOM) || self.ask(Question::Room).await
    }

    /// Whether what was to be written last could be. Costs nothing.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.seen.is_healthy() && !self.sender.is_closed()
    }

    /// Hands over what became of some names.
    pub async fn write(&self, context: &Context, records: &[Record<'_>]) {
        self.send(wire::records(context, records)).await;
    }

    /// Tells that a whole call was refused: `group` it names, `why` as a short text. Who is answered so finds it in the file, for
    /// no operation follows at whose end everything would be there.
    pub async fn refused(&self, context: &Context, kind: OperationKind, group: &str, why: &str) {
        self.send(wire::refused(context, kind, group, why)).await;
        // Where it cannot be written, the audit's thread says so, and tries again.
        self.told().await;
    }

    /// Waits until everything handed over is in the file, where `kill -9` takes nothing of it; `false` if it is not. Costs
    /// nothing where it is.
    pub async fn told(&self) -> bool {
        self.is_writable() && self.seen.is_all_in_file() || self.ask(Question::Told).await
    }

    /// Waits until everything handed over is on disk; `false` if it is not.
    pub async fn flush(&self) -> bool {
        self.ask(Question::Written).await
    }

    /// The last line that is on disk.
    #[must_use]
    pub fn head(&self) -> Head {
        self.seen.on_disk()
    }

    async fn send(&self, lines: Vec<u8>) {
        if lines.is_empty() {
            return;
        }
        // Counted once nothing can come between: whoever is dropped while there is no room handed nothing over.
        let Ok(room) = self.sender.reserve().await else {
            tracing::error!("the audit's thread is gone");
            return;
        };
        self.seen.handing_over();
        room.send(Message::Lines(lines));
    }

    async fn ask(&self, question: Question) -> bool {
        let (sender, receiver) = oneshot::channel();
        self.sender.send(Message::Ask(question, sender)).await.is_ok() && receiver.await.unwrap_or(false)
    }
}

/// The key of `dir`; a new one only where nothing was ever written with one.
fn load_or_make_key(dir: &Path, expected: Option<Head>) -> Result<Chain, Error> {
    match Chain::load(dir) {
        Err(Error::KeyMissing { .. }) if expected.is_none_or(|head| head.seq == 0) && !files::is_chained(dir)? => {}
        other => return other,
    }
    if let Some(aside) = files::set_unchained_aside(dir)? {
        tracing::warn!(
            kept = %aside.display(),
            "the audit so far has no codes; it was set aside, and a chained one begins"
        );
    }
    Chain::make(dir)
}

/// Sets the audit of `dir` aside, whatever state it is in, and begins another behind `head`: the next line is the one
/// after it. Nobody may have the directory open. Returns where the files are now; the key is copied there, and replaced
/// only if it cannot be used.
///
/// # Errors
/// There is nothing to set aside, or a file cannot be moved or written.
pub fn renew(dir: &Path, head: Head) -> Result<PathBuf, Error> {
    let mut old: Vec<PathBuf> = files::full(dir)?.into_values().collect();
    old.extend(Some(dir.join(FILE)).filter(|path| path.exists()));
    if old.is_empty() && !chain::key_path(dir).exists() {
        return Err(Error::Absent { dir: dir.to_owned() });
    }
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ").to_string();
    let aside = dir.join(format!("audit-set-aside-{time}"));
    private::make_dir(&aside).map_err(files::fault(&aside))?;
    let key = match Chain::load(dir) {
        Ok(key) => {
            chain::copy_key(dir, &aside).map_err(files::fault(&aside))?;
            key
        }
        Err(Error::KeyMissing { .. }) => Chain::make(dir)?,
        Err(Error::Key { path, .. }) => {
            std::fs::rename(&path, aside.join(chain::KEY_FILE)).map_err(files::fault(&path))?;
            Chain::make(dir)?
        }
        Err(other) => return Err(other),
    };
    for path in old {
        let name = path.file_name().unwrap_or_default();
        std::fs::rename(&path, aside.join(name)).map_err(files::fault(&path))?;
    }
    let mut header = Vec::new();
    wire::header(&mut header, &key, head, head.seq + 1, wire::Begun::Renewed);
    let path = dir.join(FILE);
    let written = files::append(&path).and_then(|mut file| {
        std::io::Write::write_all(&mut file, &header)?;
        file.sync_all()
    });
    written.map_err(files::fault(&path))?;
    files::sync_dir(dir);
    Ok(aside)
}
