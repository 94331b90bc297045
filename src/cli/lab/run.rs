//! One client in one scenario: a Cloud of its own, the work, and what there was to see.

use std::path::Path;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cloud::{Cloud, Stats};
use super::direct;
use super::facade::{Facade, Got};
use super::scenario::{Client, Scenario, Story};

/// Groups of one page and of three.
const SMALL: usize = 150;
const LARGE: usize = 500;
/// At most so many groups of each size are read in a run; each is read once, so that none is known before.
const MOST_READS: usize = 400;
/// How often an outage is met by a reader.
const OUTAGE_READS: u32 = 20;

/// What a client made of a scenario.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) scenario: String,
    pub(super) client: Client,
    /// Seconds.
    pub(super) wall: f64,
    pub(super) theory: f64,
    pub(super) done: usize,
    pub(super) lost: usize,
    pub(super) stats: Stats,
    /// What this story is told for, by name.
    pub(super) figures: Vec<(&'static str, Option<f64>)>,
}

/// A run as it goes on.
struct Run<'a> {
    scenario: &'a Scenario,
    cloud: &'a Cloud,
    start: Instant,
    /// Said when the last name is settled.
    over: CancellationToken,
}

/// What was seen beside the work.
#[derive(Debug, Default)]
struct Seen {
    /// When each caller had its answer.
    finished: Vec<Duration>,
    /// When each change took effect.
    changed: Vec<Duration>,
    /// Each read's group size, and when it was asked for.
    reads: Vec<(usize, Duration, Got)>,
    /// What a read of a small and of a large group costs while nothing else happens, in requests.
    own: (u64, u64),
}

/// Lets the client do the scenario's work.
pub(super) async fn run(scenario: &Scenario, client: Client, config: Option<&Path>) -> anyhow::Result<Row> {
    let targets = targets(scenario);
    let cloud = Cloud::start(scenario, &groups(scenario, &targets)).await?;
    let facade = match client {
        Client::Facade => Some(Facade::start(&cloud, scenario, config).await?),
        _ => None,
    };
    let mut seen = Seen::default();
    if let Some(facade) = &facade {
        seen.own = warm(scenario, &cloud, facade).await?;
    }
    cloud.zero().await?;
    let run = Run {
        scenario,
        cloud: &cloud,
        start: Instant::now(),
        over: CancellationToken::new(),
    };
    let work = async {
        let worked = run.work(client, facade.as_ref(), &targets).await;
        run.over.cancel();
        worked
    };
    let (finished, changed, reads) = tokio::join!(work, run.change(), run.read(facade.as_ref()));
    seen.finished = finished?;
    seen.changed = changed?;
    seen.reads = reads;
    let stats = cloud.stats().await?;
    let mut done = 0;
    for target in &targets {
        done += cloud.count(target).await?;
    }
    if let Some(facade) = facade {
        facade.stop().await?;
    }
    cloud.stop().await;
    let reads = match scenario.story {
        Story::Plain | Story::Changes | Story::Shared => stats.others as f64,
        Story::Callers(callers) => stats.others as f64 / callers as f64,
        // Those of the other groups are not in the way.
        Story::Reads(_) | Story::Outage => 0.0,
    };
    let wall = seen.finished.iter().max().copied().unwrap_or_default();
    Ok(Row {
        scenario: scenario.name.clone(),
        client,
        wall: wall.as_secs_f64(),
        theory: scenario.theory(reads, stats.service),
        done,
        lost: scenario.names.saturating_sub(done),
        figures: figures(scenario, &stats, &seen, wall),
        stats,
    })
}

/// The groups that are filled: one for each caller.
fn targets(scenario: &Scenario) -> Vec<String> {
    let callers = match scenario.story {
        Story::Callers(callers) => callers,
        _ => 1,
    };
    (1..=callers).map(|caller| format!("lab-{caller}")).collect()
}

/// The group that is read: small and large ones by turns. The first two are for getting to know the price.
fn group_to_read(place: usize) -> (String, usize) {
    let size = if place.is_multiple_of(2) { SMALL } else { LARGE };
    (format!("read-{place:04}"), size)
}

