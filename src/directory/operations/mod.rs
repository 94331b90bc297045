//! Bulk operations: from the call to its answer, whoever hangs up meanwhile, and whatever becomes of the process.
//!
//! [`Directory::perform`] looks at the `desk` whether the call is worked on already, and begins it if not. `carry` is the
//! operation itself, on a task of its own: plan, then the first line in the journal, then the changes. `recovery` ends
//! what an earlier process began. `books` are journal and audit.

pub mod books;
mod callers;
mod carry;
mod desk;
mod recovery;
pub mod undo;

use std::sync::Arc;
use std::time::Duration;

pub use books::Books;
pub use callers::Callers;
pub use desk::Desk;
use desk::{Call, Digest, Ended, Entry, Key, Receipt, Ticket, Waiting};

use super::groups::Purpose;
use super::{Change, Directory, Error, Process, stopping};
use crate::model::{Context, Fate, GroupName, OperationId, OperationKind, Outcome, Report, Summary, report};
use crate::settings::seconds;

/// Bulk operations at once; each holds its names in memory, and most wait for Cloud.
const MOST_OPERATIONS: usize = 256;

/// How long an answer is kept for a caller's own key.
const KEY_LIFE: Duration = Duration::from_secs(24 * 3600);

/// A bulk call.
#[derive(Clone, Debug)]
pub struct Order {
    /// What is asked for.
    pub what: What,
    /// For whom, as the caller spelt them.
    pub names: Vec<String>,
    /// Whether anything is to be changed.
    pub conduct: Conduct,
    /// The caller's own key for this call: under it the answer is the same for a day.
    pub key: Option<String>,
}

/// What a bulk call asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Members of a group are put in or taken out.
    Members(Change, GroupName),
    /// Groups are made.
    CreateGroups,
    /// Groups are deleted.
    DeleteGroups,
}

/// Whether anything is to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// Yes.
    Real,
    /// No: what would become of the names is told.
    Dry,
}

impl What {
    /// The kind of the operation.
    #[must_use]
    pub fn kind(&self) -> OperationKind {
        match self {
            Self::Members(change, _) => change.kind(),
            Self::CreateGroups => OperationKind::CreateGroups,
            Self::DeleteGroups => OperationKind::DeleteGroups,
        }
    }
}

/// A call that is worked on, or whose answer is there.
#[derive(Debug)]
pub struct Pending {
    state: Waits,
    directory: Arc<Directory>,
    conduct: Conduct,
}

#[derive(Debug)]
enum Waits {
    For(Receipt),
    /// Answered before, under the caller's own key.
    Known(OperationId, Outcome),
}

/// What a caller is told.
#[derive(Debug)]
pub struct Answer {
    /// What became of every name.
    pub outcome: Outcome,
    /// To be told when the answer was written whole; else the same call is given it again.
    pub delivery: Option<Delivery>,
}

/// An answer on its way. Dropped, it counts as lost.
#[derive(Debug)]
pub struct Delivery {
    receipt: Receipt,
    directory: Arc<Directory>,
}

impl Delivery {
    /// The answer was written whole to its caller.
    pub fn arrived(self) -> Arrived {
        let ticket = self.receipt.arrived();
        if let (Some(id), Ok(books)) = (ticket.id(), self.directory.process.books.get()) {
            books.journal().delivered(&id);
        }
        Arrived {
            desk: Arc::clone(&self.directory.process.desk),
            ticket,
        }
    }
}

/// An answer that was written whole.
#[derive(Debug)]
pub struct Arrived {
    desk: Arc<Desk>,
    ticket: Arc<Ticket>,
}

impl Arrived {
    /// Its caller went away without reading it: the same call is given it, unless it has come again by now.
    pub fn was_lost(self) {
        self.desk.take_back(&self.ticket);
    }
}

