//! One QuickJS engine with the UDF loaded: takes a message's text, gives a [`Verdict`]. It lives and
//! dies on one thread and shares nothing with any other engine but its [`Pulse`].
//!
//! What was measured (`examples/udf_bench.rs`, the default script, processor time per message on a busy
//! 2-core x86-64 machine, entries of 1.0 kB and 3.9 kB):
//!
//! | part | 1.0 kB | 3.9 kB |
//! |---|---|---|
//! | everything but the script: handing over, text in, call, text out | 0.7 us | 2.0 us |
//! | `JSON.parse` | 6 us | 16 us |
//! | the script, with QuickJS's own `JSON.stringify` | 25 us | 61 us |
//! | the script, with ours (see `stringify.rs`) | 18 us | 37 us |
//!
//! So the way in and out was not worth more than this: look the function up once, hand the payload over
//! as it is (QuickJS keeps ASCII as bytes: one copy), take the result with one copy, leave the clock to
//! the watch. The garbage collector does not show: values are freed by reference counts at once, it is
//! for cycles only, and its threshold is set out of its way.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use millrace_model::ErrorClass;
use rquickjs::{Context, Ctx, Function, Persistent, Runtime, String as JsString, Value};

use crate::config::{Mode, Shape, UdfConfig, UdfError};
use crate::envelope::Input;
use crate::frozen;
use crate::load;
use crate::pulse::Pulse;
use crate::smt::{self, Message, Refused};
use crate::stats::{Counters, add};
use crate::thrown::{self, Thrown};
use crate::verdict::{Returned, Verdict};

/// Most promise jobs run after one message.
pub(crate) const JOBS_PER_MESSAGE_MAX: usize = 1_000;

/// Text run through an engine between two looks at its heap. A look costs about as much as ten messages.
const HEAP_CHECK_INTERVAL_BYTES: usize = 1024 * 1024;

/// Messages run through an engine between two looks at its heap.
const HEAP_CHECK_INTERVAL_MESSAGES: usize = 1024;

/// Payloads from this size on get heap beyond the limit, in proportion: the limit is there for what a
/// script wastes, and a message that the log took must not fail for its size alone.
const LARGE_PAYLOAD_BYTES: usize = 1024 * 1024;

/// Heap for each byte of a large payload. Parsing and stringifying twice holds the text up to six times
/// at once, two bytes a character when one of them is beyond Latin-1.
const HEAP_PER_PAYLOAD_BYTE: usize = 12;

/// Why a message without a payload is a dead letter where the template would lose it.
const NO_PAYLOAD: &str = "the payload is empty (the message has attributes at most), and the UDF made no row of \
     it: mode `compatible` leaves such messages out, as the Dataflow template does";

/// The same of a single message transform.
const NO_DATA: &str = "the returned message has no data, which is no row: return null to leave a message out";

/// An engine with the UDF loaded. The fields are in the order in which they must go: values before
/// their context, the context before its runtime.
pub(crate) struct Engine {
    function: Persistent<Function<'static>>,
    /// The function's name, when it is a property of the global object and not a `const` or `let`.
    global_name: Option<String>,
    escape: Persistent<Function<'static>>,
    freeze: Option<Persistent<Function<'static>>>,
    context: Context,
    runtime: Runtime,
    pulse: Arc<Pulse>,
    counters: Arc<Counters>,
    /// How often the interrupt handler was asked during this call.
    polls: Rc<Cell<u64>>,
    heap_bytes_max: usize,
    output_bytes_max: usize,
    shape: Shape,
    mode: Mode,
    keep_empty_data: bool,
    /// Heap in use right after loading.
    loaded_bytes: usize,
    calls: u64,
    unchecked_bytes: usize,
    unchecked_messages: usize,
}

/// A call's outcome and what it means for the engine.
pub(crate) struct Called {
    pub verdict: Verdict,
    /// The engine must not be used again: it ran out of memory, was stopped half-way or holds jobs
    /// that have no end. Globals may be half changed.
    pub broken: bool,
}

