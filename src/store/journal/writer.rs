//! The thread that owns the connection: one transaction for all that waits, questions answered in between.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::disk::{Disk, SYNC_EVERY, To};
use super::health::Health;
use super::{Earlier, Later, Snapshot, failed, file, read, unreadable};
use crate::metrics::Metrics;
use crate::model::report::{Cost, State};
use crate::model::{GroupId, OperationId, Report, Summary, Verdict};
use crate::store::Error;

/// Rows after which a transaction is ended even if more wait.
const MAX_ROWS: usize = 10_000;

/// How long after a failure what is queued is tried again. What somebody waits for is tried at once.
const RETRY: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 500 });

pub(super) type Reply<T> = oneshot::Sender<Result<T, Error>>;

pub(super) enum Message {
    Begin(Box<Report>, Reply<()>),
    Change(Change),
    Check(Reply<()>),
    Flush(Reply<()>),
    Snapshot(OperationId, Box<Snapshot>, Reply<()>),
    /// Replies whether there is more to forget.
    Forget(i64, Reply<bool>),
    Report(OperationId, Reply<Option<Report>>),
    Unfinished(Reply<Vec<Report>>),
    Undelivered(i64, Reply<Vec<Report>>),
    EndedSince(i64, Reply<Vec<Report>>),
    ByKey(String, String, Reply<Option<Report>>),
    UndosOf(OperationId, Reply<Vec<Report>>),
    List(usize, Reply<Vec<Summary>>),
    Later(OperationId, Reply<Later>),
    Earlier(OperationId, Reply<Vec<Earlier>>),
    Snapshots(OperationId, Reply<Vec<Snapshot>>),
    Head(Reply<Option<String>>),
}

/// What is kept until it is written. Each can be written twice without harm.
#[derive(Debug)]
pub(super) enum Change {
    Settle(OperationId, usize, Verdict, Option<GroupId>),
    Finish(OperationId, i64, State, Cost),
    Delivered(OperationId),
    Head(String),
}

pub(super) struct Writer {
    connection: Connection,
    path: PathBuf,
    health: Arc<Health>,
    metrics: Metrics,
    /// What is not committed yet, in its order, but for the head: of that the last one is enough.
    kept: Vec<Change>,
    head: Option<String>,
    /// So many of `kept` stand in the open transaction.
    applied: usize,
    /// Rows in the open transaction.
    rows: usize,
    /// Who waits for the open transaction to be committed.
    waiting: Vec<Reply<()>>,
    /// How far they wait for it to be brought.
    wanted: To,
    disk: Disk,
    /// When writing failed last, until it succeeds.
    failed_at: Option<Instant>,
}

impl Writer {
    pub(super) fn new(connection: Connection, path: PathBuf, health: Arc<Health>, metrics: Metrics) -> Self {
        // As many as there are.
        connection.set_prepared_statement_cache_capacity(64);
        Self {
            disk: Disk::new(&connection),
            connection,
            path,
            health,
            metrics,
            kept: Vec::new(),
            head: None,
            applied: 0,
            rows: 0,
            waiting: Vec::new(),
            wanted: To::Kernel,
            failed_at: None,
        }
    }

