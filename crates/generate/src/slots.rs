//! What stands in the slots that a call decides or that are made up.

use crate::clock::push_number;
use crate::fleet::{EXTENSIONS, MODES};
use crate::model::MODELS;
use crate::plan::{Decision, Role};
use crate::random::Random;
use crate::template::{Fixed, Made, Part};
use crate::text;
use crate::write::{Scene, Writer};

const SLASH_COMMANDS: [&str; 12] = [
    "clear",
    "quit",
    "model",
    "stats",
    "memory",
    "mcp",
    "compress",
    "chat",
    "tools",
    "help",
    "restore",
    "extensions",
];
const RETRY_TYPES: [&str; 3] = ["MALFORMED_FUNCTION_CALL", "NO_FINISH_REASON", "NO_RESPONSE_TEXT"];
const SOURCES: [&str; 3] = [
    "agent-router/NumericalClassifier (Default)",
    "agent-router/default",
    "agent-router/NumericalClassifier (Strict)",
];
/// Files as the CLI describes them, with its mistake for TypeScript.
const FILES: [[&str; 3]; 4] = [
    [".ts", "video/mp2t", "typescript"],
    [".md", "text/markdown", "markdown"],
    [".ts", "video/mp2t", "typescript"],
    [".py", "text/x-python", "python"],
];

