//! `operations`: what became of bulk calls, read from the journal beside a running facade or without one; and taking one
//! back, which only the running facade does.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Client, Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{audit, healthcheck};
use crate::model::OperationId;
use crate::model::report::Cost;
use crate::reports::{self, Names, waits};
use crate::server;
use crate::settings::Settings;
use crate::store::journal;

/// Names of a plan that are shown one by one.
const MOST_SHOWN: usize = 50;

/// List bulk operations, show one's report, take one back
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// The last operations, the newest first; works beside a running facade and without one
    List(List),
    /// What became of every name of an operation
    Show(Show),
    /// Ask the running facade to change back what an operation changed. Exits 0 (done), 1 (not done), 2 (could not ask)
    Undo(Undo),
}

#[derive(clap::Args, Debug)]
struct List {
    #[command(flatten)]
    place: audit::Place,
    /// So many at the most
    #[arg(long, value_name = "N", default_value_t = 50)]
    most: usize,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
struct Show {
    #[command(flatten)]
    place: audit::Place,
    /// The operation (`X-Facade-Report`)
    #[arg(value_parser = id)]
    id: OperationId,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
struct Undo {
    /// The operation (`X-Facade-Report`)
    #[arg(value_parser = id)]
    id: OperationId,
    /// Do it; else only the plan is shown
    #[arg(long)]
    yes: bool,
    /// What the facade says, as JSON
    #[arg(long)]
    json: bool,
    /// The file given to `serve`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The admin listener [default: as the settings say]
    #[arg(long, value_name = "ADDR")]
    address: Option<SocketAddr>,
}

fn id(text: &str) -> Result<OperationId, String> {
    OperationId::parse(text).ok_or_else(|| "an id is 32 hexadecimal digits in lower case".to_owned())
}

/// Runs the sub-command.
///
/// # Errors
/// Why it could not run.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List(args) => list(&args),
        Command::Show(args) => show(&args),
        Command::Undo(args) => undo(&args).await,
    }
}

fn list(args: &List) -> anyhow::Result<ExitCode> {
    let operations = journal::ReadOnly::open(&args.place.dir()?)?.list(args.most)?;
    let body = reports::list(&operations);
    if args.json {
        return print(&body);
    }
    let listed: Value = serde_json::from_slice(&body)?;
    let mut text = String::new();
    for operation in rows(&listed, "operations") {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{}", line(operation));
    }
    print(text.as_bytes())
}

fn show(args: &Show) -> anyhow::Result<ExitCode> {
    let Some(report) = journal::ReadOnly::open(&args.place.dir()?)?.report(&args.id)? else {
        eprintln!("no operation of this id is on record");
        return Ok(ExitCode::FAILURE);
    };
    let body = reports::render(&report, Names::Listed);
    if args.json {
        return print(&body);
    }
    print(told(&serde_json::from_slice(&body)?, report.cost).as_bytes())
}

async fn undo(args: &Undo) -> anyhow::Result<ExitCode> {
    let facade = Facade::new(args)?;
    let path = format!("/operations/{}/undo", args.id);
    let (status, plan) = facade.ask(Method::POST, &path, Some(json!({ "apply": false }))).await?;
    if !status.is_success() {
        return refused(args, &plan);
    }
    let has_steps = rows(&plan, "steps").next().is_some();
    if !args.json {
        print(planned(&plan).as_bytes())?;
    }
    if !args.yes || !has_steps {
        if args.json {
            print_json(&plan)?;
        }
        eprintln!(
            "{}",
            if has_steps {
                "nothing was changed yet: the same with --yes does it"
            } else {
                "there is nothing to be changed back"
            }
        );
        return Ok(ExitCode::FAILURE);
    }
    let order = json!({ "apply": true, "plan": plan.get("plan") });
    let (status, result) = facade.ask(Method::POST, &path, Some(order)).await?;
    let operations: Vec<String> = rows(&result, "operations")
        .filter_map(|id| id.as_str().map(str::to_owned))
        .collect();
    if args.json {
        print_json(&result)?;
    } else {
        for id in &operations {
            let (status, report) = facade.ask(Method::GET, &format!("/operations/{id}"), None).await?;
            if status.is_success() {
                print(format!("{}\n", counted(&report)).as_bytes())?;
            }
        }
    }
    if status.is_success() {
        return Ok(ExitCode::SUCCESS);
    }
    match result.get("failure").and_then(Value::as_str) {
        Some(failure) => {
            eprintln!("it could not be ended: {}", plain(failure));
            eprintln!("the same again goes on with it");
            Ok(ExitCode::FAILURE)
        }
        None => refused(args, &result),
    }
}

/// Tells why the facade does not do it.
fn refused(args: &Undo, answer: &Value) -> anyhow::Result<ExitCode> {
    if args.json {
        print_json(answer)?;
    }
    eprintln!("nothing was changed: {}", word(answer, "error"));
    Ok(ExitCode::FAILURE)
}

