//! A report as one page: nothing is fetched, nothing needs a script, and nothing that a name holds is markup.

use std::fmt::{self, Write as _};

use serde_json::Value;

use crate::model::report::{Name, Report, State};
use crate::model::{Fate, OperationKind, Skip, Verdict};
use crate::reports::{self, Names, waits};

/// The page's only style; the policy in its head lets no other pass.
pub const STYLE: &str = include_str!("page.css");

/// How often the page of a running operation is asked for again, in seconds.
const REFRESH: u32 = 3;

/// Rows of each group of names while the operation runs: the page comes anew every few seconds.
const ROWS_WHILE_RUNNING: usize = 20;

/// A group of names so long is closed at first.
const ROWS_OPEN: usize = 200;

/// Entries shown of a list within the plan.
const PLAN_ENTRIES: usize = 30;

/// The report as an HTML document.
#[must_use]
pub fn render(report: &Report, names: Names) -> String {
    let rows = if names == Names::Listed { report.names.len() } else { 0 };
    let mut out = String::with_capacity(STYLE.len() + 4096 + rows * 150);
    // Writing to a `String` cannot fail.
    let _ = page(&mut out, report, names);
    out
}

/// A text with nothing in it that HTML, or an eye, takes for anything else.
struct Safe<'a>(&'a str);

impl fmt::Display for Safe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            '\0'..='\u{1f}' => f.write_char(char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}')),
            '\u{7f}' => f.write_char('\u{2421}'),
            // Marks that are not seen, or that turn around what stands behind them.
            '\u{80}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}' => write!(f, "&lt;U+{:04X}&gt;", u32::from(c)),
            c => f.write_char(c),
        })
    }
}

/// A figure with its thousands apart.
struct Figure(u64);

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_char(',')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

/// What the names of one group have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    InDoubt,
    Skipped(Skip),
    Pending,
    Done,
}

impl Kind {
    /// Every kind, in the order in which somebody wants to see them.
    fn all() -> impl Iterator<Item = Self> {
        let skipped = Skip::ALL.into_iter().map(Self::Skipped);
        std::iter::once(Self::InDoubt)
            .chain(skipped)
            .chain([Self::Pending, Self::Done])
    }

    fn of(name: &Name) -> Self {
        match name.verdict {
            None => Self::Pending,
            Some(Verdict::InDoubt) => Self::InDoubt,
            Some(Verdict::Told(Fate::Done)) => Self::Done,
            Some(Verdict::Told(Fate::Skipped(reason))) => Self::Skipped(reason),
        }
    }

    fn title(self, report: &Report) -> &'static str {
        match self {
            Self::InDoubt => "In doubt: the change may have happened, and Cloud could not be asked",
            Self::Skipped(reason) => why(reason),
            Self::Pending => "To come",
            Self::Done => done(report),
        }
    }

    /// The reason's own word, by which log and audit call it.
    fn word(self) -> &'static str {
        match self {
            Self::InDoubt => "in_doubt",
            Self::Skipped(reason) => reason.as_str(),
            Self::Pending => "pending",
            Self::Done => "done",
        }
    }
}

fn done(report: &Report) -> &'static str {
    match (report.dry_run, report.kind) {
        (false, OperationKind::AddMembers) => "Added",
        (false, OperationKind::RemoveMembers) => "Removed",
        (false, OperationKind::CreateGroups) => "Created",
        (false, OperationKind::DeleteGroups) => "Deleted",
        (true, OperationKind::AddMembers) => "Would be added",
        (true, OperationKind::RemoveMembers) => "Would be removed",
        (true, OperationKind::CreateGroups) => "Would be created",
        (true, OperationKind::DeleteGroups) => "Would be deleted",
    }
}

fn why(reason: Skip) -> &'static str {
    match reason {
        Skip::AlreadyMember => "Already in the group",
        Skip::NotMember => "Not in the group",
        Skip::AlreadyExists => "A group of that name exists already",
        Skip::NoSuchGroup => "No group has that name",
        Skip::Duplicate => "The same name or account stands earlier in the list",
        Skip::Blank => "Nothing but white space",
        Skip::Unknown => "No source knows the name",
        Skip::Ambiguous => "The name means more than one account or group",
        Skip::Tombstoned => "The person left before the migration",
        Skip::Deactivated => "The account is switched off in Cloud",
        Skip::NotAPerson => "The account belongs to a program",
        Skip::MergedAccount => "Several usernames were merged into the account",
        Skip::ExternallyManaged => "An identity provider manages the group",
        Skip::Protected => "The group is protected",
        Skip::NoSeat => "The licence has no free seat",
        Skip::Refused => "Cloud refused",
        Skip::NotAttempted => "The operation ended before this name's turn",
    }
}

