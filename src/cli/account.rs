//! `account`: makes entries for the file of accounts.
//!
//! The entry goes to standard output, to be appended to the file; a token's secret goes to standard error, so that
//! `account token … >> accounts.toml` does not write it there.

use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use secrecy::{ExposeSecret as _, SecretString};

use crate::extender::auth::accounts::{Accounts, MAX_PASSWORD_BYTES, Role, hash_password, new_token};
use crate::model::{Rights, Share};

/// Make entries for the file of accounts.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Hash a password, typed twice or one line of standard input, and print its `[[account]]` entry
    Hash {
        /// Name of the account; without it the entry's name is left to be filled in
        #[arg(long)]
        name: Option<String>,
        /// What the account may do: reader or administrator
        #[arg(long, default_value_t = Role::Reader)]
        role: Role,
        #[command(flatten)]
        more: More,
    },
    /// Make a bearer token: its `[[token]]` entry on standard output, its secret once on standard error
    Token {
        /// Name of the token, for the audit
        #[arg(long)]
        name: String,
        /// What its holder may do: reader or administrator
        #[arg(long, default_value_t = Role::Reader)]
        role: Role,
        #[command(flatten)]
        more: More,
    },
}

/// What the entry says beyond its role.
#[derive(Clone, Debug, clap::Args)]
struct More {
    /// For these groups alone, `*` for any letters: --groups 'team-*' 'project x', or --groups once for each (default:
    /// all). A name with a comma in it is written into the entry by hand
    #[arg(long, value_name = "NAME", num_args = 1.., value_parser = group)]
    groups: Vec<String>,
    /// For these calls alone: --operations getUsers addUsers (default: all that the role allows)
    #[arg(long, value_name = "CALL", num_args = 1.., value_delimiter = ',')]
    operations: Vec<String>,
    /// Last day (2027-01-31, UTC) or the instant (2027-01-31T12:00:00Z) at which it ends; without it never
    #[arg(long, value_name = "DATE")]
    expires: Option<String>,
    /// May see everybody's reports
    #[arg(long)]
    operator: bool,
    /// Changes nothing: each of its changing calls is a dry run
    #[arg(long)]
    observe: bool,
    /// May change protected groups
    #[arg(long)]
    may_change_protected: bool,
    /// Its part of Cloud's pace beside other callers, who have 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100), default_value_t = 1)]
    weight: u16,
    /// Its requests to Cloud under way at once (default: as many as cloud.max_in_flight allows)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    max_in_flight: Option<u16>,
}

impl More {
    fn rights(&self) -> Rights {
        let more = self;
        Rights {
            operator: more.operator,
            observe: more.observe,
            may_change_protected: more.may_change_protected,
            share: Share {
                weight: more.weight,
                at_once: more.max_in_flight.unwrap_or(0),
            },
        }
    }
}

/// One name of a group. A comma is a letter of it: whoever types one most likely means two.
fn group(text: &str) -> Result<String, String> {
    if text.contains(',') {
        let fault = "a comma is part of a group's name: give several names apart (--groups a b), and write a name that has \
                     one into the entry by hand";
        return Err(fault.to_owned());
    }
    Ok(text.to_owned())
}

