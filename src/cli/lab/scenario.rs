//! What is tried: every scenario as a value, at full size or small enough for a test.

use std::time::Duration;

use serde_json::{Value, json};

/// Who adds the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// The whole facade, asked once.
    Facade,
    /// 64 workers, each with so many retries.
    Naive,
    /// A request every 20 ms, eight in flight.
    Fixed,
    /// One request at a time.
    Serial,
}

impl Client {
    pub(super) const ALL: [Self; 4] = [Self::Facade, Self::Naive, Self::Fixed, Self::Serial];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Facade => "facade",
            Self::Naive => "naive",
            Self::Fixed => "fixed",
            Self::Serial => "serial",
        }
    }
}

/// A bucket: requests a second, and how many may come at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) rate: f64,
    pub(super) burst: u32,
}

/// What happens besides the adding, and what is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Story {
    /// Nothing.
    Plain,
    /// The limit changes at each of the changes; how soon is the new one used?
    Changes,
    /// Somebody else takes from the bucket between the two changes; what is our share of the rest?
    Shared,
    /// So many accounts ask at once, each for a group of its own.
    Callers(usize),
    /// Other groups are read meanwhile, one every so often.
    Reads(Duration),
    /// Cloud fails from the first change to the last; a group is read meanwhile.
    Outage,
}

/// A switch of the simulator, turned in mid-run.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// Since the start of the run.
    pub(super) at: Duration,
    pub(super) switches: Value,
    /// Requests a second that are there for us from then on.
    pub(super) rate: f64,
}

/// One line of the list.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) names: usize,
    pub(super) latency: Duration,
    pub(super) spread: f64,
    pub(super) limit: Option<Limit>,
    /// The simulator's `limit_headers`.
    pub(super) dialect: &'static str,
    /// The facade's `cloud.max_in_flight`.
    pub(super) in_flight: usize,
    pub(super) story: Story,
    pub(super) changes: Vec<Change>,
    pub(super) clients: &'static [Client],
    /// By how much the timeouts of production are divided, where an outage is.
    pub(super) scale: f64,
}

/// How large the scenarios are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// Small enough for a test.
    pub(super) is_quick: bool,
    /// How long all of an outage lasts.
    pub(super) outage: Duration,
}

/// An outage as it would be in production.
const TRUE_OUTAGE: Duration = Duration::from_secs(600);
const DIALECTS: [&str; 3] = ["full", "retry_after", "bare"];
/// Facade alone: what the simpler clients make of it is seen elsewhere, or would be another scenario.
const FACADE: &[Client] = &[Client::Facade];

impl Size {
    fn pick<T>(self, full: T, quick: T) -> T {
        if self.is_quick { quick } else { full }
    }

    fn seconds(self, full: f64, quick: f64) -> Duration {
        Duration::from_secs_f64(self.pick(full, quick))
    }

    /// Adds without a limit.
    fn plain(self, name: String, names: usize) -> Scenario {
        Scenario {
            name,
            names,
            latency: self.seconds(0.05, 0.01),
            spread: 0.0,
            limit: None,
            dialect: "full",
            in_flight: 8,
            story: Story::Plain,
            changes: Vec::new(),
            clients: &Client::ALL,
            scale: 1.0,
        }
    }

    /// The usual limit of the stories.
    fn limited(self, name: &str, names: usize) -> Scenario {
        Scenario {
            limit: Some(Limit {
                rate: 100.0,
                burst: self.pick(100, 20),
            }),
            ..self.plain(name.to_owned(), names)
        }
    }
}

/// Every scenario, in the order in which they are run.
pub(super) fn all(size: Size) -> Vec<Scenario> {
    let mut all = learning(size);
    all.extend(halving(size));
    all.push(sharing(size));
    all.push(callers(size));
    all.extend(reading(size));
    all.push(outage(size));
    all.push(Scenario {
        latency: size.seconds(0.1, 0.02),
        spread: 0.8,
        ..size.plain("tail".to_owned(), size.pick(1_000, 80))
    });
    all
}

/// A limit that nobody told.
fn learning(size: Size) -> Vec<Scenario> {
    let names = size.pick(1_000, 60);
    let mut all = Vec::new();
    for (rate, burst, in_flight) in [(10, 20, 8), (25, 50, 8), (100, 100, 8), (500, 500, 32)] {
        for dialect in DIALECTS {
            all.push(Scenario {
                limit: Some(Limit {
                    rate: f64::from(size.pick(rate, rate * 4)),
                    burst: size.pick(burst, burst / 4),
                }),
                dialect,
                in_flight,
                ..size.plain(format!("learn/{rate}-{burst}/{dialect}"), names)
            });
        }
    }
    all.push(size.plain("learn/none".to_owned(), names));
    all
}

/// The limit halves and returns.
fn halving(size: Size) -> Vec<Scenario> {
    let third = size.seconds(10.0, 1.5);
    let scenario = |dialect: &'static str| {
        let mut scenario = size.limited(&format!("halves/{dialect}"), size.pick(2_600, 395));
        scenario.dialect = dialect;
        scenario.story = Story::Changes;
        let Some(limit) = scenario.limit else {
            return scenario;
        };
        let change = |at, rate: f64, burst: u32| Change {
            at,
            switches: json!({"rate": rate, "burst": burst}),
            rate,
        };
        scenario.changes = vec![
            change(third, limit.rate / 2.0, limit.burst / 2),
            change(third * 2, limit.rate, limit.burst),
        ];
        if dialect != "full" {
            scenario.clients = FACADE;
        }
        scenario
    };
    DIALECTS.map(scenario).into()
}

