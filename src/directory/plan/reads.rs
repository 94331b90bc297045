//! Which reads decide who is in a group, at the lowest cost. Pure: from what is known to the next read.
//!
//! The yardstick is a planner who knows only the cache: one name costs one account's groups; k ≥ 2 names cost the first
//! page, which tells the total T, and then min(⌈T ÷ 200⌉ − 1, k) reads more. Nothing here costs more, but for the one
//! search that shows suspended members, whom no page has; names on the first page and an organisation's key cost less.

use super::Change;
use crate::cloud::{ACCOUNTS, Operation, PAGE};
use crate::settings::Pays;

/// In how many groups an account is taken to be before anybody has looked. Too high a guess makes us read a page too
/// much, once; too low a one makes every name dearer than the pages. Ten is what people in well-kept directories have.
const GROUPS_OF_ONE: u64 = 10;

/// Pages that are taken to follow where Cloud does not tell the total: reading on is what several names can afford.
const PAGES_UNTOLD: usize = 2;

/// What is known of some accounts' membership in one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Accounts of which nothing tells yet whether they are in the group; those on the first page are none of them.
    pub open: usize,
    /// What is to be done with them: whoever is to be taken out may be suspended, and then is on no page.
    pub change: Change,
    /// The first page, where it was read.
    pub first_page: Option<FirstPage>,
    /// What the other pages are worth.
    pub pages: Pages,
    /// Whether the organisation can be asked.
    pub organisation: Organisation,
    /// What a read costs.
    pub pays: Pays,
}

/// What a group's first page tells of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstPage {
    /// Rows on it.
    pub rows: usize,
    /// Rows a page.
    pub limit: usize,
    /// Rows of the group, where it says so.
    pub total: Option<usize>,
    /// No page follows.
    pub is_all: bool,
}

/// How a group's pages can be read on from the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// One reading is whole.
    Still,
    /// Our own changes move rows about: two readings must agree, and the first page is not of one of them.
    Moving,
    /// They moved in every reading.
    Torn,
}

/// Whether the organisation's Admin API can tell who is in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Organisation {
    /// There is no key for it.
    Closed,
    /// It can be asked about any account.
    Open,
    /// It was asked; whoever is open is unknown to it.
    Answered,
    /// It was asked and did not answer.
    Failed,
}

/// What to read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Everything is known: who is open is not in the group.
    Nothing,
    /// The group's first page.
    FirstPage,
    /// The rest of its pages, and who is on none.
    OtherPages,
    /// The groups of each open account.
    EachAccount,
    /// The open accounts' groups as the organisation knows them.
    Organisation,
}

/// Calls of both kinds, and the rows they bring.
#[derive(Clone, Copy, Debug, Default)]
struct Bill {
    confluence: u64,
    rows: u64,
    admin: u64,
}

impl Bill {
    /// A search of the organisation counts as one whatever the currency: it is none of Confluence's quota, but not free.
    fn price(self, pays: Pays) -> u64 {
        match pays {
            Pays::Requests => self.confluence + self.admin,
            Pays::Points => self.confluence + 2 * self.rows + self.admin,
        }
    }
}

/// The next read, or that none is needed. Where two ways cost the same, the one that leaves more in the caches.
pub fn next(known: &Known) -> Next {
    if known.open == 0 {
        return Next::Nothing;
    }
    let pages = known
        .first_page
        .filter(|_| known.pages != Pages::Torn)
        .map(|page| other_pages(known, page));
    if known.first_page.is_some_and(|page| page.is_all) && !asks_for_suspended(known) {
        return Next::Nothing;
    }
    let asked = (known.organisation == Organisation::Open).then(|| asking(known));
    let ways = [
        (pages, Next::OtherPages),
        (Some(each_account(known)), Next::EachAccount),
        (asked, Next::Organisation),
    ];
    let priced = ways
        .into_iter()
        .filter_map(|(bill, way)| bill.map(|bill| (bill.price(known.pays), way)));
    let (price, way) = priced.min_by_key(|(price, _)| *price).unwrap_or((0, Next::Nothing));
    // What is no dearer than a first page needs none: nobody knows yet how much that one would tell.
    let first_page = Bill {
        confluence: 1,
        rows: wide(PAGE),
        admin: 0,
    };
    let is_unread = known.first_page.is_none() && known.pages != Pages::Torn;
    if is_unread && price > first_page.price(known.pays) {
        return Next::FirstPage;
    }
    way
}