impl Directory {
    /// Begins a bulk call, or joins the same call that is under way or whose answer nobody got.
    ///
    /// Calls when cold: one to find the group; what the plan and the changes need is said at [`Order`]'s operation in
    /// `plan`.
    ///
    /// # Errors
    /// Nothing has changed: no such group, an ambiguous name, a key that stands for another call, or nothing can be
    /// begun now.
    pub async fn perform(self: &Arc<Self>, mut order: Order, context: &Context) -> Result<Pending, Error> {
        if context.caller.rights.observe {
            order.conduct = Conduct::Dry;
        }
        let process = &self.process;
        process.books.get()?;
        let body = Digest::of(&process.site, &order, &context.caller, None);
        let key = order.key.clone().map(|key| (Arc::clone(&context.caller.key), key));
        let pending = |state| Pending {
            state,
            directory: Arc::clone(self),
            conduct: order.conduct,
        };
        if let Some(key) = &key {
            match process.desk.under_key(key) {
                Some(receipt) if receipt.ticket().call().body == body => return Ok(pending(Waits::For(receipt))),
                Some(_) => return Err(Error::KeyReused),
                None => {
                    if let Some((id, outcome)) = self.answered_under(key, &body).await? {
                        return Ok(pending(Waits::Known(id, outcome)));
                    }
                }
            }
        }
        let group = match &order.what {
            What::Members(_, name) => match self.group(name, Purpose::Write, context).await {
                Ok(group) => Some(group),
                // While Cloud is away the same call is the same by its name.
                Err(error @ Error::Unavailable { .. }) => match process.desk.with_body(&body) {
                    Some(receipt) => return Ok(pending(Waits::For(receipt))),
                    None => return Err(error),
                },
                Err(error) => return Err(error),
            },
            What::CreateGroups | What::DeleteGroups => None,
        };
        let group_id = group.as_ref().map(|group| &group.id);
        let call = Call {
            digest: Digest::of(&process.site, &order, &context.caller, group_id),
            body,
            key,
            conduct: order.conduct,
        };
        let mut waiting = Waiting::Worth;
        loop {
            match process.desk.enter(&call, waiting) {
                Entry::KeyTaken => return Err(Error::KeyReused),
                Entry::Join(receipt) => return Ok(pending(Waits::For(receipt))),
                Entry::OnItsWay(ticket) => {
                    ticket.arrived().await;
                    waiting = Waiting::InVain;
                }
                Entry::Start(receipt) => {
                    // From here to the task nothing may wait: a caller who hangs up would leave a ticket that nobody ends.
                    let ticket = receipt.ticket();
                    if let Err(error) = self.has_room(context) {
                        process.desk.end(ticket, Err(error.clone()));
                        return Err(error);
                    }
                    self.start(order.clone(), group, ticket, context);
                    return Ok(pending(Waits::For(receipt)));
                }
            }
        }
    }

    /// What was answered under a caller's own key within a day.
    async fn answered_under(
        &self,
        (caller, key): &Key,
        body: &Digest,
    ) -> Result<Option<(OperationId, Outcome)>, Error> {
        let books = self.process.books.get()?;
        let mut found = books.journal().by_key(caller, key).await;
        if matches!(&found, Ok(Some(report)) if report.state == report::State::Running) {
            // It may be over, and not on record as over yet.
            found = books.up_to_date().await.by_key(caller, key).await;
        }
        let found = found.map_err(|error| books::unwritable(&error.to_string()))?;
        let since = jiff::Timestamp::now().as_millisecond() - i64::try_from(KEY_LIFE.as_millis()).unwrap_or(i64::MAX);
        let Some(report) = found.filter(|report| report.started_at >= since) else {
            return Ok(None);
        };
        let is_same = |(_, kept): &(String, Vec<u8>)| kept.as_slice() == body.as_bytes();
        if !report.idempotency.as_ref().is_some_and(is_same) {
            return Err(Error::KeyReused);
        }
        // One that was cut short is begun again: the same call finishes the work.
        Ok((report.state == report::State::Finished).then(|| (report.id.clone(), outcome(&report))))
    }

    fn has_room(&self, context: &Context) -> Result<(), Error> {
        let process = &self.process;
        if process.operations.is_closed() {
            return Err(stopping());
        }
        if !process.callers.has_room(&context.caller.key) {
            return Err(Error::Unavailable {
                retry_after: Duration::from_secs(30),
                cause: format!("{} bulk operations of this caller are running already", callers::MOST),
            });
        }
        if process.operations.len() >= MOST_OPERATIONS {
            return Err(Error::Unavailable {
                retry_after: Duration::from_secs(30),
                cause: format!("{MOST_OPERATIONS} bulk operations are running already"),
            });
        }
        Ok(())
    }

    /// Runs the operation on a task of its own: no caller who hangs up cuts it short.
    fn start(
        self: &Arc<Self>,
        order: Order,
        group: Option<crate::cloud::Group>,
        ticket: &Arc<Ticket>,
        context: &Context,
    ) {
        let process = &self.process;
        let (directory, ticket, context) = (Arc::clone(self), Arc::clone(ticket), context.clone());
        let gauge = process.metrics.operations.clone();
        let running = process.callers.begin(&context.caller.key);
        process.operations.spawn(async move {
            let _running = running;
            gauge.inc();
            let carried = std::panic::AssertUnwindSafe(directory.carry(&order, group, &ticket, &context));
            let outcome = futures_util::FutureExt::catch_unwind(carried).await;
            gauge.dec();
            // What was done by then is in the ledger; the same call again finishes the work.
            let outcome = match outcome {
                Ok(outcome) => outcome,
                Err(_panic) => Err(directory.broken(&ticket, &context).await),
            };
            directory.process.end_ticket(&ticket, outcome);
        });
    }

