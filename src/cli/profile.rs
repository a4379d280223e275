//! Where a running service is and with which keys it is called: by flags and the environment, or by a profile.
//!
//! Profiles stand in `~/.config/k-webhooks/profiles.toml`, which is the developer's own. Beside it, `development.toml` is
//! written by `serve` at its first start in development, and holds for who has no profile called `default`.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::api::Api;
use crate::config::secret_of;

const KEY: &str = "K_WEBHOOKS_KEY";
const SERVICE_KEY: &str = "K_WEBHOOKS_SERVICE_KEY";
const PUBLIC_URL: &str = "http://127.0.0.1:8080";
const INTERNAL_URL: &str = "http://127.0.0.1:8081";

/// What is used where no profile is named.
const DEFAULT: &str = "default";

/// What `serve` writes.
const DEVELOPMENT: &str = "development";

/// Which service to call, and how to answer.
#[derive(Args, Clone)]
pub(super) struct ServiceArgs {
    /// A profile of ~/.config/k-webhooks/profiles.toml, with addresses and keys; else `default`, else the development service's
    #[arg(long, env = "K_WEBHOOKS_PROFILE")]
    profile: Option<String>,
    /// The public listener; its key is `K_WEBHOOKS_KEY` (or the file that `K_WEBHOOKS_KEY_FILE` names), or the profile's
    #[arg(long, env = "K_WEBHOOKS_URL")]
    url: Option<String>,
    /// The internal listener; its key is `K_WEBHOOKS_SERVICE_KEY` (or …`_FILE`), or the profile's
    #[arg(long, env = "K_WEBHOOKS_INTERNAL_URL")]
    internal_url: Option<String>,
    /// Answers in JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Addresses and keys. What is left out is as without a profile.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    pub(super) url: Option<String>,
    pub(super) key: Option<SecretString>,
    pub(super) internal_url: Option<String>,
    pub(super) service_key: Option<SecretString>,
    /// Whose events `trigger` publishes.
    pub(super) merchant: Option<String>,
}

impl ServiceArgs {
    /// The public listener, with a merchant's key.
    pub(super) fn public(&self) -> Result<Api> {
        let profile = self.profile()?;
        let url = self.url.clone().or(profile.url).unwrap_or_else(|| PUBLIC_URL.to_owned());
        let key = key(KEY, profile.key, "a merchant's secret key (sk_test_…)", "key")?;
        Api::new(&url, &key, "--url", KEY)
    }

    /// The internal listener, with a service key; and the merchant of the profile.
    pub(super) fn internal(&self) -> Result<(Api, Option<String>)> {
        let profile = self.profile()?;
        let url =
            self.internal_url.clone().or(profile.internal_url).unwrap_or_else(|| INTERNAL_URL.to_owned());
        let key = key(SERVICE_KEY, profile.service_key, "a service key (svc_…)", "service_key")?;
        Ok((Api::new(&url, &key, "--internal-url", SERVICE_KEY)?, profile.merchant))
    }

    fn profile(&self) -> Result<Profile> {
        let Some(folder) = folder() else {
            return match &self.profile {
                Some(name) => bail!("--profile {name}: there is no home folder to look for profiles in"),
                None => Ok(Profile::default()),
            };
        };
        find(&folder, self.profile.as_deref())
    }
}

fn key(variable: &str, of_profile: Option<SecretString>, what: &str, field: &str) -> Result<SecretString> {
    let given = secret_of(None, variable, |name| std::env::var(name).ok())?;
    given.or(of_profile).with_context(|| {
        let file = folder().map_or_else(|| "profiles.toml".to_owned(), |folder| profiles(&folder).display().to_string());
        format!(
            "this needs {what}: set {variable}, or `{field}` of a profile in {file}. \
             `k-webhooks keys create` makes keys; `k-webhooks serve` in development makes them at its first start"
        )
    })
}

/// Where profiles stand.
pub(super) fn folder() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let config = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")))?;
    Some(config.join("k-webhooks"))
}

fn profiles(folder: &Path) -> PathBuf {
    folder.join("profiles.toml")
}

fn development(folder: &Path) -> PathBuf {
    folder.join("development.toml")
}

