//! What ARCHITECTURE.md says must stay true of the source, read off the source.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Who may use whom.
const MAY_USE: [(&str, &[&str]); 19] = [
    ("model", &[]),
    ("metrics", &[]),
    ("settings", &[]),
    ("browser", &[]),
    ("doors", &[]),
    ("private", &[]),
    ("simulator", &[]),
    ("migration", &["model"]),
    ("reports", &["model"]),
    ("audit", &["metrics", "model", "private"]),
    ("store", &["metrics", "model", "private"]),
    ("cloud", &["metrics", "model", "private", "settings"]),
    (
        "directory",
        &["audit", "cloud", "metrics", "model", "settings", "store"],
    ),
    (
        "extender",
        &[
            "browser",
            "directory",
            "doors",
            "metrics",
            "model",
            "reports",
            "settings",
        ],
    ),
    (
        "admin",
        &["browser", "cloud", "directory", "doors", "metrics", "model", "reports"],
    ),
    (
        "server",
        &[
            "admin",
            "audit",
            "cloud",
            "directory",
            "doors",
            "extender",
            "metrics",
            "model",
            "private",
            "settings",
            "store",
        ],
    ),
    (
        "cli",
        &[
            "audit",
            "browser",
            "cloud",
            "directory",
            "extender",
            "metrics",
            "migration",
            "model",
            "private",
            "reports",
            "server",
            "settings",
            "simulator",
            "store",
        ],
    ),
    (
        "fuzzing",
        &["cloud", "directory", "extender", "migration", "model", "settings"],
    ),
    ("lib", &[]),
];

/// Every source file below `src`, with its text up to its unit tests.
fn sources() -> Vec<(PathBuf, String)> {
    fn gather(folder: &Path, into: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                gather(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
                into.push((path, code));
            }
        }
    }
    let mut all = Vec::new();
    gather(&root().join("src"), &mut all);
    assert!(all.len() > 40, "only {} source files found", all.len());
    all
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// `extender` for `src/extender/dates/mod.rs`, `browser` for `src/browser.rs`.
fn area(path: &Path) -> String {
    let below = path.strip_prefix(root().join("src")).unwrap();
    below
        .iter()
        .next()
        .unwrap()
        .to_str()
        .unwrap()
        .trim_end_matches(".rs")
        .to_owned()
}

fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.starts_with("//"))
}

/// The areas that stand behind `crate::`, also in lists such as `crate::{audit, cloud}`.
fn used(text: &str) -> BTreeSet<String> {
    let code: String = code_lines(text).collect::<Vec<_>>().join(" ");
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap().split(',').collect(),
            None => vec![rest],
        };
        for name in names {
            let end = name.trim().find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            found.insert(name.trim()[..end.unwrap_or(name.trim().len())].to_owned());
        }
    }
    found
}

