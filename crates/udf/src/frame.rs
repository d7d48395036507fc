//! The words between a parent and the child process that runs its UDF: length-prefixed frames, strictly
//! one question and one answer. Both ends are the same program, so there is no version to negotiate.
//!
//! A frame is its length as a little-endian `u32`, then that many bytes; texts inside are prefixed the
//! same way. The first question is the UDF with its limits, every other is one message.

use std::io::{self, Read, Write};
use std::time::Duration;

use millrace_model::{ErrorClass, MessageId, Micros, Offset, TopicId};

use crate::config::{Mode, Script, Shape, UdfConfig};
use crate::envelope::{Envelope, Input};
use crate::stats::CLASSES;
use crate::verdict::{Returned, Verdict};

/// Largest frame, a bound against a garbled length: a message, scripts or a result are far smaller.
const FRAME_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The shapes by their number in a frame.
const SHAPES: [Shape; 3] = [Shape::ByParameterCount, Shape::Template, Shape::MessageTransform];

/// The child's answer about one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub verdict: Verdict,
    /// What the child counted while it ran the message.
    pub engine_rebuilds: u64,
    pub memory_retries: u64,
    pub console_calls: u64,
    pub console_lines_dropped: u64,
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
    put_number(&mut frame, SHAPES.iter().position(|shape| *shape == config.shape).unwrap_or(0) as u64);
    let is_compatible = config.mode == Mode::Compatible;
    for flag in [is_compatible, config.reproducible, config.console, config.keep_empty_data] {
        frame.push(u8::from(flag));
    }
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
    let shape = usize::try_from(take_number(rest)?).unwrap_or(usize::MAX);
    config.shape = *SHAPES.get(shape).ok_or_else(|| garbled("a shape is of no known kind"))?;
    config.mode = if take_byte(rest)? == 1 { Mode::Compatible } else { Mode::Strict };
    config.reproducible = take_byte(rest)? == 1;
    config.console = take_byte(rest)? == 1;
    config.keep_empty_data = take_byte(rest)? == 1;
    config.function = take_text(rest)?;
    while !rest.is_empty() {
        config.scripts.push(Script { name: take_text(rest)?, source: take_text(rest)? });
    }
    Ok(config)
}

/// A message as a question.
pub(crate) fn encode_input(input: Input<'_>) -> Vec<u8> {
    let mut frame = Vec::with_capacity(input.text.len() + 16);
    put_text(&mut frame, input.text);
    let Some(envelope) = input.envelope else { return frame };
    frame.extend_from_slice(&envelope.id.topic.0);
    put_number(&mut frame, envelope.id.offset.0);
    put_number(&mut frame, envelope.publish_time.0.cast_unsigned());
    put_text(&mut frame, &envelope.ordering_key);
    put_pairs(&mut frame, &envelope.attributes);
    frame
}

/// Reads back [`encode_input`].
pub(crate) fn decode_input(mut frame: &[u8]) -> io::Result<(String, Option<Envelope>)> {
    let rest = &mut frame;
    let text = take_text(rest)?;
    if rest.is_empty() {
        return Ok((text, None));
    }
    let (topic, after) = rest.split_first_chunk::<16>().ok_or_else(|| garbled("a frame ends too early"))?;
    *rest = after;
    let id = MessageId { topic: TopicId(*topic), offset: Offset(take_number(rest)?) };
    let publish_time = Micros(take_number(rest)?.cast_signed());
    let (ordering_key, attributes) = (take_text(rest)?, take_pairs(rest)?);
    Ok((text, Some(Envelope { id, publish_time, ordering_key, attributes })))
}

