//! What a fault's value may be, and how it is read.
use std::time::Duration;

/// Longest delay that may be asked for: an hour, beyond which a typing mistake is likelier than a wish.
const LONGEST_MS: u64 = 3_600_000;

/// Whether suspended users are left out, and whether the total still has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Suspended {
    #[default]
    Nobody,
    Uncounted,
    Counted,
}

/// The shape in which every credential is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Json,
    Forbidden,
    Html,
    Xml,
    Scope,
}

/// The form of `accountId` that `user/bulk` understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Bulk {
    Comma,
    Repeated,
    #[default]
    Both,
}

pub(super) fn flag(value: &str) -> Result<bool, String> {
    one_of(value, &[("", true), ("true", true), ("false", false)])
}

pub(super) fn one_of<T: Copy>(value: &str, known: &[(&str, T)]) -> Result<T, String> {
    known
        .iter()
        .find(|(name, _)| *name == value)
        .map(|(_, meaning)| *meaning)
        .ok_or_else(|| {
            let names: Vec<_> = known
                .iter()
                .map(|(name, _)| *name)
                .filter(|name| !name.is_empty())
                .collect();
            format!("expected {}, not {value:?}", names.join(", "))
        })
}

pub(super) fn probability(value: &str) -> Result<f64, String> {
    let parsed = value.parse().ok().filter(|chance| (0.0..=1.0).contains(chance));
    parsed.ok_or_else(|| format!("expected a probability from 0 to 1, not {value:?}"))
}

pub(super) fn whole(value: &str, most: u64) -> Result<u64, String> {
    let parsed = value.parse().ok().filter(|number| *number <= most);
    parsed.ok_or_else(|| format!("expected a whole number up to {most}, not {value:?}"))
}

pub(super) fn milliseconds(value: &str) -> Result<Duration, String> {
    whole(value, LONGEST_MS).map(Duration::from_millis)
}