/// Every group that there is to be, with its size at the start.
fn groups(scenario: &Scenario, targets: &[String]) -> Vec<(String, usize)> {
    let to_read = match scenario.story {
        Story::Reads(_) => 2 * MOST_READS,
        Story::Outage => 1,
        _ => 0,
    };
    let empty = targets.iter().map(|target| (target.clone(), 0));
    empty.chain((0..to_read).map(group_to_read)).collect()
}

/// Reads what is known beforehand, and tells what a read of either size costs.
async fn warm(scenario: &Scenario, cloud: &Cloud, facade: &Facade) -> anyhow::Result<(u64, u64)> {
    let price = async |place| {
        cloud.zero().await?;
        let (group, _) = group_to_read(place);
        let got = facade.get(&group).await;
        anyhow::ensure!(got.is_good, "the group {group} cannot be read");
        Ok(cloud.stats().await?.others)
    };
    Ok(match scenario.story {
        Story::Reads(_) => (price(0).await?, price(1).await?),
        Story::Outage => (price(0).await?, 0),
        _ => (0, 0),
    })
}

impl Run<'_> {
    /// Adds all names; tells when each caller was done.
    async fn work(&self, client: Client, facade: Option<&Facade>, targets: &[String]) -> anyhow::Result<Vec<Duration>> {
        let Some(facade) = facade else {
            for target in targets {
                direct::add(client, self.cloud, self.scenario, target).await?;
            }
            return Ok(vec![self.start.elapsed()]);
        };
        let people = self.cloud.people.iter().take(self.scenario.names);
        let names: Vec<&str> = people.map(|person| person.username.as_str()).collect();
        let share = names.len().div_ceil(targets.len().max(1)).max(1);
        let calls = names.chunks(share).zip(targets).enumerate();
        let calls = calls.map(|(caller, (names, target))| async move {
            facade.add(caller, target, names).await?;
            Ok(self.start.elapsed())
        });
        try_join_all(calls).await
    }

    /// Turns the scenario's switches in their time; tells when they were turned.
    async fn change(&self) -> anyhow::Result<Vec<Duration>> {
        let mut turned = Vec::new();
        for change in &self.scenario.changes {
            tokio::select! {
                () = self.over.cancelled() => break,
                () = tokio::time::sleep_until(self.start + change.at) => {}
            }
            turned.push(self.start.elapsed());
            self.cloud.switch(&change.switches).await?;
        }
        Ok(turned)
    }

    /// Reads other groups, as the story wants it.
    async fn read(&self, facade: Option<&Facade>) -> Vec<(usize, Duration, Got)> {
        let mut reads = Vec::new();
        let Some(facade) = facade else {
            return reads;
        };
        let (first, pause, end) = match (self.scenario.story, self.scenario.changes.as_slice()) {
            // Not before the first change is under way.
            (Story::Reads(pause), _) => (pause * 2, pause, Duration::MAX),
            (Story::Outage, [first, .., last]) => (first.at, (last.at - first.at) / OUTAGE_READS, last.at),
            _ => return reads,
        };
        let mut next = self.start + first;
        for place in 2..2 * MOST_READS {
            tokio::select! {
                () = self.over.cancelled() => break,
                () = tokio::time::sleep_until(next) => {}
            }
            let asked = self.start.elapsed();
            if asked >= end {
                break;
            }
            let place = if self.scenario.story == Story::Outage { 0 } else { place };
            let (group, size) = group_to_read(place);
            reads.push((size, asked, facade.get(&group).await));
            next = (next + pause).max(Instant::now());
        }
        reads
    }
}

