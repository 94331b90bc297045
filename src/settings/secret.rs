//! Where secrets come from: the settings themselves, a file, or what a command prints. A file and a command can be asked
//! again, so that a secret is changed without a restart.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

/// How long a command may take to print a secret.
const COMMAND_TIME: Duration = Duration::from_secs(30);
/// A secret above this is a mistake, such as a file of something else.
const LONGEST: u64 = 64 * 1024;

/// Where a secret can be read again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The setting that holds it, as messages name it.
    pub setting: String,
    file: Option<PathBuf>,
    command: Option<String>,
}

impl Origin {
    /// The secret of `setting`, from one of these places if any is set.
    #[must_use]
    pub fn new(setting: impl Into<String>, file: Option<PathBuf>, command: &str) -> Self {
        Self {
            setting: setting.into(),
            file,
            command: (!command.is_empty()).then(|| command.to_owned()),
        }
    }

    /// Whether a command prints it.
    #[must_use]
    pub fn is_command(&self) -> bool {
        self.command.is_some()
    }

    /// The file that it is read from.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The secret as it stands now; `None` where it is written in the settings themselves. Blocks.
    ///
    /// # Errors
    /// One sentence, without the secret.
    pub fn read(&self) -> Result<Option<SecretString>, String> {
        let text = match (&self.file, &self.command) {
            (None, None) => return Ok(None),
            (Some(path), _) => {
                let fault = |e: std::io::Error| format!("{}_file {}: {e}", self.setting, path.display());
                let file = std::fs::File::open(path).map_err(fault)?;
                whole(file).map_err(fault)?
            }
            (None, Some(command)) => output(command).map_err(|fault| format!("{}_command {fault}", self.setting))?,
        };
        let text = text.trim_end_matches(['\r', '\n']);
        Ok(Some(SecretString::from(text)))
    }

    /// Puts the secret of its file or command into `secret`, which is the setting's own value.
    pub(super) fn fill(&self, secret: &mut SecretString) -> Result<(), String> {
        let given = [
            !secret.expose_secret().is_empty(),
            self.file.is_some(),
            self.command.is_some(),
        ];
        if given.iter().filter(|is_given| **is_given).count() > 1 {
            let key = &self.setting;
            return Err(format!(
                "of {key}, {key}_file and {key}_command more than one is given; leave one"
            ));
        }
        if let Some(read) = self.read()? {
            *secret = read;
        }
        Ok(())
    }
}

/// All of it, as text; not more than [`LONGEST`].
fn whole(from: impl std::io::Read) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    from.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(std::io::Error::other(format!("it is larger than {LONGEST} bytes")));
    }
    Ok(text)
}

/// What `command` prints. What it says on standard error goes to ours.
fn output(command: &str) -> Result<Zeroizing<String>, String> {
    let mut shell = if cfg!(windows) {
        let mut shell = Command::new("cmd");
        shell.arg("/C");
        shell
    } else {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c");
        shell
    };
    let mut child = shell
        .arg(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot be run: {e}"))?;
    let printed = child.stdout.take();
    // Its end is waited for beside the reading: a command that leaves something behind that holds its output open has
    // printed its secret all the same.
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let text = printed.map_or_else(|| Ok(Zeroizing::new(String::new())), whole);
        let _ = sender.send(text);
    });
    let until = Instant::now() + COMMAND_TIME;
    let text = receiver.recv_timeout(COMMAND_TIME);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if text.is_ok() && Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("did not end within {} seconds", COMMAND_TIME.as_secs()));
            }
            Err(e) => return Err(format!("cannot be waited for: {e}")),
        }
    };
    // Before its status: a command whose output is not read to its end may fail for that alone.
    let text = text
        .ok()
        .transpose()
        .map_err(|e| format!("printed what cannot be read: {e}"))?;
    if !status.success() {
        return Err(format!("failed ({status})"));
    }
    let text = text.ok_or("printed nothing in time")?;
    if text.trim().is_empty() {
        return Err("printed nothing".to_owned());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &str) -> Result<String, String> {
        let read = Origin::new("cloud.api_token", None, text).read()?;
        Ok(read.unwrap().expose_secret().to_owned())
    }

    #[test]
    fn a_command_prints_the_secret_and_a_line_end_is_none_of_it() {
        assert_eq!(command("echo 's3 cret'").unwrap(), "s3 cret");
        assert_eq!(command("printf 'a\\r\\n'").unwrap(), "a");
    }

    #[test]
    fn a_command_that_fails_is_told_without_what_it_printed() {
        for (text, told) in [
            ("echo secret; exit 3", "exit status: 3"),
            ("true", "printed nothing"),
            ("printf '\\377'", "cannot be read"),
            ("head -c 70000 /dev/zero", "larger than"),
        ] {
            let fault = command(text).unwrap_err();
            assert!(
                fault.starts_with("cloud.api_token_command ") && fault.contains(told),
                "{fault}"
            );
            assert!(!fault.contains("secret"), "{fault}");
        }
    }

    #[test]
    fn a_secret_that_is_given_twice_is_refused() {
        let origin = Origin::new("k", Some("/nowhere".into()), "");
        assert!(origin.fill(&mut "given".into()).unwrap_err().contains("more than one"));
        let both = Origin::new("k", Some("/nowhere".into()), "echo x");
        assert!(
            both.fill(&mut SecretString::default())
                .unwrap_err()
                .contains("more than one")
        );
        assert!(
            origin
                .fill(&mut SecretString::default())
                .unwrap_err()
                .starts_with("k_file /nowhere: ")
        );
        let mut kept = SecretString::from("given");
        Origin::new("k", None, "").fill(&mut kept).unwrap();
        assert_eq!(kept.expose_secret(), "given");
    }

    #[test]
    fn a_file_is_read_again_as_it_stands() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let origin = Origin::new("k", Some(file.path().to_owned()), "");
        for text in ["one", "two"] {
            std::fs::write(file.path(), format!("{text}\n")).unwrap();
            assert_eq!(origin.read().unwrap().unwrap().expose_secret(), text);
        }
    }
}
