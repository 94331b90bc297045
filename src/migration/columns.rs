//! Headings to fields. Products rename their headings and spreadsheets respell them, so they are compared by letters and
//! digits alone, ignoring case, against a table of synonyms.

use super::table::Table;

/// What a file is given as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The user list of the Migration Assistant.
    MigrationUsers,
    /// The export of the site's users by its administration.
    SiteUsers,
    /// Any list of usernames and e-mail addresses, such as an export of LDAP.
    Directory,
}

impl Role {
    /// The role's name: its option on the command line, and in the map's column `source`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MigrationUsers => "migration-users",
            Self::SiteUsers => "site-users",
            Self::Directory => "directory",
        }
    }

    /// What such a file is, in words.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::MigrationUsers => "the Migration Assistant's user list",
            Self::SiteUsers => "the administration site's user export",
            Self::Directory => "a list of usernames and e-mail addresses",
        }
    }

    fn synonyms(self) -> &'static [Synonyms] {
        match self {
            Self::MigrationUsers => MIGRATION,
            Self::SiteUsers => SITE,
            Self::Directory => DIRECTORY,
        }
    }

    const ALL: [Self; 3] = [Self::MigrationUsers, Self::SiteUsers, Self::Directory];
}

/// A field that rows of some file have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Data Center's user key.
    Key,
    /// Data Center's username.
    Username,
    /// What the Migration Assistant found wrong with the old address.
    Trouble,
    /// The address on Data Center.
    OldEmail,
    /// The address in Cloud.
    NewEmail,
    /// Whether the user is migrated switched off.
    Tombstone,
    /// Whose account it is: a person's or a program's.
    AccountType,
    /// Cloud's account id.
    AccountId,
    /// The full name.
    FullName,
    /// The address.
    Email,
    /// Whether the account is in use.
    Status,
    /// When the user was last seen.
    LastSeen,
    /// When the user was created.
    Created,
    /// When the user was last changed.
    Updated,
}

struct Synonyms {
    field: Field,
    required: bool,
    /// Best first. One that ends in `*` matches every heading that begins so.
    names: &'static [&'static str],
}

const fn needed(field: Field, names: &'static [&'static str]) -> Synonyms {
    Synonyms {
        field,
        required: true,
        names,
    }
}

const fn welcome(field: Field, names: &'static [&'static str]) -> Synonyms {
    Synonyms {
        field,
        required: false,
        names,
    }
}

const MIGRATION: &[Synonyms] = &[
    welcome(Field::Key, &["userkey", "key"]),
    needed(Field::Username, &["username", "login", "loginname"]),
    welcome(Field::Trouble, &["errortype", "error", "type"]),
    welcome(
        Field::OldEmail,
        &["oldemail", "oldemailaddress", "currentemail", "sourceemail"],
    ),
    needed(
        Field::NewEmail,
        &["newemail", "newemailaddress", "cloudemail", "targetemail"],
    ),
    welcome(
        Field::Tombstone,
        &["tombstone", "tombstoned", "istombstone", "formeruser"],
    ),
    welcome(Field::AccountType, &["accounttype", "usertype"]),
];

const SITE: &[Synonyms] = &[
    needed(
        Field::AccountId,
        &["userid", "accountid", "atlassianaccountid", "atlassianid", "aaid", "id"],
    ),
    welcome(Field::FullName, &["username", "displayname", "fullname", "name"]),
    needed(
        Field::Email,
        &["email", "emailaddress", "useremail", "primaryemail", "mail"],
    ),
    welcome(Field::Status, &["userstatus", "accountstatus", "status"]),
    welcome(Field::AccountType, &["accounttype", "usertype"]),
    welcome(Field::LastSeen, &["lastseeninconfluence*", "lastactive*", "lastseen*"]),
    welcome(
        Field::Created,
        &[
            "addedtoorg",
            "addedtoorganization",
            "addedtoorganisation",
            "added",
            "created",
        ],
    ),
];

const DIRECTORY: &[Synonyms] = &[
    welcome(Field::Key, &["userkey", "atlassianuserkey"]),
    needed(
        Field::Username,
        &[
            "samaccountname",
            "username",
            "login",
            "loginname",
            "logonname",
            "lowerusername",
            "uid",
            "userid",
            "user",
            "account",
            "accountname",
            "name",
            "userprincipalname",
            "upn",
        ],
    ),
    // Where there is no address, the name one signs in with is at least shaped like one.
    needed(
        Field::Email,
        &[
            "mail",
            "email",
            "emailaddress",
            "primarysmtpaddress",
            "loweremailaddress",
            "userprincipalname",
            "upn",
        ],
    ),
    welcome(Field::FullName, &["displayname", "fullname", "cn", "commonname"]),
    welcome(
        Field::Created,
        &["createddate", "created", "whencreated", "createtimestamp"],
    ),
    welcome(
        Field::Updated,
        &["updateddate", "updated", "whenchanged", "modifytimestamp", "modified"],
    ),
];

/// Where each field of a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    found: Vec<(Field, usize)>,
}

