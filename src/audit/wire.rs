//! The lines themselves: JSON, each ending with its code.

use serde::{Deserialize, Serialize};

use super::chain::{self, Chain, Code, Head};
use super::{Evidence, Record};
use crate::model::{AccountId, Context, Fate, GroupId, OperationKind, Skip, Verdict};

/// The format that is written.
const FORMAT: u64 = 1;

const BEFORE_MAC: &[u8] = b",\"mac\":\"";
const AFTER_MAC: &[u8] = b"\"}";
/// What ends every line, in bytes.
const SEAL: usize = BEFORE_MAC.len() + 64 + AFTER_MAC.len();

/// One line without its number, which the writer gives it.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    request_id: &'a str,
    caller: &'a str,
    operation_id: Option<&'a str>,
    operation: &'a str,
    index: Option<usize>,
    group: &'a str,
    group_id: Option<&'a str>,
    name: Option<&'a str>,
    account: Option<&'a str>,
    result: &'a str,
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovered: Option<bool>,
}

/// What is left of a line that was being written when its process ended.
#[derive(Serialize)]
struct Torn<'a> {
    time: String,
    torn: &'a str,
}

/// A file's first line.
#[derive(Debug, Serialize, Deserialize)]
pub struct Header {
    /// The format.
    pub audit: u64,
    /// The number of the file's first line.
    pub first_seq: u64,
    /// The first line that was kept when the file was begun.
    pub kept_from: u64,
    /// When.
    pub time: String,
    /// The code of the line before the first.
    pub after: String,
    /// Why the file does not continue another: lines before it were set aside by an operator.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub renewed: Option<bool>,
}

/// What a file continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// The file before it, or nothing at all.
    InTurn,
    /// Files that an operator set aside.
    Renewed,
}

/// One line as `audit show` needs it; what a line does not say is left out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// The line's number; 0 in files from before there was a chain.
    pub seq: u64,
    /// When it was written.
    pub time: String,
    /// Who asked.
    pub caller: String,
    /// The inbound request.
    pub request_id: String,
    /// The bulk operation, where one was begun.
    pub operation_id: Option<String>,
    /// The name's place in the request, from 0; none where a whole call was refused.
    pub index: Option<usize>,
    /// What was asked for.
    pub operation: String,
    /// The group's name.
    pub group: String,
    /// The group's id.
    pub group_id: Option<String>,
    /// The name as the caller spelt it; none where a whole call was refused.
    pub name: Option<String>,
    /// The account it means.
    pub account: Option<String>,
    /// What became of it.
    pub result: String,
    /// Why.
    pub reason: Option<String>,
    /// It was found out after a restart.
    pub recovered: bool,
    /// Half a line that a killed process left.
    pub torn: Option<String>,
}

impl Entry {
    /// Reads a line; nothing if it is none, or a file's header.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let entry: Self = serde_json::from_slice(line).ok()?;
        (!entry.time.is_empty() && (entry.torn.is_some() || !entry.result.is_empty())).then_some(entry)
    }

    /// What became of the name, if this version knows the word for it.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        Verdict::named(self.reason.as_deref().unwrap_or(&self.result))
    }
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// Texts, numbers and options only: writing them cannot fail.
fn push(into: &mut Vec<u8>, line: &impl Serialize) {
    let length = into.len();
    match serde_json::to_writer(&mut *into, line) {
        Ok(()) => into.push(b'\n'),
        Err(_) => into.truncate(length),
    }
}

