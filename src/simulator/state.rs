//! The groups and who is in them: as they truly are, and as reads see them.
//!
//! Two copies are kept. A write changes the true one and is noted in a log; a read first brings the seen one up to what is old
//! enough (`lag_ms`). Without a lag the two are always equal. Nothing is copied to compose a lagged read, and what was once
//! seen is never unseen.
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::data::GroupInfo;

/// Some rows out of many.
#[derive(Debug)]
pub(super) struct Slice<T> {
    pub(super) rows: Vec<T>,
    /// Of all rows, not of these.
    pub(super) total: usize,
    /// More rows follow.
    pub(super) more: bool,
}

impl<T> Slice<T> {
    /// Takes one page out of rows whose number is known.
    pub(super) fn of(all: impl ExactSizeIterator<Item = T>, start: u32, limit: u32) -> Self {
        let total = all.len();
        let rows: Vec<T> = all.skip(start as usize).take(limit as usize).collect();
        let more = (start as usize).saturating_add(limit as usize) < total;
        Self { rows, total, more }
    }
}

#[derive(Clone, Debug)]
struct Group {
    info: Arc<GroupInfo>,
    /// In the order in which they were added. Removing is a search and a shift over plain numbers: about ten microseconds in
    /// a group of 100,000.
    order: Vec<u32>,
    set: HashSet<u32>,
}

/// The groups at one point in time.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    groups: HashMap<Box<str>, Group>,
    /// By name, ignoring case, then by exact name and id.
    sorted: Vec<Arc<GroupInfo>>,
    of_user: HashMap<u32, Vec<Arc<GroupInfo>>>,
}

fn sort_key(info: &GroupInfo) -> (&str, &str, &str) {
    (&info.lower, &info.name, &info.id)
}

impl View {
    fn new(start: Vec<(Arc<GroupInfo>, Vec<u32>)>) -> Self {
        let mut view = Self::default();
        for (info, order) in start {
            for user in &order {
                view.of_user.entry(*user).or_default().push(Arc::clone(&info));
            }
            view.sorted.push(Arc::clone(&info));
            let set = order.iter().copied().collect();
            view.groups.insert(info.id.clone(), Group { info, order, set });
        }
        view.sorted.sort_by(|one, other| sort_key(one).cmp(&sort_key(other)));
        view
    }

    pub(super) fn group(&self, id: &str) -> Option<Arc<GroupInfo>> {
        self.groups.get(id).map(|group| Arc::clone(&group.info))
    }

    /// The numbers of a group's members, in order.
    pub(super) fn members(&self, id: &str) -> Option<&[u32]> {
        self.groups.get(id).map(|group| group.order.as_slice())
    }

    pub(super) fn sorted(&self) -> &[Arc<GroupInfo>] {
        &self.sorted
    }

    /// The groups of this name, ignoring case, in order. The name is given in lower case.
    pub(super) fn named<'a>(&'a self, lower: &'a str) -> impl Iterator<Item = &'a Arc<GroupInfo>> {
        let first = self.sorted.partition_point(|other| other.lower.as_ref() < lower);
        let rest = self.sorted.get(first..).unwrap_or_default();
        rest.iter().take_while(move |other| other.lower.as_ref() == lower)
    }

    /// A user's groups, sorted as the list of all groups is.
    pub(super) fn groups_of(&self, user: u32) -> Vec<Arc<GroupInfo>> {
        let mut found = self.of_user.get(&user).cloned().unwrap_or_default();
        found.sort_by(|one, other| sort_key(one).cmp(&sort_key(other)));
        found
    }

    pub(super) fn is_member(&self, id: &str, user: u32) -> bool {
        self.groups.get(id).is_some_and(|group| group.set.contains(&user))
    }

