//! Going through the files from one end to the other, a line at a time, also while a facade writes them.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::chain::{Chain, Code, Expected, Head};
use super::error::{Damage, What};
use super::files::{self, FILE};
use super::{Error, wire};

/// Bytes of a line beyond which it is none: a whole request is smaller, even with every letter escaped.
pub const MAX_LINE: u64 = 128 * 1024 * 1024;

/// How often a line that does not hold is read again: it may have been under way to the file.
const TRIES: usize = 10;

/// How long the writer is given between two of them.
const PAUSE: Duration = Duration::from_millis(1);

/// Where a walk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest file.
    Oldest,
    /// At the file before the one that is written.
    Tail,
    /// At the file that has the line of that number, if it is older than that.
    Line(u64),
}

/// What a walk comes across.
pub enum Step<'a> {
    /// A line, whether or not it is as it was written, without its end.
    Line(&'a [u8]),
    /// Something that is not as it was written.
    Damage(Damage),
}

/// What a walk saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// The number of the first line that was looked at: what was before it is not there, or was not asked for.
    pub first_seq: u64,
    /// Lines.
    pub lines: u64,
    /// Files.
    pub files: u64,
    /// The last line.
    pub head: Head,
    /// Where the audit goes on.
    pub tail: Tail,
    /// The first line that was kept when the last file was begun; 0 if no file says so.
    pub kept_from: u64,
    /// The walk began at a file with which an operator began anew, behind files that were set aside.
    pub is_renewed: bool,
    /// Whether the head that was expected was met or found missing; if not, it is of a line before the first.
    pub is_compared: bool,
}

/// The end of the file that is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Bytes of whole lines.
    pub length: u64,
    /// The number of its first line; none where its header is not there yet.
    pub first_seq: Option<u64>,
    /// The beginning of a line behind them.
    pub torn: Vec<u8>,
}

/// Walks through the files, from `start` on to the end or until `visit` has enough. Without a `chain` only numbers are
/// compared.
///
/// # Errors
/// A file that cannot be read, or of a later format.
pub fn walk(
    dir: &Path,
    start: Start,
    chain: Option<&Chain>,
    expected: Option<&Expected>,
    visit: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
) -> Result<Walked, Error> {
    let mut walk = Walk {
        chain,
        expected,
        visit,
        walked: Walked::default(),
        seq: None,
        before: None,
        tries: TRIES,
        name: String::new(),
        line: 0,
    };
    let full = files::full(dir)?;
    let mut after = match start {
        Start::Oldest => None,
        Start::Tail => full.keys().rev().nth(1).copied(),
        Start::Line(seq) => {
            let first = full
                .range(..=seq.saturating_add(1))
                .next_back()
                .map(|(first, _)| *first);
            first.and_then(|first| full.range(..first).next_back().map(|(before, _)| *before))
        }
    };
    let is_over = loop {
        if let Some((first_seq, path)) = next_full(dir, after)? {
            after = Some(first_seq);
            match File::open(&path) {
                Ok(file) => {
                    if walk.file(&path, file, Some(first_seq))?.is_break() {
                        break true;
                    }
                }
                // Deleted since (keep_files), which its successor says.
                Err(cause) if cause.kind() == io::ErrorKind::NotFound && walk.seq.is_none() => {}
                Err(cause) => return Err(files::fault(&path)(cause)),
            }
            continue;
        }
        let path = dir.join(FILE);
        let file = match File::open(&path) {
            Ok(file) => Some(file),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
            Err(cause) => return Err(files::fault(&path)(cause)),
        };
        if next_full(dir, after)?.is_some() {
            // It was set aside as full in the meantime.
            continue;
        }
        break match file {
            Some(file) => walk.file(&path, file, None)?.is_break(),
            None => false,
        };
    };
    if !is_over {
        walk.finish();
    }
    Ok(walk.walked)
}

fn next_full(dir: &Path, after: Option<u64>) -> Result<Option<(u64, PathBuf)>, Error> {
    let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
    Ok(files::full(dir)?
        .range((behind, Bound::Unbounded))
        .next()
        .map(|(first_seq, path)| (*first_seq, path.clone())))
}

