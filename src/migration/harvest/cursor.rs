//! A place in a text that only moves forward.

pub struct Cursor<'a> {
    pub text: &'a str,
    /// In bytes, always between two letters.
    pub at: usize,
}

impl<'a> Cursor<'a> {
    pub fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Passes `token` if it stands here.
    pub fn pass(&mut self, token: &str) -> bool {
        let here = self.rest().starts_with(token);
        if here {
            self.at += token.len();
        }
        here
    }

    /// Passes letters as long as `wanted` says so, and returns them.
    pub fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    pub fn blanks(&mut self) {
        self.take(char::is_whitespace);
    }

    /// The quoted text that begins here, with one level of escapes undone. A quote may itself be escaped, as in a
    /// body within a shell's quotes: `"{\"users\":[\"jdoe\"]}"`. Nothing where it does not end within `limit` bytes.
    pub fn quoted(&mut self, limit: usize) -> Option<String> {
        let start = self.at;
        let escaped = self.pass("\\");
        let quote = match self.next() {
            Some(quote @ ('"' | '\'')) => quote,
            _ => {
                self.at = start;
                return None;
            }
        };
        let mut out = String::new();
        while self.at - start <= limit {
            match self.next()? {
                '\\' if escaped && self.peek() == Some(quote) => {
                    self.next();
                    return Some(out);
                }
                '\\' => match self.next()? {
                    'u' => out.push(self.unicode().unwrap_or('\u{fffd}')),
                    'n' | 'r' | 't' => out.push(' '),
                    other => out.push(other),
                },
                c if c == quote && !escaped => return Some(out),
                '\n' => break,
                c => out.push(c),
            }
        }
        None
    }

    fn unicode(&mut self) -> Option<char> {
        let code = u32::from_str_radix(self.rest().get(..4)?, 16).ok()?;
        self.at += 4;
        char::from_u32(code)
    }
}
