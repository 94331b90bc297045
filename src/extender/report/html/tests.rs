//! Pages of reports made up, with names as bad as can be.

use super::*;
use crate::model::{GroupId, GroupName};
use crate::reports::samples;
use proptest::prelude::*;

fn hostile(text: &str) -> Report {
    let mut report = samples::finished();
    report.state = State::Interrupted(text.to_owned());
    report.caller = text.to_owned();
    report.request = text.to_owned();
    report.group = Some((GroupId::new(text), GroupName::new(text)));
    report.plan = serde_json::json!({ text: [text, { text: text }] }).to_string();
    report.names = vec![samples::name(text, None), samples::name(text, Some(Verdict::DONE))];
    report
}

#[test]
fn a_name_is_never_markup() {
    let page = render(
        &hostile("</style><script>alert(1)</script>\"'&\u{202e}\u{0}"),
        Names::Listed,
    );
    assert!(!page.contains("<script"), "{page}");
    assert!(page.contains("&lt;/style&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;&lt;U+202E&gt;␀"));
    assert_eq!(page.matches("</style>").count(), 1);
}

#[test]
fn the_page_fetches_nothing() {
    for report in [samples::finished(), samples::running()] {
        let page = render(&report, Names::Listed);
        for word in [
            "http://", "https://", "url(", "src=", "@import", "<script", "<link", "<form", "style=\"",
        ] {
            assert!(!page.contains(word), "{word}");
        }
    }
}

#[test]
fn only_a_running_operation_is_looked_at_again() {
    let refresh = "<meta http-equiv=\"refresh\" content=\"3\">";
    assert!(render(&samples::running(), Names::Listed).contains(refresh));
    let finished = render(&samples::finished(), Names::Listed);
    assert!(
        !finished.contains(refresh) && !finished.contains("To come"),
        "{finished}"
    );
}

#[test]
fn what_it_did_and_why_not_is_told_in_words_and_figures() {
    let page = render(&samples::finished(), Names::Listed);
    for text in [
        "Add members to <bdi>developers</bdi>",
        "<span class=\"pill good\">finished</span>",
        "begun 2023-11-14T22:13:20.123Z, ended 2023-11-14T22:14:21.000Z, after 60.8 s",
        "aria-label=\"4 of 4 names settled\"",
        "<rect class=\"good\" x=\"0\" width=\"1\" height=\"1\"/><rect class=\"quiet\" x=\"1\" width=\"2\" height=\"1\"/><rect class=\"bad\" x=\"3\" width=\"1\" height=\"1\"/>",
        "<b>Already in the group</b> <span class=\"badge\">1</span> <code>already_member</code>",
        "<b>Added</b> <span class=\"badge\">1</span>",
        "<dt>calls to Cloud</dt><dd>12,345</dd>",
        "<dt>waited for leave to call, all calls together</dt><dd>7.9 s</dd></div>\n\
         <div><dt>of it because Cloud asked for a pause (429)</dt><dd>5.9 s</dd></div>\n\
         <div><dt>of it for the learned pace</dt><dd>2.0 s</dd></div>\n\
         <div><dt>of it before trying again</dt><dd>0.1 s</dd></div>\n</dl>",
        "<dt>list members</dt><dd>3</dd>",
        "<tr><td>3</td><td><bdi>nobody</bdi></td><td><span class=\"empty\">–</span></td></tr>",
    ] {
        assert!(page.contains(text), "{text}\n{page}");
    }
    assert!(!page.contains("the-callers-key") && !page.contains("the-callers-own-key"));
    let dry = Report {
        dry_run: true,
        no_access_granted: true,
        undo_of: Some(samples::finished().id),
        ..samples::finished()
    };
    let page = render(&dry, Names::Listed);
    for text in [
        "Nothing was changed",
        "<b>Would be added</b>",
        "gives nobody access to Confluence",
        "It takes back operation",
    ] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn all_of_ten_thousand_names_stand_there_at_the_end_and_the_first_of_each_kind_before() {
    let mut report = samples::large(10_000);
    let rows = |report: &Report| render(report, Names::Listed).matches("<tr><td>").count();
    assert_eq!(rows(&report), 10_000);
    let page = render(&report, Names::Listed);
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    report.state = State::Running;
    // Seven reasons, and those that are done.
    assert_eq!(rows(&report), 8 * ROWS_WHILE_RUNNING);
    assert!(render(&report, Names::Listed).contains("and 7,480 more"));
    let without = render(&report, Names::LeftOut);
    assert!(without.matches("<tr>").count() == 0 && without.contains("7,500"));
}

#[test]
fn an_operation_without_a_name_has_a_page() {
    let report = Report {
        names: Vec::new(),
        plan: String::new(),
        group: None,
        ..samples::running()
    };
    assert!(render(&report, Names::Listed).contains("viewBox=\"0 0 1 1\""));
}

proptest! {
    #[test]
    fn the_markup_is_the_same_whatever_the_names(name in "[\\PC<>&\"'\\x00-\\x1f]{1,30}") {
        let tags = |page: &str| (page.matches('<').count(), page.matches('"').count());
        prop_assert_eq!(tags(&render(&hostile(&name), Names::Listed)), tags(&render(&hostile("jdoe"), Names::Listed)));
    }
}
