//! The rows of each kind of file, and what became of the file itself.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::columns::{Columns, Field, Role};
use super::dates;
use super::table::Table;
use crate::model::AccountId;

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file's number in [`Inputs::files`].
    pub file: usize,
    /// The line, from 1.
    pub line: u64,
}

/// A file that was read.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// What it was given as.
    pub role: Role,
    /// Its name as reports show it.
    pub name: String,
    /// What the map's column `source` calls it.
    pub short: String,
    /// How it is written, in words.
    pub format: String,
    /// Rows that fit its headings.
    pub rows: u64,
    /// The headings that were understood, as they are spelt in the file.
    pub headings: Vec<String>,
    /// What else should be known of it.
    pub notes: Vec<String>,
}

/// A row that says something it cannot mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its place.
    pub at: Place,
    /// The name it is about, or nothing.
    pub name: String,
    /// What is wrong.
    pub fault: String,
}

/// What the Migration Assistant says of the address on Data Center.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// It is no address (`INV`).
    Invalid,
    /// Several users have it (`DUP`), so that it stands for none of them.
    Shared,
}

/// A user of Data Center, as the Migration Assistant lists them.
#[derive(Clone, Debug)]
pub struct MigrationUser {
    /// Its place.
    pub at: Place,
    /// The user key.
    pub key: Option<String>,
    /// The username.
    pub username: String,
    /// What is wrong with the old address.
    pub trouble: Trouble,
    /// The address on Data Center.
    pub old_email: Option<String>,
    /// The address in Cloud.
    pub new_email: Option<String>,
    /// Whether the user is migrated switched off.
    pub tombstone: bool,
    /// Whether it is a program's account.
    pub app: bool,
}

impl MigrationUser {
    /// Whether two rows say the same, wherever they stand.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let content = |row: &Self| {
            (
                row.key.clone(),
                row.username.clone(),
                row.trouble as u8,
                row.old_email.clone(),
                row.new_email.clone(),
                row.tombstone,
                row.app,
            )
        };
        content(self) == content(other)
    }
}

/// Whether an account of the site is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SiteStatus {
    /// It is.
    #[default]
    Active,
    /// It may not use the site at present, and keeps its groups.
    Suspended,
    /// It is switched off.
    Deactivated,
}

/// An account of the site.
#[derive(Clone, Debug)]
pub struct SiteUser {
    /// Its place.
    pub at: Place,
    /// Cloud's account id.
    pub account: AccountId,
    /// The display name.
    pub full_name: Option<String>,
    /// The address, where it is shown.
    pub email: Option<String>,
    /// Whether it is in use.
    pub status: SiteStatus,
    /// The status as the file has it.
    pub status_word: String,
    /// Whether it is a program's account.
    pub app: bool,
    /// When it was last seen, as the file has it.
    pub last_seen: Option<String>,
    /// When it was added.
    pub created: Option<Timestamp>,
}

/// A username with its address, from a directory.
#[derive(Clone, Debug)]
pub struct DirectoryUser {
    /// Its place.
    pub at: Place,
    /// The username.
    pub username: String,
    /// The address.
    pub email: Option<String>,
    /// The full name.
    pub full_name: Option<String>,
    /// The user key.
    pub key: Option<String>,
    /// When the user was created.
    pub created: Option<Timestamp>,
    /// When the user was last changed.
    pub updated: Option<Timestamp>,
}

/// Everything that was read.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The files, in the order they were read.
    pub files: Vec<SourceFile>,
    /// Data Center's users.
    pub migration: Vec<MigrationUser>,
    /// The site's accounts.
    pub site: Vec<SiteUser>,
    /// The directories' users.
    pub directory: Vec<DirectoryUser>,
    /// Rows that mean nothing.
    pub unreadable: Vec<Unreadable>,
}

impl Inputs {
    /// Reads one more file. `progress` is told how many bytes of it are done.
    ///
    /// # Errors
    /// Why the file cannot be understood; nothing of it is kept then.
    pub fn read(
        &mut self,
        role: Role,
        name: &str,
        bytes: Vec<u8>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), String> {
        let table = Table::new(bytes)?;
        let columns = Columns::find(role, &table)?;
        let mut reading = Reading {
            file: self.files.len(),
            columns: &columns,
            inputs: Self::default(),
            unknown: BTreeMap::new(),
            rows: 0,
            dates: HashMap::new(),
        };
        let misfits = table.read(progress, |line, row| reading.row(role, line, row))?;
        let Reading {
            inputs, unknown, rows, ..
        } = reading;
        if rows == 0 && role != Role::Directory {
            return Err("has a line of headings and no rows".to_owned());
        }
        let file = self.files.len();
        self.unreadable.extend(misfits.into_iter().map(|misfit| Unreadable {
            at: Place {
                file,
                line: misfit.line,
            },
            name: String::new(),
            fault: format!(
                "{} fields where the headings are {}",
                misfit.fields,
                table.header().len()
            ),
        }));
        self.migration.extend(inputs.migration);
        self.site.extend(inputs.site);
        self.directory.extend(inputs.directory);
        self.unreadable.extend(inputs.unreadable);
        self.unreadable.sort_by_key(|row| row.at);
        let number = 1 + self.files.iter().filter(|file| file.role == role).count();
        self.files.push(SourceFile {
            role,
            name: name.to_owned(),
            short: match number {
                1 => role.as_str().to_owned(),
                _ => format!("{}#{number}", role.as_str()),
            },
            format: format!("{}, {}", table.encoding(), table.delimiter()),
            rows,
            headings: columns.headings(&table).map(|(_, name)| name.to_owned()).collect(),
            notes: unknown
                .into_iter()
                .map(|((what, word), rows)| format!("{what} {word:?} is not known: {rows} rows"))
                .collect(),
        });
        Ok(())
    }
}

