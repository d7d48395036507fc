//! A stream of bytes into lines or JSON values, at most one of them in memory.

use std::io::{self, Read};

use crate::json::Reader;

/// Bytes asked of the input at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// A line, or a JSON value that may span lines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unit<'b> {
    /// The line that it begins on, from 1.
    pub(super) line: u64,
    /// Its bytes without surrounding white space; `None` when it is longer than the limit.
    pub(super) bytes: Option<&'b [u8]>,
}

/// How the input is divided, decided by its first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Lines,
    /// Values wherever they begin and end; inside a top-level array or not.
    Values {
        in_array: bool,
    },
}

/// Divides an input.
pub(super) struct Splitter<R> {
    input: R,
    buffer: Vec<u8>,
    /// Where in the buffer what was not given out begins.
    at: usize,
    ended: bool,
    /// The line at `at`, from 1.
    line: u64,
    mode: Option<Mode>,
    unit_bytes_max: usize,
    /// Bytes read off the input.
    pub(super) bytes_read: u64,
}

/// How far a JSON value was followed.
#[derive(Debug, Default, Clone, Copy)]
struct Follow {
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// Neither a container nor a string: it ends where something else begins.
    bare: bool,
}

impl<R: Read> Splitter<R> {
    pub(super) fn new(input: R, unit_bytes_max: usize) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            at: 0,
            ended: false,
            line: 1,
            mode: None,
            unit_bytes_max,
            bytes_read: 0,
        }
    }

    /// The next unit; blank lines are none.
    pub(super) fn next(&mut self) -> io::Result<Option<Unit<'_>>> {
        let mode = match self.mode {
            Some(mode) => mode,
            None => self.detect()?,
        };
        self.mode = Some(mode);
        match mode {
            Mode::Lines => self.next_line(),
            Mode::Values { in_array } => self.next_value(in_array),
        }
    }

    /// Reads more; whether there was more.
    fn fill(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let start = self.buffer.len();
        let read = (&mut self.input).take(CHUNK_BYTES as u64).read_to_end(&mut self.buffer)?;
        debug_assert_eq!(start + read, self.buffer.len());
        self.bytes_read += read as u64;
        self.ended = read == 0;
        Ok(read > 0)
    }

    fn skip_space(&mut self, commas: bool) -> io::Result<()> {
        loop {
            let rest = &self.buffer[self.at..];
            let blank = |byte: &u8| byte.is_ascii_whitespace() || (commas && *byte == b',');
            let length = rest.iter().take_while(|byte| blank(byte)).count();
            let whole = length == rest.len();
            self.advance(length);
            if !whole || !self.fill()? {
                return Ok(());
            }
        }
    }

    /// Moves on, counting lines.
    fn advance(&mut self, length: usize) {
        self.line += memchr::memchr_iter(b'\n', &self.buffer[self.at..self.at + length]).count() as u64;
        self.at += length;
    }

    /// A first line that is a whole JSON value, or nothing like the beginning of one, means lines. A
    /// line that breaks off where a pretty-printer would break it means values. (A damaged first line of
    /// a file of lines breaks off elsewhere.)
    fn detect(&mut self) -> io::Result<Mode> {
        self.fill()?;
        if self.buffer[self.at..].starts_with("\u{feff}".as_bytes()) {
            self.at += 3;
        }
        self.skip_space(false)?;
        let end = self.find_newline(0)?.0;
        let line = self.buffer[self.at..self.at + end].trim_ascii();
        let whole = std::str::from_utf8(line).is_ok_and(|text| {
            let mut reader = Reader::new(text);
            reader.skip(usize::MAX).and_then(|_| reader.finish()).is_ok()
        });
        Ok(match (line.first(), line.last()) {
            (Some(b'['), _) => Mode::Values { in_array: false },
            (Some(b'{'), Some(b'{' | b'[' | b',' | b':')) if !whole => Mode::Values { in_array: false },
            _ => Mode::Lines,
        })
    }

    /// How far the next newline is, or the limit or the end of the input if those come first; and
    /// whether it is a newline. Looks from `from` on.
    fn find_newline(&mut self, mut from: usize) -> io::Result<(usize, bool)> {
        loop {
            let rest = &self.buffer[self.at..];
            if let Some(position) = memchr::memchr(b'\n', &rest[from..]) {
                return Ok((from + position, true));
            }
            from = rest.len();
            if from > self.unit_bytes_max || !self.fill()? {
                return Ok((from, false));
            }
        }
    }

    fn next_line(&mut self) -> io::Result<Option<Unit<'_>>> {
        loop {
            let (length, newline) = self.find_newline(0)?;
            let line = self.line;
            if length > self.unit_bytes_max {
                self.skip_line()?;
                return Ok(Some(Unit { line, bytes: None }));
            }
            let start = self.at;
            self.at += length + usize::from(newline);
            self.line += u64::from(newline);
            if !self.buffer[start..start + length].trim_ascii().is_empty() {
                let bytes = self.buffer[start..start + length].trim_ascii();
                return Ok(Some(Unit { line, bytes: Some(bytes) }));
            }
            if !newline {
                return Ok(None);
            }
        }
    }

    /// Moves behind the current line without keeping it.
    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let rest = &self.buffer[self.at..];
            if let Some(position) = memchr::memchr(b'\n', rest) {
                self.advance(position + 1);
                return Ok(());
            }
            self.at = self.buffer.len();
            if !self.fill()? {
                return Ok(());
            }
        }
    }

    fn next_value(&mut self, mut in_array: bool) -> io::Result<Option<Unit<'_>>> {
        loop {
            self.skip_space(in_array)?;
            match self.buffer.get(self.at) {
                None => return Ok(None),
                Some(b'[') if !in_array => in_array = true,
                Some(b']') if in_array => in_array = false,
                Some(_) => break,
            }
            self.at += 1;
        }
        self.mode = Some(Mode::Values { in_array });
        let line = self.line;
        let (length, kept) = self.follow_value()?;
        let start = self.at;
        self.advance(length);
        let bytes = kept.then(|| self.buffer[start..start + length].trim_ascii());
        Ok(Some(Unit { line, bytes }))
    }

    /// The length of the value that begins here, and whether all of it is still in the buffer.
    fn follow_value(&mut self) -> io::Result<(usize, bool)> {
        let mut follow = Follow::default();
        let (mut length, mut kept) = (0, true);
        loop {
            while let Some(&byte) = self.buffer.get(self.at + length) {
                let (take, end) = follow.step(byte, length == 0 && kept);
                length += usize::from(take);
                if end {
                    return Ok((length, kept));
                }
            }
            if length > self.unit_bytes_max {
                self.advance(length);
                (length, kept) = (0, false);
            }
            if !self.fill()? {
                return Ok((length, kept));
            }
        }
    }
}

