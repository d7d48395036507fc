//! What is said about a script: whether it runs as a plan, and what stands in the way.

use std::fmt;

/// A construct that a native plan has no equal for, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The script, by its name in the configuration.
    pub script: String,
    /// The line, counted from 1; 0 when no single place is to blame.
    pub line: u32,
    /// The column in characters, counted from 1; 0 likewise.
    pub column: u32,
    /// What stands there, for instance "a call of `toUpperCase`".
    pub construct: String,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return write!(formatter, "{}: {}", self.script, self.construct);
        }
        write!(formatter, "{}:{}:{}: {}", self.script, self.line, self.column, self.construct)
    }
}

/// How a UDF runs, and why. Its text is for a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explanation {
    /// Whether there is a native plan.
    pub is_native: bool,
    /// Without a plan: what stands in its way, the first thing met. With one: the branches that it leaves
    /// to JavaScript; a message that gets there runs in the engine as a whole.
    pub obstacles: Vec<Obstacle>,
    /// With a plan: what it reads of a message, as paths, in the order met.
    pub reads: Vec<String>,
    /// With a plan: the fields of the rows that it makes, in the order met.
    pub writes: Vec<String>,
    /// With a plan: whether rows are handed to the table as JSON text because the parsed message itself is
    /// changed and returned, so that its fields are known only as they come.
    pub is_open: bool,
}

impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_native {
            writeln!(formatter, "runs in JavaScript; what stands in the way of a native plan:")?;
            return self.obstacles.iter().try_for_each(|obstacle| writeln!(formatter, "  {obstacle}"));
        }
        writeln!(formatter, "runs as a native plan")?;
        writeln!(formatter, "  reads: {}", list(&self.reads))?;
        let rest = if self.is_open { " and whatever else the message has" } else { "" };
        writeln!(formatter, "  writes: {}{rest}", list(&self.writes))?;
        if !self.obstacles.is_empty() {
            writeln!(formatter, "  a message that gets to one of these places runs in JavaScript:")?;
        }
        self.obstacles.iter().try_for_each(|obstacle| writeln!(formatter, "    {obstacle}"))
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// The line and column of a byte of a text, both counted from 1.
pub(crate) fn place(source: &str, offset: u32) -> (u32, u32) {
    let end = source.floor_char_boundary(offset as usize);
    let before = &source[..end];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
    let column = before[line_start..].chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}
