//! Files of the operator's that hold secrets, and that everybody on the machine can reach. Told and not refused: containers
//! are handed their secrets as files that everybody in the container may read.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use crate::settings::Settings;

/// One sentence for each such file. `config` is the file of the settings, where there is one: it counts if a secret stands in
/// it.
#[must_use]
pub fn exposed_files(settings: &Settings, config: Option<&Path>) -> Vec<String> {
    let mut told: Vec<String> = files(settings)
        .into_iter()
        .filter_map(|(key, path)| exposed(&key, &path?))
        .collect();
    if let Some(path) = config
        && let Some(sentence) = exposed("the file of settings", path)
        && holds_a_secret(path, &secrets(settings))
    {
        told.push(sentence);
    }
    told
}

/// Every setting that names a file with a secret in it. (`inbound.accounts_file` is judged where it is read.)
fn files(settings: &Settings) -> Vec<(String, Option<PathBuf>)> {
    let keys = settings.cloud.all_keys();
    let of_cloud = keys.iter().map(|key| (key.origin.setting.clone(), key.origin.file()));
    let mut files: Vec<_> = of_cloud
        .map(|(setting, file)| (format!("{setting}_file"), file.map(Path::to_owned)))
        .collect();
    files.push(("admin.token_file".to_owned(), settings.admin.token_file.clone()));
    files.push(("inbound.tls_key_file".to_owned(), settings.inbound.tls_key_file.clone()));
    files
}

/// Every setting that is a secret.
fn secrets(settings: &Settings) -> Vec<SecretString> {
    let of_cloud = settings.cloud.all_keys().into_iter().map(|key| key.secret);
    of_cloud.chain([settings.admin.token.clone()]).collect()
}

fn holds_a_secret(path: &Path, secrets: &[SecretString]) -> bool {
    let Ok(text) = std::fs::read_to_string(path) else {
        return false;
    };
    let text = SecretString::from(text);
    secrets.iter().any(|secret| {
        let secret = secret.expose_secret();
        !secret.is_empty() && text.expose_secret().contains(secret)
    })
}

#[cfg(unix)]
fn exposed(what: &str, path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    // What cannot be looked at is told by whoever wants to read it.
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o007 != 0).then(|| {
        let path = path.display();
        format!("{what} {path}: everybody on this machine can reach it (mode {mode:03o}); chmod o= {path}")
    })
}

#[cfg(not(unix))]
fn exposed(_what: &str, _path: &Path) -> Option<String> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_with_a_secret_is_told_only_where_everybody_can_reach_it() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str, mode: u32| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let mut settings = Settings::defaults();
        settings.cloud.api_token = SecretString::from("a-token");
        settings.cloud.api_token_file = Some(put("token", "a-token", 0o444));
        settings.admin.token_file = Some(put("admin", "x", 0o640));
        settings.inbound.tls_key_file = Some(dir.path().join("missing"));
        let with = put("with.toml", "api_token = \"a-token\"", 0o644);
        let without = put("without.toml", "shutdown_s = 1", 0o644);
        let told = |config: &Path| exposed_files(&settings, Some(config));
        assert_eq!(told(&without).len(), 1);
        assert!(told(&without)[0].starts_with("cloud.api_token_file"));
        assert_eq!(told(&with).len(), 2);
        assert!(
            told(&with)
                .iter()
                .all(|sentence| sentence.contains("chmod o=") && !sentence.contains("a-token"))
        );
        assert_eq!(exposed_files(&settings, None).len(), 1);
    }

    #[test]
    fn each_file_that_a_setting_names_for_a_secret_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "a-token").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
        let without_secrets = [
            "accounts_file",
            "map_file",
            "tls_cert_file",
            "tls_client_ca_file",
            "ca_file",
        ];
        let (mut section, mut count) = ("", 0);
        for line in crate::settings::DEFAULTS.lines() {
            if line.starts_with('[') {
                section = line.trim_matches(['[', ']']);
            }
            let Some((key, _)) = line.split_once("_file = ").filter(|_| !line.starts_with('#')) else {
                continue;
            };
            if without_secrets.iter().any(|name| line.starts_with(name)) {
                continue;
            }
            let kind = if key == "client_secret" {
                "service_account"
            } else {
                "api_token"
            };
            let overlay = format!("[cloud]\nkind = {kind:?}\n{section}.{key}_file = {path:?}");
            let overlay = overlay.replace("\ncloud.", "\n");
            let overlay = if section.starts_with("cloud") {
                overlay
            } else {
                format!("[{section}]\n{key}_file = {path:?}")
            };
            let settings = Settings::load(None, &overlay, Some(crate::settings::Variables::new())).unwrap();
            let told = exposed_files(&settings, None);
            assert_eq!(told.len(), 1, "{section}.{key}_file");
            count += 1;
        }
        assert!(count >= 7, "{count}");
    }
}
