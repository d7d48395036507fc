//! The words between a parent and the child process that runs its UDF: length-prefixed frames, strictly
//! one question and one answer. Both ends are the same program, so there is no version to negotiate.
//!
//! A frame is its length as a little-endian `u32`, then that many bytes; texts inside are prefixed the
//! same way. The first question is the UDF with its limits, every other is one message's text.

use std::io::{self, Read, Write};
use std::time::Duration;

use millrace_model::ErrorClass;

use crate::config::{Script, Shape, UdfConfig};
use crate::stats::CLASSES;
use crate::verdict::Verdict;

/// Largest frame, a bound against a garbled length: a message, scripts or a result are far smaller.
const FRAME_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The child's answer about one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub verdict: Verdict,
    /// What the child counted while it ran the message.
    pub engine_rebuilds: u64,
    pub memory_retries: u64,
    pub console_calls: u64,
    pub job_overflows: u64,
    /// The child's engine is stuck: it ends after this answer.
    pub is_last: bool,
}

/// Reads a frame; `None` at a clean end of the stream.
pub(crate) fn read_frame(input: &mut dyn Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    let mut got = 0;
    while got < length.len() {
        match input.read(&mut length[got..]) {
            Ok(0) if got == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => got += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(garbled("a frame is over its size limit"));
    }
    let mut frame = Vec::new();
    // Grows with what arrives, so that a garbled length alone takes no memory.
    if input.take(length as u64).read_to_end(&mut frame)? != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(frame))
}

/// Writes a frame.
pub(crate) fn write_frame(output: &mut dyn Write, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).ok().filter(|_| frame.len() <= FRAME_BYTES_MAX);
    let length = length.ok_or_else(|| garbled("a frame would be over its size limit"))?;
    output.write_all(&length.to_le_bytes())?;
    output.write_all(frame)?;
    output.flush()
}

