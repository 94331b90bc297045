//! Signs of life during a long call: the head of a success, and blanks before the JSON, for whoever takes silence for
//! an end. What turns out to be no success afterwards must not look like one: the connection is cut.

use std::fmt;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use parking_lot::Mutex;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use warp::reply::Reply as _;

use super::Error;
use super::calls::Success;
use super::delivery::Delivery;
use super::reply::Record;

/// A call that is being answered.
pub(super) type Work = Pin<Box<dyn Future<Output = Result<Success, Error>> + Send>>;

/// The connection ends without the end of its answer.
#[derive(Debug)]
struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the call failed after its head was sent")
    }
}

impl std::error::Error for Cut {}

/// An answer whose body goes on until `work` ends, with a blank every `period`.
pub(super) fn answer(work: Work, period: Duration, record: Record) -> warp::reply::Response {
    let mut beats = interval_at(Instant::now() + period, period);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let delivery = Delivery::default();
    let state = State {
        // Whoever holds the body may share it, and a call cannot be shared; nobody ever waits for this lock.
        running: Mutex::new(Some((work, beats))),
        delivery: delivery.clone(),
        record: record.clone(),
    };
    record.head(warp::reply::stream(chunks(state)).into_response(), delivery)
}

struct State {
    running: Mutex<Option<(Work, Interval)>>,
    delivery: Delivery,
    record: Record,
}

fn chunks(mut state: State) -> impl Stream<Item = Result<Bytes, Cut>> + Send + Sync {
    stream::poll_fn(move |context| {
        let Some((work, beats)) = state.running.get_mut() else {
            return Poll::Ready(None);
        };
        let Poll::Ready(result) = work.as_mut().poll(context) else {
            return beats.poll_tick(context).map(|_| Some(Ok(Bytes::from_static(b" "))));
        };
        *state.running.get_mut() = None;
        state.record.ended(result.as_ref().err());
        Poll::Ready(Some(match result {
            Ok(success) => {
                if let Some(delivered) = success.delivered {
                    state.delivery.put(delivered);
                }
                if let Some(turn) = state.record.take_turn() {
                    state.delivery.keep(turn);
                }
                Ok(success.body)
            }
            Err(_) => Err(Cut),
        }))
    })
}
