//! Attacks on the inbound listener, and a legitimate caller who is served meanwhile. One file a kind of attack.
//!
//! Each test says what holds, and prints how much longer the legitimate caller waited, as a ratio of medians of one run
//! (`cargo test --test attacks -- --nocapture`). Nothing is asserted of absolute times. `FACADE_LONG=1`: 10,000 connections.
//!
//! A true ratio needs `--release`: unoptimised, what reads every byte of a head costs many times as much, and attacker, facade and
//! caller share the cores. Optimised each attack made it 0.7 to 2.1 times as long, on two cores that compilers used meanwhile.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/cloud.rs"]
mod cloud;
#[path = "../facade/harness.rs"]
mod harness;
mod legitimate;
#[path = "../facade/raw.rs"]
mod raw;
#[path = "../facade/worlds.rs"]
mod worlds;

mod bodies;
mod credentials;
mod guessing;
mod heads;
mod paths;
mod slow;
mod smuggling;
mod timing;
