//! Keys of services: for the control API, and as tokens of native connections that publish a lot.

use std::path::Path;

use subtle::{Choice, ConstantTimeEq};

use crate::config::Secret;
use crate::exit::Failure;

/// The keys that are accepted.
#[derive(Debug, Clone, Default)]
pub(crate) struct ApiKeys(Vec<Secret>);

impl ApiKeys {
    pub(crate) fn new(keys: Vec<Secret>) -> Self {
        Self(keys)
    }

    /// Reads a file with one key per line; empty lines and those that begin with `#` do not count.
    pub(crate) fn from_file(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::config(format!(
                "cannot read api.key_file {}: {error}",
                path.display()
            ))
        })?;
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = Secret::new(line);
            key.check_key().map_err(|problem| {
                let place = format!("{}:{number}", path.display());
                Failure::config(format!("{place}: a key of api.key_file {problem}"))
            })?;
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(Failure::config(format!(
                "api.key_file {} holds no key",
                path.display()
            )));
        }
        Ok(Self(keys))
    }

    /// Whether the key is one of them. Compares with all of them, and each in constant time, so that how long
    /// it takes says nothing but the length.
    pub(crate) fn contains(&self, key: &str) -> bool {
        let compare = |known: &Secret| known.reveal().as_bytes().ct_eq(key.as_bytes());
        self.0
            .iter()
            .map(compare)
            .fold(Choice::from(0), |found, equal| found | equal)
            .into()
    }

    /// A key to use.
    pub(crate) fn first(&self) -> Option<&Secret> {
        self.0.first()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_of_the_keys_is_accepted_and_nothing_else() {
        let keys = ApiKeys::new(vec![
            Secret::new("a".repeat(32)),
            Secret::new("b".repeat(32)),
        ]);
        assert!(keys.contains(&"a".repeat(32)));
        assert!(keys.contains(&"b".repeat(32)));
        for wrong in ["", "a", &"a".repeat(33), &"c".repeat(32)] {
            assert!(!keys.contains(wrong), "{wrong:?}");
        }
        assert!(!ApiKeys::new(Vec::new()).contains(""));
    }

    #[test]
    fn a_file_holds_a_key_per_line() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(
            file.path(),
            format!("# ours\n{}\n\n {} \n", "a".repeat(32), "b".repeat(40)),
        )
        .expect("written");
        let keys = ApiKeys::from_file(file.path()).expect("two keys");
        assert!(keys.contains(&"b".repeat(40)));
        for wrong in ["hunter2", "0123456789 0123456789 0123456789 0123456789"] {
            std::fs::write(file.path(), format!("# ours\n{wrong}\n")).expect("written");
            let said = format!("{:?}", ApiKeys::from_file(file.path()).expect_err("no key"));
            assert!(
                said.contains(":2: a key") && !said.contains(wrong),
                "{said}"
            );
        }
        std::fs::write(file.path(), "# none\n").expect("written");
        assert!(ApiKeys::from_file(file.path()).is_err());
    }
}
