//! What a UDF is made of, its limits, and what can be wrong with them.

use std::path::PathBuf;
use std::time::Duration;

use millrace_model::UdfHash;

/// The largest stack QuickJS can be held to: the binding takes a larger one as "no limit".
const STACK_BYTES_LIMIT: usize = 16 * 1024 * 1024;

/// The smallest stack that the engine's own start-up and ordinary scripts get along with.
const STACK_BYTES_LEAST: usize = 64 * 1024;

/// The smallest heap that an engine with its built-in objects fits into with room to work.
const HEAP_BYTES_LEAST: usize = 2 * 1024 * 1024;

/// One JavaScript file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// What stack traces and errors call it, usually the file name.
    pub name: String,
    /// Its text.
    pub source: String,
}

/// How to start the process that runs the UDF when too many engines are stuck in this one. The program
/// calls [`crate::run_child`] on its standard input and output, and writes nothing else to the latter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

/// Which calling convention a function follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Shape {
    /// Told from the number of declared parameters: two is [`Shape::MessageTransform`], any other number
    /// [`Shape::Template`]. With [`Mode::Compatible`] always the latter: the template does not look.
    #[default]
    ByParameterCount,
    /// The Dataflow template's `f(string) -> string`, however many parameters are declared.
    Template,
    /// Pub/Sub's single message transform, `f(message, metadata) -> message | null`, within its limits
    /// ([`MESSAGE_TRANSFORM_SCRIPT_BYTES_MAX`], [`MESSAGE_TRANSFORM_TIME_MAX`]).
    MessageTransform,
}

/// What happens where the Dataflow template loses messages silently.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is lost: a script without a function name or one that does not load is an error at the
    /// start, a message without a payload from which no row comes is a dead letter, and so is a payload
    /// that is not UTF-8.
    #[default]
    Strict,
    /// As the template does it, but counted; see [`crate::open`].
    Compatible,
}

/// The most script text that Pub/Sub takes of a single message transform, in bytes.
pub const MESSAGE_TRANSFORM_SCRIPT_BYTES_MAX: usize = 20 * 1024;

/// The longest that Pub/Sub lets a single message transform run.
pub const MESSAGE_TRANSFORM_TIME_MAX: Duration = Duration::from_millis(500);

/// A UDF and its limits. Start from [`UdfConfig::new`] and change what differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdfConfig {
    /// The scripts, evaluated in this order into one global scope.
    pub scripts: Vec<Script>,
    /// The name of the function to call.
    pub function: String,
    /// Its calling convention.
    pub shape: Shape,
    /// What happens where the template loses messages silently.
    pub mode: Mode,
    /// Whether `Math.random` and the clock are the message's own, seeded from its id and stopped at its
    /// publish time, so that a second run of the message gives the same.
    pub reproducible: bool,
    /// Whether `console.*` and `print` write to the log (target `udf_console`, with a rate limit), or
    /// are counted only.
    pub console: bool,
    /// Most processor time for one message. Processor time and not the wall clock, so that a busy or
    /// paused machine does not make dead letters (where the system tells it; see `clock.rs`).
    pub time_limit: Duration,
    /// Most memory of one engine, in bytes. While it runs a message of 1 MiB or more it may have twelve
    /// times the message on top.
    pub heap_bytes_max: usize,
    /// Deepest stack of one engine, in bytes; 64 KiB to 16 MiB.
    pub stack_bytes_max: usize,
    /// Longest result of one message, in bytes of UTF-8.
    pub output_bytes_max: usize,
    /// Most engine threads that may be stuck in a native function, over all transforms of this UDF,
    /// before messages run in a child process instead.
    pub abandoned_engines_max: usize,
    /// That child process. Without one, transforms wait at the cap until a stuck engine ends.
    pub child: Option<ChildCommand>,
    /// Whether a UDF that only picks and places parts of the message runs as a native plan.
    pub native_plan: bool,
    /// Whether a returned message without data is a result. Pub/Sub has such messages; no row comes of one.
    pub keep_empty_data: bool,
}

