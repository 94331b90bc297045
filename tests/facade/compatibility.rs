//! `docs/compatibility.md` says what is: its tests exist, and every quirk in the code has its section there.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(directory: &Path, into: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            into.push((path, text));
        }
    }
}

#[test]
fn every_row_names_a_test_that_exists() {
    let document = std::fs::read_to_string(root().join("docs/compatibility.md")).unwrap();
    let mut rows = 0;
    for row in document
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| old clients"))
    {
        let named = row.rsplit('|').nth(1).unwrap().trim().trim_matches('`');
        let (file, name) = named.split_once("::").unwrap_or_else(|| panic!("no test: {row}"));
        let text = std::fs::read_to_string(root().join(format!("tests/facade/{file}.rs"))).unwrap();
        assert!(text.contains(&format!("fn {name}()")), "{named}");
        rows += 1;
    }
    assert!(rows > 50, "{rows}");
}

#[test]
fn every_quirk_in_the_code_has_its_section() {
    let document = std::fs::read_to_string(root().join("docs/compatibility.md")).unwrap();
    let mut all = Vec::new();
    sources(&root().join("src"), &mut all);
    let mut quirks = 0;
    for (path, text) in all {
        for quirk in text.split("// Quirk:").skip(1) {
            let section = quirk
                .split_once("docs/compatibility.md, \"")
                .and_then(|(_, rest)| rest.split_once('"'))
                .unwrap_or_else(|| panic!("a quirk without a section in {}", path.display()))
                .0;
            assert!(
                document.contains(&format!("\n## {section}\n")),
                "{section} in {}",
                path.display()
            );
            quirks += 1;
        }
    }
    assert!(quirks > 8, "{quirks}");
}
