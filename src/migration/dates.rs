//! Dates as exports write them. The one that could be read two ways (01/02/2024) is not read at all.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// Patterns of days and of moments, without zone: taken as UTC.
const MOMENTS: [&str; 5] = [
    "%d %b %Y %H:%M",
    "%b %d, %Y %H:%M",
    "%Y%m%d%H%M%S.0Z",
    "%Y%m%d%H%M%SZ",
    "%Y-%m-%d %H:%M",
];
const DAYS: [&str; 6] = ["%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d.%m.%Y", "%Y/%m/%d"];

/// The instant that `text` names; nothing for words such as `Never accessed`, and for what is no clear date.
pub fn instant(text: &str) -> Option<Timestamp> {
    if text.len() > 64 || !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(instant);
    }
    if text.len() >= 12 && text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() <= 13 {
        return Timestamp::from_millisecond(text.parse().ok()?).ok();
    }
    let moment = text
        .parse::<DateTime>()
        .ok()
        .or_else(|| {
            MOMENTS
                .iter()
                .find_map(|pattern| DateTime::strptime(pattern, text).ok())
        })
        .or_else(|| {
            let day = DAYS.iter().find_map(|pattern| Date::strptime(pattern, text).ok())?;
            Some(day.to_datetime(jiff::civil::Time::midnight()))
        })?;
    Some(moment.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// The instant as the identity map writes it, in UTC.
pub fn written(instant: Timestamp) -> String {
    instant
        .to_zoned(TimeZone::UTC)
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dates_of_exports_are_understood_and_no_other() {
        for (text, expected) in [
            ("3 Jan 2024", "2024-01-03 00:00:00"),
            ("Jan 03, 2024", "2024-01-03 00:00:00"),
            ("2024-01-03", "2024-01-03 00:00:00"),
            ("2024-01-03 10:11:12", "2024-01-03 10:11:12"),
            ("2024-01-03T10:11:12Z", "2024-01-03 10:11:12"),
            ("20240103101112.0Z", "2024-01-03 10:11:12"),
            ("03.01.2024", "2024-01-03 00:00:00"),
            ("1704276672000", "2024-01-03 10:11:12"),
        ] {
            assert_eq!(instant(text).map(written).as_deref(), Some(expected), "{text}");
        }
        for text in ["Never accessed", "", "01/02/2024", "31 Feb 2024", "soon 2", "=1+1"] {
            assert_eq!(instant(text), None, "{text}");
        }
    }
}
