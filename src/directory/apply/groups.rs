//! One group.

use super::doubt::Doubt;
use super::{Deletes, NOT_ATTEMPTED, Run, skip};
use crate::cloud::{self, Group, Patience, Reply};
use crate::directory::Error;
use crate::model::{GroupName, Skip, Verdict};

impl Run<'_> {
    pub(super) async fn create_group(&self, name: &GroupName) -> Verdict {
        let (cloud, request) = (&self.directory.cloud, &self.context.request);
        let (mut ours, mut tries) = (self.is_resumed, 0);
        loop {
            tries += 1;
            let patience = Patience::WhileUnder(self.progress);
            match cloud.create_group(name, request, patience).await {
                Ok((settled, group)) => {
                    self.progress.succeeded();
                    ours |= settled.doubtful || settled.reply == Reply::Accepted;
                    if group.is_some() {
                        return self.created(name, group);
                    }
                    if ours {
                        // Its id is wanted: with it the group can be shown and filled before Cloud's reads show it.
                        return match self.appears(name).await {
                            Ok(None) if !matches!(settled.reply, Reply::Accepted | Reply::Already) => {
                                skip(Skip::Refused)
                            }
                            Ok(group) => self.created(name, group),
                            Err(_unread) if settled.reply == Reply::Accepted => self.created(name, None),
                            Err(error) => self.group_in_doubt(name, error),
                        };
                    }
                    return match self.find_now(name).await {
                        Ok(Some(_)) => self.met(name).await,
                        _ if settled.reply == Reply::Already => self.met(name).await,
                        _ => skip(Skip::Refused),
                    };
                }
                // Made or not? Only a look-up tells, and only then may it be sent again.
                Err(error) if error.leaves_doubt() => match self.appears(name).await {
                    Ok(Some(group)) => return self.created(name, Some(group)),
                    Ok(None)
                        if self.is_halted()
                            || tries >= self.directory.process.settings.cloud.max_tries
                            || matches!(error, cloud::Error::Refused { .. }) =>
                    {
                        return self.left(error);
                    }
                    Ok(None) => ours = true,
                    Err(_unread) => return self.group_in_doubt(name, error),
                },
                Err(error) => return self.left(error),
            }
        }
    }

    fn created(&self, name: &GroupName, group: Option<Group>) -> Verdict {
        if let Some(group) = &group {
            self.made.lock().insert(name.clone(), group.id.clone());
        }
        let ledger = &self.directory.process.ledger;
        ledger.group_created(name.clone(), group, self.directory.view);
        self.done()
    }

    /// There is one that what we had read did not show, and the next reading may not either.
    async fn met(&self, name: &GroupName) -> Verdict {
        self.directory.groups.forget(name).await;
        let ledger = &self.directory.process.ledger;
        ledger.group_created(name.clone(), None, self.directory.view);
        skip(Skip::AlreadyExists)
    }

    pub(super) async fn delete_group(&self, group: &Group) -> Verdict {
        let (cloud, request) = (&self.directory.cloud, &self.context.request);
        let ledger = &self.directory.process.ledger;
        let patience = Patience::WhileUnder(self.progress);
        // Groups are renamed and re-created: directly before it is deleted, the id must still bear the name.
        match cloud.group(&group.id, request, patience).await {
            Ok(Some(now)) if now.name.key() == group.name.key() => {}
            Ok(None) if ledger.is_just_created(&group.id) => {}
            Ok(None) if self.is_resumed => return self.deleted(group).await,
            Ok(_) => return self.missed(group).await,
            Err(error) => return self.left(error),
        }
        if self.deletes == Deletes::Empty {
            match self.directory.members.is_empty_now(&group.id, self.context).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(request = %self.context.request, group = %group.name, "not deleted: it has members by now");
                    return skip(Skip::Refused);
                }
                Err(error) => return self.left(error),
            }
        }
        let answer = cloud.delete_group(&group.id, request, patience).await;
        if answer.is_ok() {
            self.progress.succeeded();
        }
        let (reply, doubtful) = match &answer {
            Ok(settled) => (Some(&settled.reply), settled.doubtful || self.is_resumed),
            Err(error) => (None, error.leaves_doubt()),
        };
        match (reply, doubtful) {
            (Some(Reply::Accepted), _) | (Some(Reply::NotThere), true) => self.deleted(group).await,
            (Some(Reply::NotThere), false) => self.missed(group).await,
            (Some(_), false) => skip(Skip::Refused),
            (_, true) => match (self.comes_true(Doubt::Gone(group)).await, answer) {
                (Ok(true), _) => self.deleted(group).await,
                (Ok(false), Ok(_)) => skip(Skip::Refused),
                (Ok(false), Err(error)) => self.left(error),
                (Err(_unread), Err(error)) => self.group_in_doubt(&group.name, error),
                (Err(error), Ok(_)) => self.group_in_doubt(&group.name, error),
            },
            (None, false) => answer.map_or_else(|error| self.left(error), |_| NOT_ATTEMPTED),
        }
    }

    fn group_in_doubt(&self, name: &GroupName, error: impl Into<Error>) -> Verdict {
        self.directory.process.ledger.group_doubted(name);
        self.in_doubt(error)
    }

    /// Somebody else has deleted or renamed it.
    async fn missed(&self, group: &Group) -> Verdict {
        self.directory.groups.forget(&group.name).await;
        skip(Skip::NoSuchGroup)
    }

    async fn deleted(&self, group: &Group) -> Verdict {
        self.directory.process.ledger.group_deleted(group);
        self.directory.members.deleted(&group.id).await;
        self.done()
    }
}
