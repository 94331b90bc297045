//! Single names: in the addresses of calls, in loops, and e-mail addresses anywhere.

use percent_encoding::percent_decode_str;

use super::cursor::Cursor;
use super::{Basket, How, MAX_LETTERS, What};
use crate::migration::columns::plain;

/// Groups in the addresses of calls: `…/getUsers/{group}`, whatever stands before it, since scripts keep that apart.
pub fn urls(text: &str, basket: &mut Basket) {
    for call in ["/getUsers/", "/addUsers/", "/removeUsers/"] {
        for (at, _) in text.match_indices(call) {
            let mut cursor = Cursor {
                text,
                at: at + call.len(),
            };
            let start = cursor.at;
            if let Some(name) = segment(&mut cursor).and_then(decoded) {
                basket.put(What::Group, &name, How::Url, start);
            }
        }
    }
}

/// One segment of a path as it stands in code. A parenthesis belongs to it only if it was opened within it.
fn segment<'a>(cursor: &mut Cursor<'a>) -> Option<&'a str> {
    let start = cursor.at;
    let mut open = 0_u32;
    while let Some(c) = cursor.peek() {
        match c {
            '(' => open += 1,
            ')' if open > 0 => open -= 1,
            ')' | '/' | '?' | '#' | ';' | '"' | '\'' | '`' | '<' | '>' | '\\' | '|' | ',' | ']' | '}' => break,
            c if c.is_whitespace() || c.is_control() => break,
            _ => {}
        }
        cursor.next();
        if cursor.at - start > MAX_LETTERS * 12 {
            return None;
        }
    }
    cursor.text.get(start..cursor.at)
}

/// A percent sign that is not followed by two digits belongs to a format, not to a name.
fn decoded(segment: &str) -> Option<String> {
    let well = segment.split('%').skip(1).all(|part| {
        let mut digits = part.bytes();
        [digits.next(), digits.next()]
            .iter()
            .all(|digit| digit.is_some_and(|digit| digit.is_ascii_hexdigit()))
    });
    if !well {
        return None;
    }
    percent_decode_str(segment).decode_utf8().ok().map(String::from)
}

/// Names in a shell's loops: `for user in jdoe asmith; do`.
pub fn loops(text: &str, basket: &mut Basket) {
    for (at, _) in text.match_indices("for ") {
        let mut cursor = Cursor { text, at: at + 4 };
        let word = plain(cursor.take(|c| c.is_ascii_alphanumeric() || c == '_'));
        let what = match word.as_str() {
            "user" | "u" | "member" | "username" | "login" => What::User,
            "group" | "g" | "grp" | "groupname" => What::Group,
            _ => continue,
        };
        if !cursor.pass(" in ") {
            continue;
        }
        let start = cursor.at;
        let names = cursor.take(|c| !matches!(c, ';' | '\n' | ':' | '(' | ')' | '[' | '$' | '`' | '|'));
        // Anything else than a shell's words is code: `for user in users:`.
        if !cursor.rest().starts_with([';', '\n']) || names.len() > 1 << 16 {
            continue;
        }
        let mut place = start;
        for name in names.split(' ') {
            basket.put(what, name.trim_matches(['"', '\'']), How::List, place);
            place += name.len() + 1;
        }
    }
}

/// The longest part before the sign, and behind it.
const LOCAL: usize = 64;
const DOMAIN: usize = 253;

/// Everything that is shaped like an e-mail address.
pub fn addresses(text: &str, basket: &mut Basket) {
    for (sign, _) in text.match_indices('@') {
        let before = text.get(..sign).unwrap_or_default();
        let local: usize = before
            .chars()
            .rev()
            .take(LOCAL)
            .take_while(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '%' | '+' | '-'))
            .map(char::len_utf8)
            .sum();
        let behind = text.get(sign + 1..).unwrap_or_default();
        let domain: usize = behind
            .chars()
            .take(DOMAIN)
            .take_while(|c| c.is_alphanumeric() || matches!(c, '.' | '-'))
            .map(char::len_utf8)
            .sum();
        let domain = behind.get(..domain).unwrap_or_default().trim_end_matches(['.', '-']);
        let start = sign - local;
        let local = before.get(start..).unwrap_or_default();
        // `git@host:path`, `https://name@host` and `ssh name@host` are no addresses of people; the last looks like one.
        let is_path = behind.get(domain.len()..).is_some_and(|rest| {
            rest.strip_prefix(':')
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_alphanumeric() || c == '/'))
        });
        let is_url = before.get(..start).is_some_and(|before| before.ends_with("//"));
        let tld = domain.rsplit_once('.').map(|(_, tld)| tld).unwrap_or_default();
        if !local.is_empty()
            && !is_path
            && !is_url
            && tld.len() >= 2
            && tld.chars().all(char::is_alphabetic)
            && let Some(address) = text.get(start..sign + 1 + domain.len())
        {
            basket.put(
                What::User,
                address.trim_start_matches(['.', '-', '+']),
                How::Address,
                start,
            );
        }
    }
}
