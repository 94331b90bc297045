//! Bytes to text: exports come as UTF-8 from a browser, as UTF-16 from PowerShell, as windows-1252 from a spreadsheet.

use std::fmt;

use encoding_rs::{UTF_16BE, UTF_16LE, WINDOWS_1252};

/// How a file's text was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8.
    Utf8,
    /// UTF-8 behind a byte order mark.
    Utf8Marked,
    /// UTF-16, low byte first.
    Utf16Le,
    /// UTF-16, high byte first.
    Utf16Be,
    /// What is left when it is none of the others. Every byte means something in it, so it is a guess, and told.
    Windows1252,
}

impl Encoding {
    /// The encoding's name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::Utf8Marked => "UTF-8 with byte order mark",
            Self::Utf16Le => "UTF-16 LE",
            Self::Utf16Be => "UTF-16 BE",
            Self::Windows1252 => "windows-1252 (assumed)",
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many bytes are looked at to tell UTF-16 without a mark.
const SAMPLE_BYTES: usize = 4096;

/// The text of `bytes`, without a byte order mark, and how it was written down.
///
/// # Errors
/// What contradicts the encoding that the file claims: half-read names would be worse than none.
pub fn decode(bytes: Vec<u8>) -> Result<(String, Encoding), String> {
    if let Some(rest) = bytes.strip_prefix(b"\xef\xbb\xbf") {
        return match std::str::from_utf8(rest) {
            Ok(text) => Ok((text.to_owned(), Encoding::Utf8Marked)),
            Err(e) => Err(format!(
                "begins as UTF-8, but byte {} is not",
                e.valid_up_to().saturating_add(4)
            )),
        };
    }
    let wide = match bytes.as_slice() {
        [0xff, 0xfe, ..] => Some(Encoding::Utf16Le),
        [0xfe, 0xff, ..] => Some(Encoding::Utf16Be),
        all => unmarked_utf16(all),
    };
    if let Some(encoding) = wide {
        let table = if encoding == Encoding::Utf16Le {
            UTF_16LE
        } else {
            UTF_16BE
        };
        let (text, faults) = table.decode_with_bom_removal(&bytes);
        if faults {
            return Err(format!("begins as {encoding}, but does not go on so"));
        }
        return Ok((text.into_owned(), encoding));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok((text, Encoding::Utf8)),
        Err(e) => {
            let (text, _) = WINDOWS_1252.decode_without_bom_handling(e.as_bytes());
            Ok((text.into_owned(), Encoding::Windows1252))
        }
    }
}

/// Latin text in UTF-16 has a zero in nearly every second byte, and other text has none at all.
fn unmarked_utf16(bytes: &[u8]) -> Option<Encoding> {
    let sample = bytes.get(..SAMPLE_BYTES.min(bytes.len())).unwrap_or_default();
    let (mut first, mut second) = (0_usize, 0_usize);
    for pair in sample.chunks_exact(2) {
        first += usize::from(pair.first() == Some(&0));
        second += usize::from(pair.last() == Some(&0));
    }
    let enough = (sample.len() / 2).saturating_mul(2) / 5;
    match (first, second) {
        _ if enough < 2 => None,
        (0, zeros) if zeros >= enough => Some(Encoding::Utf16Le),
        (zeros, 0) if zeros >= enough => Some(Encoding::Utf16Be),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, little: bool, mark: bool) -> Vec<u8> {
        let mark = if mark { "\u{feff}" } else { "" };
        format!("{mark}{text}")
            .encode_utf16()
            .flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() })
            .collect()
    }

    #[test]
    fn every_encoding_gives_the_same_text() {
        let text = "username,email\r\njürgen,j@example.com\r\n";
        let mut marked = b"\xef\xbb\xbf".to_vec();
        marked.extend_from_slice(text.as_bytes());
        let latin: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        for (bytes, encoding) in [
            (text.as_bytes().to_vec(), Encoding::Utf8),
            (marked, Encoding::Utf8Marked),
            (utf16(text, true, true), Encoding::Utf16Le),
            (utf16(text, false, true), Encoding::Utf16Be),
            (utf16(text, true, false), Encoding::Utf16Le),
            (utf16(text, false, false), Encoding::Utf16Be),
            (latin, Encoding::Windows1252),
        ] {
            assert_eq!(decode(bytes), Ok((text.to_owned(), encoding)));
        }
    }

    #[test]
    fn a_file_that_breaks_its_promise_is_refused() {
        assert!(decode(b"\xef\xbb\xbfa\xff".to_vec()).unwrap_err().contains("byte 5"));
        assert!(decode(vec![0xff, 0xfe, 0x00, 0xd8]).is_err());
    }

    #[test]
    fn a_few_zeros_do_not_make_utf16() {
        assert_eq!(decode(b"a\0b,c,d\n".to_vec()).unwrap().1, Encoding::Utf8);
        assert_eq!(decode(Vec::new()).unwrap(), (String::new(), Encoding::Utf8));
    }
}