    fn place(&self, info: &GroupInfo) -> Result<usize, usize> {
        self.sorted
            .binary_search_by(|other| sort_key(other).cmp(&sort_key(info)))
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Created(info) => {
                if let Err(place) = self.place(info) {
                    self.sorted.insert(place, Arc::clone(info));
                }
                let group = Group {
                    info: Arc::clone(info),
                    order: Vec::new(),
                    set: HashSet::new(),
                };
                self.groups.insert(info.id.clone(), group);
            }
            Change::Deleted(info) => {
                if let Ok(place) = self.place(info) {
                    self.sorted.remove(place);
                }
                for user in self.groups.remove(&info.id).into_iter().flat_map(|group| group.order) {
                    self.forget(user, info);
                }
            }
            Change::Added(info, user) => {
                if let Some(group) = self.groups.get_mut(&info.id)
                    && group.set.insert(*user)
                {
                    group.order.push(*user);
                    self.of_user.entry(*user).or_default().push(Arc::clone(info));
                }
            }
            Change::Removed(info, user) => {
                if let Some(group) = self.groups.get_mut(&info.id)
                    && group.set.remove(user)
                    && let Some(place) = group.order.iter().position(|member| member == user)
                {
                    group.order.remove(place);
                    self.forget(*user, info);
                }
            }
        }
    }

    fn forget(&mut self, user: u32, info: &GroupInfo) {
        if let Some(groups) = self.of_user.get_mut(&user) {
            groups.retain(|group| group.id != info.id);
        }
    }
}

#[derive(Debug)]
enum Change {
    Created(Arc<GroupInfo>),
    Deleted(Arc<GroupInfo>),
    Added(Arc<GroupInfo>, u32),
    Removed(Arc<GroupInfo>, u32),
}

/// Why a write changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unchanged {
    NoGroup,
    ReadOnly,
    DefaultGroup,
    NameTaken,
    AlreadyMember,
    NotMember,
    NoSeat,
}

/// When a write comes and under which faults.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    pub(super) now: Instant,
    pub(super) lag: Duration,
    pub(super) external: bool,
}

/// The true state, the seen state and what lies between them.
#[derive(Debug)]
pub(super) struct Store {
    present: View,
    seen: View,
    log: VecDeque<(Instant, Change)>,
    /// Users whom an add has given a seat.
    seated: HashSet<u32>,
    free_seats: Option<u64>,
}

impl Store {
    pub(super) fn new(start: Vec<(Arc<GroupInfo>, Vec<u32>)>, free_seats: Option<u64>) -> Self {
        let present = View::new(start);
        let seen = present.clone();
        Self {
            present,
            seen,
            log: VecDeque::new(),
            seated: HashSet::new(),
            free_seats,
        }
    }

    /// The state that a read may see now.
    pub(super) fn seen(&mut self, now: Instant, lag: Duration) -> &View {
        while let Some((at, _)) = self.log.front()
            && now.duration_since(*at) >= lag
            && let Some((_, change)) = self.log.pop_front()
        {
            self.seen.apply(&change);
        }
        &self.seen
    }

    /// The state as it truly is.
    pub(super) fn present(&self) -> &View {
        &self.present
    }

    /// From now on this many users can be added who were not added before; none: as many as there are.
    pub(super) fn set_seats(&mut self, free: Option<u64>) {
        self.free_seats = free;
    }

    fn note(&mut self, under: Circumstances, change: Change) {
        self.present.apply(&change);
        self.log.push_back((under.now, change));
        // Not left to the reads: a run of writes alone must not grow the log for ever.
        self.seen(under.now, under.lag);
    }

    fn writable(&self, under: Circumstances, id: &str) -> Result<Arc<GroupInfo>, Unchanged> {
        let info = self.present.group(id).ok_or(Unchanged::NoGroup)?;
        if info.managed_by(under.external) == "EXTERNAL" {
            Err(Unchanged::ReadOnly)
        } else {
            Ok(info)
        }
    }

    pub(super) fn create(&mut self, under: Circumstances, info: Arc<GroupInfo>) -> Result<(), Unchanged> {
        if self.present.named(&info.lower).next().is_some() {
            return Err(Unchanged::NameTaken);
        }
        self.note(under, Change::Created(info));
        Ok(())
    }