impl Default for UdfConfig {
    /// No script and the default limits.
    fn default() -> Self {
        Self {
            scripts: Vec::new(),
            function: String::new(),
            shape: Shape::default(),
            mode: Mode::default(),
            reproducible: false,
            console: true,
            time_limit: Duration::from_millis(500),
            heap_bytes_max: 64 * 1024 * 1024,
            stack_bytes_max: 1024 * 1024,
            output_bytes_max: 32 * 1024 * 1024,
            abandoned_engines_max: 2,
            child: None,
            native_plan: true,
            keep_empty_data: false,
        }
    }
}

impl UdfConfig {
    /// Calls `function` of `scripts` within the default limits: 500 ms, 64 MiB of heap, 1 MiB of stack,
    /// 32 MiB of result (a message has at most 16 MiB, and text that is stringified twice can double).
    #[must_use]
    pub fn new(scripts: Vec<Script>, function: impl Into<String>) -> Self {
        Self { scripts, function: function.into(), ..Self::default() }
    }

    /// Checks the limits, and that there is something to call.
    ///
    /// # Errors
    /// [`UdfError::Config`] with what to change.
    pub fn validate(&self) -> Result<(), UdfError> {
        let wrong = |text: String| Err(UdfError::Config(text));
        if self.scripts.is_empty() {
            return wrong("there is no script: name at least one .js file".to_owned());
        }
        if self.function.is_empty() {
            return wrong("there is no function name: name the function of the script to call".to_owned());
        }
        if !is_identifier(&self.function) {
            return wrong(format!("`{}` is not a function name", self.function));
        }
        for script in &self.scripts {
            if script.name.contains('\0') || script.source.contains('\0') {
                return wrong(format!("script {:?} contains a NUL character", script.name));
            }
        }
        if self.time_limit.is_zero() {
            return wrong("the time limit is zero".to_owned());
        }
        if self.heap_bytes_max < HEAP_BYTES_LEAST {
            return wrong(format!("the heap limit is below {HEAP_BYTES_LEAST} bytes"));
        }
        if !(STACK_BYTES_LEAST..=STACK_BYTES_LIMIT).contains(&self.stack_bytes_max) {
            return wrong(format!("the stack limit is not {STACK_BYTES_LEAST} to {STACK_BYTES_LIMIT} bytes"));
        }
        if self.output_bytes_max == 0 {
            return wrong("the output limit is zero".to_owned());
        }
        Ok(())
    }

    /// The shape of a function that declares so many parameters.
    pub(crate) fn shape_of(&self, parameters: usize) -> Shape {
        match (self.shape, self.mode, parameters) {
            (Shape::ByParameterCount, Mode::Strict, 2) => Shape::MessageTransform,
            (Shape::ByParameterCount, _, _) => Shape::Template,
            (told, _, _) => told,
        }
    }

    /// Checks the limits of a shape, once it is known.
    pub(crate) fn validate_shape(&self, shape: Shape) -> Result<(), UdfError> {
        if shape != Shape::MessageTransform {
            return Ok(());
        }
        let bytes = self.scripts.iter().map(|script| script.source.len()).sum();
        if bytes > MESSAGE_TRANSFORM_SCRIPT_BYTES_MAX {
            return Err(UdfError::TransformTooLong { function: self.function.clone(), bytes });
        }
        if self.time_limit > MESSAGE_TRANSFORM_TIME_MAX {
            let limit = self.time_limit;
            return Err(UdfError::Config(format!(
                "the time limit is {limit:?}, and Pub/Sub gives a single message transform \
                 {MESSAGE_TRANSFORM_TIME_MAX:?}"
            )));
        }
        Ok(())
    }