impl Writer<'_> {
    pub(crate) fn part(&mut self, out: &mut Vec<u8>, part: Part, scene: &mut Scene<'_>) {
        let call = scene.call;
        let usage = call.usage;
        let mut number = |number: u32| push_number(out, number.into());
        match part {
            Part::Cached => number(usage.cached),
            Part::Call => number(scene.step.call.into()),
            Part::ContentLength => number(scene.of_call(4).between(12, 2_400)),
            Part::Duration => number(usage.duration_ms),
            Part::Extra => number(call.extra),
            // No zero at the end, as JavaScript writes numbers.
            Part::Fraction => number(scene.of_call(5).below(90_000) * 10 + 1 + call.extra % 9),
            Part::FileLines => number(scene.of_call(9).skewed(90, 2.0)),
            Part::HookDuration => number(scene.of_call(10).between(5, 60)),
            Part::Input => number(usage.input),
            Part::OutputTokens => number(usage.output),
            Part::RetryDelay => number(1_000 << call.extra.min(5)),
            Part::Status => number(self.api_error(scene).0),
            Part::Thoughts => number(usage.thoughts),
            Part::ToolDuration => number(call.tool.duration_ms),
            Part::Total => number(usage.input + usage.output + usage.thoughts),
            Part::Usec => push_number(
                out,
                scene.time_ms.unsigned_abs() * 1_000 - u64::from(scene.random.below(900_000)),
            ),
            Part::Time => self.clock.millis(out, scene.time_ms - i64::from(scene.random.below(12))),
            Part::RequestText => self.request_text(out, scene),
            Part::AgentId => out.extend_from_slice(
                crate::session::uuid(&mut Random::of(scene.session.seed ^ 6, scene.session.prompts.into()))
                    .as_bytes(),
            ),
            Part::ResponseId => {
                out.extend_from_slice(b"resp-");
                crate::clock::push_hex(out, scene.of_call(7).next());
            }
            Part::ToolError => self.tool_error(out, scene),
            Part::Metadata => {
                if let Some(pattern) = &self.library.used(call.tool).metadata {
                    self.fill(out, pattern, scene);
                }
            }
            other => out.extend_from_slice(self.name(other, scene).as_bytes()),
        }
    }

    /// The parts that are one of a few texts.
    fn name(&self, part: Part, scene: &Scene<'_>) -> &str {
        let call = scene.call;
        let tool = self.library.used(call.tool);
        let decided = tool.failure.as_ref().is_none_or(|failure| failure.decided);
        match part {
            Part::ApiError => self.api_error(scene).1,
            Part::Decision => decision(call.tool.decision),
            Part::DecisionSaid if decided => match call.tool.decision {
                Decision::Accept => " Decision: accept.",
                Decision::AutoAccept => " Decision: auto_accept.",
                Decision::Modify => " Decision: modify.",
                Decision::Reject => " Decision: reject.",
            },
            Part::McpServer => &tool.server,
            Part::Model => MODELS[usize::from(call.model)].name,
            Part::Role => match call.role {
                Role::Main => "main",
                Role::Subagent => "subagent",
                Role::NextSpeaker => "utility_next_speaker",
                Role::Router => "utility_router",
                Role::Compressor => "utility_compressor",
            },
            Part::Success if call.tool.fails || call.tool.decision == Decision::Reject => "false",
            Part::Success => "true",
            Part::System => match call.role {
                Role::Main => &self.library.system_main,
                Role::Subagent => &self.library.system_subagent,
                _ => "[]",
            },
            Part::Tool => &tool.name,
            Part::ToolErrorType => tool.failure.as_ref().map_or("", |failure| &failure.error_type),
            Part::ToolType if tool.server.is_empty() => "native",
            Part::ToolType => "mcp",
            _ => "",
        }
    }

    fn api_error(&self, scene: &Scene<'_>) -> (u32, &str) {
        let error = self.library.api_errors.get(usize::from(scene.call.error));
        error.map_or((0, ""), |error| (error.status, &error.error))
    }

    fn tool_error(&mut self, out: &mut Vec<u8>, scene: &Scene<'_>) {
        if let Some(failure) = &self.library.used(scene.call.tool).failure {
            let mut same = Scene { random: scene.of_call(2), ..*scene };
            self.fill(out, &failure.error, &mut same);
        }
    }

    /// The conversation so far; of a check by another model, with its question; of the router, the prompt alone.
    fn request_text(&self, out: &mut Vec<u8>, scene: &Scene<'_>) {
        if scene.call.role == Role::Router || scene.session.history.is_empty() {
            out.extend_from_slice(br#"[{\"role\":\"user\",\"parts\":[{\"text\":\""#);
            out.extend_from_slice(scene.session.text(Fixed::Prompt));
            out.extend_from_slice(br#"\"}]}]"#);
            return;
        }
        out.extend_from_slice(&scene.session.history);
        if scene.call.role == Role::NextSpeaker {
            out.extend_from_slice(br#",{\"role\":\"user\",\"parts\":[{\"text\":\""#);
            out.extend_from_slice(self.library.next_speaker.as_bytes());
            out.extend_from_slice(br#"\"}]}"#);
        }
        out.push(b']');
    }

    pub(crate) fn made(&mut self, out: &mut Vec<u8>, made: Made, scene: &mut Scene<'_>) {
        let random = &mut scene.random;
        match made {
            Made::Command => text::command(out, random),
            Made::Folder => text::folder(out, random),
            Made::Glob => text::glob(out, random),
            Made::Host => text::host(out, random),
            Made::Identifier => text::identifier(out, random),
            Made::Output => self.library.texts.output(out, random),
            Made::Path => text::path(out, random),
            Made::Sku => text::sku(out, random),
            Made::UserLines => {
                push_number(out, if random.per_mille(80) { random.below(12).into() } else { 0 })
            }
            Made::RoutingLatency => push_number(out, (scene.call.extra >> 2).into()),
            Made::AnswerText | Made::ArgumentsCompact | Made::ArgumentsNested | Made::ArgumentsPretty => {
                self.tool_text(out, made, scene);
            }
            Made::RoutingReason => self.routing_reason(out, scene),
            other => out.extend_from_slice(choice(other, scene).as_bytes()),
        }
    }

    /// Arguments and answer of a tool, the same wherever they are told.
    fn tool_text(&mut self, out: &mut Vec<u8>, made: Made, scene: &Scene<'_>) {
        let tool = self.library.used(scene.call.tool);
        let (pattern, what) = match made {
            Made::AnswerText => (&tool.answer, 2),
            Made::ArgumentsCompact => (&tool.compact, 1),
            Made::ArgumentsNested => (&tool.nested, 1),
            _ => (&tool.pretty, 1),
        };
        let mut same = Scene { random: scene.of_call(what), ..*scene };
        self.fill(out, pattern, &mut same);
    }

    fn routing_reason(&self, out: &mut Vec<u8>, scene: &mut Scene<'_>) {
        if scene.call.extra & 2 == 0 {
            out.extend_from_slice(b"Routing bypassed by forced model directive. Using: ");
            out.extend_from_slice(MODELS[usize::from(scene.call.model)].name.as_bytes());
            return;
        }
        out.extend_from_slice(b"[Score: ");
        push_number(out, scene.random.between(5, 99).into());
        out.extend_from_slice(b" / Threshold: 90] ");
        let words = scene.random.between(8, 30);
        self.library.texts.words(out, &mut scene.random, words);
    }
}

fn decision(decision: Decision) -> &'static str {
    match decision {
        Decision::Accept => "accept",
        Decision::AutoAccept => "auto_accept",
        Decision::Modify => "modify",
        Decision::Reject => "reject",
    }
}

/// One of a few texts, the same wherever the record has it.
fn choice(made: Made, scene: &Scene<'_>) -> &'static str {
    let mut random = scene.of_call(8);
    match made {
        Made::EditStrategy => random.pick(&["exact", "exact", "flexible", "regex"]),
        Made::ExtensionName => random.pick(&EXTENSIONS),
        Made::ExtensionSource => "https://github.com/example/gemini-extensions",
        Made::Extension => random.pick(&FILES)[0],
        Made::MimeType => random.pick(&FILES)[1],
        Made::Language => random.pick(&FILES)[2],
        Made::FromMode => random.pick(&MODES),
        Made::Operation => random.pick(&["read", "read", "create", "update"]),
        Made::RetryType => random.pick(&RETRY_TYPES),
        Made::RoutingFailed => ["false", "true"][(scene.call.extra & 1) as usize],
        Made::RoutingSource if scene.call.extra & 2 == 0 => "agent-router/override",
        Made::RoutingSource => random.pick(&SOURCES),
        Made::SlashCommand => random.pick(&SLASH_COMMANDS),
        Made::SlashStatus => random.pick(&["success", "success", "success", "error"]),
        Made::WebFetchReason => random.pick(&["private_ip_skipped", "primary_failed", "private_ip"]),
        _ => "",
    }
}
