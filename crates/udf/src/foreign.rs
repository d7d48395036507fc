//! What other engines have and this one has not: a script that was written for them is told so, rather
//! than "not defined" or "unexpected token" alone. Nashorn is what the Dataflow template runs (its
//! extensions: <https://wiki.openjdk.org/display/Nashorn/Nashorn+extensions>).

use crate::thrown::Thrown;

/// Globals that are elsewhere.
const NAMES: [(&[&str], &str); 5] = [
    (
        &["load", "loadWithNewGlobal"],
        "; Nashorn loads files with it: put all .js files into the UDF's folder",
    ),
    (
        &[
            "Java",
            "java",
            "javax",
            "org",
            "com",
            "Packages",
            "JavaImporter",
            "JSAdapter",
            "importClass",
            "importPackage",
        ],
        "; it is Nashorn's way to Java, which is not here: write it in JavaScript",
    ),
    (
        &[
            "quit",
            "exit",
            "readLine",
            "readFully",
            "arguments",
            "__FILE__",
            "__DIR__",
            "__LINE__",
            "$ENV",
            "$EXEC",
        ],
        "; it belongs to Nashorn's shell and is not here",
    ),
    (
        &["require", "process", "Buffer", "module", "exports", "__dirname", "__filename", "global"],
        "; it belongs to Node and is not here: all .js files of the UDF's folder share their globals",
    ),
    (
        &[
            "setTimeout",
            "setInterval",
            "setImmediate",
            "fetch",
            "XMLHttpRequest",
            "window",
            "document",
            "crypto",
            "TextDecoder",
            "TextEncoder",
            "URL",
            "Intl",
        ],
        "; it belongs to browsers and is not here",
    ),
];

/// Nashorn's and Mozilla's syntax that is no ECMAScript, by how a line with it looks.
const SYNTAX: [(&[&str], &str); 2] = [
    (&["for each ", "for each("], "; `for each` is Mozilla's and Nashorn's: write `for (const x of ...)`"),
    (
        &["catch (", "catch("],
        "; if this is a conditional catch clause, that is Nashorn's: test inside the block",
    ),
];

/// A hint on a ReferenceError, when its name is known from elsewhere.
pub(crate) fn hint_on_name(thrown: &Thrown) -> Option<&'static str> {
    if thrown.name != "ReferenceError" {
        return None;
    }
    let name = thrown.message.strip_suffix(" is not defined")?.trim_matches('\'');
    NAMES.iter().find(|(names, _)| names.contains(&name)).map(|(_, hint)| *hint)
}

/// A hint on a syntax error at `line` (counted from 1) of a script.
pub(crate) fn hint_on_syntax(source: &str, line: Option<u32>) -> Option<&'static str> {
    let index = usize::try_from(line?.checked_sub(1)?).ok()?;
    let line = source.lines().nth(index)?;
    let (_, hint) = SYNTAX.iter().find(|(marks, _)| marks.iter().any(|mark| line.contains(mark)))?;
    // A plain catch clause is no sign of anything.
    let is_plain_catch = !line.contains("for each") && !line.contains(" if ");
    (!is_plain_catch).then_some(*hint)
}
