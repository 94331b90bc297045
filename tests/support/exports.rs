//! Exports of a company, with one per cent each of the troubles that migrations have, counted while they are made.

use std::fmt::Write as _;

/// The administration site's headings.
pub const SITE_HEADER: &str = "User id,User name,email,User status,Added to org,Last seen in Confluence - acme";

/// The Migration Assistant's two documented layouts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One file for all users, with `ErrorType` and `AccountType`.
    ErrorType,
    /// The older files, with `Type`.
    Type,
}

/// The two files, and what is in them.
pub struct Exports {
    pub migration: String,
    pub site: String,
    users: usize,
    each: usize,
}

impl Exports {
    /// `users` must be a multiple of 100.
    pub fn new(users: usize, layout: Layout) -> Self {
        assert_eq!(users % 100, 0);
        let mut migration = String::from(match layout {
            Layout::ErrorType => "UserKey,UserName,ErrorType,OldEmail,NewEmail,Tombstone,AccountType\n",
            Layout::Type => "UserKey,UserName,Type,OldEmail,NewEmail,Tombstone\n",
        });
        let mut site = format!("{SITE_HEADER}\n");
        for n in 0..users {
            let key = format!("2c9b8082{n:024x}");
            let (mut old, mut new) = (format!("user{n}@corp.example.com"), format!("user{n}@corp.example.com"));
            let (mut trouble, mut tombstone, mut account, mut times) = ("", "FALSE", true, 1);
            let mut status = "Active";
            match n % 100 {
                0 => (trouble, old, new, account) = ("INV", format!("user{n}@corp"), format!("user{n}@corp"), false),
                1 => times = 2,
                2 => tombstone = "TRUE",
                // Into the account of another.
                3 => (new, account) = (format!("user{}@corp.example.com", n + 2), false),
                4 => old = format!("user{n}@old.example.org"),
                6 => old = format!("User{n}@Corp.example.com"),
                7 => account = false,
                8 => status = "Deactivated",
                9 => status = "Suspended",
                _ => {}
            }
            let last = if layout == Layout::ErrorType { ",USER" } else { "" };
            for _ in 0..times {
                writeln!(migration, "{key},user{n},{trouble},{old},{new},{tombstone}{last}").unwrap();
            }
            if account {
                writeln!(
                    site,
                    "712020:00000000-0000-4000-8000-{n:012x},\"User, Number {n}\",{new},{status},3 Jan 2024,Never accessed"
                )
                .unwrap();
            }
        }
        Self {
            migration,
            site,
            users,
            each: users / 100,
        }
    }

    /// How many rows each section has, in the order of their names.
    pub fn troubles(&self) -> [(&'static str, usize); 9] {
        [
            "changed_domain",
            "deactivated",
            "different_case",
            "duplicates",
            "invalid",
            "merged",
            "missing_in_cloud",
            "suspended",
            "tombstoned",
        ]
        .map(|kind| (kind, self.each))
    }

    /// The figures of the summary.
    pub fn figures(&self) -> [(&'static str, usize); 8] {
        [
            ("users", self.users),
            ("identities", self.users),
            ("resolved", self.users - 4 * self.each),
            ("switched_off", 2 * self.each),
            ("without_account", 2 * self.each),
            ("left_out", 0),
            ("accounts", self.accounts()),
            ("site_accounts", self.accounts()),
        ]
    }

    /// Accounts of the site, each of which somebody has: all but the invalid, the merged and the missing.
    pub fn accounts(&self) -> usize {
        self.users - 3 * self.each
    }
}
