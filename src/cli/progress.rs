//! How far something is, as a line on standard error, if somebody looks at it.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar over bytes.
pub fn bytes(total: u64) -> ProgressBar {
    drawn(total, "{msg:24!} [{bar:32}] {bytes}/{total_bytes} {eta}")
}

/// A bar over `what` is counted.
pub fn counter(total: u64, what: &'static str) -> ProgressBar {
    drawn(total, "{msg:24!} [{bar:32}] {pos}/{len} {eta}").with_message(what)
}

/// A bar over time, with a message.
pub fn clock(total: u64) -> ProgressBar {
    drawn(total, "[{bar:24}] {elapsed} {msg}")
}

fn drawn(total: u64, template: &str) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(4)
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template(template);
    ProgressBar::with_draw_target(Some(total), target)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