/// The operator's listener of the running facade.
struct Facade {
    client: Client,
    address: SocketAddr,
    token: SecretString,
}

impl Facade {
    fn new(args: &Undo) -> anyhow::Result<Self> {
        let settings = Settings::load(args.config.as_deref(), "", None)?;
        let address = match args.address {
            Some(address) => address,
            None => healthcheck::operators(&settings)?,
        };
        // Harmless where a provider is installed already; reqwest needs one before its first client.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            // No proxy can be meant, and the listener speaks no TLS.
            .no_proxy()
            .tls_certs_only(std::iter::empty())
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(3))
            .tcp_keepalive(Duration::from_secs(30))
            .build()
            .context("no HTTP client can be made")?;
        Ok(Self {
            client,
            address,
            token: token(&settings)?,
        })
    }

    /// Asks, and waits as long as it takes: an undo is a bulk operation.
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<(StatusCode, Value)> {
        let address = self.address;
        let mut request = self.client.request(method, format!("http://{address}{path}"));
        request = request.bearer_auth(self.token.expose_secret());
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = match request.send().await {
            Err(error) if error.is_connect() => {
                bail!("no facade answers at {address} (admin.listen): only a running one takes operations back")
            }
            Err(_) => {
                bail!("{address} hung up before it answered; what was begun goes on, and `operations list` shows it")
            }
            Ok(answer) => answer,
        };
        let status = answer.status();
        if status == StatusCode::UNAUTHORIZED {
            bail!(
                "{address} wants another token than admin.token or state_dir has, or is not asked as a name of this machine"
            );
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            bail!("{address} was shown too many wrong tokens from this machine: try again in a few seconds");
        }
        let text = answer.bytes().await.with_context(|| format!("{address} hung up"))?;
        let body = serde_json::from_slice(&text)
            .with_context(|| format!("what listens at {address} is no facade of this version"))?;
        Ok((status, body))
    }
}

/// The token that opens the operations: that of the settings, else the one that the running facade wrote.
fn token(settings: &Settings) -> anyhow::Result<SecretString> {
    if !settings.admin.token.expose_secret().is_empty() {
        return Ok(settings.admin.token.clone());
    }
    let path = settings.state_dir.join(server::OPERATORS_TOKEN);
    let token = std::fs::read_to_string(&path).with_context(|| {
        let path = path.display();
        format!("{path}: no facade runs with this state_dir, or it is another user's (or set admin.token)")
    })?;
    Ok(SecretString::from(token.trim().to_owned()))
}

fn rows<'a>(of: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    of.get(list).and_then(Value::as_array).into_iter().flatten()
}

