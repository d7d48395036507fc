//! Records as bytes: fixed text copied, slots filled.

use crate::clock::{Clock, push_hex, push_number};
use crate::kind::Kind;
use crate::library::{Library, When};
use crate::plan::{Call, Role, Step};
use crate::random::Random;
use crate::session::Session;
use crate::template::{Fixed, Pattern, Slot};

/// What the CLI's exporter waits before it sends what has gathered.
const BATCH_MS: i64 = 5_000;

/// Fills slots.
pub(crate) struct Writer<'a> {
    pub(crate) library: &'a Library,
    pub(crate) clock: Clock,
}

/// The record that is being written.
pub(crate) struct Scene<'a> {
    pub(crate) session: &'a Session,
    pub(crate) step: Step,
    pub(crate) call: Call,
    pub(crate) time_ms: i64,
    /// Of this record alone.
    pub(crate) random: Random,
}

impl Scene<'_> {
    /// A generator that gives the same for every record of the call.
    pub(crate) fn of_call(&self, what: u64) -> Random {
        Random::of(self.session.seed ^ what << 48, self.step.call.into())
    }
}

impl Writer<'_> {
    /// Writes one entry and the end of its line.
    pub(crate) fn entry(
        &mut self,
        out: &mut Vec<u8>,
        session: &Session,
        place: usize,
        time_ms: i64,
        id: [u64; 2],
    ) {
        let step = session.steps[place];
        let call = session.calls[usize::from(step.call)];
        let random = Random::of(session.seed, place as u64);
        let mut scene = Scene { session, step, call, time_ms, random };
        let template = self.library.template(step.kind);
        out.extend_from_slice(
            b"{\"logName\":\"projects/local/logs/gemini_cli\",\"resource\":{\"type\":\"global\",\"labels\":\
              {\"project_id\":\"local\"}},\"receiveTimestamp\":\"",
        );
        self.clock.micros(out, received_us(session, time_ms));
        out.extend_from_slice(b"\",\"timestamp\":\"");
        self.clock.millis(out, time_ms);
        out.extend_from_slice(b"\",\"insertId\":\"");
        push_hex(out, id[0]);
        push_hex(out, id[1]);
        trace(out, &scene, template.traced_percent);
        out.extend_from_slice(b",\"labels\":");
        out.extend_from_slice(&session.labels);
        out.extend_from_slice(b",\"jsonPayload\":{");
        out.extend_from_slice(&session.head);
        out.extend_from_slice(b",\"event.name\":");
        out.extend_from_slice(&template.event);
        out.extend_from_slice(b",\"event.timestamp\":\"");
        self.clock.millis(out, time_ms - i64::from(scene.random.below(2)));
        out.push(b'"');
        for (when, pattern) in &template.attributes {
            if self.applies(*when, &scene) {
                self.fill(out, pattern, &mut scene);
            }
        }
        out.extend_from_slice(&session.tail);
        out.extend_from_slice(b",\"message\":\"");
        self.fill(out, &template.message, &mut scene);
        out.extend_from_slice(b"\"}}\n");
    }

    /// Makes up the prompt that the next record tells of.
    pub(crate) fn ask(&mut self, session: &mut Session, place: usize, time_ms: i64) {
        session.next_prompt();
        let mut random = Random::of(session.seed ^ 0xa5c, place as u64);
        let library = self.library;
        let pattern = &library.prompts[random.below(library.prompts.len() as u32) as usize];
        let step = session.steps[place];
        let call = session.calls[usize::from(step.call)];
        let mut prompt = Vec::new();
        self.fill(&mut prompt, pattern, &mut Scene { session, step, call, time_ms, random: random.clone() });
        session.set(Fixed::Prompt, &prompt);
        session.set(Fixed::PromptLength, prompt.len().to_string().as_bytes());
    }

    /// Copies a pattern with its slots filled.
    pub(crate) fn fill(&mut self, out: &mut Vec<u8>, pattern: &Pattern, scene: &mut Scene<'_>) {
        for segment in &pattern.0 {
            out.extend_from_slice(&segment.text);
            match segment.slot {
                Slot::End => {}
                Slot::Fixed(slot) => out.extend_from_slice(scene.session.text(slot)),
                Slot::Part(part) => self.part(out, part, scene),
                Slot::Made(made) => self.made(out, made, scene),
                Slot::Code(low, high) => {
                    let lines = scene.random.between(low, high);
                    self.library.texts.code(out, &mut scene.random, lines);
                }
                Slot::Digits(digits) => {
                    let least = 10_u32.pow(digits - 1);
                    let number = least + scene.random.below(9 * least);
                    push_number(out, u64::from(if digits == 1 { number % 10 } else { number }));
                }
                Slot::Int(low, high) => push_number(out, scene.random.between(low, high).into()),
                Slot::Listing(low, high) => {
                    let lines = scene.random.between(low, high);
                    crate::text::listing(out, &mut scene.random, lines);
                }
                Slot::Words(low, high) => {
                    let words = scene.random.between(low, high);
                    self.library.texts.words(out, &mut scene.random, words);
                }
            }
        }
    }

    fn applies(&self, when: When, scene: &Scene<'_>) -> bool {
        let used = self.library.used(scene.call.tool);
        match when {
            When::Always => true,
            When::Prompts => scene.session.logs_prompts,
            When::ContentLength => used.failure.is_some() || used.server.is_empty(),
            When::Decision => used.failure.as_ref().is_none_or(|failure| failure.decided),
            When::Mcp => !used.server.is_empty(),
            When::Metadata => used.metadata.is_some(),
            When::Failed => used.failure.is_some(),
        }
    }

    /// Carries the conversation on, once the record that says so is written.
    pub(crate) fn remember(&mut self, session: &mut Session, place: usize, time_ms: i64) {
        let kind = session.steps[place].kind;
        if !matches!(kind, Kind::UserPrompt | Kind::ToolCall | Kind::ApiResponseText | Kind::ChatCompression)
        {
            return;
        }
        if !session.has_room() && kind != Kind::ChatCompression {
            return;
        }
        let mut history = std::mem::take(&mut session.history);
        let step = session.steps[place];
        let call = session.calls[usize::from(step.call)];
        let random = Random::of(session.seed ^ 0x4157, place as u64);
        let mut scene = Scene { session, step, call, time_ms, random };
        match kind {
            Kind::UserPrompt => self.remember_prompt(&mut history, &mut scene),
            Kind::ToolCall => self.remember_tool(&mut history, &mut scene),
            Kind::ChatCompression => {
                history.clear();
                self.remember_prompt(&mut history, &mut scene);
                history.extend_from_slice(br#",{\"role\":\"user\",\"parts\":[{\"text\":\"<state_snapshot>"#);
                self.library.texts.words(&mut history, &mut scene.random, 120);
                history.extend_from_slice(br#"</state_snapshot>\"}]}"#);
            }
            _ if call.role == Role::Main => {
                history.extend_from_slice(br#",{\"role\":\"model\",\"parts\":[{\"text\":\""#);
                let words = scene.random.between(10, 70);
                self.library.texts.words(&mut history, &mut scene.random, words);
                history.extend_from_slice(br#"\"}]}"#);
            }
            _ => {}
        }
        session.history = history;
    }

    fn remember_prompt(&mut self, history: &mut Vec<u8>, scene: &mut Scene<'_>) {
        if history.is_empty() {
            history.extend_from_slice(br#"[{\"role\":\"user\",\"parts\":[{\"text\":\""#);
            self.fill(history, &self.library.session_context, scene);
            history.extend_from_slice(br#"\"},{\"text\":\""#);
        } else {
            history.extend_from_slice(br#",{\"role\":\"user\",\"parts\":[{\"text\":\""#);
        }
        history.extend_from_slice(scene.session.text(Fixed::Prompt));
        history.extend_from_slice(br#"\"}]}"#);
    }

    fn remember_tool(&mut self, history: &mut Vec<u8>, scene: &mut Scene<'_>) {
        let tool = self.library.used(scene.call.tool);
        let name = tool.name.as_bytes();
        let id = |history: &mut Vec<u8>| {
            history.extend_from_slice(br#"\"id\":\"call_"#);
            history.extend_from_slice(name);
            history.push(b'_');
            push_number(history, scene.step.call.into());
        };
        history.extend_from_slice(br#",{\"role\":\"model\",\"parts\":[{\"functionCall\":{\"name\":\""#);
        history.extend_from_slice(name);
        history.extend_from_slice(br#"\",\"args\":"#);
        let mut same = Scene { random: scene.of_call(1), ..*scene };
        self.fill(history, &tool.compact, &mut same);
        history.push(b',');
        id(history);
        history.extend_from_slice(br#"\"},\"thoughtSignature\":\"skip_thought_signature_validator\"}]},{\"role\":\"user\",\"parts\":[{\"functionResponse\":{\"name\":\""#);
        history.extend_from_slice(name);
        let output: &[u8] = if scene.call.tool.fails {
            br#"\",\"response\":{\"error\":\""#
        } else {
            br#"\",\"response\":{\"output\":\""#
        };
        history.extend_from_slice(output);
        same.random = scene.of_call(2);
        self.fill(history, &tool.answer, &mut same);
        // Now and then a tool answers at length.
        if scene.random.per_mille(12) {
            let lines = scene.random.between(150, 700);
            history.extend_from_slice(crate::text::NEWLINE);
            self.library.texts.code(history, &mut scene.random, lines);
        }
        history.extend_from_slice(br#"\"},"#);
        id(history);
        history.extend_from_slice(br#"\"}}]}"#);
    }
}

/// When the batch with a record arrived, in microseconds since 1970.
fn received_us(session: &Session, time_ms: i64) -> i64 {
    let batch = (time_ms - session.start_ms).max(0) / BATCH_MS + 1;
    let delay = Random::of(session.seed, batch as u64 ^ 0xba7c).between(2_000, 90_000);
    (session.start_ms + batch * BATCH_MS) * 1_000 + i64::from(delay)
}

/// Trace and span, when the record has one. A call's records share their trace.
fn trace(out: &mut Vec<u8>, scene: &Scene<'_>, percent: u32) {
    let mut random = scene.of_call(3);
    let traced = random.below(100) < percent || (scene.session.interactive && percent > 0);
    out.push(b'"');
    if !traced {
        return;
    }
    out.extend_from_slice(b",\"trace\":\"projects/local/traces/");
    push_hex(out, random.next());
    push_hex(out, random.next());
    out.extend_from_slice(b"\",\"spanId\":\"");
    // The records of a tool and those of the model's call are spans of their own.
    let is_tool = matches!(scene.step.kind, Kind::ToolCall | Kind::FileOperation | Kind::HookAfterTool);
    push_hex(out, random.next() ^ u64::from(is_tool));
    out.extend_from_slice(b"\",\"traceSampled\":true");
}
