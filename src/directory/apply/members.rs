//! One membership.

use std::sync::atomic::Ordering;

use super::doubt::Doubt;
use super::{DONE, NOT_ATTEMPTED, Run, skip};
use crate::cloud::{Group, Patience, Reply, SeatSign, Settled};
use crate::directory::ledger::Word;
use crate::directory::members::Membership;
use crate::directory::plan::Change;
use crate::model::{AccountId, Fate, Skip, Verdict};

impl Run<'_> {
    /// One membership: judged by what was read and by what we have done since, then changed if need be.
    pub(super) async fn member(
        &self,
        change: Change,
        group: &Group,
        account: &AccountId,
        membership: &Membership,
    ) -> Verdict {
        let ledger = &self.directory.process.ledger;
        let needless = match ledger.word(&group.id, account, membership.read) {
            Word::Settled(present) => change.needless(present),
            Word::Nothing => change.needless(membership.present.contains(account)),
            Word::Doubtful(until) => match self.is_member_after(until, group, account).await {
                Ok(present) => change.needless(present),
                Err(error) => return self.left(error),
            },
        };
        if let Some(reason) = needless {
            return skip(reason);
        }
        match change {
            Change::Add if !self.directory.identity.has_access(account).await => self.seat_member(group, account).await,
            _ => self.move_member(change, group, account).await,
        }
    }

    /// Puts somebody into the group who may need a seat for it.
    async fn seat_member(&self, group: &Group, account: &AccountId) -> Verdict {
        let leave = tokio::select! {
            leave = self.seats.leave() => leave,
            () = self.progress.stopped() => return NOT_ATTEMPTED,
        };
        let Some(leave) = leave.filter(|_| !self.is_halted()) else {
            return NOT_ATTEMPTED;
        };
        let verdict = self.move_member(Change::Add, group, account).await;
        match verdict {
            DONE => self.seats.found(),
            Verdict::Told(Fate::Skipped(Skip::NoSeat)) if self.seats.refused() => {
                tracing::warn!(request = %self.context.request, group = %group.name, "one addition after the other was refused for want of a free seat: the rest is not attempted");
            }
            _ => {}
        }
        // The next one judges by our outcome.
        drop(leave);
        verdict
    }

    /// Makes the change, and has the ledger know.
    async fn move_member(&self, change: Change, group: &Group, account: &AccountId) -> Verdict {
        let ledger = &self.directory.process.ledger;
        let moving = ledger.moving_members(&group.id);
        let verdict = self.change_member(change, group, account).await;
        let present = match verdict {
            DONE => Some(change.leaves_present()),
            Verdict::Told(Fate::Skipped(Skip::AlreadyMember)) => Some(true),
            Verdict::Told(Fate::Skipped(Skip::NotMember)) => Some(false),
            Verdict::InDoubt => None,
            Verdict::Told(_) => return verdict,
        };
        ledger.member_changed(&group.id, account, present, self.directory.view);
        drop(moving);
        verdict
    }

    pub(super) async fn change_member(&self, change: Change, group: &Group, account: &AccountId) -> Verdict {
        let (cloud, request) = (&self.directory.cloud, &self.context.request);
        let patience = Patience::WhileUnder(self.progress);
        let answer = match change {
            Change::Add => {
                let sign = if self.seats.is_full() {
                    SeatSign::Believed
                } else {
                    SeatSign::Doubted
                };
                cloud.add_member(&group.id, account, sign, request, patience).await
            }
            Change::Remove => cloud.remove_member(&group.id, account, request, patience).await,
        };
        match answer {
            Ok(settled) => {
                self.progress.succeeded();
                self.judge_member(change, group, account, settled).await
            }
            // Some try may have taken effect; what the caller reads must be what Cloud holds.
            Err(error) if error.leaves_doubt() => match self.comes_true(Doubt::Member(change, group, account)).await {
                Ok(true) => self.done(),
                Ok(false) => self.left(error),
                Err(_unread) => self.in_doubt(error),
            },
            Err(error) => self.left(error),
        }
    }

    /// Turns an answer into the truth. The status alone does not tell it: "already so" comes as 409, 400 or a success,
    /// "not there" as 404 or a success, and an earlier try of ours may be what made it so.
    pub(super) async fn judge_member(
        &self,
        change: Change,
        group: &Group,
        account: &AccountId,
        settled: Settled,
    ) -> Verdict {
        let needless = match change {
            Change::Add => Skip::AlreadyMember,
            Change::Remove => Skip::NotMember,
        };
        let Settled { reply, doubtful } = settled;
        match (reply, doubtful) {
            (Reply::Accepted, _) | (Reply::Already, true) => self.done(),
            (Reply::Already, false) => self.so_already(needless),
            (Reply::NoSeat, false) => skip(Skip::NoSeat),
            (reply, true) => match self.comes_true(Doubt::Member(change, group, account)).await {
                Ok(true) => self.done(),
                Ok(false) if reply == Reply::NoSeat => skip(Skip::NoSeat),
                Ok(false) => skip(Skip::Refused),
                Err(error) => self.in_doubt(error),
            },
            (reply, false) => {
                tracing::info!(request = %self.context.request, group = %group.name, %account, ?reply, "Cloud declines a change");
                match self.is_member_now(group, account).await {
                    Ok(present) if change.needless(present).is_some() => self.so_already(needless),
                    Ok(_) if reply == Reply::NotThere && self.is_true(Doubt::Gone(group)).await.unwrap_or(false) => {
                        self.gone.store(true, Ordering::Relaxed);
                        NOT_ATTEMPTED
                    }
                    // Cloud answered about this very name; whether it was so already is all we do not know.
                    Ok(_) | Err(_) => skip(Skip::Refused),
                }
            }
        }
    }

    fn so_already(&self, needless: Skip) -> Verdict {
        if self.is_resumed { self.done() } else { skip(needless) }
    }
}
