//! The facade end to end: the true server over loopback, before the simulated Cloud. One file a subject.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/between.rs"]
mod between;
#[path = "../support/cloud.rs"]
mod cloud;
mod harness;
mod truth;

mod bulk;
mod calls;
mod concurrency;
mod credentials;
mod faults;
mod groups;
mod hangup;
mod identity;
mod lists;
mod shutdown;
