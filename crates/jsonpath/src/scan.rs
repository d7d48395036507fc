//! One pass over JSON text that finds the values of many paths.
//!
//! The views ask for some 40 paths of one column, and a payload can have 700 KB, so the text is walked
//! once, values that no path asks for are stepped over, and nothing is copied: what is found is a span
//! of the text. Text that is not JSON from its first to its last byte has no values at all, so a result
//! never depends on which paths are asked for together. Of two members with one key the first counts.

use std::borrow::Cow;

use crate::path::Step;

/// Many paths as one tree.
#[derive(Debug)]
pub struct Paths {
    nodes: Vec<Node>,
    count: usize,
}

#[derive(Debug, Default)]
struct Node {
    /// The paths that end here.
    ends: Vec<usize>,
    /// Members to go into, in buckets by the length of their key.
    keys: [Vec<(Box<str>, usize)>; KEY_BUCKETS],
    has_keys: bool,
    /// Elements to go into.
    items: Vec<(usize, usize)>,
}

const KEY_BUCKETS: usize = 32;

fn bucket(key: &str) -> usize {
    key.len() % KEY_BUCKETS
}

impl Paths {
    /// A tree of these paths, each a list of steps from the root.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a [Step]>) -> Self {
        let mut tree = Self { nodes: vec![Node::default()], count: 0 };
        for path in paths {
            let mut at = 0;
            for step in path {
                at = tree.child(at, step);
            }
            tree.nodes[at].ends.push(tree.count);
            tree.count += 1;
        }
        tree
    }

    fn child(&mut self, at: usize, step: &Step) -> usize {
        let next = self.nodes.len();
        let node = &mut self.nodes[at];
        match step {
            Step::Key(key) => {
                let bucket = &mut node.keys[bucket(key)];
                match bucket.iter().find(|(known, _)| **known == **key) {
                    Some((_, child)) => return *child,
                    None => bucket.push((key.as_str().into(), next)),
                }
                node.has_keys = true;
            }
            Step::Item(index) => match node.items.iter().find(|(known, _)| known == index) {
                Some((_, child)) => return *child,
                None => node.items.push((*index, next)),
            },
        }
        self.nodes.push(Node::default());
        next
    }

    /// Finds each path's value as a span of `text`, in the order the paths were given. All are `None`
    /// when the text is not JSON.
    pub fn extract<'t>(&self, text: &'t str, found: &mut Vec<Option<&'t str>>) {
        found.clear();
        found.resize(self.count, None);
        let mut search =
            Search { paths: self, scanner: Scanner::new(text), found, seen: vec![false; self.nodes.len()] };
        let whole = search.value(0).and_then(|()| search.scanner.end());
        if whole.is_none() {
            found.fill(None);
        }
    }
}

struct Search<'p, 't, 'f> {
    paths: &'p Paths,
    scanner: Scanner<'t>,
    found: &'f mut Vec<Option<&'t str>>,
    /// Which nodes have had their value: the next one is of a repeated key.
    seen: Vec<bool>,
}

impl Search<'_, '_, '_> {
    /// Reads the value of a node; its depth is bounded by the paths'.
    fn value(&mut self, node: usize) -> Option<()> {
        self.scanner.white();
        let start = self.scanner.at;
        let wanted = &self.paths.nodes[node];
        match self.scanner.peek()? {
            b'{' if wanted.has_keys => self.object(node)?,
            b'[' if !wanted.items.is_empty() => self.array(node)?,
            _ => self.scanner.skip()?,
        }
        if !wanted.ends.is_empty() {
            let span = self.scanner.text.get(start..self.scanner.at)?;
            for end in &wanted.ends {
                self.found[*end] = Some(span);
            }
        }
        Some(())
    }

    fn object(&mut self, node: usize) -> Option<()> {
        let wanted = &self.paths.nodes[node];
        self.scanner.take(b'{')?;
        if self.scanner.took(b'}') {
            return Some(());
        }
        loop {
            let key = self.scanner.key()?;
            let key = unescape(key)?;
            let child =
                wanted.keys[bucket(&key)].iter().find(|(known, _)| **known == *key).map(|(_, child)| *child);
            match child {
                Some(child) if !std::mem::replace(&mut self.seen[child], true) => self.value(child)?,
                _ => self.scanner.skip()?,
            }
            if self.scanner.took(b'}') {
                return Some(());
            }
            self.scanner.take(b',')?;
        }
    }

    fn array(&mut self, node: usize) -> Option<()> {
        let wanted = &self.paths.nodes[node];
        self.scanner.take(b'[')?;
        if self.scanner.took(b']') {
            return Some(());
        }
        for index in 0.. {
            match wanted.items.iter().find(|(known, _)| *known == index) {
                Some((_, child)) => self.value(*child)?,
                None => self.scanner.skip()?,
            }
            if self.scanner.took(b']') {
                break;
            }
            self.scanner.take(b',')?;
        }
        Some(())
    }
}

