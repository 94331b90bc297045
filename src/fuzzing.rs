//! What `fuzz/` feeds with random bytes, and `tests/fuzz_inputs.rs` with what was found so far: every reader of what
//! somebody else wrote. Each must end without a panic, and what it accepts must hold what it promises; the assertions here
//! say what that is. No caller of the library has a use for it.

use config::{Config, File, FileFormat};

use crate::directory::identity::{Map, Meaning};
use crate::extender::auth::Accounts;
use crate::migration::columns::Role;
use crate::migration::sources::Inputs;
use crate::migration::{harvest, join, map_file};
use crate::model::AccountId;
use crate::settings::{DEFAULTS, NameKind, PrimaryRule, Settings};

pub use crate::cloud::fuzzing::{answer, limits};
pub use crate::extender::fuzzing::{authorization, body, date, target};

/// One reader, given any bytes.
pub type Target = fn(&[u8]);

/// Every target by its name: that of its file in `fuzz/fuzz_targets` and of its folder in `tests/fixtures/fuzz`.
pub const TARGETS: [(&str, Target); 10] = [
    ("inbound_target", target),
    ("inbound_body", body),
    ("date_pattern", date),
    ("authorization", authorization),
    ("cloud_answer", answer),
    ("limit_headers", limits),
    ("identity_map", identity_map),
    ("migration_tables", migration_tables),
    ("accounts_file", accounts_file),
    ("settings_file", settings_file),
];

/// The identity map. Whatever name it lists means something, and whatever name it shows leads back to its account.
pub fn identity_map(data: &[u8]) {
    const ORDER: [NameKind; 3] = [NameKind::Username, NameKind::Email, NameKind::AccountId];
    for rule in [PrimaryRule::First, PrimaryRule::Shortest, PrimaryRule::MatchesEmail] {
        let Ok(map) = Map::parse(data, rule) else { return };
        for name in map.names() {
            assert!(map.by_name(name).is_some(), "{name:?} is listed and means nothing");
        }
        for entry in map.entries() {
            let account = entry.account_id();
            let shown = map.shown_name(&account, &ORDER, true);
            let shown = shown.expect("an account is shown by its id at least");
            if shown != account.as_str() {
                assert!(
                    matches!(map.by_name(shown), Some(Meaning::One(found)) if found.account() == entry.account()),
                    "{shown:?} does not lead back to {account:?}"
                );
            }
        }
    }
}

/// What parts the files of [`migration_tables`] in its input.
const PART: &[u8] = b"\n====\n";

/// The exports of a migration: up to three files in one input, of the kind that each one's first byte says. What is joined of
/// them is written as an identity map, and that map must be one.
pub fn migration_tables(data: &[u8]) {
    let mut inputs = Inputs::default();
    let mut rest = data;
    for number in 0..3 {
        let end = rest.windows(PART.len()).position(|window| window == PART);
        let file = end.and_then(|end| rest.get(..end)).unwrap_or(rest);
        if let Some((kind, bytes)) = file.split_first() {
            let role = match kind {
                b'M' => Role::MigrationUsers,
                b'S' => Role::SiteUsers,
                _ => Role::Directory,
            };
            // A file that cannot be understood leaves nothing behind.
            let _ = inputs.read(role, &format!("file{number}"), bytes.to_vec(), &mut |_| {});
            let _ = harvest::harvest("script", bytes);
        }
        rest = end.and_then(|end| rest.get(end + PART.len()..)).unwrap_or_default();
    }
    let joined = join::join(&inputs);
    let mut written = Vec::new();
    map_file::write(&joined.identities, &mut written).expect("writing to memory does not fail");
    let refused = Map::parse(&written, PrimaryRule::First)
        .err()
        .map(|faults| faults.to_string());
    assert_eq!(refused, None, "the map that was written cannot be read");
    for identity in &joined.identities {
        let possible = identity
            .account
            .as_ref()
            .is_none_or(|id| AccountId::is_possible(id.as_str()));
        assert!(possible, "{identity:?} has an impossible account");
    }
}

/// The file of accounts. A fault is told, and never with a hash in it.
pub fn accounts_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Accounts::parse(text) {
        Ok(accounts) => {
            let (_, tokens) = accounts.counts();
            assert!(tokens <= data.len());
        }
        Err(faults) => {
            let told = faults.to_string();
            assert!(!told.is_empty() && !told.contains("$argon2id$v=19$m=8,t=1"), "{told}");
        }
    }
}

/// The file of settings, as `Settings::load` reads it but for the files and commands that it names: those are another's to
/// open, and random text may name anything.
pub fn settings_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(error) = toml::from_str::<toml::Table>(text) {
        let _ = crate::settings::place(&error, text);
        return;
    }
    let config = Config::builder()
        .add_source(File::from_str(DEFAULTS, FileFormat::Toml))
        .add_source(File::from_str(text, FileFormat::Toml))
        .build();
    let Ok(config) = config else { return };
    if let Ok(settings) = serde_path_to_error::deserialize::<_, Settings>(config) {
        if let Err(faults) = settings.validate() {
            assert!(!faults.0.is_empty() && faults.0.iter().all(|fault| !fault.is_empty()));
        }
        let _ = format!("{settings:?}");
    }
}
