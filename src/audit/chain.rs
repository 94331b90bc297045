//! The chain: every line carries a code that only the holder of the key can make, over itself and the code before it.

use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::Error;
use crate::private;

/// The key's file in the state directory.
pub const KEY_FILE: &str = "audit.key";

/// The key's size in bytes.
const KEY_BYTES: usize = 32;

/// The code of one line: HMAC-SHA256.
pub type Code = [u8; 32];

/// The last line of the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The line's number, from 1; 0: there is none yet.
    pub seq: u64,
    /// The line's code; zeros where there is none.
    pub mac: Code,
}

impl Head {
    /// The code's first 48 bits as a number: what a metric, which is a floating-point number, can hold exactly.
    #[must_use]
    pub fn short(&self) -> i64 {
        self.mac
            .iter()
            .take(6)
            .fold(0, |all, byte| (all << 8) | i64::from(*byte))
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, hex(&self.mac))
    }
}

impl FromStr for Head {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("{text:?}: a head is the number of a line, a colon, and the 64 digits of its mac");
        let (seq, mac) = text.split_once(':').ok_or_else(fault)?;
        Ok(Self {
            seq: seq.parse().map_err(|_| fault())?,
            mac: code(mac.as_bytes()).ok_or_else(fault)?,
        })
    }
}

/// A head that somebody kept, maybe with the beginning of its code alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The line's number.
    pub seq: u64,
    /// The first digits of its code, at least twelve.
    digits: String,
}

impl Expected {
    /// Whether `mac` may be the code that was kept.
    #[must_use]
    pub fn is(&self, mac: &Code) -> bool {
        hex(mac).starts_with(&self.digits)
    }
}

impl From<Head> for Expected {
    fn from(head: Head) -> Self {
        Self {
            seq: head.seq,
            digits: hex(&head.mac),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.digits)
    }
}

impl FromStr for Expected {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("{text:?}: expected SEQ:MAC, with 12 to 64 digits of the mac");
        let (seq, digits) = text.split_once(':').ok_or_else(fault)?;
        let is_mac = (12..=64).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_mac {
            return Err(fault());
        }
        Ok(Self {
            seq: seq.parse().map_err(|_| fault())?,
            digits: digits.to_ascii_lowercase(),
        })
    }
}

/// Makes codes, with the key.
#[derive(Clone)]
pub struct Chain {
    keyed: Hmac<Sha256>,
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chain")
    }
}

impl Chain {
    /// With the key in `dir`.
    ///
    /// # Errors
    /// No key, or none that can be used.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(KEY_FILE);
        let io = |cause| Error::Io {
            path: path.clone(),
            cause,
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Err(Error::KeyMissing { path }),
            Err(cause) => return Err(io(cause)),
        };
        check_mode(&path, &file.metadata().map_err(io)?)?;
        let mut key = Vec::new();
        file.take(KEY_BYTES as u64 + 1).read_to_end(&mut key).map_err(io)?;
        if key.len() != KEY_BYTES {
            let what = format!("it is not {KEY_BYTES} bytes long");
            return Err(Error::Key { path, what });
        }
        Ok(Self::of(&key))
    }

    /// Makes a key in `dir`, which has none.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn make(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(KEY_FILE);
        let io = |cause| Error::Io {
            path: path.clone(),
            cause,
        };
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key).map_err(|e| io(io::Error::other(e.to_string())))?;
        // Whole or not at all: half a key would be refused for ever after.
        let draft = dir.join("audit.key.new");
        let written = write_private(&draft, &key).and_then(|()| fs::rename(&draft, &path));
        if let Err(cause) = written {
            // Nothing to lose, and nothing to be done if it stays.
            let _ = fs::remove_file(&draft);
            return Err(io(cause));
        }
        super::files::sync_dir(dir);
        Ok(Self::of(&key))
    }

    /// With this key.
    pub fn of(key: &[u8]) -> Self {
        Self {
            keyed: Hmac::new_from_slice(key).expect("HMAC takes a key of any length"),
        }
    }

    /// The code of a line whose own bytes are `bytes`, after a line with the code `previous`.
    pub fn code(&self, previous: &Code, bytes: &[u8]) -> Code {
        let mut keyed = self.keyed.clone();
        keyed.update(previous);
        keyed.update(bytes);
        keyed.finalize().into_bytes().into()
    }
}

/// Copies the key of `from` beside lines that were moved to `to`, so that they can still be verified.
///
/// # Errors
/// It cannot be read or written.
pub fn copy_key(from: &Path, to: &Path) -> io::Result<()> {
    let key = fs::read(from.join(KEY_FILE))?;
    write_private(&to.join(KEY_FILE), &key)
}

/// Where the key of `dir` is.
pub fn key_path(dir: &Path) -> PathBuf {
    dir.join(KEY_FILE)
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = private::file().create(true).truncate(true).write(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Whoever can read the key can rewrite the chain. A group may be what a container's volume imposes, so that only warns.
#[cfg(unix)]
fn check_mode(path: &Path, metadata: &fs::Metadata) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(Error::Key {
            path: path.to_owned(),
            what: format!("everybody on this machine can reach it (mode {mode:03o}): chmod 600 it"),
        });
    }
    if mode & 0o070 != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{mode:03o}"), "its group can reach the audit's key: chmod 600 it");
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_path: &Path, _metadata: &fs::Metadata) -> Result<(), Error> {
    Ok(())
}

/// The code in 64 digits.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The code that is written so. Small letters alone: two spellings of one code would be a change that nobody sees.
pub fn code(text: &[u8]) -> Option<Code> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut code = [0; 32];
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != code.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in code.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_is_written() {
        let head = Head {
            seq: 12,
            mac: std::array::from_fn(|n| n as u8 * 7),
        };
        assert_eq!(head.to_string().parse(), Ok(head));
        let expected: Expected = head.to_string().parse().unwrap();
        assert_eq!(expected, Expected::from(head));
        let short: Expected = format!("12:{:012X}", head.short()).parse().unwrap();
        assert!(short.is(&head.mac) && !short.is(&Head::default().mac));
        for text in ["", "12", "12:", "x:00", "12:00", "-1:000000000000", "12:00000000000g"] {
            assert!(
                text.parse::<Head>().is_err() && text.parse::<Expected>().is_err(),
                "{text}"
            );
        }
        assert_eq!(code(hex(&head.mac).to_uppercase().as_bytes()), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_is_not_ours_alone_or_not_whole_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Chain::load(dir.path()), Err(Error::KeyMissing { .. })));
        let made = Chain::make(dir.path()).unwrap();
        let path = dir.path().join(KEY_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let code = |chain: &Chain| chain.code(&Code::default(), b"x");
        assert_eq!(code(&Chain::load(dir.path()).unwrap()), code(&made));
        for (mode, good) in [(0o640, true), (0o604, false), (0o606, false), (0o600, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(Chain::load(dir.path()).is_ok(), good, "{mode:o}");
        }
        for size in [0, 31, 33] {
            fs::write(&path, vec![1; size]).unwrap();
            let refused = Chain::load(dir.path()).unwrap_err().to_string();
            assert!(refused.contains("32 bytes"), "{refused}");
        }
    }
}
