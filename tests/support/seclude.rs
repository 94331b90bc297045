//! What a test writes is as open as the machine's mask makes it; a state directory is its owner's alone.

use std::fs;
use std::path::Path;

/// `chmod -R go=`, where there is anything.
pub fn seclude(dir: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mut folders: Vec<_> = Some(dir.to_owned()).filter(|dir| dir.is_dir()).into_iter().collect();
        while let Some(folder) = folders.pop() {
            close(&folder);
            for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
                let Ok(kind) = entry.file_type() else { continue };
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    close(&entry.path());
                }
            }
        }

        fn close(path: &Path) {
            // What a process that ends has open may be gone the next moment.
            let Ok(data) = fs::metadata(path) else { return };
            let mode = data.permissions().mode();
            if mode & 0o077 != 0 {
                let closed = fs::set_permissions(path, fs::Permissions::from_mode(mode & !0o077));
                assert!(closed.is_ok() || !path.exists(), "{path:?}: {closed:?}");
            }
        }
    }
}
