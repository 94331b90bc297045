//! The state directory is its owner's alone. It holds what opens the operations, what proves the audit, and who was put where:
//! whoever else can read it has all of that, and whoever else can write it can make up what was done.

use std::path::Path;

use super::Error;

/// What is done about a directory or a file that its group can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// It is taken back: a container's volume imposes its group at every start, on a volume that nobody else mounts.
    TakeBack,
    /// Nothing.
    Leave,
}

/// Holds that nobody but the owner can reach the directory or a file in it.
///
/// # Errors
/// Everybody on the machine can: it may have been read or changed by now, and only a person can know what that means. Or its
/// group can, and that cannot be taken back.
#[cfg(unix)]
pub(super) fn hold(state_dir: &Path, about: About) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt as _;
    let fault = |path: &Path| {
        let path = path.to_owned();
        move |cause| Error::Io { path, cause }
    };
    let hold = |path: &Path, mode: u32, ours: u32| {
        let mode = mode & 0o777;
        let exposed = || Error::Exposed {
            path: path.to_owned(),
            mode,
            dir: state_dir.to_owned(),
        };
        if mode & 0o007 != 0 {
            return Err(exposed());
        }
        if mode & 0o070 != 0 && about == About::TakeBack {
            let narrowed = std::fs::set_permissions(path, std::fs::Permissions::from_mode(ours));
            narrowed.map_err(|_| exposed())?;
            tracing::warn!(path = %path.display(), mode = format!("{mode:03o}"), "its group could reach it; now its owner alone can");
        }
        Ok(())
    };
    let mode = |metadata: &std::fs::Metadata| metadata.permissions().mode();
    hold(
        state_dir,
        mode(&std::fs::metadata(state_dir).map_err(fault(state_dir))?),
        0o700,
    )?;
    for entry in std::fs::read_dir(state_dir).map_err(fault(state_dir))? {
        let entry = entry.map_err(fault(state_dir))?;
        // Of the entry itself and not of what it may link to. One that is gone by now was somebody's draft.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() {
            hold(&entry.path(), mode(&metadata), 0o600)?;
        } else if metadata.is_dir() {
            hold(&entry.path(), mode(&metadata), 0o700)?;
        }
    }
    Ok(())
}

#[cfg(not(unix))]
pub(super) fn hold(_state_dir: &Path, _about: About) -> Result<(), Error> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_everybody_can_reach_is_refused_and_what_a_group_can_is_taken_back() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("state");
        let (file, folder) = (dir.join("operations.sqlite3"), dir.join("audit-set-aside-1"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(&file, "x").unwrap();
        for (path, ours) in [(&dir, 0o700), (&folder, 0o700), (&file, 0o600)] {
            set(&dir, 0o700);
            set(&folder, 0o700);
            set(&file, 0o600);
            hold(&dir, About::TakeBack).unwrap();
            for open in [0o001, 0o004, 0o002] {
                set(path, ours | open);
                for about in [About::TakeBack, About::Leave] {
                    let refused = hold(&dir, about).unwrap_err().to_string();
                    let mend = format!("chmod -R go= {}", dir.display());
                    assert!(refused.contains(&mend), "{refused}");
                    assert!(refused.contains(&path.display().to_string()), "{refused}");
                }
                assert_eq!(mode(path), ours | open, "it is left as it was");
            }
            set(path, ours | 0o070);
            hold(&dir, About::Leave).unwrap();
            assert_eq!(mode(path), ours | 0o070);
            hold(&dir, About::TakeBack).unwrap();
            assert_eq!(mode(path), ours);
        }
    }

    #[test]
    fn a_link_is_judged_as_a_link_and_not_by_what_it_leads_to() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("state");
        fs::create_dir(&dir).unwrap();
        set(&dir, 0o700);
        std::os::unix::fs::symlink("/dev/full", dir.join("audit.jsonl")).unwrap();
        hold(&dir, About::TakeBack).unwrap();
    }
}