fn page(out: &mut String, report: &Report, names: Names) -> fmt::Result {
    let running = report.state == State::Running;
    let (state, tone) = match report.state {
        State::Running => ("running", "open"),
        State::Finished => ("finished", "good"),
        State::Interrupted(_) => ("interrupted", "bad"),
    };
    let what = match report.kind {
        OperationKind::AddMembers => "Add members",
        OperationKind::RemoveMembers => "Remove members",
        OperationKind::CreateGroups => "Create groups",
        OperationKind::DeleteGroups => "Delete groups",
    };
    let of = match report.kind {
        OperationKind::AddMembers => " to ",
        _ => " from ",
    };
    out.write_str("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")?;
    if running {
        writeln!(out, "<meta http-equiv=\"refresh\" content=\"{REFRESH}\">")?;
    }
    write!(
        out,
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{what}: {state}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header>\n<div class=\"top\"><h1>{what}"
    )?;
    if let Some((_, group)) = &report.group {
        write!(out, "{of}<bdi>{}</bdi>", Safe(group.as_str()))?;
    }
    write!(out, "</h1> <span class=\"pill {tone}\">{state}</span>")?;
    if report.dry_run {
        out.write_str(" <span class=\"pill open\">dry run</span>")?;
    }
    write!(
        out,
        "</div>\n<p class=\"when\">Asked for by <bdi>{}</bdi>, begun {}",
        Safe(&report.caller),
        reports::time(report.started_at).unwrap_or_default()
    )?;
    if let Some(end) = report.finished_at {
        let took = end.saturating_sub(report.started_at).max(0);
        let end = reports::time(end).unwrap_or_default();
        write!(
            out,
            ", ended {end}, after {}.{} s",
            Figure(took.unsigned_abs() / 1000),
            took % 1000 / 100
        )?;
    }
    out.write_str("</p>\n</header>\n")?;
    words(out, report)?;
    summary(out, report)?;
    plan(out, report)?;
    if names == Names::Listed {
        out.write_str("<section>\n<h2>Names</h2>\n")?;
        Kind::all().try_for_each(|kind| rows(out, report, kind))?;
        out.write_str("</section>\n")?;
    }
    write!(
        out,
        "<footer>Report {}, of request <bdi>{}</bdi>. The same <a href=\"?format=json\">as JSON</a>. It holds names of \
         people: keep it as such.</footer>\n</main>\n</body>\n</html>\n",
        report.id,
        Safe(&report.request)
    )
}

/// What somebody should know before they look at figures.
fn words(out: &mut String, report: &Report) -> fmt::Result {
    if report.dry_run {
        out.write_str("<p class=\"word open\">Nothing was changed: this is what would become of each name.</p>\n")?;
    }
    if let State::Interrupted(cause) = &report.state {
        writeln!(
            out,
            "<p class=\"word bad\">It ended before every name had its turn: <bdi>{}</bdi></p>",
            Safe(cause)
        )?;
    }
    if report.no_access_granted {
        out.write_str(
            "<p class=\"word open\">The group gives nobody access to Confluence: that its members may use it, they \
             owe to other groups, if they do.</p>\n",
        )?;
    }
    if let Some(undone) = &report.undo_of {
        writeln!(
            out,
            "<p class=\"word open\">It takes back operation <a href=\"{undone}\">{undone}</a>.</p>"
        )?;
    }
    Ok(())
}

fn summary(out: &mut String, report: &Report) -> fmt::Result {
    let count = |kind: fn(Kind) -> bool| report.names.iter().filter(|name| kind(Kind::of(name))).count() as u64;
    let done_count = count(|kind| kind == Kind::Done);
    let skipped = count(|kind| matches!(kind, Kind::Skipped(_)));
    let in_doubt = count(|kind| kind == Kind::InDoubt);
    let left = count(|kind| kind == Kind::Pending);
    let whole = report.names.len() as u64;
    let parts = [
        (done_count, done(report), "good"),
        (skipped, "Skipped", "quiet"),
        (in_doubt, "In doubt", "bad"),
        (left, "To come", ""),
    ];
    // Attributes of a drawing, not styles: the page's policy refuses those.
    write!(
        out,
        "<svg class=\"bar\" role=\"img\" aria-label=\"{} of {} names settled\" viewBox=\"0 0 {} 1\" \
         preserveAspectRatio=\"none\"><rect width=\"100%\" height=\"1\"/>",
        Figure(whole - left),
        Figure(whole),
        whole.max(1)
    )?;
    let mut from = 0;
    for (count, _, tone) in parts {
        if count > 0 && !tone.is_empty() {
            write!(
                out,
                "<rect class=\"{tone}\" x=\"{from}\" width=\"{count}\" height=\"1\"/>"
            )?;
        }
        from += count;
    }
    out.write_str("</svg>\n<ul class=\"tiles\">\n")?;
    for (count, label, tone) in parts {
        // What cannot come any more, and what rarely is, is told only where it is.
        if count > 0 || matches!(tone, "good" | "quiet") {
            writeln!(
                out,
                "<li><b>{}</b><span class=\"label\"><i class=\"{tone}\"></i>{label}</span></li>",
                Figure(count)
            )?;
        }
    }
    out.write_str("</ul>\n<dl class=\"figures\">\n")?;
    let cost = &report.cost;
    for (label, value) in [
        ("names asked for", whole),
        ("calls to Cloud", cost.calls),
        ("of them repeated", cost.retries),
    ] {
        writeln!(out, "<div><dt>{label}</dt><dd>{}</dd></div>", Figure(value))?;
    }
    let mut waited = |label: &str, of: &str, ms| {
        let (seconds, tenths) = waits::seconds(ms);
        writeln!(
            out,
            "<div><dt>{label}{of}</dt><dd>{}.{tenths} s</dd></div>",
            Figure(seconds)
        )
    };
    waited("waited for leave to call, all calls together", "", cost.waited_ms)?;
    for (wait, ms) in cost.waits.by_size() {
        waited("of it ", waits::reason(wait), ms)?;
    }
    out.write_str("</dl>\n")
}

