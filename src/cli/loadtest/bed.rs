//! What is tested: a facade that runs already, or a world of our own. Whatever must not be is refused here, before anything is
//! sent, and what is named first is refused first: the address.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::behind::Behind;
use super::changes::Ground;
use super::mix::{Call, Mix};
use super::send::{self, Manner, Target};
use super::world::{self, World};
use super::{Args, address};
use crate::directory::identity::Map;
use crate::settings::{NameKind, PrimaryRule};

/// What a secret is read from where no file is named.
const SECRET: &str = "LOADTEST_SECRET";
const ADMIN_TOKEN: &str = "LOADTEST_ADMIN_TOKEN";
/// What changes before and after the load may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A facade that runs already.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "A facade that runs already")]
pub(super) struct Given {
    /// Its address, as scripts have it. Addresses that look like Atlassian's Cloud are refused
    #[arg(long, value_name = "URL")]
    pub(super) target: Option<String>,
    /// Who calls, with a password; without it the secret is a bearer token
    #[arg(long, value_name = "NAME", requires = "target")]
    user: Option<String>,
    /// The password or token, in a file [or in the environment, as LOADTEST_SECRET; default: no credential]
    #[arg(long, value_name = "FILE", requires = "target")]
    secret_file: Option<PathBuf>,
    /// Further authorities that its certificate may be from, as PEM
    #[arg(long, value_name = "FILE", requires = "target")]
    ca_file: Option<PathBuf>,
    /// A group to read (repeatable)
    #[arg(long, value_name = "NAME", requires = "target")]
    group: Vec<String>,
    /// More of them, one a line
    #[arg(long, value_name = "FILE", requires = "target")]
    groups_file: Option<PathBuf>,
    /// A group that may be changed (repeatable); without any, nothing is. What is added is taken out again at the end. Groups
    /// that addGroups makes are called NAME-loadtest-… after the first of them
    #[arg(long, value_name = "NAME", requires = "target")]
    change_group: Vec<String>,
    /// The identity map, for the names to add
    #[arg(long, value_name = "FILE", requires = "target")]
    map: Option<PathBuf>,
    /// Its operator's listener, which tells the calls to Cloud behind it
    #[arg(long, value_name = "URL", requires = "target")]
    admin: Option<String>,
    /// The token for that, in a file [or in the environment, as LOADTEST_ADMIN_TOKEN]
    #[arg(long, value_name = "FILE", requires = "admin")]
    admin_token_file: Option<PathBuf>,
    /// Its process on this machine, for its memory
    #[arg(long, value_name = "N", requires = "target")]
    pid: Option<u32>,
}

/// Everything that the load needs to know of it.
pub(super) struct Bed {
    pub(super) target: Target,
    /// The same, for what comes before and after the load.
    pub(super) patient: Target,
    pub(super) shown: String,
    pub(super) mix: Mix,
    pub(super) groups: Vec<String>,
    pub(super) grounds: Vec<Ground>,
    pub(super) behind: Behind,
    pub(super) pid: Option<u32>,
    pub(super) world: Option<World>,
}

impl Bed {
    /// Makes ready what is tested.
    ///
    /// # Errors
    /// It may not be tested, cannot be reached, or something is missing.
    pub(super) async fn new(args: &Args) -> anyhow::Result<Self> {
        match &args.given.target {
            Some(target) => Self::given(args, target).await,
            None => Self::own(args).await,
        }
    }

    async fn own(args: &Args) -> anyhow::Result<Self> {
        let distinct = args.load.distinct_groups.unwrap_or(0);
        let world = World::start(&args.world, distinct, args.load.seed).await?;
        let credential = send::credential(None, &world.token)?;
        let (target, patient) = targets(args, &world.facade, Some(credential), None)?;
        Ok(Self {
            target,
            patient,
            shown: format!("{}, a facade of its own before a simulated Cloud", world.facade),
            mix: args.load.mix.clone().unwrap_or_else(Mix::of_all),
            groups: world.groups.clone(),
            grounds: vec![world.ground.clone()],
            behind: Behind::simulator(&world.cloud)?,
            pid: Some(world.facade_pid),
            world: Some(world),
        })
    }

    async fn given(args: &Args, target: &str) -> anyhow::Result<Self> {
        let given = &args.given;
        let base = address::allowed(target).context("--target")?;
        let admin = given.admin.as_deref().map(address::allowed);
        let admin = admin.transpose().context("--admin")?;
        let mix = args.load.mix.clone().unwrap_or_else(Mix::of_reads);
        ensure!(
            !mix.changes_something() || !given.change_group.is_empty(),
            "--mix {mix} changes something, and --change-group names no group that may be changed"
        );
        let groups = groups(given, args.load.distinct_groups)?;
        ensure!(
            !mix.has(Call::GetUsers) || !groups.is_empty(),
            "--group or --groups-file: no group is named whose members are to be read"
        );
        let map = given.map.as_deref().map(read_map).transpose()?;
        ensure!(
            !mix.has(Call::AddUsers) || map.is_some(),
            "--map: the names to add are missing"
        );
        let secret = secret(given.secret_file.as_deref(), SECRET)?;
        ensure!(
            given.user.is_none() || secret.is_some(),
            "--user: the password is missing: --secret-file, or {SECRET} in the environment"
        );
        let credential = secret
            .map(|secret| send::credential(given.user.as_deref(), secret.expose_secret()))
            .transpose()?;
        let admin_token = secret_of_admin(given)?;
        let (target, patient) = targets(args, &base, credential, given.ca_file.as_deref())?;
        address::check_lookup(&base).await.context("--target")?;
        if let Some(admin) = &admin {
            address::check_lookup(admin).await.context("--admin")?;
        }
        target.knock().await?;
        let behind = match &admin {
            Some(admin) => Behind::operator(admin, admin_token)?,
            None => Behind::Nobody,
        };
        let mut grounds = Vec::new();
        if mix.changes_something() {
            for group in &given.change_group {
                let members = patient.members(group).await;
                let members = members.with_context(|| format!("--change-group {group:?}"))?;
                grounds.push(Ground {
                    group: group.clone(),
                    names: map.as_ref().map_or_else(Vec::new, |map| outside(map, members)),
                });
            }
        }
        Ok(Self {
            target,
            patient,
            shown: base.to_string(),
            mix,
            groups,
            grounds,
            behind,
            pid: given.pid,
            world: None,
        })
    }
}

