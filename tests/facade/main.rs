//! The facade end to end: the true server over loopback, before the simulated Cloud. One file a subject.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/cloud.rs"]
mod cloud;
mod harness;
mod raw;
mod worlds;

mod calls;

mod admin_listener;
mod answers;
mod auth;
mod bodies;
mod changes;
mod compatibility;
mod dates;
mod errors;
mod headers;
mod open_mode;
mod paging;
mod passthrough;
mod privacy;
mod random;
mod robustness;
mod urls;
