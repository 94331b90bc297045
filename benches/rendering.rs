//! What does it cost to write the answer to getUsers: anew, ready from before, compressed, and with dates in other patterns?
//!
//! * "anew" is the whole body of all rows, made from the list. Its floor is serde_json, which writes the same rows, as texts and
//!   numbers that are there, to a string.
//! * "prepared" is the answer that was made before, found by its form. Its floor is a copy of the ready bytes.
//! * "compressed anew" makes the body and compresses it; its floor is gzip of the ready bytes. "compressed, prepared" has the
//!   floor of "prepared".
//! * "dates" are extended details in one more pattern each, made anew: one with text in it, and the most costly one that a
//!   caller may ask for (256 letters, each a field of its own). Their floor is serde_json with the texts ready.
//!
//! Environment variables:
//!
//! * `FACADE_BENCH_MEMBERS`: rows of a list, default 100,1000,10000.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use extender_facade::extender::dates::{DEFAULT_PATTERN, Pattern, Zone, date_string};
use extender_facade::extender::prepared::prepared;
use extender_facade::extender::wire::{self, Dates};
use extender_facade::model::{Detail, Form, Listing, Member, Page};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::FutureExt as _;
use serde::Serialize;
use tokio::runtime::Runtime;

#[path = "support/given.rs"]
mod given;
#[path = "support/turns.rs"]
mod turns;

use given::numbers;
use turns::{Runner, Show, Table, Turns, measure};

const DETAILS: [(&str, Detail); 3] = [
    ("names", Detail::Names),
    ("basic", Detail::Basic),
    ("extended", Detail::Extended),
];
const WITH_TEXT: &str = "EEEE, d MMMM yyyy 'at' HH:mm z";
const JSON: &str = "serde_json, the same rows";
const COPY: &str = "a copy of the bytes";
const GZIP: &str = "gzip of the bytes";

/// As many fields as a pattern may have, of those that cost most: the year of the week has to find the week first.
fn most_costly() -> String {
    "Yw".repeat(128)
}

fn member(n: usize) -> Member {
    Member {
        name: format!("user{n:07}").into(),
        full_name: format!("Firstname Lastname-{n}").into(),
        key: format!("2c9b8082{n:024x}").into(),
        email: format!("firstname.lastname{n}@example.com").into(),
        position: "Engineer".into(),
        department: "Development".into(),
        location: "Warsaw".into(),
        created: Some(1_551_427_200_000 + n as i64 * 86_413_000),
        updated: Some(1_654_605_520_699 + n as i64 * 1_013),
        last_login: (!n.is_multiple_of(7)).then_some(1_700_000_000_000 + n as i64 * 60_013),
        has_access: true,
    }
}

/// A row with everything that an answer has, ready to be written.
#[derive(Serialize)]
#[allow(clippy::large_enum_variant, reason = "a list has rows of one kind")]
#[serde(untagged, rename_all_fields = "camelCase")]
enum Ready<'a> {
    Names {
        name: &'a str,
    },
    Basic {
        name: &'a str,
        full_name: &'a str,
        key: &'a str,
        email: &'a str,
    },
    Extended {
        business: [Business<'a>; 1],
        last_failed_login_date: Option<i64>,
        last_successful_login_date: Option<i64>,
        full_name: &'a str,
        personal: [Personal; 1],
        updated_date: Option<i64>,
        last_failed_login_date_string: Option<String>,
        created_date: Option<i64>,
        created_date_string: Option<String>,
        has_access_to_use_confluence: bool,
        name: &'a str,
        last_successful_login_date_string: Option<String>,
        key: &'a str,
        email: &'a str,
        updated_date_string: Option<String>,
    },
}

#[derive(Serialize)]
struct Business<'a> {
    location: &'a str,
    position: &'a str,
    department: &'a str,
}

#[derive(Default, Serialize)]
struct Personal {
    website: &'static str,
    im: &'static str,
    phone: &'static str,
}

