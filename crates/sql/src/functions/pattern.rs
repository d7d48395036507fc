//! Regular expressions of RE2 (<https://github.com/google/re2/blob/main/doc/syntax.txt>), which GoogleSQL
//! has, in the spelling that gives them the same meaning in Rust's `regex`.

use std::borrow::Cow;

/// The same regular expression for `regex`. There `\d`, `\s`, `\w` and `\b` go beyond ASCII, `\<` is the
/// begin of a word, `\Q...\E` is unknown, and brackets may hold brackets and operators.
pub(super) fn translated(pattern: &str) -> Cow<'_, str> {
    if !pattern.contains(['\\', '[']) {
        return Cow::Borrowed(pattern);
    }
    let mut out = String::with_capacity(2 * pattern.len());
    let mut rest = pattern;
    while let Some(character) = rest.chars().next() {
        let after = &rest[character.len_utf8()..];
        rest = match character {
            '\\' => escape(after, &mut out),
            '[' => class(after, &mut out),
            other => {
                out.push(other);
                after
            }
        };
    }
    Cow::Owned(out)
}

/// What `\d` and its kin stand for, as in brackets; capital letters are what is not.
fn ascii_set(letter: char) -> Option<&'static str> {
    match letter.to_ascii_lowercase() {
        'd' => Some("0-9"),
        's' => Some("\\t\\n\\f\\r "),
        'w' => Some("0-9A-Za-z_"),
        _ => None,
    }
}

/// What follows a backslash outside of brackets; gives what comes after it.
fn escape<'p>(rest: &'p str, out: &mut String) -> &'p str {
    let Some(letter) = rest.chars().next() else {
        out.push('\\');
        return rest;
    };
    let after = &rest[letter.len_utf8()..];
    match (letter, ascii_set(letter)) {
        ('Q', _) => {
            let (text, after) = after.split_once("\\E").unwrap_or((after, ""));
            out.push_str(&regex::escape(text));
            return after;
        }
        (_, Some(set)) => {
            let not = if letter.is_ascii_uppercase() { "^" } else { "" };
            out.push_str(&format!("[{not}{set}]"));
        }
        ('b' | 'B', _) => out.push_str(&format!("(?-u:\\{letter})")),
        ('<' | '>', _) => out.push(letter),
        _ => {
            out.push('\\');
            out.push(letter);
        }
    }
    after
}

/// What follows a bracket that opens a class; gives what comes after the class.
fn class<'p>(mut rest: &'p str, out: &mut String) -> &'p str {
    out.push('[');
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut first = true;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(']').filter(|_| !first) {
            out.push(']');
            return after;
        }
        first = false;
        if let Some(after) = named_class(rest, out) {
            rest = after;
            continue;
        }
        rest = member(rest, out);
        // A range, unless the dash is the last one.
        if let Some(after) =
            rest.strip_prefix('-').filter(|after| !after.is_empty() && !after.starts_with(']'))
        {
            out.push('-');
            rest = member(after, out);
        }
    }
    rest
}

/// `[:alpha:]`, and `\d` and its kin.
fn named_class<'p>(rest: &'p str, out: &mut String) -> Option<&'p str> {
    if rest.starts_with("[:") {
        let end = rest.find(":]")? + 2;
        out.push_str(&rest[..end]);
        return Some(&rest[end..]);
    }
    let letter = rest.strip_prefix('\\')?.chars().next()?;
    let set = ascii_set(letter)?;
    match letter.is_ascii_uppercase() {
        true => out.push_str(&format!("[^{set}]")),
        false => out.push_str(set),
    }
    Some(&rest[2..])
}

/// One character of a class, or what of it comes first.
fn member<'p>(rest: &'p str, out: &mut String) -> &'p str {
    let mut characters = rest.chars();
    match characters.next() {
        Some('\\') => match characters.next() {
            Some(plain @ ('<' | '>')) => out.push(plain),
            Some(escaped) => {
                out.push('\\');
                out.push(escaped);
            }
            None => out.push('\\'),
        },
        // These begin something there, and are themselves in RE2.
        Some(operator @ ('[' | ']' | '&' | '~' | '-')) => {
            out.push('\\');
            out.push(operator);
        }
        Some(other) => out.push(other),
        None => {}
    }
    characters.as_str()
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn patterns_are_respelled() {
        for (given, wanted) in [
            ("a.c|(b+)$", "a.c|(b+)$"),
            (r"\d+\.\D", r"[0-9]+\.[^0-9]"),
            (r"[\w.-]+@", r"[0-9A-Za-z_.\-]+@"),
            (r"[^\S,]", r"[^[^\t\n\f\r ],]"),
            (r"\bx\B", r"(?-u:\b)x(?-u:\B)"),
            (r"\<a\>", "<a>"),
            (r"\Qa.b\E.", r"a\.b."),
            ("[]a-z[:alpha:]]", r"[\]a-z[:alpha:]]"),
            ("[[&~]", r"[\[\&\~]"),
            ("[+--]", r"[+-\-]"),
            (r"[\x00-\x1f]\pL", r"[\x00-\x1f]\pL"),
            (r"[^-a]\", r"[^\-a]\"),
        ] {
            assert_eq!(translated(given), wanted, "{given}");
        }
    }

    #[test]
    fn what_is_respelled_means_the_same() {
        let first = |pattern: &str, text: &str| {
            let regex = Regex::new(&translated(pattern)).unwrap();
            regex.find(text).map(|found| found.as_str().to_owned())
        };
        assert_eq!(first(r"\w+", "größe").as_deref(), Some("gr"));
        assert_eq!(first(r"[\d]+", "٣7").as_deref(), Some("7"));
        assert_eq!(first(r"a\Bb", "ab").as_deref(), Some("ab"));
        assert_eq!(first(r"\b.$", "aé").as_deref(), Some("é"));
        assert_eq!(first(r"[^[]+", "ab[c").as_deref(), Some("ab"));
        assert_eq!(first(r"\<b\>", "a<b>").as_deref(), Some("<b>"));
        assert_eq!(first(r"[^\s]+", "\u{a0}x y").as_deref(), Some("\u{a0}x"));
        assert!(Regex::new(&translated("[a")).is_err() && Regex::new(&translated("a\\")).is_err());
    }
}
