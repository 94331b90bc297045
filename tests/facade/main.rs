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

mod access;
mod admin_listener;
mod answers;
mod auth;
mod bodies;
mod books;
mod certificates;
mod changes;
mod compatibility;
mod compressed;
mod concurrency;
mod costs;
mod credentials;
mod crossing;
mod dates;
mod doors;
mod doubts;
mod errors;
mod every_name;
mod faults;
mod groups;
mod guards;
mod hangup;
mod headers;
mod heartbeat;
mod identity;
mod learned;
mod lists;
mod moving;
mod open_mode;
mod operations;
mod outcomes;
mod pace;
mod paging;
mod passthrough;
mod patience;
mod privacy;
mod random;
mod refusals;
mod reload;
mod repeats;
mod reports;
mod robustness;
mod scopes;
mod seats;
mod shutdown;
mod sources;
mod stale;
mod undo;
mod urls;
mod webpage;
