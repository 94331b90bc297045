//! The two lists: all groups, and the members of one. Everybody in them is shown by a name that leads back to them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::groups::{List, Purpose};
use super::identity::{Asking, Map, Row, Shown, Wish};
use super::ledger::Overlay;
use super::members::{Depth, Roster, ShownList, overlaid};
use super::stale::{Kept, Listed};
use super::{Directory, Error};
use crate::cloud::Profile;
use crate::model::{AccountId, Context, Detail, GroupId, GroupName, Listing, Member, NameKey};

impl Directory {
    /// The names of all groups, sorted by name ignoring case.
    ///
    /// # Errors
    /// Cloud refuses, or cannot be asked and no older list may be told.
    pub async fn list_groups(&self, context: &Context) -> Result<Listed<Arc<Listing<GroupName>>>, Error> {
        let (groups, ledger) = (&self.groups, &self.process.ledger);
        let ask = || groups.list(&self.cloud, ledger, self.view, context);
        let kept = || groups.kept(ledger, self.view);
        let tell = async |list: Arc<List>| Ok(list);
        let Listed { list, age } = self.or_kept("groups", context, ask, kept, tell).await?;
        let notice = |id: &GroupId, key: &NameKey| self.process.guard.notice(id, key);
        let list = groups.names(&list, ledger, self.view, notice);
        Ok(Listed { list, age })
    }

    /// The members of a group, sorted by shown name in lower case, then by account.
    ///
    /// # Errors
    /// No such group, an ambiguous name; Cloud refuses, or cannot be asked and no older list may be told.
    pub async fn list_members(
        &self,
        name: &GroupName,
        detail: Detail,
        context: &Context,
    ) -> Result<Listed<Arc<Listing<Member>>>, Error> {
        let depth = match detail {
            Detail::Names | Detail::Basic => Depth::Whole,
            Detail::Extended => Depth::Briefed,
        };
        let ask = || self.read_members(name, depth, detail, context);
        let kept = || self.kept_members(name, depth);
        let tell = async |(group, roster, overlay): (GroupId, Arc<Roster>, Overlay)| {
            // Not once for all: who does that meanwhile may be waiting for Cloud.
            if !roster.is_learned() {
                self.meet(&group, &roster, Asking::Nobody).await?;
            }
            match self.told_before(&roster, overlay.version, detail) {
                Some(members) => Ok(members),
                None => self.told(&roster, &overlay, detail, Asking::Nobody).await,
            }
        };
        self.or_kept("members", context, ask, kept, tell).await
    }

    async fn read_members(
        &self,
        name: &GroupName,
        depth: Depth,
        detail: Detail,
        context: &Context,
    ) -> Result<Arc<Listing<Member>>, Error> {
        let asking = Asking::Cloud(&self.cloud, context);
        let mut purpose = Purpose::Read;
        let (group, roster) = loop {
            let group = self.group(name, purpose, context).await?;
            match self
                .members
                .roster(&group.id, depth, Some(&self.identity), context)
                .await?
            {
                Some(roster) => break (group, roster),
                // The id we remember is gone: the group was deleted, or made anew under its name. Look again, once.
                None if purpose == Purpose::Read => {
                    self.groups.forget(name).await;
                    purpose = Purpose::Write;
                }
                None => return Err(Error::NoSuchGroup(name.clone())),
            }
        };
        roster.learned(|| self.meet(&group.id, &roster, asking)).await?;
        let ledger = &self.process.ledger;
        if let Some(members) = self.told_before(&roster, ledger.version_of(&group.id), detail) {
            return Ok(members);
        }
        let overlay = ledger.overlay(&group.id, roster.read, self.view);
        self.told(&roster, &overlay, detail, asking).await
    }

    /// The members as they were made ready before, if nothing that bears on them has changed since.
    fn told_before(&self, roster: &Roster, version: u64, detail: Detail) -> Option<Arc<Listing<Member>>> {
        roster.shown((version, self.identity.generation()), detail != Detail::Names)
    }

