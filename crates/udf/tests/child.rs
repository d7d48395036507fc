//! The way out of the process: with its engines stuck, a UDF runs in a child that can be killed. The
//! child is this very program under another argument.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use common::{Outcome, Outcomes, batch, config, row};
use millrace_model::{ErrorClass, TransformFactory};
use millrace_udf::{ChildCommand, Udf, UdfConfig, run_child};

/// In another process than this test's it ends the process, which stands for a crash of the engine.
const SCRIPT: &str =
    "var calls = 0; function f(s) { calls++; if (s[0] === '{') return s; return new Function('s', s)(s) }";
const STUCK: &str = "Array.prototype.reverse.call({length: 2 ** 53 - 1})";

fn this_program(argument: &str) -> ChildCommand {
    let program = std::env::current_exe().unwrap();
    ChildCommand { program, args: vec![argument.to_owned()] }
}

fn limited(child: ChildCommand) -> UdfConfig {
    // No engine may be abandoned, so the first that is stuck is the last in this process.
    UdfConfig {
        time_limit: Duration::from_millis(50),
        heap_bytes_max: 16 * 1024 * 1024,
        abandoned_engines_max: 1,
        child: Some(child),
        ..config(SCRIPT)
    }
}

fn run(udf: &Udf, messages: &[&str]) -> Vec<Outcome> {
    common::run(udf, messages)
}

fn classes(outcomes: &[Outcome]) -> Vec<Option<ErrorClass>> {
    outcomes.iter().map(Outcome::class).collect()
}

fn work_goes_on_in_a_child_with_the_same_outcomes() {
    let udf = Udf::load(limited(this_program("udf-child"))).unwrap();
    let messages = [
        "{\"n\":1}",
        STUCK, // in this process, whose engine is given up
        "{\"n\":2}",
        "return null",
        "return 7",
        "throw new TypeError('mine')",
        "(function deep() { deep() })()",
        "return 'x'.repeat(1e9)",
        "for (;;) {}",
        "console.log(1); return '\"\\ud800 \u{1f600}\"'",
        STUCK, // in a child, which ends
        "{\"n\":3}",
        "return '' + calls", // a new engine
        STUCK,
        "{\"n\":4}",
    ];
    let outcomes = run(&udf, &messages);
    let timeout = Some(ErrorClass::UdfTimeout);
    let expected = [
        None,
        timeout,
        None,
        None,
        Some(ErrorClass::UdfResultType),
        Some(ErrorClass::UdfThrew),
        Some(ErrorClass::UdfStack),
        Some(ErrorClass::UdfMemory),
        timeout,
        None,
        timeout,
        None,
        None,
        timeout,
        None,
    ];
    assert_eq!(classes(&outcomes), expected);
    assert_eq!(outcomes[3], Outcome::Filtered);
    for index in [0, 2, 11, 14] {
        assert_eq!(outcomes[index], row(messages[index]));
    }
    assert_eq!(outcomes[9], row("\"\\ud800 \u{1f600}\""));
    assert_eq!(outcomes[12], row("2"));
    let failure = outcomes[5].failure().unwrap();
    assert_eq!(failure.message, "TypeError: mine");
    assert!(failure.stack.as_deref().unwrap().contains("test.js:1:"));
    let stats = udf.stats();
    assert_eq!((stats.engines_abandoned, stats.child_starts, stats.console_calls), (1, 3, 1), "{stats:?}");
    assert_eq!((stats.start_failures, stats.timeouts), (0, 4), "{stats:?}");
    assert!(stats.engine_rebuilds >= 2, "{stats:?}");
}

/// Scenario: a single message transform with a frozen clock, before its engine is stuck and in the child.
/// Guarantees: attributes, metadata, time and chance are the message's own in either place.
fn a_child_gets_the_whole_message_and_the_same_clock() {
    let source = format!(
        "function f(message, metadata) {{ if (message.data === 'stuck') {STUCK}; return {{data: JSON.stringify([message, \
         metadata, Date.now(), Math.random()]), attributes: {{new: 'x'}}}} }}"
    );
    let script = config(&source).scripts;
    let udf = UdfConfig { scripts: script, reproducible: true, ..limited(this_program("udf-child")) };
    let udf = Udf::load(udf).unwrap();
    let message = |data| common::full(data, &[("k", "é")]);
    let here = common::run_batch(&udf, &common::batch_of(5, &[message("x")]));
    let later = common::run_batch(&udf, &common::batch_of(4, &[message("stuck"), message("x")]));
    assert_eq!(later[0].class(), Some(ErrorClass::UdfTimeout));
    assert_eq!(later[1], here[0]);
    let stats = udf.stats();
    assert_eq!((stats.child_starts, stats.attribute_changes_dropped), (1, 2), "{stats:?}");
}

