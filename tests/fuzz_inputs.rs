//! Every input that was found worth keeping while fuzzing, and the seeds it began with, given to its reader once more.
//! `fuzz/README.md` says how they come about.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use extender_facade::fuzzing::TARGETS;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn no_input_that_was_kept_breaks_its_reader() {
    let mut broken = Vec::new();
    for (name, target) in TARGETS {
        let inputs = files(&root().join("tests/fixtures/fuzz").join(name));
        assert!(!inputs.is_empty(), "{name} has no seed");
        for input in inputs {
            let bytes = std::fs::read(&input).unwrap();
            if catch_unwind(AssertUnwindSafe(|| target(&bytes))).is_err() {
                broken.push(input);
            }
        }
    }
    assert!(broken.is_empty(), "{broken:?}");
}

/// Cheap random changes of every input: no search for new paths, but on every machine and at every test run.
#[test]
fn inputs_that_are_a_little_wrong_break_no_reader() {
    let mut random = fastrand::Rng::with_seed(5);
    for (name, target) in TARGETS {
        for input in files(&root().join("tests/fixtures/fuzz").join(name)) {
            let whole = std::fs::read(&input).unwrap();
            for _ in 0..20 {
                let mut bytes = whole.clone();
                for _ in 0..random.usize(1..4) {
                    let at = random.usize(0..=bytes.len());
                    match random.u8(0..4) {
                        0 => bytes.insert(at, random.u8(..)),
                        1 => bytes.truncate(at),
                        2 => bytes.extend_from_within(at..),
                        _ if at < bytes.len() => bytes[at] = random.u8(..),
                        _ => {}
                    }
                }
                let kept = bytes.clone();
                if catch_unwind(AssertUnwindSafe(|| target(&bytes))).is_err() {
                    panic!("{name}: {:?}", String::from_utf8_lossy(&kept));
                }
            }
        }
    }
}

#[test]
fn every_target_has_its_program_and_its_folder_and_there_are_no_others() {
    let named: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let stems = |folder: &str| -> BTreeSet<String> {
        let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        files(&root().join(folder)).into_iter().map(stem).collect()
    };
    assert_eq!(stems("fuzz/fuzz_targets"), named);
    assert_eq!(stems("tests/fixtures/fuzz"), named);
    let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    for name in named {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}
