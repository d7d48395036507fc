//! The bearer token of ports that are open to other machines.

use anyhow::{Context, Result, bail};

use crate::config::Config;

/// The configured token, from the first line of its file.
///
/// # Errors
/// When the file cannot be read or is empty.
pub fn token(config: &Config) -> Result<Option<String>> {
    let Some(path) = &config.server.auth_token_file else { return Ok(None) };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read server.auth_token_file {}", path.display()))?;
    let token = text.lines().next().unwrap_or_default().trim();
    if token.is_empty() {
        bail!("server.auth_token_file {} has an empty first line", path.display());
    }
    Ok(Some(token.to_owned()))
}
