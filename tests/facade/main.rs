//! The facade end to end: the true server over loopback, before the simulated Cloud. One file a subject.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/between.rs"]
mod between;
#[path = "../support/cloud.rs"]
mod cloud;
mod harness;
#[path = "../support/program.rs"]
mod program;
mod raw;
mod truth;
mod worlds;

mod bulk;
mod calls;

mod admin_listener;
mod answers;
mod auth;
mod bodies;
mod changes;
mod compatibility;
mod concurrency;
mod credentials;
mod dates;
mod errors;
mod faults;
mod groups;
mod hangup;
mod headers;
mod identity;
mod learned;
mod lists;
mod moving;
mod open_mode;
mod outcomes;
mod paging;
mod passthrough;
mod privacy;
mod random;
mod reload;
mod robustness;
mod shutdown;
mod sources;
mod urls;
