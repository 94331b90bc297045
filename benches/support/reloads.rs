//! Has the facade in this process read its identity map anew, and knows when it has: by the line that it logs.
#![allow(dead_code, reason = "every bench uses another part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Who logs a reload, and nothing else that happens here.
const TARGET: &str = "extender_facade::server::map";
/// What takes longer has failed.
const LONGEST: Duration = Duration::from_secs(120);

/// How many reloads are done.
#[derive(Clone, Default)]
pub struct Reloads(Arc<AtomicU64>);

impl Reloads {
    /// To be called once, before there is a facade.
    pub fn watch() -> Self {
        let reloads = Self::default();
        tracing::subscriber::set_global_default(reloads.clone()).expect("nobody else listens");
        reloads
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// One after another, until what is returned is dropped; there is none under way then.
    pub fn over_and_over(&self) -> OverAndOver {
        let stop = Arc::new(AtomicBool::new(false));
        let (all, stopped) = (self.clone(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                all.once();
            }
        });
        OverAndOver {
            all: self.clone(),
            before: self.count(),
            stop,
            thread: Some(thread),
        }
    }

    fn once(&self) {
        let (before, begun) = (self.count(), Instant::now());
        ask();
        while self.count() == before {
            assert!(begun.elapsed() < LONGEST, "the map was not read anew");
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Reloads that go on.
pub struct OverAndOver {
    all: Reloads,
    before: u64,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl OverAndOver {
    /// How many are done since it began.
    pub fn done(&self) -> u64 {
        self.all.count() - self.before
    }
}

impl Drop for OverAndOver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(unix)]
fn ask() {
    let myself = rustix::process::getpid();
    rustix::process::kill_process(myself, rustix::process::Signal::HUP).expect("a signal to oneself");
}

#[cfg(not(unix))]
fn ask() {
    panic!("there is no SIGHUP here");
}

impl Subscriber for Reloads {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET && *metadata.level() == tracing::Level::INFO
    }

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
