//! What a UDF's text tells without running it: where the function returns nothing, and what the template's
//! JavaScript engine (Nashorn) and ours take differently. It reads syntax only and says "may" where a value
//! is not plain to see.

mod flow;
mod functions;
mod language;
mod returns;
mod values;

use oxc_allocator::Allocator;
use oxc_parser::{ParseOptions, Parser, ParserReturn};
use oxc_span::{GetSpan as _, SourceType};

use functions::Functions;

/// Longest script that is read, in bytes.
pub(crate) const SCRIPT_BYTES_MAX: usize = 1 << 18;

/// Stack of the thread that reads scripts, in bytes: parser and visitors go as deep as the text does. Only
/// what is touched becomes memory.
const STACK_BYTES: usize = 8 * 1024 * SCRIPT_BYTES_MAX;

/// Most findings that are kept of one call; what is beyond is counted.
const FINDINGS_MAX: usize = 500;

/// One script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptText {
    /// Its file's name.
    pub name: String,
    /// Its text.
    pub source: String,
}

/// What a line of a script leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// The function returns null, undefined or "": the template drops the message silently.
    Drops,
    /// The same, depending on values.
    MayDrop,
    /// The function returns something else than text: a dead letter in both.
    NotText,
    /// No engine takes it.
    InNeither,
    /// Only the template's engine takes it.
    OnlyNashorn,
    /// Only ours takes it: no way back to the template with it.
    OnlyMillrace,
    /// Both take it and may give different values.
    MayDiffer,
    /// A variable outlives the message: engines are as many as workers here, one for each machine there.
    KeepsState,
    /// Another value each time: a replay gives another row.
    NotReproducible,
}

/// A line of a script and what it leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The script's name.
    pub script: String,
    /// The line, counted from 1.
    pub line: u32,
    /// What it leads to.
    pub effect: Effect,
    /// What is there.
    pub text: String,
}

/// What the scripts of a UDF tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scripts {
    /// By script and line.
    pub findings: Vec<Finding>,
    /// Findings beyond the limit.
    pub findings_left_out: usize,
    /// Whether the function that was asked for is there; `None` when none was.
    pub function_found: Option<bool>,
    /// How many parameters it declares.
    pub parameters: Option<usize>,
    /// The global function whose name is nearest to one that is missing.
    pub nearest: Option<String>,
    /// Scripts that cannot be parsed, with the reason. Nothing else is known of them.
    pub unreadable: Vec<(String, String)>,
}

impl Scripts {
    /// Reads the scripts of one global scope, in the order in which they are loaded.
    #[must_use]
    pub fn read(texts: &[ScriptText], function: Option<&str>) -> Self {
        std::thread::scope(|scope| {
            let reader = std::thread::Builder::new()
                .name("script-reader".to_owned())
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, || read(texts, function));
            let reason = match reader {
                Ok(reader) => match reader.join() {
                    Ok(scripts) => return scripts,
                    Err(_) => "reading it failed".to_owned(),
                },
                Err(error) => format!("no thread to read it in: {error}"),
            };
            let unreadable = texts.iter().map(|text| (text.name.clone(), reason.clone())).collect();
            Self { unreadable, ..Self::default() }
        })
    }
}

fn read(texts: &[ScriptText], function: Option<&str>) -> Scripts {
    let allocators: Vec<Allocator> = texts.iter().map(|_| Allocator::default()).collect();
    let mut scripts = Scripts::default();
    let mut sources = Vec::new();
    for (text, allocator) in texts.iter().zip(&allocators) {
        match parse(text, allocator) {
            Ok(parsed) => sources.push(Source { name: &text.name, lines: Lines::of(&text.source), parsed }),
            Err(reason) => scripts.unreadable.push((text.name.clone(), reason)),
        }
    }
    let functions = Functions::of(&sources);
    let mut findings = language::findings(&sources);
    if let Some(name) = function {
        scripts.function_found = Some(functions.get(name).is_some());
        scripts.parameters = functions.get(name).map(functions::Known::parameters);
        scripts.nearest = functions.nearest(name);
        returns::findings(&sources, &functions, name, &mut findings);
    }
    findings.sort();
    findings.dedup();
    scripts.findings_left_out = findings.len().saturating_sub(FINDINGS_MAX);
    findings.truncate(FINDINGS_MAX);
    scripts.findings = findings;
    scripts
}

fn parse<'a>(text: &'a ScriptText, allocator: &'a Allocator) -> Result<ParserReturn<'a>, String> {
    if text.source.len() > SCRIPT_BYTES_MAX {
        return Err(format!("it has {} bytes; at most {SCRIPT_BYTES_MAX} are read", text.source.len()));
    }
    let options = ParseOptions { allow_return_outside_function: false, ..ParseOptions::default() };
    let parsed = Parser::new(allocator, &text.source, SourceType::script()).with_options(options).parse();
    let lines = Lines::of(&text.source);
    if let Some(first) = parsed.diagnostics.iter().next() {
        let at = first.labels.iter().next().map_or(0, |label| label.offset());
        let line = lines.line(at);
        return Err(format!("line {line}: {}", first.message));
    }
    // The parser leaves this to later passes.
    if let Some(module) = parsed.program.body.iter().find(|statement| statement.is_module_declaration()) {
        let line = lines.line(module.span().start);
        return Err(format!("line {line}: import and export: scripts are no modules, in no engine"));
    }
    Ok(parsed)
}

/// A parsed script.
struct Source<'a> {
    name: &'a str,
    lines: Lines,
    parsed: ParserReturn<'a>,
}

impl Source<'_> {
    fn finding(&self, at: u32, effect: Effect, text: impl Into<String>) -> Finding {
        Finding { script: self.name.to_owned(), line: self.lines.line(at), effect, text: text.into() }
    }
}

/// Where the lines of a text begin.
struct Lines(Vec<u32>);

impl Lines {
    fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = ends.filter_map(|(at, _)| u32::try_from(at + 1).ok());
        Self(std::iter::once(0).chain(starts).collect())
    }

    /// The line of a byte, counted from 1.
    fn line(&self, at: u32) -> u32 {
        u32::try_from(self.0.partition_point(|start| *start <= at)).unwrap_or(u32::MAX)
    }
}
