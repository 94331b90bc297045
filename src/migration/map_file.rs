//! The identity map as it is written: one row a user of Data Center, names as they are, whatever they look like.

use std::io::{self, Write};

use jiff::Timestamp;

use super::dates;
use crate::model::{AccountId, Standing};

/// The columns, in order.
pub const COLUMNS: [&str; 11] = [
    "username",
    "key",
    "email",
    "old_email",
    "account_id",
    "full_name",
    "status",
    "primary",
    "created",
    "updated",
    "source",
];

/// One user of Data Center.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The username.
    pub username: String,
    /// The user key.
    pub key: Option<String>,
    /// The address in Cloud.
    pub email: Option<String>,
    /// The address on Data Center.
    pub old_email: Option<String>,
    /// The account; without it Cloud is asked for the address.
    pub account: Option<AccountId>,
    /// The full name.
    pub full_name: Option<String>,
    /// Whether there is still somebody behind it.
    pub standing: Standing,
    /// Of several usernames of one account, the one that is shown.
    pub primary: bool,
    /// When the user was created.
    pub created: Option<Timestamp>,
    /// When the user was last changed.
    pub updated: Option<Timestamp>,
    /// Which rows were joined.
    pub source: String,
}

/// Writes the map. An active standing and a username that is not primary are empty fields.
///
/// # Errors
/// What writing says.
pub fn write(identities: &[Identity], to: impl Write) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(to);
    writer.write_record(COLUMNS)?;
    for identity in identities {
        let date = |date: Option<Timestamp>| date.map(dates::written).unwrap_or_default();
        writer.write_record([
            identity.username.as_str(),
            identity.key.as_deref().unwrap_or_default(),
            identity.email.as_deref().unwrap_or_default(),
            identity.old_email.as_deref().unwrap_or_default(),
            identity.account.as_ref().map_or("", AccountId::as_str),
            identity.full_name.as_deref().unwrap_or_default(),
            match identity.standing {
                Standing::Active => "",
                other => other.as_str(),
            },
            if identity.primary { "true" } else { "" },
            &date(identity.created),
            &date(identity.updated),
            &identity.source,
        ])?;
    }
    writer.flush()
}