    pub(super) fn delete(&mut self, under: Circumstances, id: &str) -> Result<(), Unchanged> {
        let info = self.writable(under, id)?;
        if info.is_default() {
            return Err(Unchanged::DefaultGroup);
        }
        self.note(under, Change::Deleted(info));
        Ok(())
    }

    pub(super) fn add(&mut self, under: Circumstances, id: &str, user: u32) -> Result<(), Unchanged> {
        let info = self.writable(under, id)?;
        if self.present.is_member(id, user) {
            return Err(Unchanged::AlreadyMember);
        }
        if !self.seated.contains(&user) {
            if let Some(free) = &mut self.free_seats {
                *free = free.checked_sub(1).ok_or(Unchanged::NoSeat)?;
            }
            self.seated.insert(user);
        }
        self.note(under, Change::Added(info, user));
        Ok(())
    }

    pub(super) fn remove(&mut self, under: Circumstances, id: &str, user: u32) -> Result<(), Unchanged> {
        let info = self.writable(under, id)?;
        if !self.present.is_member(id, user) {
            return Err(Unchanged::NotMember);
        }
        self.note(under, Change::Removed(info, user));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn under(lag_ms: u64) -> Circumstances {
        Circumstances {
            now: Instant::now(),
            lag: Duration::from_millis(lag_ms),
            external: false,
        }
    }

    fn group(name: &str) -> Arc<GroupInfo> {
        Arc::new(GroupInfo::new(format!("id-{name}"), name.to_owned()))
    }

    #[test]
    fn members_keep_their_order_when_one_is_removed() {
        let mut store = Store::new(vec![(group("g"), vec![4, 2, 9, 7])], None);
        store.remove(under(0), "id-g", 2).unwrap();
        store.add(under(0), "id-g", 2).unwrap();
        assert_eq!(store.present().members("id-g").unwrap(), [4, 9, 7, 2]);
        assert_eq!(store.seen.members("id-g").unwrap(), [4, 9, 7, 2]);
        assert!(store.log.is_empty());
    }

    #[test]
    fn a_lagged_read_sees_each_change_when_it_is_old_enough_and_never_forgets_it() {
        let mut store = Store::new(vec![(group("g"), vec![1])], None);
        let then = under(1_000);
        store.add(then, "id-g", 2).unwrap();
        store.create(then, group("new")).unwrap();
        let lag = Duration::from_millis(1_000);
        assert_eq!(
            store
                .seen(then.now + Duration::from_millis(999), lag)
                .members("id-g")
                .unwrap(),
            [1]
        );
        assert_eq!(store.seen(then.now + lag, lag).members("id-g").unwrap(), [1, 2]);
        assert_eq!(store.seen(then.now, lag * 5).sorted().len(), 2);
    }

    #[test]
    fn a_group_that_is_deleted_leaves_no_trace_with_its_members() {
        let mut store = Store::new(vec![(group("g"), vec![1]), (group("h"), vec![1])], None);
        store.delete(under(0), "id-g").unwrap();
        assert_eq!(store.present().groups_of(1).len(), 1);
        assert_eq!(store.delete(under(0), "id-g"), Err(Unchanged::NoGroup));
    }

    #[test]
    fn a_name_is_taken_whatever_its_case() {
        let mut store = Store::new(vec![(group("Zebra"), vec![]), (group("ant"), vec![])], None);
        assert_eq!(store.create(under(0), group("ZEBRA")), Err(Unchanged::NameTaken));
        assert_eq!(store.create(under(0), group("bee")), Ok(()));
        let names: Vec<_> = store
            .present()
            .sorted()
            .iter()
            .map(|info| info.name.to_string())
            .collect();
        assert_eq!(names, ["ant", "bee", "Zebra"]);
    }

    #[test]
    fn a_seat_is_taken_once_for_each_user() {
        let mut store = Store::new(vec![(group("g"), vec![]), (group("h"), vec![])], Some(1));
        store.add(under(0), "id-g", 1).unwrap();
        store.add(under(0), "id-h", 1).unwrap();
        assert_eq!(store.add(under(0), "id-g", 2), Err(Unchanged::NoSeat));
    }
}
