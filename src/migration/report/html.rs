//! The report as one page: nothing is fetched, nothing needs a script, and nothing that a name holds is markup.

use std::fmt::{self, Write as _};

use super::{Cell, Count, Report, Section, Source, Tone, grouped, places, visible};

/// Rows shown of each section.
pub const ROWS: usize = 1000;

/// Letters of a text that is not broken over lines.
const SHORT: usize = 32;

const STYLE: &str = include_str!("page.css");

/// The report as an HTML document.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a `String` cannot fail.
    let _ = page(&mut out, report);
    out
}

/// A text with nothing in it that HTML, or an eye, takes for anything else.
struct Safe<'a>(&'a str);

impl fmt::Display for Safe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut written = Ok(());
        visible(self.0, &mut |c| {
            let next = match c {
                '&' => f.write_str("&amp;"),
                '<' => f.write_str("&lt;"),
                '>' => f.write_str("&gt;"),
                '"' => f.write_str("&quot;"),
                '\'' => f.write_str("&#39;"),
                c => f.write_char(c),
            };
            written = written.and(next);
        });
        written
    }
}

fn page(out: &mut String, report: &Report) -> fmt::Result {
    let state = if report.findings() == 0 { "ready" } else { "findings" };
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{title}: {verdict}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header>\n<div class=\"top\"><h1>{title}</h1> <span class=\"verdict {state}\">{verdict}</span></div>\n\
         <p class=\"when\">{when}</p>\n</header>\n",
        title = Safe(&report.title),
        verdict = Safe(&report.verdict()),
        when = Safe(&report.when()),
    )?;
    summary(out, &report.summary)?;
    contents(out, report)?;
    for part in &report.sections {
        section(out, part)?;
    }
    sources(out, &report.sources)?;
    out.write_str("<footer>Made by extender-facade. It holds names and addresses of people: keep it as such.</footer>\n</main>\n</body>\n</html>\n")
}

fn tone(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "tone-good",
        Tone::Quiet => "tone-quiet",
        Tone::Open => "tone-open",
        Tone::Bad => "tone-bad",
    }
}

fn summary(out: &mut String, counts: &[Count]) -> fmt::Result {
    let parts = || counts.iter().filter_map(|count| Some((count, count.part?)));
    let whole: u64 = parts().map(|(count, _)| count.value).sum();
    if whole > 0 {
        let words: Vec<String> = parts()
            .map(|(count, _)| format!("{} {}", grouped(count.value), count.label))
            .collect();
        write!(
            out,
            "<div class=\"bar\" role=\"img\" aria-label=\"{}\">",
            Safe(&words.join(", "))
        )?;
        for (count, part) in parts().filter(|(count, _)| count.value > 0) {
            // `flex-grow` takes the figures as they are: no percentages to round.
            write!(
                out,
                "<span class=\"{}\" style=\"flex:{} 0 0\"></span>",
                tone(part),
                count.value
            )?;
        }
        out.write_str("</div>\n")?;
    }
    out.write_str("<ul class=\"tiles\">\n")?;
    for (count, part) in parts() {
        writeln!(
            out,
            "<li><b>{}</b><span class=\"label\"><i class=\"{}\"></i>{}</span></li>",
            grouped(count.value),
            tone(part),
            Safe(&count.label)
        )?;
    }
    out.write_str("</ul>\n<dl class=\"figures\">\n")?;
    for count in counts.iter().filter(|count| count.part.is_none()) {
        writeln!(
            out,
            "<div><dt>{}</dt><dd>{}</dd></div>",
            Safe(&count.label),
            grouped(count.value)
        )?;
    }
    out.write_str("</dl>\n")
}

fn contents(out: &mut String, report: &Report) -> fmt::Result {
    if report.sections.is_empty() {
        return out.write_str("<p class=\"part\">Nothing was found that anybody must look at.</p>\n");
    }
    out.write_str("<nav class=\"part\" aria-label=\"Contents\">\n")?;
    for (title, finding) in [("To decide", true), ("To know", false)] {
        let mut sections = report
            .sections
            .iter()
            .filter(|section| section.kind.is_finding() == finding)
            .peekable();
        if sections.peek().is_none() {
            continue;
        }
        let class = if finding { "" } else { " class=\"note\"" };
        write!(
            out,
            "<div class=\"group\"><p class=\"small\">{title}</p>\n<ul class=\"contents\">\n"
        )?;
        for section in sections {
            writeln!(
                out,
                "<li{class}><a href=\"#{}\"><span>{}</span><span class=\"number\">{}</span></a></li>",
                section.kind.as_str(),
                Safe(&section.title),
                grouped(section.rows.len() as u64)
            )?;
        }
        out.write_str("</ul></div>\n")?;
    }
    out.write_str("</nav>\n")
}

