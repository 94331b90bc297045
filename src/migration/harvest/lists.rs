//! Lists that are called users, members or groups: JSON, Python, shell arrays, PowerShell.

use super::cursor::Cursor;
use super::{Basket, How, MAX_LETTERS, What};
use crate::migration::columns::plain;

/// The longest list that is followed, in bytes.
const MAX_LIST: usize = 1 << 20;
/// How many times the length of the text may be looked at in vain, for lists that never end.
const PATIENCE: usize = 8;
/// How deep lists and objects are followed.
const MAX_DEPTH: usize = 32;

/// Takes the names of every list that is assigned to a word for users or groups.
pub fn assigned(text: &str, basket: &mut Basket) {
    let mut at = 0;
    let mut in_vain = 0;
    while let Some((start, word)) = next_word(text, at) {
        at = start + word.len();
        let Some(topic) = topic(&plain(word)) else { continue };
        let mut cursor = Cursor { text, at };
        if !assignment(&mut cursor) {
            continue;
        }
        let before = cursor.at;
        let mut taken = Vec::new();
        let whole = value(&mut cursor, topic, &mut taken);
        if whole {
            at = cursor.at;
            for (name, start) in taken {
                basket.put(topic.what, &name, How::List, start);
            }
        } else {
            in_vain += cursor.at - before;
            if in_vain > text.len().saturating_mul(PATIENCE) {
                at = cursor.at;
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Topic {
    what: What,
    /// Whether several names are meant, so that a text may hold several.
    several: bool,
}

fn topic(word: &str) -> Option<Topic> {
    let of = |what, several| Some(Topic { what, several });
    let plural = |stem: &str| word.starts_with(stem) || word.ends_with(stem);
    if plural("groups") || matches!(word, "grouplist" | "groupnames") {
        of(What::Group, true)
    } else if plural("users") || plural("members") || plural("usernames") || matches!(word, "userlist" | "logins") {
        of(What::User, true)
    } else if word.ends_with("group") || word.ends_with("groupname") {
        of(What::Group, false)
    } else {
        None
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-')
}

/// The next word at or behind `at`: where it begins, and itself.
fn next_word(text: &str, at: usize) -> Option<(usize, &str)> {
    let mut cursor = Cursor { text, at };
    cursor.take(|c| !is_word(c));
    let start = cursor.at;
    let word = cursor.take(is_word);
    (!word.is_empty()).then_some((start, word))
}

/// Passes what makes a value of what follows: `=`, `+=`, `:`, `=>`, behind a quote that ends the word.
fn assignment(cursor: &mut Cursor<'_>) -> bool {
    let _ = cursor.pass("\\");
    let _ = cursor.pass("\"") || cursor.pass("'");
    cursor.take(|c| matches!(c, ' ' | '\t'));
    let found = ["=>", "+=", ":=", "=", ":"].iter().any(|sign| cursor.pass(sign));
    // A comparison assigns nothing.
    found && !cursor.rest().starts_with('=')
}

/// Takes the names of the value that begins here; false where it is none, or does not end.
fn value(cursor: &mut Cursor<'_>, topic: Topic, taken: &mut Vec<(String, usize)>) -> bool {
    // A shell's word begins at the sign itself; all others may stand apart.
    cursor.blanks();
    for wrapper in [
        "@",
        "set",
        "list",
        "tuple",
        "frozenset",
        "Arrays.asList",
        "List.of",
        "Set.of",
    ] {
        if cursor
            .rest()
            .strip_prefix(wrapper)
            .is_some_and(|rest| rest.starts_with('('))
        {
            cursor.pass(wrapper);
            break;
        }
    }
    match cursor.peek() {
        Some('[' | '(' | '{') => list(cursor, taken),
        Some('"' | '\'' | '\\') => texts(cursor, topic, taken),
        _ => false,
    }
}

/// One text, which may hold several names, or several texts with commas between.
fn texts(cursor: &mut Cursor<'_>, topic: Topic, taken: &mut Vec<(String, usize)>) -> bool {
    let start = cursor.at;
    let Some(first) = cursor.quoted(MAX_LIST) else {
        return false;
    };
    let mut more = false;
    loop {
        let end = cursor.at;
        cursor.blanks();
        let at = cursor.at + 1;
        if !(cursor.pass(",") && topic.several) {
            cursor.at = end;
            break;
        }
        cursor.blanks();
        match cursor.quoted(MAX_LETTERS * 8) {
            // In JSON the next text is the next key.
            Some(next) if !cursor.rest().trim_start().starts_with(':') => {
                more = true;
                taken.push((next, at));
            }
            _ => {
                cursor.at = end;
                break;
            }
        }
    }
    if more || !topic.several {
        taken.push((first, start));
    } else {
        let names = first.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';'));
        taken.extend(names.map(|name| (name.to_owned(), start)));
    }
    true
}

/// A bracketed list. Within objects only what is called a name counts.
fn list(cursor: &mut Cursor<'_>, taken: &mut Vec<(String, usize)>) -> bool {
    let start = cursor.at;
    let mut open: Vec<char> = Vec::new();
    // The key that waits for its value.
    let mut key: Option<String> = None;
    while cursor.at - start <= MAX_LIST {
        let at = cursor.at;
        let Some(c) = cursor.peek() else { return false };
        match c {
            '[' | '(' | '{' => {
                cursor.next();
                open.push(c);
                key = None;
                if open.len() > MAX_DEPTH {
                    return false;
                }
            }
            ']' | ')' | '}' => {
                cursor.next();
                open.pop();
                if open.is_empty() {
                    return true;
                }
            }
            '#' => {
                cursor.take(|c| c != '\n');
            }
            '/' if cursor.rest().starts_with("//") => {
                cursor.take(|c| c != '\n');
            }
            '"' | '\'' | '\\' => match cursor.quoted(MAX_LETTERS * 8) {
                Some(text) => {
                    let is_key = cursor.rest().trim_start_matches([' ', '\t']).starts_with([':'])
                        || cursor.rest().trim_start_matches([' ', '\t']).starts_with("=>");
                    if is_key {
                        key = Some(plain(&text));
                    } else if key.take().is_none_or(|key| is_naming(&key)) {
                        taken.push((text, at));
                    }
                }
                None => {
                    // A quote that does not end is an apostrophe.
                    cursor.at = at;
                    cursor.next();
                }
            },
            c if is_word(c) || matches!(c, '.' | '@' | '$') => {
                let word = cursor.take(|c| is_word(c) || matches!(c, '.' | '@' | '$' | '+'));
                let next = cursor.peek();
                // `(jdoe asmith)` is a shell's array; everywhere else bare words are code, or a text's prefix (`f"…"`).
                let bare = open.as_slice() == ['('] && !matches!(next, Some(',' | '(' | '"' | '\'' | '=' | '['));
                if bare {
                    taken.push((word.to_owned(), at));
                } else if next == Some('=') || next == Some(':') {
                    key = Some(plain(word));
                }
            }
            ',' | ';' => {
                cursor.next();
                key = None;
            }
            _ => {
                cursor.next();
            }
        }
    }
    false
}

/// Whether an object's field holds a name.
fn is_naming(key: &str) -> bool {
    matches!(
        key,
        "name" | "username" | "user" | "login" | "email" | "mail" | "groupname" | "group"
    ) || topic(key).is_some()
}
