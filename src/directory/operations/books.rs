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

/// How soon after its end an operation is on record as over: others that end meanwhile share the disk's work.
const SOON: Duration = Duration::from_millis(100);

/// How often that is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Audit and journal, or why there are none: reads go on without them.
#[derive(Clone, Debug)]
pub struct Books(Result<Open, Arc<str>>);

/// Books that are open.
#[derive(Clone, Debug)]
pub struct Open {
    audit: Audit,
    journal: Journal,
    /// Operations that are over, and not on record as over. While there are some, a task sees to them.
    unended: Arc<Mutex<Vec<Ended>>>,
    /// Held while they are being put on record.
    ending: Arc<tokio::sync::Mutex<()>>,
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
            ending: Arc::default(),
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
            let _alone = open.ending.lock().await;
            let over = open.unended.lock().clone();
            open.put_on_record(&over).await;
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

    /// The journal, which says of every operation that is over that it is, as far as both books can be written.
    pub async fn up_to_date(&self) -> &Journal {
        self.settled().await;
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

    /// The operation is over, and whoever looks into the audit finds all of it. Its caller need not wait until the disk has it,
    /// and the journal says so: what is lost with the machine, or with the process, by then is found out by the next one.
    pub async fn finish(&self, id: &OperationId, state: State, cost: Cost) {
        let now = jiff::Timestamp::now().as_millisecond();
        // What cannot be written now is tried again.
        self.audit.told().await;
        let is_first = {
            let mut unended = self.unended.lock();
            unended.push((id.clone(), now, state, cost));
            unended.len() == 1
        };
        if is_first {
            let books = self.clone();
            tokio::spawn(async move {
                let mut pause = SOON;
                // Whoever comes in between counts on this task.
                while books.is_any_unended() {
                    tokio::time::sleep(pause).await;
                    pause = if books.settled().await { SOON } else { AGAIN };
                }
            });
        }
    }

    fn is_any_unended(&self) -> bool {
        !self.unended.lock().is_empty()
    }

    /// Puts on record which operations are over; whether that could be done. While the audit does not have all of one on disk, the
    /// journal does not say so: the next process would find it unfinished, and tell the audit what is missing there.
    async fn settled(&self) -> bool {
        let _alone = self.ending.lock().await;
        // They stay there until it is done: whoever asked for it may not wait for the end.
        let over = self.unended.lock().clone();
        over.is_empty() || self.put_on_record(&over).await
    }

    /// To be called by one at a time.
    async fn put_on_record(&self, over: &[Ended]) -> bool {
        let is_told = self.audit.flush().await;
        self.journal.set_head(&self.audit.head().to_string());
        if is_told {
            for (id, at, state, cost) in over {
                self.journal.finish(id, *at, state.clone(), *cost);
            }
            self.unended.lock().drain(..over.len());
        } else {
            tracing::error!(
                operations = over.len(),
                "the audit of operations that are over is not on disk yet"
            );
        }
        if let Err(error) = self.journal.flush().await {
            tracing::error!(%error, "the journal of operations that are over is not on disk yet");
        }
        is_told
    }
}

/// Nothing can be put on record, so nothing is changed.
pub fn unwritable(cause: &str) -> Error {
    Error::Unavailable {
        retry_after: Duration::from_secs(60),
        cause: format!("{cause}, so nothing is changed"),
    }
}
