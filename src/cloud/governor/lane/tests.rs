//! Lanes before a Cloud of a few lines, in virtual time.

use super::*;

/// Cloud: a bucket for a kind of request, that may change, and drains for others too.
struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    filled: f64,
}

impl Bucket {
    fn is_taken(&mut self, now: f64) -> bool {
        self.tokens = (self.tokens + (now - self.filled) * self.rate).min(self.burst);
        self.filled = now;
        let is_taken = self.tokens >= 1.0;
        if is_taken {
            self.tokens -= 1.0;
        }
        is_taken
    }
}

/// How long a refusal is on its way: what leaves meanwhile may be refused too.
const REFUSAL: f64 = 0.001;

#[derive(Default, Debug)]
struct Run {
    seconds: f64,
    first: usize,
    later: usize,
    accepted: Vec<f64>,
    refused: Vec<f64>,
}

impl Run {
    fn between(&self, from: f64, to: f64) -> f64 {
        let within = self.accepted.iter().filter(|at| (from..to).contains(*at));
        to_f64(within.count()) / (to - from)
    }
}

/// So many requests as fast as the lane lets them, each taking `latency`; `rates` are Cloud's from each second on.
fn run(requests: usize, rates: &[(f64, f64)], burst: f64, width: usize, latency: f64, asked: Option<u64>) -> Run {
    let start = Instant::now();
    let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
    let bounds = Bounds {
        width,
        most: None,
        start: None,
    };
    let mut lane = Lane::new(bounds, start);
    let mut bucket = Bucket {
        rate: rates[0].1,
        burst,
        tokens: burst,
        filled: 0.0,
    };
    let (mut now, mut todo, mut run) = (0.0_f64, requests, Run::default());
    let mut under_way: Vec<(f64, Slip, bool)> = Vec::new();
    let mut reopened = None;
    while todo > 0 || !under_way.is_empty() {
        under_way.sort_by(|one, other| one.0.total_cmp(&other.0));
        let opens = if todo > 0 {
            lane.opens(at(now))
        } else {
            Opens::WithAnEnd
        };
        let next_end = under_way.first().map_or(f64::INFINITY, |(end, _, _)| *end);
        match opens {
            Opens::Now => {
                bucket.rate = rates.iter().rev().find(|(from, _)| *from <= now).unwrap().1;
                let slip = lane.take(at(now));
                todo -= 1;
                if bucket.is_taken(now) {
                    run.accepted.push(now);
                    under_way.push((now + latency, slip, true));
                } else {
                    under_way.push((now + REFUSAL, slip, false));
                }
            }
            Opens::At(then) if (then - start).as_secs_f64() < next_end => {
                now = (then - start).as_secs_f64() + 0.000_01;
            }
            _ => {
                let (end, slip, is_accepted) = under_way.remove(0);
                now = now.max(end);
                if is_accepted {
                    lane.accepted(slip, at(now), false);
                } else {
                    lane.too_fast(slip, at(now), asked.map(Duration::from_secs));
                    todo += 1;
                    run.refused.push(now);
                    if reopened.is_none_or(|reopened| now < reopened) {
                        run.first += 1;
                        reopened = reopened.or_else(|| Some(now + lane.shut_for(at(now)).unwrap().as_secs_f64()));
                    } else {
                        run.later += 1;
                    }
                }
                lane.ended(slip);
            }
        }
    }
    run.seconds = now;
    run
}

fn least(requests: f64, rate: f64, burst: f64, width: f64, latency: f64) -> f64 {
    ((requests / width).ceil() * latency).max((requests - burst) / rate + latency)
}

#[test]
fn an_unknown_limit_is_used_whole_for_few_refusals() {
    for asked in [None, Some(1)] {
        for (rate, burst, width) in [
            (10.0, 20.0, 8),
            (25.0, 50.0, 8),
            (100.0, 100.0, 8),
            (500.0, 500.0, 32),
            (1e9, 1e9, 8),
        ] {
            let run = run(1000, &[(0.0, rate)], burst, width, 0.05, asked);
            let least = least(1000.0, rate, burst, to_f64(width), 0.05);
            let share = run.seconds / least;
            eprintln!("{rate} {burst}: {share:.3} of {least:.1}, {} {}", run.first, run.later);
            assert!(share <= 1.10, "{rate} {burst} {asked:?}: {share}");
            assert!(
                run.first <= width && run.later <= 5,
                "{rate} {burst} {asked:?}: {:?}",
                run.refused
            );
        }
    }
}

#[test]
fn a_bucket_that_holds_less_than_a_second_brings_is_used_in_part_and_with_care() {
    for (asked, most) in [(None, 1.4), (Some(1), 1.8)] {
        let run = run(1000, &[(0.0, 50.0)], 20.0, 8, 0.05, asked);
        let share = run.seconds / least(1000.0, 50.0, 20.0, 8.0, 0.05);
        assert!(share <= most && run.later <= 12, "{share} {:?}", run.refused);
    }
}

#[test]
fn a_limit_that_halves_and_returns_is_found_within_ten_seconds() {
    for (rate, shift) in [
        (100.0, 0.0),
        (100.0, 0.7),
        (100.0, 1.9),
        (100.0, 3.1),
        (60.0, 0.0),
        (200.0, 1.0),
    ] {
        let (fall, back) = (20.0 + shift, 45.0 + 2.0 * shift);
        let rates = [(0.0, rate), (fall, rate / 2.0), (back, rate)];
        let run = run((rate * 60.0) as usize, &rates, rate, 32, 0.05, None);
        let low = run.between(fall + 10.0, back) / (rate / 2.0);
        let high = run.between(back + 10.0, back + 18.0) / rate;
        let refused = run
            .refused
            .iter()
            .filter(|at| (fall..fall + 10.0).contains(*at))
            .count();
        let again = run
            .refused
            .iter()
            .filter(|at| (back..back + 10.0).contains(*at))
            .count();
        eprintln!("{rate} {shift}: {low:.2} {high:.2} {refused} {again}; {}", run.later);
        assert!(low >= 0.9 && high >= 0.9, "{low} {high}");
        assert!(refused + again <= 18, "{refused} {again}");
    }
}