    /// Who was in the group by what is still known of its name and of its members.
    async fn kept_members(&self, name: &GroupName, depth: Depth) -> Option<Kept<(GroupId, Arc<Roster>, Overlay)>> {
        let (named, group) = self.groups.kept_name(name, &self.process.ledger, self.view).await?;
        let Kept { read, took, list } = self.members.kept_roster(&group.id, depth).await?;
        let (roster, overlay) = list;
        Some(Kept {
            read: read.min(named),
            took,
            list: (group.id, roster, overlay),
        })
    }

    /// Learns who the members are. Where the map knows people by their addresses alone, and Confluence hides these, the
    /// organisation is asked, once: they would be shown by their ids, and a script would throw them out.
    async fn meet(&self, group: &GroupId, roster: &Roster, asking: Asking<'_>) -> Result<(), Error> {
        if !roster.was_learned {
            self.identity.learn(&roster.rows).await?;
        }
        if !self.members.can_introduce() {
            return Ok(());
        }
        let strangers = self.identity.strangers(&roster.rows).await?;
        if strangers.is_empty() {
            return Ok(());
        }
        let Asking::Cloud(_, context) = asking else {
            return Err(unintroduced());
        };
        let people = self.members.introduce(group, context).await?;
        self.identity.learn(&people).await?;
        self.identity.introduced(strangers);
        Ok(())
    }

    /// The members of a roster with our own changes laid over it, in order. What was made ready before one more change is
    /// used again: a script that adds to a large group and reads it in turns pays for whom it added.
    async fn told(
        &self,
        roster: &Roster,
        overlay: &Overlay,
        detail: Detail,
        asking: Asking<'_>,
    ) -> Result<Arc<Listing<Member>>, Error> {
        let names = self.identity.generation();
        let before = roster.shown_before(names, matches!(asking, Asking::Cloud(..)));
        let mut shown = self.made(roster, overlay, before.as_deref(), detail, asking).await?;
        if before.is_some() && self.identity.generation() != names {
            // More became known of names meanwhile, and all rows of a list are by the same.
            shown = self.made(roster, overlay, None, detail, asking).await?;
        }
        let members = Arc::clone(&shown.members);
        roster.keep_shown(shown);
        Ok(members)
    }

