//! Gets scripts into an engine: what they find there, in what order they run, and what is said when
//! they or their function are not right.

use std::collections::BTreeSet;
use std::sync::Arc;

use rquickjs::context::EvalOptions;
use rquickjs::{Atom, Ctx, Function, Persistent, Value};

use crate::config::{Script, UdfConfig, UdfError};
use crate::pulse::Pulse;
use crate::stats::Counters;
use crate::stringify;
use crate::thrown::{self, Thrown};
use crate::{console, foreign, frozen};

/// Least similarity (Jaro-Winkler, 0 to 1) for a name to be offered in place of a missing one.
const SIMILARITY_MIN: f64 = 0.7;

/// Escapes lone surrogates in JSON text, or makes a JSON string of the text. Evaluated before the user's scripts and holding on to the
/// built-ins it needs, so that a script that changes prototypes cannot reach it.
const ESCAPE: &str = r#"
(function () {
    "use strict";
    var apply = Reflect.apply, codeAt = String.prototype.charCodeAt, cut = String.prototype.slice;
    var digits = "0123456789abcdef", quote = JSON.stringify;
    return function (text, isQuoted) {
        if (isQuoted) return quote(text);
        var out = "", from = 0, length = text.length;
        for (var i = 0; i < length; i++) {
            var code = apply(codeAt, text, [i]);
            if (code < 0xd800 || code > 0xdfff) continue;
            if (code < 0xdc00 && i + 1 < length) {
                var next = apply(codeAt, text, [i + 1]);
                if (next >= 0xdc00 && next <= 0xdfff) { i++; continue; }
            }
            out += apply(cut, text, [from, i]) + "\\ud" + digits[(code >> 8) & 15] + digits[(code >> 4) & 15]
                + digits[code & 15];
            from = i + 1;
        }
        return out + apply(cut, text, [from, length]);
    };
})()
"#;

/// Loaded scripts.
pub(crate) struct Loaded {
    pub function: Persistent<Function<'static>>,
    /// Whether the function is a property of the global object.
    pub is_global: bool,
    /// See [`ESCAPE`].
    pub escape: Persistent<Function<'static>>,
    /// Sets time and seeds before each message, where they are the message's own.
    pub freeze: Option<Persistent<Function<'static>>>,
    /// How many parameters the function declares.
    pub parameters: usize,
}

/// Evaluates all scripts in `ctx` and finds the function.
pub(crate) fn load(
    ctx: &Ctx<'_>,
    config: &UdfConfig,
    pulse: &Arc<Pulse>,
    counters: &Arc<Counters>,
) -> Result<Loaded, UdfError> {
    let prepared = stringify::install(ctx, pulse, config.heap_bytes_max)
        .and_then(|()| prepare(ctx, pulse, counters, config));
    let (escape, freeze) = prepared.map_err(|error| {
        let reason = if error.is_exception() { Thrown::catch(ctx).text() } else { error.to_string() };
        UdfError::Engine(reason)
    })?;
    let built_in = global_functions(ctx);
    for script in &config.scripts {
        evaluate(ctx, &script.source, &script.name).map_err(|thrown| script_error(script, &thrown))?;
    }
    // Jobs left by top-level code (a promise) is as much part of loading as the code itself.
    for _ in 0..crate::engine::JOBS_PER_MESSAGE_MAX {
        if !ctx.execute_pending_job() {
            break;
        }
    }
    let function = find(ctx, &config.function, &built_in)?;
    let parameters = function.get::<_, usize>("length").unwrap_or(0);
    let is_global = ctx.globals().contains_key(config.function.as_str()).unwrap_or(false);
    Ok(Loaded {
        is_global,
        freeze: freeze.map(|freeze| Persistent::save(ctx, freeze)),
        function: Persistent::save(ctx, function),
        escape: Persistent::save(ctx, escape),
        parameters,
    })
}

/// Adds what a script may expect of its host beyond the language: `console`, and Nashorn's `print`.
/// There is nothing else: no modules, files, network, timers or environment.
fn prepare<'js>(
    ctx: &Ctx<'js>,
    pulse: &Arc<Pulse>,
    counters: &Arc<Counters>,
    config: &UdfConfig,
) -> rquickjs::Result<(Function<'js>, Option<Function<'js>>)> {
    console::install(ctx, pulse, counters, config.console)?;
    let freeze = config.reproducible.then(|| frozen::install(ctx)).transpose()?;
    Ok((ctx.eval(ESCAPE)?, freeze))
}

/// Evaluates as a script in the global scope, not strict: the template's scripts are written so.
fn evaluate<'js>(ctx: &Ctx<'js>, source: &str, name: &str) -> Result<Value<'js>, Thrown> {
    let mut options = EvalOptions::default();
    options.strict = false;
    options.filename = Some(name.to_owned());
    ctx.eval_with_options(source, options).map_err(|error| match error {
        rquickjs::Error::Exception => Thrown::catch(ctx),
        other => Thrown { name: String::new(), message: other.to_string(), stack: None, is_null: false },
    })
}

fn script_error(script: &Script, thrown: &Thrown) -> UdfError {
    if thrown.name == "SyntaxError" {
        let line = thrown.line_in(&script.name);
        let mut message = thrown.message.clone();
        if let Some(hint) = foreign::hint_on_syntax(&script.source, line) {
            message.push_str(hint);
        }
        return UdfError::Syntax { script: script.name.clone(), line, message };
    }
    UdfError::Load { script: script.name.clone(), message: thrown.text(), stack: thrown.stack.clone() }
}

/// Looks the name up as a script would, so that `const f = ...` is found as well as `function f`.
fn find<'js>(ctx: &Ctx<'js>, name: &str, built_in: &BTreeSet<String>) -> Result<Function<'js>, UdfError> {
    let value = match evaluate(ctx, name, "function name") {
        Ok(value) if !value.is_undefined() => value,
        _ => {
            let own = global_functions(ctx);
            let nearest = nearest(name, own.difference(built_in));
            return Err(UdfError::FunctionMissing { function: name.to_owned(), nearest });
        }
    };
    let kind = thrown::kind(&value).to_owned();
    value.into_function().ok_or_else(|| UdfError::NotAFunction { function: name.to_owned(), kind })
}

fn global_functions(ctx: &Ctx<'_>) -> BTreeSet<String> {
    let globals = ctx.globals();
    // Not as `String`: the binding takes an atom's bytes unchecked, and a name may hold a lone surrogate.
    let atoms: Vec<Atom<'_>> = globals.keys().filter_map(Result::ok).collect();
    let names = atoms.iter().filter_map(|atom| atom.to_js_string().and_then(|name| name.to_string()).ok());
    let names: Vec<String> = names.collect();
    names.into_iter().filter(|name| globals.get::<_, Function<'_>>(name.as_str()).is_ok()).collect()
}

fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a String>) -> Option<String> {
    let similarity = |candidate: &String| {
        let (name, candidate) = (name.to_lowercase(), candidate.to_lowercase());
        strsim::jaro_winkler(&name, &candidate)
    };
    let scored = candidates.map(|candidate| (similarity(candidate), candidate));
    let best = scored.filter(|(score, _)| *score >= SIMILARITY_MIN).max_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, candidate)| candidate.clone())
}