    /// An operation ended in a panic.
    async fn broken(&self, ticket: &Ticket, context: &Context) -> Error {
        let cause = "an internal fault ended the operation; sending the same call again is safe";
        tracing::error!(request = %context.request, "an operation ended in a panic");
        if let (Some(id), Ok(books)) = (ticket.id(), self.process.books.get()) {
            let why = report::State::Interrupted(cause.to_owned());
            books.finish(&id, why, carry::cost(context)).await;
        }
        Error::Unavailable {
            retry_after: Duration::from_secs(5),
            cause: cause.to_owned(),
        }
    }

    /// What is on record of an operation, also while it runs.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn report(&self, id: &OperationId) -> Result<Option<Report>, Error> {
        self.process.report(id).await
    }
}

impl Process {
    /// What is on record of an operation, also while it runs.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn report(&self, id: &OperationId) -> Result<Option<Report>, Error> {
        let journal = self.books.get()?.up_to_date().await;
        journal.report(id).await.map_err(unreadable)
    }

    /// The last operations, the newest first.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn operations(&self, most: usize) -> Result<Vec<Summary>, Error> {
        let journal = self.books.get()?.up_to_date().await;
        journal.list(most).await.map_err(unreadable)
    }
}

fn unreadable(error: crate::store::Error) -> Error {
    Error::Unavailable {
        retry_after: Duration::from_secs(60),
        cause: error.to_string(),
    }
}

/// Knows the operation's id as soon as it is on record.
#[derive(Clone, Debug)]
pub struct Watch(Watched);

#[derive(Clone, Debug)]
enum Watched {
    Running(Arc<Ticket>),
    Answered(OperationId),
}

impl Watch {
    /// The operation's id, once it is on record.
    #[must_use]
    pub fn id(&self) -> Option<OperationId> {
        match &self.0 {
            Watched::Running(ticket) => ticket.id(),
            Watched::Answered(id) => Some(id.clone()),
        }
    }

    /// Waits until the operation is on record: from then on its caller may be kept waiting.
    pub async fn has_begun(&self) {
        if let Watched::Running(ticket) = &self.0 {
            ticket.has_begun().await;
        }
    }
}

impl Process {
    /// Tells everybody who waits for the operation, which is over. An answer that is not kept is not to be given after a
    /// restart, either.
    fn end_ticket(&self, ticket: &Arc<Ticket>, outcome: Result<Outcome, Error>) {
        let is_kept = self.desk.end(ticket, outcome);
        if let (false, Some(id), Ok(books)) = (is_kept, ticket.id(), self.books.get()) {
            books.journal().delivered(&id);
        }
    }
}

impl Pending {
    /// What knows the operation's id.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch(match &self.state {
            Waits::For(receipt) => Watched::Running(Arc::clone(receipt.ticket())),
            Waits::Known(id, _) => Watched::Answered(id.clone()),
        })
    }

    /// Whether anything is changed.
    #[must_use]
    pub fn conduct(&self) -> Conduct {
        self.conduct
    }

    /// Waits for the end, though not longer than a caller is to wait.
    ///
    /// # Errors
    /// Those of the operation, or that it goes on.
    pub async fn answer(self) -> Result<Answer, Error> {
        let receipt = match self.state {
            Waits::Known(_, outcome) => {
                return Ok(Answer {
                    outcome,
                    delivery: None,
                });
            }
            Waits::For(receipt) => receipt,
        };
        let ended = match self.directory.process.settings.extender.bulk_answer_deadline_s {
            0 => receipt.ticket().ended().await,
            limit => tokio::time::timeout(seconds(limit), receipt.ticket().ended())
                .await
                .map_err(|_elapsed| Error::StillRunning)?,
        };
        let ended: Arc<Ended> = ended.ok_or_else(stopping)?;
        Ok(Answer {
            outcome: ended.outcome.clone()?,
            delivery: (self.conduct == Conduct::Real).then_some(Delivery {
                receipt,
                directory: self.directory,
            }),
        })
    }
}

/// What a caller is told by what is on record.
fn outcome(report: &Report) -> Outcome {
    let names = report.names.iter().map(|name| {
        let fate = name
            .verdict
            .map_or(Fate::Skipped(crate::model::Skip::NotAttempted), |verdict| {
                verdict.fate()
            });
        (name.name.clone(), fate)
    });
    Outcome { names: names.collect() }
}
