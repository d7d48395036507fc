//! One run of the CLI: who, where, what happens, and what was said so far.

use chrono::NaiveDate;

use crate::clock::{Clock, day_number, long_date, push_hex, push_number};
use crate::fleet::{EXTENSIONS, Fleet, MCP_SERVERS, MODES, User, cli_version};
use crate::library::Library;
use crate::model::{MODELS, preferred};
use crate::plan::{Call, Plan, Step};
use crate::planner::Planner;
use crate::random::Random;
use crate::template::Fixed;

/// Bytes of a conversation; what comes then is left out of it.
const HISTORY_BYTES_MAX: usize = 96 * 1_024;

/// A session under way.
pub(crate) struct Session {
    pub(crate) seed: u64,
    /// Milliseconds since 1970.
    pub(crate) start_ms: i64,
    pub(crate) steps: Vec<Step>,
    pub(crate) calls: Vec<Call>,
    pub(crate) logs_prompts: bool,
    pub(crate) interactive: bool,
    /// Texts by their slot.
    fixed: Vec<Vec<u8>>,
    /// The payload's members up to the event's name.
    pub(crate) head: Vec<u8>,
    /// Those of the resource.
    pub(crate) tail: Vec<u8>,
    pub(crate) labels: Vec<u8>,
    /// The conversation as the next request sends it, without its last bracket.
    pub(crate) history: Vec<u8>,
    /// Prompts so far.
    pub(crate) prompts: u32,
}

/// Where and when a session starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    pub(crate) seed: u64,
    pub(crate) date: NaiveDate,
    /// Of the day.
    pub(crate) time_ms: u32,
    /// The day's number in the whole, and how many there are.
    pub(crate) day: u32,
    pub(crate) days: u32,
    /// Whether it is a loop of requests.
    pub(crate) is_burst: bool,
}

impl Session {
    pub(crate) fn start(library: &Library, fleet: &Fleet, clock: &mut Clock, start: Start) -> Self {
        let mut random = Random::of(start.seed, 0x5e55);
        let user = if start.is_burst {
            fleet.busy(&mut random)
        } else {
            fleet.at_work(&mut random, (start.time_ms / 3_600_000) as i32)
        };
        let interactive = !start.is_burst && random.per_mille(user.interactive);
        let mode = if random.per_mille(800) { user.mode } else { random.below(4) as usize };
        let taste = if random.per_mille(700) { user.taste } else { random.below(1_000) };
        let model = preferred(taste, start.day, start.days);
        let planner = Planner::new(library, &user, start.seed, model, mode, interactive);
        let Plan { steps, calls } = if start.is_burst { planner.burst() } else { planner.session() };
        let day = day_number(start.date);
        let mut session = Self {
            seed: start.seed,
            start_ms: day * 86_400_000 + i64::from(start.time_ms),
            steps,
            calls,
            logs_prompts: user.logs_prompts,
            interactive,
            fixed: vec![Vec::new(); Fixed::ALL.len()],
            head: Vec::new(),
            tail: Vec::new(),
            labels: labels(day, &user),
            history: Vec::new(),
            prompts: 0,
        };
        session.fix(&user, &mut random, clock, start.date, MODES[mode], MODELS[usize::from(model)].name);
        session.frame(&user, &mut random);
        session
    }

    /// The text of a slot.
    pub(crate) fn text(&self, slot: Fixed) -> &[u8] {
        &self.fixed[slot as usize]
    }

    pub(crate) fn set(&mut self, slot: Fixed, text: &[u8]) {
        let kept = &mut self.fixed[slot as usize];
        kept.clear();
        kept.extend_from_slice(text);
    }

    /// Counts the prompt that begins, and names it as the CLI does.
    pub(crate) fn next_prompt(&mut self) {
        let mut id = self.text(Fixed::Session).to_vec();
        if self.interactive {
            id.extend_from_slice(b"########");
            push_number(&mut id, self.prompts.into());
        }
        self.set(Fixed::PromptId, &id);
        self.prompts += 1;
    }

    /// Whether the conversation takes more.
    pub(crate) fn has_room(&self) -> bool {
        self.logs_prompts && self.history.len() < HISTORY_BYTES_MAX
    }

