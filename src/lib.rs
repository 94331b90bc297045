//! extender-facade: the REST API Extender's group calls, answered from Confluence Cloud.
#![warn(
    clippy::unwrap_used,
    clippy::panic,
    clippy::unreachable,
    clippy::indexing_slicing,
    clippy::string_slice
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]

pub mod admin;
pub mod audit;
pub mod browser;
pub mod cli;
pub mod cloud;
pub mod directory;
pub mod extender;
pub mod metrics;
pub mod model;
pub mod server;
pub mod settings;
