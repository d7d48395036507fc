//! How a session goes: what people, models and tools do, and what goes wrong. The shares are tuned so that the
//! mix of events comes close to the recorded one.

use crate::fleet::User;
use crate::kind::Kind;
use crate::library::Library;
use crate::model::{FLASH, MODELS, ROUTER, SUBAGENT, UTILITY, Usage};
use crate::plan::{Call, Decision, Plan, Role, Step, ToolUse};
use crate::random::Random;

/// Most records of one session; a loop of requests is the longest.
pub(crate) const STEPS_MAX: usize = 2_000;
/// Tool calls after which a conversation is compressed.
const COMPRESS_AFTER: u32 = 16;

/// What a session is planned from.
pub(crate) struct Planner<'a> {
    library: &'a Library,
    user: &'a User,
    random: Random,
    model: u8,
    mode: usize,
    interactive: bool,
    now_ms: u32,
    /// Tokens that the conversation holds.
    context: u32,
    turns: u32,
    steps: Vec<Step>,
    calls: Vec<Call>,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(
        library: &'a Library,
        user: &'a User,
        seed: u64,
        model: u8,
        mode: usize,
        interactive: bool,
    ) -> Self {
        let random = Random::of(seed, 0x91a4);
        let (steps, calls) = (Vec::with_capacity(96), Vec::with_capacity(24));
        Self {
            library,
            user,
            random,
            model,
            mode,
            interactive,
            now_ms: 0,
            context: 5_400,
            turns: 0,
            steps,
            calls,
        }
    }

    /// A session as people have them.
    pub(crate) fn session(mut self) -> Plan {
        self.start();
        let prompts = if self.interactive { 1 + self.geometric(620, 12) } else { 1 };
        for prompt in 0..prompts {
            if self.interactive {
                self.pause(8_000, 1.2);
                self.between_prompts(prompt);
            }
            self.prompt();
        }
        self.finish()
    }

    /// A script that sends request after request until the quota per minute is used up.
    pub(crate) fn burst(mut self) -> Plan {
        self.start();
        self.call(Kind::UserPrompt, Call::default());
        let requests = self.random.between(150, 230);
        for request in 0..requests {
            self.now_ms += self.random.between(40, 320);
            let refused = request > 90 && self.random.per_mille(450);
            self.request(Role::Main, self.model, Kind::ApiResponseText, refused.then_some(429), true);
        }
        self.finish()
    }

    fn start(&mut self) {
        self.call(Kind::Config, Call::default());
        if !self.user.has_ripgrep {
            self.now_ms += 40;
            self.call(Kind::RipgrepFallback, Call::default());
        }
        self.now_ms += self.random.between(120, 260);
        self.call(Kind::StartupStats, Call::default());
        self.now_ms += self.random.between(20, 70);
        if self.user.has_hooks {
            self.call(Kind::HookSessionStart, Call::default());
        }
        if self.random.per_mille(18) {
            self.call(Kind::ExtensionInstall, Call::default());
            self.call(Kind::ExtensionEnable, Call::default());
        }
        if self.interactive && self.random.per_mille(150) {
            self.call(Kind::IdeConnection, Call::default());
        }
    }

    fn between_prompts(&mut self, prompt: u32) {
        if self.random.per_mille(160) {
            self.call(Kind::SlashCommand, Call::default());
        }
        if self.random.per_mille(25) {
            let model = self.random.below(4) as u8;
            self.model = model;
            self.call(Kind::SlashCommandModel, Call { model, ..Call::default() });
        }
        if prompt > 0 && self.random.per_mille(60) {
            let extra = self.now_ms;
            self.call(Kind::ApprovalModeDuration, Call { extra, ..Call::default() });
            self.call(Kind::ApprovalModeSwitch, Call::default());
        }
    }

    fn prompt(&mut self) {
        self.call(Kind::UserPrompt, Call::default());
        self.route();
        if self.random.per_mille(30) {
            self.subagent();
        }
        let turns = self.geometric(820, 40);
        for _ in 0..turns {
            self.turn();
        }
        self.troubles();
        self.answer(self.model, Kind::ApiResponseText);
        self.context += 120;
        if self.random.per_mille(840) {
            self.check_next_speaker();
        }
        if self.interactive && self.mode == 0 {
            let extra = turns + 1;
            self.call(Kind::ConversationFinished, Call { extra, ..Call::default() });
        }
    }

    /// Which model shall answer: asked for, or chosen by a small model.
    fn route(&mut self) {
        let classified = self.random.per_mille(230);
        let mut extra = 0;
        if classified {
            self.request(Role::Router, ROUTER, Kind::ApiResponseJson, None, false);
            extra = self.random.skewed(180, 0.8);
        }
        let failed = u32::from(classified && self.random.per_mille(40));
        // The lowest bits tell apart what the record says.
        let extra = extra << 2 | u32::from(classified) << 1 | failed;
        self.call(Kind::ModelRouting, Call { model: self.model, extra, ..Call::default() });
        self.now_ms += self.random.between(4, 30);
    }

    /// The model asks for a tool and gets it.
    fn turn(&mut self) {
        self.troubles();
        self.answer(self.model, Kind::ApiResponseTool);
        self.tool();
        if self.random.per_mille(150) {
            self.copy_call();
            self.tool();
        }
        self.turns += 1;
        self.context += self.random.skewed(260, 1.5).min(30_000);
        if self.turns.is_multiple_of(COMPRESS_AFTER) {
            self.compress();
        }
    }

    /// A second tool of the same answer needs numbers of its own.
    fn copy_call(&mut self) {
        let call = self.calls.last().copied().unwrap_or_default();
        self.calls.push(call);
    }

    /// A call that is answered, after an error or two now and then.
    fn answer(&mut self, model: u8, kind: Kind) {
        let mut tries = 0;
        while tries < 4 && self.random.per_mille(if tries == 0 { 34 } else { 300 }) {
            let status = [429, 500, 503, 400][self.random.weighted([450, 200, 300, 50].into_iter())];
            self.request(Role::Main, model, kind, Some(status), false);
            self.pause(1_500, 1.0);
            tries += 1;
            if status == 429 && tries > 1 && model != FLASH {
                self.call(Kind::FlashFallback, Call::default());
                self.model = FLASH;
            }
        }
        self.request(Role::Main, self.model, kind, None, false);
    }

    /// What goes wrong on the way.
    fn troubles(&mut self) {
        let model = self.model;
        if self.random.per_mille(16) {
            let attempts = self.random.weighted([70, 15, 8, 7].into_iter()) as u32 + 1;
            for extra in 0..attempts {
                self.call(Kind::ContentRetry, Call { model, extra, ..Call::default() });
                self.now_ms += 1_000 << extra;
            }
            if attempts == 4 {
                self.call(Kind::ContentRetryFailure, Call { model, ..Call::default() });
            }
        }
        if self.random.per_mille(9) {
            for extra in 1..=self.random.between(1, 2) {
                self.call(Kind::NetworkRetry, Call { model, extra, ..Call::default() });
                self.now_ms += 1_000;
            }
        }
        if self.random.per_mille(3) {
            self.call(Kind::InvalidChunk, Call::default());
        }
    }

    /// The records of one call to a model: request, its twin, and after a while the answer with its own.
    fn request(&mut self, role: Role, model: u8, kind: Kind, status: Option<u32>, quick: bool) {
        let utility = role != Role::Main && role != Role::Subagent;
        let input = self.context + if utility { 240 } else { 0 };
        let mut usage = MODELS[usize::from(model)].usage(&mut self.random, input);
        let errors = &self.library.api_errors;
        let error = errors.iter().position(|error| Some(error.status) == status).unwrap_or(0) as u8;
        if status.is_some() {
            usage.duration_ms = self.random.skewed(350, 1.2).clamp(5, 60_000);
        }
        let call = Call { model, role, usage, error, ..Call::default() };
        self.call(Kind::ApiRequest, call);
        self.again(if utility { Kind::TwinRequestJson } else { Kind::TwinRequest });
        // A script that bursts has many requests in flight, so the next does not wait for this answer.
        self.now_ms += if quick { usage.duration_ms.min(60) } else { usage.duration_ms };
        if status.is_some() {
            self.again(Kind::ApiError);
            self.again(Kind::TwinError);
        } else {
            self.again(kind);
            self.again(if utility { Kind::TwinResponseJson } else { Kind::TwinResponse });
        }
    }

    /// The records of one tool call, for the last call to a model.
    fn tool(&mut self) {
        let place = self.random.weighted(self.library.tools.iter().map(|tool| tool.weight));
        let mut tool =
            ToolUse { place: place as u8, duration_ms: self.random.skewed(25, 2.2), ..ToolUse::default() };
        tool.decision = self.decision();
        if self.random.per_mille(150) {
            tool.fails = true;
            tool.place = self.random.weighted(self.library.failures.iter().map(|tool| tool.weight)) as u8;
            tool.duration_ms = self.random.below(12);
        }
        let uses = if tool.fails { &self.library.failures } else { &self.library.tools };
        let name = uses[usize::from(tool.place)].name.as_str();
        if let Some(call) = self.calls.last_mut() {
            call.tool = tool;
        }
        let hooked = self.user.has_hooks && !tool.fails;
        self.now_ms += self.random.between(4, 30);
        match name {
            "write_file" | "replace" | "run_shell_command" if hooked => self.again(Kind::HookBeforeTool),
            _ => {}
        }
        self.now_ms += tool.duration_ms;
        match name {
            "read_file" | "write_file" if !tool.fails => self.again(Kind::FileOperation),
            "replace" => {
                self.again(Kind::EditStrategy);
                if self.random.per_mille(300) {
                    self.again(Kind::EditCorrection);
                }
            }
            "run_shell_command" if self.random.per_mille(12) => self.again(Kind::ToolOutputTruncated),
            "web_fetch" => self.again(Kind::WebFetchFallback),
            "run_shell_command" if hooked => self.again(Kind::HookAfterTool),
            "exit_plan_mode" => self.again(Kind::PlanExecution),
            _ => {}
        }
        self.again(Kind::ToolCall);
    }

    fn decision(&mut self) -> Decision {
        if self.mode == 0 || !self.interactive {
            return Decision::Accept;
        }
        let decisions = [Decision::Accept, Decision::AutoAccept, Decision::Modify, Decision::Reject];
        decisions[self.random.weighted([600, 250, 50, 100].into_iter())]
    }

    /// A sub-agent looks around by itself.
    fn subagent(&mut self) {
        self.answer(self.model, Kind::ApiResponseTool);
        let started = self.now_ms;
        self.call(Kind::AgentStart, Call::default());
        for _ in 0..self.random.between(1, 4) {
            self.request(Role::Subagent, SUBAGENT, Kind::ApiResponseTool, None, false);
            self.tool();
        }
        let duration_ms = self.now_ms - started;
        let place = self.library.tools.iter().position(|tool| tool.name == "invoke_agent").unwrap_or(0) as u8;
        let tool = ToolUse { place, duration_ms, ..ToolUse::default() };
        self.call(Kind::AgentFinish, Call { tool, ..Call::default() });
        self.again(Kind::ToolCall);
    }

    fn compress(&mut self) {
        self.request(Role::Compressor, ROUTER, Kind::ApiResponseText, None, false);
        let after = self.context / self.random.between(3, 6);
        let usage = Usage { input: self.context, output: after, ..Usage::default() };
        let extra = self.context - after;
        self.call(Kind::ChatCompression, Call { usage, extra, ..Call::default() });
        self.context = after.max(3_000);
    }

    fn check_next_speaker(&mut self) {
        self.request(Role::NextSpeaker, UTILITY, Kind::ApiResponseJson, None, false);
        if self.random.per_mille(560) {
            self.again(Kind::MalformedJsonResponse);
        }
        self.again(Kind::NextSpeakerCheck);
        if self.random.per_mille(40) {
            let extra = self.random.between(1, 9) * 10 + 5;
            self.call(Kind::LlmLoopCheck, Call { model: 2, extra, ..Call::default() });
            if self.random.per_mille(400) {
                self.again(Kind::LoopDetected);
            }
        }
        if self.random.per_mille(35) {
            self.call(Kind::ConsecaVerdict, Call::default());
        }
    }

    fn finish(mut self) -> Plan {
        self.now_ms += self.random.between(2, 40);
        let extra = self.now_ms;
        self.call(Kind::ApprovalModeDuration, Call { extra, ..Call::default() });
        if self.interactive && self.random.per_mille(700) {
            self.call(Kind::SlashCommand, Call::default());
        }
        self.steps.truncate(STEPS_MAX);
        Plan { steps: self.steps, calls: self.calls }
    }

    /// A record with a call of its own.
    fn call(&mut self, kind: Kind, call: Call) {
        self.calls.push(call);
        self.again(kind);
    }

    /// Another record of the last call.
    fn again(&mut self, kind: Kind) {
        let call = self.calls.len().saturating_sub(1) as u16;
        self.steps.push(Step { at_ms: self.now_ms, kind, call });
        self.now_ms += self.random.below(2);
    }

    /// Time goes by.
    fn pause(&mut self, median_ms: u32, spread: f64) {
        self.now_ms += self.random.skewed(median_ms, spread).min(900_000);
    }

    /// How often in a row something happens that comes so many times of a thousand.
    fn geometric(&mut self, per_mille: u32, most: u32) -> u32 {
        (0..most).take_while(|_| self.random.per_mille(per_mille)).count() as u32
    }
}
