//! What was found, line by line: as text while it is found, or as one JSON at the end.

use serde_json::{Value, json};

use crate::cloud::{Diagnosis, Error, Operation};
use crate::settings::Faults;

/// How bad a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Good,
    /// Good to know.
    Note,
    /// Nothing fails yet.
    Warning,
    Finding,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Note => "note",
            Self::Warning => "warn",
            Self::Finding => "FAIL",
        }
    }
}

/// How it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// One line.
#[derive(Debug)]
struct Line {
    level: Level,
    what: String,
    text: String,
    symptom: Option<&'static str>,
    mend: Option<String>,
    /// The name of the credential that it is about.
    credential: Option<Value>,
    /// What that one lacks, and its place among the credentials.
    lacks: Option<(Operation, usize)>,
}

/// Lines so far, and whether any of them was a finding.
#[derive(Debug)]
pub struct Report {
    format: Format,
    findings: usize,
    lines: Vec<Value>,
    /// The credential that the lines are about, with what is known of it.
    credential: Option<Value>,
    credentials: Vec<Value>,
    /// Lines about several credentials for one purpose, until all of them were asked.
    held: Option<Vec<Line>>,
}

impl Report {
    /// Nothing found yet.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            findings: 0,
            lines: Vec::new(),
            credential: None,
            credentials: Vec::new(),
            held: None,
        }
    }

    /// Something is as it should be.
    pub fn good(&mut self, what: &str, text: impl std::fmt::Display) {
        self.line(Level::Good, what, &text.to_string(), None, None);
    }

    /// Something to mend before it fails.
    pub fn warning(&mut self, what: &str, text: impl std::fmt::Display, mend: &str) {
        self.line(Level::Warning, what, &text.to_string(), None, Some(mend));
    }

    /// Something that fails, and nothing more is known of it.
    pub fn bad(&mut self, what: &str, text: impl std::fmt::Display) {
        self.line(Level::Finding, what, &text.to_string(), None, None);
    }

    /// Something that fails, and what to do.
    pub fn mend(&mut self, what: &str, text: impl std::fmt::Display, symptom: &'static str, mend: &str) {
        self.line(Level::Finding, what, &text.to_string(), Some(symptom), Some(mend));
    }

    /// The same of what Cloud refused.
    pub fn refused(&mut self, what: &str, diagnosis: &Diagnosis) {
        self.mend(what, &diagnosis.finding, diagnosis.symptom.as_str(), &diagnosis.mend);
    }

    /// The same of what it refused for one kind of request alone, which another credential may be good for.
    pub fn lacks(&mut self, what: &str, operation: Operation, diagnosis: &Diagnosis) {
        let symptom = Some(diagnosis.symptom.as_str());
        let mut line = self.about_it(Level::Finding, what, &diagnosis.finding, symptom, Some(&diagnosis.mend));
        line.lacks = Some((operation, self.credentials.len()));
        self.take(line);
    }

    /// The same of a question to Cloud that was not answered.
    pub fn failed(&mut self, what: &str, error: &Error) {
        match error {
            Error::Refused { diagnosis, .. } => self.refused(what, diagnosis),
            other => self.bad(what, other),
        }
    }

    /// All faults of the settings, or of a file.
    pub fn faults(&mut self, what: &str, faults: &Faults) {
        for fault in &faults.0 {
            self.bad(what, fault);
        }
    }

    /// What follows is about this credential.
    pub fn about(&mut self, credential: Value) {
        self.end();
        self.credential = Some(credential);
    }

    /// One thing more that is known of it.
    pub fn know(&mut self, key: &str, value: Value) {
        if let Some(Value::Object(known)) = &mut self.credential {
            known.insert(key.to_owned(), value);
        }
    }

    /// That it may, or may not, do something; by the name of the request.
    pub fn may(&mut self, operation: &str, may: &str) {
        if let Some(Value::Object(known)) = &mut self.credential {
            let operations = known.entry("operations").or_insert_with(|| json!({}));
            if let Value::Object(operations) = operations {
                operations.insert(operation.to_owned(), may.into());
            }
        }
    }

    /// What follows is about no credential any more.
    pub fn end(&mut self) {
        self.credentials.extend(self.credential.take());
    }

    /// What follows is about so many credentials for one purpose, in the order in which they are used.
    pub fn begin_ring(&mut self, credentials: usize) {
        self.end();
        // What is about one alone is told while it is found.
        self.held = (credentials > 1).then(Vec::new);
    }

    /// All of them were asked. What one lacks and a later one may do is done by that one: nothing fails.
    pub fn end_ring(&mut self) {
        self.end();
        for mut line in self.held.take().unwrap_or_default() {
            let instead = line.lacks.and_then(|(operation, at)| {
                let path = format!("/operations/{}", operation.name());
                let mut later = self.credentials.iter().skip(at + 1);
                let may = later.find(|known| known.pointer(&path).is_some_and(|may| may == "yes"))?;
                may.get("name")?.as_str()
            });
            if let Some(name) = instead {
                line.level = Level::Note;
                line.mend = Some(format!("nothing need be done: {name} is used for it"));
            }
            self.take(line);
        }
    }

    /// How many findings there were; the JSON is written now.
    pub fn finish(mut self) -> usize {
        self.end_ring();
        if self.format == Format::Json {
            let whole = json!({
                "ok": self.findings == 0,
                "findings": self.findings,
                "credentials": self.credentials,
                "lines": self.lines,
            });
            say!("{whole:#}");
        }
        self.findings
    }

    fn line(&mut self, level: Level, what: &str, text: &str, symptom: Option<&'static str>, mend: Option<&str>) {
        let line = self.about_it(level, what, text, symptom, mend);
        self.take(line);
    }

    fn about_it(
        &self,
        level: Level,
        what: &str,
        text: &str,
        symptom: Option<&'static str>,
        mend: Option<&str>,
    ) -> Line {
        let name = self.credential.as_ref().and_then(|known| known.get("name"));
        Line {
            level,
            what: what.to_owned(),
            text: text.to_owned(),
            symptom,
            mend: mend.map(str::to_owned),
            credential: name.cloned(),
            lacks: None,
        }
    }

    /// Tells a line, at once or when it is known what another credential may do.
    fn take(&mut self, line: Line) {
        if let Some(held) = &mut self.held {
            return held.push(line);
        }
        self.findings += usize::from(line.level == Level::Finding);
        let word = line.level.word();
        let Line { what, text, .. } = &line;
        match self.format {
            Format::Text => match &line.mend {
                Some(mend) => say!("{word:<5} {what:<12} {text}\n      {:<12} → {mend}", ""),
                None => say!("{word:<5} {what:<12} {text}"),
            },
            Format::Json => self.lines.push(json!({
                "level": word.to_ascii_lowercase(),
                "what": what,
                "text": text,
                "symptom": line.symptom,
                "mend": line.mend,
                "credential": line.credential,
            })),
        }
    }
}