/// A text of the answer. Names are the callers': whatever would move a terminal's cursor is replaced.
fn word(of: &Value, key: &str) -> String {
    match of.get(key) {
        Some(Value::String(text)) => plain(text),
        None | Some(Value::Null) => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}

fn plain(text: &str) -> String {
    text.replace(|c: char| c.is_control(), "\u{fffd}")
}

/// An operation of the list.
fn line(operation: &Value) -> String {
    let word = |key| word(operation, key);
    let dry_run = if operation.get("dry_run") == Some(&Value::Bool(true)) {
        " (dry run)"
    } else {
        ""
    };
    let mut line = format!(
        "{}  {}  {}{dry_run} in {:?} by {}: {}, {} done, {} skipped",
        word("id"),
        word("started_at"),
        word("operation"),
        word("group"),
        word("caller"),
        word("state"),
        word("done"),
        word("skipped"),
    );
    for (key, text) in [("in_doubt", "in doubt"), ("left", "left")] {
        if operation.get(key).and_then(Value::as_u64) > Some(0) {
            let _ = write!(line, ", {} {text}", word(key));
        }
    }
    if operation.get("cause").is_some_and(Value::is_string) {
        let _ = write!(line, " ({})", word("cause"));
    }
    line
}

/// The figures of a report in one line.
fn counted(report: &Value) -> String {
    let mut flat = report.clone();
    let group = report.pointer("/group/name").cloned().unwrap_or_default();
    if let (Some(object), Some(progress)) = (flat.as_object_mut(), report.get("progress").and_then(Value::as_object)) {
        object.insert("group".to_owned(), group);
        object.extend(progress.clone());
    }
    line(&flat)
}

/// What calls to Cloud waited for, the longest first; nothing where they did not wait.
fn waited(cost: Cost) -> Option<String> {
    let seconds = |ms| {
        let (whole, tenths) = waits::seconds(ms);
        format!("{whole}.{tenths} s")
    };
    let each: Vec<String> = cost
        .waits
        .by_size()
        .into_iter()
        .map(|(wait, ms)| format!("{} {}", seconds(ms), waits::reason(wait)))
        .collect();
    let reasons = if each.is_empty() {
        String::new()
    } else {
        format!(": {}", each.join(", "))
    };
    (cost.waited_ms > 0).then(|| {
        let all = seconds(cost.waited_ms);
        format!("waited {all} for leave to call Cloud, all calls together{reasons}")
    })
}

/// A report for people.
fn told(report: &Value, cost: Cost) -> String {
    let mut text = counted(report);
    text.push('\n');
    if let Some(waited) = waited(cost) {
        let _ = writeln!(text, "{waited}");
    }
    if report.get("undo_of").is_some_and(Value::is_string) {
        let _ = writeln!(text, "it takes back {}", word(report, "undo_of"));
    }
    for row in rows(report, "names") {
        let account = match row.get("account").or(row.get("group_id")) {
            Some(Value::String(account)) => format!(" ({})", plain(account)),
            _ => String::new(),
        };
        let reason = match row.get("reason") {
            Some(Value::String(reason)) => format!(" {}", plain(reason)),
            _ => String::new(),
        };
        let _ = writeln!(
            text,
            "  {:?}{account}: {}{reason}",
            word(row, "name"),
            word(row, "outcome")
        );
    }
    text
}

/// A plan for people.
fn planned(plan: &Value) -> String {
    let mut text = format!(
        "{} {} would be taken back:\n",
        word(plan, "operation"),
        word(plan, "undo_of")
    );
    let some = |text: &mut String, names: Vec<String>| {
        for name in names.iter().take(MOST_SHOWN) {
            let _ = writeln!(text, "    {name}");
        }
        if names.len() > MOST_SHOWN {
            let _ = writeln!(text, "    and {} more (--json lists all)", names.len() - MOST_SHOWN);
        }
    };
    let named = |row: &Value, more: &str| match row.get(more) {
        Some(Value::String(more)) => format!("{:?} ({})", word(row, "name"), plain(more)),
        _ => format!("{:?}", word(row, "name")),
    };
    for step in rows(plan, "steps") {
        let names: Vec<String> = rows(step, "names").map(|row| named(row, "account")).collect();
        let group = match step.get("group") {
            Some(Value::String(group)) => format!(" in {:?}", plain(group)),
            _ => String::new(),
        };
        let _ = writeln!(text, "  {}{group}: {}", word(step, "operation"), names.len());
        some(&mut text, names);
    }
    let left: Vec<String> = rows(plan, "left")
        .map(|row| format!("{}: {}", named(row, "account"), word(row, "reason")))
        .collect();
    if !left.is_empty() {
        let _ = writeln!(text, "  left as they are: {}", left.len());
        some(&mut text, left);
    }
    if plan.get("note").is_some_and(Value::is_string) {
        let _ = writeln!(text, "  {}", word(plan, "note"));
    }
    text
}

fn print_json(value: &Value) -> anyhow::Result<ExitCode> {
    print(value.to_string().as_bytes())
}

fn print(body: &[u8]) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let mut written = out.write_all(body);
    if !body.ends_with(b"\n") {
        written = written.and_then(|()| out.write_all(b"\n"));
    }
    match written.and_then(|()| out.flush()) {
        // Whoever read it has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("standard output"),
        _ => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reports::samples;

    #[test]
    fn what_people_read_moves_no_cursor() {
        let name = json!({ "name": "\u{1b}[2Jx\n", "account": "\u{7}", "outcome": "done", "reason": "r\u{1b}" });
        let report = json!({
            "id": "i", "operation": "add_members", "caller": "c\u{1b}", "state": "interrupted", "cause": "\n",
            "group": { "name": "g\r" }, "progress": { "done": 1, "left": 2 }, "names": [name.clone()],
        });
        let plan =
            json!({ "steps": [{ "group": "\u{1b}", "names": [name.clone()] }], "left": [name], "note": "n\u{7}" });
        for text in [told(&report, Cost::default()), planned(&plan)] {
            assert!(!text.replace('\n', "").contains(char::is_control), "{text:?}");
        }
        assert_eq!(told(&report, Cost::default()).lines().count(), 2);
    }

    #[test]
    fn a_report_says_what_was_waited_for_the_longest_first() {
        let mut cost = samples::finished().cost;
        let text = told(&json!({}), cost);
        let told_waits = "waited 7.9 s for leave to call Cloud, all calls together: 5.9 s because Cloud asked for a pause \
                          (429), 2.0 s for the learned pace, 0.1 s before trying again";
        assert_eq!(text.lines().nth(1), Some(told_waits));
        // Of an operation of before the reasons were kept.
        cost.waits = crate::model::Waits::default();
        let text = told(&json!({}), cost);
        assert_eq!(
            text.lines().nth(1),
            Some("waited 7.9 s for leave to call Cloud, all calls together")
        );
    }

    #[test]
    fn a_long_plan_is_cut_and_says_so() {
        let names: Vec<Value> = (0..80)
            .map(|n| json!({ "name": n.to_string(), "account": "a" }))
            .collect();
        let text = planned(&json!({ "steps": [{ "operation": "add_members", "group": "g", "names": names }] }));
        assert!(
            text.contains("and 30 more") && text.contains("add_members in \"g\": 80"),
            "{text}"
        );
    }
}