/// The child ends without a word on messages that say `crash`, and hangs without a word on `hang`.
fn a_child_that_crashes_or_hangs_costs_its_message_only() {
    let udf = Udf::load(limited(this_program("bad-child"))).unwrap();
    let mut transform = udf.create().unwrap();
    let batch = batch(&[STUCK, "{\"n\":1}", "crash", "{\"n\":2}", "hang", "{\"n\":3}"]);
    let mut outcomes = Outcomes::default();
    transform.transform(&batch, 0..4, &mut outcomes);
    transform.transform(&batch, 4..6, &mut outcomes);
    let list = &outcomes.list;
    let expected = [ErrorClass::UdfTimeout, ErrorClass::UdfThrew, ErrorClass::UdfTimeout];
    assert_eq!([0, 2, 4].map(|index: usize| list[index].class().unwrap()), expected);
    assert_eq!(
        [1, 3, 5].map(|index: usize| list[index].clone()),
        [1, 2, 3].map(|n| row(&format!("{{\"n\":{n}}}")))
    );
    // One, a second for the crash, a third behind it, a fourth behind the hang.
    assert_eq!(udf.stats().child_starts, 4);
}

/// While no child can be started messages wait; nothing is lost and nothing blamed.
fn a_child_that_cannot_be_started_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let program: PathBuf = folder.path().join("late");
    let command = ChildCommand { program: program.clone(), args: vec!["udf-child".to_owned()] };
    let udf = Udf::load(limited(command)).unwrap();
    let outcomes = std::thread::scope(|scope| {
        let run = scope.spawn(|| run(&udf, &[STUCK, "{\"n\":1}"]));
        while udf.stats().start_failures < 2 {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &program).unwrap();
        run.join().unwrap()
    });
    assert_eq!(outcomes[1], row("{\"n\":1}"));
}

/// What `run_child` reads, cut at each byte: an end or an error, never a panic or a wait.
fn a_child_whose_input_is_cut_ends() {
    struct Cut(Vec<u8>);
    impl io::Write for Cut {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for input in [&b""[..], b"\x01", b"\x05\0\0\0abc", b"\x05\0\0\0abcde", b"\xff\xff\xff\xff"] {
        let mut output = Cut(Vec::new());
        assert_eq!(run_child(input, &mut output).is_ok(), input.is_empty());
        assert!(output.0.is_empty());
    }
}

/// A child that answers like a real one but crashes and hangs on demand: it passes frames on to
/// `run_child` only after a look at them.
struct Treacherous(io::Stdin);

impl io::Read for Treacherous {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(bytes)?;
        let has = |word: &[u8]| bytes[..count].windows(word.len()).any(|window| window == word);
        if has(b"crash") {
            std::process::exit(3);
        }
        if has(b"hang") {
            loop {
                std::thread::park();
            }
        }
        Ok(count)
    }
}

fn main() -> ExitCode {
    let tests: [(&str, fn()); 5] = [
        (
            "a_child_gets_the_whole_message_and_the_same_clock",
            a_child_gets_the_whole_message_and_the_same_clock,
        ),
        ("work_goes_on_in_a_child_with_the_same_outcomes", work_goes_on_in_a_child_with_the_same_outcomes),
        (
            "a_child_that_crashes_or_hangs_costs_its_message_only",
            a_child_that_crashes_or_hangs_costs_its_message_only,
        ),
        ("a_child_that_cannot_be_started_is_waited_for", a_child_that_cannot_be_started_is_waited_for),
        ("a_child_whose_input_is_cut_ends", a_child_whose_input_is_cut_ends),
    ];
    let ended = match std::env::args().nth(1).as_deref() {
        Some("udf-child") => run_child(io::stdin(), io::stdout()),
        Some("bad-child") => run_child(Treacherous(io::stdin()), io::stdout()),
        wanted => {
            for (name, test) in tests {
                if wanted.is_none_or(|wanted| wanted.starts_with('-') || name.contains(wanted)) {
                    test();
                    println!("test {name} ... ok");
                }
            }
            // Abandoned engines of this process are stuck for years: its end must not wait for them.
            return ExitCode::SUCCESS;
        }
    };
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