fn figures(scenario: &Scenario, stats: &Stats, seen: &Seen, wall: Duration) -> Vec<(&'static str, Option<f64>)> {
    let mut figures = vec![
        ("most_under_way", Some(stats.most_under_way as f64)),
        ("adds", Some(stats.adds as f64)),
        ("other_requests", Some(stats.others as f64)),
    ];
    let changed = seen.changed.as_slice();
    match scenario.story {
        Story::Plain => {}
        Story::Changes => figures.extend(changes(scenario, stats, changed, wall)),
        Story::Shared => {
            let left = scenario.changes.first().map_or(0.0, |change| change.rate);
            if let [from, to, ..] = *changed {
                let ours = stats.accepted_between(from, to) as f64;
                let left = left * (to - from).as_secs_f64();
                figures.push(("share_of_what_was_left", Some(ours / left)));
                figures.push(("shared_429s", Some(stats.limited_between(from, to) as f64)));
            }
        }
        Story::Callers(_) => {
            let first = seen.finished.iter().min().map_or(0.0, Duration::as_secs_f64);
            let last = wall.as_secs_f64();
            figures.push(("first_finished_s", Some(first)));
            figures.push(("last_finished_s", Some(last)));
            figures.push(("spread_percent", Some((last - first) / last * 100.0)));
        }
        Story::Reads(_) => figures.extend(waits(stats, seen)),
        Story::Outage => figures.extend(outage(stats, seen, changed)),
    }
    figures
}

/// How soon a new limit was used, and what it cost to find out.
fn changes(
    scenario: &Scenario,
    stats: &Stats,
    changed: &[Duration],
    wall: Duration,
) -> Vec<(&'static str, Option<f64>)> {
    let names = [
        ("halved_reached_s", "halved_429s"),
        ("returned_reached_s", "returned_429s"),
    ];
    let ends = changed.iter().skip(1).copied().chain([wall]);
    let mut figures = Vec::new();
    for (((from, to), change), (reached, limited)) in changed.iter().zip(ends).zip(&scenario.changes).zip(names) {
        let time = stats.reached(0.9 * change.rate, *from, to);
        figures.push((reached, time.map(|time| time.as_secs_f64())));
        figures.push((limited, Some(stats.limited_between(*from, to) as f64)));
    }
    figures
}

/// What reads waited beyond their own requests, in units of a request.
fn waits(stats: &Stats, seen: &Seen) -> Vec<(&'static str, Option<f64>)> {
    let waits = |size: usize, own: u64| {
        let of_size = seen.reads.iter().filter(|(of, _, got)| *of == size && got.is_good);
        let beyond = |(_, _, got): &(usize, Duration, Got)| got.took.as_secs_f64() / stats.service - own as f64;
        let mut waits: Vec<f64> = of_size.map(beyond).map(|wait| wait.max(0.0)).collect();
        waits.sort_by(f64::total_cmp);
        waits
    };
    let failed = seen.reads.iter().filter(|(_, _, got)| !got.is_good).count();
    let (small, large) = (waits(SMALL, seen.own.0), waits(LARGE, seen.own.1));
    vec![
        ("reads", Some(seen.reads.len() as f64)),
        ("reads_failed", Some(failed as f64)),
        ("one_page_own_requests", Some(seen.own.0 as f64)),
        ("one_page_wait_p50", quantile(&small, 0.5)),
        ("one_page_wait_p99", quantile(&small, 0.99)),
        ("three_pages_own_requests", Some(seen.own.1 as f64)),
        ("three_pages_wait_p50", quantile(&large, 0.5)),
        ("three_pages_wait_p99", quantile(&large, 0.99)),
    ]
}

/// The nearest rank; none of nothing.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The pace before, the first second after, and who was answered meanwhile.
fn outage(stats: &Stats, seen: &Seen, changed: &[Duration]) -> Vec<(&'static str, Option<f64>)> {
    let [down, .., up] = *changed else {
        return Vec::new();
    };
    let second = Duration::from_secs(1);
    let before = down.saturating_sub(second * 2);
    let pace = stats.accepted_between(before, down) as f64 / (down - before).as_secs_f64();
    let answered = seen.reads.iter().filter(|(_, _, got)| got.is_good).count();
    let stale = seen.reads.iter().filter(|(_, _, got)| got.is_stale).count();
    vec![
        ("pace_before_per_s", Some(pace)),
        ("first_second_after", Some(stats.seen_between(up, up + second) as f64)),
        ("reads_meanwhile", Some(seen.reads.len() as f64)),
        ("reads_answered", Some(answered as f64)),
        ("reads_stale", Some(stale as f64)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_value_that_was_measured() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), Some(100.0));
        assert_eq!(quantile(&values, 0.99), Some(198.0));
        assert_eq!(quantile(&[7.0], 0.99), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
