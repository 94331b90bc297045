//! Several kept connections that ask at once, each for the next answer when it has the last one.
#![allow(dead_code, reason = "every bench uses another part")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::line::Line;

pub struct Lines(Vec<Line>);

impl Lines {
    pub fn to(address: SocketAddr, connections: usize) -> Self {
        Self((0..connections).map(|_| Line::to(address)).collect())
    }

    /// Asks the same so many times in all. Returns the time until the last answer was there; each answer's own goes to `laps`.
    pub fn ask(&mut self, request: &[u8], times: u64, laps: &mut Vec<u64>) -> Duration {
        self.ask_all(times as usize, |_| request, laps)
    }

    /// Asks these one after another, each connection the next that nobody has asked yet.
    pub fn ask_all<R: AsRef<[u8]>>(
        &mut self,
        count: usize,
        request: impl Fn(usize) -> R + Sync,
        laps: &mut Vec<u64>,
    ) -> Duration {
        let next = AtomicUsize::new(0);
        let work = |line: &mut Line| {
            let mut laps = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return laps;
                }
                let begun = Instant::now();
                let (status, body) = line.ask(request(number).as_ref());
                let text = || String::from_utf8_lossy(body).into_owned();
                assert!((200..300).contains(&status), "{status}: {}", text());
                laps.push(begun.elapsed().as_nanos() as u64);
            }
        };
        let begun = Instant::now();
        if let [line] = self.0.as_mut_slice() {
            // No thread's start is part of one question.
            laps.append(&mut work(line));
        } else {
            std::thread::scope(|scope| {
                let all: Vec<_> = self.0.iter_mut().map(|line| scope.spawn(|| work(line))).collect();
                for one in all {
                    laps.append(&mut one.join().expect("an answer"));
                }
            });
        }
        begun.elapsed()
    }
}