/// An answer about a message.
pub(crate) fn encode_answer(answer: &Answer) -> Vec<u8> {
    let mut frame = vec![u8::from(answer.is_last)];
    for count in counts(answer) {
        put_number(&mut frame, count);
    }
    match &answer.verdict {
        Verdict::Row(returned) => {
            frame.push(b'r');
            put_text(&mut frame, &returned.text);
            put_text(&mut frame, returned.quoted.as_deref().unwrap_or(""));
            frame.push(u8::from(returned.attributes.is_some()));
            put_pairs(&mut frame, returned.attributes.as_deref().unwrap_or_default());
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

fn counts(answer: &Answer) -> [u64; 5] {
    [
        answer.engine_rebuilds,
        answer.memory_retries,
        answer.console_calls,
        answer.console_lines_dropped,
        answer.job_overflows,
    ]
}

/// Reads back [`encode_answer`].
pub(crate) fn decode_answer(mut frame: &[u8]) -> io::Result<Answer> {
    let rest = &mut frame;
    let is_last = take_byte(rest)? == 1;
    let mut counts = [0; 5];
    for count in &mut counts {
        *count = take_number(rest)?;
    }
    let verdict = match take_byte(rest)? {
        b'r' => {
            let (text, quoted) = (take_text(rest)?, take_text(rest)?);
            let has_attributes = take_byte(rest)? == 1;
            let attributes = Some(take_pairs(rest)?).filter(|_| has_attributes);
            let quoted = Some(quoted).filter(|quoted| !quoted.is_empty());
            Verdict::Row(Returned { text, quoted, attributes })
        }
        b'f' => Verdict::Filtered,
        b'x' => {
            let class = take_text(rest)?;
            let (message, stack) = (take_text(rest)?, take_text(rest)?);
            Verdict::failed_at(class_of(&class)?, message, Some(stack).filter(|stack| !stack.is_empty()))
        }
        _ => return Err(garbled("an answer is of no known kind")),
    };
    let [engine_rebuilds, memory_retries, console_calls, console_lines_dropped, job_overflows] = counts;
    Ok(Answer {
        verdict,
        engine_rebuilds,
        memory_retries,
        console_calls,
        console_lines_dropped,
        job_overflows,
        is_last,
    })
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

fn put_pairs(frame: &mut Vec<u8>, pairs: &[(String, String)]) {
    put_number(frame, pairs.len() as u64);
    for (key, value) in pairs {
        put_text(frame, key);
        put_text(frame, value);
    }
}

fn take_pairs(rest: &mut &[u8]) -> io::Result<Vec<(String, String)>> {
    // Grows with what is there, so that a garbled count alone takes no memory.
    (0..take_number(rest)?).map(|_| Ok((take_text(rest)?, take_text(rest)?))).collect()
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
            shape: Shape::MessageTransform,
            mode: Mode::Compatible,
            reproducible: true,
            console: false,
            keep_empty_data: true,
            ..UdfConfig::new(vec![script("a.js"), script("b.js")], "f")
        };
        assert_eq!(decode_config(&encode_config(&config)).unwrap(), config);
        let failed = |stack: Option<&str>| {
            Verdict::failed_at(ErrorClass::UdfStack, "deep".to_owned(), stack.map(str::to_owned))
        };
        let pairs = || vec![("k".to_owned(), "v".to_owned()), (String::new(), String::new())];
        let quoted =
            Returned { text: "x".to_owned(), quoted: Some("\"x\"".to_owned()), attributes: Some(pairs()) };
        let envelope = Envelope {
            id: MessageId { topic: TopicId([7; 16]), offset: Offset(u64::MAX) },
            publish_time: Micros(-1),
            ordering_key: "key".to_owned(),
            attributes: pairs(),
        };
        for envelope in [None, Some(envelope)] {
            let input = Input { text: "{}", envelope: envelope.as_ref() };
            assert_eq!(decode_input(&encode_input(input)).unwrap(), ("{}".to_owned(), envelope));
        }
        for verdict in [
            Verdict::Row("{}".to_owned().into()),
            Verdict::Row(quoted),
            Verdict::Filtered,
            failed(None),
            failed(Some(" at f (a.js:1:1)")),
        ] {
            let answer = Answer {
                verdict,
                engine_rebuilds: 1,
                memory_retries: 2,
                console_calls: 3,
                console_lines_dropped: 4,
                job_overflows: 5,
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
            let _ = decode_input(&bytes);
        }
    }
}
