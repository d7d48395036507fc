//! One pass over a message: checks that it is JSON, notes the parts that the program reads, and writes the
//! JSON text of those whose text is needed as `JSON.stringify(JSON.parse(text))` would.
//!
//! What is rare is refused, and the engine runs the message: text that is not JSON, a message that is not
//! an object, names that come twice or look like integers where that matters, very deep nesting.

mod keys;
mod number;
mod string;

use self::keys::Keys;
use super::program::{Node, NodeId, ROOT};
use crate::block;

pub(super) use self::keys::hash;
pub(super) use self::number::format_into;
pub(super) use self::string::unescape_into;

/// Deepest nesting that is scanned.
const DEPTH_MAX: usize = 100;

/// No part.
const NONE: NodeId = NodeId::MAX;

/// What a part of the message is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Missing,
    Null,
    True,
    False,
    Number,
    String,
    Array,
    Object,
}

/// A part of the message that was found. Positions are of bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Part {
    pub kind: Kind,
    /// Strings: whether there is an escape in it. Numbers: whether they are not spelled as JavaScript does.
    pub is_odd: bool,
    /// Where it is in the message, the quotes of a string left out.
    pub start: u32,
    /// See `start`.
    pub end: u32,
    /// Where its JSON text is among the texts; nothing when that is not needed.
    pub text_start: u32,
    /// See `text_start`.
    pub text_end: u32,
}

/// A property of the message itself, both as text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub key: (u32, u32),
    pub value: (u32, u32),
}

/// What scanning needs again and again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The texts, and behind them what earlier messages left.
    pub texts: Vec<u8>,
    /// How many bytes of it are texts of this message.
    pub texts_end: usize,
    /// The properties of the message itself, when they are asked for.
    pub entries: Vec<Entry>,
    keys: Keys,
}

struct Scanner<'s> {
    nodes: &'s [Node],
    parts: &'s mut [Part],
    bytes: &'s [u8],
    at: usize,
    /// Long enough at each time for what the rest of the message can come to.
    out: &'s mut Vec<u8>,
    end: usize,
    keys: &'s mut Keys,
    entries: Option<&'s mut Vec<Entry>>,
}

/// Scans a message; `None` refuses it. Parts that are not in it are left as they are, missing.
pub(super) fn scan(
    text: &str,
    nodes: &[Node],
    parts: &mut [Part],
    scratch: &mut Scratch,
    wants_entries: bool,
) -> Option<()> {
    let bytes = text.as_bytes();
    u32::try_from(bytes.len()).ok()?;
    if scratch.texts.len() < bytes.len() + string::MARGIN_BYTES {
        scratch.texts.resize(bytes.len() + string::MARGIN_BYTES, 0);
    }
    scratch.entries.clear();
    scratch.keys.clear();
    let entries = wants_entries.then_some(&mut scratch.entries);
    let out = &mut scratch.texts;
    let mut scanner = Scanner { nodes, parts, bytes, at: 0, out, end: 0, keys: &mut scratch.keys, entries };
    if scanner.space() != Some(b'{') {
        return None;
    }
    scanner.value::<false>(ROOT, 0)?;
    // A byte that is neither white space nor the start of anything is no end either.
    let is_whole = scanner.space().is_none() && scanner.at == bytes.len();
    scratch.texts_end = scanner.end;
    is_whole.then_some(())
}

