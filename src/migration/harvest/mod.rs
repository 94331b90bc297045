//! The names that stand in scripts and logs: candidates, each with its place, for a person or a source to judge. What
//! is only filled in when the script runs (`$user`, `{group}`, `%s`) is no name and is left out.
//!
//! A pure function over a file's bytes, whatever they are: its time grows with their number, and what it keeps is
//! bounded.

mod cursor;
mod lists;
mod words;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use super::columns::plain;
use super::map_file::Identity;
use super::report::{Kind, Section};
use super::table::Table;
use super::text;
use crate::model::NameKey;

/// Different names kept of one file.
pub const MAX_NAMES: usize = 100_000;
/// Letters of a name; longer ones are none.
pub const MAX_LETTERS: usize = 255;

/// What a name seems to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    /// A username or an e-mail address.
    User,
    /// A group's name.
    Group,
}

/// How it was recognised; the less certain ones are further down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum How {
    /// In the address of a call.
    Url,
    /// In a column that says so.
    Column,
    /// In a list that is called so.
    List,
    /// It is shaped like an e-mail address.
    Address,
    /// It stands alone on its line, as all others of the file do.
    Line,
}

/// A name with the first place where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it seems to be.
    pub what: What,
    /// The name.
    pub name: String,
    /// How it was recognised first.
    pub how: How,
    /// The line where it stands first, from 1.
    pub line: u64,
    /// How often it stands in the file.
    pub times: u64,
}

/// What a file held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Harvest {
    /// The names, in the order of their places.
    pub found: Vec<Found>,
    /// Whether there were more than [`MAX_NAMES`].
    pub truncated: bool,
}

/// Harvests one file. `file` is its name: a list of bare words in `groups.txt` is one of groups.
#[must_use]
pub fn harvest(file: &str, bytes: &[u8]) -> Harvest {
    let text = match text::decode(bytes.to_vec()) {
        Ok((text, _)) => text,
        // A script with one broken letter still holds its names.
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    };
    let mut basket = Basket::new(&text);
    if !whole_list(file, &text, &mut basket) && !columns(bytes, &mut basket) {
        words::urls(&text, &mut basket);
        lists::assigned(&text, &mut basket);
        words::loops(&text, &mut basket);
        words::addresses(&text, &mut basket);
    }
    basket.harvest()
}

/// The users' names of these files that no row of the map answers to, each with the places where it stands.
#[must_use]
pub fn unresolved(harvests: &[(String, Harvest)], map: &[Identity]) -> Section {
    let mut known: HashSet<NameKey> = HashSet::with_capacity(map.len() * 3);
    for identity in map {
        let texts = [
            Some(identity.username.as_str()),
            identity.key.as_deref(),
            identity.email.as_deref(),
            identity.old_email.as_deref(),
            identity.account.as_ref().map(crate::model::AccountId::as_str),
        ];
        known.extend(texts.into_iter().flatten().map(NameKey::of));
    }
    let mut missing: BTreeMap<NameKey, (String, u64, Vec<String>)> = BTreeMap::new();
    for (file, harvest) in harvests {
        for found in harvest.found.iter().filter(|found| found.what == What::User) {
            let key = NameKey::of(&found.name);
            if !known.contains(&key) {
                let entry = missing
                    .entry(key)
                    .or_insert_with(|| (found.name.clone(), 0, Vec::new()));
                entry.1 += found.times;
                entry.2.push(format!("{file}:{}", found.line));
            }
        }
    }
    let mut section = Section::new(Kind::Unresolved, &["name", "times", "where"]);
    let rows = missing.into_values();
    section.rows = rows
        .map(|(name, times, places)| vec![name.into(), times.into(), places.into()])
        .collect();
    section
}

/// Gathers names, each once.
struct Basket {
    /// Where each line ends, in bytes.
    ends: Vec<usize>,
    names: HashMap<(What, String), Found>,
    truncated: bool,
}

impl Basket {
    fn new(text: &str) -> Self {
        Self {
            ends: text.match_indices('\n').map(|(at, _)| at).collect(),
            names: HashMap::new(),
            truncated: false,
        }
    }