/// The reads that follow from what is known: exact where it tells; after a first page that is still to be read there may be
/// more.
pub fn foresee(known: &Known) -> Vec<(Operation, u64)> {
    let (bill, operation) = match (next(known), known.first_page) {
        (Next::Nothing, _) | (Next::OtherPages, None) => return Vec::new(),
        (Next::FirstPage, _) => return vec![(Operation::ListMembers, 1)],
        (Next::OtherPages, Some(page)) => (other_pages(known, page), Operation::ListMembers),
        (Next::EachAccount, _) => (each_account(known), Operation::MemberOf),
        (Next::Organisation, _) => (asking(known), Operation::AdminUsers),
    };
    let calls = [(operation, bill.confluence), (Operation::AdminUsers, bill.admin)];
    calls.into_iter().filter(|(_, calls)| *calls > 0).collect()
}

/// What one call is taken to cost of Confluence's quota, in points, before its answer is known: a page counts as full.
pub fn points(operation: Operation) -> u64 {
    let rows = match operation {
        Operation::ListMembers | Operation::ListGroups => wide(PAGE),
        Operation::MemberOf => GROUPS_OF_ONE,
        Operation::ReadUsers => wide(crate::cloud::BULK),
        Operation::FindGroups | Operation::GetGroup | Operation::CurrentUser => 1,
        // Writes cost one; what other services answer is paid elsewhere, if at all.
        Operation::CreateGroup | Operation::DeleteGroup | Operation::AddMember | Operation::RemoveMember => 0,
        Operation::TenantInfo
        | Operation::AdminUsers
        | Operation::AdminGroups
        | Operation::AdminRoles
        | Operation::ScimUsers
        | Operation::JiraUsers
        | Operation::Token
        | Operation::Resources => return 0,
    };
    1 + 2 * rows
}

/// Whoever is to be taken out and is on no page may be a suspended member; with a key, the organisation is asked.
fn asks_for_suspended(known: &Known) -> bool {
    known.change == Change::Remove && known.organisation != Organisation::Closed
}

/// Reading the other pages. Suspended members are taken to fit into one search.
fn other_pages(known: &Known, page: FirstPage) -> Bill {
    let limit = page.limit.max(1);
    let (more, rows) = match page.total {
        _ if page.is_all => (0, 0),
        Some(total) if total > page.rows => (total.div_ceil(limit).saturating_sub(1), total - page.rows),
        _ => (PAGES_UNTOLD, PAGES_UNTOLD * limit),
    };
    let absent = u64::from(asks_for_suspended(known));
    match known.pages {
        // One page cannot be torn, but it is read again.
        Pages::Moving => {
            let readings = if page.is_all { 1 } else { 2 };
            Bill {
                confluence: readings * wide(more + 1),
                rows: readings * wide(rows + page.rows),
                admin: readings * absent,
            }
        }
        Pages::Still | Pages::Torn => Bill {
            confluence: wide(more),
            rows: wide(rows),
            admin: absent,
        },
    }
}

fn each_account(known: &Known) -> Bill {
    Bill {
        confluence: wide(known.open),
        rows: wide(known.open) * GROUPS_OF_ONE,
        admin: 0,
    }
}

