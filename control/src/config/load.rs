//! Finding and reading the configuration.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Table;

use super::origin::{Origins, line_at};
use super::settings::Settings;
use super::{check, environment};

/// Where the file is looked for when nobody names one.
const PLACES: [&str; 2] = ["./fanfare.toml", "/etc/fanfare/config.toml"];

/// Settings, and the file they came from, if there was one.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) settings: Settings,
    pub(crate) file: Option<PathBuf>,
    pub(crate) origins: Origins,
}

/// Why there is no usable configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file is not there or not readable.
    #[error("cannot read the configuration file {}: {source}", .path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// What it says is not accepted; every complaint on a line of its own.
    #[error("the configuration is not accepted:{}", Problem::list(.problems))]
    Refused { problems: Vec<Problem> },
}

impl ConfigError {
    pub(super) fn is_permission(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied)
    }
}

/// One thing that is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    place: String,
    message: String,
}

impl Problem {
    pub(super) fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            message: message.into(),
        }
    }

    fn list(problems: &[Self]) -> String {
        problems
            .iter()
            .map(|problem| format!("\n  {problem}"))
            .collect()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Reads the named file, or the first of the usual ones that is there, or none; then the environment.
pub(crate) fn load(
    named: Option<&Path>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, ConfigError> {
    let file = named.map(Path::to_owned).or_else(|| {
        PLACES
            .iter()
            .map(PathBuf::from)
            .find(|place| place.exists())
    });
    let text = match &file {
        Some(path) => std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.clone(),
            source,
        })?,
        None => String::new(),
    };
    let mut origins = Origins::default();
    if let Some(path) = &file {
        origins = Origins::of_file(path, &text);
        refuse(check_text(path, &text).err().into_iter().collect())?;
    }
    let mut table: Table = toml::from_str(&text).unwrap_or_default();
    refuse(environment::apply(&mut table, &mut origins, variables))?;
    let settings = Settings::deserialize_table(&table).map_err(|message| ConfigError::Refused {
        problems: vec![Problem::new("configuration", message)],
    })?;
    refuse(check::problems(&settings, &origins))?;
    Ok(Loaded {
        settings,
        file,
        origins,
    })
}

impl Settings {
    /// Reads settings from a table whose lines are not known any more.
    pub(super) fn deserialize_table(table: &Table) -> Result<Self, String> {
        Self::deserialize(table.clone()).map_err(|error| one_line(error.message()))
    }
}

/// Reads the file by itself first, for an error in it then has a line.
fn check_text(path: &Path, text: &str) -> Result<(), Problem> {
    let Err(error) = toml::from_str::<Settings>(text) else {
        return Ok(());
    };
    let place = match error.span() {
        Some(span) => format!("{}:{}", path.display(), line_at(text, span.start)),
        None => path.display().to_string(),
    };
    Err(Problem::new(place, one_line(error.message())))
}

fn one_line(message: &str) -> String {
    without_value(message.trim()).replace('\n', ", ")
}

/// "invalid type: string \"hunter2\", expected …" without what was given, which may be a secret in the wrong
/// place. The line or the variable says where to look.
fn without_value(message: &str) -> String {
    if let Some((what, expected)) = message.rsplit_once(", expected ")
        && what.starts_with("invalid ")
        && let Some(value) = what.find(['"', '`'])
    {
        return format!("{}, expected {expected}", what[..value].trim_end());
    }
    message.to_owned()
}