    /// The version of the UDF: a hash over every script's text and the function's name, each with its
    /// length before it so that no two different UDFs feed the same bytes. File names do not matter.
    #[must_use]
    pub fn hash(&self) -> UdfHash {
        let mut hasher = blake3::Hasher::new();
        for text in self.scripts.iter().map(|script| &script.source).chain([&self.function]) {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        let mut hash = [0; 16];
        hash.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        UdfHash(hash)
    }
}

fn is_identifier(name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    !name.starts_with(char::is_numeric) && name.chars().all(word)
}

/// Why a UDF cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UdfError {
    /// A setting is missing or out of range.
    #[error("the UDF is not configured right: {0}")]
    Config(String),
    /// The scripts cannot be read.
    #[error("{0}")]
    Scripts(String),
    /// A script is not JavaScript.
    #[error("syntax error in {script}{}: {message}", at_line(*line))]
    Syntax {
        /// The script.
        script: String,
        /// Where, counted from 1.
        line: Option<u32>,
        /// The engine's word.
        message: String,
    },
    /// A script's top-level code threw.
    #[error("{script} failed while it was loaded: {message}")]
    Load {
        /// The script.
        script: String,
        /// What it threw.
        message: String,
        /// Where from.
        stack: Option<String>,
    },
    /// The scripts' top-level code does not come to an end.
    #[error("loading the scripts took more than {0:?} of processor time: move work out of the top level")]
    LoadTimeout(Duration),
    /// No script defines the function.
    #[error("the scripts define no function `{function}`{}", hint(nearest.as_deref()))]
    FunctionMissing {
        /// What was looked for.
        function: String,
        /// The global function with the most similar name.
        nearest: Option<String>,
    },
    /// The name means something else than a function.
    #[error("`{function}` is {kind}, not a function")]
    NotAFunction {
        /// The name.
        function: String,
        /// What it is, with its article.
        kind: String,
    },
    /// Scripts without the name of a function to call.
    #[error(
        "there are scripts and no function name: name the function to call (the Dataflow template passes \
         messages through untransformed then, silently; mode `compatible` does so too, and counts)"
    )]
    FunctionNotNamed,
    /// The function has Pub/Sub's shape, and more text than Pub/Sub takes.
    #[error(
        "`{function}` has the shape of a Pub/Sub single message transform, f(message, metadata), whose \
         scripts have {MESSAGE_TRANSFORM_SCRIPT_BYTES_MAX} bytes at most, and these have {bytes}: shorten \
         them, or set the shape to `template` if the function takes a string"
    )]
    TransformTooLong {
        /// The function.
        function: String,
        /// Bytes of all scripts.
        bytes: usize,
    },
    /// The machine refused an engine.
    #[error("cannot start a JavaScript engine: {0}")]
    Engine(String),
}

impl UdfError {
    /// Whether the scripts or the function are what is wrong, and not settings or the machine.
    pub(crate) fn is_of_the_script(&self) -> bool {
        !matches!(self, Self::Config(_) | Self::Engine(_))
    }
}

fn at_line(line: Option<u32>) -> String {
    line.map_or_else(String::new, |line| format!(" line {line}"))
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(", did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(sources: &[&str], function: &str) -> UdfConfig {
        let script = |source: &&str| Script { name: "s.js".to_owned(), source: (*source).to_owned() };
        UdfConfig::new(sources.iter().map(script).collect(), function)
    }

    #[test]
    fn the_hash_tells_apart_what_differs_and_nothing_else() {
        let base = config(&["ab", "c"], "f");
        for other in [config(&["a", "bc"], "f"), config(&["abc"], "f"), config(&["ab", "c"], "g")] {
            assert_ne!(base.hash(), other.hash());
        }
        let mut renamed = base.clone();
        renamed.scripts[0].name = "other.js".to_owned();
        assert_eq!(base.hash(), renamed.hash());
    }

    #[test]
    fn settings_that_cannot_work_are_refused_with_a_reason() {
        let good = config(&["function f(s) { return s }"], "f");
        assert_eq!(good.validate(), Ok(()));
        let cases: [(UdfConfig, &str); 7] = [
            (UdfConfig { scripts: Vec::new(), ..good.clone() }, "no script"),
            (UdfConfig { function: String::new(), ..good.clone() }, "no function name"),
            (UdfConfig { function: "f()".to_owned(), ..good.clone() }, "not a function name"),
            (config(&["\0"], "f"), "NUL"),
            (UdfConfig { time_limit: Duration::ZERO, ..good.clone() }, "time limit"),
            (UdfConfig { heap_bytes_max: 1, ..good.clone() }, "heap limit"),
            (UdfConfig { stack_bytes_max: 1 << 30, ..good }, "stack limit"),
        ];
        for (config, word) in cases {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
