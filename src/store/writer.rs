//! The thread that owns the connection: one transaction for all that waits, questions answered in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::doubt::Doubts;
use super::{Error, Learned, file};
use crate::metrics::Metrics;
use crate::model::{AccountId, NameKey, Source};

/// Rows after which a transaction is ended even if more wait: what is read meanwhile sees them in time.
const MAX_ROWS: usize = 10_000;

/// Names that are forgotten at once for being in doubt: others wait meanwhile.
const MAX_FORGOTTEN: usize = 5000;

pub(super) type Reply<T> = oneshot::Sender<Result<T, Error>>;

pub(super) enum Message {
    Learn(Vec<Learned>),
    /// What each source claims of each name now, and the number of the replacement.
    Replace(Vec<(NameKey, Source, Vec<Learned>)>, u64),
    LookUp(Vec<NameKey>, Reply<Vec<Vec<Learned>>>),
    ByAccounts(Vec<AccountId>, Reply<Vec<Vec<Learned>>>),
    Flush(Reply<()>),
}

pub(super) struct Writer {
    connection: Connection,
    queued: Arc<AtomicUsize>,
    doubts: Doubts,
    metrics: Metrics,
    /// What the open transaction holds.
    rows: usize,
    replaced: Vec<((NameKey, Source), u64)>,
    /// Why rows were lost since the last flush.
    lost: Option<String>,
    healthy: bool,
}

impl Writer {
    pub(super) fn new(connection: Connection, queued: Arc<AtomicUsize>, doubts: Doubts, metrics: Metrics) -> Self {
        Self {
            connection,
            queued,
            doubts,
            metrics,
            rows: 0,
            replaced: Vec::new(),
            lost: None,
            healthy: true,
        }
    }

    pub(super) fn run(mut self, mut receiver: mpsc::Receiver<Message>) {
        while let Some(first) = receiver.blocking_recv() {
            let mut next = Some(first);
            while let Some(message) = next {
                let flushed = self.take(message);
                next = if flushed || self.rows >= MAX_ROWS {
                    None
                } else {
                    receiver.try_recv().ok()
                };
            }
            self.commit();
            self.forget_doubtful(&receiver);
        }
        // The last connection to close puts the log into the file.
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(%error, "the store was not closed");
        }
    }

    /// Forgets what is in doubt, so that it is in the file no more and the doubt ends. Only while nothing waits: what was
    /// handed over before the doubt arose, and is older, is in the file then, and not written after this.
    fn forget_doubtful(&mut self, receiver: &mpsc::Receiver<Message>) {
        while self.healthy {
            let doubtful = self.doubts.some(MAX_FORGOTTEN);
            if doubtful.is_empty() || !receiver.is_empty() {
                return;
            }
            let lost = self.lost.take();
            self.write(0, |connection| {
                doubtful
                    .names
                    .iter()
                    .try_for_each(|((name, source), _)| file::forget(connection, name, *source))?;
                let older = |(source, until): &(Source, i64)| file::forget_older(connection, *source, *until);
                doubtful.older.iter().try_for_each(older)
            });
            self.commit();
            if self.healthy {
                self.doubts.forgotten(&doubtful);
            }
            // Only what somebody wanted to keep is lost.
            self.lost = lost;
        }
    }

    /// Whether it was a flush, which ends the transaction.
    fn take(&mut self, message: Message) -> bool {
        match message {
            Message::Learn(batch) => {
                self.queued.fetch_sub(batch.len(), Ordering::Relaxed);
                self.write(batch.len(), |connection| {
                    batch.iter().try_for_each(|row| file::learn(connection, row))
                });
            }
            Message::Replace(replacements, number) => {
                let rows = replacements.iter().map(|(_, _, with)| with.len().max(1)).sum();
                self.queued.fetch_sub(rows, Ordering::Relaxed);
                // First, so that the doubt is there if the writing fails.
                let of = replacements.iter().map(|(name, source, _)| (name.clone(), *source));
                self.replaced.extend(of.map(|of| (of, number)));
                self.write(rows, |connection| {
                    for (name, source, with) in &replacements {
                        file::forget(connection, name, *source)?;
                        with.iter()
                            .filter(|row| row.name == *name && row.source == *source)
                            .try_for_each(|row| file::learn(connection, row))?;
                    }
                    Ok(())
                });
            }
            Message::LookUp(names, reply) => {
                let found = file::by_names(&self.connection, &names);
                self.answer(found, reply);
            }
            Message::ByAccounts(accounts, reply) => {
                let found = file::by_accounts(&self.connection, &accounts);
                self.answer(found, reply);
            }
            Message::Flush(reply) => {
                self.commit();
                let result = match self.lost.take() {
                    None => Ok(()),
                    Some(why) => Err(super::failed(why)),
                };
                // Nobody waits any more: nothing is lost by it.
                let _ = reply.send(result);
                return true;
            }
        }
        false
    }

    fn answer(&mut self, found: rusqlite::Result<Vec<Vec<Learned>>>, reply: Reply<Vec<Vec<Learned>>>) {
        let result = match found {
            Ok(mut claims) => {
                self.doubts.filter(&mut claims);
                Ok(claims)
            }
            Err(error) => {
                self.fail(&error);
                Err(super::failed(error))
            }
        };
        let _ = reply.send(result);
    }

    fn write(&mut self, rows: usize, change: impl FnOnce(&Connection) -> rusqlite::Result<()>) {
        self.rows += rows;
        let begun = if self.connection.is_autocommit() {
            self.connection.execute_batch("BEGIN IMMEDIATE")
        } else {
            Ok(())
        };
        if let Err(error) = begun.and_then(|()| change(&self.connection)) {
            self.lose(&error);
        }
    }

    fn commit(&mut self) {
        if self.connection.is_autocommit() {
            return;
        }
        match self.connection.execute_batch("COMMIT") {
            Ok(()) => {
                if !self.healthy {
                    self.healthy = true;
                    tracing::info!("identities are learned again");
                }
                self.metrics.store_learned.inc_by(self.rows as u64);
                self.rows = 0;
                self.doubts.settle(self.replaced.drain(..));
            }
            Err(error) => self.lose(&error),
        }
    }

    /// What the transaction held is lost.
    fn lose(&mut self, error: &rusqlite::Error) {
        // SQLite ends some transactions itself when they fail.
        if !self.connection.is_autocommit() {
            // Fails only where there is none.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        self.fail(error);
        self.metrics.store_dropped.inc_by(self.rows as u64);
        self.lost = Some(error.to_string());
        self.rows = 0;
        for (of, number) in self.replaced.drain(..) {
            self.doubts.add([of], number);
        }
    }

    fn fail(&mut self, error: &rusqlite::Error) {
        self.metrics.store_failures.inc();
        if self.healthy {
            self.healthy = false;
            tracing::error!(%error, "learned identities cannot be read or written; said once until it works again");
        }
    }
}
