//! Where each value came from, so that a complaint about it can say so.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

/// Places of values, by the dotted path of their key.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    file: Option<PathBuf>,
    lines: HashMap<String, usize>,
    variables: BTreeMap<String, String>,
}

impl Origins {
    /// Notes the line of every key of the file. A file that does not parse has none.
    pub(super) fn of_file(file: &Path, text: &str) -> Self {
        let mut origins = Self {
            file: Some(file.to_owned()),
            ..Self::default()
        };
        if let Ok(table) = DeTable::parse(text) {
            origins.walk("", table.get_ref(), text);
        }
        origins
    }

    /// Notes that an environment variable gave this key its value.
    pub(super) fn note_variable(&mut self, key: &str, variable: &str) {
        self.variables.insert(key.to_owned(), variable.to_owned());
    }

    /// Where to look to change the value of the key: the variable, the line, or, for a value that was left at
    /// its default, the file as a whole.
    pub(crate) fn of(&self, key: &str) -> String {
        // A variable may also have given the whole section.
        if let Some(variable) = ancestors(key).find_map(|path| self.variables.get(path)) {
            return variable.clone();
        }
        let Some(file) = &self.file else {
            return "default".to_owned();
        };
        match ancestors(key).find_map(|path| self.lines.get(path)) {
            Some(line) => format!("{}:{line}", file.display()),
            None => file.display().to_string(),
        }
    }

    fn walk(&mut self, prefix: &str, table: &DeTable<'_>, text: &str) {
        for (key, value) in table {
            let path = match prefix {
                "" => key.get_ref().to_string(),
                _ => format!("{prefix}.{}", key.get_ref()),
            };
            if let DeValue::Table(inner) = value.get_ref() {
                self.walk(&path, inner, text);
            }
            self.lines.insert(path, line_at(text, key.span().start));
        }
    }
}

/// The path itself, its section, and so on.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| Some(path.rsplit_once('.')?.0))
}

/// The number of the line, from 1, that holds the byte.
pub(super) fn line_at(text: &str, byte: usize) -> usize {
    let before = text.as_bytes().get(..byte).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|b| **b == b'\n').count()
}
