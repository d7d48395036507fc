//! The UDF in a child process: its start, the questions to it, its end; and the child's own side.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use millrace_model::ErrorClass;

use crate::config::{ChildCommand, UdfConfig};
use crate::envelope::{Envelope, Input};
use crate::frame::{self, Answer};
use crate::host::{Host, Place, Waited};
use crate::job::{Chunk, Job};
use crate::pulse::Pulse;
use crate::runner::{Runner, Spec};
use crate::stats::{Counters, add, get};
use crate::verdict::Verdict;

/// Pause before another try when a child process cannot be started.
pub(crate) const START_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Why the child side of the protocol ended early.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// The parent cannot be spoken with.
    #[error("the UDF's child process lost its parent: {0}")]
    Io(#[from] io::Error),
}

/// A running child process, as who must end it holds it.
#[derive(Debug)]
pub(crate) struct ChildHandle(Child);

impl ChildHandle {
    /// Ends the process, whatever it does. It may have ended before.
    pub fn kill(&mut self) {
        drop(self.0.kill());
    }
}

impl Drop for ChildHandle {
    fn drop(&mut self) {
        self.kill();
        drop(self.0.wait());
    }
}

/// A runner that asks a child process.
pub(crate) struct ChildRunner {
    spec: Arc<Spec>,
    pulse: Arc<Pulse>,
    activities: u64,
    /// Where whoever watches this runner finds the process to end it.
    handle: Arc<Mutex<Option<ChildHandle>>>,
    pipes: Option<(BufWriter<ChildStdin>, BufReader<ChildStdout>)>,
}

impl ChildRunner {
    pub fn new(spec: Arc<Spec>, pulse: Arc<Pulse>, handle: Arc<Mutex<Option<ChildHandle>>>) -> Self {
        Self { spec, pulse, activities: 0, handle, pipes: None }
    }

    fn start(&mut self, command: &ChildCommand) -> io::Result<()> {
        let mut child = Command::new(&command.program)
            .args(&command.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        add(&self.spec.counters.child_starts, 1);
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or(io::ErrorKind::BrokenPipe)?;
        *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = Some(ChildHandle(child));
        let mut input = BufWriter::new(input);
        self.pulse.begin(&mut self.activities, true);
        frame::write_frame(&mut input, &frame::encode_config(&self.spec.config))?;
        self.pipes = Some((input, BufReader::new(output)));
        Ok(())
    }

    /// Starts a child if there is none, for as long as it takes: a machine that is out of processes is
    /// no reason to fail a message. The time is not held against the message.
    fn ensure_started(&mut self, command: &ChildCommand) {
        while self.pipes.is_none() && !self.pulse.is_abandoned() {
            if let Err(error) = self.start(command) {
                self.end();
                self.pulse.idle();
                add(&self.spec.counters.start_failures, 1);
                let program = command.program.display();
                tracing::error!(%program, %error, "cannot start the UDF's child process, trying again");
                thread::park_timeout(START_RETRY_INTERVAL);
            }
        }
    }

    fn ask(&mut self, input: Input<'_>) -> io::Result<Answer> {
        let (to_child, from_child) = self.pipes.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        self.pulse.begin(&mut self.activities, false);
        frame::write_frame(to_child, &frame::encode_input(input))?;
        let answer = frame::read_frame(from_child)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        frame::decode_answer(&answer)
    }

    fn end(&mut self) {
        self.pipes = None;
        *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn count(&self, answer: &Answer) {
        let counters = &self.spec.counters;
        add(&counters.engine_rebuilds, answer.engine_rebuilds);
        add(&counters.memory_retries, answer.memory_retries);
        add(&counters.console_calls, answer.console_calls);
        add(&counters.console_lines_dropped, answer.console_lines_dropped);
        add(&counters.job_overflows, answer.job_overflows);
    }
}

impl Runner for ChildRunner {
    /// A child that ends without an answer may have been ended by the system for reasons of its own,
    /// so the message gets a second child before it is blamed.
    fn run(&mut self, input: Input<'_>) -> Verdict {
        let Some(command) = self.spec.config.child.clone() else {
            return Verdict::failed(ErrorClass::UdfThrew, "no child process is configured");
        };
        let mut reason = String::new();
        for _ in 0..2 {
            self.ensure_started(&command);
            let answer = self.ask(input);
            self.pulse.idle();
            match answer {
                Ok(answer) => {
                    self.count(&answer);
                    if answer.is_last {
                        self.end();
                    }
                    return answer.verdict;
                }
                Err(error) => reason = error.to_string(),
            }
            self.end();
        }
        Verdict::failed(
            ErrorClass::UdfThrew,
            format!("the UDF's process ended twice on this message: {reason}"),
        )
    }
}

/// The child's side: runs messages from `input` and answers on `output` until `input` ends or the
/// engine is stuck. The caller then ends the process, and with it a stuck engine. Nothing else may be
/// read from `input` or written to `output`.
///
/// # Errors
/// When the parent cannot be read from or written to.
pub fn run_child(mut input: impl Read, output: impl Write) -> Result<(), ChildError> {
    let mut output = BufWriter::new(output);
    let Some(first) = frame::read_frame(&mut input)? else { return Ok(()) };
    let config: UdfConfig = frame::decode_config(&first)?;
    let spec = Arc::new(Spec { config, counters: Arc::new(Counters::default()) });
    let mut host = Host::start(&spec, Place::Thread).map_err(io::Error::other)?;
    while let Some(message) = frame::read_frame(&mut input)? {
        let (text, envelope) = frame::decode_input(&message)?;
        let answer = answer(&mut host, &spec.counters, text, envelope);
        frame::write_frame(&mut output, &frame::encode_answer(&answer))?;
        if answer.is_last {
            break;
        }
    }
    Ok(())
}

fn answer(host: &mut Host, counters: &Counters, text: String, envelope: Option<Envelope>) -> Answer {
    let counts = || {
        [
            &counters.engine_rebuilds,
            &counters.memory_retries,
            &counters.console_calls,
            &counters.console_lines_dropped,
            &counters.job_overflows,
        ]
        .map(get)
    };
    let before = counts();
    let job = Arc::new(Job::new(Chunk::of_one(text, envelope), host.id()));
    host.submit(&job);
    let waited = host.wait(&job);
    let verdict = match waited {
        Waited::Done => job.progress().verdicts.pop(),
        Waited::Stuck | Waited::Lost => None,
    };
    let after = counts();
    let [engine_rebuilds, memory_retries, console_calls, console_lines_dropped, job_overflows] =
        std::array::from_fn(|index| after[index] - before[index]);
    Answer {
        verdict: verdict.unwrap_or_else(|| waited.verdict()),
        engine_rebuilds,
        memory_retries,
        console_calls,
        console_lines_dropped,
        job_overflows,
        is_last: waited != Waited::Done,
    }
}
