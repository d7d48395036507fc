//! How deep a definition in Protocol Buffers is nested, before the compiler sees it: that one recurses
//! without a limit, and so does what it builds of an option's path.

/// How deep a definition may be nested, and of how many parts a dotted name may be.
const DEPTH_MAX: usize = 64;

/// Reads brackets and dots as the compiler does: not those in texts and comments. Where the two could come
/// to differ, that is where a text does not end or a bracket is closed by another one, the definition is not
/// valid for the compiler either, and is refused here.
///
/// # Errors
/// When it is nested too deeply, or its brackets, texts or comments do not end.
pub(super) fn check(definition: &str) -> Result<(), String> {
    let mut rest = definition.as_bytes();
    let mut open = Vec::new();
    let mut dots = 0_usize;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'#' => rest = behind_line(after),
            b'/' if after.first() == Some(&b'/') => rest = behind_line(after),
            b'/' if after.first() == Some(&b'*') => rest = behind_comment(&after[1..])?,
            b'"' | b'\'' => rest = behind_text(byte, after)?,
            b'{' => open.push(b'}'),
            b'[' => open.push(b']'),
            b'(' => open.push(b')'),
            b'<' => open.push(b'>'),
            b'}' | b']' | b')' | b'>' if open.pop() != Some(byte) => {
                return Err(format!("a {:?} closes what it did not open", char::from(byte)));
            }
            b'.' => dots += 1,
            _ => {}
        }
        if matches!(byte, b';' | b'=' | b',' | b'{' | b'}' | b'[' | b']') {
            dots = 0;
        }
        if open.len() > DEPTH_MAX {
            return Err(format!("the definition is nested deeper than {DEPTH_MAX}"));
        }
        if dots > DEPTH_MAX {
            return Err(format!("a name has more than {DEPTH_MAX} parts"));
        }
    }
    Ok(())
}

fn behind_line(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|&byte| byte == b'\n').unwrap_or(text.len());
    &text[end..]
}

/// A comment in a comment is an error of the compiler, too.
fn behind_comment(text: &[u8]) -> Result<&[u8], String> {
    let end = text.windows(2).position(|pair| pair == b"*/").ok_or("a comment is not closed")?;
    // With the star of the end: `/*/` begins one.
    match text[..=end].windows(2).any(|pair| pair == b"/*") {
        true => Err("a comment begins in a comment".to_owned()),
        false => Ok(&text[end + 2..]),
    }
}

fn behind_text(quote: u8, text: &[u8]) -> Result<&[u8], String> {
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            _ if byte == quote => return Ok(after),
            b'\n' => break,
            b'\\' if after.first() != Some(&b'\n') => after.get(1..).unwrap_or_default(),
            _ => after,
        };
    }
    Err("a text is not closed on its line".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_texts_and_comments_closes_nothing() {
        for closing in ["/*}*/", "//}\n", "option a = \"}\";", "option a = '}\\'}';", "#}\n"] {
            let definition = format!("message A{{{closing}").repeat(10_000);
            assert!(check(&definition).unwrap_err().contains("nested deeper"), "{closing}");
        }
        let deep = |depth: usize| "message A{".repeat(depth) + &"}".repeat(depth);
        assert!(check(&deep(DEPTH_MAX)).is_ok() && check(&deep(DEPTH_MAX + 1)).is_err());
        for good in ["", "/* { \" */ message A {} // {", "option a = \"\\\"{\"; map<int32, string> a = 1;"] {
            check(good).unwrap();
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (bad, text) in [
            ("message A { )", "closes what it did not open"),
            ("}", "closes what it did not open"),
            ("/* }", "a comment is not closed"),
            ("/* /* */ } */", "in a comment"),
            ("/* /*/ } */ */", "in a comment"),
            ("\"\n\"", "not closed on its line"),
            ("'\\\n'", "not closed on its line"),
            ("\"\\", "not closed on its line"),
            (&format!("option (a){} = 1;", ".a".repeat(65)), "more than 64 parts"),
        ] {
            assert!(check(bad).unwrap_err().contains(text), "{bad}");
        }
    }
}
