//! `identities check`: the readiness report. Every name of the map, or those that scripts hold, through every source;
//! every account of theirs, and every group.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use super::asking::{AT_ONCE, Asking, insist};
use super::files::{self, Form};
use super::resolve::{candidates, tell_apart, told_cost};
use crate::cli::progress;
use crate::cloud::Group;
use crate::directory::identity::{Map, Resolution};
use crate::migration::harvest::{self, What};
use crate::migration::report::{Cell, Count, Kind, Report, Section, Source, Tone};
use crate::model::{AccountId, GroupName, NameKey, Skip, Standing};
use crate::server::Inspector;
use crate::settings::Settings;

/// The readiness report: what every name becomes, and what stands in the way
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Scripts, logs and lists: report the names that stand in them instead of those of the map
    #[arg(long, value_name = "FILE", num_args = 1..)]
    names: Vec<PathBuf>,
    /// Write the report here as well; .html, .json or .txt
    #[arg(long, value_name = "FILE", num_args = 1..)]
    report: Vec<PathBuf>,
    /// Print the report as JSON, with every row
    #[arg(long)]
    json: bool,
    /// Write over files that exist already
    #[arg(long)]
    force: bool,
    /// The file given to `serve`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// A name that is looked into, and where it stands.
struct Asked {
    name: String,
    times: u64,
    places: Vec<String>,
}

/// The users, the groups, and where their names stand.
type Harvested = (Vec<Asked>, Vec<Asked>, Vec<Source>);

/// What was found about the names.
struct Names {
    resolved: usize,
    failed: usize,
    accounts: HashSet<AccountId>,
    sections: BTreeMap<Kind, Section>,
    not_asked: Section,
}

