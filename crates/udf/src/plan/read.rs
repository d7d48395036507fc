//! Reads the scripts, on a thread of its own: the reader calls itself for each level of nesting, and a
//! script may have as many levels as it has characters.

use std::thread;

use oxc_allocator::Allocator;
use oxc_ast::ast::Program;
use oxc_parser::{ParseOptions, Parser};
use oxc_span::SourceType;

use super::explain::{Obstacle, place};
use super::lower::{self, Lowered, ScriptAst};
use crate::config::Script;

/// Longest scripts, all together, that are read for a plan.
const SOURCE_BYTES_MAX: usize = 64 * 1024;

/// Deepest nesting of brackets, those in strings and comments included.
const BRACKETS_MAX: usize = 200;

/// Stack of the reading thread: a few kilobytes for each character that can be a level of its own. It is
/// address space; memory is only what is used.
const STACK_BYTES: usize = 512 * 1024 * 1024;

/// Reads and lowers the scripts.
pub(super) fn read(scripts: &[Script], function: &str) -> Result<Lowered, Obstacle> {
    let first = scripts.first().map_or("", |script| &script.name);
    let whole = |construct: String| Obstacle { script: first.to_owned(), line: 0, column: 0, construct };
    let bytes: usize = scripts.iter().map(|script| script.source.len()).sum();
    if bytes > SOURCE_BYTES_MAX {
        return Err(whole(format!("the scripts have {bytes} bytes, more than {SOURCE_BYTES_MAX}")));
    }
    if scripts.iter().any(|script| brackets(&script.source) > BRACKETS_MAX) {
        return Err(whole(format!("brackets nest deeper than {BRACKETS_MAX}")));
    }
    thread::scope(|scope| {
        let reader = thread::Builder::new().name("udf-plan".to_owned()).stack_size(STACK_BYTES);
        let reader = reader.spawn_scoped(scope, || read_here(scripts, function));
        match reader.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(found)) => found,
            Ok(Err(_)) => Err(whole("the script's reader failed on it".to_owned())),
            Err(error) => Err(whole(format!("no thread to read the script: {error}"))),
        }
    })
}

fn brackets(source: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn read_here(scripts: &[Script], function: &str) -> Result<Lowered, Obstacle> {
    let allocator = Allocator::default();
    let trees = scripts.iter().map(|script| parse(&allocator, script)).collect::<Result<Vec<_>, _>>()?;
    let scripts = scripts.iter().zip(&trees);
    let scripts: Vec<ScriptAst<'_>> =
        scripts.map(|(script, ast)| ScriptAst { name: &script.name, source: &script.source, ast }).collect();
    lower::lower(&scripts, function)
}

fn parse<'a>(allocator: &'a Allocator, script: &'a Script) -> Result<Program<'a>, Obstacle> {
    let options = ParseOptions { preserve_parens: false, ..ParseOptions::default() };
    let parsed = Parser::new(allocator, &script.source, SourceType::script()).with_options(options).parse();
    if let Some(problem) = parsed.diagnostics.first() {
        let at = problem.labels.first().map(|label| label.offset());
        let (line, column) = at.map_or((0, 0), |at| place(&script.source, at));
        let construct = format!("what its reader does not take: {problem}");
        return Err(Obstacle { script: script.name.clone(), line, column, construct });
    }
    if parsed.panicked || parsed.program.hashbang.is_some() {
        let construct = "what its reader does not take".to_owned();
        return Err(Obstacle { script: script.name.clone(), line: 0, column: 0, construct });
    }
    Ok(parsed.program)
}
