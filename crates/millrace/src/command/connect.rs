//! `millrace connect gemini`: the Gemini CLI's telemetry settings.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use millrace_disk::{StdDisk, write_atomically};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::cli::Connect;
use crate::config::Config;

/// Writes the settings, leaving every other key of the file as it is.
///
/// # Errors
/// When the file is not a JSON object, or cannot be written.
pub fn connect(config: &Config, port_offset: u16, command: &Connect) -> Result<()> {
    let Connect::Gemini { settings, dry_run, log_prompts } = command;
    let path = match settings {
        Some(path) => path.clone(),
        None => default_settings()?,
    };
    let port = config.server.otlp_grpc_port.saturating_add(port_offset);
    let telemetry =
        telemetry(&format!("http://{}", std::net::SocketAddr::new(config.server.bind, port)), *log_prompts);
    let existing = match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let text = with_telemetry(existing.as_deref(), &telemetry).with_context(|| {
        format!(
            "{} is not a JSON object; add this to it by hand:\n  \"telemetry\": {telemetry}",
            path.display()
        )
    })?;
    if *dry_run {
        println!("{text}");
        return Ok(());
    }
    write(&path, &text)?;
    println!("wrote the telemetry settings to {}", path.display());
    println!("every new `gemini` session reports here; `millrace connect gemini --dry-run` shows them");
    Ok(())
}

fn default_settings() -> Result<PathBuf> {
    let home = std::env::home_dir().context("no home directory: name the file with --settings")?;
    Ok(home.join(".gemini").join("settings.json"))
}

fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    write_atomically(&StdDisk, path, text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The CLI's `telemetry` block. `logPrompts` defaults to true in the CLI, so it is always said.
fn telemetry(endpoint: &str, log_prompts: bool) -> String {
    format!(
        "{{\n    \"enabled\": true,\n    \"target\": \"local\",\n    \"otlpEndpoint\": \"{endpoint}\",\n    \
         \"otlpProtocol\": \"grpc\",\n    \"logPrompts\": {log_prompts}\n  }}"
    )
}

/// The settings text with its `telemetry` key replaced or added; the text of every other key, and
/// their order, stay.
fn with_telemetry(existing: Option<&str>, telemetry: &str) -> Result<String> {
    let existing = existing.filter(|text| !text.trim().is_empty()).unwrap_or("{}");
    let Entries(mut entries) = serde_json::from_str(existing)?;
    let block = (String::from("telemetry"), RawValue::from_string(telemetry.to_owned())?);
    match entries.iter_mut().find(|(key, _)| key == "telemetry") {
        Some(entry) => *entry = block,
        None => entries.push(block),
    }
    let lines: Vec<_> = entries
        .iter()
        .map(|(key, value)| Ok(format!("  {}: {}", serde_json::to_string(key)?, value.get())))
        .collect::<Result<_>>()?;
    Ok(format!("{{\n{}\n}}\n", lines.join(",\n")))
}

/// An object's entries in their order, each value as its text.
struct Entries(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn other_settings_stay_and_a_second_run_changes_nothing() {
        let block = telemetry("http://127.0.0.1:4317", false);
        let existing = "{\n  \"zeta\": {\"b\": 1,  \"a\": 2},\n  \"telemetry\": {\"enabled\": false},\n  \"alpha\": [1]\n}";
        let once = with_telemetry(Some(existing), &block).unwrap();
        assert!(once.contains("\"zeta\": {\"b\": 1,  \"a\": 2}"), "{once}");
        let value: Value = serde_json::from_str(&once).unwrap();
        assert_eq!(value["telemetry"]["otlpEndpoint"], json!("http://127.0.0.1:4317"));
        assert_eq!(value["telemetry"]["logPrompts"], json!(false));
        assert_eq!(with_telemetry(Some(&once), &block).unwrap(), once);
        assert!(with_telemetry(None, &block).unwrap().starts_with("{\n  \"telemetry\""));
        assert!(with_telemetry(Some("[1]"), &block).is_err());
        assert!(with_telemetry(Some("{ // comment\n}"), &block).is_err());
    }
}