/// Prints the entry asked for.
///
/// # Errors
/// No password, two different ones, or something the file of accounts would not take.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Hash { name, role, more } => {
            // Before asking: nobody wants to type a password twice to learn that the entry was no good.
            if let Some(name) = &name {
                check(&account_entry(Some(name), role, &more, PLACEHOLDER_HASH))?;
            }
            let hash = hash_password(read_password()?.expose_secret())?;
            print!("{}", account_entry(name.as_deref(), role, &more, &hash));
        }
        Command::Token { name, role, more } => {
            let token = new_token()?;
            let entry = token_entry(&name, role, &more, &token.sha256);
            check(&entry)?;
            print!("{entry}");
            eprintln!("{}", token.secret.expose_secret());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A hash of the right shape, to check the rest of an entry with.
const PLACEHOLDER_HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA";

/// Holds an entry against the rules of the file, so that what is printed is taken.
fn check(entry: &str) -> anyhow::Result<()> {
    Accounts::parse(entry).map(drop).context("the entry would not be taken")
}

fn read_password() -> anyhow::Result<SecretString> {
    let stdin = std::io::stdin();
    let password = if stdin.is_terminal() {
        let first = SecretString::from(rpassword::prompt_password("Password: ")?);
        let second = SecretString::from(rpassword::prompt_password("Once more: ")?);
        ensure!(
            first.expose_secret() == second.expose_secret(),
            "the two passwords differ"
        );
        first
    } else {
        one_line(&mut stdin.lock())?
    };
    ensure!(!password.expose_secret().is_empty(), "the password is empty");
    ensure!(
        password.expose_secret().len() <= MAX_PASSWORD_BYTES,
        "the password is longer than {MAX_PASSWORD_BYTES} bytes and would never be accepted"
    );
    Ok(password)
}

/// The only line of `input`, without its end. A second line is refused: whoever sends one means something else.
fn one_line(input: &mut impl std::io::BufRead) -> anyhow::Result<SecretString> {
    let mut line = String::new();
    // Bounded, for `< /dev/zero`; well beyond the longest password, for its own message to be given.
    let mut input = input.take(64 * 1024);
    input
        .read_line(&mut line)
        .context("cannot read the password from standard input")?;
    if !input.fill_buf()?.is_empty() {
        bail!("standard input has more than one line");
    }
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(line.strip_suffix('\r').unwrap_or(line).into())
}

/// The lines of an entry that say more than its role does; a right it has not, and a bound it has not, have no line.
fn more_lines(more: &More) -> String {
    let rights = more.rights();
    let lines = [
        ("operator", rights.operator),
        ("observe", rights.observe),
        ("may_change_protected", rights.may_change_protected),
    ];
    let given = lines.into_iter().filter(|(_, given)| *given);
    let mut lines: String = given.map(|(key, _)| format!("{key} = true\n")).collect();
    // Writing to a `String` cannot fail.
    let (share, usual) = (rights.share, Share::default());
    for (key, number, usual) in [
        ("weight", share.weight, usual.weight),
        ("max_in_flight", share.at_once, usual.at_once),
    ] {
        if number != usual {
            let _ = writeln!(lines, "{key} = {number}");
        }
    }
    for (key, texts) in [("groups", &more.groups), ("operations", &more.operations)] {
        if !texts.is_empty() {
            let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
            let _ = writeln!(lines, "{key} = [{}]", texts.join(", "));
        }
    }
    if let Some(expires) = &more.expires {
        let _ = writeln!(lines, "expires = {}", quoted(expires));
    }
    lines
}

fn account_entry(name: Option<&str>, role: Role, more: &More, hash: &str) -> String {
    let name = name.map_or_else(|| "\"\" # fill in".to_owned(), quoted);
    let (hash, more) = (quoted(hash), more_lines(more));
    format!("[[account]]\nname = {name}\npassword = {hash}\nrole = \"{role}\"\n{more}")
}

fn token_entry(name: &str, role: Role, more: &More, sha256: &str) -> String {
    let (name, more) = (quoted(name), more_lines(more));
    format!("[[token]]\nname = {name}\nsha256 = \"{sha256}\"\nrole = \"{role}\"\n{more}")
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use proptest::prelude::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn typed(words: &[&str]) -> Result<Args, clap::Error> {
        Line::try_parse_from(std::iter::once(&"account").chain(words)).map(|line| line.args)
    }

    fn nothing_more() -> More {
        match typed(&["hash"]).unwrap().command {
            Command::Hash { more, .. } | Command::Token { more, .. } => more,
        }
    }

    #[test]
    fn a_role_is_reader_unless_said_otherwise_and_no_other_word_is_one() {
        let Command::Hash {
            name: None,
            role: Role::Reader,
            more,
        } = typed(&["hash"]).unwrap().command
        else {
            panic!("reader is the default");
        };
        assert_eq!((more.rights(), more_lines(&more)), (Rights::default(), String::new()));
        let args = typed(&["token", "--name", "ci", "--role", "administrator"]).unwrap();
        assert!(matches!(
            args.command,
            Command::Token {
                role: Role::Administrator,
                ..
            }
        ));
        assert!(typed(&["hash", "--role", "root"]).is_err());
        assert!(typed(&["token"]).is_err(), "a token must have a name");
    }

    #[test]
    fn an_entry_says_the_rights_it_was_asked_for_and_the_file_takes_them() {
        let words = ["token", "--name", "ci", "--observe", "--may-change-protected"];
        let Command::Token { name, role, more } = typed(&words).unwrap().command else {
            panic!("a token was asked for");
        };
        let entry = token_entry(&name, role, &more, &"0".repeat(64));
        assert!(entry.ends_with("role = \"reader\"\nobserve = true\nmay_change_protected = true\n"));
        assert!(Accounts::parse(&entry).unwrap().token("ci").unwrap().rights.observe);
    }

    #[test]
    fn an_entry_says_what_it_is_for_and_how_long_and_the_file_takes_it() {
        let words = "hash --name sync --groups team-* p\"x --operations getUsers,getGroups --expires 2999-12-31";
        let Command::Hash { name, role, more } = typed(&words.split(' ').collect::<Vec<_>>()).unwrap().command else {
            panic!("an account was asked for");
        };
        let entry = account_entry(name.as_deref(), role, &more, PLACEHOLDER_HASH);
        let lines =
            "groups = [\"team-*\", \"p\\\"x\"]\noperations = [\"getUsers\", \"getGroups\"]\nexpires = \"2999-12-31\"\n";
        assert!(entry.ends_with(lines), "{entry}");
        let scope = Accounts::parse(&entry).unwrap().account("sync").unwrap().scope;
        assert!(scope.holds_group("TEAM-a") && scope.holds_group("p\"x") && !scope.holds_group("x"));
    }

    #[test]
    fn groups_are_given_apart_and_a_comma_between_them_is_refused() {
        let groups = |words: &str| {
            let args = typed(&words.split(' ').collect::<Vec<_>>());
            args.map(|args| match args.command {
                Command::Hash { more, .. } | Command::Token { more, .. } => more.groups,
            })
        };
        assert_eq!(groups("hash --groups a b --groups c").unwrap(), ["a", "b", "c"]);
        for words in ["token --name ci --groups a,b", "hash --groups a --groups b, c"] {
            let refused = groups(words).unwrap_err().to_string();
            assert!(
                refused.contains("comma") && refused.contains("--groups a b"),
                "{refused}"
            );
        }
        assert_eq!(
            groups("token --name ci --operations getUsers,getGroups").unwrap(),
            Vec::<String>::new()
        );
    }

    #[test]
    fn what_the_file_would_not_take_is_not_made() {
        let refused = |words: &[&str]| format!("{:#}", run(typed(words).unwrap()).unwrap_err());
        assert!(refused(&["hash", "--name", "a:b"]).contains("colon"));
        assert!(refused(&["token", "--name", " "]).contains("blank"));
        assert!(refused(&["token", "--name", "ci", "--expires", "soon"]).contains("neither a date"));
        assert!(refused(&["hash", "--name", "a", "--expires", "soon"]).contains("neither a date"));
        assert!(refused(&["token", "--name", "ci", "--operations", "list"]).contains("none of getUsers"));
        assert!(refused(&["token", "--name", "ci", "--groups", ""]).contains("names no group"));
    }

    #[test]
    fn an_entry_without_a_name_says_what_is_missing_until_it_has_one() {
        let entry = account_entry(None, Role::Reader, &nothing_more(), PLACEHOLDER_HASH);
        assert!(check(&entry).is_err());
        assert!(check(&entry.replace("\"\" # fill in", "\"svc\"")).is_ok());
    }

    #[test]
    fn one_line_is_taken_without_its_end_and_two_are_not() {
        let read = |text: &str| one_line(&mut text.as_bytes()).map(|line| line.expose_secret().to_owned());
        assert_eq!(read("p w \n").unwrap(), "p w ");
        assert_eq!(read("p\r\n").unwrap(), "p");
        assert_eq!(read("p").unwrap(), "p");
        assert_eq!(read("").unwrap(), "");
        assert!(read("p\nq\n").is_err());
        assert!(one_line(&mut &[b'a', 0xff][..]).is_err());
    }

    proptest! {
        #[test]
        fn any_name_survives_its_entry(name in "[\\PC\\x00-\\x1f\\x7f\"\\\\]{1,20}") {
            prop_assume!(!name.trim().is_empty());
            let more = More { groups: vec![name.clone()], expires: Some("2027-01-31".to_owned()), ..nothing_more() };
            let entry = token_entry(&name, Role::Reader, &more, &"0".repeat(64));
            // A group's name has no control characters, and is no id.
            prop_assert!(check(&entry).is_ok() || name.contains(char::is_control) || name.starts_with("id:"));
            let table: toml::Table = entry.parse().unwrap();
            prop_assert_eq!(table["token"][0]["name"].as_str(), Some(name.as_str()));
            prop_assert_eq!(table["token"][0]["groups"][0].as_str(), Some(name.as_str()));
        }
    }
}