impl Columns {
    /// Finds the fields of a file given as `role`.
    ///
    /// # Errors
    /// Which headings are missing or ambiguous, which were found, and what the file looks like instead.
    pub fn find(role: Role, table: &Table) -> Result<Self, String> {
        let headings = spelt(table);
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for wanted in role.synonyms() {
            match position(wanted, &headings) {
                Ok(Some(at)) => found.push((wanted.field, at)),
                Ok(None) if wanted.required => missing.push(wanted.names.first().copied().unwrap_or_default()),
                Ok(None) => {}
                Err(name) => return Err(format!("two columns are called {name}")),
            }
        }
        if missing.is_empty() {
            return Ok(Self { found });
        }
        let header = table
            .header()
            .iter()
            .take(20)
            .map(|name| format!("{:?}", name.chars().take(60).collect::<String>()))
            .collect::<Vec<_>>()
            .join(", ");
        let mut fault = format!(
            "is not {}: no column {}; its first line has {header} (read as {}, parted by {})",
            role.meaning(),
            missing.join(", no column "),
            table.encoding(),
            table.delimiter()
        );
        if let Some(other) = Role::ALL
            .into_iter()
            .find(|other| *other != role && fits(*other, &headings))
        {
            fault.push_str(&format!("; it looks like {}: --{}", other.meaning(), other.as_str()));
        }
        Err(fault)
    }

    /// The field's text in a row; nothing where the file has no such column, or the cell is empty.
    #[must_use]
    pub fn get<'a>(&self, field: Field, row: &'a csv::StringRecord) -> Option<&'a str> {
        let at = self.found.iter().find(|(found, _)| *found == field)?.1;
        row.get(at).filter(|text| !text.is_empty())
    }

    /// The headings that were understood, in the order of the fields.
    pub fn headings<'a>(&'a self, table: &'a Table) -> impl Iterator<Item = (Field, &'a str)> {
        self.found
            .iter()
            .filter_map(|(field, at)| Some((*field, table.header().get(*at)?.as_str())))
    }
}

/// A heading by its letters and digits alone.
#[must_use]
pub fn plain(heading: &str) -> String {
    heading
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

fn spelt(table: &Table) -> Vec<String> {
    table.header().iter().map(|heading| plain(heading)).collect()
}

fn fits(role: Role, headings: &[String]) -> bool {
    role.synonyms()
        .iter()
        .filter(|wanted| wanted.required)
        .all(|wanted| matches!(position(wanted, headings), Ok(Some(_))))
}

/// The best synonym's column; its name where two columns bear it.
fn position(wanted: &Synonyms, headings: &[String]) -> Result<Option<usize>, &'static str> {
    for name in wanted.names {
        let (start, loose) = name.strip_suffix('*').map_or((*name, false), |start| (start, true));
        let mut at = headings
            .iter()
            .enumerate()
            .filter(|(_, heading)| *heading == start || (loose && heading.starts_with(start)))
            .map(|(at, _)| at);
        match (at.next(), at.next()) {
            (None, _) => {}
            // Several sites are seen in as many columns; none of them decides anything.
            (Some(first), Some(_)) if loose => return Ok(Some(first)),
            (Some(first), None) => return Ok(Some(first)),
            (Some(_), Some(_)) => return Err(name),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(role: Role, header: &str) -> Result<Vec<(Field, String)>, String> {
        let table = Table::new(format!("{header}\n").into_bytes()).unwrap();
        let columns = Columns::find(role, &table)?;
        Ok(columns
            .headings(&table)
            .map(|(field, name)| (field, name.to_owned()))
            .collect())
    }

    #[test]
    fn both_layouts_of_the_migration_assistant_are_understood() {
        for layout in [
            "UserKey,UserName,ErrorType,OldEmail,NewEmail,Tombstone,AccountType",
            "UserKey,UserName,Type,OldEmail,NewEmail,Tombstone",
            "user key,user_name,\"error-type\",old e-mail,NEW EMAIL,tombstone?",
        ] {
            let found = columns(Role::MigrationUsers, layout).unwrap();
            assert!(found.len() >= 6, "{layout}: {found:?}");
        }
    }

    #[test]
    fn a_users_name_is_a_full_name_in_the_sites_export_and_a_username_elsewhere() {
        let header = "User id,User name,email,User status,Added to org,Org role,Last seen in Jira - acme,Last seen in Confluence - acme";
        let found = columns(Role::SiteUsers, header).unwrap();
        assert!(found.contains(&(Field::FullName, "User name".into())), "{found:?}");
        assert!(
            found.contains(&(Field::LastSeen, "Last seen in Confluence - acme".into())),
            "{found:?}"
        );
        let found = columns(Role::Directory, "userPrincipalName;sAMAccountName;displayName").unwrap();
        assert!(found.contains(&(Field::Username, "sAMAccountName".into())), "{found:?}");
        assert!(found.contains(&(Field::Email, "userPrincipalName".into())), "{found:?}");
    }

    #[test]
    fn a_foreign_file_is_told_what_it_has_and_what_it_looks_like() {
        let fault = columns(Role::MigrationUsers, "User id,User name,email,User status").unwrap_err();
        assert!(fault.contains("no column newemail"), "{fault}");
        assert!(fault.contains("\"User status\""), "{fault}");
        assert!(fault.contains("--site-users"), "{fault}");
        assert!(
            columns(Role::SiteUsers, "id,email,E-Mail")
                .unwrap_err()
                .contains("two columns")
        );
    }
}
