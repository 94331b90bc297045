//! One operation of an earlier process, and what journal and audit know of its names.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use super::super::books::Open;
use super::super::desk::Ticket;
use crate::audit::{Evidence, Record};
use crate::directory::Process;
use crate::directory::claims::{self, Claim};
use crate::model::report::{Name, Report};
use crate::model::{AccountId, Caller, Context, GroupId, NameKey, Skip, Verdict};

/// An operation of an earlier process.
pub struct Left {
    pub report: Report,
    pub ticket: Arc<Ticket>,
    /// Who it is gone on with for, or why it is not.
    pub course: Result<Caller, String>,
    /// The earlier process was at an end by then.
    pub since: Instant,
    members: Vec<Claim<(GroupId, AccountId)>>,
    groups: Vec<Claim<NameKey>>,
    /// What the audit tells of the names, by their places.
    told: HashMap<usize, Verdict>,
}

impl Left {
    /// Claims what the operation has not come to, behind those that were begun before it.
    pub fn claim(
        report: Report,
        ticket: Arc<Ticket>,
        course: Result<Caller, String>,
        told: HashMap<usize, Verdict>,
        process: &Process,
    ) -> Self {
        let open = || report.names.iter().filter(|name| is_open(name));
        let (mut members, mut groups) = (Vec::new(), Vec::new());
        match &report.group {
            Some((group, _)) => {
                let accounts = open().filter_map(|name| name.account.clone());
                members = process.members.claim(accounts.map(|account| (group.clone(), account)));
            }
            None => {
                let names: HashSet<NameKey> = open().map(|name| NameKey::of(&name.name)).collect();
                groups = process.groups.claim(names);
            }
        }
        Self {
            report,
            ticket,
            course,
            since: Instant::now(),
            members,
            groups,
            told,
        }
    }

    /// Waits for the operations that were begun before it and are about the same: what they leave is what it found.
    pub async fn turn(&mut self) {
        claims::turns(&mut self.members).await;
        claims::turns(&mut self.groups).await;
    }

    /// The names whose fate is not known, with their places.
    pub fn open(&self) -> Vec<(usize, Name)> {
        let names = self.report.names.iter().enumerate();
        names
            .filter(|(_, name)| is_open(name))
            .map(|(place, name)| (place, name.clone()))
            .collect()
    }

    /// What the audit tells is so: it may have been written when the journal was not.
    pub async fn believe_audit(&mut self, books: &Open, context: &Context) {
        for (place, _) in self.open() {
            match self.told.get(&place).copied() {
                None | Some(Verdict::InDoubt) => {}
                // There is still time for it.
                Some(told) if told == Verdict::skipped(Skip::NotAttempted) => {}
                Some(told) => self.settle(books, context, place, told).await,
            }
        }
    }

    /// A name's fate is known.
    pub async fn settle(&mut self, books: &Open, context: &Context, place: usize, verdict: Verdict) {
        if let Some(name) = self.report.names.get_mut(place) {
            name.verdict = Some(verdict);
        }
        books.settle(&self.report.id, place, verdict);
        if self.told.insert(place, verdict) != Some(verdict)
            && let Some(name) = self.report.names.get(place)
        {
            books.tell(context, &[record(&self.report, place, name, verdict)]).await;
        }
    }

    /// The same of all names that have none.
    pub async fn settle_rest(&mut self, books: &Open, context: &Context, verdict: Verdict) {
        for (place, _) in self.open() {
            self.settle(books, context, place, verdict).await;
        }
    }

    /// This was said of the names while the operation went on.
    pub fn was_told(&mut self, records: &[Record<'_>]) {
        let told = records.iter().map(|record| (record.index, record.verdict));
        self.told.extend(told);
    }

    /// Tells the audit what is in the journal, `ended`, and not in the audit: what was clear from the start is told at the
    /// end, and the earlier process had none; and what it did last it may only have put into the journal.
    pub async fn tell_rest(&self, books: &Open, context: &Context, ended: &Report) {
        let names = ended.names.iter().enumerate();
        let untold = names.filter_map(|(place, name)| {
            let verdict = name.verdict.filter(|verdict| self.told.get(&place) != Some(verdict))?;
            Some(record(ended, place, name, verdict))
        });
        let untold: Vec<Record<'_>> = untold.collect();
        books.tell(context, &untold).await;
    }
}

/// Nothing was attempted, or nobody could tell what came of it: Cloud may tell now.
fn is_open(name: &Name) -> bool {
    matches!(name.verdict, None | Some(Verdict::InDoubt))
}

fn record<'r>(report: &'r Report, place: usize, name: &'r Name, verdict: Verdict) -> Record<'r> {
    let group = report.group.as_ref();
    Record {
        operation: &report.id,
        kind: report.kind,
        index: place,
        group: group.map_or(name.name.as_str(), |(_, group)| group.as_str()),
        group_id: group.map(|(id, _)| id).or(name.group.as_ref()),
        name: &name.name,
        account: name.account.as_ref(),
        verdict,
        evidence: Evidence::Recovered,
    }
}