/// 0: ready; 1: findings.
///
/// # Errors
/// Why there is no report: faults of settings and files, or Cloud does not show its groups; or, once the report is told,
/// how much of it is missing because a source could not be asked.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let forms: Vec<(Form, &Path)> = args
        .report
        .iter()
        .map(|path| Ok((Form::of(path)?, path.as_path())))
        .collect::<anyhow::Result<_>>()?;
    let targets: Vec<&Path> = forms.iter().map(|(_, path)| *path).collect();
    let scripts: Vec<&Path> = args.names.iter().map(PathBuf::as_path).collect();
    files::check_targets(&targets, &scripts, args.force)?;
    let settings = Settings::load(args.config.as_deref(), "", None)?;
    crate::cli::start_log(&settings.log)?;
    let harvested = harvested(&scripts)?;
    let map_file = settings.identity.map_file.clone();
    let inspector = Inspector::new(settings)?;
    tell_apart(&inspector);
    let report = survey(harvested, map_file.as_deref(), !scripts.is_empty(), &inspector).await;
    // Whatever came of it: what was learned on the way is not asked for again.
    let kept = inspector.finish().await.context("what was learned is lost");
    let report = report?;
    for (form, path) in forms {
        let text = form.render(&report);
        files::write_whole(path, args.force, |to| to.write_all(text.as_bytes()))?;
    }
    let printed = if args.json { Form::Json } else { Form::Text }.render(&report);
    files::print(&mut io::stdout(), &printed)?;
    kept?;
    let not_asked = report.sections.iter().filter(|section| section.kind == Kind::NotAsked);
    let not_asked: usize = not_asked.map(|section| section.rows.len()).sum();
    anyhow::ensure!(
        not_asked == 0,
        "nothing can be said of {not_asked} names and accounts, because a source could not be asked"
    );
    Ok(if report.findings() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Asks for everything that the report tells.
async fn survey(
    (mut users, mut groups, mut sources): Harvested,
    map_file: Option<&Path>,
    of_scripts: bool,
    inspector: &Inspector,
) -> anyhow::Result<Report> {
    let map = inspector.map();
    if !of_scripts {
        users = map.names().map(of_map).collect();
    }
    sources.extend(map_file.map(|path| as_source(path, &map)));

    // They are asked for first, for they are few: whoever may not see them is to know before the names have taken hours.
    let context = inspector.context();
    let all_groups = insist(&context, false, || inspector.directory().survey_groups(&context))
        .await
        .context("the groups cannot be listed")?;
    groups.retain(|asked| !asked.name.trim().is_empty());
    let mut asking = Asking::new(inspector);
    let mut names = look_into(&users, &map, &mut asking, of_scripts).await?;
    let seen = accounts_of(&map, &names.accounts, of_scripts);
    let missing = missing(&seen, &map, &mut asking, &mut names.not_asked).await;
    let not_asked = names.not_asked;

    let mut sections: Vec<Section> = names.sections.into_values().collect();
    let count = |sections: &[Section], kind| {
        let of_kind = sections.iter().find(|section| section.kind == kind);
        of_kind.map_or(0, |section| section.rows.len())
    };
    let merged = merged(&seen, inspector).await?;
    let merged_accounts = merged.rows.len();
    let mut summary = vec![
        Count::new("names", "names", users.len()),
        Count::part("resolved", "one account", names.resolved, Tone::Good),
        Count::part(
            "tombstoned",
            "former users",
            count(&sections, Kind::Tombstoned),
            Tone::Quiet,
        ),
        Count::part(
            "deactivated",
            "switched off",
            count(&sections, Kind::Deactivated),
            Tone::Quiet,
        ),
        Count::part(
            "not_a_person",
            "programs",
            count(&sections, Kind::NotAPerson),
            Tone::Quiet,
        ),
        Count::part("unresolved", "unknown", count(&sections, Kind::Unresolved), Tone::Open),
        Count::part("ambiguous", "ambiguous", count(&sections, Kind::Ambiguous), Tone::Bad),
        Count::part("not_asked", "could not be asked", names.failed, Tone::Bad),
        Count::new("accounts", "accounts", seen.len()),
        Count::new("merged", "merged accounts", merged_accounts),
        Count::new("missing_in_cloud", "accounts not in Cloud", missing.rows.len()),
        Count::new("groups", "groups in Cloud", all_groups.len()),
    ];
    let (duplicates, collisions) = if of_scripts {
        (Section::new(Kind::Duplicates, &[]), Section::new(Kind::Collisions, &[]))
    } else {
        twice(&map)
    };
    summary.push(Count::new("duplicates", "duplicate rows", duplicates.rows.len()));
    summary.push(Count::new("collisions", "colliding usernames", collisions.rows.len()));
    sections.extend([not_asked, merged, missing, duplicates, collisions]);
    sections.extend(group_sections(&all_groups, &groups, of_scripts));
    let cost = told_cost(&inspector.cost());
    sources.push(Source {
        role: "cloud".to_owned(),
        name: "Confluence Cloud and the other sources that have a credential".to_owned(),
        format: cost,
        rows: all_groups.len() as u64,
        notes: inspector
            .apart()
            .map(|why| format!("what was learned before was not used: {why}"))
            .into_iter()
            .collect(),
    });
    Ok(Report::new(
        "Readiness",
        jiff::Timestamp::now(),
        sources,
        summary,
        sections,
    ))
}

fn of_map(name: &str) -> Asked {
    Asked {
        name: name.to_owned(),
        times: 1,
        places: Vec::new(),
    }
}

fn as_source(path: &Path, map: &Map) -> Source {
    Source {
        role: "map".to_owned(),
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        format: "identity map".to_owned(),
        rows: map.rows() as u64,
        notes: vec![format!("{} accounts, {} ambiguous names", map.len(), map.ambiguous())],
    }
}

/// The users' names, the groups' names, and the files they stand in.
fn harvested(scripts: &[&Path]) -> anyhow::Result<Harvested> {
    let mut kinds: [BTreeMap<String, Asked>; 2] = Default::default();
    let mut sources = Vec::new();
    for (path, file) in scripts.iter().zip(files::short_names(scripts)) {
        let harvest = harvest::harvest(&file, &files::read(path)?);
        for found in &harvest.found {
            let [users, groups] = &mut kinds;
            let into = if found.what == What::User { users } else { groups };
            let asked = into.entry(found.name.clone()).or_insert_with(|| Asked {
                name: found.name.clone(),
                times: 0,
                places: Vec::new(),
            });
            asked.times += found.times;
            asked.places.push(format!("{file}:{}", found.line));
        }
        sources.push(Source {
            role: "names".to_owned(),
            name: file,
            format: "text".to_owned(),
            rows: harvest.found.len() as u64,
            notes: if harvest.truncated {
                vec![format!(
                    "more than {} names; the others were left out",
                    harvest::MAX_NAMES
                )]
            } else {
                Vec::new()
            },
        });
    }
    let [users, groups] = kinds;
    Ok((users.into_values().collect(), groups.into_values().collect(), sources))
}

/// What each name becomes.
async fn look_into(users: &[Asked], map: &Map, asking: &mut Asking<'_>, of_scripts: bool) -> anyhow::Result<Names> {
    let bar = progress::counter(users.len() as u64, "names");
    let mut names = Names {
        resolved: 0,
        failed: 0,
        accounts: HashSet::new(),
        sections: BTreeMap::new(),
        not_asked: Section::new(Kind::NotAsked, &["name", "reason"]),
    };
    for chunk in users.chunks(AT_ONCE) {
        let asked: Vec<String> = chunk.iter().map(|asked| asked.name.clone()).collect();
        let resolutions = asking.explain(&asked).await?;
        for (asked, resolution) in chunk.iter().zip(resolutions) {
            names.take(asked, &resolution, map, of_scripts);
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    Ok(names)
}

impl Names {
    fn take(&mut self, asked: &Asked, resolution: &Resolution, map: &Map, of_scripts: bool) {
        if let Some(error) = &resolution.failed {
            self.failed += 1;
            let row = vec![asked.name.as_str().into(), error.to_string().into()];
            self.not_asked.rows.push(row);
            return;
        }
        if let Ok((account, _)) = &resolution.meaning {
            self.accounts.insert(account.clone());
        }
        let kind = match &resolution.meaning {
            Ok((_, Standing::Active)) => {
                self.resolved += 1;
                return;
            }
            Ok((_, Standing::Deactivated)) | Err(Skip::Deactivated) => Kind::Deactivated,
            Ok((_, Standing::Tombstoned)) | Err(Skip::Tombstoned) => Kind::Tombstoned,
            Ok((_, Standing::App)) | Err(Skip::NotAPerson) => Kind::NotAPerson,
            Err(Skip::Ambiguous) => Kind::Ambiguous,
            Err(_) => Kind::Unresolved,
        };
        let section = self.sections.entry(kind).or_insert_with(|| {
            let mut section = Section::new(
                kind,
                if of_scripts {
                    &["name", "accounts", "times", "where"]
                } else {
                    &["name", "accounts"]
                },
            );
            if kind == Kind::Unresolved && !of_scripts {
                section.title = Cow::Borrowed("Names that nothing knows");
            }
            section
        });
        let candidates = candidates(&asked.name, resolution, map);
        let mut row: Vec<Cell> = vec![asked.name.as_str().into(), candidates.into()];
        if of_scripts {
            row.extend([Cell::from(asked.times), asked.places.clone().into()]);
        }
        section.rows.push(row);
    }
}

/// The accounts that are looked into: those of the names, or all that the map holds.
fn accounts_of(map: &Map, named: &HashSet<AccountId>, of_scripts: bool) -> Vec<AccountId> {
    let mut all: Vec<AccountId> = named.iter().cloned().collect();
    if !of_scripts {
        all.extend(
            map.entries()
                .map(|entry| entry.account_id())
                .filter(|account| !named.contains(account)),
        );
    }
    all.sort();
    all
}

/// Accounts of the map that Cloud does not know.
async fn missing(accounts: &[AccountId], map: &Map, asking: &mut Asking<'_>, not_asked: &mut Section) -> Section {
    let mut section = Section::new(Kind::MissingInCloud, &["account_id", "usernames"]);
    section.title = Cow::Borrowed("Accounts of the map that Cloud does not know");
    section.why = Cow::Borrowed("Calls that name these accounts will report them as skipped: Cloud refuses them.");
    section.what_to_do = Cow::Borrowed("Build the map again from a fresh export of the site's users.");
    let bar = progress::counter(accounts.len() as u64, "accounts");
    for chunk in accounts.chunks(AT_ONCE) {
        let absent = asking.absent(chunk).await.unwrap_or_else(|error| {
            let row = |account: &AccountId| vec![account.as_str().into(), error.to_string().into()];
            not_asked.rows.extend(chunk.iter().map(row));
            Vec::new()
        });
        for account in absent {
            let usernames = map
                .by_account(account.as_str())
                .map(|entry| entry.usernames().map(str::to_owned).collect());
            section
                .rows
                .push(vec![account.as_str().into(), Cell::List(usernames.unwrap_or_default())]);
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    section
}

/// Accounts with several usernames, under the one they are shown with.
async fn merged(accounts: &[AccountId], inspector: &Inspector) -> anyhow::Result<Section> {
    let mut section = Section::new(Kind::Merged, &["shown_as", "also", "account_id"]);
    let mut rows = Vec::new();
    for chunk in accounts.chunks(AT_ONCE) {
        let usernames = inspector.directory().usernames(chunk).await?;
        for (account, usernames) in chunk.iter().zip(usernames) {
            if let [shown, others @ ..] = usernames.as_slice()
                && !others.is_empty()
            {
                rows.push((shown.clone(), others.to_vec(), account.clone()));
            }
        }
    }
    rows.sort();
    section.rows = rows
        .into_iter()
        .map(|(shown, others, account)| vec![shown.into(), others.into(), account.as_str().into()])
        .collect();
    Ok(section)
}

/// Usernames that stand in the map more than once: the same row again, or names that collide.
fn twice(map: &Map) -> (Section, Section) {
    let mut duplicates = Section::new(Kind::Duplicates, &["username", "account_id", "lines"]);
    let mut collisions = Section::new(Kind::Collisions, &["usernames", "accounts", "lines"]);
    let mut rows: HashMap<NameKey, Vec<_>> = HashMap::new();
    for row in map.usernames() {
        rows.entry(NameKey::of(row.1)).or_default().push(row);
    }
    let mut several: Vec<_> = rows.into_values().filter(|rows| rows.len() > 1).collect();
    several.sort();
    for rows in several {
        let lines: Vec<String> = rows.iter().map(|(line, _, _)| line.to_string()).collect();
        let (first, account) = rows.first().map_or(("", None), |(_, name, account)| (*name, *account));
        if rows.iter().all(|(_, name, other)| *name == first && *other == account) {
            duplicates.rows.push(vec![first.into(), account.into(), lines.into()]);
            continue;
        }
        let mut spellings: Vec<String> = rows.iter().map(|(_, name, _)| (*name).to_owned()).collect();
        spellings.dedup();
        let mut accounts: Vec<String> = rows
            .iter()
            .filter_map(|(_, _, account)| account.map(str::to_owned))
            .collect();
        accounts.dedup();
        collisions
            .rows
            .push(vec![spellings.into(), accounts.into(), lines.into()]);
    }
    (duplicates, collisions)
}

/// Groups that scripts cannot change or cannot name; of all groups, or of those that scripts name.
fn group_sections(groups: &[Group], asked: &[Asked], of_scripts: bool) -> Vec<Section> {
    let mut of_key: HashMap<NameKey, Vec<&Group>> = HashMap::new();
    for group in groups {
        of_key.entry(group.name.key()).or_default().push(group);
    }
    let wanted: HashSet<NameKey> = asked.iter().map(|asked| GroupName::new(&asked.name).key()).collect();
    let concerns = |group: &&Group| !of_scripts || wanted.contains(&group.name.key());
    let of_kind = |kind, is: fn(&Group) -> bool| {
        let mut section = Section::new(kind, &["group", "id"]);
        let rows = groups.iter().filter(concerns).filter(|group| is(group));
        section.rows = rows
            .map(|group| vec![group.name.as_str().into(), group.id.as_str().into()])
            .collect();
        section
    };
    let external = of_kind(Kind::GroupsExternal, |group| group.externally_managed);
    let teams = of_kind(Kind::GroupsTeams, |group| group.team);
    let mut alike = Section::new(Kind::GroupsCase, &["groups"]);
    for (key, groups) in &of_key {
        if groups.len() > 1 && (!of_scripts || wanted.contains(key)) {
            let mut names: Vec<String> = groups.iter().map(|group| group.name.to_string()).collect();
            names.sort();
            alike.rows.push(vec![names.into()]);
        }
    }
    alike.rows.sort_by_key(|row| format!("{row:?}"));
    let mut absent = Section::new(Kind::Unresolved, &["name", "times", "where"]);
    absent.title = Cow::Borrowed("Groups in scripts that are not in Cloud");
    absent.why =
        Cow::Borrowed("Calls that name these groups answer that they do not exist; some scripts make them then.");
    absent.what_to_do = Cow::Borrowed("Look for misspelt names and for groups that were renamed.");
    for asked in asked
        .iter()
        .filter(|asked| !of_key.contains_key(&GroupName::new(&asked.name).key()))
    {
        absent.rows.push(vec![
            asked.name.as_str().into(),
            asked.times.into(),
            asked.places.clone().into(),
        ]);
    }
    vec![external, teams, alike, absent]
}