fn targets(
    args: &Args,
    base: &Url,
    credential: Option<HeaderValue>,
    ca_file: Option<&Path>,
) -> anyhow::Result<(Target, Target)> {
    let mut manner = Manner {
        credential,
        timeout: Duration::from_secs(args.load.timeout_s),
        connections: args.load.connections,
        compressed: args.load.compressed,
        most: args.load.max_in_flight,
        ca_file,
    };
    let target = Target::new(base, &manner)?;
    manner.timeout = manner.timeout.max(PATIENCE);
    Ok((target, Target::new(base, &manner)?))
}

/// The groups to read, each once: those of the command line, then those of the file; of those behind the first so many.
fn groups(given: &Given, distinct: Option<u32>) -> anyhow::Result<Vec<String>> {
    let mut names = given.group.clone();
    if let Some(path) = &given.groups_file {
        let text = std::fs::read_to_string(path).with_context(|| format!("--groups-file {}", path.display()))?;
        let text = text.trim_start_matches('\u{feff}');
        names.extend(text.lines().map(|line| line.trim_end_matches('\r').to_owned()));
    }
    let mut seen = BTreeSet::new();
    names.retain(|name| !name.trim().is_empty() && seen.insert(name.clone()));
    if let Some(distinct) = distinct {
        let wanted = distinct as usize + 1;
        ensure!(
            names.len() >= wanted,
            "--distinct-groups {distinct}: {} groups are named, and the first is not one of these",
            names.len()
        );
        names.truncate(wanted);
    }
    Ok(names)
}

fn read_map(path: &Path) -> anyhow::Result<Map> {
    Map::read(path, PrimaryRule::First).map_err(|faults| anyhow::anyhow!("--map {}: {faults}", path.display()))
}

/// One name of every account of the map that is under no name in the group. Not of those to whom usernames of several people
/// lead: a facade may refuse to take these out again.
fn outside(map: &Map, members: Vec<String>) -> Vec<String> {
    let members: BTreeSet<String> = members.into_iter().collect();
    let is_member = |name: &str| members.contains(&name.to_lowercase());
    map.entries()
        .filter(|entry| !entry.is_merged())
        .filter(|entry| {
            let others = entry.key().into_iter().chain(entry.email()).chain([entry.account()]);
            !entry.usernames().chain(others).chain(entry.old_emails()).any(is_member)
        })
        .filter_map(|entry| {
            let id = entry.account_id();
            let order = [NameKind::Username, NameKind::Email];
            map.shown_name(&id, &order, true).map(str::to_owned)
        })
        .collect()
}

fn secret_of_admin(given: &Given) -> anyhow::Result<Option<SecretString>> {
    match given.admin {
        Some(_) => secret(given.admin_token_file.as_deref(), ADMIN_TOKEN),
        None => Ok(None),
    }
}

/// What stands in the file, else in the environment.
fn secret(file: Option<&Path>, variable: &str) -> anyhow::Result<Option<SecretString>> {
    let text = match file {
        Some(path) => {
            // Of a file, its name alone is told.
            let text = std::fs::read_to_string(path);
            Some(text.with_context(|| format!("cannot read the secret in {}", path.display()))?)
        }
        None => std::env::var(variable).ok(),
    };
    let text = text.map(SecretString::from);
    let trimmed = text.map(|text| SecretString::from(text.expose_secret().trim_end_matches(['\r', '\n'])));
    Ok(trimmed.filter(|text| !text.expose_secret().is_empty()))
}

/// Eight letters that tell this test's groups from another's.
pub(super) fn run_word() -> anyhow::Result<String> {
    Ok(world::random_word()?.chars().take(8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_in_the_group_under_any_name_is_not_put_in() {
        let csv = "username,key,email,old_email,account_id\n\
                   in-by-name,k1,1@x,,a1\nin-by-key,K2,2@x,,a2\nin-by-mail,k3,3@x,3@old,a3\nin-by-alias,k4,4@x,,a4\n\
                   other-name,k5,,,a4\nout,k6,6@x,,a6\n,,7@x,,a7\n";
        let map = Map::parse(csv.as_bytes(), PrimaryRule::First).unwrap();
        let members = ["in-by-name", "k2", "3@old", "other-name"].map(str::to_owned).to_vec();
        let mut names = outside(&map, members);
        names.sort();
        assert_eq!(names, ["7@x", "out"]);
    }
}
