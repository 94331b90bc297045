//! The audit: one JSON line for every name of every bulk call, appended to `audit.jsonl` in the state directory.
//!
//! Written beside the stream by a thread of its own; a request only waits for it before it answers. What cannot be
//! written stays in memory and is tried again; meanwhile [`Audit::check`] refuses new changes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::metrics::Metrics;
use crate::model::{AccountId, Context, Fate, GroupId, OperationId, OperationKind, Skip, Verdict};

/// The file's name in the state directory.
pub const FILE: &str = "audit.jsonl";

/// Lines kept in memory while they cannot be written; beyond it they are lost to the file, and logged as errors.
const MAX_PENDING: usize = 16 * 1024 * 1024;

/// How many blanks must find room before a change is begun: a block of a file system, a dozen lines.
const ROOM: usize = 4096;

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
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    request_id: &'a str,
    caller: &'a str,
    operation_id: &'a str,
    operation: &'a str,
    index: usize,
    group: &'a str,
    group_id: Option<&'a str>,
    name: &'a str,
    account: Option<&'a str>,
    result: &'a str,
    reason: Option<&'a str>,
}

enum Message {
    Lines(Vec<u8>),
    Check(oneshot::Sender<bool>),
    Flush(oneshot::Sender<bool>),
}

/// A handle on the audit's thread; clones share it.
#[derive(Clone, Debug)]
pub struct Audit {
    sender: mpsc::Sender<Message>,
}

impl Audit {
    /// Opens the audit below `state_dir`, which is made if it is not there.
    ///
    /// # Errors
    /// The directory or the file cannot be made or opened, or no thread can be started.
    pub fn open(state_dir: &Path, metrics: Metrics) -> io::Result<Self> {
        make_private_dir(state_dir)?;
        let mut options = OpenOptions::new();
        options.create(true).append(true).read(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(state_dir.join(FILE))?;
        let mut length = file.seek(SeekFrom::End(0))?;
        if length > 0 && !ends_a_line(&mut file)? {
            // A process was killed while it wrote: what comes now must not be glued to half a line.
            length += 1;
            file.write_all(b"\n")?;
        }
        let (sender, receiver) = mpsc::channel(256);
        let writer = Writer {
            file,
            length,
            pending: Vec::new(),
            healthy: true,
            metrics,
        };
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(receiver))?;
        Ok(Self { sender })
    }

    /// Whether changes may be made: there is room for some lines about them.
    pub async fn check(&self) -> bool {
        self.ask(Message::Check).await
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
                operation_id: record.operation.as_str(),
                operation: record.kind.as_str(),
                index: record.index,
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
        self.ask(Message::Flush).await
    }

    async fn ask(&self, question: impl FnOnce(oneshot::Sender<bool>) -> Message) -> bool {
        let (sender, receiver) = oneshot::channel();
        self.sender.send(question(sender)).await.is_ok() && receiver.await.unwrap_or(false)
    }
}

struct Writer {
    file: File,
    /// The end of the last whole line in the file.
    length: u64,
    pending: Vec<u8>,
    healthy: bool,
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
                Message::Check(answer) => {
                    let _ = answer.send(self.write() && self.has_room());
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
            return self.healthy;
        }
        match self.file.write_all(&self.pending) {
            Ok(()) => {
                self.length += self.pending.len() as u64;
                self.pending.clear();
                self.healthy = true;
                true
            }
            Err(error) => {
                // Half a line would spoil the next one.
                let _ = self.file.set_len(self.length);
                self.fail(&error);
                false
            }
        }
    }

    /// Whether a disk that is full would be noticed: writes blanks and takes them away again. Should they stay, the
    /// next line begins with them, which JSON allows.
    fn has_room(&mut self) -> bool {
        let written = self.file.write_all(&[b' '; ROOM]);
        if self.file.set_len(self.length).is_err() {
            self.length = self.file.seek(SeekFrom::End(0)).unwrap_or(self.length);
        }
        if let Err(error) = &written {
            self.fail(error);
        }
        self.healthy = written.is_ok();
        self.healthy
    }

    fn fail(&mut self, error: &io::Error) {
        self.healthy = false;
        self.metrics.audit_failures.inc();
        tracing::error!(%error, "the audit cannot be written; changes are refused until it can");
    }
}

fn ends_a_line(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    // Blanks are what is left of a check for room.
    Ok(matches!(last, [b'\n' | b' ']))
}

/// Makes a directory that only its owner can look into.
fn make_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
