//! JSONPath as GoogleSQL writes it: `$`, `.key`, `."key"`, `['key']`, `[0]`
//! (<https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions#JSONPath_format>).

/// One step down from a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Into an object's member.
    Key(String),
    /// Into an array's element, counted from 0.
    Item(usize),
}

/// Longest path, in steps: deeper than any value that JSON functions look into.
const STEPS_MAX: usize = 100;

/// An element that no array has.
const NO_ITEM: usize = usize::MAX;

/// Parses a path. BigQuery keeps `."a.b"` to JSON_VALUE and JSON_QUERY and `['a.b']` to the older
/// functions; here every function takes both.
///
/// # Errors
/// What is wrong with the path, and where.
pub fn parse(path: &str) -> Result<Vec<Step>, String> {
    let mut rest =
        path.strip_prefix('$').ok_or_else(|| format!("JSONPath {path:?} does not start with $"))?;
    let mut steps = Vec::new();
    while let Some(first) = rest.chars().next() {
        let (step, after) = match first {
            '.' => match rest[1..].strip_prefix('"') {
                Some(quoted) => take_quoted(quoted, '"').map(|(key, after)| (Step::Key(key), after)),
                None => take_key(&rest[1..]),
            },
            '[' => take_subscript(&rest[1..]),
            _ => None,
        }
        .ok_or_else(|| complaint(path, rest))?;
        steps.push(step);
        rest = after;
        if steps.len() > STEPS_MAX {
            return Err(format!("JSONPath has more than {STEPS_MAX} steps"));
        }
    }
    Ok(steps)
}

fn complaint(path: &str, rest: &str) -> String {
    match rest.contains('*') || rest.contains("..") || rest.contains('@') {
        true => format!("unsupported operator in JSONPath {path:?}"),
        false => format!("invalid token in JSONPath {path:?} at {rest:?}"),
    }
}

/// A bare key: letters, digits, `_`, `-`, `:` and white space.
fn take_key(text: &str) -> Option<(Step, &str)> {
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c.is_whitespace() || matches!(c, '_' | '-' | ':')))
        .unwrap_or(text.len());
    (end > 0).then(|| (Step::Key(text[..end].to_owned()), &text[end..]))
}

fn take_subscript(text: &str) -> Option<(Step, &str)> {
    let text = text.trim_start();
    let (step, after) = match text.chars().next()? {
        quote @ ('\'' | '"') => {
            let (key, after) = take_quoted(&text[1..], quote)?;
            (Step::Key(key), after)
        }
        _ => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            let index = digits[..end].parse().ok()?;
            // Before the first element there is none.
            let index = if text.starts_with('-') { NO_ITEM } else { index };
            (Step::Item(index), &digits[end..])
        }
    };
    Some((step, after.trim_start().strip_prefix(']')?))
}

/// The key before the closing quote; a backslash before a quote takes its meaning away.
fn take_quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut key = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((index, character)) = characters.next() {
        match character {
            '\\' if characters.peek().is_some_and(|(_, next)| *next == quote) => {
                key.push(quote);
                characters.next();
            }
            found if found == quote => return Some((key, &text[index + 1..])),
            other => key.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Step {
        Step::Key(name.to_owned())
    }

    #[test]
    fn all_spellings_parse() {
        assert_eq!(parse("$").unwrap(), []);
        assert_eq!(parse("$.a.b[2]").unwrap(), [key("a"), key("b"), Step::Item(2)]);
        assert_eq!(parse("$['event.name']").unwrap(), [key("event.name")]);
        assert_eq!(parse(r#"$."event.name".x"#).unwrap(), [key("event.name"), key("x")]);
        assert_eq!(parse("$[ 0 ].größe-1").unwrap(), [Step::Item(0), key("größe-1")]);
        assert_eq!(parse(r"$['it\'s']").unwrap(), [key("it's")]);
        assert_eq!(parse("$.a[-1]").unwrap(), [key("a"), Step::Item(NO_ITEM)]);
    }

    #[test]
    fn what_is_no_path_is_an_error() {
        for bad in [
            "",
            "a",
            "$.",
            "$..a",
            "$.*",
            "$[*]",
            "$[-]",
            "$[-1:]",
            "$['a'",
            "$.a b.",
            "$[",
            "$x",
            "$[99999999999999999999]",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
