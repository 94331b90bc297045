//! The report as one page: nothing is fetched, nothing needs a script, and nothing that a name holds is markup.

use std::fmt::{self, Write as _};

use super::svg::{self, Line, Scale};
use super::{Phase, QUANTILES, Row, Step, Summary, short};

const STYLE: &str = include_str!("page.css");

pub(in super::super) fn render(summary: &Summary) -> String {
    let mut out = String::new();
    // Writing to a `String` cannot fail.
    let _ = page(&mut out, summary);
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
            // Marks that are not seen, or that turn around what stands behind them.
            '\u{ad}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}' => write!(f, "&lt;U+{:04X}&gt;", u32::from(c)),
            c if c.is_control() => write!(f, "&lt;U+{:04X}&gt;", u32::from(c)),
            c => f.write_char(c),
        })
    }
}

fn page(out: &mut String, summary: &Summary) -> fmt::Result {
    let (state, tone) = match (summary.is_good(), summary.verdicts.is_empty()) {
        (true, true) => ("done", "open"),
        (true, false) => ("passed", "good"),
        (false, _) => ("not passed", "bad"),
    };
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>Load test: {state}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<header>\n\
         <div class=\"top\"><h1>Load test</h1> <span class=\"pill {tone}\">{state}</span></div>\n\
         <p class=\"when\">Of <bdi>{}</bdi>, begun {:.0}. Latencies count from the moment a request was meant to arrive.</p>\n</header>\n",
        Safe(&summary.target),
        summary.began,
    )?;
    for warning in &summary.warnings {
        writeln!(out, "<p class=\"word open\">{}</p>", Safe(warning))?;
    }
    verdicts(out, summary)?;
    for phase in summary.phases.iter().rev() {
        of_phase(out, phase)?;
    }
    over_time(out, summary)?;
    beside(out, summary)?;
    out.write_str("<section>\n<h2>How it was asked for</h2>\n<dl class=\"facts\">\n")?;
    for (name, value) in &summary.asked {
        writeln!(out, "<dt>{name}</dt><dd><bdi>{}</bdi></dd>", Safe(value))?;
    }
    out.write_str("</dl>\n</section>\n<footer>Made by extender-facade loadtest.</footer>\n</main>\n</body>\n</html>\n")
}

fn verdicts(out: &mut String, summary: &Summary) -> fmt::Result {
    if summary.verdicts.is_empty() {
        return Ok(());
    }
    out.write_str(
        "<section>\n<h2>Thresholds</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">of the steady phase</th>\
         <th scope=\"col\">limit</th><th scope=\"col\">measured</th><th scope=\"col\"></th></tr></thead>\n<tbody>\n",
    )?;
    for verdict in &summary.verdicts {
        let (word, tone) = if verdict.is_met {
            ("met", "good")
        } else {
            ("not met", "bad")
        };
        writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td><span class=\"pill {tone}\">{word}</span></td></tr>",
            verdict.name,
            short(verdict.limit),
            verdict.value.map_or_else(|| "nothing".to_owned(), short)
        )?;
    }
    out.write_str("</tbody></table></div>\n</section>\n")
}

fn of_phase(out: &mut String, phase: &Phase) -> fmt::Result {
    write!(
        out,
        "<section>\n<h2>{}, {} s: {} good answers a second</h2>\n<div class=\"scroll\"><table>\n<thead><tr>\
         <th scope=\"col\">call</th><th scope=\"col\">asked</th><th scope=\"col\">good</th><th scope=\"col\">errors</th>",
        if phase.name == "ramp" { "Ramp" } else { "Steady" },
        short(phase.seconds),
        short(phase.answered_a_second)
    )?;
    for (name, _) in QUANTILES {
        write!(out, "<th scope=\"col\">{name} ms</th>")?;
    }
    out.write_str("<th scope=\"col\">max ms</th></tr></thead>\n<tbody>\n")?;
    phase.rows.iter().try_for_each(|row| of_row(out, row))?;
    let [late, late_99, _] = phase.late.map(short);
    let [served, served_99, _] = phase.served.map(short);
    write!(
        out,
        "</tbody></table></div>\n<p class=\"note\">Begun late by the machine that sent them: p50 {late} ms, p99 {late_99} ms. From \
         then to the answer's end: p50 {served} ms, p99 {served_99} ms.</p>\n"
    )?;
    if let Some(all) = phase.rows.last().filter(|row| !row.histogram.is_empty()) {
        let named = QUANTILES.iter().zip(all.quantiles.unwrap_or_default());
        let marks: Vec<(&str, f64)> = named.map(|((name, _), ms)| (*name, ms)).collect();
        out.write_str("<h3>Latencies of all calls, in milliseconds</h3>\n")?;
        svg::bars(out, "latencies of all calls", &all.histogram, &marks)?;
    }
    out.write_str("</section>\n")
}

fn of_row(out: &mut String, row: &Row) -> fmt::Result {
    let errors = row.asked - row.good;
    let kinds: Vec<String> = row
        .errors
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    write!(
        out,
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{errors}",
        row.name, row.asked, row.good
    )?;
    if errors > 0 {
        write!(out, " <span class=\"kinds\">{}</span>", Safe(&kinds.join(", ")))?;
    }
    out.write_str("</td>")?;
    match row.quantiles {
        Some(quantiles) => {
            for ms in quantiles.into_iter().chain([row.most]) {
                write!(out, "<td>{}</td>", short(ms))?;
            }
        }
        None => out.write_str(&"<td>–</td>".repeat(QUANTILES.len() + 1))?,
    }
    out.write_str("</tr>\n")
}