/// A cursor over JSON text that can step over a value of any depth without recursion.
pub struct Scanner<'t> {
    /// The whole text.
    pub text: &'t str,
    /// The byte that comes next.
    pub at: usize,
    /// The closing brackets that are waited for while a value is stepped over.
    closing: Vec<u8>,
}

impl<'t> Scanner<'t> {
    /// At the beginning of a text.
    #[must_use]
    pub fn new(text: &'t str) -> Self {
        Self { text, at: 0, closing: Vec::new() }
    }

    /// The next byte.
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Steps over white space.
    #[inline]
    pub fn white(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Steps over `byte`, white space before it included.
    #[inline]
    pub fn take(&mut self, byte: u8) -> Option<()> {
        self.took(byte).then_some(())
    }

    /// Whether `byte` came next; it is stepped over then, and white space before it in any case.
    #[inline]
    pub fn took(&mut self, byte: u8) -> bool {
        self.white();
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// Nothing but white space is left.
    pub fn end(&mut self) -> Option<()> {
        self.white();
        self.peek().is_none().then_some(())
    }

    /// A member's key, still escaped, and the colon.
    pub fn key(&mut self) -> Option<&'t str> {
        self.white();
        let key = self.string()?;
        self.take(b':')?;
        Some(key)
    }

    /// A string's content, still escaped.
    pub fn string(&mut self) -> Option<&'t str> {
        if self.peek()? != b'"' {
            return None;
        }
        let start = self.at + 1;
        let bytes = self.text.as_bytes();
        let mut at = start;
        loop {
            at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
            if bytes[at] == b'"' {
                self.at = at + 1;
                // Folded, not searched: so the compiler looks at many bytes at once.
                let control = bytes[start..at].iter().fold(false, |found, byte| found | (*byte < b' '));
                return if control { None } else { self.text.get(start..at) };
            }
            at += escape_length(&bytes[at..])?;
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        let there = self.text.as_bytes().get(self.at..self.at + word.len())? == word;
        self.at += word.len();
        there.then_some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    /// Steps over a number.
    pub fn number(&mut self) -> Option<()> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek()? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    /// A value that is no object and no array.
    pub fn leaf(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    /// Steps over one value of any depth.
    pub fn skip(&mut self) -> Option<()> {
        self.closing.clear();
        loop {
            self.white();
            match self.peek()? {
                b'{' => {
                    self.at += 1;
                    if !self.took(b'}') {
                        self.closing.push(b'}');
                        self.key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.at += 1;
                    if !self.took(b']') {
                        self.closing.push(b']');
                        continue;
                    }
                }
                _ => self.leaf()?,
            }
            loop {
                let Some(closing) = self.closing.last().copied() else { return Some(()) };
                if self.took(closing) {
                    self.closing.pop();
                    continue;
                }
                self.take(b',')?;
                if closing == b'}' {
                    self.key()?;
                }
                break;
            }
        }
    }
}

/// How many bytes the escape takes that `bytes` begins with; `None` when JSON has no such escape.
fn escape_length(bytes: &[u8]) -> Option<usize> {
    match bytes.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => bytes.get(2..6)?.iter().all(u8::is_ascii_hexdigit).then_some(6),
        _ => None,
    }
}

/// A string's content without its escapes; `None` when one is wrong. Half a surrogate pair, which
/// JavaScript can write and UTF-8 cannot hold, becomes U+FFFD.
pub fn unescape(content: &str) -> Option<Cow<'_, str>> {
    let Some(first) = memchr::memchr(b'\\', content.as_bytes()) else { return Some(Cow::Borrowed(content)) };
    let mut out = String::with_capacity(content.len());
    out.push_str(&content[..first]);
    let mut rest = &content[first..];
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let escape = *rest.as_bytes().get(at + 1)?;
        let simple = match escape {
            b'"' | b'\\' | b'/' => char::from(escape),
            b'b' => '\x08',
            b'f' => '\x0c',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let (character, length) = unicode(&rest[at..])?;
                out.push(character);
                rest = &rest[at + length..];
                continue;
            }
            _ => return None,
        };
        out.push(simple);
        rest = &rest[at + 2..];
    }
    out.push_str(rest);
    Some(Cow::Owned(out))
}