    /// Takes a name that begins at byte `at`, if it can be one.
    fn put(&mut self, what: What, name: &str, how: How, at: usize) {
        let line = 1 + self.ends.partition_point(|end| *end < at) as u64;
        self.put_line(what, name, how, line);
    }

    fn put_line(&mut self, what: What, name: &str, how: How, line: u64) {
        let name = name.trim();
        if !is_name(name) {
            return;
        }
        let full = self.names.len() >= MAX_NAMES;
        match self.names.entry((what, name.to_owned())) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.times += 1;
                if (line, how) < (known.line, known.how) {
                    (known.line, known.how) = (line, how);
                }
            }
            Entry::Vacant(_) if full => self.truncated = true,
            Entry::Vacant(place) => {
                place.insert(Found {
                    what,
                    name: name.to_owned(),
                    how,
                    line,
                    times: 1,
                });
            }
        }
    }

    fn harvest(self) -> Harvest {
        let mut found: Vec<Found> = self.names.into_values().collect();
        found.sort_by(|one, other| (one.line, one.what, &one.name).cmp(&(other.line, other.what, &other.name)));
        Harvest {
            found,
            truncated: self.truncated,
        }
    }
}

/// Whether a text can be a name, and not something that a script fills in.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.chars().count() <= MAX_LETTERS
        && !text
            .chars()
            .any(|c| c.is_control() || matches!(c, '$' | '{' | '}' | '<' | '>' | '`'))
        && !matches!(
            text,
            "%s" | "%d" | "%q" | "..." | "…" | "null" | "None" | "true" | "false"
        )
        && text.chars().any(char::is_alphanumeric)
}

/// A file in which every line is one word is a list of names.
fn whole_list(file: &str, text: &str, basket: &mut Basket) -> bool {
    let lines = || {
        text.lines()
            .zip(1_u64..)
            .map(|(line, number)| (line.trim(), number))
            .filter(|(line, _)| !line.is_empty() && !line.starts_with('#'))
    };
    let is_word = |line: &str| {
        line.chars().count() <= MAX_LETTERS
            && !line
                .chars()
                .any(|c| c.is_whitespace() || c.is_control() || "=(){}[]<>\"'$;|`,:/\\&".contains(c))
    };
    if lines().next().is_none() || !lines().all(|(line, _)| is_word(line)) {
        return false;
    }
    let heading = lines().next().and_then(|(line, _)| heading(&plain(line)));
    let by_name = if plain(file).contains("group") {
        What::Group
    } else {
        What::User
    };
    let how = if heading.is_some() { How::Column } else { How::Line };
    for (line, number) in lines().skip(usize::from(heading.is_some())) {
        basket.put_line(heading.unwrap_or(by_name), line, how, number);
    }
    true
}

/// A table whose headings speak of users or groups.
fn columns(bytes: &[u8], basket: &mut Basket) -> bool {
    let Ok(table) = Table::new(bytes.to_vec()) else {
        return false;
    };
    let wanted: Vec<(usize, What)> = table
        .header()
        .iter()
        .enumerate()
        .filter_map(|(at, name)| Some((at, heading(&plain(name))?)))
        .collect();
    if wanted.is_empty() || table.header().len() < 2 {
        return false;
    }
    // What cannot be read to its end is read as any other text.
    let mut rows = Vec::new();
    let read = table.read(&mut |_| {}, |line, row| {
        for (at, what) in &wanted {
            if rows.len() <= MAX_NAMES
                && let Some(name) = row.get(*at)
            {
                rows.push((*what, name.to_owned(), line));
            }
        }
    });
    if read.is_err() || rows.is_empty() {
        return false;
    }
    for (what, name, line) in rows {
        basket.put_line(what, &name, How::Column, line);
    }
    true
}

/// What a heading says of the column below it.
fn heading(plain: &str) -> Option<What> {
    match plain {
        "username" | "usernames" | "user" | "users" | "login" | "uid" | "samaccountname" | "member" | "members"
        | "userprincipalname" | "email" | "mail" | "emailaddress" => Some(What::User),
        "group" | "groups" | "groupname" | "groupnames" => Some(What::Group),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
