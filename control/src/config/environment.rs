//! `FANFARE__SECTION__KEY=value` overrides `section.key` of the file.

use std::ffi::OsString;

use toml::{Table, Value};

use super::load::Problem;
use super::origin::Origins;
use super::settings::Settings;

const PREFIX: &str = "FANFARE__";

/// What was meant for a setting would otherwise be ignored without a word.
const MISSPELT: &str =
    "is no variable of this program: a setting is FANFARE__SECTION__KEY, with two underscores each";

/// Applies every override to the table, one at a time, so that a bad one is named.
pub(super) fn apply(
    table: &mut Table,
    origins: &mut Origins,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str() else {
            continue;
        };
        if !name.starts_with(PREFIX) {
            if is_misspelt(name) {
                problems.push(Problem::new(name, MISSPELT));
            }
            continue;
        }
        let Some(value) = value.to_str() else {
            problems.push(Problem::new(name, "is not UTF-8"));
            continue;
        };
        match apply_one(table, name, value) {
            Ok(key) => origins.note_variable(&key, name),
            Err(message) => problems.push(Problem::new(name, message)),
        }
    }
    problems
}

/// A variable has no type, so what it may mean is tried in turn: a TOML value, a string, a list of strings.
/// The first reading the settings accept is taken.
fn apply_one(table: &mut Table, name: &str, value: &str) -> Result<String, String> {
    let path: Vec<String> = name[PREFIX.len()..]
        .split("__")
        .map(str::to_lowercase)
        .collect();
    if path.iter().any(String::is_empty) {
        return Err("must look like FANFARE__SECTION__KEY".to_owned());
    }
    let list = value
        .split(',')
        .map(|item| Value::String(item.trim().to_owned()))
        .collect();
    let readings = [
        toml_value(value),
        Some(Value::String(value.to_owned())),
        Some(Value::Array(list)),
    ];
    let mut refusal = String::new();
    for reading in readings.into_iter().flatten() {
        let mut candidate = table.clone();
        insert(&mut candidate, &path, reading)?;
        match Settings::deserialize_table(&candidate) {
            Ok(_) => {
                *table = candidate;
                return Ok(path.join("."));
            }
            Err(message) => refusal = message,
        }
    }
    Err(refusal)
}

/// Whether somebody meant a setting: of this program, and with a section.
fn is_misspelt(name: &str) -> bool {
    name.strip_prefix("FANFARE_")
        .is_some_and(|rest| rest.contains("__"))
}

fn toml_value(text: &str) -> Option<Value> {
    let mut table: Table = toml::from_str(&format!("value = {text}")).ok()?;
    if table.len() != 1 {
        return None;
    }
    table.remove("value")
}

fn insert(table: &mut Table, path: &[String], value: Value) -> Result<(), String> {
    let Some((last, sections)) = path.split_last() else {
        return Ok(());
    };
    let mut section = table;
    for name in sections {
        let entry = section
            .entry(name.clone())
            .or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(inner) = entry else {
            return Err(format!("{name} is a value, not a section"));
        };
        section = inner;
    }
    section.insert(last.clone(), value);
    Ok(())
}