struct Reading<'a> {
    file: usize,
    columns: &'a Columns,
    inputs: Inputs,
    /// Words that nobody taught us, and how often they came. Bounded, for a column that is something else altogether.
    unknown: BTreeMap<(&'static str, String), u64>,
    rows: u64,
    /// Dates that were read. Exports name days, the same ones over and over, and each costs half a dozen patterns.
    dates: HashMap<String, Option<Timestamp>>,
}

/// How many different dates are kept in mind.
const MAX_DATES: usize = 10_000;
/// How many different unknown words are told of a file.
const MAX_UNKNOWN_WORDS: usize = 20;

impl Reading<'_> {
    fn row(&mut self, role: Role, line: u64, row: &csv::StringRecord) {
        self.rows += 1;
        let at = Place { file: self.file, line };
        let result = match role {
            Role::MigrationUsers => self.migration(at, row),
            Role::SiteUsers => self.site(at, row),
            Role::Directory => self.directory(at, row),
        };
        if let Err(fault) = result {
            let name = [Field::Username, Field::Email, Field::FullName]
                .into_iter()
                .find_map(|field| self.columns.get(field, row))
                .unwrap_or_default();
            self.inputs.unreadable.push(Unreadable {
                at,
                name: name.to_owned(),
                fault,
            });
        }
    }

    fn text(&self, field: Field, row: &csv::StringRecord) -> Option<String> {
        self.columns.get(field, row).map(str::to_owned)
    }

    fn date(&mut self, field: Field, row: &csv::StringRecord) -> Option<Timestamp> {
        let text = self.columns.get(field, row)?;
        if let Some(known) = self.dates.get(text) {
            return *known;
        }
        let instant = dates::instant(text);
        if self.dates.len() < MAX_DATES {
            self.dates.insert(text.to_owned(), instant);
        }
        instant
    }

    fn unknown(&mut self, what: &'static str, word: &str) {
        let word: String = word.chars().take(60).collect();
        if self.unknown.len() < MAX_UNKNOWN_WORDS || self.unknown.contains_key(&(what, word.clone())) {
            *self.unknown.entry((what, word)).or_default() += 1;
        }
    }

    fn migration(&mut self, at: Place, row: &csv::StringRecord) -> Result<(), String> {
        let username = self.text(Field::Username, row).ok_or("no username")?;
        let tombstone = match self
            .columns
            .get(Field::Tombstone, row)
            .map(str::to_lowercase)
            .as_deref()
        {
            None | Some("false" | "no" | "0" | "n") => false,
            Some("true" | "yes" | "1" | "y") => true,
            Some(word) => return Err(format!("tombstone {word:?} is neither TRUE nor FALSE")),
        };
        let trouble = match self.columns.get(Field::Trouble, row).map(str::to_lowercase).as_deref() {
            None | Some("none" | "no_error" | "valid" | "ok" | "-") => Trouble::None,
            Some(word) if word.starts_with("inv") => Trouble::Invalid,
            Some(word) if word.starts_with("dup") => Trouble::Shared,
            Some(word) => {
                self.unknown("error type", word);
                Trouble::None
            }
        };
        let user = MigrationUser {
            at,
            key: self.text(Field::Key, row),
            username,
            trouble,
            old_email: self.text(Field::OldEmail, row),
            new_email: self.text(Field::NewEmail, row),
            tombstone,
            app: self.is_app(row),
        };
        self.inputs.migration.push(user);
        Ok(())
    }

    fn site(&mut self, at: Place, row: &csv::StringRecord) -> Result<(), String> {
        let id = self.columns.get(Field::AccountId, row).ok_or("no account id")?;
        if !AccountId::is_possible(id) {
            return Err(format!("{id:?} cannot be an account id"));
        }
        let word = self.text(Field::Status, row).unwrap_or_default();
        let status = match word.to_lowercase().as_str() {
            "" | "active" | "invited" | "pending" | "enabled" => SiteStatus::Active,
            "suspended" => SiteStatus::Suspended,
            "deactivated" | "inactive" | "closed" | "disabled" | "deleted" => SiteStatus::Deactivated,
            other => {
                self.unknown("user status", other);
                SiteStatus::Active
            }
        };
        let user = SiteUser {
            at,
            account: AccountId::new(id),
            full_name: self.text(Field::FullName, row),
            email: self.text(Field::Email, row),
            status,
            status_word: word,
            app: self.is_app(row),
            last_seen: self.text(Field::LastSeen, row),
            created: self.date(Field::Created, row),
        };
        self.inputs.site.push(user);
        Ok(())
    }

    fn directory(&mut self, at: Place, row: &csv::StringRecord) -> Result<(), String> {
        // Directories are full of machines and of people who left: a row without a name is nobody's trouble.
        if let Some(username) = self.text(Field::Username, row) {
            let user = DirectoryUser {
                at,
                username,
                email: self.text(Field::Email, row),
                full_name: self.text(Field::FullName, row),
                key: self.text(Field::Key, row),
                created: self.date(Field::Created, row),
                updated: self.date(Field::Updated, row),
            };
            self.inputs.directory.push(user);
        }
        Ok(())
    }

    fn is_app(&self, row: &csv::StringRecord) -> bool {
        self.columns
            .get(Field::AccountType, row)
            .is_some_and(|word| matches!(word.to_lowercase().as_str(), "app" | "bot" | "service" | "system"))
    }
}
