//! Whole values: checked, passed over, and copied without their whitespace.

use super::{JsonError, Kind, Reader};

/// Deepest nesting of a value that is kept as JSON: BigQuery's limit
/// (<https://cloud.google.com/bigquery/docs/json-data#limitations>: "a nesting limit of 500").
pub(crate) const JSON_LEVELS_MAX: usize = 500;

const WORDS: usize = JSON_LEVELS_MAX.div_ceil(64);

/// Which of the open brackets are objects: a stack of bits.
struct Nesting {
    objects: [u64; WORDS],
    levels: usize,
}

impl Nesting {
    fn new() -> Self {
        Self { objects: [0; WORDS], levels: 0 }
    }

    fn open(&mut self, object: bool) -> Result<(), JsonError> {
        if self.levels == JSON_LEVELS_MAX {
            return Err(JsonError::TooDeep);
        }
        let (word, bit) = (self.levels / 64, self.levels % 64);
        self.objects[word] = self.objects[word] & !(1 << bit) | u64::from(object) << bit;
        self.levels += 1;
        Ok(())
    }

    /// Whether the innermost bracket is an object; `None` when all are closed.
    fn innermost(&self) -> Option<bool> {
        let level = self.levels.checked_sub(1)?;
        Some(self.objects[level / 64] >> (level % 64) & 1 == 1)
    }
}

impl Reader<'_> {
    /// Checks a value and goes behind it.
    pub(crate) fn skip_value(&mut self) -> Result<(), JsonError> {
        let mut nesting = Nesting::new();
        loop {
            match self.peek()? {
                kind @ (Kind::Object | Kind::Array) => {
                    let object = kind == Kind::Object;
                    nesting.open(object)?;
                    self.at += 1;
                    if self.take(if object { b'}' } else { b']' }) {
                        nesting.levels -= 1;
                    } else {
                        if object {
                            self.skip_key()?;
                        }
                        continue;
                    }
                }
                Kind::String => self.skip_string()?,
                Kind::Number => {
                    self.number()?;
                }
                Kind::Bool => {
                    self.boolean()?;
                }
                Kind::Null => self.null()?,
            }
            if !self.skip_to_next(&mut nesting)? {
                return Ok(());
            }
        }
    }

    /// Behind a value: closes brackets until another value follows; false when all are closed.
    fn skip_to_next(&mut self, nesting: &mut Nesting) -> Result<bool, JsonError> {
        while let Some(object) = nesting.innermost() {
            if self.take(b',') {
                if object {
                    self.skip_key()?;
                }
                return Ok(true);
            }
            let (close, what) = if object {
                (b'}', "expected , or } in an object")
            } else {
                (b']', "expected , or ] in an array")
            };
            self.expect(close, what)?;
            nesting.levels -= 1;
        }
        Ok(false)
    }

    fn skip_key(&mut self) -> Result<(), JsonError> {
        self.peek_name()?;
        self.skip_string()?;
        self.expect(b':', "expected : behind a field name")
    }

    /// Reads a value and appends its text to `out`, byte by byte as it stands but without whitespace
    /// between its parts.
    pub(crate) fn raw_value(&mut self, out: &mut Vec<u8>) -> Result<(), JsonError> {
        self.skip_whitespace();
        let start = self.at;
        self.spaced = false;
        self.skip_value()?;
        let value = &self.text.as_bytes()[start..self.at];
        if self.spaced {
            compact(value, out);
        } else {
            out.extend_from_slice(value);
        }
        Ok(())
    }
}

/// Appends a valid document without the whitespace outside of its strings.
fn compact(value: &[u8], out: &mut Vec<u8>) {
    let (mut in_string, mut escaped) = (false, false);
    out.extend(value.iter().filter(|&&byte| {
        let keep = in_string || !byte.is_ascii_whitespace();
        match (in_string, escaped, byte) {
            (true, true, _) => escaped = false,
            (true, false, b'\\') => escaped = true,
            (true, false, b'"') => in_string = false,
            (false, _, b'"') => in_string = true,
            _ => {}
        }
        keep
    }));
}
