//! What is so, where Cloud's answers leave it open: read again until it shows, for as long as reads may lag behind our
//! writes.

use std::time::{Duration, Instant};

use super::Run;
use crate::cloud::{Group, Patience};
use crate::directory::ledger::Word;
use crate::directory::members::Members;
use crate::directory::plan::Change;
use crate::directory::{Error, stopping};
use crate::model::{AccountId, GroupName};

/// How long one read that settles a doubt may take, and how long after a shutdown has stopped the operation.
const SETTLE: Duration = Duration::from_secs(20);
const SETTLE_STOPPED: Duration = Duration::from_secs(3);

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
                let (cloud, request) = (&self.directory.cloud, &self.context.request);
                Ok(cloud.group(&group.id, request, self.patience()).await?.is_none())
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

    fn patience(&self) -> Patience<'static> {
        Patience::Settling(Instant::now() + self.settle())
    }

    pub(super) async fn find_now(&self, name: &GroupName) -> Result<Option<Group>, Error> {
        let (directory, request) = (self.directory, &self.context.request);
        let found = directory
            .groups
            .find_now(name, &directory.cloud, request, self.patience());
        found.await
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
        let (cloud, request) = (&self.directory.cloud, &self.context.request);
        Members::is_member_now(&group.id, account, cloud, request, self.patience()).await
    }
}
