//! The file of accounts: reading it and telling every fault it has at once.
//!
//! The text is walked by hand instead of deserialised: a deserialiser stops at the first fault, and its messages quote
//! the line, on which a password hash may stand. A fault here names entry, line and rule, never a value.

use std::collections::{BTreeSet, HashSet};
use std::ops::RangeInclusive;
use std::path::Path;

use jiff::Timestamp;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::scope::{self, Pattern, Scope};
use super::book::{AccountEntry, Book, Expiry, TokenEntry};
use super::hash::StoredHash;
use super::told::{Fault, Faults, Warning};
use super::{Role, Verified, fold};
use crate::model::{Rights, Share};
use crate::settings::end_of;

pub(super) fn load(path: &Path) -> Result<(Book, Vec<Warning>), Faults> {
    let unreadable = |error| {
        Faults(vec![Fault {
            line: None,
            text: format!("cannot read {}: {error}", path.display()),
        }])
    };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let mut warnings = open_to_others(path).map_err(unreadable)?;
    let book = parse(&text)?;
    warnings.extend(book.costs_differ().then_some(Warning::CostsDiffer));
    Ok((book, warnings))
}

#[cfg(unix)]
fn open_to_others(path: &Path) -> std::io::Result<Vec<Warning>> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
    let open = mode & 0o077 != 0;
    Ok(open
        .then(|| Warning::OpenToOthers {
            path: path.to_owned(),
            mode,
        })
        .into_iter()
        .collect())
}

#[cfg(not(unix))]
fn open_to_others(_path: &Path) -> std::io::Result<Vec<Warning>> {
    Ok(Vec::new())
}

pub(super) fn parse(text: &str) -> Result<Book, Faults> {
    let mut reader = Reader {
        text,
        faults: Vec::new(),
    };
    let (document, syntax) = DeTable::parse_recoverable(text);
    // After a fault of syntax the rest of the table is a guess, and faults of a guess only confuse.
    if !syntax.is_empty() {
        for error in syntax {
            reader.fault(error.span().map(|span| span.start), error.message().to_owned());
        }
        return Err(reader.into_faults());
    }
    let (accounts, tokens) = reader.document(document.get_ref());
    if !reader.faults.is_empty() {
        return Err(reader.into_faults());
    }
    Book::new(accounts, tokens).map_err(|error| {
        Faults(vec![Fault {
            line: None,
            text: error.to_string(),
        }])
    })
}

/// The keys that accounts and tokens have alike.
const NAME: &str = "name";
const ROLE: &str = "role";
const EXPIRES: &str = "expires";
const GROUPS: &str = "groups";
const OPERATIONS: &str = "operations";
const OPERATOR: &str = "operator";
const OBSERVE: &str = "observe";
const MAY_CHANGE_PROTECTED: &str = "may_change_protected";
const WEIGHT: &str = "weight";
const AT_ONCE: &str = "max_in_flight";
const COMMON: [&str; 10] = [
    NAME,
    ROLE,
    EXPIRES,
    GROUPS,
    OPERATIONS,
    OPERATOR,
    OBSERVE,
    MAY_CHANGE_PROTECTED,
    WEIGHT,
    AT_ONCE,
];

/// Walks the document and gathers faults.
struct Reader<'t> {
    text: &'t str,
    faults: Vec<Fault>,
}

/// One `[[account]]` or `[[token]]` and what to call it in a fault.
struct Entry<'e> {
    label: String,
    at: usize,
    fields: &'e DeTable<'e>,
}

