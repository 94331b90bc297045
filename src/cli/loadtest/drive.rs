//! The load itself. A thread of its own sends requests on their way by the schedule, whatever became of those before them; each is
//! a task. What cannot be begun because too many are under way is counted, and never sent later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use indicatif::ProgressBar;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::changes::{Ended, Ledger};
use super::orders::Orders;
use super::record::{Outcome, Record, Sample};
use super::schedule::Plan;
use super::send::{Order, Target};
use crate::cli::progress;
use crate::server::Stop;

/// A stop is noticed so soon, however long nothing arrives.
const NOTICED: Duration = Duration::from_millis(50);
const DRAWN: Duration = Duration::from_millis(500);

/// What is to be done.
pub(super) struct Load {
    pub(super) plan: Plan,
    pub(super) seed: u64,
    pub(super) most: usize,
    pub(super) target: Target,
    pub(super) orders: Orders,
    pub(super) ledger: Arc<Mutex<Ledger>>,
}

/// What the thread and its tasks share.
struct Running {
    start: Instant,
    target: Target,
    ledger: Arc<Mutex<Ledger>>,
    record: Mutex<Record>,
    under_way: AtomicUsize,
    stopped: AtomicBool,
    tasks: TaskTracker,
}

/// Runs the whole load, or until `stop`; returns when the last request has ended, and how long requests were sent.
///
/// # Errors
/// The machine gives no thread.
pub(super) async fn run(load: Load, start: Instant, stop: &Stop) -> anyhow::Result<(Record, Duration)> {
    let plan = load.plan;
    let running = Arc::new(Running {
        start,
        target: load.target,
        ledger: load.ledger,
        record: Mutex::new(Record::new(plan)),
        under_way: AtomicUsize::new(0),
        stopped: AtomicBool::new(false),
        tasks: TaskTracker::new(),
    });
    let (all_sent, mut sent) = oneshot::channel();
    let schedule = plan.schedule(load.seed);
    let (mut orders, most) = (load.orders, load.most);
    let (shared, handle) = (Arc::clone(&running), Handle::current());
    thread::Builder::new()
        .name("arrivals".to_owned())
        .spawn(move || {
            for meant in schedule {
                if !shared.wait_until(meant) {
                    break;
                }
                shared.send(meant, &mut orders, most, &handle);
            }
            let _ = all_sent.send(());
        })
        .context("no thread for the arrivals")?;
    let bar = progress::clock(u64::try_from(plan.whole().as_millis()).unwrap_or(u64::MAX));
    let mut ticks = tokio::time::interval(DRAWN);
    let mut ran = plan.whole();
    loop {
        tokio::select! {
            _ = &mut sent => break,
            () = stop.said() => {
                ran = start.elapsed().min(ran);
                running.stopped.store(true, Ordering::Relaxed);
                // The thread ends by itself within a moment.
                let _ = (&mut sent).await;
                break;
            }
            _ = ticks.tick() => running.draw(&bar, plan),
        }
    }
    running.tasks.close();
    // Each has a timeout of its own.
    running.tasks.wait().await;
    bar.finish_and_clear();
    let record = running.record.lock().clone();
    Ok((record, ran))
}

impl Running {
    /// False if it was stopped before. This thread sleeps as the system does, not as the runtime's timer of a millisecond.
    fn wait_until(&self, meant: Duration) -> bool {
        let due = self.start + meant;
        loop {
            if self.stopped.load(Ordering::Relaxed) {
                return false;
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(NOTICED));
        }
    }

    fn send(self: &Arc<Self>, meant: Duration, orders: &mut Orders, most: usize, handle: &Handle) {
        let call = orders.draw_call();
        if self.under_way.load(Ordering::Acquire) >= most {
            self.record.lock().add(&Sample {
                call,
                meant,
                sent: None,
                outcome: Outcome::NotBegun,
            });
            return;
        }
        self.under_way.fetch_add(1, Ordering::AcqRel);
        let order = orders.order(call);
        let running = Arc::clone(self);
        self.tasks.spawn_on(
            async move {
                let begun = running.start.elapsed();
                let (outcome, ended) = running.target.send(&order).await;
                let sample = Sample {
                    call,
                    meant,
                    sent: Some((begun, running.start.elapsed())),
                    outcome,
                };
                running.under_way.fetch_sub(1, Ordering::AcqRel);
                running.record.lock().add(&sample);
                if let Order::Change(change) = order {
                    running.ledger.lock().settle(change, ended.unwrap_or(Ended::Unknown));
                }
            },
            handle,
        );
    }

    fn draw(&self, bar: &ProgressBar, plan: Plan) {
        if bar.is_hidden() {
            return;
        }
        let passed = self.start.elapsed().min(plan.whole());
        bar.set_position(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX));
        let record = self.record.lock();
        let is_ramp = passed < plan.ramp;
        let phase = if is_ramp { &record.ramp } else { &record.steady };
        let all = phase.all();
        // The last step is still being filled.
        let rate = record
            .steps
            .iter()
            .rev()
            .nth(1)
            .map_or(0.0, |step| step.answered as f64 / record.step.as_secs_f64());
        drop(record);
        let ms = |share| all.latency.value_at_quantile(share) as f64 / 1_000.0;
        bar.set_message(format!(
            "{} {rate:.0}/s, p50 {:.1} ms, p99 {:.1} ms, errors {}, under way {}",
            if is_ramp { "ramp" } else { "steady" },
            ms(0.5),
            ms(0.99),
            all.asked - all.good,
            self.under_way.load(Ordering::Relaxed)
        ));
    }
}
