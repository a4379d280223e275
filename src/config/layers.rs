//! Laying texts and tables over the defaults, by the keys and types that stand there.

use std::{collections::BTreeMap, fs::File, io::Read as _};

use serde::de::DeserializeOwned;
use toml::{Table, Value};
use zeroize::Zeroizing;

use super::{ConfigError, DEFAULTS};
use crate::nearest::nearest;

const PREFIX: &str = "K_WEBHOOKS__";

/// Behind the name of a variable: its value is in the file that this one names.
const FILE_SUFFIX: &str = "_FILE";

/// More than any option needs; the file may be one that never ends.
const FILE_BYTES_MAX: u64 = 64 * 1024;

pub(super) struct Layers {
    defaults: Table,
    table: Table,
}

impl Layers {
    pub(super) fn new() -> Result<Self, ConfigError> {
        let defaults: Table =
            DEFAULTS.parse().map_err(|error| ConfigError(format!("built-in defaults: {error}")))?;
        Ok(Self { table: defaults.clone(), defaults })
    }

    pub(super) fn lay_file(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let file: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            ConfigError(format!("{name}: line {line}: {}", error.message().replace('\n', " ")))
        })?;
        for (section, value) in file {
            match value {
                Value::Table(keys) if self.defaults.get(&section).is_none_or(Value::is_table) => {
                    for (key, value) in keys {
                        self.lay(&format!("{section}.{key}"), value, name)?;
                    }
                }
                value => self.lay(&section, value, name)?,
            }
        }
        Ok(())
    }

    pub(super) fn lay_environment(
        &mut self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        let variables: BTreeMap<String, String> =
            environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        for (name, text) in &variables {
            match self.stem_of(name) {
                Some(stem) if variables.contains_key(stem) => {
                    return Err(ConfigError(format!("{name}: {stem} is given too")));
                }
                Some(stem) => self.lay_text(&key_of(stem), &read_secret_file(name, text)?, name)?,
                None => self.lay_text(&key_of(name), text, name)?,
            }
        }
        Ok(())
    }

    /// The variable whose value is in a file, where `name` says so: its key is known, and `name` is no key itself.
    fn stem_of<'a>(&self, name: &'a str) -> Option<&'a str> {
        let stem = name.strip_suffix(FILE_SUFFIX)?;
        let takes = matches!(self.default_of(&key_of(stem)), Some(Value::String(_) | Value::Array(_)));
        (takes && self.default_of(&key_of(name)).is_none()).then_some(stem)
    }

    /// Lays a text over a key, read as what stands there: a text stays as it is, all else is TOML.
    pub(super) fn lay_text(&mut self, key: &str, text: &str, source: &str) -> Result<(), ConfigError> {
        let value = match self.default_of(key) {
            Some(Value::String(_)) | None => Value::String(text.to_owned()),
            Some(known) => {
                let wanted = match known {
                    Value::Array(_) => "a list, such as [\"…\", \"…\"]".to_owned(),
                    known => format!("a value of the type {}", known.type_str()),
                };
                let parsed: Result<Table, _> = format!("value = {text}").parse();
                let value = parsed.ok().and_then(|mut table| table.remove("value"));
                // Without the text, which may be a secret.
                value.ok_or_else(|| ConfigError(format!("{source}: {key}: cannot be read as {wanted}")))?
            }
        };
        self.lay(key, value, source)
    }

    fn lay(&mut self, key: &str, value: Value, source: &str) -> Result<(), ConfigError> {
        let known = self.default_of(key).ok_or_else(|| {
            let keys = self.keys();
            ConfigError(format!("{source}: unknown key {key}{}", hint(key, keys.iter().map(String::as_str))))
        })?;
        let value = match (known, value) {
            (Value::Float(_), Value::Integer(whole)) => {
                Value::Float(whole.to_string().parse().unwrap_or(f64::INFINITY))
            }
            (known, value) if known.type_str() != value.type_str() => {
                let (wanted, found) = (known.type_str(), value.type_str());
                return Err(ConfigError(format!("{source}: {key}: must be a {wanted}, not a {found}")));
            }
            (_, value) => value,
        };
        match key.split_once('.') {
            None => drop(self.table.insert(key.to_owned(), value)),
            Some((section, key)) => {
                if let Some(Value::Table(table)) = self.table.get_mut(section) {
                    table.insert(key.to_owned(), value);
                }
            }
        }
        Ok(())
    }

    fn default_of(&self, key: &str) -> Option<&Value> {
        match key.split_once('.') {
            None => self.defaults.get(key).filter(|value| !value.is_table()),
            Some((section, key)) => self.defaults.get(section)?.get(key),
        }
    }

    fn keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        for (name, value) in &self.defaults {
            match value {
                Value::Table(section) => keys.extend(section.keys().map(|key| format!("{name}.{key}"))),
                _ => keys.push(name.clone()),
            }
        }
        keys
    }

    pub(super) fn finish<T: DeserializeOwned>(self) -> Result<T, ConfigError> {
        serde_path_to_error::deserialize(Value::Table(self.table)).map_err(|error| {
            let (key, message) = (error.path().to_string(), error.inner().message().replace('\n', " "));
            ConfigError(format!("{key}: {}", with_nearest_variant(&message)))
        })
    }
}

/// The key that a variable is for.
fn key_of(variable: &str) -> String {
    variable.strip_prefix(PREFIX).unwrap_or(variable).to_lowercase().replace("__", ".")
}

/// The text of a mounted file that `variable` names, without the newline at its end. Errors name the variable and neither
/// the content nor the path: where the secret itself stands in the variable by mistake, that is the path.
pub(super) fn read_secret_file(variable: &str, path: &str) -> Result<Zeroizing<String>, ConfigError> {
    let refused = |why: &dyn std::fmt::Display| ConfigError(format!("{variable}: the file {why}"));
    let unreadable = |error: std::io::Error| refused(&format!("cannot be read: {}", error.kind()));
    let mut bytes = Zeroizing::new(Vec::with_capacity(1024));
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(refused(&"is larger than 64 KiB"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| refused(&"is not UTF-8"))?;
    let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if text.is_empty() {
        return Err(refused(&"is empty"));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// Adds to serde's "unknown variant `x`, expected `a` or `b`" which of them is nearest.
fn with_nearest_variant(message: &str) -> String {
    let mut names = message.split('`').skip(1).step_by(2).map(str::to_owned);
    match names.next() {
        Some(found) if message.starts_with("unknown variant") => {
            let known: Vec<String> = names.collect();
            format!("{message}{}", hint(&found, known.iter().map(String::as_str)))
        }
        _ => message.to_owned(),
    }
}

fn hint<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(text, known).map(|name| format!("; the nearest is {name}")).unwrap_or_default()
}
