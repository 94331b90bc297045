//! Time zones: their rules from the IANA database, their names as Java prints them.
//!
//! Java 17 is followed everywhere but in five corners, each measured and left alone: the word `z` for Ireland before
//! November 1971 (Java calls that standard time summer time) and for Namibia outside 1994 to 2017 (`WAT` for what is
//! `CAT`), one hour of 1978 in Iran, and what Java extrapolates for Namibia and Palestine beyond 2036.
//! Rules that governments changed after that Java was released follow the newer database compiled in here.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};

use super::fields;

/// Java's display names, one line a set of four; its first lines say how it was made.
const NAMES: &str = include_str!("zone_names.txt");

/// A time zone and what Java calls it.
#[derive(Debug, Clone)]
pub struct Zone {
    rules: TimeZone,
    names: Option<Names>,
}

/// No zone has this id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownZone(String);

impl fmt::Display for UnknownZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no time zone is called {:?} (expected an id such as Europe/Warsaw, UTC or GMT+02:00)",
            self.0
        )
    }
}

impl std::error::Error for UnknownZone {}

/// The names of one zone. Those for summer differ from the others, or not, as Java has it.
#[derive(Debug, Clone, Copy)]
struct Names {
    standard_short: &'static str,
    daylight_short: &'static str,
    standard_long: &'static str,
    daylight_long: &'static str,
}

/// An instant as one zone calls it.
pub(super) struct Moment {
    pub(super) civil: DateTime,
    /// Seconds east of UTC.
    pub(super) offset_s: i32,
    /// Whether Java would say that daylight saving is on.
    daylight: bool,
}

impl Zone {
    /// The zone of an IANA id, in any case, or of Java's `GMT+2`, `GMT+02:00`, `GMT-0330`.
    ///
    /// The rules are the ones compiled in, not the machine's: two replicas must not write one date differently because
    /// their images differ, and a container often has none.
    ///
    /// # Errors
    /// [`UnknownZone`] for anything else.
    pub fn named(id: &str) -> Result<Self, UnknownZone> {
        if let Some(offset) = custom_offset(id) {
            return match offset.seconds() {
                0 => Self::named("GMT"),
                _ => Ok(Self {
                    rules: TimeZone::fixed(offset),
                    names: None,
                }),
            };
        }
        let rules = TimeZoneDatabase::bundled()
            .get(id)
            .map_err(|_| UnknownZone(id.to_owned()))?;
        let names = Names::of(rules.iana_name().unwrap_or(id));
        Ok(Self { rules, names })
    }

    /// Coordinated universal time.
    pub fn utc() -> Self {
        Self {
            rules: TimeZone::UTC,
            names: Names::of("UTC"),
        }
    }

    pub(super) fn moment(&self, epoch_ms: i64) -> Moment {
        let nearest = if epoch_ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
        let instant = Timestamp::from_millisecond(epoch_ms).unwrap_or(nearest);
        let info = self.rules.to_offset_info(instant);
        Moment {
            civil: info.offset().to_datetime(instant),
            offset_s: info.offset().seconds(),
            daylight: info.dst().is_dst(),
        }
    }

    /// Writes the zone's name: short for fewer than four letters, else long.
    pub(super) fn write_name(&self, out: &mut String, moment: &Moment, count: usize) {
        let Some(names) = self.names else {
            out.push_str("GMT");
            fields::offset(out, moment.offset_s / 60, ":");
            return;
        };
        out.push_str(match (moment.daylight, count >= 4) {
            (false, false) => names.standard_short,
            (true, false) => names.daylight_short,
            (false, true) => names.standard_long,
            (true, true) => names.daylight_long,
        });
    }
}

impl Names {
    /// Looks a zone up. The table is read line by line, once a zone: there is one zone a process, so an index of all of
    /// them would only cost the start.
    fn of(id: &str) -> Option<Self> {
        NAMES.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
            let mut columns = line.split('|');
            let names = Self {
                standard_short: columns.next()?,
                daylight_short: columns.next()?,
                standard_long: columns.next()?,
                daylight_long: columns.next()?,
            };
            columns.next()?.split(' ').any(|known| known == id).then_some(names)
        })
    }
}

/// Java's custom zone ids: `GMT`, a sign, one or two digits of hours, and perhaps two of minutes with or without a
/// colon. Java takes them in this case only.
fn custom_offset(id: &str) -> Option<Offset> {
    let rest = id.strip_prefix("GMT")?;
    let (sign, digits) = match rest.strip_prefix('+') {
        Some(digits) => (1, digits),
        None => (-1, rest.strip_prefix('-')?),
    };
    if !digits.bytes().all(|b| b.is_ascii_digit() || b == b':') {
        return None;
    }
    let (hours, minutes) = match digits.split_once(':') {
        Some((hours, minutes)) if minutes.len() == 2 => (hours, minutes),
        Some(_) => return None,
        None => digits
            .split_at_checked(digits.len().saturating_sub(2))
            .filter(|_| digits.len() > 2)
            .unwrap_or((digits, "00")),
    };
    if hours.is_empty() || hours.len() > 2 {
        return None;
    }
    let hours = hours.parse::<i32>().ok().filter(|hours| *hours < 24)?;
    let minutes = minutes.parse::<i32>().ok().filter(|minutes| *minutes < 60)?;
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
}
