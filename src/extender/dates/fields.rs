//! What each letter of a pattern writes.

use std::fmt::Write as _;

use jiff::civil::{Date, Weekday};

use super::Field;
use super::zones::{Moment, Zone};

/// Writes one run of a letter. The count is a minimum width for numbers; for words it chooses short or full.
pub(super) fn write(out: &mut String, Field { letter, count }: Field, moment: &Moment, zone: &Zone) {
    let (date, time) = (moment.civil.date(), moment.civil.time());
    let hour = i64::from(time.hour());
    let minutes_east = moment.offset_s / 60;
    match letter {
        'G' => out.push_str(if date.year() > 0 { "AD" } else { "BC" }),
        'y' => year(out, year_of_era(date), count),
        'Y' => year(out, week_and_its_year(date).1, count),
        'M' | 'L' if count >= 4 => out.push_str(month(date)),
        'M' | 'L' if count == 3 => out.extend(month(date).chars().take(3)),
        'M' | 'L' => number(out, date.month().into(), count),
        'w' => number(out, week_and_its_year(date).0, count),
        'W' => number(
            out,
            (i64::from(date.day()) - 1 + from_sunday(date.first_of_month())) / 7 + 1,
            count,
        ),
        'D' => number(out, date.day_of_year().into(), count),
        'd' => number(out, date.day().into(), count),
        'F' => number(out, (i64::from(date.day()) - 1) / 7 + 1, count),
        'E' if count >= 4 => out.push_str(weekday(date)),
        'E' => out.extend(weekday(date).chars().take(3)),
        'u' => number(out, date.weekday().to_monday_one_offset().into(), count),
        'a' => out.push_str(if hour < 12 { "AM" } else { "PM" }),
        'H' => number(out, hour, count),
        'k' => number(out, if hour == 0 { 24 } else { hour }, count),
        'K' => number(out, hour % 12, count),
        'h' => number(out, if hour % 12 == 0 { 12 } else { hour % 12 }, count),
        'm' => number(out, time.minute().into(), count),
        's' => number(out, time.second().into(), count),
        'S' => number(out, time.millisecond().into(), count),
        'z' => zone.write_name(out, moment, count),
        'Z' => offset(out, minutes_east, ""),
        'X' if moment.offset_s == 0 => out.push('Z'),
        'X' if count == 1 => offset_hours(out, minutes_east),
        'X' => offset(out, minutes_east, if count == 3 { ":" } else { "" }),
        // Every letter a pattern may have stands above: the compiler lets no other one through.
        _ => {}
    }
}

/// Writes ` HH:mm:ss`.
pub(super) fn write_time_of_day(out: &mut String, moment: &Moment) {
    let time = moment.civil.time();
    put(
        out,
        format_args!(" {:02}:{:02}:{:02}", time.hour(), time.minute(), time.second()),
    );
}

/// Appends formatted text. Writing to a `String` cannot fail, so there is no result to hand on.
pub(super) fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

/// Writes an offset from UTC as `+0100`, with `colon` between hours and minutes. Seconds, which a few zones had until
/// the 1970s, are cut off towards zero.
pub(super) fn offset(out: &mut String, minutes_east: i32, colon: &str) {
    offset_hours(out, minutes_east);
    put(out, format_args!("{colon}{:02}", minutes_east.abs() % 60));
}

fn offset_hours(out: &mut String, minutes_east: i32) {
    let sign = if minutes_east < 0 { '-' } else { '+' };
    put(out, format_args!("{sign}{:02}", minutes_east.abs() / 60));
}

fn number(out: &mut String, value: i64, width: usize) {
    put(out, format_args!("{value:0width$}"));
}

fn year(out: &mut String, year: i64, count: usize) {
    // Quirk: docs/compatibility.md, "Dates": two letters cut the year to two digits, one letter does not.
    let shown = if count == 2 { year % 100 } else { year };
    number(out, shown, count);
}

/// The year as counted from the era's beginning: the year before 1 AD is 1 BC.
fn year_of_era(date: Date) -> i64 {
    let year = i64::from(date.year());
    if year > 0 { year } else { 1 - year }
}

/// The week of the year and the year that week belongs to, by the rule of the United States: weeks begin on Sunday and
/// the week that holds 1 January is the first.
fn week_and_its_year(date: Date) -> (i64, i64) {
    let first_weekday = from_sunday(date.first_of_year());
    let days_left = i64::from(date.days_in_year() - date.day_of_year()) + 1;
    let next_first_weekday = (first_weekday + i64::from(date.days_in_year())) % 7;
    if days_left <= next_first_weekday {
        return (1, i64::from(date.year()) + 1);
    }
    (
        (i64::from(date.day_of_year()) - 1 + first_weekday) / 7 + 1,
        date.year().into(),
    )
}

/// Days since the last Sunday: 0 on a Sunday.
fn from_sunday(date: Date) -> i64 {
    date.weekday().to_sunday_zero_offset().into()
}

fn month(date: Date) -> &'static str {
    match date.month() {
        1 => "January",
        2 => "February",
        3 => "March",
        4 => "April",
        5 => "May",
        6 => "June",
        7 => "July",
        8 => "August",
        9 => "September",
        10 => "October",
        11 => "November",
        _ => "December",
    }
}

fn weekday(date: Date) -> &'static str {
    match date.weekday() {
        Weekday::Sunday => "Sunday",
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
    }
}