fn over_time(out: &mut String, summary: &Summary) -> fmt::Result {
    let times = (summary.ramp, summary.whole);
    let of = |value: fn(&Step) -> f64| -> Vec<(f64, f64)> {
        let middle = summary.step / 2.0;
        summary
            .steps
            .iter()
            .map(|step| (step.at + middle, value(step)))
            .collect()
    };
    let latency = |place: usize| -> Vec<(f64, f64)> {
        let steps = summary.steps.iter();
        let point = |step: &Step| Some((step.at + summary.step / 2.0, *step.latency?.get(place)?));
        steps.filter_map(point).collect()
    };
    let line = |class, name, points| Line { class, name, points };
    let (p50, p99, most) = (latency(0), latency(1), latency(2));
    out.write_str("<section>\n<h2>Over time</h2>\n<h3>Latencies, by when requests were meant to arrive</h3>\n")?;
    let drawn = [
        line("third", "max", most.as_slice()),
        line("second", "p99", p99.as_slice()),
        line("first", "p50", p50.as_slice()),
    ];
    svg::lines(out, "latencies over time", " ms", &drawn, Scale::Logarithmic, times)?;
    let (asked, answered) = (of(|step| step.asked_a_second), of(|step| step.answered_a_second));
    out.write_str("<h3>Requests a second</h3>\n")?;
    let drawn = [
        line("third", "meant to arrive", asked.as_slice()),
        line("first", "answered well", answered.as_slice()),
    ];
    svg::lines(out, "requests a second over time", "", &drawn, Scale::FromZero, times)?;
    let errors = of(|step| step.errors as f64);
    out.write_str("<h3>Errors</h3>\n")?;
    let drawn = [line("wrong", "errors", errors.as_slice())];
    svg::lines(out, "errors over time", "", &drawn, Scale::FromZero, times)?;
    if let Some(memory) = &summary.memory {
        let mib: Vec<(f64, f64)> = memory.samples.iter().map(|(at, kib)| (*at, kib / 1024.0)).collect();
        out.write_str("<h3>Memory of the facade</h3>\n")?;
        let drawn = [line("first", "resident", mib.as_slice())];
        svg::lines(out, "memory over time", " MiB", &drawn, Scale::Narrow, times)?;
        if let Some(slope) = memory.slope {
            writeln!(
                out,
                "<p class=\"note\">In the steady phase {:+.1} KiB a minute, with a standard error of {:.1}.</p>",
                slope.value * 60.0,
                slope.error * 60.0
            )?;
        }
    }
    out.write_str("</section>\n")
}

/// Calls to Cloud, and what was changed.
fn beside(out: &mut String, summary: &Summary) -> fmt::Result {
    if let Some(calls) = &summary.cloud {
        let all: u64 = calls.values().sum();
        write!(
            out,
            "<section>\n<h2>Calls to Cloud behind it: {all}</h2>\n<dl class=\"facts\">\n"
        )?;
        for (operation, count) in calls {
            writeln!(out, "<dt>{}</dt><dd>{count}</dd>", Safe(operation))?;
        }
        out.write_str("</dl>\n</section>\n")?;
    }
    if let Some(changes) = &summary.changes {
        write!(
            out,
            "<section>\n<h2>Changes</h2>\n<dl class=\"facts\">\n<dt>added</dt><dd>{}</dd>\n<dt>removed meanwhile</dt><dd>{}</dd>\n\
             <dt>taken back at the end</dt><dd>{}</dd>\n<dt>removals that found nothing of this test's</dt><dd>{}</dd>\n</dl>\n",
            changes.added, changes.removed, changes.removed_at_the_end, changes.in_vain
        )?;
        if !changes.left.is_empty() {
            out.write_str("<p class=\"word bad\">Left, for it could not be taken back:</p>\n<ul>\n")?;
            for (group, name) in &changes.left {
                write!(out, "<li><bdi>{}</bdi>", Safe(name))?;
                if let Some(group) = group {
                    write!(out, " in <bdi>{}</bdi>", Safe(group))?;
                }
                out.write_str("</li>\n")?;
            }
            out.write_str("</ul>\n")?;
        }
        out.write_str("</section>\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn the_page_needs_nothing_and_a_name_is_no_markup() {
        let html = render(&samples::summary("<script>alert('x')</script>\u{202e}\u{1b}"));
        assert!(!html.contains("<script"), "{html}");
        assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&lt;U+202E&gt;&lt;U+001B&gt;"));
        assert!(html.contains("the machine &lt;was&gt; slow"));
        for reference in ["http://", "https://", "src=", "href=", "url("] {
            let own = html.matches(reference).count();
            // The target's own address is a text.
            assert_eq!(own, usize::from(reference == "http://"), "{reference}");
        }
        assert_eq!(html.matches("<svg").count(), 6);
        assert!(html.contains("not passed") && html.contains("Memory of the facade"));
        for (open, close) in [("<svg", "</svg>"), ("<section", "</section>"), ("<table", "</table>")] {
            assert_eq!(html.matches(open).count(), html.matches(close).count(), "{open}");
        }
    }
}