fn refuse(problems: Vec<Problem>) -> Result<(), ConfigError> {
    if problems.is_empty() {
        return Ok(());
    }
    Err(ConfigError::Refused { problems })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_engine::{Access, SlowPolicy};
    use std::time::Duration;

    fn load_text(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("f.toml");
        std::fs::write(&path, text).expect("a file");
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        load(Some(&path), variables).map_err(|error| {
            error
                .to_string()
                .replace(&*path.to_string_lossy(), "f.toml")
        })
    }

    fn refusal(text: &str, variables: &[(&str, &str)]) -> String {
        load_text(text, variables)
            .map(|_| ())
            .expect_err("it should be refused")
    }

    #[test]
    fn an_empty_file_gives_the_defaults_of_the_engine() {
        let loaded = load_text("", &[]).expect("defaults are in bounds");
        let engine = loaded.settings.to_engine();
        assert_eq!(
            engine.client_addrs,
            fanfare_engine::EngineConfig::default().client_addrs
        );
        assert_eq!(engine.limits.ping_interval, Duration::from_secs(25));
        assert_eq!(engine.namespaces.default.subscribe, Access::Grant);
        assert!(engine.namespaces.named.is_empty());
        assert_eq!(loaded.settings.api.address.to_string(), "127.0.0.1:8001");
    }

    #[test]
    fn namespaces_carry_every_option() {
        let text = "
            [namespaces.chat]
            history_size = 100
            history_ttl = '10m'
            history_bytes_max = 65536
            presence = true
            join_leave = true
            subscribe = 'users'
            publish = 'members'
            presence_access = 'members'
            history_access = 'everyone'
            slow_policy = 'skip'
            lane_bytes_max = 2097152
            backend_subscribe = true
            backend_publish = true
            backend_sub_refresh = true

            [backend]
            subscribe_endpoint = 'http://127.0.0.1:3000/subscribe'
            publish_endpoint = 'http://127.0.0.1:3000/publish'
            sub_refresh_endpoint = 'http://127.0.0.1:3000/sub_refresh'
        ";
        let engine = load_text(text, &[])
            .expect("it is fine")
            .settings
            .to_engine();
        let options = engine
            .namespaces
            .of("chat:1")
            .expect("the namespace is there");
        assert_eq!(options.history_size, 100);
        assert_eq!(options.history_ttl, Duration::from_secs(600));
        assert_eq!(options.history_bytes_max, 65_536);
        assert!(options.presence && options.join_leave);
        assert_eq!(options.subscribe, Access::Users);
        assert_eq!(options.publish, Access::Members);
        assert_eq!(options.presence_access, Access::Members);
        assert_eq!(options.history_access, Access::Everyone);
        assert_eq!(options.slow_policy, SlowPolicy::Skip);
        assert_eq!(options.lane_bytes_max, 2_097_152);
        assert!(options.backend.subscribe && options.backend.publish);
        assert!(options.backend.sub_refresh);
        assert!(!engine.namespaces.default.backend.subscribe);
        assert!(engine.namespaces.of("other:1").is_none());
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let message = refusal("\n[limits]\nping_intervall = '5s'\n", &[]);
        assert!(
            message.contains("f.toml:3: unknown field `ping_intervall`"),
            "{message}"
        );
    }

    #[test]
    fn an_unknown_section_is_refused_with_its_line() {
        let message = refusal("\n\n[limit]\n", &[]);
        assert!(
            message.contains("f.toml:3: unknown field `limit`"),
            "{message}"
        );
    }

    #[test]
    fn a_value_of_the_wrong_type_is_refused_with_its_line() {
        let message = refusal("[limits]\nping_interval = 25\n", &[]);
        assert!(message.contains("f.toml:2:"), "{message}");
        let message = refusal("[engine]\nshards = 'many'\n", &[]);
        assert!(
            message.contains("f.toml:2: expected a whole number or \"auto\""),
            "{message}"
        );
    }

    #[test]
    fn a_value_out_of_bounds_is_refused_with_its_line() {
        let message = refusal(
            "[engine]\nshards = 2\n[limits]\nping_interval = '2h'\n",
            &[],
        );
        assert!(
            message.contains("f.toml:4: limits.ping_interval is 2h"),
            "{message}"
        );
    }

    #[test]
    fn all_values_out_of_bounds_are_named_at_once() {
        let message = refusal(
            "[limits]\nping_interval = '2h'\nmessage_bytes_max = 1\n",
            &[],
        );
        assert!(
            message.contains("f.toml:2:") && message.contains("f.toml:3:"),
            "{message}"
        );
    }

    #[test]
    fn history_needs_a_size_and_a_time() {
        let message = refusal("[namespaces.chat]\nhistory_size = 10\n", &[]);
        assert!(
            message.contains("f.toml:2:") && message.contains("history_ttl"),
            "{message}"
        );
        let message = refusal("[rooms]\nhistory_ttl = '5m'\n", &[]);
        assert!(
            message.contains("f.toml:2:") && message.contains("history_size"),
            "{message}"
        );
    }

    #[test]
    fn a_syntax_error_has_its_line() {
        let message = refusal("[limits]\nping_interval = \n", &[]);
        assert!(message.contains("f.toml:2:"), "{message}");
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let variables = [
            ("FANFARE__LIMITS__PING_INTERVAL", "30s"),
            ("FANFARE__ENGINE__SHARDS", "3"),
            ("FANFARE__ENGINE__CONNECTIONS_PER_SHARD_MAX", "auto"),
            ("FANFARE__CLIENT__ADDRESSES", "127.0.0.1:1, [::1]:2"),
            ("FANFARE__CLIENT__ALLOW_ANONYMOUS", "true"),
            (
                "FANFARE__API__KEYS",
                "[\"0123456789abcdef0123456789abcdef\"]",
            ),
            ("FANFARE__NAMESPACES__CHAT__PRESENCE", "true"),
            ("FANFARE_DATA_DIR", "not an override"),
            ("PATH", "/bin"),
        ];
        let settings = load_text("[limits]\nping_interval = '20s'\n", &variables)
            .expect("it is fine")
            .settings;
        let engine = settings.to_engine();
        assert_eq!(engine.limits.ping_interval, Duration::from_secs(30));
        assert_eq!(engine.shards, 3);
        assert_eq!(engine.connections_per_shard_max, None);
        assert_eq!(engine.client_addrs.len(), 2);
        assert!(engine.allow_anonymous);
        assert_eq!(settings.api.keys.len(), 1);
        assert!(
            engine
                .namespaces
                .of("chat:1")
                .is_some_and(|options| options.presence)
        );
    }

    #[test]
    fn a_number_in_the_environment_can_be_a_string() {
        let secret = "12345678901234567890123456789012";
        let settings = load_text("", &[("FANFARE__TOKEN__HMAC_SECRET", secret)])
            .expect("it is fine")
            .settings;
        assert_eq!(
            settings.token.hmac_secret.expect("it was set").reveal(),
            secret
        );
    }

    #[test]
    fn secrets_in_the_wrong_place_are_not_quoted() {
        for text in [
            "[api]\nkeys = 'hunter2'\n",
            "[api]\nkeys = ['fine', 77123]\n",
            "[token]\nhmac_secret = 77123\n",
            "[token]\nhmac_secret = ['hunter2']\n",
            "\ntoken = 'hunter2'\n",
        ] {
            let message = refusal(text, &[]);
            assert!(message.contains("f.toml:2: "), "{message}");
            assert!(
                !message.contains("hunter2") && !message.contains("77123"),
                "{message}"
            );
        }
        let message = refusal("", &[("FANFARE__TOKEN", "hunter2")]);
        assert!(!message.contains("hunter2"), "{message}");
    }

    #[test]
    fn a_misspelt_variable_is_refused() {
        let message = refusal("", &[("FANFARE_LIMITS__PING_INTERVAL", "5s")]);
        assert!(
            message.contains("FANFARE_LIMITS__PING_INTERVAL: is no variable"),
            "{message}"
        );
    }

    #[test]
    fn a_section_in_a_variable_is_named_by_it() {
        let message = refusal(
            "[limits]\nping_interval = '20s'\n",
            &[("FANFARE__LIMITS", "{ ping_interval = '9h' }")],
        );
        assert!(
            message.contains("FANFARE__LIMITS: limits.ping_interval is 9h"),
            "{message}"
        );
    }

    #[test]
    fn what_the_engine_would_refuse_is_refused_with_its_line() {
        let message = refusal(
            "[limits]\nping_interval = '10s'\npong_timeout = '10s'\n",
            &[],
        );
        assert!(
            message.contains("f.toml:3: limits.pong_timeout is 10s"),
            "{message}"
        );
        let message = refusal("[limits]\nmessage_bytes_max = 1048576\n", &[]);
        assert!(message.contains("rooms.lane_bytes_max"), "{message}");
    }

    #[test]
    fn levels_that_say_nothing_are_refused() {
        for level in ["trace", "info,fanfare_engine=trace", "5", "loud", "a=loud"] {
            let message = refusal(&format!("[log]\nlevel = '{level}'\n"), &[]);
            assert!(message.contains("f.toml:2: log.level"), "{message}");
        }
        for level in ["off", "debug", "info,fanfare_engine=debug"] {
            load_text(&format!("[log]\nlevel = '{level}'\n"), &[]).expect("a level");
        }
    }

    #[test]
    fn a_bad_variable_is_named() {
        let message = refusal("", &[("FANFARE__LIMITS__PING_INTERVALL", "5s")]);
        assert!(
            message.contains("FANFARE__LIMITS__PING_INTERVALL: unknown field"),
            "{message}"
        );
        let message = refusal("", &[("FANFARE__LIMITS__PING_INTERVAL", "2h")]);
        assert!(
            message.contains("FANFARE__LIMITS__PING_INTERVAL: limits.ping_interval is 2h"),
            "{message}"
        );
        let message = refusal("", &[("FANFARE__", "1")]);
        assert!(message.contains("FANFARE__SECTION__KEY"), "{message}");
    }

    #[test]
    fn a_named_file_must_be_there() {
        let error = load(Some(Path::new("/nowhere/f.toml")), []).expect_err("it is not there");
        assert!(error.to_string().contains("/nowhere/f.toml"), "{error}");
    }

    /// Every key of the settings, with its default as TOML; the optional ones have none.
    fn keys() -> Vec<(String, String, String)> {
        let optional = [
            ("api", "key_file"),
            ("backend", "connect_endpoint"),
            ("backend", "refresh_endpoint"),
            ("backend", "rpc_endpoint"),
            ("backend", "send_endpoint"),
            ("backend", "subscribe_endpoint"),
            ("backend", "publish_endpoint"),
            ("backend", "sub_refresh_endpoint"),
            ("backend", "turn_user_endpoint"),
            ("backend", "turn_allocation_endpoint"),
            ("backend", "tls_root_file"),
            ("token", "hmac_secret"),
            ("token", "hmac_secret_file"),
            ("token", "rsa_public_key"),
            ("token", "rsa_public_key_file"),
            ("token", "ecdsa_public_key"),
            ("token", "ecdsa_public_key_file"),
            ("token", "ed25519_public_key"),
            ("token", "ed25519_public_key_file"),
            ("token", "audience"),
            ("token", "issuer"),
        ];
        let mut keys: Vec<_> = optional
            .iter()
            .map(|(section, key)| ((*section).to_owned(), (*key).to_owned(), String::new()))
            .collect();
        let defaults = Table::try_from(Settings::default()).expect("settings are TOML");
        for (section, value) in &defaults {
            match value {
                toml::Value::Table(table) => {
                    for (key, value) in table {
                        keys.push((section.clone(), key.clone(), value.to_string()));
                    }
                }
                value => keys.push((String::new(), section.clone(), value.to_string())),
            }
        }
        keys
    }

    #[test]
    fn every_key_is_documented_with_its_default() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let document = std::fs::read_to_string(path).expect("the document");
        for (section, key, default) in keys() {
            let heading = if section.is_empty() {
                "## Top level".to_owned()
            } else {
                format!("## `[{section}]`")
            };
            let (_, rest) = document
                .split_once(&heading)
                .unwrap_or_else(|| panic!("no {heading}"));
            let text = rest.split("\n## ").next().unwrap_or_default();
            let mut rows = text.lines().filter(|line| line.starts_with('|'));
            let row = rows.find(|row| {
                row.split('|')
                    .nth(1)
                    .is_some_and(|cell| cell.contains(&format!("`{key}`")))
            });
            let row = row.unwrap_or_else(|| panic!("{section}.{key} has no row"));
            let told = row
                .split('|')
                .nth(2)
                .unwrap_or_default()
                .trim()
                .trim_matches('`');
            assert_eq!(told, default, "default of {section}.{key}");
        }
    }

    #[test]
    fn printed_defaults_are_a_valid_file() {
        let text = toml::to_string(&Settings::default()).expect("settings are TOML");
        load_text(&text, &[]).expect("the defaults are accepted");
    }
}