    /// The same, made ready; of those `before`, who still belongs there stays as it was.
    async fn made(
        &self,
        roster: &Roster,
        overlay: &Overlay,
        before: Option<&ShownList>,
        detail: Detail,
        asking: Asking<'_>,
    ) -> Result<ShownList, Error> {
        let (wants_profiles, was_asking) = (detail != Detail::Names, matches!(asking, Asking::Cloud(..)));
        let version = (overlay.version, self.identity.generation());
        let (mut rows, mut added) = overlaid(roster, &overlay.changes);
        let ready = before.map(|before| before.take_ready(wants_profiles, &mut rows, &mut added));
        let ready = ready.unwrap_or_default();
        let wanted = if wants_profiles { added.as_slice() } else { &[] };
        let profiles = match asking {
            Asking::Cloud(cloud, context) => self.identity.profiles(wanted, cloud, context).await?,
            Asking::Nobody => self.identity.remembered(wanted).await,
        };
        let mut nameless = Vec::new();
        for account in added {
            match profiles.get(&account) {
                Some(profile) => rows.push(Arc::clone(profile)),
                None => nameless.push(account),
            }
        }
        let all_nameless: HashSet<AccountId> = ready.nameless.into_iter().chain(nameless.iter().cloned()).collect();
        let shown = self.show(&rows, nameless, asking).await?;
        let mut members: Vec<(NameKey, AccountId, Member)> = ready
            .rows
            .into_iter()
            .chain(shown)
            .map(|(account, member)| (NameKey::of(&member.name), account, member))
            .collect();
        members.sort_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)));
        let (accounts, members): (Vec<_>, Vec<_>) = members
            .into_iter()
            .map(|(_, account, member)| (account, member))
            .unzip();
        Ok(ShownList {
            version,
            // Of whom Cloud knows nothing, nothing more is to be had; who could not be asked for is asked for the next time.
            complete: all_nameless.is_empty() || (wants_profiles && was_asking),
            was_asking,
            accounts,
            members: Arc::new(Listing::from(members)),
            nameless: all_nameless,
        })
    }

    /// The accounts as the legacy side knows them: Cloud's words first, then the map's.
    async fn show(
        &self,
        rows: &[Arc<Profile>],
        nameless: Vec<AccountId>,
        asking: Asking<'_>,
    ) -> Result<Vec<(AccountId, Member)>, Error> {
        let extender = &self.process.settings.extender;
        let map = self.identity.map();
        let profiles = rows.iter().map(Some).chain(std::iter::repeat(None));
        let accounts = rows.iter().map(|row| row.account.clone()).chain(nameless);
        let rows: Vec<(Row, Option<&Arc<Profile>>)> = accounts
            .zip(profiles)
            .map(|(account, profile)| {
                let email = profile.map(|profile| Arc::clone(&profile.email)).unwrap_or_default();
                (Row { account, email }, profile)
            })
            .collect();
        let (names, profiles): (Vec<Row>, Vec<_>) = rows.into_iter().unzip();
        let wish = Wish {
            order: &extender.name_order,
            map_email: extender.show_map_email,
        };
        let shown = self.identity.names(&names, &map, wish, asking).await?;
        let members = names.into_iter().zip(profiles).zip(shown);
        Ok(members
            .map(|((row, profile), shown)| {
                let member = member(&shown, &row, profile.map(AsRef::as_ref), &map, extender.show_map_email);
                (row.account, member)
            })
            .collect())
    }
}

fn member(shown: &Shown<'_>, row: &Row, profile: Option<&Profile>, map: &Map, show_map_email: bool) -> Member {
    let entry = map.by_account(row.account.as_str());
    let through = shown.through.as_ref();
    let filled = |text: &Arc<str>| (!text.is_empty()).then(|| Arc::clone(text));
    let brief = profile.and_then(|profile| profile.brief.clone()).unwrap_or_default();
    // True where nothing is known: a public script drops people for whom it is false.
    let has_access = profile
        .and_then(|profile| profile.brief.as_ref())
        .is_none_or(|brief| brief.has_access);
    let full_name = || {
        let of_entry = entry.and_then(|entry| entry.full_name());
        of_entry.or(through.and_then(|row| row.full_name))
    };
    let key = entry.and_then(|entry| entry.key()).or(through.and_then(|row| row.key));
    let map_email = || {
        let of_entry = entry.and_then(|entry| entry.email());
        let email = of_entry.or(through.and_then(|row| row.email));
        email.filter(|_| show_map_email)
    };
    Member {
        name: Arc::clone(&shown.name),
        full_name: profile
            .and_then(|profile| filled(&profile.display_name))
            .or_else(|| full_name().map(Arc::from))
            .unwrap_or_default(),
        key: key.map_or_else(|| Arc::from(row.account.as_str()), Arc::from),
        email: filled(&row.email)
            .or_else(|| map_email().map(Arc::from))
            .unwrap_or_default(),
        position: brief.position,
        department: brief.department,
        location: brief.location,
        created: entry
            .and_then(|entry| entry.created())
            .or(through.and_then(|row| row.created))
            .or(brief.added),
        updated: entry
            .and_then(|entry| entry.updated())
            .or(through.and_then(|row| row.updated)),
        last_login: brief.last_active,
        has_access,
    }
}

/// Some would be shown by their ids who are known by other names.
fn unintroduced() -> Error {
    Error::Unavailable {
        retry_after: Duration::from_secs(5),
        cause: "the organisation was not asked yet who some of the members are".to_owned(),
    }
}