impl Engine {
    /// Makes an engine and evaluates the scripts. Runs on the thread that will use the engine.
    ///
    /// # Errors
    /// What is wrong with the scripts, or that the machine refused memory.
    pub fn load(
        config: &UdfConfig,
        pulse: &Arc<Pulse>,
        counters: &Arc<Counters>,
    ) -> Result<(Self, usize), UdfError> {
        let refused = |error: rquickjs::Error| UdfError::Engine(error.to_string());
        let runtime = Runtime::new().map_err(refused)?;
        runtime.set_memory_limit(config.heap_bytes_max);
        runtime.set_max_stack_size(config.stack_bytes_max);
        runtime.set_gc_threshold(config.heap_bytes_max / 4);
        let polls = Rc::new(Cell::new(0_u64));
        let (handler_pulse, handler_polls) = (Arc::clone(pulse), Rc::clone(&polls));
        runtime.set_interrupt_handler(Some(Box::new(move || {
            handler_polls.set(handler_polls.get() + 1);
            handler_pulse.is_stopped()
        })));
        let context = Context::full(&runtime).map_err(refused)?;
        let loaded = context.with(|ctx| load::load(&ctx, config, pulse, counters));
        let loaded = loaded.map_err(|error| match error {
            _ if pulse.is_stopped() => UdfError::LoadTimeout(crate::watch::load_limit(config.time_limit)),
            error => error,
        })?;
        let mut engine = Self {
            function: loaded.function,
            global_name: loaded.is_global.then(|| config.function.clone()),
            escape: loaded.escape,
            freeze: loaded.freeze,
            context,
            runtime,
            pulse: Arc::clone(pulse),
            counters: Arc::clone(counters),
            polls,
            heap_bytes_max: config.heap_bytes_max,
            output_bytes_max: config.output_bytes_max,
            shape: config.shape_of(loaded.parameters),
            mode: config.mode,
            keep_empty_data: config.keep_empty_data,
            loaded_bytes: 0,
            calls: 0,
            unchecked_bytes: 0,
            unchecked_messages: 0,
        };
        engine.loaded_bytes = engine.heap_bytes();
        Ok((engine, loaded.parameters))
    }

    /// Whether this is the engine's first message since it was loaded, or there was none yet.
    pub fn is_fresh(&self) -> bool {
        self.calls <= 1
    }

    /// Calls the UDF with one message.
    pub fn call(&mut self, input: Input<'_>) -> Called {
        let text = input.text;
        self.calls += 1;
        self.unchecked_messages += 1;
        self.unchecked_bytes += text.len();
        self.polls.set(0);
        let is_large = text.len() >= LARGE_PAYLOAD_BYTES;
        if is_large {
            self.runtime.set_memory_limit(self.heap_bytes_max + HEAP_PER_PAYLOAD_BYTE * text.len());
        }
        let (mut verdict, broken_by_jobs) = self.context.with(|ctx| {
            let verdict = self.call_in(&ctx, input);
            (verdict, self.run_jobs(&ctx))
        });
        if is_large {
            self.runtime.set_memory_limit(self.heap_bytes_max);
        }
        let stopped = self.pulse.is_stopped();
        if stopped && (broken_by_jobs || matches!(verdict, Verdict::Failed(_))) {
            verdict = Verdict::failed(ErrorClass::UdfTimeout, "the UDF was stopped at its time limit");
        }
        let broken = stopped || broken_by_jobs || verdict.is_memory();
        Called { verdict, broken }
    }

    fn call_in(&self, ctx: &Ctx<'_>, input: Input<'_>) -> Verdict {
        match self.returned(ctx, input) {
            Ok(value) if self.shape == Shape::MessageTransform => self.take_message(ctx, &value, input),
            Ok(value) => self.take_result(ctx, &value, input),
            Err(error) => self.take_error(ctx, &error, input),
        }
    }

    fn returned<'js>(&self, ctx: &Ctx<'js>, input: Input<'_>) -> rquickjs::Result<Value<'js>> {
        if let Some((freeze, envelope)) = self.freeze.as_ref().zip(input.envelope) {
            frozen::set(&freeze.clone().restore(ctx)?, envelope)?;
        }
        // A function may replace itself, after some work that is done once, and is then found by its name.
        let function = match &self.global_name {
            Some(name) => ctx.globals().get(name.as_str())?,
            None => self.function.clone().restore(ctx)?,
        };
        if self.shape == Shape::MessageTransform {
            return function.call(smt::arguments(ctx, input)?);
        }
        function.call((JsString::from_str(ctx.clone(), input.text)?,))
    }