/// Somebody else takes half of the limit for a while.
fn sharing(size: Size) -> Scenario {
    let (from, to) = (size.seconds(5.0, 1.0), size.seconds(15.0, 2.5));
    let change = |at, others: Value, rate| Change {
        at,
        switches: json!({ "others": others }),
        rate,
    };
    Scenario {
        story: Story::Shared,
        changes: vec![change(from, json!(50), 50.0), change(to, Value::Null, 100.0)],
        ..size.limited("shared", size.pick(1_600, 295))
    }
}

fn callers(size: Size) -> Scenario {
    Scenario {
        story: Story::Callers(4),
        clients: FACADE,
        ..size.limited("callers", size.pick(1_000, 120))
    }
}

/// Small reads beside a large job, where its requests wait for each other, and where they wait for a limit.
fn reading(size: Size) -> Vec<Scenario> {
    let names = size.pick(10_000, 300);
    let story = Story::Reads(size.seconds(0.2, 0.02));
    [
        size.plain("reads/none".to_owned(), names),
        size.limited("reads/100-100", names),
    ]
    .map(|scenario| Scenario {
        story,
        clients: FACADE,
        ..scenario
    })
    .into()
}

/// Cloud says that it is down, then hangs up, then says nothing.
fn outage(size: Size) -> Scenario {
    let from = size.seconds(3.0, 0.8);
    let part = size.outage / 3;
    let change = |at, switches| Change {
        at,
        switches,
        rate: 0.0,
    };
    Scenario {
        story: Story::Outage,
        changes: vec![
            change(from, json!({ "down": true })),
            change(from + part, json!({"down": null, "reset": true})),
            change(from + part * 2, json!({"reset": null, "silent": true})),
            Change {
                at: from + size.outage,
                switches: json!({ "silent": null }),
                rate: 100.0,
            },
        ],
        scale: (TRUE_OUTAGE.as_secs_f64() / size.outage.as_secs_f64()).max(1.0),
        ..size.limited("outage", size.pick(1_000, 200))
    }
}

impl Scenario {
    /// Whether `--only` means this one: its name, or a beginning of it up to a slash.
    pub(super) fn is_meant_by(&self, only: &str) -> bool {
        let rest = self.name.strip_prefix(only.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The shortest time in which it can be done: every request has its turn and its token, none is sent in vain.
    /// `reads` come before the first change, each `service` long.
    pub(super) fn theory(&self, reads: f64, service: f64) -> f64 {
        let rounds = self.names.div_ceil(self.in_flight.max(1)) as f64 * service;
        let outage = match (self.story, self.changes.first(), self.changes.last()) {
            (Story::Outage, Some(first), Some(last)) => (last.at - first.at).as_secs_f64(),
            _ => 0.0,
        };
        let tokens = self.limit.map_or(0.0, |limit| self.until_tokens(limit) + service);
        reads * service + rounds.max(tokens) + outage
    }

    /// When the bucket has given a token for every name.
    fn until_tokens(&self, limit: Limit) -> f64 {
        let mut wanted = self.names as f64 - f64::from(limit.burst);
        if wanted <= 0.0 {
            return 0.0;
        }
        let (mut from, mut rate) = (0.0, limit.rate);
        // What the bucket fills with during an outage is left out: the outage is added as a whole.
        let changes = self.changes.iter().filter(|_| self.story != Story::Outage);
        for change in changes {
            let at = change.at.as_secs_f64();
            let given = (at - from) * rate;
            if given >= wanted {
                break;
            }
            wanted -= given;
            (from, rate) = (at, change.rate);
        }
        from + wanted / rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Vec<Scenario> {
        all(Size {
            is_quick: false,
            outage: Duration::from_secs(30),
        })
    }

    fn named(name: &str) -> Scenario {
        full().into_iter().find(|scenario| scenario.name == name).unwrap()
    }

    #[test]
    fn every_scenario_has_a_name_of_its_own_and_is_meant_by_its_beginnings() {
        let names: std::collections::BTreeSet<String> = full().into_iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), full().len());
        let one = named("learn/25-50/bare");
        for (only, is_meant) in [
            ("learn", true),
            ("learn/25-50", true),
            ("learn/25-50/bare", true),
            ("learn/25", false),
            ("bare", false),
        ] {
            assert_eq!(one.is_meant_by(only), is_meant, "{only}");
        }
    }

    #[test]
    fn the_theory_is_that_of_the_formula() {
        let near = |scenario: &str, reads, service, expected: f64| {
            let theory = named(scenario).theory(reads, service);
            assert!((theory - expected).abs() < 1e-6, "{scenario}: {theory}");
        };
        near("learn/10-20/full", 2.0, 0.05, 0.1 + 98.0 + 0.05);
        near("learn/none", 2.0, 0.05, 0.1 + 125.0 * 0.05);
        near("learn/500-500/full", 0.0, 0.05, 32.0 * 0.05);
        // 100 at once, 1,000 in the first ten seconds, 500 in the next, 1,000 in the last.
        near("halves/full", 0.0, 0.05, 30.05);
        near("shared", 0.0, 0.05, 20.05);
        near("outage", 0.0, 0.05, 9.05 + 30.0);
    }
}