#[test]
fn nobody_uses_what_it_may_not() {
    let rules: BTreeMap<&str, &[&str]> = MAY_USE.into_iter().collect();
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for (path, text) in sources() {
        let area = area(&path);
        seen.insert(area.clone());
        if area == "main" {
            continue;
        }
        let allowed = rules.get(area.as_str()).unwrap_or_else(|| panic!("no rule for {area}"));
        for other in used(&text) {
            if other != area && rules.contains_key(other.as_str()) && !allowed.contains(&other.as_str()) {
                wrong.push(format!("{}: {area} uses {other}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (area, _) in MAY_USE {
        assert!(seen.contains(area), "a rule for {area}, which is not there any more");
    }
}

#[test]
fn legacy_words_and_cloud_paths_stand_in_one_place_each() {
    for (word, home) in [
        ("usersAdded", "extender/wire.rs"),
        ("groupsSkipped", "extender/wire.rs"),
        ("hasAccessToUseConfluence", "extender/wire.rs"),
        ("lastFailedLogin", "extender/wire.rs"),
        ("membersByGroupId", "cloud/confluence.rs"),
        ("userByGroupId", "cloud/confluence.rs"),
        ("memberof", "cloud/confluence.rs"),
    ] {
        for (path, text) in sources() {
            if area(&path) == "simulator" || path.ends_with(home) {
                continue;
            }
            assert!(
                !code_lines(&text).any(|line| line.contains(word)),
                "{word} in {}",
                path.display()
            );
        }
    }
}

#[test]
fn only_wire_modules_the_audit_and_the_operators_page_serialise() {
    for (path, text) in sources() {
        let home = [
            "extender/wire.rs",
            "reports/mod.rs",
            "cloud/wire.rs",
            "cloud/credential/wire.rs",
            "directory/plan/forecast.rs",
            "audit/wire.rs",
            "admin/mod.rs",
            "admin/wire.rs",
        ]
        .iter()
        .any(|home| path.ends_with(home));
        if home || area(&path) == "simulator" {
            continue;
        }
        let derives = code_lines(&text).any(|line| line.starts_with("#[derive") && line.contains("Serialize"));
        assert!(!derives, "{} serialises", path.display());
    }
}

#[test]
fn every_quirk_names_a_section_of_the_compatibility_document() {
    let document = std::fs::read_to_string(root().join("docs/compatibility.md")).unwrap();
    let mut quirks = 0;
    for (path, text) in sources() {
        for (at, _) in text.match_indices("// Quirk:") {
            quirks += 1;
            // The comment may go on over several lines.
            let comment: String = text[at..]
                .lines()
                .map(str::trim)
                .take_while(|line| line.starts_with("//"))
                .map(|line| line.trim_start_matches('/').trim())
                .collect::<Vec<_>>()
                .join(" ");
            let section = comment
                .split_once("docs/compatibility.md, \"")
                .and_then(|(_, rest)| rest.split_once('"'))
                .unwrap_or_else(|| panic!("{}: names no section: {comment}", path.display()))
                .0;
            let heading = format!("## {section}");
            assert!(
                document.lines().any(|line| line == heading),
                "{}: no {heading:?} in the document",
                path.display()
            );
        }
    }
    assert!(quirks >= 10, "only {quirks} quirks found");
}

#[test]
fn every_setting_is_documented_with_a_comment() {
    let text = std::fs::read_to_string(root().join("config/default.toml")).unwrap();
    let mut commented = false;
    for line in text.lines() {
        if line.starts_with('#') {
            commented = true;
        } else if line.is_empty() || line.starts_with('[') {
            commented = false;
        } else {
            assert!(commented, "no comment above {line}");
        }
    }
}

#[test]
fn the_example_files_are_good() {
    use extender_facade::directory::identity::Map;
    use extender_facade::settings::{PrimaryRule, Settings, Variables};
    let map = Map::read(&root().join("config/identities.csv"), PrimaryRule::First).unwrap();
    assert_eq!((map.len(), map.ambiguous()), (2, 0));
    // Its token file is not on this machine; everything else must be good.
    let fault = Settings::load(Some(&root().join("config/production.toml")), "", Some(Variables::new())).unwrap_err();
    assert_eq!(fault.0.len(), 1, "{fault}");
    assert!(fault.to_string().contains("/run/secrets/api-token"), "{fault}");
}

#[test]
fn the_image_is_built_with_a_stand_in_for_every_bench_and_carries_its_bill_of_materials() {
    let file = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let (image, manifest) = (file("Dockerfile"), file("Cargo.toml"));
    // The line as it stands there: a list of names in it would grow old.
    let (_, rest) = image.split_once("for bench in $(").unwrap();
    let command = rest.split_once(");").unwrap().0;
    let listed = std::process::Command::new("sh")
        .args(["-c", command])
        .current_dir(root())
        .output()
        .unwrap();
    let listed: BTreeSet<String> = String::from_utf8(listed.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    let manifest: toml::Table = manifest.parse().unwrap();
    let benches = manifest["bench"].as_array().unwrap().iter();
    let benches: BTreeSet<String> = benches
        .map(|bench| bench["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(listed, benches);
    for line in [
        "FROM manifest AS sbom",
        "COPY --from=sbom /src/sbom.cdx.json /usr/share/doc/extender-facade/sbom.cdx.json",
    ] {
        assert!(image.lines().any(|there| there == line), "no {line:?}");
    }
}

#[test]
fn no_code_of_ours_is_unsafe_and_nobody_may_allow_it() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    // `forbid` cannot be taken back by an attribute further down.
    assert!(manifest.contains("unsafe_code = \"forbid\""));
    for (path, text) in sources() {
        assert!(
            !code_lines(&text).any(|line| line.contains("unsafe ")),
            "{}",
            path.display()
        );
    }
}

#[test]
fn what_the_threat_model_names_is_there() {
    let document = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let mut code = String::new();
    let mut folders = vec![root().join("src"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                code.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut named = 0;
    for name in document.split('`').skip(1).step_by(2) {
        let is_file = name.ends_with(".rs") || name.ends_with(".md") || name.ends_with(".toml");
        let is_test = name.matches('_').count() >= 5
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || "_0123456789".contains(c));
        if is_file {
            let there = [name.to_owned(), format!("src/{name}")];
            assert!(there.iter().any(|name| root().join(name).exists()), "no file {name}");
        } else if is_test {
            assert!(code.contains(&format!("fn {name}()")), "no test {name}");
        }
        named += usize::from(is_file || is_test);
    }
    assert!(named > 30, "only {named} files and tests are named");
}
