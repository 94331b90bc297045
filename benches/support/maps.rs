//! Identity maps of any size, and the operator's own.
#![allow(dead_code, reason = "every bench uses another part")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The map file of whoever runs the bench, if `FACADE_BENCH_MAP` names one.
pub fn own() -> Option<PathBuf> {
    std::env::var_os("FACADE_BENCH_MAP").map(PathBuf::from)
}

/// A map as a migration leaves it: every column filled, one account in fifty with a second username.
pub fn generated(directory: &Path, rows: usize) -> PathBuf {
    let mut text = "username,key,email,old_email,account_id,full_name,status,primary,created,updated\n".to_owned();
    for n in 0..rows {
        let (alias, person) = if n % 50 == 49 { ("adm-", n - 1) } else { ("", n) };
        // Spread as ids are, not counted.
        let id = (person as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        writeln!(
            text,
            "{alias}User{person:07},2c9b8082{id:016x}{n:08x},First.Last{person}@Example.com,,5b10a284{id:016x},\
             \"Last{person}, First\",,,2019-03-01 08:00:00,2022-06-07 12:38:40"
        )
        .expect("a text");
    }
    let path = directory.join(format!("identities-{rows}.csv"));
    std::fs::write(&path, text).expect("a file");
    path
}

/// The same file read through the csv crate alone, into one record that is used again, with the map's buffer: the floor of
/// loading it. Returns the number of fields.
pub fn read_as_csv(path: &Path) -> usize {
    let file = std::fs::File::open(path).expect("a map");
    let mut reader = csv::ReaderBuilder::new().buffer_capacity(1 << 16).from_reader(file);
    let mut record = csv::ByteRecord::new();
    let mut fields = 0;
    while reader.read_byte_record(&mut record).expect("a row") {
        fields += record.len();
    }
    fields
}

/// `count` of the texts, spread over all of them, so that no cache of the processor makes the figure.
pub fn sample(all: &[String], count: usize) -> Vec<String> {
    (0..count)
        .map(|n| all[(n * 104_729 + n / all.len()) % all.len()].clone())
        .collect()
}