fn garbled(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// The UDF as the first question.
pub(crate) fn encode_config(config: &UdfConfig) -> Vec<u8> {
    let mut frame = Vec::new();
    put_number(&mut frame, u64::try_from(config.time_limit.as_micros()).unwrap_or(u64::MAX));
    for bytes_max in [config.heap_bytes_max, config.stack_bytes_max, config.output_bytes_max] {
        put_number(&mut frame, bytes_max as u64);
    }
    put_number(&mut frame, u64::from(config.shape == Shape::Template));
    put_text(&mut frame, &config.function);
    for script in &config.scripts {
        put_text(&mut frame, &script.name);
        put_text(&mut frame, &script.source);
    }
    frame
}

/// Reads back [`encode_config`].
pub(crate) fn decode_config(mut frame: &[u8]) -> io::Result<UdfConfig> {
    let rest = &mut frame;
    let mut config =
        UdfConfig { time_limit: Duration::from_micros(take_number(rest)?), ..UdfConfig::default() };
    for bytes_max in [&mut config.heap_bytes_max, &mut config.stack_bytes_max, &mut config.output_bytes_max] {
        *bytes_max = usize::try_from(take_number(rest)?).map_err(|_| garbled("a limit is out of range"))?;
    }
    config.shape = if take_number(rest)? == 1 { Shape::Template } else { Shape::ByParameterCount };
    config.function = take_text(rest)?;
    while !rest.is_empty() {
        config.scripts.push(Script { name: take_text(rest)?, source: take_text(rest)? });
    }
    Ok(config)
}

/// An answer about a message.
pub(crate) fn encode_answer(answer: &Answer) -> Vec<u8> {
    let mut frame = vec![u8::from(answer.is_last)];
    for count in counts(answer) {
        put_number(&mut frame, count);
    }
    match &answer.verdict {
        Verdict::Row(text) => {
            frame.push(b'r');
            put_text(&mut frame, text);
        }
        Verdict::Filtered => frame.push(b'f'),
        Verdict::Failed(failure) => {
            frame.push(b'x');
            put_text(&mut frame, failure.class.as_str());
            put_text(&mut frame, &failure.message);
            put_text(&mut frame, failure.stack.as_deref().unwrap_or(""));
        }
    }
    frame
}

fn counts(answer: &Answer) -> [u64; 4] {
    [answer.engine_rebuilds, answer.memory_retries, answer.console_calls, answer.job_overflows]
}

/// Reads back [`encode_answer`].
pub(crate) fn decode_answer(mut frame: &[u8]) -> io::Result<Answer> {
    let rest = &mut frame;
    let is_last = take_byte(rest)? == 1;
    let mut counts = [0; 4];
    for count in &mut counts {
        *count = take_number(rest)?;
    }
    let verdict = match take_byte(rest)? {
        b'r' => Verdict::Row(take_text(rest)?),
        b'f' => Verdict::Filtered,
        b'x' => {
            let class = take_text(rest)?;
            let (message, stack) = (take_text(rest)?, take_text(rest)?);
            Verdict::failed_at(class_of(&class)?, message, Some(stack).filter(|stack| !stack.is_empty()))
        }
        _ => return Err(garbled("an answer is of no known kind")),
    };
    let [engine_rebuilds, memory_retries, console_calls, job_overflows] = counts;
    Ok(Answer { verdict, engine_rebuilds, memory_retries, console_calls, job_overflows, is_last })
}

fn class_of(word: &str) -> io::Result<ErrorClass> {
    let class = CLASSES.iter().find(|class| class.as_str() == word);
    class.copied().ok_or_else(|| garbled("a failure is of no known class"))
}

fn put_number(frame: &mut Vec<u8>, number: u64) {
    frame.extend_from_slice(&number.to_le_bytes());
}

fn put_text(frame: &mut Vec<u8>, text: &str) {
    put_number(frame, text.len() as u64);
    frame.extend_from_slice(text.as_bytes());
}

fn take_byte(rest: &mut &[u8]) -> io::Result<u8> {
    let (byte, after) = rest.split_first().ok_or_else(|| garbled("a frame ends too early"))?;
    *rest = after;
    Ok(*byte)
}

fn take_number(rest: &mut &[u8]) -> io::Result<u64> {
    let (number, after) = rest.split_first_chunk::<8>().ok_or_else(|| garbled("a frame ends too early"))?;
    *rest = after;
    Ok(u64::from_le_bytes(*number))
}

fn take_text(rest: &mut &[u8]) -> io::Result<String> {
    let length = usize::try_from(take_number(rest)?).unwrap_or(usize::MAX);
    let (text, after) = rest.split_at_checked(length).ok_or_else(|| garbled("a frame ends too early"))?;
    *rest = after;
    String::from_utf8(text.to_vec()).map_err(|_| garbled("a text is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn questions_and_answers_come_back_as_they_were() {
        let script = |name: &str| Script { name: name.to_owned(), source: format!("// {name} \u{1f600}") };
        let config = UdfConfig {
            time_limit: Duration::from_millis(7),
            shape: Shape::Template,
            ..UdfConfig::new(vec![script("a.js"), script("b.js")], "f")
        };
        assert_eq!(decode_config(&encode_config(&config)).unwrap(), config);
        let failed = |stack: Option<&str>| {
            Verdict::failed_at(ErrorClass::UdfStack, "deep".to_owned(), stack.map(str::to_owned))
        };
        for verdict in
            [Verdict::Row("{}".to_owned()), Verdict::Filtered, failed(None), failed(Some(" at f (a.js:1:1)"))]
        {
            let answer = Answer {
                verdict,
                engine_rebuilds: 1,
                memory_retries: 2,
                console_calls: 3,
                job_overflows: 4,
                is_last: true,
            };
            assert_eq!(decode_answer(&encode_answer(&answer)).unwrap(), answer);
        }
    }

    #[test]
    fn frames_come_back_and_a_cut_one_is_an_error() {
        let mut stream = Vec::new();
        write_frame(&mut stream, b"one").unwrap();
        write_frame(&mut stream, b"").unwrap();
        let mut input = stream.as_slice();
        assert_eq!(read_frame(&mut input).unwrap().unwrap(), b"one");
        assert_eq!(read_frame(&mut input).unwrap().unwrap(), b"");
        assert!(read_frame(&mut input).unwrap().is_none());
        for cut in 1..6 {
            assert!(read_frame(&mut &stream[..cut]).is_err());
        }
        assert!(read_frame(&mut [255_u8; 4].as_slice()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes: Vec<u8>) {
            let _ = decode_answer(&bytes);
            let _ = decode_config(&bytes);
        }
    }
}
