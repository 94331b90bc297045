//! The thread that writes: numbers and codes in the order of handing over, one write for all that waits.
//!
//! Lines go to the kernel at once, so that a process that is killed does not take them along, and to the disk when
//! somebody wants to know, or after a second: what waits for a disk would be lost with the process.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use super::chain::{Chain, Head};
use super::files::{self, FILE};
use super::room;
use super::seen::Seen;
use super::walk::Walked;
use super::wire::{self, Begun};
use super::{Error, Limits};
use crate::metrics::Metrics;

/// Bytes kept in memory while they cannot be written; beyond it lines are lost to the file, and logged as errors.
const MAX_PENDING: usize = 16 * 1024 * 1024;

/// Bytes after which what waits is written, however much more there is.
const BATCH: usize = 256 * 1024;

/// Messages after which whoever asked is answered, however many more there are.
const MAX_MESSAGES: usize = 256;

/// How many bytes must find room before a change is begun: a block of a file system, a dozen lines.
pub const ROOM: u64 = 4096;

/// How many are reserved at once, where there are so many.
const RESERVED: u64 = 16 * ROOM;

/// How long lines may be in the file and not on the disk while more are coming.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// How long after a failure it is tried again whether there is room, though nobody asks.
const RETRY: Duration = Duration::from_millis(500);

/// How soon somebody is heard while there is no room.
const PAUSE: Duration = Duration::from_millis(5);

/// How far lines are to be brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    /// Into the file: they survive the process.
    File,
    /// Onto the disk: they survive the machine.
    Disk,
}

/// What may be asked of the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Is there room for more?
    Room,
    /// Is everything in the file?
    Told,
    /// Is everything on disk?
    Written,
}

/// What the thread is told.
#[derive(Debug)]
pub enum Message {
    /// Lines without number and code.
    Lines(Vec<u8>),
    /// Something to be answered once all before it is dealt with.
    Ask(Question, oneshot::Sender<bool>),
}

/// What the thread has.
pub struct Writer {
    dir: PathBuf,
    chain: Chain,
    limits: Limits,
    metrics: Metrics,
    file: File,
    /// The end of the last whole line in the file.
    length: u64,
    /// The number of the file's first line.
    first_seq: u64,
    /// Lines with their codes that are not in the file yet.
    pending: Vec<u8>,
    /// The last line that has a code.
    sealed: Head,
    /// The file may be longer than `length`.
    is_ragged: bool,
    /// There are lines in the file that may not be on disk.
    is_unsynced: bool,
    /// Those of them that this process wrote.
    unsynced: Vec<u8>,
    synced_at: Instant,
    /// So many messages with lines were taken.
    messages: u64,
    seen: Arc<Seen>,
    /// Full files with lines before this one go once the new file's header is on disk, for that says so.
    outdated: Option<u64>,
}

impl Writer {
    /// Goes on where `walked` ended, and mends what a killed process left there.
    ///
    /// # Errors
    /// The file cannot be opened, made or mended. That it cannot be written is no error: reads go on.
    pub fn open(
        dir: &Path,
        chain: Chain,
        limits: Limits,
        walked: &Walked,
        seen: Arc<Seen>,
        metrics: Metrics,
    ) -> Result<Self, Error> {
        let path = dir.join(FILE);
        let fault = files::fault(&path);
        let file = files::append(&path).map_err(&fault)?;
        let tail = &walked.tail;
        if file.metadata().map_err(&fault)?.len() > tail.length {
            file.set_len(tail.length).map_err(&fault)?;
        }
        let mut writer = Self {
            dir: dir.to_owned(),
            chain,
            limits,
            metrics,
            file,
            length: tail.length,
            first_seq: tail.first_seq.unwrap_or(walked.head.seq + 1),
            pending: Vec::new(),
            sealed: walked.head,
            is_ragged: false,
            // Whoever wrote them last may have been killed before they were on disk.
            is_unsynced: tail.length > 0,
            unsynced: Vec::new(),
            synced_at: Instant::now(),
            messages: 0,
            seen,
            outdated: None,
        };
        if tail.first_seq.is_none() {
            let oldest = files::full(dir)?.into_keys().next();
            writer.begin_file(oldest.unwrap_or(writer.first_seq));
        }
        if !tail.torn.is_empty() {
            let text = String::from_utf8_lossy(&tail.torn);
            tracing::warn!(%text, "the audit ended in half a line: its process was ended while it wrote; kept as `torn`");
            if tail.first_seq.is_some() {
                writer.take(&wire::torn(&tail.torn));
            }
        }
        writer.publish(walked.head);
        writer.write(To::Disk);
        Ok(writer)
    }

