//! Figures, and the pages they are shown on.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use millrace_disk::{StdDisk, write_atomically};

use crate::machine::Machine;

/// What a figure has to reach.
#[derive(Debug, Clone, Copy, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Floor {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
}

/// One measured number.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Figure {
    /// The benchmark it comes from.
    pub bench: &'static str,
    /// What was measured.
    pub what: String,
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What it has to reach, if anything.
    pub floor: Option<Floor>,
}

impl Figure {
    /// A figure without a floor.
    pub fn new(bench: &'static str, what: &str, value: f64, unit: &'static str) -> Self {
        Self { bench, what: what.to_owned(), value, unit, floor: None }
    }

    /// The figure with a floor.
    pub fn with_floor(self, floor: Option<Floor>) -> Self {
        Self { floor, ..self }
    }

    fn verdict(&self) -> String {
        let (sign, limit, holds) = match self.floor {
            None => return String::new(),
            Some(Floor::AtLeast(limit)) => ('≥', limit, self.value >= limit),
            Some(Floor::AtMost(limit)) => ('≤', limit, self.value <= limit),
        };
        format!("{sign} {} {}", readable(limit), if holds { "met" } else { "**missed**" })
    }
}

/// The figures as a Markdown table.
pub fn markdown(figures: &[Figure]) -> String {
    let mut text = "| bench | what | figure | floor |\n|---|---|---:|---|\n".to_owned();
    for figure in figures {
        let (bench, what, unit) = (figure.bench, &figure.what, figure.unit);
        let value = readable(figure.value);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {bench} | {what} | {} | {} |",
            format!("{value} {unit}").trim(),
            figure.verdict()
        );
    }
    text
}

/// Three significant digits, thousands set apart.
fn readable(value: f64) -> String {
    if value.abs() < 100.0 {
        let digits = if value.abs() < 1.0 {
            3
        } else if value.abs() < 10.0 {
            2
        } else {
            1
        };
        let text = format!("{value:.digits$}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const BEGIN: &str = "<!-- figures: written by `make bench` -->";
const END: &str = "<!-- end of figures -->";

/// Puts machine, command and figures between the markers of a page.
pub fn write_page(path: &Path, machine: &Machine, command: &str, figures: &[Figure]) -> Result<()> {
    let page = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let section =
        format!("\nMachine: {}.\nCommand: `{command}`.\n\n{}\n", machine.describe(), markdown(figures));
    let page = replace_between(&page, &section)
        .with_context(|| format!("{} has lost its markers", path.display()))?;
    write_atomically(&StdDisk, path, page.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

fn replace_between(page: &str, section: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{section}{END}{after}"))
}

/// Writes machine and figures as JSON.
pub fn write_json(path: &Path, machine: &Machine, figures: &[Figure]) -> Result<()> {
    let text = serde_json::to_vec_pretty(&serde_json::json!({ "machine": machine, "figures": figures }))?;
    write_atomically(&StdDisk, path, &text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        for (value, text) in [
            (0.0, "0"),
            (0.0123, "0.012"),
            (2.345_6, "2.35"),
            (42.0, "42"),
            (123.4, "123"),
            (1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(readable(value), text);
        }
    }

    #[test]
    fn a_page_keeps_what_is_around_the_figures() {
        let page = format!("top\n{BEGIN}\nold\n{END}\nbottom\n");
        assert_eq!(replace_between(&page, "new\n").unwrap(), format!("top\n{BEGIN}\nnew\n{END}\nbottom\n"));
        assert!(replace_between("no markers", "new").is_none());
    }

    #[test]
    fn floors_are_judged() {
        let figure = Figure::new("b", "w", 10.0, "ms");
        assert_eq!(figure.clone().with_floor(Some(Floor::AtMost(9.0))).verdict(), "≤ 9 **missed**");
        assert_eq!(figure.with_floor(Some(Floor::AtLeast(9.0))).verdict(), "≥ 9 met");
    }
}