    pub(super) fn run(mut self, receiver: &Receiver<Message>) {
        loop {
            let mut next = match self.wait(receiver) {
                Ok(message) => message,
                Err(Gone) => break,
            };
            if next.is_none() && self.failed_at.is_some() {
                // Nobody else may find out that it works again: changes are refused until it does.
                self.probe();
            }
            while let Some(message) = next {
                // Others who wait for the transaction wait for one question at the most.
                let is_last = self.take(message) || self.rows + self.unwritten().len() >= MAX_ROWS;
                next = if is_last { None } else { receiver.try_recv().ok() };
            }
            self.commit();
            let unwritten = self.kept.len() + usize::from(self.head.is_some());
            self.metrics
                .journal_unwritten
                .set(i64::try_from(unwritten).unwrap_or(i64::MAX));
        }
        if let Err(error) = self.try_commit() {
            self.lose(&error);
        } else {
            self.kept.clear();
        }
        if !self.kept.is_empty() {
            tracing::error!(entries = self.kept.len(), "the end of the journal could not be written");
        }
        // The last connection to close puts the log into the file.
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(%error, "the journal was not closed");
        }
    }

    /// The next message; none where it is time to try again what is kept, or to bring to the disk what is not there.
    fn wait(&self, receiver: &Receiver<Message>) -> Result<Option<Message>, Gone> {
        let patience = if !self.kept.is_empty() || self.head.is_some() || self.failed_at.is_some() {
            RETRY
        } else if self.disk.is_behind() {
            SYNC_EVERY
        } else {
            return receiver.recv().map(Some).map_err(|_| Gone);
        };
        match receiver.recv_timeout(patience) {
            Ok(message) => Ok(Some(message)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Gone),
        }
    }

    /// Whether it was a question, which is answered before the transaction ends.
    fn take(&mut self, message: Message) -> bool {
        match message {
            Message::Begin(report, reply) => {
                // Of a dry run nothing has to be known after a power cut.
                let to = if report.dry_run { To::Kernel } else { To::Disk };
                self.write(to, reply, |connection| file::begin(connection, &report));
            }
            Message::Snapshot(id, taken, reply) => {
                let (place, group, members) = *taken;
                self.write(To::Disk, reply, |connection| {
                    file::snapshot(connection, &id, place, &group, &members)
                });
            }
            Message::Check(reply) => self.write(To::Disk, reply, file::check),
            Message::Change(Change::Head(text)) => self.head = Some(text),
            Message::Change(change) => self.kept.push(change),
            Message::Flush(reply) => {
                self.wanted = To::Disk;
                self.waiting.push(reply);
            }
            Message::Forget(before, reply) => {
                let mut more = false;
                let (committed, result) = oneshot::channel();
                self.write(To::Kernel, committed, |connection| {
                    more = file::forget(connection, before)?;
                    Ok(1)
                });
                // At once: who forgets shall not hold up who begins.
                self.commit();
                let result = result
                    .blocking_recv()
                    .unwrap_or_else(|_| Err(failed("nothing was written")));
                // Nobody waits any more: nothing is lost by it, here and below.
                let _ = reply.send(result.map(|()| more));
            }
            question => {
                self.answer(question);
                return true;
            }
        }
        false
    }

    fn probe(&mut self) {
        self.wanted = To::Disk;
        let probed = self.open().and_then(|()| file::check(&self.connection));
        match probed {
            Ok(rows) => self.rows += rows,
            Err(error) => self.lose(&error),
        }
    }

    /// Answers what only reads; what could not be written is laid over what is in the file.
    fn answer(&mut self, question: Message) {
        if self.is_due()
            && let Err(error) = self.apply()
        {
            self.lose(&error);
        }
        match question {
            Message::Report(id, reply) => self.read(reply, |writer| {
                let found = read::report(&writer.connection, &id)?;
                Ok(found.map(|report| writer.up_to_date(report)))
            }),
            Message::Unfinished(reply) => self.read(reply, |writer| {
                let mut found = writer.all_up_to_date(read::unfinished(&writer.connection)?);
                found.retain(|report| report.state == State::Running);
                Ok(found)
            }),
            Message::EndedSince(since, reply) => self.read(reply, |writer| {
                let found = read::ended_since(&writer.connection, since)?;
                Ok(writer.all_up_to_date(found))
            }),
            Message::Undelivered(since, reply) => self.read(reply, |writer| {
                let mut found = writer.all_up_to_date(read::undelivered(&writer.connection, since)?);
                found.retain(|report| !report.delivered);
                Ok(found)
            }),
            Message::ByKey(caller_key, key, reply) => self.read(reply, |writer| {
                let found = read::by_key(&writer.connection, &caller_key, &key)?;
                Ok(found.map(|report| writer.up_to_date(report)))
            }),
            Message::UndosOf(id, reply) => self.read(reply, |writer| {
                Ok(writer.all_up_to_date(read::undos_of(&writer.connection, &id)?))
            }),
            Message::List(most, reply) => self.read(reply, |writer| read::list(&writer.connection, most)),
            Message::Later(_, reply) if !self.unwritten().is_empty() => {
                let _ = reply.send(Err(failed("what was settled last could not be written")));
            }
            Message::Earlier(_, reply) if !self.unwritten().is_empty() => {
                let _ = reply.send(Err(failed("what was settled last could not be written")));
            }
            Message::Earlier(id, reply) => self.read(reply, |writer| read::earlier_members(&writer.connection, &id)),
            Message::Later(id, reply) => self.read(reply, |writer| read::later(&writer.connection, &id)),
            Message::Snapshots(id, reply) => self.read(reply, |writer| read::snapshots(&writer.connection, &id)),
            Message::Head(reply) => self.read(reply, |writer| match &writer.head {
                Some(head) => Ok(Some(head.clone())),
                None => read::setting(&writer.connection, file::HEAD),
            }),
            // Taken before it came here.
            Message::Begin(..)
            | Message::Change(..)
            | Message::Check(_)
            | Message::Flush(_)
            | Message::Snapshot(..)
            | Message::Forget(..) => {}
        }
    }

    fn read<T>(&self, reply: Reply<T>, question: impl FnOnce(&Self) -> rusqlite::Result<T>) {
        let result = question(self).map_err(|error| {
            self.metrics.journal_failures.inc();
            let error = unreadable(&self.path, &error);
            tracing::error!(%error, "a question to the journal was not answered");
            error
        });
        let _ = reply.send(result);
    }

    /// What is not in the file, and not in the open transaction.
    fn unwritten(&self) -> &[Change] {
        self.kept.get(self.applied..).unwrap_or_default()
    }

    fn all_up_to_date(&self, reports: Vec<Report>) -> Vec<Report> {
        reports.into_iter().map(|report| self.up_to_date(report)).collect()
    }

    fn up_to_date(&self, mut report: Report) -> Report {
        for change in self.unwritten() {
            match change {
                Change::Settle(id, place, verdict, group) if *id == report.id => {
                    if let Some(name) = report.names.get_mut(*place) {
                        name.verdict = Some(*verdict);
                        name.group = group.clone().or(name.group.take());
                    }
                }
                Change::Finish(id, finished_at, state, cost) if *id == report.id => {
                    report.finished_at = Some(*finished_at);
                    report.state = state.clone();
                    report.cost = *cost;
                }
                Change::Delivered(id) if *id == report.id => report.delivered = true,
                _ => {}
            }
        }
        report
    }

    fn is_due(&self) -> bool {
        self.failed_at.is_none_or(|at| at.elapsed() >= RETRY)
    }

    /// Puts what is kept into the transaction, which is opened for it.
    fn apply(&mut self) -> rusqlite::Result<()> {
        if self.applied == self.kept.len() {
            return Ok(());
        }
        self.open()?;
        while let Some(change) = self.kept.get(self.applied) {
            let rows = match change {
                Change::Settle(id, place, verdict, group) => {
                    file::settle(&self.connection, id, *place, *verdict, group.as_ref())?
                }
                Change::Finish(id, finished_at, state, cost) => {
                    file::finish(&self.connection, id, *finished_at, state, *cost)?
                }
                Change::Delivered(id) => file::delivered(&self.connection, id)?,
                Change::Head(text) => file::set(&self.connection, file::HEAD, text)?,
            };
            if rows == 0 {
                // Trying again would not help.
                self.metrics.journal_failures.inc();
                tracing::error!(?change, "the journal has no such operation or name");
            }
            self.rows += rows;
            self.applied += 1;
        }
        Ok(())
    }

    fn open(&mut self) -> rusqlite::Result<()> {
        self.disk.open(&self.connection, self.wanted)
    }

    /// Writes all that `change` does, or nothing of it, and answers when that has come so far.
    fn write(&mut self, to: To, reply: Reply<()>, change: impl FnOnce(&Connection) -> rusqlite::Result<usize>) {
        if self.disk.falls_short(&self.connection, to) {
            // What is told to have failed must not be in the file.
            self.commit();
        }
        self.wanted = self.wanted.max(to);
        let ready = self
            .apply()
            .and_then(|()| self.open())
            .and_then(|()| self.connection.execute_batch("SAVEPOINT entry"));
        if let Err(error) = ready {
            self.lose(&error);
            let _ = reply.send(Err(failed(&error)));
            return;
        }
        let written = change(&self.connection).and_then(|rows| {
            self.connection.execute_batch("RELEASE entry")?;
            Ok(rows)
        });
        match written {
            Ok(rows) => {
                self.rows += rows;
                self.waiting.push(reply);
            }
            Err(error) => {
                // An entry that contradicts what is in the file is refused for itself.
                let contradicts = error == rusqlite::Error::QueryReturnedNoRows
                    || error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation);
                let undone = contradicts
                    && self
                        .connection
                        .execute_batch("ROLLBACK TO entry; RELEASE entry")
                        .is_ok();
                if !undone {
                    self.lose(&error);
                }
                let _ = reply.send(Err(failed(&error)));
            }
        }
    }

    /// Ends the transaction, after everything that is kept was put into it.
    fn commit(&mut self) {
        let is_open = !self.connection.is_autocommit();
        if !is_open && self.waiting.is_empty() && !self.is_due() {
            return;
        }
        if let Err(error) = self.try_commit() {
            self.lose(&error);
            return;
        }
        self.kept.clear();
        self.head = None;
        self.applied = 0;
        if self.rows > 0 {
            self.rows = 0;
            self.health.written();
            if self.failed_at.take().is_some() {
                tracing::info!("the journal can be written again");
            }
        }
        self.wanted = To::Kernel;
        for reply in self.waiting.drain(..) {
            let _ = reply.send(Ok(()));
        }
    }

    fn try_commit(&mut self) -> rusqlite::Result<()> {
        self.apply()?;
        if let Some(head) = &self.head {
            self.disk.open(&self.connection, self.wanted)?;
            self.rows += file::set(&self.connection, file::HEAD, head)?;
        }
        self.rows += self.disk.commit(&self.connection, self.wanted)?;
        Ok(())
    }

    /// The transaction came to nothing: who waits for it is told so, what is kept is tried again.
    fn lose(&mut self, error: &rusqlite::Error) {
        // SQLite ends some transactions itself when they fail.
        if !self.connection.is_autocommit() {
            // Fails only where there is none.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        self.disk.failed(error);
        self.applied = 0;
        self.rows = 0;
        self.wanted = To::Kernel;
        self.health.failed();
        self.metrics.journal_failures.inc();
        if self.failed_at.is_none() {
            tracing::error!(%error, "the journal cannot be written; said once until it works again");
        }
        self.failed_at = Some(Instant::now());
        for reply in self.waiting.drain(..) {
            let _ = reply.send(Err(failed(error)));
        }
    }
}

/// No handle is left.
struct Gone;
