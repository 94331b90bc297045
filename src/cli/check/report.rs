//! What was found, line by line: as text while it is found, or as one JSON at the end.

use serde_json::{Value, json};

use crate::cloud::{Diagnosis, Error};
use crate::settings::Faults;

/// How bad a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Good,
    /// Nothing fails yet.
    Warning,
    Finding,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
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

/// Lines so far, and whether any of them was a finding.
#[derive(Debug)]
pub struct Report {
    format: Format,
    findings: usize,
    lines: Vec<Value>,
    /// The credential that the lines are about, with what is known of it.
    credential: Option<Value>,
    credentials: Vec<Value>,
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
    pub fn mend(&mut self, what: &str, text: impl std::fmt::Display, symptom: &str, mend: &str) {
        self.line(Level::Finding, what, &text.to_string(), Some(symptom), Some(mend));
    }

    /// The same of what Cloud refused.
    pub fn refused(&mut self, what: &str, diagnosis: &Diagnosis) {
        self.mend(what, &diagnosis.finding, diagnosis.symptom.as_str(), &diagnosis.mend);
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

    /// How many findings there were; the JSON is written now.
    pub fn finish(mut self) -> usize {
        self.end();
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

    fn line(&mut self, level: Level, what: &str, text: &str, symptom: Option<&str>, mend: Option<&str>) {
        self.findings += usize::from(level == Level::Finding);
        let word = level.word();
        match self.format {
            Format::Text => match mend {
                Some(mend) => say!("{word:<5} {what:<12} {text}\n      {:<12} → {mend}", ""),
                None => say!("{word:<5} {what:<12} {text}"),
            },
            Format::Json => {
                let name = self.credential.as_ref().and_then(|known| known.get("name"));
                self.lines.push(json!({
                    "level": word.to_ascii_lowercase(),
                    "what": what,
                    "text": text,
                    "symptom": symptom,
                    "mend": mend,
                    "credential": name,
                }));
            }
        }
    }
}
