//! What an earlier process began and did not end: every such operation ends, and each of its names has its true outcome.
//!
//! It is gone on with where nothing has changed that it rests on, else closed. Either way Cloud is asked first: what was
//! done in the last moments may not be in the journal. Until then its names are claimed, and the same call joins it.
//!
//! Here: which operations, and whether they go on. `left` is one of them and what is on record of it; `truth` finds out
//! what became of its names. `recall` lays what was changed moments ago over Cloud's reads again.

mod left;
mod recall;
mod truth;

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::carry::cost;
use super::desk::{Call, Digest, Ticket, Touched};
use super::{Conduct, outcome, undo};
use crate::audit;
use crate::directory::ledger::View;
use crate::directory::{Directory, Error, Process, stopping};
use crate::model::report::{Report, State};
use crate::model::{Caller, Context, NameKey, OperationId, RequestId, Skip, Verdict};
use crate::settings::{Recovery, seconds};
use left::Left;

const DAY_MS: i64 = 24 * 3600 * 1000;

impl Process {
    /// Takes over what an earlier process left: answers that nobody got, and operations without an end, which go on in the
    /// background through `eyes`, or are closed. `admits`: who asked for that operation, if they still may. To
    /// be called before anybody is served: the names of those operations are claimed when it returns.
    pub async fn restore(self: &Arc<Self>, eyes: Option<Arc<Directory>>, admits: impl Fn(&Report) -> Option<Caller>) {
        let Ok(books) = self.books.get() else { return };
        let journal = books.journal();
        let now = jiff::Timestamp::now().as_millisecond();
        let grace = i64::try_from(self.settings.extender.join_grace_s)
            .unwrap_or(i64::MAX)
            .saturating_mul(1000);
        match journal.undelivered(now.saturating_sub(grace)).await {
            Ok(reports) => reports.iter().for_each(|report| self.restore_answer(report, now)),
            Err(error) => tracing::error!(%error, "answers that nobody got are lost"),
        }
        let left = match journal.unfinished().await {
            Ok(left) => left,
            Err(error) => {
                tracing::error!(%error, "operations of an earlier process cannot be read; they are left as they are");
                return;
            }
        };
        let lag = i64::try_from(self.ledger.lag().as_millis()).unwrap_or(i64::MAX);
        match journal.ended_since(now.saturating_sub(lag)).await {
            Ok(ended) => {
                // The facade's own caches are to be laid over; those of other credentials are read again.
                let view = eyes.as_ref().map_or(View::MAX, |eyes| eyes.view);
                let ours = ended.iter().chain(&left).filter(|report| report.site == self.site);
                ours.for_each(|report| recall::recall(report, &self.ledger, view));
            }
            Err(error) => tracing::error!(%error, "what was changed moments ago may not be seen yet"),
        }
        let ids: HashSet<OperationId> = left.iter().map(|report| report.id.clone()).collect();
        let dir = self.settings.state_dir.clone();
        let mut told = if ids.is_empty() {
            HashMap::new()
        } else {
            let read = tokio::task::spawn_blocking(move || audit::told(&dir, &ids)).await;
            read.unwrap_or_else(|_panic| Ok(HashMap::new()))
                .unwrap_or_else(|error| {
                    tracing::error!(%error, "the audit cannot be read: it may tell some names twice");
                    HashMap::new()
                })
        };
        // In the order in which they began, which is that of their claims.
        for report in left {
            let told = told.remove(&report.id).unwrap_or_default();
            self.take_over(report, told, eyes.clone(), &admits, now);
        }
    }