    fn take_message<'js>(&self, ctx: &Ctx<'js>, value: &Value<'js>, input: Input<'_>) -> Verdict {
        match smt::read(value) {
            Ok(None) => Verdict::Filtered,
            Ok(Some(Message { data, attributes })) => {
                let empty = match self.keep_empty_data {
                    true => Verdict::Row(Returned { attributes: attributes.clone(), ..Returned::default() }),
                    false => self.nothing(NO_DATA),
                };
                self.take_text(ctx, &data, attributes, empty)
            }
            Err(Refused::Form(class, message)) => Verdict::failed(class, message),
            Err(Refused::Thrown(error)) => self.take_error(ctx, &error, input),
        }
    }

    fn take_result<'js>(&self, ctx: &Ctx<'js>, value: &Value<'js>, input: Input<'_>) -> Verdict {
        // Of a payload the function leaves out what it wants to; of an empty one it has not seen anything.
        let nothing = if input.text.is_empty() { self.nothing(NO_PAYLOAD) } else { Verdict::Filtered };
        if value.is_null() || value.is_undefined() {
            return nothing;
        }
        let Some(string) = value.as_string() else {
            let message = format!("the UDF returned {}: it must return a string", thrown::kind(value));
            return Verdict::failed(ErrorClass::UdfResultType, message);
        };
        self.take_text(ctx, string, None, nothing)
    }

    /// The verdict on a message that the template loses.
    fn nothing(&self, reason: &str) -> Verdict {
        match self.mode {
            Mode::Strict => Verdict::failed(ErrorClass::InvalidJson, reason),
            Mode::Compatible => Verdict::Filtered,
        }
    }

    fn take_text<'js>(
        &self,
        ctx: &Ctx<'js>,
        string: &JsString<'js>,
        attributes: Option<Vec<(String, String)>>,
        empty: Verdict,
    ) -> Verdict {
        let plain = match string.to_string() {
            Err(rquickjs::Error::Utf8(_)) => None,
            other => Some(other),
        };
        let (text, quoted) = match plain {
            Some(text) => (text, None),
            None => (self.escaped(ctx, string, false), self.escaped(ctx, string, true).ok()),
        };
        match text {
            Ok(text) if text.is_empty() => empty,
            Ok(text) if text.len() > self.output_bytes_max => {
                let (length, max) = (text.len(), self.output_bytes_max);
                Verdict::failed(
                    ErrorClass::TooLarge,
                    format!("the UDF returned {length} bytes, more than {max}"),
                )
            }
            Ok(text) => Verdict::Row(Returned { text, quoted, attributes }),
            // Taking a non-ASCII string out needs room on the engine's heap: nothing else fails here.
            Err(_) => {
                drop(ctx.catch());
                Verdict::failed(ErrorClass::UdfMemory, "out of memory while the result was taken out")
            }
        }
    }

    /// The text with each lone surrogate as the escape `\udXXX`: the same JSON, and UTF-8 can hold it.
    /// Or else the text as a JSON string.
    fn escaped<'js>(
        &self,
        ctx: &Ctx<'js>,
        string: &JsString<'js>,
        is_quoted: bool,
    ) -> rquickjs::Result<String> {
        let escape = self.escape.clone().restore(ctx)?;
        escape.call::<_, JsString<'_>>((string.clone(), is_quoted))?.to_string()
    }

    fn take_error(&self, ctx: &Ctx<'_>, error: &rquickjs::Error, input: Input<'_>) -> Verdict {
        if !error.is_exception() {
            return Verdict::failed(ErrorClass::UdfThrew, error.to_string());
        }
        let text = input.text;
        let thrown = Thrown::catch(ctx);
        let class = thrown.class();
        if thrown.is_null && self.null_means_memory(text) {
            return Verdict::failed(ErrorClass::UdfMemory, "out of memory");
        }
        Verdict::failed_at(class, thrown.text(), thrown.stack)
    }

    /// QuickJS throws null when memory is so short that the error object does not fit. A script can
    /// throw null too, but hardly after work that could have filled the heap: ten thousand loop rounds
    /// or calls (one poll of the handler), or a message that is large against the heap.
    fn null_means_memory(&self, text: &str) -> bool {
        self.polls.get() > 0 || text.len() > self.heap_bytes_max / 64
    }

    /// Runs what the message left in the queue of promise jobs; says whether that had no end.
    fn run_jobs(&self, ctx: &Ctx<'_>) -> bool {
        for _ in 0..JOBS_PER_MESSAGE_MAX {
            if !ctx.execute_pending_job() {
                return false;
            }
            if self.pulse.is_stopped() {
                return true;
            }
        }
        add(&self.counters.job_overflows, 1);
        true
    }

    /// Whether scripts have left so much in their globals since they were loaded that the next
    /// messages would fail for it: three quarters of what there was to use. Scripts may catch an "out
    /// of memory" and filter the message, which nobody would notice; so the engine goes before that.
    /// Cheap: most calls look at two counts only.
    pub fn is_leaking(&mut self) -> bool {
        let is_due = self.unchecked_bytes >= HEAP_CHECK_INTERVAL_BYTES
            || self.unchecked_messages >= HEAP_CHECK_INTERVAL_MESSAGES;
        if !is_due {
            return false;
        }
        self.unchecked_bytes = 0;
        self.unchecked_messages = 0;
        let limit = self.loaded_bytes + self.heap_bytes_max.saturating_sub(self.loaded_bytes) / 4 * 3;
        if self.heap_bytes() <= limit {
            return false;
        }
        self.runtime.run_gc();
        self.heap_bytes() > limit
    }

    fn heap_bytes(&self) -> usize {
        usize::try_from(self.runtime.memory_usage().malloc_size).unwrap_or(0)
    }
}