impl Scanner<'_> {
    #[inline(always)]
    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Passes over white space; the byte behind it.
    #[inline(always)]
    fn space(&mut self) -> Option<u8> {
        let byte = self.byte()?;
        if byte > b' ' {
            return Some(byte);
        }
        // One space is what most writers put.
        match self.bytes.get(self.at + 1) {
            Some(&next) if next > b' ' && byte == b' ' => {
                self.at += 1;
                Some(next)
            }
            _ => self.long_space(),
        }
    }

    #[inline(never)]
    fn long_space(&mut self) -> Option<u8> {
        while let Some(block) = self.bytes.get(self.at..)?.first_chunk() {
            let spaces = block::spaces(block);
            self.at += spaces;
            if spaces < block.len() {
                break;
            }
        }
        loop {
            match self.byte()? {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return (byte > b' ').then_some(byte),
            }
        }
    }

    #[inline(always)]
    fn put(&mut self, byte: u8) -> Option<()> {
        *self.out.get_mut(self.end)? = byte;
        self.end += 1;
        Some(())
    }

    /// Scans a value; with `COPY` it also writes its text.
    #[inline(always)]
    fn value<const COPY: bool>(&mut self, node: NodeId, depth: usize) -> Option<()> {
        if self.byte()? != b'"' {
            return self.other_value::<COPY>(node, depth);
        }
        let start = self.at;
        let is_odd = self.string::<COPY>()?;
        if node == NONE {
            return Some(());
        }
        let (start, end) = (u32::try_from(start + 1).ok()?, u32::try_from(self.at - 1).ok()?);
        self.note(node, Part { kind: Kind::String, is_odd, start, end, ..Part::default() })
    }

    /// A value that is no string.
    fn other_value<const COPY: bool>(&mut self, node: NodeId, depth: usize) -> Option<()> {
        let (start, text_start) = (self.at, self.end);
        let mut part = Part::default();
        match self.byte()? {
            open @ (b'{' | b'[') => {
                if depth == DEPTH_MAX {
                    return None;
                }
                let is_wanted = !COPY && node != NONE && self.nodes[usize::from(node)].wants_text;
                part.kind = if open == b'{' { Kind::Object } else { Kind::Array };
                match (open == b'{', COPY || is_wanted) {
                    (true, true) => self.object::<true>(node, depth)?,
                    (true, false) => self.object::<false>(node, depth)?,
                    (false, true) => self.array::<true>(node, depth)?,
                    (false, false) => self.array::<false>(node, depth)?,
                }
            }
            b't' => {
                self.word::<COPY>(b"true")?;
                part.kind = Kind::True;
            }
            b'f' => {
                self.word::<COPY>(b"false")?;
                part.kind = Kind::False;
            }
            b'n' => {
                self.word::<COPY>(b"null")?;
                part.kind = Kind::Null;
            }
            _ => {
                part.is_odd = self.number::<COPY>()?;
                part.kind = Kind::Number;
            }
        }
        if node == NONE {
            return Some(());
        }
        part.start = u32::try_from(start).ok()?;
        part.end = u32::try_from(self.at).ok()?;
        part.text_start = u32::try_from(text_start).ok()?;
        part.text_end = u32::try_from(self.end).ok()?;
        self.note(node, part)
    }

    #[inline(always)]
    fn note(&mut self, node: NodeId, part: Part) -> Option<()> {
        *self.parts.get_mut(usize::from(node))? = part;
        Some(())
    }

    fn word<const COPY: bool>(&mut self, word: &[u8]) -> Option<()> {
        if !self.bytes[self.at..].starts_with(word) {
            return None;
        }
        if COPY {
            self.out.get_mut(self.end..self.end + word.len())?.copy_from_slice(word);
            self.end += word.len();
        }
        self.at += word.len();
        Some(())
    }

    fn object<const COPY: bool>(&mut self, node: NodeId, depth: usize) -> Option<()> {
        self.at += 1;
        if COPY {
            self.put(b'{')?;
        }
        let mut names = self.keys.begin();
        let has_parts = node != NONE && !self.nodes[usize::from(node)].children.is_empty();
        if self.space()? == b'}' {
            self.at += 1;
            return if COPY { self.put(b'}') } else { Some(()) };
        }
        loop {
            if self.byte()? != b'"' {
                return None;
            }
            let (start, key_start) = (self.at, self.end);
            let is_escaped = self.string::<COPY>()?;
            let (raw, copied) = (start + 1..self.at - 1, key_start + 1..self.end.wrapping_sub(1));
            // What has just been written is slower to read than what it was copied from.
            let hash = match is_escaped && COPY {
                true => hash(self.out, copied.clone()),
                false if COPY || has_parts => hash(self.bytes, raw.clone()),
                false => 0,
            };
            let child = match (has_parts, is_escaped) {
                (false, _) => NONE,
                (true, false) => self.find_part(node, hash, self.bytes.get(raw)?)?,
                (true, true) if COPY => self.find_part(node, hash, self.out.get(copied.clone())?)?,
                (true, true) => self.find_escaped_part(node, start)?,
            };
            let key_end = self.end;
            if COPY {
                self.keys.add(&mut names, hash, self.out, copied)?;
            }
            if self.space()? != b':' {
                return None;
            }
            self.at += 1;
            if COPY {
                self.put(b':')?;
            }
            self.space()?;
            let value_start = self.end;
            self.value::<COPY>(child, depth + 1)?;
            if COPY && depth == 0 {
                self.note_entry(key_start..key_end, value_start..self.end)?;
            }
            let next = self.space()?;
            self.at += 1;
            if COPY {
                self.put(next)?;
            }
            match next {
                b',' => self.space()?,
                b'}' => break,
                _ => return None,
            };
        }
        self.keys.end(&names);
        Some(())
    }

    fn note_entry(&mut self, key: std::ops::Range<usize>, value: std::ops::Range<usize>) -> Option<()> {
        let Some(entries) = &mut self.entries else { return Some(()) };
        let pair =
            |range: std::ops::Range<usize>| Some((range.start.try_into().ok()?, range.end.try_into().ok()?));
        entries.push(Entry { key: pair(key)?, value: pair(value)? });
        Some(())
    }

    /// The part of a name: [`NONE`] when the program does not read it, `None` when it comes twice.
    #[inline(always)]
    fn find_part(&self, node: NodeId, hash: u32, key: &[u8]) -> Option<NodeId> {
        let above = &self.nodes[usize::from(node)];
        let mut with_hash = above.hashes.iter().zip(&above.children).filter(|(other, _)| **other == hash);
        let found = with_hash.find(|(_, child)| *self.nodes[usize::from(**child)].key == *key);
        match found {
            Some((_, child)) if self.parts.get(usize::from(*child))?.kind != Kind::Missing => None,
            Some((_, child)) => Some(*child),
            None => Some(NONE),
        }
    }

    /// The part of a name with an escape in it, which has not been copied: it begins at a position.
    #[cold]
    fn find_escaped_part(&mut self, node: NodeId, start: usize) -> Option<NodeId> {
        // The name in its one spelling, behind the texts, where the next text will overwrite it.
        let (at, end) = (self.at, self.end);
        self.at = start;
        self.string::<true>()?;
        let key = end + 1..self.end - 1;
        (self.at, self.end) = (at, end);
        let key = self.out.get(key)?;
        self.find_part(node, hash(key, 0..key.len()), key)
    }

    fn array<const COPY: bool>(&mut self, node: NodeId, depth: usize) -> Option<()> {
        self.at += 1;
        if COPY {
            self.put(b'[')?;
        }
        let nodes = self.nodes;
        let children: &[NodeId] = if node == NONE { &[] } else { &nodes[usize::from(node)].children };
        if self.space()? == b']' {
            self.at += 1;
            return if COPY { self.put(b']') } else { Some(()) };
        }
        for index in 0_u32.. {
            let is_wanted = |child: &NodeId| nodes[usize::from(*child)].index == Some(index);
            let child = children.iter().copied().find(is_wanted).unwrap_or(NONE);
            self.value::<COPY>(child, depth + 1)?;
            let next = self.space()?;
            self.at += 1;
            if COPY {
                self.put(next)?;
            }
            match next {
                b',' => self.space()?,
                b']' => break,
                _ => return None,
            };
        }
        Some(())
    }
}
