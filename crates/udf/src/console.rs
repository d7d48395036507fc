//! `console` and Nashorn's `print`: lines of the log, so many a second, however much a script has to say.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rquickjs::function::Rest;
use rquickjs::{Ctx, Exception, Function, Object, Result, Value};

use crate::pulse::Pulse;
use crate::stats::{Counters, add};
use crate::thrown;
use crate::verdict::clip;

/// Lines that one UDF may write each second, over all its engines.
const LINES_PER_SECOND: u32 = 10;

/// Lines that it may write at once after a pause.
const LINES_AT_ONCE_MAX: u32 = 50;

/// Longest line, in bytes.
const LINE_BYTES_MAX: usize = 1024;

/// Most arguments of one call that are written.
const ARGUMENTS_MAX: usize = 16;

/// The methods of `console`, by the level of the log that they write at. Others are there and count only.
const METHODS: [(&str, Level); 7] = [
    ("debug", Level::Debug),
    ("error", Level::Error),
    ("info", Level::Info),
    ("log", Level::Info),
    ("trace", Level::Debug),
    ("warn", Level::Warn),
    ("dir", Level::Info),
];
const SILENT_METHODS: [&str; 9] =
    ["assert", "count", "group", "groupCollapsed", "groupEnd", "table", "time", "timeEnd", "timeLog"];

#[derive(Debug, Clone, Copy)]
enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// Puts `console` and `print` into an engine. They count their calls, and write lines when `writes`.
pub(crate) fn install(
    ctx: &Ctx<'_>,
    pulse: &Arc<Pulse>,
    counters: &Arc<Counters>,
    writes: bool,
) -> Result<()> {
    let writer = |level: Option<Level>| writer(ctx, pulse, counters, level.filter(|_| writes));
    let console = Object::new(ctx.clone())?;
    for (name, level) in METHODS {
        console.set(name, writer(Some(level))?)?;
    }
    for name in SILENT_METHODS {
        console.set(name, writer(None)?)?;
    }
    ctx.globals().set("console", console)?;
    ctx.globals().set("print", writer(Some(Level::Info))?)
}

fn writer<'js>(
    ctx: &Ctx<'js>,
    pulse: &Arc<Pulse>,
    counters: &Arc<Counters>,
    level: Option<Level>,
) -> Result<Function<'js>> {
    let (pulse, counters) = (Arc::clone(pulse), Arc::clone(counters));
    let call = one_lifetime(move |ctx, arguments| {
        add(&counters.console_calls, 1);
        let Some(level) = level else { return Ok(()) };
        // Before the arguments are looked at: turning them into text may run the script's own code, and
        // takes time.
        let Some(dropped) = counters.console_rate.admit(Instant::now()) else {
            add(&counters.console_lines_dropped, 1);
            return Ok(());
        };
        let line = line(&ctx, &arguments.0);
        if pulse.is_stopped() {
            // The engine's own exception went with the text of an argument.
            return Err(Exception::throw_internal(&ctx, "interrupted"));
        }
        write(level, &line, dropped);
        Ok(())
    });
    Function::new(ctx.clone(), call)
}

/// Tells the compiler what it does not infer: all of a closure's arguments are of one engine.
fn one_lifetime<F>(closure: F) -> F
where
    F: for<'js> Fn(Ctx<'js>, Rest<Value<'js>>) -> Result<()>,
{
    closure
}

fn line<'js>(ctx: &Ctx<'js>, arguments: &[Value<'js>]) -> String {
    let mut line = String::new();
    for argument in arguments.iter().take(ARGUMENTS_MAX) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&thrown::describe(ctx, argument));
        if line.len() > LINE_BYTES_MAX {
            break;
        }
    }
    one_line(&clip(line, LINE_BYTES_MAX))
}

/// Escapes control characters, so that a message cannot forge lines of the log or steer a terminal.
fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

fn write(level: Level, line: &str, dropped: u64) {
    match level {
        Level::Debug => tracing::debug!(target: "udf_console", dropped, "{line}"),
        Level::Info => tracing::info!(target: "udf_console", dropped, "{line}"),
        Level::Warn => tracing::warn!(target: "udf_console", dropped, "{line}"),
        Level::Error => tracing::error!(target: "udf_console", dropped, "{line}"),
    }
}

/// Lets through so many lines a second, and tells with each how many before it were dropped.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<Option<Bucket>>);

#[derive(Debug)]
struct Bucket {
    /// Lines that may be written now.
    tokens: f64,
    filled: Instant,
    dropped: u64,
}

impl Throttle {
    /// Whether a line may be written now: how many were dropped since the last one, or `None`.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = f64::from(LINES_AT_ONCE_MAX);
        let bucket = bucket.get_or_insert(Bucket { tokens: full, filled: now, dropped: 0 });
        let passed: Duration = now.saturating_duration_since(bucket.filled);
        bucket.tokens = (bucket.tokens + passed.as_secs_f64() * f64::from(LINES_PER_SECOND)).min(full);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            bucket.dropped += 1;
            return None;
        }
        bucket.tokens -= 1.0;
        Some(std::mem::take(&mut bucket.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_through_then_so_many_a_second_and_the_rest_is_counted() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let admitted = (0..1000).filter(|_| throttle.admit(start).is_some()).count();
        assert_eq!(admitted, LINES_AT_ONCE_MAX as usize);
        let later = start + Duration::from_millis(250);
        assert_eq!(throttle.admit(later), Some(950));
        assert_eq!((throttle.admit(later), throttle.admit(later)), (Some(0), None));
        let much_later = start + Duration::from_secs(3600);
        assert_eq!((0..1000).filter(|_| throttle.admit(much_later).is_some()).count(), 50);
    }

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(one_line("a\nb\u{1b}[2Jc\td é"), "a\\nb\\u{1b}[2Jc\\td é");
    }
}