impl Reader<'_> {
    fn fault(&mut self, at: Option<usize>, text: String) {
        let line = at.map(|at| self.text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1);
        self.faults.push(Fault { line, text });
    }

    fn into_faults(mut self) -> Faults {
        self.faults.sort();
        Faults(self.faults)
    }

    fn document(&mut self, document: &DeTable<'_>) -> (Vec<AccountEntry>, Vec<TokenEntry>) {
        let (mut accounts, mut tokens) = (Vec::new(), Vec::new());
        for (key, value) in document {
            match key.get_ref().as_ref() {
                "account" => accounts = self.accounts(value),
                "token" => tokens = self.tokens(value),
                other => {
                    let text = format!("unknown key {other:?}, expected [[account]] or [[token]]");
                    self.fault(Some(key.span().start), text);
                }
            }
        }
        (accounts, tokens)
    }

    fn entries<'e>(&mut self, kind: &str, value: &'e Spanned<DeValue<'e>>) -> Vec<Entry<'e>> {
        let Some(array) = value.get_ref().as_array() else {
            self.fault(
                Some(value.span().start),
                format!("{kind} must be written [[{kind}]], once for each"),
            );
            return Vec::new();
        };
        let mut entries = Vec::new();
        for (index, item) in array.iter().enumerate() {
            let at = item.span().start;
            let number = index + 1;
            let Some(fields) = item.get_ref().as_table() else {
                self.fault(Some(at), format!("{kind} {number} is not a table"));
                continue;
            };
            let label = match fields.get("name").and_then(|name| name.get_ref().as_str()) {
                Some(name) => format!("{kind} {number} ({name:?})"),
                None => format!("{kind} {number}"),
            };
            entries.push(Entry { label, at, fields });
        }
        entries
    }

    fn accounts(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<AccountEntry> {
        let mut names = HashSet::new();
        let entries = self.entries("account", value);
        entries
            .iter()
            .filter_map(|entry| self.account(entry, &mut names))
            .collect()
    }

    fn account(&mut self, entry: &Entry<'_>, names: &mut HashSet<String>) -> Option<AccountEntry> {
        self.refuse_unknown(entry, "password");
        // Every field is read before any is missed, for all faults to be found.
        let holder = self.holder(entry, names);
        let expires = self.expires(entry);
        let hash = self.text(entry, "password").and_then(|(at, phc)| {
            let parsed = StoredHash::parse(phc);
            parsed
                .map_err(|fault| self.fault(Some(at), format!("{}: password {fault}", entry.label)))
                .ok()
        });
        let named = entry.fields.get(NAME);
        if let Some(at) = named.filter(|name| name.get_ref().as_str().is_some_and(|name| name.contains(':'))) {
            self.fault(
                Some(at.span().start),
                format!("{}: a name with a colon cannot be sent by a client", entry.label),
            );
        }
        Some(AccountEntry {
            verified: holder?,
            hash: hash?,
            expires,
        })
    }

    /// Whoever shows the credential of this entry.
    fn holder(&mut self, entry: &Entry<'_>, names: &mut HashSet<String>) -> Option<Verified> {
        let name = self.name(entry, names);
        let role = self.role(entry);
        let rights = self.rights(entry);
        let scope = self.scope(entry, role);
        Some(Verified {
            name: name?,
            role: role?,
            rights,
            scope: scope.into(),
        })
    }

    fn tokens(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<TokenEntry> {
        let (mut names, mut digests) = (HashSet::new(), HashSet::new());
        let entries = self.entries("token", value);
        entries
            .iter()
            .filter_map(|entry| self.token(entry, &mut names, &mut digests))
            .collect()
    }

    fn token(
        &mut self,
        entry: &Entry<'_>,
        names: &mut HashSet<String>,
        digests: &mut HashSet<[u8; 32]>,
    ) -> Option<TokenEntry> {
        self.refuse_unknown(entry, "sha256");
        let holder = self.holder(entry, names);
        let expires = self.expires(entry);
        let (at, hex) = self.text(entry, "sha256")?;
        let Some(sha256) = digest_of_hex(hex) else {
            self.fault(
                Some(at),
                format!("{}: sha256 is not 64 hexadecimal digits", entry.label),
            );
            return None;
        };
        if !digests.insert(sha256) {
            self.fault(Some(at), format!("{}: another token has this sha256", entry.label));
        }
        Some(TokenEntry {
            verified: holder?,
            sha256,
            expires,
        })
    }

    fn refuse_unknown(&mut self, entry: &Entry<'_>, secret: &str) {
        let known = |key: &str| key == secret || COMMON.contains(&key);
        for key in entry.fields.keys().filter(|key| !known(key.get_ref())) {
            let text = format!(
                "{}: unknown key {:?}, expected {secret}, {}",
                entry.label,
                key.get_ref(),
                COMMON.join(", ")
            );
            self.fault(Some(key.span().start), text);
        }
    }

    /// A field that must be there and be a string: where it stands and what it says.
    fn text<'e>(&mut self, entry: &Entry<'e>, key: &str) -> Option<(usize, &'e str)> {
        let Some(value) = entry.fields.get(key) else {
            self.fault(Some(entry.at), format!("{}: {key} is missing", entry.label));
            return None;
        };
        let at = value.span().start;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.fault(Some(at), format!("{}: {key} is not a string", entry.label));
        }
        text.map(|text| (at, text))
    }

    /// The name, which must be unlike those of `names` and joins them.
    fn name(&mut self, entry: &Entry<'_>, names: &mut HashSet<String>) -> Option<String> {
        let (at, name) = self.text(entry, NAME)?;
        if name.trim().is_empty() {
            self.fault(Some(at), format!("{}: name is blank", entry.label));
            return None;
        }
        if !names.insert(fold(name)) {
            self.fault(
                Some(at),
                format!("{}: this name is there already (its case does not matter)", entry.label),
            );
        }
        Some(name.to_owned())
    }

    fn role(&mut self, entry: &Entry<'_>) -> Option<Role> {
        let (at, role) = self.text(entry, ROLE)?;
        role.parse()
            .map_err(|error| self.fault(Some(at), format!("{}: {error}", entry.label)))
            .ok()
    }

    fn rights(&mut self, entry: &Entry<'_>) -> Rights {
        Rights {
            operator: self.right(entry, OPERATOR),
            observe: self.right(entry, OBSERVE),
            may_change_protected: self.right(entry, MAY_CHANGE_PROTECTED),
            share: Share {
                weight: self.number(entry, WEIGHT, 1..=100).unwrap_or(Share::default().weight),
                at_once: self.number(entry, AT_ONCE, 1..=256).unwrap_or(Share::default().at_once),
            },
        }
    }

    fn number(&mut self, entry: &Entry<'_>, key: &str, within: RangeInclusive<u16>) -> Option<u16> {
        let value = entry.fields.get(key)?;
        let digits = value.get_ref().as_integer().filter(|number| number.radix() == 10);
        let number = digits.and_then(|number| number.as_str().parse().ok());
        let number = number.filter(|number| within.contains(number));
        if number.is_none() {
            let (least, most) = (within.start(), within.end());
            self.fault(
                Some(value.span().start),
                format!(
                    "{}: {key} is not a whole number between {least} and {most}",
                    entry.label
                ),
            );
        }
        number
    }

    /// A right is there if the entry says `true`; one that says neither `true` nor `false` is a fault, lest somebody
    /// who wrote "false" gave it away.
    fn right(&mut self, entry: &Entry<'_>, key: &str) -> bool {
        let Some(value) = entry.fields.get(key) else {
            return false;
        };
        let given = value.get_ref().as_bool();
        if given.is_none() {
            self.fault(
                Some(value.span().start),
                format!("{}: {key} is neither true nor false", entry.label),
            );
        }
        given.unwrap_or_default()
    }

    fn scope(&mut self, entry: &Entry<'_>, role: Option<Role>) -> Scope {
        let groups = self.list(entry, GROUPS).map(|patterns| {
            let parsed = patterns.into_iter().filter_map(|(at, text)| {
                let fault = |why| self.fault(Some(at), format!("{}: groups: {text:?} {why}", entry.label));
                Pattern::parse(text).map_err(fault).ok()
            });
            parsed.collect()
        });
        let operations = self.list(entry, OPERATIONS).map(|names| {
            let mut operations = BTreeSet::new();
            for (at, text) in names {
                let Some(name) = Scope::operation(text) else {
                    let known: Vec<_> = scope::operations().collect();
                    let text = format!("{}: operations: {text:?} is none of {}", entry.label, known.join(", "));
                    self.fault(Some(at), text);
                    continue;
                };
                if role == Some(Role::Reader) && !Scope::is_reading(name) {
                    let text = format!("{}: operations: a reader cannot call {name}", entry.label);
                    self.fault(Some(at), text);
                }
                operations.insert(name);
            }
            operations
        });
        Scope::new(groups, operations)
    }

    /// A list of texts, each with its place. One that is empty would let nobody do anything, or is meant to say nothing:
    /// nobody is to find out which.
    fn list<'e>(&mut self, entry: &Entry<'e>, key: &str) -> Option<Vec<(usize, &'e str)>> {
        let value = entry.fields.get(key)?;
        let texts = value.get_ref().as_array().filter(|array| !array.is_empty());
        let texts = texts.and_then(|array| {
            let text = |item: &'e Spanned<DeValue<'e>>| Some((item.span().start, item.get_ref().as_str()?));
            array.iter().map(text).collect::<Option<Vec<_>>>()
        });
        if texts.is_none() {
            let text = format!("{}: {key} is not a list of texts; leave it out for all", entry.label);
            self.fault(Some(value.span().start), text);
        }
        Some(texts.unwrap_or_default())
    }

    fn expires(&mut self, entry: &Entry<'_>) -> Expiry {
        Expiry(self.end(entry))
    }

    fn end(&mut self, entry: &Entry<'_>) -> Option<Timestamp> {
        let value = entry.fields.get(EXPIRES)?;
        let expires = match value.get_ref() {
            DeValue::String(text) => end_of(text),
            // TOML has dates of its own, and who leaves the quotes out means the same.
            DeValue::Datetime(date) => end_of(&date.to_string()),
            _ => None,
        };
        if expires.is_none() {
            let text = "expires is neither a date (2027-01-31) nor an instant with its zone (2027-01-31T12:00:00Z)";
            self.fault(Some(value.span().start), format!("{}: {text}", entry.label));
        }
        expires
    }
}

fn digest_of_hex(hex: &str) -> Option<[u8; 32]> {
    let nibbles = hex
        .chars()
        .map(|digit| digit.to_digit(16))
        .collect::<Option<Vec<u32>>>()?;
    let bytes = nibbles.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    });
    bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
}