fn ready<'a>(member: &'a Member, detail: Detail, dates: Dates<'_>) -> Ready<'a> {
    let text = |date: Option<i64>| date.map(|date| date_string(dates.pattern, date, dates.zone));
    let (name, full_name) = (&*member.name, &*member.full_name);
    let (key, email) = (&*member.key, &*member.email);
    match detail {
        Detail::Names => Ready::Names { name },
        Detail::Basic => Ready::Basic {
            name,
            full_name,
            key,
            email,
        },
        Detail::Extended => Ready::Extended {
            business: [Business {
                location: &member.location,
                position: &member.position,
                department: &member.department,
            }],
            personal: [Personal::default()],
            last_failed_login_date: None,
            last_successful_login_date: member.last_login,
            full_name,
            updated_date: member.updated,
            last_failed_login_date_string: None,
            created_date: member.created,
            created_date_string: text(member.created),
            has_access_to_use_confluence: member.has_access,
            name,
            last_successful_login_date_string: text(member.last_login),
            key,
            email,
            updated_date_string: text(member.updated),
        },
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A list, and how it is asked for.
struct Case {
    rows: Vec<Member>,
    page: Page,
    zone: Zone,
    runtime: Runtime,
}

impl Case {
    fn of(members: usize) -> Self {
        let page = Page {
            start_at: 0,
            max_results: members,
        };
        Self {
            rows: (0..members).map(member).collect(),
            page,
            zone: Zone::named("Europe/Warsaw").unwrap(),
            runtime: Runtime::new().unwrap(),
        }
    }

    fn anew(&self, detail: Detail, pattern: &Pattern) -> Vec<u8> {
        let dates = Dates {
            pattern,
            zone: &self.zone,
        };
        wire::members(&self.rows, self.page, detail, dates)
    }

    fn take_anew(&self, turns: &mut Turns<'_>, case: &str, floor: &str, detail: Detail, pattern: &Pattern) {
        let dates = Dates {
            pattern,
            zone: &self.zone,
        };
        let ready: Vec<Ready<'_>> = self.rows.iter().map(|row| ready(row, detail, dates)).collect();
        let (body, rows) = (self.anew(detail, pattern), serde_json::to_string(&ready).unwrap());
        assert!(String::from_utf8(body).unwrap().contains(&rows), "{case}: other rows");
        let figure = Runner::of(case, || self.anew(detail, pattern));
        let floor = Runner::of(floor, || serde_json::to_string(&ready).unwrap());
        turns.take(figure, self.rows.len(), Show::Time(1), [floor]);
    }

    fn take_prepared(&self, turns: &mut Turns<'_>, name: &str, detail: Detail) {
        let form = |is_compressed| Form {
            page: self.page,
            detail,
            dates: None,
            is_compressed,
        };
        let pattern = Pattern::default();
        let listing = Listing::from(self.rows.clone());
        let make = || self.anew(detail, &pattern);
        let made = |listing: &Listing<Member>, is_compressed| {
            let answer = prepared(listing, form(is_compressed), 1, make);
            let (bytes, is_so) = self.runtime.block_on(answer);
            assert_eq!(is_so, is_compressed);
            bytes
        };
        let [plain, compressed] = [false, true].map(|is_compressed| made(&listing, is_compressed));
        let found = |is_compressed| {
            let answer = prepared(&listing, form(is_compressed), 1, Vec::new);
            // What is ready waits for nobody.
            answer.now_or_never().unwrap()
        };
        for (case, is_compressed, bytes) in [("prepared", false, &plain), ("compressed, prepared", true, &compressed)] {
            let case = format!("{name}, {case}");
            let floor = format!("{COPY}, {case}");
            let copy = Runner::of(&floor, || Bytes::copy_from_slice(bytes));
            let figure = Runner::of(&case, || found(is_compressed));
            turns.take(figure, self.rows.len(), Show::Time(1), [copy]);
        }
        let case = format!("{name}, compressed anew");
        let floor = format!("{GZIP}, {name}");
        // Nothing is kept of it: the list is another one each time.
        let once = || made(&Listing::from(Vec::new()), true);
        let floor = Runner::of(&floor, || gzip(&plain));
        turns.take(Runner::of(&case, once), self.rows.len(), Show::Time(1), [floor]);
    }
}

fn bench(criterion: &mut Criterion) {
    let mut table = Table::default();
    let plain = Pattern::default();
    for members in numbers("FACADE_BENCH_MEMBERS", &[100, 1000, 10_000], &[100]) {
        let case = Case::of(members);
        let mut turns = table.group(criterion, "rendering, anew", "rows");
        for (name, detail) in DETAILS {
            let floor = format!("{JSON}, {name}");
            case.take_anew(&mut turns, &format!("{name}, anew"), &floor, detail, &plain);
        }
        drop(turns);
        let mut turns = table.group(criterion, "rendering, prepared", "rows");
        for (name, detail) in DETAILS {
            case.take_prepared(&mut turns, name, detail);
        }
        drop(turns);
        let mut turns = table.group(criterion, "rendering, dates", "rows");
        let costly = most_costly();
        for (name, pattern) in [
            ("usual", DEFAULT_PATTERN),
            ("with text", WITH_TEXT),
            ("most costly", &costly),
        ] {
            let pattern = Pattern::compile(pattern).unwrap();
            let floor = format!("{JSON}, dates {name}");
            case.take_anew(
                &mut turns,
                &format!("dates, {name}"),
                &floor,
                Detail::Extended,
                &pattern,
            );
        }
    }
    table.print();
}

criterion_group! {
    name = benches;
    config = measure(20, Duration::from_millis(1500));
    targets = bench
}
criterion_main!(benches);