struct Walk<'a> {
    chain: Option<&'a Chain>,
    expected: Option<&'a Expected>,
    visit: &'a mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    walked: Walked,
    /// The highest number so far; none before the first header.
    seq: Option<u64>,
    /// The code that the next line continues; none after a line that could not be read.
    before: Option<Code>,
    /// How often a line may still be read again.
    tries: usize,
    /// The file, and the line in it.
    name: String,
    line: u64,
}

/// What there is to say about a line, and what follows from it for the next.
struct Judged {
    what: Option<What>,
    seq: Option<u64>,
    before: Option<Code>,
}

impl Walk<'_> {
    /// One file; `full`: the number in its name.
    fn file(&mut self, path: &Path, file: File, full: Option<u64>) -> Result<ControlFlow<()>, Error> {
        let fault = files::fault(path);
        self.name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.line = 0;
        self.walked.files += 1;
        if full.is_none() {
            self.walked.tail = Tail::default();
        }
        let mut reader = BufReader::with_capacity(256 * 1024, file);
        let (mut offset, mut line, mut odd) = (0, Vec::new(), Vec::new());
        let mut length = reader.get_ref().metadata().map_err(&fault)?.len();
        loop {
            line.clear();
            let room = length.saturating_sub(offset).min(MAX_LINE);
            if (&mut reader).take(room).read_until(b'\n', &mut line).map_err(&fault)? == 0 {
                break;
            }
            let size = line.len() as u64;
            let whole = line.strip_suffix(b"\n");
            if full.is_none() && self.tries > 0 && line != odd && !self.holds(whole, &line) {
                // The writer may have been at it: it tries for room behind the last line, and takes that away again. What
                // reads the same twice is what stands there.
                self.tries -= 1;
                odd.clone_from(&line);
                std::thread::sleep(PAUSE);
                reader.seek(SeekFrom::Start(offset)).map_err(&fault)?;
                length = reader.get_ref().metadata().map_err(&fault)?.len();
                continue;
            }
            let Some(whole) = whole else {
                if full.is_some() {
                    self.line += 1;
                    if self.damage(What::Unreadable).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                } else if line.iter().any(|byte| *byte != b' ') {
                    if !wire::may_be_torn(&line, self.next_seq()) {
                        self.line += 1;
                        if self.damage(What::Unreadable).is_break() {
                            return Ok(ControlFlow::Break(()));
                        }
                    }
                    self.walked.tail.torn = line;
                }
                break;
            };
            self.line += 1;
            offset += size;
            let flow = if self.line == 1 {
                self.header(path, whole, full)?
            } else {
                self.line(whole)
            };
            if flow.is_break() {
                return Ok(flow);
            }
            if full.is_none() {
                self.walked.tail.length = offset;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn next_seq(&self) -> u64 {
        self.seq.unwrap_or(0).saturating_add(1)
    }

    /// Whether there is nothing to say against what was read of the file that is written.
    fn holds(&self, whole: Option<&[u8]>, line: &[u8]) -> bool {
        match whole {
            None => line.iter().all(|byte| *byte == b' ') || wire::may_be_torn(line, self.next_seq()),
            Some(whole) if self.line == 0 => wire::open_header(whole).is_some(),
            Some(whole) => self.judge(whole).what.is_none(),
        }
    }

    fn damage(&mut self, what: What) -> ControlFlow<()> {
        (self.visit)(Step::Damage(Damage {
            file: self.name.clone(),
            line: self.line,
            what,
        }))
    }

    fn header(&mut self, path: &Path, line: &[u8], full: Option<u64>) -> Result<ControlFlow<()>, Error> {
        let Some((header, own, mac)) = wire::open_header(line) else {
            let flow = self.damage(What::NoHeader);
            // It may be a line whose header was taken away.
            return Ok(if flow.is_break() { flow } else { self.line(line) });
        };
        let is_ours = |before: &Head| self.chain.is_none_or(|chain| chain.code(&before.mac, own) == mac);
        let before = header.before().filter(is_ours);
        let Some(before) = before.filter(|_| full.is_none_or(|first_seq| first_seq == header.first_seq)) else {
            self.before = None;
            return Ok(self.damage(What::HeaderChanged));
        };
        if header.is_newer() {
            return Err(Error::Newer {
                path: path.to_owned(),
                found: header.audit,
            });
        }
        self.walked.kept_from = header.kept_from;
        if full.is_none() {
            self.walked.tail.first_seq = Some(header.first_seq);
        }
        let what = match self.seq {
            None => {
                self.walked.first_seq = header.first_seq;
                self.walked.is_renewed = header.renewed.is_some();
                None
            }
            Some(seq) if seq < before.seq => Some(What::Missing {
                from: seq + 1,
                to: before.seq,
            }),
            Some(seq) if seq == before.seq && self.before.is_none_or(|mac| mac == before.mac) => None,
            Some(_) => Some(What::NotContinued),
        };
        let seq = self.seq;
        self.seq = Some(before.seq);
        self.before = Some(before.mac);
        self.walked.head = before;
        if let Some(what) = what
            && self.damage(what).is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
        // The line before it was compared where it stands.
        Ok(if seq.is_none() {
            self.compare(before)
        } else {
            ControlFlow::Continue(())
        })
    }

    fn line(&mut self, line: &[u8]) -> ControlFlow<()> {
        let judged = self.judge(line);
        if self.seq.is_none() {
            self.walked.first_seq = judged.seq.unwrap_or(1);
        }
        let is_good = judged.what.is_none();
        if let Some(what) = judged.what
            && self.damage(what).is_break()
        {
            return ControlFlow::Break(());
        }
        self.before = judged.before;
        if let (Some(seq), Some(mac)) = (judged.seq, judged.before)
            && self.seq.is_none_or(|last| seq > last)
        {
            self.seq = Some(seq);
            self.walked.head = Head { seq, mac };
            if is_good && self.compare(self.walked.head).is_break() {
                return ControlFlow::Break(());
            }
        }
        self.walked.lines += 1;
        (self.visit)(Step::Line(line))
    }

    /// What is to be said about a line. What follows one that is not as it was written is held against what it says of
    /// itself, so that one change is told once.
    fn judge(&self, line: &[u8]) -> Judged {
        let opened = wire::open(line).and_then(|(own, mac)| Some((own, mac, wire::seq(own)?)));
        let Some((own, mac, seq)) = opened else {
            return Judged {
                what: Some(What::Unreadable),
                seq: None,
                before: None,
            };
        };
        let is_chained = |before| self.chain.is_none_or(|chain| chain.code(before, own) == mac);
        let what = match (self.seq, &self.before) {
            (Some(last), _) if seq <= last => Some(What::Misplaced { seq }),
            // Behind one that could not be read, which had a number, too.
            (Some(last), None) if seq - last <= 2 => None,
            (Some(last), _) if seq > last + 1 => Some(What::Missing {
                from: last + 1,
                to: seq - 1,
            }),
            (_, Some(before)) if !is_chained(before) => Some(What::Changed { seq }),
            _ => None,
        };
        let is_behind = matches!(what, Some(What::Misplaced { .. }));
        Judged {
            what,
            seq: Some(seq),
            before: if is_behind { self.before } else { Some(mac) },
        }
    }

    /// Holds the line against the head that is expected, if it is that one.
    fn compare(&mut self, head: Head) -> ControlFlow<()> {
        let Some(expected) = self.expected.filter(|expected| expected.seq == head.seq) else {
            return ControlFlow::Continue(());
        };
        self.walked.is_compared = true;
        if expected.is(&head.mac) {
            return ControlFlow::Continue(());
        }
        self.damage(What::Rewritten { seq: head.seq })
    }

    fn finish(&mut self) {
        let last = self.seq.unwrap_or(0);
        if let Some(expected) = self.expected
            && expected.seq > last
        {
            let head = expected.seq;
            self.walked.is_compared = true;
            FILE.clone_into(&mut self.name);
            self.line = 0;
            // Nothing comes after this.
            let _ = self.damage(What::Cut { last, head });
        }
    }
}
