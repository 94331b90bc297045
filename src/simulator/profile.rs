//! What is known of a user besides names and ids: told by a data file, or drawn whenever it is asked for.
use std::borrow::Cow;

use super::chance::{Kind, Sequence};

/// What a data file may say of a user besides names and ids.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) job_title: Option<Box<str>>,
    pub(super) department: Option<Box<str>>,
    pub(super) location: Option<Box<str>>,
    pub(super) added_to_org: Option<Box<str>>,
    pub(super) last_active: Option<Box<str>>,
    pub(super) scim: Provisioning,
}

/// Whether an identity provider made the user, and under which names.
#[derive(Debug, Default)]
pub(super) enum Provisioning {
    /// By the Data Center username and the user key, if there are any.
    #[default]
    Usual,
    Not,
    Under {
        user_name: Option<Box<str>>,
        external_id: Option<Box<str>>,
        active: Option<bool>,
    },
}

/// What the organisation knows of a user besides names and ids.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Profile<'a> {
    pub(super) job_title: Option<&'a str>,
    pub(super) department: Option<&'a str>,
    pub(super) location: Option<&'a str>,
    pub(super) added_to_org: Option<Cow<'a, str>>,
    pub(super) last_active: Option<Cow<'a, str>>,
}

impl Told {
    pub(super) fn profile(&self) -> Profile<'_> {
        Profile {
            job_title: self.job_title.as_deref(),
            department: self.department.as_deref(),
            location: self.location.as_deref(),
            added_to_org: self.added_to_org.as_deref().map(Cow::Borrowed),
            last_active: self.last_active.as_deref().map(Cow::Borrowed),
        }
    }
}

const JOB_TITLES: &[&str] = &["Accountant", "Architect", "Developer", "Editor", "Librarian", "Tester"];
const DEPARTMENTS: &[&str] = &["Finance", "Operations", "Research & Development", "Sales", "Support"];
const LOCATIONS: &[&str] = &["Amsterdam", "Austin", "Gdańsk", "Sydney", "Zürich"];

/// 2019-01-01 and 2026-01-01, in seconds since 1970.
const ADDED_FROM: u64 = 1_546_300_800;
const ACTIVE_FROM: u64 = 1_767_225_600;
/// About seven years, and about ten months.
const ADDED_WITHIN: u64 = 220_000_000;
const ACTIVE_WITHIN: u64 = 26_000_000;

/// What is said of a generated user. Every eighth was never active.
pub(super) fn drawn(seed: u64, number: u32) -> Profile<'static> {
    let mut sequence = Sequence::new(seed, Kind::Profile, u64::from(number));
    let mut one_of = |all: &[&'static str]| all.get(sequence.below(all.len() as u64) as usize).copied();
    let (job_title, department, location) = (one_of(JOB_TITLES), one_of(DEPARTMENTS), one_of(LOCATIONS));
    let added = instant(ADDED_FROM + sequence.below(ADDED_WITHIN));
    let active = instant(ACTIVE_FROM + sequence.below(ACTIVE_WITHIN));
    Profile {
        job_title,
        department,
        location,
        added_to_org: added.map(Cow::Owned),
        last_active: active.filter(|_| number % 8 != 7).map(Cow::Owned),
    }
}

/// Seconds since 1970 as the Admin API writes an instant.
fn instant(seconds: u64) -> Option<String> {
    let instant = jiff::Timestamp::from_second(i64::try_from(seconds).ok()?).ok()?;
    Some(instant.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_depends_on_the_seed_and_the_number_alone() {
        assert_eq!(drawn(1, 5), drawn(1, 5));
        assert_ne!(drawn(1, 5), drawn(2, 5));
        assert_eq!(drawn(1, 7).last_active, None);
        let added = drawn(1, 0).added_to_org.unwrap().into_owned();
        assert!(added.starts_with("20") && added.ends_with(".000Z"), "{added}");
    }
}