    /// Until the last handle is gone.
    pub fn run(mut self, mut receiver: mpsc::Receiver<Message>) {
        while let Some(first) = self.next(&mut receiver) {
            let (mut next, mut asked, mut messages) = (Some(first), Vec::new(), 0);
            while let Some(message) = next {
                match message {
                    Message::Lines(lines) => {
                        self.take(&lines);
                        self.messages += 1;
                    }
                    Message::Ask(question, answer) => asked.push((question, answer)),
                }
                messages += 1;
                next = if messages < MAX_MESSAGES {
                    receiver.try_recv().ok()
                } else {
                    None
                };
            }
            let is_asked = asked.iter().any(|(question, _)| *question == Question::Written);
            let is_due = self.synced_at.elapsed() >= SYNC_EVERY;
            let written = self.write(if is_asked || is_due { To::Disk } else { To::File });
            let has_room =
                written && (asked.iter().all(|(question, _)| *question != Question::Room) || self.has_room());
            for (question, answer) in asked {
                // Nobody waits any more: nothing is lost by it.
                let _ = answer.send(match question {
                    Question::Room => has_room,
                    Question::Told | Question::Written => written,
                });
            }
        }
        self.write(To::Disk);
    }

    /// Waits for the next message. While nothing can be written it is tried again: changes are refused until it can.
    fn next(&mut self, receiver: &mut mpsc::Receiver<Message>) -> Option<Message> {
        let mut tried = Instant::now();
        while !self.seen.is_healthy() {
            match receiver.try_recv() {
                Ok(message) => return Some(message),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) if tried.elapsed() < RETRY => std::thread::sleep(PAUSE),
                Err(TryRecvError::Empty) => {
                    tried = Instant::now();
                    if self.write(To::Disk) {
                        self.has_room();
                    }
                }
            }
        }
        receiver.blocking_recv()
    }

    fn recovered(&self) {
        if self.seen.recovered() {
            tracing::info!("the audit can be written again");
        }
    }

    fn take(&mut self, lines: &[u8]) {
        for body in lines.split(|byte| *byte == b'\n').filter(|body| !body.is_empty()) {
            // A line that is lost has no number: the chain holds without it.
            if self.pending.len() + body.len() > MAX_PENDING && !self.pending.is_empty() && !self.write(To::File) {
                self.metrics.audit_failures.inc();
                tracing::error!(lost = %String::from_utf8_lossy(body), "an audit line that cannot be written");
                continue;
            }
            self.sealed = wire::seal(&mut self.pending, &self.chain, self.sealed, body);
            if self.pending.len() >= BATCH && self.seen.is_healthy() {
                self.write(To::File);
            }
        }
    }

    /// Whether everything is where it is to be now.
    fn write(&mut self, to: To) -> bool {
        match self.try_write(to) {
            Ok(was_written) => {
                self.seen.written(self.messages);
                if was_written {
                    self.recovered();
                }
                if !self.is_unsynced {
                    self.publish(self.sealed);
                    self.drop_outdated();
                }
                if self.length >= self.limits.max_file_bytes && self.sealed.seq >= self.first_seq {
                    return self.rotate();
                }
                true
            }
            Err(error) => {
                self.fail(&error);
                false
            }
        }
    }

    /// Whether there was anything to write.
    fn try_write(&mut self, to: To) -> io::Result<bool> {
        let mut was_written = false;
        if self.is_ragged {
            self.file.set_len(self.length)?;
            self.is_ragged = false;
        }
        if !self.pending.is_empty() {
            if let Err(error) = self.file.write_all(&self.pending) {
                // Half a line would spoil the next one.
                self.is_ragged = self.file.set_len(self.length).is_err();
                return Err(error);
            }
            self.length += self.pending.len() as u64;
            self.seen.room.used(self.pending.len());
            self.unsynced.append(&mut self.pending);
            self.is_unsynced = true;
            was_written = true;
        }
        if self.is_unsynced && to == To::Disk {
            self.synced_at = Instant::now();
            match self.file.sync_data() {
                // What is no file on a disk cannot be put on one.
                Err(error) if error.kind() != io::ErrorKind::InvalidInput => {
                    // What the kernel could not put on the disk, it may have let go of: a later success says nothing.
                    self.write_again();
                    return Err(error);
                }
                _ => {
                    self.unsynced.clear();
                    self.is_unsynced = false;
                }
            }
        }
        Ok(was_written)
    }

    /// What was written since the last success is to be written once more.
    fn write_again(&mut self) {
        self.length -= self.unsynced.len() as u64;
        self.unsynced.append(&mut self.pending);
        self.pending = std::mem::take(&mut self.unsynced);
        self.is_ragged = true;
    }

    fn publish(&self, head: Head) {
        self.seen.put_on_disk(head);
        self.metrics.audit_seq.set(i64::try_from(head.seq).unwrap_or(i64::MAX));
        self.metrics.audit_head.set(head.short());
    }

    /// Whether a disk that is full would be noticed.
    fn has_room(&mut self) -> bool {
        let reserve = |bytes| room::reserve(&self.file, self.length, bytes).map(|()| self.seen.room.reserved(bytes));
        let found = match reserve(RESERVED).or_else(|_| reserve(ROOM)) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => self.has_room_for_blanks(),
            found => found,
        };
        match &found {
            Ok(()) => self.recovered(),
            Err(error) => self.fail(error),
        }
        found.is_ok()
    }

    /// Writes blanks and takes them away again. Whoever reads along may see them for a moment.
    fn has_room_for_blanks(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&[b' '; ROOM as usize]);
        self.is_ragged = self.file.set_len(self.length).is_err();
        written
    }

    fn fail(&mut self, error: &io::Error) {
        self.metrics.audit_failures.inc();
        if self.seen.failed() {
            tracing::error!(
                %error,
                path = %self.dir.join(FILE).display(),
                "the audit cannot be written; changes are refused until it can, which is tried again all the time; said once"
            );
        }
    }

    /// The file is new: its header goes before anything else.
    fn begin_file(&mut self, kept_from: u64) {
        self.first_seq = self.sealed.seq + 1;
        wire::header(&mut self.pending, &self.chain, self.sealed, kept_from, Begun::InTurn);
    }

    /// Sets the full file aside and begins the next; where that fails, the file grows beyond its limit instead. Whether
    /// everything is in a file all the same.
    fn rotate(&mut self) -> bool {
        match self.try_rotate() {
            Ok(()) => self.write(To::Disk),
            // It could not be put on the disk, and is to be written once more.
            Err(error) if !self.pending.is_empty() => {
                self.fail(&error);
                false
            }
            Err(error) => {
                self.metrics.audit_failures.inc();
                tracing::error!(%error, "the audit's file is full and the next cannot be begun; it grows meanwhile");
                true
            }
        }
    }

    fn try_rotate(&mut self) -> io::Result<()> {
        let (path, aside) = (self.dir.join(FILE), self.dir.join(files::full_name(self.first_seq)));
        if aside.exists() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                aside.display().to_string(),
            ));
        }
        // From here on nobody syncs the full file.
        self.try_write(To::Disk)?;
        fs::rename(&path, &aside)?;
        let file = match files::append(&path) {
            Ok(file) => file,
            Err(error) => {
                // Back as it was; should that fail too, the next start finds its way all the same.
                let _ = fs::rename(&aside, &path);
                return Err(error);
            }
        };
        files::sync_dir(&self.dir);
        self.file = file;
        self.length = 0;
        self.seen.room.lost();
        let full: Vec<u64> = files::full(&self.dir).unwrap_or_default().into_keys().collect();
        let too_many = match self.limits.keep_files {
            0 => 0,
            keep => full.len().saturating_sub(keep),
        };
        let kept_from = full.get(too_many).copied().unwrap_or(self.first_seq);
        self.outdated = (too_many > 0).then_some(kept_from);
        self.begin_file(kept_from);
        Ok(())
    }

    fn drop_outdated(&mut self) {
        let Some(kept_from) = self.outdated.take() else { return };
        let full = files::full(&self.dir).unwrap_or_default();
        for (_, path) in full.range(..kept_from) {
            match fs::remove_file(path) {
                Ok(()) => {
                    tracing::info!(file = %path.display(), "an old file of the audit was deleted (audit.keep_files)")
                }
                // The next full file is another try.
                Err(error) => tracing::warn!(file = %path.display(), %error, "an old file of the audit stays"),
            }
        }
    }
}
