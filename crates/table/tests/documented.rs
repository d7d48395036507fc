//! The examples of `docs/rows.md` do what it says.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use support::{one_column, read_one};

const PAGE: &str = include_str!("../../../docs/rows.md");

#[test]
fn every_example_is_true() {
    let mut kind = "";
    let mut checked = 0;
    for line in PAGE.lines() {
        if let Some(heading) = line.strip_prefix('#') {
            kind = heading.strip_prefix("## ").unwrap_or_default();
        }
        let cells = line
            .strip_prefix("| `")
            .and_then(|line| line.strip_suffix(" |"))
            .and_then(|line| line.split_once("` | "));
        let (Some((json, result)), false) = (cells, kind.is_empty()) else { continue };
        checked += 1;
        let read = read_one(&one_column(&format!(r#""type": "{kind}""#)), json);
        match result.strip_prefix("refused: ") {
            Some(reason) => {
                let error = read.unwrap_err();
                assert!(error.message.contains(reason), "{kind} {json}: {}", error.message);
            }
            None => {
                let shown = result.trim_matches('`').replace("\\n", "\n");
                assert_eq!(read.as_deref(), Ok(shown.as_str()), "{kind} {json}");
            }
        }
    }
    assert_eq!(checked, 65, "examples of the page that were found");
}
