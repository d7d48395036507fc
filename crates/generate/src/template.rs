//! Records as fixed text with slots between.

/// Declares an enum whose values have a name in templates.
macro_rules! named {
    ($(#[$doc:meta])* $kind:ident { $($value:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $kind { $($value,)* }

        impl $kind {
            /// All of them with their names, in the order of declaration.
            pub(crate) const ALL: &[(&str, Self)] = &[$(($text, Self::$value),)*];
        }
    };
}
pub(crate) use named;

named! {
    /// What stays the same while a session, or one prompt of it, lasts.
    Fixed {
        ApiKey = "api_key", Chat = "chat", ConfigModel = "config_model", Date = "date", Docker = "docker",
        Email = "email", ExtensionIds = "extension_ids", Extensions = "extensions",
        ExtensionsCount = "extensions_count", Home = "home", LogPrompts = "log_prompts",
        McpServers = "mcp_servers", McpServersCount = "mcp_servers_count", Mode = "mode", Os = "os",
        OsRelease = "os_release", OutputFormat = "output_format", Project = "project", Prompt = "prompt",
        PromptId = "prompt_id", PromptLength = "prompt_length", Sandbox = "sandbox", Session = "session",
        Vertex = "vertex", Workspace = "workspace",
    }
}

named! {
    /// What a call to a model or a tool decides.
    Part {
        AgentId = "agent_id", ApiError = "api_error", Call = "call", Cached = "cached",
        ContentLength = "content_length", Decision = "decision", DecisionSaid = "decision_said",
        Duration = "duration", Extra = "extra", FileLines = "file_lines", Fraction = "fraction", HookDuration = "hook_duration", Input = "input", McpServer = "mcp_server",
        Metadata = "metadata", Model = "model", OutputTokens = "output", RequestText = "request_text",
        ResponseId = "response_id", RetryDelay = "retry_delay", Role = "role", Status = "status",
        Success = "success", System = "system", Thoughts = "thoughts", Time = "time", Tool = "tool",
        ToolDuration = "tool_duration", ToolError = "tool_error", ToolErrorType = "tool_error_type",
        ToolType = "tool_type", Total = "total", Usec = "usec",
    }
}

named! {
    /// Text that is made up each time.
    Made {
        AnswerText = "tool_answer", ArgumentsCompact = "args_compact", ArgumentsNested = "args_nested",
        ArgumentsPretty = "args_pretty", Command = "command", EditStrategy = "edit_strategy",
        Extension = "extension", ExtensionName = "extension_name", ExtensionSource = "extension_source",
        Folder = "folder", FromMode = "from_mode", Glob = "glob",
        Host = "host", Identifier = "identifier", Language = "language", MimeType = "mimetype", Operation = "operation", Output = "tool_output",
        Path = "path", RetryType = "retry_type", RoutingFailed = "routing_failed",
        RoutingLatency = "routing_latency", RoutingReason = "routing_reason",
        RoutingSource = "routing_source", Sku = "sku", SlashCommand = "slash_command",
        SlashStatus = "slash_status", UserLines = "user_lines", WebFetchReason = "web_fetch_reason",
    }
}

/// What stands in a slot: `«name»` in a template, `«int:1-9»` with numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Nothing: the template ends here.
    End,
    Fixed(Fixed),
    Part(Part),
    Made(Made),
    /// Lines of source code, so many.
    Code(u32, u32),
    /// So many digits.
    Digits(u32),
    /// A number from the first to the second.
    Int(u32, u32),
    /// Lines of a directory, so many.
    Listing(u32, u32),
    /// Words, so many.
    Words(u32, u32),
}

impl Slot {
    fn parse(text: &str) -> Option<Self> {
        let Some((name, numbers)) = text.split_once(':') else {
            return named_in(Fixed::ALL, text)
                .map(Self::Fixed)
                .or_else(|| named_in(Part::ALL, text).map(Self::Part))
                .or_else(|| named_in(Made::ALL, text).map(Self::Made));
        };
        let (low, high) = numbers.split_once('-').unwrap_or((numbers, numbers));
        let (low, high) = (low.parse().ok()?, high.parse().ok()?);
        match name {
            "code" => Some(Self::Code(low, high)),
            "digits" => Some(Self::Digits(low)),
            "int" => Some(Self::Int(low, high)),
            "listing" => Some(Self::Listing(low, high)),
            "words" => Some(Self::Words(low, high)),
            _ => None,
        }
    }
}

fn named_in<T: Copy>(all: &[(&str, T)], text: &str) -> Option<T> {
    all.iter().find(|(name, _)| *name == text).map(|(_, value)| *value)
}

/// Fixed text and the slot behind it.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) text: Box<[u8]>,
    pub(crate) slot: Slot,
}

/// Fixed text with slots.
#[derive(Debug, Default)]
pub(crate) struct Pattern(pub(crate) Vec<Segment>);

impl Pattern {
    /// Reads a pattern; the error is the name of a slot that does not exist.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut segments = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('«') {
            let (name, behind) = after.split_once('»').ok_or_else(|| after.to_owned())?;
            let slot = Slot::parse(name).ok_or_else(|| name.to_owned())?;
            segments.push(Segment { text: before.as_bytes().into(), slot });
            rest = behind;
        }
        segments.push(Segment { text: rest.as_bytes().into(), slot: Slot::End });
        Ok(Self(segments))
    }
}

/// A text as it stands inside a JSON string, escaped once for each level of strings around it.
pub(crate) fn escaped(text: &str, levels: u32) -> String {
    let mut text = text.to_owned();
    for _ in 0..levels {
        let quoted = serde_json::Value::String(text).to_string();
        text = quoted[1..quoted.len() - 1].to_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read() {
        let pattern = Pattern::parse("a«model»b«int:1-9»").unwrap();
        let slots: Vec<_> = pattern.0.iter().map(|segment| (&segment.text[..], segment.slot)).collect();
        assert_eq!(slots, [(&b"a"[..], Slot::Part(Part::Model)), (b"b", Slot::Int(1, 9)), (b"", Slot::End)]);
        assert_eq!(Pattern::parse("«modle»").unwrap_err(), "modle");
        assert_eq!(Pattern::parse("«int:x-9»").unwrap_err(), "int:x-9");
        assert_eq!(Pattern::parse("«open").unwrap_err(), "open");
    }

    #[test]
    fn names_are_unique() {
        let names = Fixed::ALL.iter().map(|(name, _)| *name);
        let names = names.chain(Part::ALL.iter().map(|(name, _)| *name));
        let names: Vec<&str> = names.chain(Made::ALL.iter().map(|(name, _)| *name)).collect();
        for (place, name) in names.iter().enumerate() {
            assert!(!names[..place].contains(name), "{name}");
        }
    }

    #[test]
    fn text_is_escaped_for_its_place() {
        assert_eq!(escaped("a\n\"b\"", 1), r#"a\n\"b\""#);
        assert_eq!(escaped("a\n\"b\"", 2), r#"a\\n\\\"b\\\""#);
    }
}
