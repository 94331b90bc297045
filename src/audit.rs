//! The audit: one JSON line for every name of every bulk call, appended to `audit.jsonl` in the state directory.
//!
//! Written beside the stream by a thread of its own; a request only waits for it before it answers. What cannot be
//! written stays in memory and is tried again; meanwhile [`Audit::check`] refuses new changes.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::metrics::Metrics;
use crate::model::{AccountId, Context, Fate, GroupId, Skip};

/// The file's name in the state directory.
pub const FILE: &str = "audit.jsonl";

/// Lines kept in memory while they cannot be written; beyond it they are lost to the file, and logged as errors.
const MAX_PENDING: usize = 16 * 1024 * 1024;

/// What became of one name, as the audit tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As the caller is told.
    Told(Fate),
    /// The change may have happened; Cloud could not be asked.
    InDoubt,
}

/// One name of one bulk call.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// `add_members` and so on.
    pub operation: &'static str,
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
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    request_id: &'a str,
    caller: &'a str,
    operation: &'a str,
    group: &'a str,
    group_id: Option<&'a str>,
    name: &'a str,
    account: Option<&'a str>,
    result: &'a str,
    reason: Option<&'a str>,
}

enum Message {
    Lines(Vec<u8>),
    Flush(oneshot::Sender<bool>),
}

/// A handle on the audit's thread; clones share it.
#[derive(Clone, Debug)]
pub struct Audit {
    sender: mpsc::Sender<Message>,
    healthy: Arc<AtomicBool>,
}

impl Audit {
    /// Opens the audit below `state_dir`, which is made if it is not there.
    ///
    /// # Errors
    /// The directory or the file cannot be made or opened, or no thread can be started.
    pub fn open(state_dir: &Path, metrics: Metrics) -> io::Result<Self> {
        make_private_dir(state_dir)?;
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(state_dir.join(FILE))?;
        let length = file.seek(SeekFrom::End(0))?;
        let (sender, receiver) = mpsc::channel(256);
        let healthy = Arc::new(AtomicBool::new(true));
        let writer = Writer {
            file,
            length,
            pending: Vec::new(),
            healthy: Arc::clone(&healthy),
            metrics,
        };
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(receiver))?;
        Ok(Self { sender, healthy })
    }

    /// Whether changes may be made: the audit's last write went well, or the next one does.
    pub async fn check(&self) -> bool {
        self.healthy.load(Ordering::Relaxed) || self.flush().await
    }

    /// Hands over what became of some names.
    pub async fn write(&self, context: &Context, records: &[Record<'_>]) {
        let time = jiff::Timestamp::now().to_string();
        let mut lines = Vec::with_capacity(records.len() * 256);
        for record in records {
            let (result, reason) = match record.verdict {
                Verdict::Told(Fate::Done) => ("done", None),
                Verdict::Told(Fate::Skipped(Skip::NotAttempted)) => ("not_attempted", None),
                Verdict::Told(Fate::Skipped(reason)) => ("skipped", Some(reason.as_str())),
                Verdict::InDoubt => ("in_doubt", None),
            };
            let line = Line {
                time: time.clone(),
                request_id: context.request.as_str(),
                caller: &context.caller.name,
                operation: record.operation,
                group: record.group,
                group_id: record.group_id.map(GroupId::as_str),
                name: record.name,
                account: record.account.map(AccountId::as_str),
                result,
                reason,
            };
            // Texts and options only: this cannot fail.
            if serde_json::to_writer(&mut lines, &line).is_ok() {
                lines.push(b'\n');
            }
        }
        if self.sender.send(Message::Lines(lines)).await.is_err() {
            tracing::error!("the audit's thread is gone");
        }
    }

    /// Waits until everything handed over is in the file; `false` if it is not.
    pub async fn flush(&self) -> bool {
        let (sender, receiver) = oneshot::channel();
        self.sender.send(Message::Flush(sender)).await.is_ok() && receiver.await.unwrap_or(false)
    }
}

struct Writer {
    file: File,
    /// The end of the last whole line in the file.
    length: u64,
    pending: Vec<u8>,
    healthy: Arc<AtomicBool>,
    metrics: Metrics,
}

impl Writer {
    fn run(mut self, mut receiver: mpsc::Receiver<Message>) {
        while let Some(message) = receiver.blocking_recv() {
            match message {
                Message::Lines(lines) => {
                    if self.pending.len() + lines.len() <= MAX_PENDING {
                        self.pending.extend_from_slice(&lines);
                    } else {
                        tracing::error!(lost = %String::from_utf8_lossy(&lines), "audit lines that cannot be written");
                    }
                    self.write();
                }
                Message::Flush(answer) => {
                    let written = self.write();
                    // Nobody waits any more: nothing is lost by it.
                    let _ = answer.send(written);
                }
            }
        }
        self.write();
    }

    fn write(&mut self) -> bool {
        if self.pending.is_empty() {
            return self.healthy.load(Ordering::Relaxed);
        }
        match self.file.write_all(&self.pending) {
            Ok(()) => {
                self.length += self.pending.len() as u64;
                self.pending.clear();
                self.healthy.store(true, Ordering::Relaxed);
                true
            }
            Err(error) => {
                // Half a line would spoil the next one.
                let _ = self.file.set_len(self.length);
                self.metrics.audit_failures.inc();
                self.healthy.store(false, Ordering::Relaxed);
                tracing::error!(%error, "the audit cannot be written; changes are refused until it can");
                false
            }
        }
    }
}

/// Makes a directory that only its owner can look into.
fn make_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