impl Follow {
    /// Goes over one byte: whether it belongs to the value, and whether the value ends.
    fn step(&mut self, byte: u8, first: bool) -> (bool, bool) {
        if first {
            self.bare = !matches!(byte, b'{' | b'[' | b'"');
        } else if self.bare {
            let end = byte.is_ascii_whitespace() || matches!(byte, b',' | b']' | b'}');
            return (!end, end);
        }
        if self.in_text {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => {
                    self.in_text = false;
                    return (true, self.depth == 0);
                }
                _ => {}
            }
            return (true, false);
        }
        match byte {
            b'"' if !self.bare => self.in_text = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' if !self.bare => {
                self.depth = self.depth.saturating_sub(1);
                return (true, self.depth == 0);
            }
            _ => {}
        }
        (true, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes one at a time, as a slow pipe does.
    struct Trickle<'b>(&'b [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.0.len().min(1).min(buffer.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    fn units(input: &[u8], max: usize) -> Vec<(u64, Option<String>)> {
        let mut splitter = Splitter::new(Trickle(input), max);
        let mut units = Vec::new();
        while let Some(unit) = splitter.next().unwrap() {
            units.push((unit.line, unit.bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())));
        }
        assert_eq!(splitter.bytes_read, input.len() as u64);
        units
    }

    #[test]
    fn every_kind_of_file_is_divided() {
        let some = |line: u64, text: &str| (line, Some(text.to_owned()));
        for (input, expected) in [
            ("", vec![]),
            ("\n \n", vec![]),
            ("{\"a\":1}\n\n{\"b\":2}", vec![some(1, "{\"a\":1}"), some(3, "{\"b\":2}")]),
            ("\u{feff}{\"a\":1}\r\n", vec![some(1, "{\"a\":1}")]),
            ("hello\n{\"a\":\n{}\n", vec![some(1, "hello"), some(2, "{\"a\":"), some(3, "{}")]),
            ("{\"a\": 1\n{\"b\":2}\n", vec![some(1, "{\"a\": 1"), some(2, "{\"b\":2}")]),
            (
                "{\n \"a\": \"}\\\"\"\n}\n{\"b\":2}\n",
                vec![some(1, "{\n \"a\": \"}\\\"\"\n}"), some(4, "{\"b\":2}")],
            ),
            (
                "[{\"a\":1},\n{\"b\":[2]}, 5,\"x,\"]",
                vec![some(1, "{\"a\":1}"), some(2, "{\"b\":[2]}"), some(2, "5"), some(2, "\"x,\"")],
            ),
            ("[\n  {\n    \"a\": 1\n  }\n]\n", vec![some(2, "{\n    \"a\": 1\n  }")]),
            ("{\"resourceLogs\": [\n {}, {\n", vec![some(1, "{\"resourceLogs\": [\n {}, {")]),
            ("[}x,{}]", vec![some(1, "}x"), some(1, "{}")]),
        ] {
            assert_eq!(units(input.as_bytes(), 1000), expected, "{input:?}");
        }
    }

    #[test]
    fn what_is_too_long_is_passed_over() {
        let long = "x".repeat(2 * CHUNK_BYTES);
        let lines = format!("{{}}\n{long}\n{{\"b\":2}}\n");
        let units_of = |text: &str| {
            let mut splitter = Splitter::new(text.as_bytes(), 1000);
            let mut lengths = Vec::new();
            while let Some(unit) = splitter.next().unwrap() {
                lengths.push((unit.line, unit.bytes.map(<[u8]>::len)));
            }
            lengths
        };
        assert_eq!(units_of(&lines), [(1, Some(2)), (2, None), (3, Some(7))]);
        assert_eq!(
            units_of(&format!("[{{}},\n{{\"{long}\":1}},\n{{\"b\":2}}]")),
            [(1, Some(2)), (2, None), (3, Some(7))]
        );
        assert_eq!(units_of(&long), [(1, None)]);
    }
}
