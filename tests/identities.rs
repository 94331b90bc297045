//! `identities build` as it is typed: files in, a map and a report out, and every trouble told as often as it was made.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/exports.rs"]
mod exports;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use exports::{Exports, Layout, SITE_HEADER};
use extender_facade::directory::identity::{Map, Meaning};
use extender_facade::settings::PrimaryRule;
use serde_json::Value;

/// A folder of inputs, and the program run over them.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Self {
        std::fs::write(self.path(name), bytes).unwrap();
        self
    }

    fn run(&self, more: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_extender-facade"))
            .args(["identities", "build"])
            .args(more)
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    /// Joins `migration.csv`, `site.csv` and, if it is there, `directory.csv` into `map.csv`.
    fn build(&self, more: &[&str]) -> Built {
        let mut words = vec![
            "--migration-users",
            "migration.csv",
            "--site-users",
            "site.csv",
            "--out",
            "map.csv",
            "--json",
        ];
        if self.path("directory.csv").exists() {
            words.extend(["--directory", "directory.csv"]);
        }
        words.extend(more);
        let output = self.run(&words);
        let code = output.status.code().unwrap();
        assert!(code < 2, "{}", text(&output.stderr));
        Built {
            code,
            report: serde_json::from_slice(&output.stdout).unwrap(),
            rows: rows(&self.path("map.csv")),
        }
    }

    fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

struct Built {
    code: i32,
    report: Value,
    rows: Vec<csv::StringRecord>,
}

impl Built {
    fn section(&self, kind: &str) -> Vec<Value> {
        let sections = self.report["sections"].as_array().unwrap();
        let section = sections.iter().find(|section| section["kind"] == kind);
        section.map_or_else(Vec::new, |section| section["rows"].as_array().unwrap().clone())
    }

    fn kinds(&self) -> Vec<&str> {
        let sections = self.report["sections"].as_array().unwrap();
        sections
            .iter()
            .map(|section| section["kind"].as_str().unwrap())
            .collect()
    }

    fn count(&self, key: &str) -> u64 {
        self.report["summary"][key].as_u64().unwrap_or_else(|| panic!("{key}"))
    }

    /// The row of a username, field by field.
    fn row(&self, username: &str) -> Option<Vec<&str>> {
        let row = self.rows.iter().find(|row| &row[0] == username)?;
        Some(row.iter().collect())
    }

    fn usernames(&self) -> Vec<&str> {
        self.rows.iter().map(|row| &row[0]).collect()
    }
}

fn rows(path: &Path) -> Vec<csv::StringRecord> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    assert_eq!(
        reader.headers().unwrap().iter().collect::<Vec<_>>().join(","),
        "username,key,email,old_email,account_id,full_name,status,primary,created,updated,source"
    );
    reader.records().map(Result::unwrap).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const MIGRATION_HEADER: &str = "UserKey,UserName,ErrorType,OldEmail,NewEmail,Tombstone,AccountType";

/// A desk with these rows of the two files.
fn desk(migration: &str, site: &str) -> Desk {
    let desk = Desk::new();
    desk.put("migration.csv", format!("{MIGRATION_HEADER}\n{migration}"))
        .put("site.csv", format!("{SITE_HEADER}\n{site}"));
    desk
}

#[test]
fn a_clean_migration_is_ready_and_its_map_is_what_the_facade_reads() {
    let desk = desk(
        "k1,jdoe,,jane@example.com,jane@example.com,FALSE,USER\nk2,asmith,,,ann@example.com,,USER\n",
        "557058:1,Jane Doe,Jane@Example.com,Active,3 Jan 2024,Never accessed\na2,Ann Smith,ann@example.com,Active,,\n",
    );
    let built = desk.build(&[]);
    assert_eq!(built.code, 0, "{:#}", built.report);
    assert_eq!(built.report["verdict"], "ready");
    assert_eq!(
        built.row("jdoe").unwrap(),
        [
            "jdoe",
            "k1",
            "Jane@Example.com",
            "jane@example.com",
            "557058:1",
            "Jane Doe",
            "",
            "",
            "2024-01-03 00:00:00",
            "",
            "migration-users:line 2 + site-users:line 2"
        ]
    );
    let map = Map::read(&desk.path("map.csv"), PrimaryRule::First).unwrap();
    assert_eq!((map.len(), map.ambiguous()), (2, 0));
    for name in ["JDOE", "k1", "jane@example.com"] {
        let Some(Meaning::One(entry)) = map.by_name(name) else {
            panic!("{name}")
        };
        assert_eq!(entry.account(), "557058:1");
    }
}

#[test]
fn every_trouble_is_counted_as_often_as_it_was_made() {
    let long = std::env::var_os("FACADE_LONG").is_some();
    for layout in [Layout::ErrorType, Layout::Type] {
        let users = if long { 100_000 } else { 2000 };
        let exports = Exports::new(users, layout);
        let desk = Desk::new();
        desk.put("migration.csv", &exports.migration)
            .put("site.csv", &exports.site);
        let began = std::time::Instant::now();
        let floor = [&exports.migration, &exports.site]
            .iter()
            .map(|file| {
                csv::Reader::from_reader(file.as_bytes())
                    .records()
                    .map(Result::unwrap)
                    .count()
            })
            .sum::<usize>();
        let floor_took = began.elapsed();
        let began = std::time::Instant::now();
        let built = desk.build(&["--report", "report.html"]);
        println!(
            "{users} users, {floor} rows: built in {:?}, merely reading the files through csv {floor_took:?}",
            began.elapsed()
        );
        assert_eq!(built.code, 1);
        for (kind, count) in exports.troubles() {
            assert_eq!(built.section(kind).len(), count, "{kind}");
        }
        let expected: Vec<&str> = exports.troubles().iter().map(|(kind, _)| *kind).collect();
        let mut kinds = built.kinds();
        assert_eq!(kinds[0], "merged", "these are read first");
        kinds.sort_unstable();
        assert_eq!(kinds, expected);
        for (key, count) in exports.figures() {
            assert_eq!(built.count(key), count as u64, "{key}");
        }
        let map = Map::read(&desk.path("map.csv"), PrimaryRule::First).unwrap();
        assert_eq!(map.len(), exports.accounts());
        assert_eq!(map.ambiguous(), 0);
    }
}

#[test]
fn encodings_and_delimiters_are_found_out_and_told() {
    let migration =
        "UserKey,UserName,Type,OldEmail,NewEmail,Tombstone\nk1,jürgen,,j@old.example.com,j@example.com,FALSE\n";
    let site = "User id,User name,email,User status\na1,\"Groß, Jürgen\",j@example.com,Active\n";
    let latin = |text: &str| {
        text.chars()
            .map(|c| u8::try_from(u32::from(c)).unwrap())
            .collect::<Vec<u8>>()
    };
    let wide = |text: &str, little: bool| -> Vec<u8> {
        let units = format!("\u{feff}{text}").encode_utf16().collect::<Vec<u16>>();
        units
            .into_iter()
            .flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() })
            .collect()
    };
    for (delimiter, word) in [(',', "comma"), (';', "semicolon"), ('\t', "tab"), ('|', "pipe")] {
        let part = |text: &str| {
            let text = text.replace(',', &delimiter.to_string()).replace('\n', "\r\n");
            text.replace(&format!("Groß{delimiter}"), "Groß,")
        };
        let (migration, site) = (part(migration), part(site));
        for (encoding, bytes) in [
            ("UTF-8", [migration.clone().into_bytes(), site.clone().into_bytes()]),
            (
                "UTF-8 with byte order mark",
                [&migration, &site].map(|text| format!("\u{feff}{text}").into_bytes()),
            ),
            ("UTF-16 LE", [wide(&migration, true), wide(&site, true)]),
            ("UTF-16 BE", [wide(&migration, false), wide(&site, false)]),
            ("windows-1252 (assumed)", [latin(&migration), latin(&site)]),
        ] {
            let desk = Desk::new();
            desk.put("migration.csv", &bytes[0]).put("site.csv", &bytes[1]);
            let built = desk.build(&[]);
            let row = built.row("jürgen").unwrap_or_else(|| panic!("{encoding} {word}"));
            assert_eq!((row[4], row[5]), ("a1", "Groß, Jürgen"), "{encoding} {word}");
            assert_eq!(built.report["sources"][0]["format"], format!("{encoding}, {word}"));
        }
    }
}