fn section(out: &mut String, section: &Section) -> fmt::Result {
    write!(
        out,
        "<section id=\"{}\" class=\"{}\">\n<div class=\"head\"><h2>{}</h2> <span class=\"badge\">{}</span></div>\n\
         <p class=\"why\">{}</p>\n<p class=\"next\"><b>Next step.</b> {}</p>\n\
         <div class=\"scroll\"><table>\n<thead><tr>",
        section.kind.as_str(),
        if section.kind.is_finding() { "finding" } else { "note" },
        Safe(&section.title),
        grouped(section.rows.len() as u64),
        Safe(&section.why),
        Safe(&section.what_to_do),
    )?;
    let first = section.rows.first().map(Vec::as_slice).unwrap_or_default();
    for (at, column) in section.columns.iter().enumerate() {
        let class = if matches!(first.get(at), Some(Cell::Number(_))) {
            " class=\"number\""
        } else {
            ""
        };
        write!(out, "<th scope=\"col\"{class}>{}</th>", Safe(&column.replace('_', " ")))?;
    }
    out.write_str("</tr></thead>\n<tbody>\n")?;
    for row in section.rows.iter().take(ROWS) {
        out.write_str("<tr>")?;
        for (column, cell) in section.columns.iter().zip(row) {
            data(out, column, cell)?;
        }
        out.write_str("</tr>\n")?;
    }
    out.write_str("</tbody>\n</table></div>\n")?;
    let more = section.rows.len().saturating_sub(ROWS);
    if more > 0 {
        writeln!(
            out,
            "<p class=\"more\">and {} more; the JSON report has all of them</p>",
            grouped(more as u64)
        )?;
    }
    out.write_str("</section>\n")
}

fn data(out: &mut String, column: &str, cell: &Cell) -> fmt::Result {
    let mut texts = cell.texts();
    if column == "where" {
        texts = places(&texts);
    }
    let short = texts.iter().all(|text| text.chars().count() <= SHORT);
    let class = match (cell, column) {
        (Cell::Number(_), _) => " class=\"number\"",
        (_, "where") => " class=\"place\"",
        (_, "account_id") => " class=\"code\"",
        _ if short => " class=\"short\"",
        _ => "",
    };
    write!(out, "<td{class}>")?;
    match texts.as_slice() {
        [] => out.write_str("<span class=\"empty\">–</span>")?,
        [one] if one.is_empty() => out.write_str("<span class=\"empty\">–</span>")?,
        // A name of another script must not turn its neighbours around.
        [one] => write!(out, "<bdi>{}</bdi>", Safe(one))?,
        several => {
            for text in several {
                write!(out, "<div><bdi>{}</bdi></div>", Safe(text))?;
            }
        }
    }
    out.write_str("</td>")
}

fn sources(out: &mut String, sources: &[Source]) -> fmt::Result {
    if sources.is_empty() {
        return Ok(());
    }
    out.write_str(
        "<section id=\"sources\">\n<h2>What was read</h2>\n<div class=\"scroll\"><table>\n<thead><tr>\
         <th scope=\"col\">as</th><th scope=\"col\">name</th><th scope=\"col\">format</th>\
         <th scope=\"col\" class=\"number\">rows</th></tr></thead>\n<tbody>\n",
    )?;
    for source in sources {
        write!(
            out,
            "<tr><td>{}</td><td><bdi>{}</bdi>",
            Safe(&source.role),
            Safe(&source.name)
        )?;
        for note in &source.notes {
            write!(out, "<div class=\"notes\">{}</div>", Safe(note))?;
        }
        writeln!(
            out,
            "</td><td>{}</td><td class=\"number\">{}</td></tr>",
            Safe(&source.format),
            grouped(source.rows)
        )?;
    }
    out.write_str("</tbody>\n</table></div>\n</section>\n")
}

#[cfg(test)]
mod tests {
    use super::super::{Count, Kind, Report, Section};
    use super::*;
    use proptest::prelude::*;

    /// Longer than any name that is tried: places of one file are one.
    const OTHER_FILE: &str = "a file whose name nothing else here has";

    fn report(name: &str) -> Report {
        let mut section = Section::new(Kind::Merged, &["username", "where"]);
        section
            .rows
            .push(vec![name.into(), vec![name.to_owned(), OTHER_FILE.to_owned()].into()]);
        let source = Source {
            name: name.to_owned(),
            notes: vec![name.to_owned()],
            ..Source::default()
        };
        let summary = vec![Count::part("resolved", "found", 3, Tone::Good)];
        Report::new(name, jiff::Timestamp::UNIX_EPOCH, vec![source], summary, vec![section])
    }

    #[test]
    fn a_name_is_never_markup() {
        let page = render(&report("</style><script>alert(1)</script>\"'&\u{202e}"));
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("&lt;/style&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;&lt;U+202E&gt;"));
        assert_eq!(page.matches("</style>").count(), 1);
    }

    #[test]
    fn the_page_fetches_nothing() {
        let page = render(&report("jdoe"));
        for word in ["http://", "https://", "url(", "src=", "@import", "<script", "<link"] {
            assert!(!page.contains(word), "{word}");
        }
    }

    proptest! {
        #[test]
        fn the_markup_is_the_same_whatever_the_names(name in "[\\PC<>&\"'\\x00-\\x1f]{1,30}") {
            let tags = |page: &str| page.matches('<').count();
            prop_assert_eq!(tags(&render(&report(&name))), tags(&render(&report("jdoe"))));
        }
    }
}
