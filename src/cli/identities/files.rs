//! Reading what is given, and writing what is asked for: whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use crate::migration::report::{Report, html, json, text};

/// The largest file that is read, in bytes: exports of millions of users are a tenth of it.
const MAX_BYTES: u64 = 1 << 30;

/// The bytes of the file at `path`.
///
/// # Errors
/// It cannot be read, or is larger than any export.
pub fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
    let mut bytes = Vec::new();
    // Bounded, for `/dev/zero` and what is no export.
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {shown}"))?;
    ensure!(
        bytes.len() as u64 <= MAX_BYTES,
        "{shown} is larger than {MAX_BYTES} bytes"
    );
    Ok(bytes)
}

/// Names of files as reports show them: without their folders, unless two would look alike.
pub fn short_names(paths: &[&Path]) -> Vec<String> {
    let last = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let shorts: Vec<Option<String>> = paths.iter().map(|path| last(path)).collect();
    paths
        .iter()
        .zip(&shorts)
        .map(|(path, short)| match short {
            Some(name) if shorts.iter().filter(|other| *other == short).count() == 1 => name.clone(),
            _ => path.display().to_string(),
        })
        .collect()
}

/// Refuses to write over what is read, over something else that is written, or, unless forced, over anything.
///
/// # Errors
/// Which file would be lost.
pub fn check_targets(targets: &[&Path], sources: &[&Path], force: bool) -> anyhow::Result<()> {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let sources: Vec<PathBuf> = sources.iter().map(|path| real(path)).collect();
    let mut before: Vec<PathBuf> = Vec::new();
    for target in targets {
        let place = real(target);
        let shown = target.display();
        ensure!(!sources.contains(&place), "{shown} is one of the files to read");
        ensure!(!before.contains(&place), "{shown} is to be written twice");
        ensure!(!place.is_dir(), "{shown} is a directory");
        if !force && fs::symlink_metadata(target).is_ok() {
            bail!("{shown} exists already; --force writes it anew");
        }
        before.push(place);
    }
    Ok(())
}

/// Writes a file beside its place and renames it, so that whoever reads it meanwhile has the old one or the new one.
///
/// # Errors
/// What writing says; the file is as it was before then.
pub fn write_whole(
    path: &Path,
    force: bool,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> anyhow::Result<()> {
    let shown = path.display();
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // As any program makes its files: the umask decides. A map that only its maker can read serves nobody.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder
        .prefix(".extender-facade-")
        .tempfile_in(folder)
        .with_context(|| format!("cannot write {shown}"))?;
    let mut buffer = BufWriter::new(file.as_file_mut());
    write(&mut buffer)
        .and_then(|()| buffer.flush())
        .with_context(|| format!("cannot write {shown}"))?;
    drop(buffer);
    file.as_file()
        .sync_all()
        .with_context(|| format!("cannot write {shown}"))?;
    let kept = if force {
        file.persist(path)
    } else {
        // Somebody else may have made it since we looked.
        file.persist_noclobber(path)
    };
    kept.map_err(|e| e.error)
        .with_context(|| format!("cannot write {shown}"))?;
    Ok(())
}

/// How a report is written, told by its file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A page.
    Html,
    /// For programs.
    Json,
    /// As on the terminal.
    Text,
}

impl Form {
    /// The form that the file's name asks for.
    ///
    /// # Errors
    /// The name asks for none of them.
    pub fn of(path: &Path) -> anyhow::Result<Self> {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        match ending.as_deref() {
            Some("html" | "htm") => Ok(Self::Html),
            Some("json") => Ok(Self::Json),
            Some("txt") => Ok(Self::Text),
            _ => bail!("{}: a report's name ends in .html, .json or .txt", path.display()),
        }
    }

    /// The report in this form.
    pub fn render(self, report: &Report) -> String {
        match self {
            Self::Html => html::render(report),
            Self::Json => format!("{:#}\n", json::render(report)),
            Self::Text => text::render(report),
        }
    }
}

/// Prints `text`; whoever stops reading it has had enough.
///
/// # Errors
/// What writing says.
pub fn print(to: &mut dyn Write, text: &str) -> anyhow::Result<()> {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot print"),
    }
}