    fn fix(
        &mut self,
        user: &User,
        random: &mut Random,
        clock: &mut Clock,
        date: NaiveDate,
        mode: &str,
        model: &str,
    ) {
        let id = uuid(random);
        let project = random.pick(&user.projects);
        let homes = if user.system.0 == "darwin" { "Users" } else { "home" };
        let home = format!("/{homes}/{}", user.account);
        let mut chat = Vec::new();
        clock.minute(&mut chat, self.start_ms);
        chat.push(b'-');
        chat.extend_from_slice(&id.as_bytes()[..8]);
        let asks_for_model = random.per_mille(850);
        let servers = chosen(&MCP_SERVERS, user.servers);
        let extensions = chosen(&EXTENSIONS, user.extensions);
        let yes = |value: bool| if value { "true" } else { "false" };
        let texts = [
            (Fixed::ApiKey, yes(user.auth == "gemini-api-key")),
            (Fixed::ConfigModel, if asks_for_model { model } else { "auto" }),
            (Fixed::Date, &long_date(date)),
            (Fixed::Docker, yes(random.per_mille(300))),
            (Fixed::Email, &user.email),
            (Fixed::ExtensionIds, &extensions.join(",")),
            (Fixed::Extensions, &extensions.join(",")),
            (Fixed::ExtensionsCount, &extensions.len().to_string()),
            (Fixed::Home, &home),
            (Fixed::LogPrompts, yes(user.logs_prompts)),
            (Fixed::McpServers, &servers.join(",")),
            (Fixed::McpServersCount, &servers.len().to_string()),
            (Fixed::Mode, mode),
            (Fixed::Os, user.system.0),
            (Fixed::OsRelease, user.system.1),
            (Fixed::OutputFormat, random.pick(&["text", "text", "text", "json", "stream-json"])),
            (Fixed::Project, project),
            (Fixed::PromptId, &id),
            (Fixed::Sandbox, yes(user.has_sandbox)),
            (Fixed::Session, &id),
            (Fixed::Vertex, yes(user.auth == "vertex-ai")),
            (Fixed::Workspace, &format!("{home}/{project}")),
        ];
        for (slot, text) in texts {
            self.set(slot, text.as_bytes());
        }
        self.set(Fixed::Chat, &chat);
    }

    /// The members that every record of the session has, in the order of the recordings.
    fn frame(&mut self, user: &User, random: &mut Random) {
        let installation = uuid_of(user.installation);
        self.head = format!(
            "\"installation.id\":\"{installation}\",\"interactive\":{},\"user.email\":\"{}\",\"auth_type\":\"{}\"",
            self.interactive, user.email, user.auth
        )
        .into_bytes();
        let text = |slot| String::from_utf8_lossy(self.text(slot)).into_owned();
        let (home, id) = (text(Fixed::Home), text(Fixed::Session));
        let (node, command) =
            ("/usr/bin/node", format!("{home}/node_modules/@google/gemini-cli/bundle/gemini.js"));
        let mut arguments = format!("\"{node}\",\"--max-old-space-size=12052\",\"{command}\"");
        if !self.interactive {
            arguments.push_str(&format!(
                ",\"-m\",\"{}\",\"--{}\",\"-p\",\"Please work on {}.\"",
                text(Fixed::ConfigModel),
                if self.text(Fixed::Mode) == b"yolo" { "yolo" } else { "approval-mode=auto_edit" },
                text(Fixed::Project),
            ));
        }
        let version = if random.per_mille(500) { "20.20.2" } else { "22.21.1" };
        let arch = if user.system.0 == "darwin" { "arm64" } else { "amd64" };
        self.tail = format!(
            ",\"host.name\":\"{}\",\"host.arch\":\"{arch}\",\"process.pid\":{},\
             \"process.executable.name\":\"{node}\",\"process.executable.path\":\"{node}\",\
             \"process.command_args\":[{arguments}],\"process.runtime.version\":\"{version}\",\
             \"process.runtime.name\":\"nodejs\",\"process.runtime.description\":\"Node.js\",\
             \"process.command\":\"{command}\",\"process.owner\":\"{}\",\"service.name\":\"gemini-cli\",\
             \"service.version\":\"v{version}\",\"team.name\":\"{}\",\"deployment.environment\":\"dev\",\
             \"session.id\":\"{id}\"",
            user.host,
            random.between(900, 99_999),
            user.account,
            user.team,
        )
        .into_bytes();
    }
}

/// What a gateway in front of the log adds: the CLI's version is nowhere in its own telemetry.
fn labels(day: i64, user: &User) -> Vec<u8> {
    let (minor, patch) = cli_version(day, user.lag_days);
    format!("{{\"cli_version\":\"0.{minor}.{patch}\"}}").into_bytes()
}

fn chosen<'a>(names: &[&'a str], bits: u32) -> Vec<&'a str> {
    names.iter().enumerate().filter(|(place, _)| bits >> place & 1 == 1).map(|(_, name)| *name).collect()
}

/// A random UUID of version 4.
pub(crate) fn uuid(random: &mut Random) -> String {
    uuid_of([random.next(), random.next()])
}

fn uuid_of([high, low]: [u64; 2]) -> String {
    let mut hex = Vec::with_capacity(32);
    push_hex(&mut hex, high & !0xf000 | 0x4000);
    push_hex(&mut hex, low & !(3 << 62) | 2 << 62);
    let hex = String::from_utf8_lossy(&hex);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