/// One line for each record, without number and code.
pub fn records(context: &Context, records: &[Record<'_>]) -> Vec<u8> {
    let time = now();
    let mut lines = Vec::with_capacity(records.len() * 256);
    for record in records {
        let (result, reason) = match record.verdict {
            Verdict::Told(Fate::Done) => ("done", None),
            Verdict::Told(Fate::Skipped(Skip::NotAttempted)) => ("not_attempted", None),
            Verdict::Told(Fate::Skipped(reason)) => ("skipped", Some(reason.as_str())),
            Verdict::InDoubt => ("in_doubt", None),
        };
        let line = Line {
            time: time.clone(),
            request_id: context.request.as_str(),
            caller: &context.caller.name,
            operation_id: Some(record.operation.as_str()),
            operation: record.kind.as_str(),
            index: Some(record.index),
            group: record.group,
            group_id: record.group_id.map(GroupId::as_str),
            name: Some(record.name),
            account: record.account.map(AccountId::as_str),
            result,
            reason,
            recovered: match record.evidence {
                Evidence::Witnessed => None,
                Evidence::Recovered => Some(true),
            },
        };
        push(&mut lines, &line);
    }
    lines
}

/// The line of a call that was refused as a whole.
pub fn refused(context: &Context, kind: OperationKind, group: &str, why: &str) -> Vec<u8> {
    let mut line = Vec::new();
    let refused = Line {
        time: now(),
        request_id: context.request.as_str(),
        caller: &context.caller.name,
        operation_id: None,
        operation: kind.as_str(),
        index: None,
        group,
        group_id: None,
        name: None,
        account: None,
        result: "refused",
        reason: Some(why),
        recovered: None,
    };
    push(&mut line, &refused);
    line
}

/// The line that keeps what was left of another.
pub fn torn(text: &[u8]) -> Vec<u8> {
    let mut line = Vec::new();
    let torn = Torn {
        time: now(),
        torn: &String::from_utf8_lossy(text),
    };
    push(&mut line, &torn);
    line
}

/// Gives a line its number and its code and appends it to `into`; returns the new head.
pub fn seal(into: &mut Vec<u8>, chain: &Chain, before: Head, body: &[u8]) -> Head {
    let start = into.len();
    let seq = before.seq + 1;
    into.extend_from_slice(format!("{{\"seq\":{seq},").as_bytes());
    into.extend_from_slice(body.strip_prefix(b"{").unwrap_or(body));
    let mac = close(into, start, chain, &before.mac);
    Head { seq, mac }
}

/// Appends a file's first line.
pub fn header(into: &mut Vec<u8>, chain: &Chain, before: Head, kept_from: u64, begun: Begun) {
    let start = into.len();
    let header = Header {
        audit: FORMAT,
        first_seq: before.seq + 1,
        kept_from,
        time: now(),
        after: chain::hex(&before.mac),
        renewed: (begun == Begun::Renewed).then_some(true),
    };
    push(into, &header);
    close(into, start, chain, &before.mac);
}

/// Puts the code at the end of the line that begins at `start`.
fn close(into: &mut Vec<u8>, start: usize, chain: &Chain, previous: &Code) -> Code {
    while matches!(into.last(), Some(b'\n' | b'}')) && into.len() > start {
        // One brace at the most: a line holds texts, numbers and nothing nested.
        if into.pop() == Some(b'}') {
            break;
        }
    }
    let mac = chain.code(previous, into.get(start..).unwrap_or_default());
    into.extend_from_slice(BEFORE_MAC);
    into.extend_from_slice(chain::hex(&mac).as_bytes());
    into.extend_from_slice(AFTER_MAC);
    into.push(b'\n');
    mac
}

/// A line, without its end of line, as the bytes its code is made of, and the code; nothing if it is not closed so.
pub fn open(line: &[u8]) -> Option<(&[u8], Code)> {
    let (own, seal) = line.split_at_checked(line.len().checked_sub(SEAL)?)?;
    let digits = seal.strip_prefix(BEFORE_MAC)?.strip_suffix(AFTER_MAC)?;
    Some((own, chain::code(digits)?))
}

/// The number a line bears.
pub fn seq(own: &[u8]) -> Option<u64> {
    let rest = own.strip_prefix(b"{\"seq\":")?;
    let digits = rest.split(|byte| *byte == b',').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|seq| *seq > 0)
}

/// What a file's first line says, with its own bytes and its code.
pub fn open_header(line: &[u8]) -> Option<(Header, &[u8], Code)> {
    let (own, mac) = open(line)?;
    // The code itself is no part of the header's words.
    let header: Header = serde_json::from_slice(line).ok()?;
    own.starts_with(b"{\"audit\":").then_some((header, own, mac))
}

impl Header {
    /// The head the file continues.
    pub fn before(&self) -> Option<Head> {
        Some(Head {
            seq: self.first_seq.checked_sub(1)?,
            mac: chain::code(self.after.as_bytes())?,
        })
    }

    /// Whether it is of a later format.
    pub fn is_newer(&self) -> bool {
        self.audit > FORMAT
    }
}

/// Whether these bytes at the very end, without an end of line, may be a line that is being written: its beginning, and
/// not a whole one with something behind it.
pub fn may_be_torn(tail: &[u8], next: u64) -> bool {
    let begins = |start: &[u8]| tail.starts_with(start) || start.starts_with(tail);
    let starts_well = begins(format!("{{\"seq\":{next},").as_bytes()) || begins(b"{\"audit\":");
    // A code in a text has its quotes escaped, so this is the end of a line wherever it stands.
    let whole_before = tail
        .windows(SEAL)
        .take(tail.len().saturating_sub(SEAL))
        .any(|window| window.starts_with(BEFORE_MAC) && window.ends_with(AFTER_MAC));
    starts_well && !whole_before
}

/// Whether a file's first line is of a time before there was a chain.
pub fn is_unchained(first_line: &[u8]) -> bool {
    // Only whoever writes codes writes this, quotes and all.
    !first_line.starts_with(b"{\"audit\":")
        && !first_line.starts_with(b"{\"seq\":")
        && !first_line.windows(BEFORE_MAC.len()).any(|window| window == BEFORE_MAC)
}