    /// Forgets reports that are old enough, for as long as it is let.
    pub async fn forget_old_reports(self: Arc<Self>) {
        let Ok(books) = self.books.get() else { return };
        let days = i64::try_from(self.settings.extender.report_days).unwrap_or(i64::MAX);
        loop {
            let before = jiff::Timestamp::now()
                .as_millisecond()
                .saturating_sub(days.saturating_mul(DAY_MS));
            if let Err(error) = books.journal().forget_before(before).await {
                tracing::warn!(%error, "old reports are not forgotten");
            }
            self.desk.sweep();
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
    }

    fn restore_answer(&self, report: &Report, now: i64) {
        let Some(digest) = Digest::from_bytes(&report.digest) else {
            return;
        };
        let ticket = Ticket::new(Call {
            digest,
            body: digest,
            key: None,
            conduct: Conduct::Real,
        });
        ticket.begun(report.id.clone(), touched(report));
        let ago = now.saturating_sub(report.finished_at.unwrap_or(now));
        let ago = Duration::from_millis(u64::try_from(ago).unwrap_or(0));
        self.desk.restore_answer(&ticket, outcome(report), ago);
    }

    fn take_over(
        self: &Arc<Self>,
        report: Report,
        told: HashMap<usize, Verdict>,
        eyes: Option<Arc<Directory>>,
        admits: &impl Fn(&Report) -> Option<Caller>,
        now: i64,
    ) {
        let caller = match report.undo_of {
            // Asked for at the operator's listener, which asks no door.
            Some(_) => Some(undo::operator()),
            None => admits(&report),
        };
        let course = self.course(&report, caller, now);
        let digest = Digest::from_bytes(&report.digest).unwrap_or_else(|| Digest::unknown(&report.id));
        let (key, body) = match &report.idempotency {
            Some((key, body)) => (
                Some((Arc::from(report.caller_key.as_str()), key.clone())),
                Digest::from_bytes(body),
            ),
            None => (None, None),
        };
        let ticket = Ticket::new(Call {
            digest,
            body: body.unwrap_or(digest),
            key,
            conduct: Conduct::Real,
        });
        ticket.begun(report.id.clone(), touched(&report));
        self.desk.restore(&ticket, report.delivered);
        let left = Left::claim(report, ticket, course, told, self);
        let (id, names) = (&left.report.id, left.open().len());
        match &left.course {
            Ok(_) => tracing::info!(operation = %id, left = names, "an operation of an earlier process goes on"),
            Err(why) => {
                tracing::warn!(operation = %id, left = names, %why, "an operation of an earlier process is closed")
            }
        }
        let (process, ticket) = (Arc::clone(self), Arc::clone(&left.ticket));
        self.operations.spawn(async move {
            process.metrics.operations.inc();
            let ended = AssertUnwindSafe(process.end(left, eyes)).catch_unwind().await;
            process.metrics.operations.dec();
            if ended.is_err() {
                tracing::error!("what an earlier process left ended in a panic; the next process tries again");
                process.desk.end(&ticket, Err(stopping()));
            }
        });
    }

    /// Whether an operation goes on, and for whom; else why not.
    fn course(&self, report: &Report, caller: Option<Caller>, now: i64) -> Result<Caller, String> {
        let settings = &self.settings.extender;
        let oldest = i64::try_from(settings.recovery_max_age_s)
            .unwrap_or(i64::MAX)
            .saturating_mul(1000);
        let why = if report.visitor {
            "its caller's own credential is not kept"
        } else if settings.recovery == Recovery::Close {
            "extender.recovery says so"
        } else if report.site != self.site {
            "it is about another site"
        } else if now.saturating_sub(report.started_at) > oldest {
            "it is older than extender.recovery_max_age_s"
        } else {
            return caller
                .filter(|caller| !caller.rights.observe)
                .ok_or_else(|| "its account is not there any more, or may not do this any more".to_owned());
        };
        Err(why.to_owned())
    }

    /// Ends an operation, however long Cloud is away; only a stop of the server leaves it to the next process.
    async fn end(&self, mut left: Left, eyes: Option<Arc<Directory>>) {
        let Ok(books) = self.books.get() else { return };
        let caller = left
            .course
            .clone()
            .unwrap_or_else(|_| Caller::named(&left.report.caller));
        let request = RequestId::new(&left.report.request);
        let context = Context::new(request, caller, seconds(self.settings.extender.read_deadline_s));
        let eyes = eyes.filter(|_| !left.report.visitor && left.report.site == self.site);
        left.believe_audit(books, &context).await;
        match eyes {
            _ if left.open().is_empty() => {}
            Some(eyes) => {
                let ended = tokio::select! {
                    biased;
                    () = self.stop.cancelled() => None,
                    () = eyes.end(&mut left, books, &context) => Some(()),
                };
                if ended.is_none() {
                    tracing::warn!(operation = %left.report.id, "the operation is left to the next process");
                    self.desk.end(&left.ticket, Err(stopping()));
                    return;
                }
            }
            // Nobody can ask Cloud: what the journal does not tell may have happened or not.
            None => left.settle_rest(books, &context, Verdict::InDoubt).await,
        }
        let ended = match books.journal().report(&left.report.id).await {
            Ok(Some(report)) => report,
            Ok(None) | Err(_) => {
                tracing::error!(operation = %left.report.id, "the operation cannot be read from the journal any more");
                let why = "the journal cannot be read";
                self.desk.end(&left.ticket, Err(interrupted(&left.report, why)));
                return;
            }
        };
        left.tell_rest(books, &context, &ended).await;
        let whole = unsettled(&ended) == 0;
        let state = if whole {
            State::Finished
        } else {
            let why = match &left.course {
                Ok(_) => "not all of it could be done or found out",
                Err(why) => why,
            };
            State::Interrupted(format!("its process was ended; {why}"))
        };
        tracing::info!(operation = %ended.id, done = outcome(&ended).done().count(), whole, "an operation of an earlier process ended");
        let answer = match &state {
            State::Interrupted(why) => Err(interrupted(&ended, why)),
            State::Finished | State::Running => Ok(outcome(&ended)),
        };
        let mut cost = cost(&context);
        cost += ended.cost;
        books.finish(&ended.id, state, cost).await;
        self.end_ticket(&left.ticket, answer);
    }
}

/// What an operation on record changes.
fn touched(report: &Report) -> Vec<Touched> {
    match &report.group {
        Some((id, _)) => vec![Touched::Group(id.clone())],
        None => {
            let ids = report
                .names
                .iter()
                .filter_map(|name| name.group.clone())
                .map(Touched::Group);
            let names = report.names.iter().map(|name| Touched::Name(NameKey::of(&name.name)));
            ids.chain(names).collect()
        }
    }
}

/// Names of which nobody can say that the work on them is finished.
fn unsettled(report: &Report) -> usize {
    let unsettled = |verdict: Option<Verdict>| {
        matches!(verdict, None | Some(Verdict::InDoubt)) || verdict == Some(Verdict::skipped(Skip::NotAttempted))
    };
    report.names.iter().filter(|name| unsettled(name.verdict)).count()
}

fn interrupted(report: &Report, cause: &str) -> Error {
    let left = unsettled(report);
    Error::Interrupted {
        done: report.names.len() - left,
        skipped: outcome(report).skipped().count(),
        left,
        retry_after: Duration::from_secs(5),
        cause: cause.to_owned(),
    }
}
