//! What is written of every change: the journal, from which an operation goes on or is told after its process was ended,
//! and the audit, which tells who changed what. Without both nothing is changed.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::audit::{Audit, Record};
use crate::cloud::Group;
use crate::directory::Error;
use crate::model::report::{Cost, State};
use crate::model::{AccountId, Context, GroupId, OperationId, Report, SnapshotGroup, Verdict};
use crate::store::Journal;

/// How often the audit is tried again for an operation that is over.
const AGAIN: Duration = Duration::from_secs(2);

/// Audit and journal, or why there are none: reads go on without them.
#[derive(Clone, Debug)]
pub struct Books(Result<Open, Arc<str>>);

/// Books that are open.
#[derive(Clone, Debug)]
pub struct Open {
    audit: Audit,
    journal: Journal,
    /// Operations that are over, and whose audit is not on disk yet.
    unended: Arc<Mutex<Vec<Ended>>>,
}

/// An operation that is over.
type Ended = (OperationId, i64, State, Cost);

impl Books {
    /// Both are there.
    #[must_use]
    pub fn open(audit: Audit, journal: Journal) -> Self {
        Self(Ok(Open {
            audit,
            journal,
            unended: Arc::default(),
        }))
    }

    /// They are not, and nothing can be changed; one sentence on why.
    #[must_use]
    pub fn closed(why: &str) -> Self {
        Self(Err(why.into()))
    }

    /// Why nothing can be changed now, if that is so.
    #[must_use]
    pub fn fault(&self) -> Option<&str> {
        match &self.0 {
            Err(why) => Some(why),
            Ok(open) => open.fault(),
        }
    }

    /// The books, for a change.
    pub fn get(&self) -> Result<&Open, Error> {
        self.0.as_ref().map_err(|why| unwritable(why))
    }

    /// Writes what is still in memory.
    pub async fn close(&self) {
        if let Ok(open) = &self.0 {
            open.flush_and_end("at the end").await;
        }
    }
}

impl Open {
    /// Whether a change may be begun: both can be written now.
    pub async fn check(&self) -> Result<(), Error> {
        if !self.audit.check().await {
            return Err(unwritable(
                "the audit in state_dir cannot be written (is its disk full?)",
            ));
        }
        self.journal
            .check()
            .await
            .map_err(|error| unwritable(&error.to_string()))
    }

    /// Why running operations may not go on, if that is so.
    pub fn fault(&self) -> Option<&'static str> {
        if !self.journal.is_writable() {
            Some("the journal in state_dir cannot be written (is its disk full?)")
        } else if !self.audit.is_writable() {
            Some("the audit in state_dir cannot be written (is its disk full?)")
        } else {
            None
        }
    }

    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Puts an operation on record before its first change.
    pub async fn begin(&self, report: Report) -> Result<(), Error> {
        let begun = self.journal.begin(report).await;
        begun.map_err(|error| unwritable(&error.to_string()))
    }

    /// Keeps who is in a group that is going to be deleted.
    pub async fn keep(
        &self,
        id: &OperationId,
        place: usize,
        group: &Group,
        members: &[AccountId],
    ) -> Result<(), Error> {
        let snapshot = SnapshotGroup {
            id: group.id.clone(),
            name: group.name.clone(),
            externally_managed: group.externally_managed,
            settings: format!("{{\"team\":{}}}", group.team),
        };
        let kept = self.journal.snapshot(id, place, &snapshot, members).await;
        kept.map_err(|error| unwritable(&error.to_string()))
    }

    /// A name has its fate.
    pub fn settle(&self, id: &OperationId, index: usize, verdict: Verdict) {
        self.journal.settle(id, index, verdict);
    }

    /// The group of a name was made, with this id.
    pub fn settle_created(&self, id: &OperationId, index: usize, group: GroupId) {
        self.journal.settle_created(id, index, group);
    }

    /// Tells the audit.
    pub async fn tell(&self, context: &Context, records: &[Record<'_>]) {
        self.audit.write(context, records).await;
    }

    /// The operation is over. While the audit does not have all of it, the journal does not say so: the next process would
    /// find it unfinished, and tell the audit what is missing there.
    pub async fn finish(&self, id: &OperationId, state: State, cost: Cost) {
        let now = jiff::Timestamp::now().as_millisecond();
        if self.flush_audit(id.as_str()).await {
            // What the journal was told before reaches the disk with this.
            return self.end(&(id.clone(), now, state, cost)).await;
        }
        self.flush_journal(id.as_str()).await;
        self.unended.lock().push((id.clone(), now, state, cost));
        let (books, id) = (self.clone(), id.clone());
        tokio::spawn(async move {
            while !books.flush_and_end(id.as_str()).await {
                tokio::time::sleep(AGAIN).await;
            }
        });
    }

    async fn end(&self, (id, at, state, cost): &Ended) {
        if let Err(error) = self.journal.finish(id, *at, state.clone(), *cost).await {
            tracing::error!(operation = %id, %error, "the journal cannot tell yet that this operation is over");
        }
    }

    /// Whether the audit is on disk; then the journal tells of those operations that they are over.
    async fn flush_and_end(&self, what: &str) -> bool {
        // Taken before: what is over later may not be on disk.
        let over = std::mem::take(&mut *self.unended.lock());
        let is_told = self.flush_audit(what).await;
        self.flush_journal(what).await;
        if !is_told {
            self.unended.lock().extend(over);
            return false;
        }
        for over in &over {
            self.end(over).await;
        }
        true
    }

    /// Whether the audit is on disk; the journal is told how far, and not asked to be on disk itself.
    async fn flush_audit(&self, what: &str) -> bool {
        let is_told = self.audit.flush().await;
        if !is_told {
            tracing::error!(operation = what, "the audit of this operation is not on disk yet");
        }
        self.journal.set_head(&self.audit.head().to_string());
        is_told
    }

    async fn flush_journal(&self, what: &str) {
        if let Err(error) = self.journal.flush().await {
            tracing::error!(operation = what, %error, "the journal of this operation is not on disk yet");
        }
    }
}

/// Nothing can be put on record, so nothing is changed.
pub fn unwritable(cause: &str) -> Error {
    Error::Unavailable {
        retry_after: Duration::from_secs(60),
        cause: format!("{cause}, so nothing is changed"),
    }
}
