//! The simulator from outside, over a loopback port: what it answers, how it misbehaves, and what it tells behind the scenes.
#[path = "../support/cloud.rs"]
mod cloud;

mod admin;
mod command;
mod control;
mod credentials;
mod everywhere;
mod gateway;
mod jira;
mod limits;
mod outages;
mod pages;
mod reads;
mod registry;
mod robustness;
mod scim;
mod tokens;
mod told;
mod writes;
