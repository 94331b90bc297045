//! Which request comes next: drawn from the mix, the groups and what may be changed, by one seed.

use std::sync::Arc;

use parking_lot::Mutex;
use url::Url;

use super::changes::Ledger;
use super::mix::{Call, Mix};
use super::send::{Order, Target};

/// What is read of a group's members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Details {
    /// Names alone
    None,
    /// Full name, key, e-mail
    Basic,
    /// Everything
    Extended,
}

impl Details {
    pub(super) fn flag(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Basic => Some("showBasicDetails"),
            Self::Extended => Some("showExtendedDetails"),
        }
    }
}

/// How members are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    pub(super) details: Details,
    pub(super) start_at: Option<u32>,
    pub(super) max_results: Option<u32>,
}

/// Where requests come from.
#[derive(Debug)]
pub(super) struct Orders {
    mix: Mix,
    rng: fastrand::Rng,
    /// The first group's address, then the others'.
    groups: Vec<Url>,
    all_groups: Url,
    /// The part of the reads of members that goes to the groups behind the first, evenly.
    distinct: f64,
    names_a_call: usize,
    ledger: Arc<Mutex<Ledger>>,
}

impl Orders {
    pub(super) fn new(target: &Target, seed: u64, mix: Mix, groups: &[String], page: Page) -> Self {
        let mut query = Vec::new();
        query.extend(page.details.flag().map(|flag| (flag, "true".to_owned())));
        query.extend(page.start_at.map(|at| ("startAt", at.to_string())));
        query.extend(page.max_results.map(|most| ("maxResults", most.to_string())));
        let url = |group: &String| target.url(Call::GetUsers, Some(group), &query);
        Self {
            mix,
            // Not the numbers that the arrivals are drawn from.
            rng: fastrand::Rng::with_seed(seed ^ 0x6d69_7865_6421),
            groups: groups.iter().map(url).collect(),
            all_groups: target.url(Call::GetGroups, None, &[]),
            distinct: groups.len().saturating_sub(1) as f64 / groups.len().max(1) as f64,
            names_a_call: 1,
            ledger: Arc::default(),
        }
    }

    /// This part of the reads of members goes to the groups behind the first.
    pub(super) fn sharing(mut self, distinct: Option<f64>) -> Self {
        if let Some(distinct) = distinct {
            self.distinct = distinct;
        }
        self
    }

    pub(super) fn changing(mut self, ledger: &Arc<Mutex<Ledger>>, names_a_call: usize) -> Self {
        self.ledger = Arc::clone(ledger);
        self.names_a_call = names_a_call;
        self
    }

    pub(super) fn draw_call(&mut self) -> Call {
        self.mix.at(self.rng.f64())
    }

    /// The request for this call. Of a change the ledger wants to know how it ended.
    pub(super) fn order(&mut self, call: Call) -> Order {
        let rng = &mut self.rng;
        match call {
            Call::GetUsers => {
                let others = self.groups.len().saturating_sub(1);
                let is_other = others > 0 && rng.f64() < self.distinct;
                let at = if is_other { 1 + rng.usize(..others) } else { 0 };
                let url = self.groups.get(at).unwrap_or(&self.all_groups);
                Order::Read(call, url.clone())
            }
            Call::GetGroups => Order::Read(call, self.all_groups.clone()),
            _ => {
                let mut pick = |below: usize| rng.usize(..below.max(1));
                Order::Change(self.ledger.lock().next(call, self.names_a_call, &mut pick))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::super::address;
    use super::super::send::{Connections, Manner};
    use super::*;

    fn orders(distinct: Option<f64>) -> Orders {
        let base = address::allowed("http://localhost:1").unwrap();
        let manner = Manner {
            credential: None,
            timeout: Duration::from_secs(1),
            connections: Connections::Kept,
            compressed: false,
            most: 1,
            ca_file: None,
        };
        let target = Target::new(&base, &manner).unwrap();
        let groups: Vec<String> = (0..5).map(|n| format!("g{n}")).collect();
        let page = Page {
            details: Details::Extended,
            start_at: Some(7),
            max_results: Some(9),
        };
        Orders::new(&target, 1, Mix::of_reads(), &groups, page).sharing(distinct)
    }

    fn counts(mut orders: Orders) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for _ in 0..4_000 {
            if let Order::Read(_, url) = orders.order(Call::GetUsers) {
                let group = url.path_segments().unwrap().next_back().unwrap().to_owned();
                *counts.entry(group).or_default() += 1;
                assert_eq!(url.query(), Some("showExtendedDetails=true&startAt=7&maxResults=9"));
            }
        }
        counts
    }

    #[test]
    fn a_share_of_the_reads_goes_to_the_other_groups_evenly() {
        let half = counts(orders(Some(0.5)));
        assert!((1_850..2_150).contains(&half["g0"]), "{half:?}");
        assert!(
            half.iter()
                .all(|(group, count)| group == "g0" || (400..600).contains(count)),
            "{half:?}"
        );
        let even = counts(orders(None));
        assert!(even.values().all(|count| (650..950).contains(count)), "{even:?}");
        assert_eq!(counts(orders(Some(0.0))).len(), 1);
    }
}
