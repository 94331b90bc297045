//! What is so, where Cloud's answers leave it open: read again until it shows, for as long as reads may lag behind our
//! writes.

use std::time::{Duration, Instant};

use super::Run;
use crate::cloud::{Group, Patience};
use crate::directory::ledger::Word;
use crate::directory::members::Members;
use crate::directory::plan::Change;
use crate::directory::{Directory, Error, stopping};
use crate::model::{AccountId, GroupName};

/// How long one read that settles a doubt may take, and how long after a shutdown has stopped the operation.
const SETTLE: Duration = Duration::from_secs(20);
const SETTLE_STOPPED: Duration = Duration::from_secs(3);
/// There is leave for two tries a second at least.
const LEAVE: Duration = Duration::from_millis(500);

/// What an unanswered try leaves open.
#[derive(Clone, Copy)]
pub(super) enum Doubt<'a> {
    /// The membership is as the change leaves it.
    Member(Change, &'a Group, &'a AccountId),
    /// The group is not there any more.
    Gone(&'a Group),
}

/// Until when Cloud's reads may lag behind a write of ours, and how long to wait before the next reading.
pub(super) struct Lag {
    until: Instant,
    pause: Duration,
}

impl Lag {
    fn new(longest: Duration) -> Self {
        Self {
            until: Instant::now() + longest,
            pause: Duration::from_millis(100),
        }
    }
}

impl Run<'_> {
    /// Asks until the answer is yes, with growing pauses, until Cloud's reads can no longer lag behind our writes.
    ///
    /// # Errors
    /// Cloud cannot be asked.
    pub(super) async fn comes_true(&self, doubt: Doubt<'_>) -> Result<bool, Error> {
        let mut lag = Lag::new(self.directory.process.ledger.lag());
        loop {
            if self.is_true(doubt).await? {
                return Ok(true);
            }
            if !self.wait_for_reads(&mut lag).await? {
                return Ok(false);
            }
        }
    }

    /// The group of this name once Cloud shows it; `None` if it does not, though reads can no longer lag.
    pub(super) async fn appears(&self, name: &GroupName) -> Result<Option<Group>, Error> {
        let mut lag = Lag::new(self.directory.process.ledger.lag());
        loop {
            let found = self.find_now(name).await?;
            if found.is_some() || !self.wait_for_reads(&mut lag).await? {
                return Ok(found);
            }
        }
    }

    /// Waits until it is worth reading again; `false`: what was read last is no longer what was before our writes.
    pub(super) async fn wait_for_reads(&self, lag: &mut Lag) -> Result<bool, Error> {
        let left = lag.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        tokio::select! {
            () = tokio::time::sleep(lag.pause.min(left)) => {}
            // Too early for a no, and no time left to wait for one.
            () = self.progress.stopped() => return Err(stopping()),
        }
        lag.pause *= 2;
        Ok(true)
    }

    pub(super) async fn is_true(&self, doubt: Doubt<'_>) -> Result<bool, Error> {
        match doubt {
            Doubt::Member(change, group, account) => {
                let present = change.leaves_present();
                let is_shown = self.is_member_now(group, account).await? == present;
                // What is shown may be older than an earlier change of ours the other way.
                let word = self.directory.process.ledger.word(&group.id, account, Instant::now());
                Ok(is_shown && word != Word::Settled(!present))
            }
            Doubt::Gone(group) => {
                let (cloud, request, until) = (&self.directory.cloud, &self.context.request, self.until());
                loop {
                    match cloud.group(&group.id, request, Patience::Until(until)).await {
                        Ok(shown) => return Ok(shown.is_none()),
                        Err(error) => self.once_more(error.into(), until).await?,
                    }
                }
            }
        }
    }

    fn settle(&self) -> Duration {
        if self.progress.is_stopped() {
            SETTLE_STOPPED
        } else {
            SETTLE
        }
    }

    /// Until when one read may take.
    fn until(&self) -> Instant {
        Instant::now() + self.settle()
    }

    /// After a read that failed: whether, and when, it is to be made again. Where most tries fail a read ends before its time,
    /// for want of leave to try again. That is right for somebody who waits for a list; here a name would be left in doubt.
    async fn once_more(&self, error: Error, until: Instant) -> Result<(), Error> {
        let is_over = Instant::now() + LEAVE >= until || self.progress.is_stopped();
        if is_over || !matches!(error, Error::Unavailable { .. }) {
            return Err(error);
        }
        tokio::select! {
            () = tokio::time::sleep(LEAVE) => Ok(()),
            () = self.progress.stopped() => Err(error),
        }
    }

    pub(super) async fn find_now(&self, name: &GroupName) -> Result<Option<Group>, Error> {
        let Directory { groups, cloud, .. } = self.directory;
        let until = self.until();
        loop {
            let context = self.context.again(until.saturating_duration_since(Instant::now()));
            match groups.find_now(name, cloud, &context).await {
                Err(error) => self.once_more(error, until).await?,
                found => return found,
            }
        }
    }

    /// Whether somebody is a member, read when Cloud's reads can no longer lag behind what we did until then.
    pub(super) async fn is_member_after(
        &self,
        until: Instant,
        group: &Group,
        account: &AccountId,
    ) -> Result<bool, Error> {
        tokio::select! {
            () = tokio::time::sleep_until(until.into()) => {}
            () = self.progress.stopped() => return Err(stopping()),
        }
        let patience = self.settle();
        self.directory
            .settle_doubt(&group.id, account, until, patience, self.context)
            .await
    }

    pub(super) async fn is_member_now(&self, group: &Group, account: &AccountId) -> Result<bool, Error> {
        let (cloud, until) = (&self.directory.cloud, self.until());
        loop {
            let context = self.context.again(until.saturating_duration_since(Instant::now()));
            match Members::is_member_now(&group.id, account, cloud, &context).await {
                Err(error) => self.once_more(error, until).await?,
                found => return found,
            }
        }
    }
}