fn asking(known: &Known) -> Bill {
    Bill {
        admin: wide(known.open.div_ceil(ACCOUNTS)),
        ..Bill::default()
    }
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A group in Cloud, and what a call asks of it.
    #[derive(Clone, Copy, Debug)]
    struct Case {
        total: usize,
        names: usize,
        on_first_page: usize,
        told: bool,
    }

    /// Plays the reads through as they would go: calls by kind, the pages that were read among them.
    fn play(case: Case, mut known: Known) -> (u64, u64) {
        let (mut confluence, mut admin) = (0, 0);
        for _ in 0..6 {
            let foreseen = foresee(&known);
            for (operation, calls) in &foreseen {
                match operation {
                    Operation::AdminUsers => admin += calls,
                    _ => confluence += calls,
                }
            }
            match next(&known) {
                Next::Nothing => {
                    assert!(foreseen.is_empty());
                    return (confluence, admin);
                }
                Next::FirstPage => {
                    let rows = case.total.min(PAGE);
                    known.first_page = Some(FirstPage {
                        rows,
                        limit: PAGE,
                        total: case.told.then_some(case.total),
                        is_all: case.total <= PAGE,
                    });
                    known.open -= case.on_first_page;
                }
                Next::OtherPages | Next::EachAccount => known.open = 0,
                Next::Organisation => {
                    known.organisation = Organisation::Answered;
                    known.open = 0;
                }
            }
        }
        panic!("no end: {known:?}");
    }

    fn cold(case: Case, change: Change, organisation: Organisation, pays: Pays) -> Known {
        Known {
            open: case.names,
            change,
            first_page: None,
            pages: Pages::Still,
            organisation,
            pays,
        }
    }

    fn cases() -> impl Strategy<Value = Case> {
        (0_usize..12_000, 1_usize..3000, 0_usize..=PAGE).prop_map(|(total, names, on_first_page)| Case {
            total,
            names,
            on_first_page: on_first_page.min(names).min(total),
            told: true,
        })
    }

    /// What a planner who knows only the cache must spend: one name one read; else the first page, then the fewer of pages and names.
    fn minimum(case: Case) -> u64 {
        let more = case.total.div_ceil(200).max(1) - 1;
        let reads = if case.names == 1 { 1 } else { 1 + more.min(case.names) };
        reads as u64
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn no_plan_costs_more_than_the_minimum(case in cases()) {
            for change in [Change::Add, Change::Remove] {
                let (reads, none) = play(case, cold(case, change, Organisation::Closed, Pays::Requests));
                prop_assert!(reads <= minimum(case) && none == 0, "{change:?} {reads}");
            }
        }

        #[test]
        fn a_key_never_costs_more_but_the_search_for_the_suspended(case in cases()) {
            let calls = |change| {
                let (reads, searches) = play(case, cold(case, change, Organisation::Open, Pays::Requests));
                reads + searches
            };
            prop_assert!(calls(Change::Add) <= minimum(case));
            prop_assert!(calls(Change::Remove) <= minimum(case) + 1);
            if case.names <= ACCOUNTS {
                prop_assert_eq!(calls(Change::Remove), 1);
            }
        }

        #[test]
        fn the_next_read_is_never_dearer_than_another_that_would_do(
            case in cases(),
            pages in prop_oneof![Just(Pages::Still), Just(Pages::Moving), Just(Pages::Torn)],
            pays in prop_oneof![Just(Pays::Requests), Just(Pays::Points)],
        ) {
            let first_page = FirstPage {
                rows: case.total.min(PAGE),
                limit: PAGE,
                total: Some(case.total),
                is_all: case.total <= PAGE,
            };
            let known = Known { first_page: Some(first_page), pages, ..cold(case, Change::Remove, Organisation::Open, pays) };
            let price = |way: Next| match way {
                Next::OtherPages => other_pages(&known, first_page).price(pays),
                Next::EachAccount => each_account(&known).price(pays),
                Next::Organisation => asking(&known).price(pays),
                Next::Nothing | Next::FirstPage => unreachable!("{way:?}"),
            };
            let chosen = price(next(&known));
            prop_assert!(chosen <= price(Next::EachAccount) && chosen <= price(Next::Organisation));
            prop_assert!(pages == Pages::Torn || chosen <= price(Next::OtherPages));
            prop_assert!(pages != Pages::Torn || next(&known) != Next::OtherPages);
        }
    }

    fn many(total: usize, names: usize) -> Case {
        Case {
            total,
            names,
            on_first_page: 0,
            told: true,
        }
    }

    #[test]
    fn names_on_the_first_page_need_no_further_read() {
        let all_there = Case {
            on_first_page: 10,
            ..many(10_000, 10)
        };
        let reads = |case| play(case, cold(case, Change::Remove, Organisation::Closed, Pays::Requests)).0;
        assert_eq!(reads(all_there), 1);
        let most_there = Case {
            on_first_page: 7,
            ..all_there
        };
        assert_eq!(reads(most_there), 4);
        assert_eq!((reads(many(10_000, 10)), reads(many(10_000, 1000))), (11, 50));
    }

    #[test]
    fn where_points_are_paid_a_page_must_be_worth_its_rows() {
        let first = |names| {
            let case = many(10_000, names);
            next(&cold(case, Change::Add, Organisation::Closed, Pays::Points))
        };
        // 19 accounts of 21 points each are cheaper than a page of 401.
        assert_eq!(
            (first(1), first(19), first(20)),
            (Next::EachAccount, Next::EachAccount, Next::FirstPage)
        );
        let page = FirstPage {
            rows: 200,
            limit: 200,
            total: Some(450),
            is_all: false,
        };
        let then = |open, pays| {
            next(&Known {
                first_page: Some(page),
                ..cold(many(450, open), Change::Add, Organisation::Closed, pays)
            })
        };
        // 250 rows on two pages: 502 points.
        assert_eq!(
            (then(23, Pays::Points), then(24, Pays::Points)),
            (Next::EachAccount, Next::OtherPages)
        );
        assert_eq!(
            (then(1, Pays::Requests), then(2, Pays::Requests)),
            (Next::EachAccount, Next::OtherPages)
        );
    }

    #[test]
    fn without_a_total_a_few_names_are_asked_one_by_one_and_many_read_on() {
        let page = FirstPage {
            rows: 200,
            limit: 200,
            total: None,
            is_all: false,
        };
        let then = |open| {
            next(&Known {
                first_page: Some(page),
                ..cold(many(450, open), Change::Add, Organisation::Closed, Pays::Requests)
            })
        };
        assert_eq!((then(1), then(2)), (Next::EachAccount, Next::OtherPages));
    }

    #[test]
    fn pages_that_our_own_changes_move_cost_two_readings() {
        let page = FirstPage {
            rows: 200,
            limit: 200,
            total: Some(450),
            is_all: false,
        };
        let known = Known {
            first_page: Some(page),
            pages: Pages::Moving,
            ..cold(many(450, 5), Change::Add, Organisation::Closed, Pays::Requests)
        };
        assert_eq!(foresee(&known), [(Operation::MemberOf, 5)]);
        let more = Known { open: 6, ..known };
        assert_eq!(foresee(&more), [(Operation::ListMembers, 6)]);
        let torn = Known {
            pages: Pages::Torn,
            ..more
        };
        assert_eq!(foresee(&torn), [(Operation::MemberOf, 6)]);
    }

    #[test]
    fn whom_the_organisation_does_not_know_confluence_is_asked_about() {
        let known = Known {
            organisation: Organisation::Answered,
            ..cold(many(10_000, 1), Change::Remove, Organisation::Open, Pays::Requests)
        };
        assert_eq!(foresee(&known), [(Operation::MemberOf, 1)]);
        // One page shows everybody but the suspended: a search that failed is made up for account by account.
        let page = FirstPage {
            rows: 5,
            limit: 200,
            total: Some(5),
            is_all: true,
        };
        let failed = Known {
            organisation: Organisation::Failed,
            first_page: Some(page),
            ..known
        };
        assert_ne!(next(&failed), Next::Nothing);
        let add = Known {
            change: Change::Add,
            ..failed
        };
        assert_eq!(next(&add), Next::Nothing);
    }
}