fn plan(out: &mut String, report: &Report) -> fmt::Result {
    let plan = serde_json::from_str(&report.plan).unwrap_or(Value::Null);
    if plan.as_object().is_none_or(serde_json::Map::is_empty) {
        return Ok(());
    }
    out.write_str("<section>\n<h2>Plan</h2>\n<div class=\"plan\">")?;
    value(out, &plan)?;
    out.write_str("</div>\n</section>\n")
}

/// As deep as the parser went, which has a bound.
fn value(out: &mut String, json: &Value) -> fmt::Result {
    match json {
        Value::Null => out.write_str("<span class=\"empty\">–</span>"),
        Value::Bool(true) => out.write_str("yes"),
        Value::Bool(false) => out.write_str("no"),
        Value::Number(number) => match number.as_u64() {
            Some(number) => write!(out, "{}", Figure(number)),
            None => write!(out, "{number}"),
        },
        Value::String(text) => write!(out, "<bdi>{}</bdi>", Safe(text)),
        Value::Array(all) => {
            out.write_str("<ul>")?;
            for one in all.iter().take(PLAN_ENTRIES) {
                out.write_str("<li>")?;
                value(out, one)?;
                out.write_str("</li>")?;
            }
            let more = all.len().saturating_sub(PLAN_ENTRIES);
            if more > 0 {
                write!(out, "<li>and {} more</li>", Figure(more as u64))?;
            }
            out.write_str("</ul>")
        }
        Value::Object(all) => {
            out.write_str("<dl>")?;
            for (key, one) in all {
                write!(out, "<dt>{}</dt><dd>", Safe(&key.replace('_', " ")))?;
                value(out, one)?;
                out.write_str("</dd>")?;
            }
            out.write_str("</dl>")
        }
    }
}

fn rows(out: &mut String, report: &Report, kind: Kind) -> fmt::Result {
    let names = || {
        let numbered = report.names.iter().zip(1_u64..);
        numbered.filter(move |(name, _)| Kind::of(name) == kind)
    };
    let count = names().count();
    if count == 0 {
        return Ok(());
    }
    let most = if report.state == State::Running {
        ROWS_WHILE_RUNNING
    } else {
        usize::MAX
    };
    let open = if count.min(most) <= ROWS_OPEN { " open" } else { "" };
    write!(
        out,
        "<details{open}>\n<summary><b>{}</b> <span class=\"badge\">{}</span> <code>{}</code></summary>\n\
         <div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">position</th><th scope=\"col\">name</th>\
         <th scope=\"col\">{}</th></tr></thead>\n<tbody>\n",
        kind.title(report),
        Figure(count as u64),
        kind.word(),
        if report.group.is_some() {
            "account"
        } else {
            "group's id"
        },
    )?;
    for (name, at) in names().take(most) {
        let account = name.account.as_ref().map(crate::model::AccountId::as_str);
        let id = account.or(name.group.as_ref().map(crate::model::GroupId::as_str));
        // A name of another script must not turn its neighbours around.
        write!(out, "<tr><td>{at}</td><td><bdi>{}</bdi></td><td>", Safe(&name.name))?;
        match id {
            Some(id) => write!(out, "{}", Safe(id))?,
            None => out.write_str("<span class=\"empty\">–</span>")?,
        }
        out.write_str("</td></tr>\n")?;
    }
    out.write_str("</tbody>\n</table></div>\n")?;
    let more = count.saturating_sub(most);
    if more > 0 {
        writeln!(
            out,
            "<p class=\"more\">and {} more; all of them stand here when the operation has ended, and in the JSON now</p>",
            Figure(more as u64)
        )?;
    }
    out.write_str("</details>\n")
}

#[cfg(test)]
mod tests;