/// The profile of this name. Without one, `default`, or that of the development service, or nothing.
fn find(folder: &Path, name: Option<&str>) -> Result<Profile> {
    let path = profiles(folder);
    let mut own: BTreeMap<String, Profile> = read(&path)?.unwrap_or_default();
    if let Some(found) = own.remove(name.unwrap_or(DEFAULT)) {
        return Ok(found);
    }
    let made: Option<Profile> = read(&development(folder))?;
    match name {
        None => Ok(made.unwrap_or_default()),
        Some(DEVELOPMENT) if made.is_some() => Ok(made.unwrap_or_default()),
        Some(name) => {
            let names: Vec<&str> = own.keys().map(String::as_str).chain(made.map(|_| DEVELOPMENT)).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            bail!("--profile {name}: {} has no such profile; there are: {names}", path.display())
        }
    }
}

/// A file that nobody else may read, if it is there.
fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let shown = path.display();
    let mode = match fs::metadata(path) {
        Ok(metadata) => metadata.mode(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| shown.to_string()),
    };
    if mode & 0o077 != 0 {
        bail!("{shown}: it holds keys, and others may read it; run: chmod 600 {shown}");
    }
    let text = fs::read_to_string(path).with_context(|| shown.to_string())?;
    // What the parser says may quote a line with a key.
    let place = |error: toml::de::Error| {
        let line =
            error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        anyhow::anyhow!(
            "{shown}: line {line}: is not a profile's; each is [name] with url, key, internal_url, service_key, merchant"
        )
    };
    toml::from_str(&text).map(Some).map_err(place)
}

/// Keeps the development service's profile, for this user alone. Answers where.
pub(super) fn keep_development(folder: &Path, profile: &Profile) -> io::Result<PathBuf> {
    let exposed = |key: &Option<SecretString>| key.as_ref().map(|key| key.expose_secret().to_owned());
    let fields = [
        ("url", profile.url.clone()),
        ("key", exposed(&profile.key)),
        ("internal_url", profile.internal_url.clone()),
        ("service_key", exposed(&profile.service_key)),
        ("merchant", profile.merchant.clone()),
    ];
    let mut text =
        "# Written by `k-webhooks serve` at its first start in development; profiles.toml is yours.\n"
            .to_owned();
    for (name, value) in fields {
        if let Some(value) = value {
            let _ = writeln!(text, "{name} = {}", toml::Value::String(value));
        }
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let (path, unfinished) =
        (development(folder), folder.join(format!("development.{}", std::process::id())));
    let written =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished);
    let written = written.and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()));
    let named = written.and_then(|()| fs::rename(&unfinished, &path));
    if named.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    named.map(|()| path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn url(folder: &Path, name: Option<&str>) -> Result<Option<String>, String> {
        find(folder, name).map(|profile| profile.url).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_profile_is_found_by_name_and_without_one_it_is_the_default_or_the_development_services() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("made");
        assert_eq!(url(&folder, None), Ok(None));
        let kept =
            Profile { url: Some("http://d".to_owned()), key: Some("sk_test_1".into()), ..Profile::default() };
        let path = keep_development(&folder, &kept).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(url(&folder, None).unwrap().as_deref(), Some("http://d"));
        assert_eq!(find(&folder, Some("development")).unwrap().key.unwrap().expose_secret(), "sk_test_1");

        write(&profiles(&folder), "[default]\nurl = \"http://a\"\n[staging]\nurl = \"http://b\"\n", 0o600);
        assert_eq!(url(&folder, None).unwrap().as_deref(), Some("http://a"));
        assert_eq!(url(&folder, Some("staging")).unwrap().as_deref(), Some("http://b"));
        let refused = url(&folder, Some("prod")).unwrap_err();
        assert!(
            refused.ends_with("has no such profile; there are: default, staging, development"),
            "{refused}"
        );
        let files = fs::read_dir(&folder).unwrap().count();
        keep_development(&folder, &kept).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), files, "nothing unfinished is left");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_and_a_bad_line_is_named_and_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = profiles(folder.path());
        write(&path, "[default]\n", 0o640);
        let refused = url(folder.path(), None).unwrap_err();
        assert!(refused.contains("run: chmod 600 "), "{refused}");
        for text in ["[default]\nkeys = \"sk_test_1\"\n", "[default]\nkey = sk_test_1\n"] {
            write(&path, text, 0o600);
            let refused = url(folder.path(), None).unwrap_err();
            assert!(refused.contains("line 2: ") && !refused.contains("sk_test_1"), "{refused}");
        }
    }
}