#[test]
fn nothing_that_two_sources_say_differently_is_in_the_map() {
    let desk = desk(
        "k1,ambiguous,,two@example.com,two@example.com,FALSE,USER\n\
         k2,twice,,a@example.com,a@example.com,FALSE,USER\n\
         k3,twice,,b@example.com,b@example.com,FALSE,USER\n\
         k4,Case,,a@example.com,a@example.com,FALSE,USER\n\
         k5,case,,b@example.com,b@example.com,FALSE,USER\n\
         k6,disagree,,a@example.com,a@example.com,FALSE,USER\n\
         k7,changed,,c@example.com,c@example.com,FALSE,USER\n\
         k8,samekey1,,a@example.com,a@example.com,FALSE,USER\n\
         k8,samekey2,,b@example.com,b@example.com,FALSE,USER\n\
         k9,listed,,gone@example.com,gone@example.com,FALSE,USER\n\
         k10,maybe,,a@example.com,a@example.com,perhaps,USER\n\
         k11,short\n\
         k12,fine,,fine@example.com,fine@example.com,FALSE,USER\n",
        "t1,Two,two@example.com,Active,,1 May 2024\nt2,Too,TWO@example.com,Deactivated,,\n\
         a,A,a@example.com,Active,,\nb,B,b@example.com,Active,,\n\
         c,C,c@example.com,Active,,\nc,C,c2@example.com,Active,,\nf,F,fine@example.com,Active,,\n\
         bad id,X,x@example.com,Active,,\n",
    );
    desk.put(
        "directory.csv",
        "sAMAccountName;mail\ndisagree;b@example.com\nlisted;fine@example.com\nLISTED;a@example.com\n",
    );
    let built = desk.build(&[]);
    assert_eq!(built.usernames(), ["fine", "listed"]);
    assert_eq!(
        built.row("listed").unwrap()[4],
        "",
        "a directory that contradicts itself joins nobody"
    );
    let names = |kind: &str| -> Vec<String> {
        let rows = built.section(kind);
        rows.iter()
            .map(|row| {
                row["names"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|n| n.as_str().unwrap())
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect()
    };
    let mut conflicts = names("conflicts");
    conflicts.sort();
    assert_eq!(
        conflicts,
        ["C", "changed", "disagree", "listed", "samekey1 samekey2", "twice twice"]
    );
    assert_eq!(names("collisions"), ["Case case"]);
    let ambiguous = &built.section("ambiguous")[0];
    assert_eq!(ambiguous["usernames"][0], "ambiguous");
    assert_eq!(ambiguous["accounts"][0], "t1 (Two, Active, last seen: 1 May 2024)");
    assert_eq!(ambiguous["where"][0], "site.csv:2");
    let invalid: Vec<Value> = built
        .section("invalid")
        .iter()
        .map(|row| row["where"].clone())
        .collect();
    assert_eq!(
        invalid,
        ["migration.csv:12", "migration.csv:13", "site.csv:9"]
            .map(Value::from)
            .to_vec()
    );
    assert_eq!(built.count("left_out"), 11);
    assert_eq!(built.code, 1);
}

#[test]
fn invalid_and_shared_old_addresses_join_nobody_and_new_ones_do() {
    let desk = desk(
        "k1,mended,INV,user1@atl,new1@example.com,FALSE,USER\n\
         k2,unmended,INV,user2@atl,user2@atl,FALSE,USER\n\
         k3,shared,DUP,both@example.com,own@example.com,FALSE,USER\n\
         k4,lost,DUP,both@example.com,nowhere@example.com,FALSE,USER\n\
         k5,listed,INV,,,FALSE,USER\n\
         k6,blank,,,,FALSE,USER\n\
         k7,moved,,old@example.com,away@example.com,FALSE,USER\n",
        "a1,One,new1@example.com,Active,,\na3,Three,own@example.com,Active,,\na4,Both,both@example.com,Active,,\n\
         a5,Five,five@example.com,Active,,\na7,Seven,old@example.com,Active,,\n",
    );
    desk.put("directory.csv", "uid,mail\nlisted,five@example.com\n");
    let built = desk.build(&[]);
    let account = |name: &str| built.row(name).unwrap()[4].to_owned();
    assert_eq!(
        ["mended", "unmended", "shared", "lost", "listed", "blank", "moved"].map(account),
        ["a1", "", "a3", "", "a5", "", "a7"]
    );
    assert_eq!(built.section("invalid").len(), 4);
    assert_eq!(built.section("other_address")[0]["expected"], "away@example.com");
    assert_eq!(built.section("shared_address").len(), 2);
    assert_eq!(built.section("missing_in_cloud").len(), 1);
    assert!(built.row("listed").unwrap()[10].contains("directory:line 2"));
}

#[test]
fn merged_usernames_are_all_written_and_told_first() {
    let desk = desk(
        "k1,a-admin,,admin@example.com,jane@example.com,FALSE,USER\n\
         k2,jdoe,,jane@example.com,jane@example.com,FALSE,USER\n\
         k3,zz-old,,jane@example.com,jane@example.com,TRUE,USER\n\
         k4,b,,b@example.com,b@example.com,FALSE,USER\n",
        "a1,Jane Doe,jane@example.com,Active,,\na2,B,b@example.com,Suspended,,\n",
    );
    let built = desk.build(&[]);
    assert_eq!(
        built.usernames(),
        ["b", "jdoe", "a-admin", "zz-old"],
        "the shown one first"
    );
    assert_eq!(built.row("jdoe").unwrap()[7], "true");
    assert_eq!(built.row("a-admin").unwrap()[7], "");
    assert_eq!(built.row("zz-old").unwrap()[6], "tombstoned");
    assert_eq!(built.kinds(), ["merged", "tombstoned", "suspended"]);
    let map = Map::read(&desk.path("map.csv"), PrimaryRule::First).unwrap();
    assert_eq!((map.len(), map.ambiguous()), (2, 0));
}

#[test]
fn names_are_data_whatever_they_look_like() {
    let hostile = [
        "=cmd|' /C calc'!A0",
        "@SUM(1)",
        "<script>alert(1)</script>",
        "O\"Neil, 'Bob'",
        "two\nlines",
        "nul\0byte",
        "\u{202e}gnp.exe",
        "a&b;c|d",
    ];
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let migration: String = hostile
        .iter()
        .enumerate()
        .map(|(n, name)| format!("k{n},{},,u{n}@example.com,u{n}@example.com,TRUE,USER\n", quoted(name)))
        .collect();
    let site: String = hostile
        .iter()
        .enumerate()
        .map(|(n, name)| format!("a{n},{},u{n}@example.com,Active,,\n", quoted(name)))
        .collect();
    let desk = desk(&migration, &site);
    let built = desk.build(&["--report", "report.html", "report.txt", "report.json"]);
    assert_eq!(built.code, 0);
    for name in hostile {
        let row = built.row(name).unwrap_or_else(|| panic!("{name:?}"));
        assert_eq!(row[5], name);
    }
    Map::read(&desk.path("map.csv"), PrimaryRule::First).unwrap();
    let page = std::fs::read_to_string(desk.path("report.html")).unwrap();
    assert!(!page.contains("<script") && !page.contains('\u{202e}') && !page.contains('\0'));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && page.contains("two␊lines"));
    let shown = std::fs::read_to_string(desk.path("report.txt")).unwrap();
    assert!(!shown.contains('\0') && !shown.contains('\u{202e}'));
    let json: Value = serde_json::from_slice(&std::fs::read(desk.path("report.json")).unwrap()).unwrap();
    assert_eq!(json["sections"], built.report["sections"]);
}

#[test]
fn a_file_that_is_not_understood_is_told_and_nothing_is_written() {
    let good = "k1,a,,a@example.com,a@example.com,FALSE,USER\n";
    for (bytes, told) in [
        (&b""[..], "empty"),
        (b"\xff\xfe", "empty"),
        (b"PK\x03\x04 xlsx", "spreadsheet"),
        (b"a,b,c\n1,2,3\n", "its first line has \"a\", \"b\", \"c\""),
        (b"User id,User name,email\n", "no rows"),
        (
            b"UserKey,UserName,Type,OldEmail,NewEmail,Tombstone\nk,u,,a@b.c,a@b.c,FALSE\n",
            "--migration-users",
        ),
        (b"User id,User name,email\n1,\"open,a@b.c\n2,x,y\n", "never closed"),
    ] {
        let desk = desk(good, "");
        desk.put("site.csv", bytes);
        let output = desk.run(&[
            "--migration-users",
            "migration.csv",
            "--site-users",
            "site.csv",
            "--out",
            "map.csv",
            "--report",
            "r.html",
        ]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains("site.csv") && error.contains(told), "{error}");
        assert_eq!(desk.files(), ["migration.csv", "site.csv"]);
    }
    let desk = desk(good, "");
    let output = desk.run(&[
        "--migration-users",
        "missing.csv",
        "--site-users",
        "site.csv",
        "--out",
        "map.csv",
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("missing.csv"));
}

#[test]
fn what_is_there_is_kept_unless_forced_and_inputs_always() {
    let desk = desk(
        "k1,a,,a@example.com,a@example.com,FALSE,USER\n",
        "a1,A,a@example.com,Active,,\n",
    );
    desk.put("map.csv", "precious");
    let run = |out: &str, more: &[&str]| {
        let mut words = vec![
            "--migration-users",
            "migration.csv",
            "--site-users",
            "site.csv",
            "--out",
            out,
        ];
        words.extend(more);
        desk.run(&words)
    };
    let output = run("map.csv", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--force"));
    assert_eq!(std::fs::read(desk.path("map.csv")).unwrap(), b"precious");
    assert_eq!(run("map.csv", &["--force"]).status.code(), Some(0));
    assert_eq!(rows(&desk.path("map.csv")).len(), 1);
    for inside in ["site.csv", "./migration.csv"] {
        let output = run(inside, &["--force"]);
        assert!(text(&output.stderr).contains("to read"), "{}", text(&output.stderr));
    }
    assert_eq!(run("x.html", &["--report", "x.html"]).status.code(), Some(2));
    assert_eq!(run("x.csv", &["--report", "x.pdf"]).status.code(), Some(2));
    let output = run("-", &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).starts_with("username,key,"));
    assert!(text(&output.stderr).starts_with("Identity map: ready"));
    assert_eq!(desk.files(), ["map.csv", "migration.csv", "site.csv"]);
}

#[test]
fn the_same_inputs_give_the_same_map_and_two_exports_are_joined() {
    let exports = Exports::new(600, Layout::Type);
    let desk = Desk::new();
    desk.put("migration.csv", &exports.migration)
        .put("site.csv", &exports.site);
    desk.build(&[]);
    let first = std::fs::read(desk.path("map.csv")).unwrap();
    let again = desk.build(&["--force"]);
    assert_eq!(first, std::fs::read(desk.path("map.csv")).unwrap());
    // The same export once more adds nothing but duplicates.
    desk.put("copy.csv", &exports.site);
    let copied = desk.build(&["--force", "--site-users", "copy.csv"]);
    assert_eq!(first, std::fs::read(desk.path("map.csv")).unwrap());
    let more = copied.section("duplicates").len() - again.section("duplicates").len();
    assert_eq!(more as u64, again.count("site_accounts"));
}

#[test]
fn names_of_scripts_are_looked_up() {
    let desk = desk(
        "k1,jdoe,,a@example.com,a@example.com,FALSE,USER\n",
        "a1,A,a@example.com,Active,,\n",
    );
    desk.put(
        "sync.sh",
        "USERS=(jdoe ghost)\ncurl -d '{\"users\":[\"ghost\",\"K1\"]}'\n",
    );
    let built = desk.build(&["--names", "sync.sh"]);
    assert_eq!(built.code, 1);
    let unresolved = built.section("unresolved");
    assert_eq!(unresolved.len(), 1);
    assert_eq!(
        (&unresolved[0]["name"], &unresolved[0]["where"][0]),
        (&"ghost".into(), &"sync.sh:1".into())
    );
}