/// The character of `\uXXXX` or of a pair of them, and how many bytes they take.
fn unicode(text: &str) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = text.get(at + 2..at + 6).filter(|_| text[at..].starts_with("\\u"))?;
        digits
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit())
            .then(|| u32::from_str_radix(digits, 16).ok())
            .flatten()
    };
    let first = unit(0)?;
    if (0xd800..0xdc00).contains(&first)
        && let Some(second) = text.is_char_boundary(6).then(|| unit(6)).flatten()
        && (0xdc00..0xe000).contains(&second)
    {
        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return Some((char::from_u32(code)?, 12));
    }
    Some((char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 6))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::parse;
    use proptest::prelude::*;

    fn find<'t>(text: &'t str, paths: &[&str]) -> Vec<Option<&'t str>> {
        let parsed: Vec<_> = paths.iter().map(|path| parse(path).unwrap()).collect();
        let mut found = Vec::new();
        Paths::new(parsed.iter().map(Vec::as_slice)).extract(text, &mut found);
        found
    }

    #[test]
    fn many_paths_in_one_pass() {
        let text = r#" {"a.b": 1, "a": {"b": [10, {"c": "x"}], "b": 2}, "\u0061c": null, "n": -1.50e3 } "#;
        let found = find(text, &["$['a.b']", "$.a.b[1].c", "$.a.b", "$.ac", "$.n", "$.none", "$.a.b[2]"]);
        assert_eq!(
            found,
            [
                Some("1"),
                Some("\"x\""),
                Some(r#"[10, {"c": "x"}]"#),
                Some("null"),
                Some("-1.50e3"),
                None,
                None
            ]
        );
    }

    #[test]
    fn text_that_is_not_json_has_no_values() {
        for text in [
            "",
            "{",
            r#"{"a":1"#,
            r#"{"a":1}}"#,
            r#"{"a":1,}"#,
            r#"{"a":01}"#,
            r#"{"a":1 "b":2}"#,
            r#"{"a":1,"b":[1,]}"#,
            r#"{"a":1,"b":tru}"#,
        ] {
            assert_eq!(find(text, &["$.a"]), [None], "{text}");
        }
        let deep = format!(r#"{{"a":1,"b":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(find(&deep, &["$.a"]), [Some("1")]);
    }

    #[test]
    fn escapes_come_out() {
        assert_eq!(unescape(r#"a\"\\\/\n\u00e9\ud83d\ude00"#).unwrap(), "a\"\\/\né😀");
        assert_eq!(unescape(r"\ud83d!").unwrap(), "\u{fffd}!");
        assert_eq!(unescape(r"\x41"), None);
        assert_eq!(unescape(r"\u12é"), None);
    }

    #[test]
    fn strings_are_json_strings() {
        for text in [r#""\x41""#, r#""\u12g4""#, "\"\\\u{118f0}\"", "\"a\nb\"", r#""\"#, r#"{"\q":1}"#] {
            assert_eq!(find(text, &["$"]), [None], "{text}");
        }
        assert_eq!(find(r#""\ud83d\u00E9 \u7f""#, &["$"]), [None]);
        assert_eq!(find(r#""\ud83d\u00E9 \"""#, &["$"]), [Some(r#""\ud83d\u00E9 \"""#)]);
    }

    proptest! {
        #[test]
        fn the_scanner_agrees_with_serde(keys in prop::collection::hash_map("[a-c.é\"\\\\]{1,3}", "\\PC{0,12}", 0..6)) {
            let text = serde_json::to_string(&keys).unwrap();
            for (key, value) in &keys {
                let steps = [Step::Key(key.clone())];
                let mut found = Vec::new();
                Paths::new([steps.as_slice()]).extract(&text, &mut found);
                let span = found[0].unwrap();
                prop_assert_eq!(unescape(&span[1..span.len() - 1]).unwrap(), value.as_str());
            }
        }

        #[test]
        fn any_text_is_scanned(text: String) {
            let _ = find(&text, &["$.a", "$[0]", "$"]);
            prop_assert_eq!(find(&text, &["$"])[0].is_some(), serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok());
        }
    }
}
