//! JSON text over several lines, as TO_JSON_STRING and FORMAT show it.

/// A value's text with a line for each member and element and two spaces for each level.
pub(crate) fn pretty(compact: &str) -> String {
    let mut out = String::with_capacity(compact.len() * 2);
    let (mut level, mut in_string, mut escaped) = (0_usize, false, false);
    let mut rest = compact.chars().peekable();
    while let Some(character) = rest.next() {
        if in_string {
            out.push(character);
            match character {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match character {
            '{' | '[' if matches!(rest.peek(), Some('}' | ']')) => {
                out.push(character);
                out.extend(rest.next());
            }
            '{' | '[' => {
                out.push(character);
                level += 1;
                line(&mut out, level);
            }
            '}' | ']' => {
                level = level.saturating_sub(1);
                line(&mut out, level);
                out.push(character);
            }
            ',' => {
                out.push(',');
                line(&mut out, level);
            }
            ':' => out.push_str(": "),
            other => {
                in_string = other == '"';
                out.push(other);
            }
        }
    }
    out
}

fn line(out: &mut String, level: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", level));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_elements_have_lines_of_their_own() {
        // The example of BigQuery's documentation.
        let text = r#"{"id":1,"coordinates":[10,20],"none":[],"s":"a{,:\"}"}"#;
        let lines = "{\n  \"id\": 1,\n  \"coordinates\": [\n    10,\n    20\n  ],\n  \"none\": [],\n  \"s\": \"a{,:\\\"}\"\n}";
        assert_eq!(pretty(text), lines);
    }
}
