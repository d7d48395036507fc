//! The templates, read once from the two files that the crate carries: what was recorded, and what is only
//! documented.

use std::collections::HashMap;

use serde_json::Value;

use crate::kind::Kind;
use crate::plan::ToolUse;
use crate::template::{Pattern, escaped};
use crate::text::Texts;

/// Made from the recordings by `scripts/make_templates.py`.
const RECORDED: &str = include_str!("templates.json");
/// Written by hand.
const DOCUMENTED: &str = include_str!("documented.json");

/// A template file that cannot be used: a mistake in this crate, which its tests find.
#[derive(Debug, thiserror::Error)]
#[error(
    "the templates of millrace-generate are broken at {0}; this is a mistake in the program, please report it"
)]
pub struct TemplateError(String);

/// When an attribute is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    /// The user lets prompts be logged.
    Prompts,
    /// Somebody or something decided on the tool call.
    Decision,
    ContentLength,
    Mcp,
    Metadata,
    Failed,
}

/// One kind of record.
#[derive(Debug)]
pub(crate) struct Template {
    /// With the quotes.
    pub(crate) event: Box<[u8]>,
    pub(crate) traced_percent: u32,
    /// Attributes from the comma on; neighbours that always come are one pattern.
    pub(crate) attributes: Vec<(When, Pattern)>,
    pub(crate) message: Pattern,
}

/// A tool, and how its calls look in each place.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) weight: u32,
    pub(crate) server: String,
    pub(crate) compact: Pattern,
    pub(crate) pretty: Pattern,
    pub(crate) nested: Pattern,
    pub(crate) answer: Pattern,
    pub(crate) metadata: Option<Pattern>,
    /// What went wrong, for a call that fails.
    pub(crate) failure: Option<Failure>,
}

/// How a tool call failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Pattern,
    pub(crate) error_type: String,
    /// Whether the call came as far as a decision.
    pub(crate) decided: bool,
}

/// How a model's answer failed.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: u32,
    pub(crate) error: String,
}

/// All templates.
pub(crate) struct Library {
    templates: Vec<Template>,
    /// Tools whose calls work.
    pub(crate) tools: Vec<Tool>,
    /// Calls that fail.
    pub(crate) failures: Vec<Tool>,
    pub(crate) api_errors: Vec<ApiError>,
    pub(crate) texts: Texts,
    pub(crate) system_main: String,
    pub(crate) system_subagent: String,
    pub(crate) session_context: Pattern,
    pub(crate) next_speaker: String,
    /// What users ask for.
    pub(crate) prompts: Vec<Pattern>,
}

impl Library {
    /// # Errors
    /// When a template lacks something or names a slot that does not exist.
    pub(crate) fn load() -> Result<Self, TemplateError> {
        let recorded = parse(RECORDED)?;
        let documented = parse(DOCUMENTED)?;
        let mut templates = Vec::new();
        for (name, _) in Kind::ALL {
            let value = [&recorded, &documented].into_iter().find_map(|file| file["kinds"].get(name));
            templates.push(template(value.ok_or_else(|| TemplateError((*name).to_owned()))?)?);
        }
        let tools = list(&recorded["tools"])?.iter().chain(list(&documented["tools"])?);
        let texts = &recorded["texts"];
        let words: Vec<String> = list(&texts["words"])?.iter().map(text).collect::<Result<_, _>>()?;
        Ok(Self {
            templates,
            tools: tools.map(tool).collect::<Result<_, _>>()?,
            failures: list(&recorded["failures"])?.iter().map(tool).collect::<Result<_, _>>()?,
            api_errors: list(&recorded["api_errors"])?.iter().map(api_error).collect::<Result<_, _>>()?,
            texts: Texts::new(&words),
            system_main: escaped(&text(&texts["system"]["main"])?, 1),
            system_subagent: escaped(&text(&texts["system"]["subagent"])?, 1),
            session_context: pattern(&escaped(&text(&texts["session_context"])?, 2))?,
            next_speaker: escaped(&text(&texts["next_speaker"])?, 2),
            prompts: list(&documented["prompts"])?
                .iter()
                .map(|item| pattern(&text(item)?))
                .collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn template(&self, kind: Kind) -> &Template {
        &self.templates[kind as usize]
    }

    /// The tool of a call. Places come from these very lists, so there is one.
    pub(crate) fn used(&self, tool: ToolUse) -> &Tool {
        let uses = if tool.fails { &self.failures } else { &self.tools };
        &uses[usize::from(tool.place)]
    }
}

/// What was measured of the recordings: (records, bytes of one on average).
///
/// # Errors
/// When the template file lacks it.
pub fn recorded() -> Result<(u64, u64), TemplateError> {
    let recorded = &parse(RECORDED)?["recorded"];
    Ok((number(&recorded["records"])?, number(&recorded["bytes_mean"])?))
}

/// How often each event was recorded.
///
/// # Errors
/// When the template file lacks it.
pub fn recorded_mix() -> Result<HashMap<String, u64>, TemplateError> {
    let file = parse(RECORDED)?;
    list(&file["mix"])?.iter().map(|row| Ok((text(&row["event"])?, number(&row["records"])?))).collect()
}

fn template(value: &Value) -> Result<Template, TemplateError> {
    let mut attributes: Vec<(When, String)> = Vec::new();
    for attribute in list(&value["attributes"])? {
        let when = when(attribute.get("when").and_then(Value::as_str))?;
        let piece = format!(",{}:{}", attribute["name"], text(&attribute["json"])?);
        match attributes.last_mut() {
            Some((last, joined)) if *last == when => joined.push_str(&piece),
            _ => attributes.push((when, piece)),
        }
    }
    let attributes = attributes.iter().map(|(when, text)| Ok((*when, pattern(text)?)));
    Ok(Template {
        event: value["event"].to_string().into_bytes().into(),
        traced_percent: number(&value["traced_percent"])? as u32,
        attributes: attributes.collect::<Result<_, _>>()?,
        message: pattern(&escaped(&text(&value["message"])?, 1))?,
    })
}

fn when(name: Option<&str>) -> Result<When, TemplateError> {
    Ok(match name {
        None => When::Always,
        Some("prompts") => When::Prompts,
        Some("decision") => When::Decision,
        Some("content_length") => When::ContentLength,
        Some("mcp") => When::Mcp,
        Some("metadata") => When::Metadata,
        Some("failed") => When::Failed,
        Some(other) => return Err(TemplateError(format!("when {other}"))),
    })
}

fn tool(value: &Value) -> Result<Tool, TemplateError> {
    let arguments = &value["args"];
    let pretty = serde_json::to_string_pretty(arguments).map_err(|error| TemplateError(error.to_string()))?;
    let in_string = |text: &str| pattern(&escaped(&unquoted(text), 1));
    let failure = value.get("error").map(|error| {
        Ok(Failure {
            error: pattern(&escaped(&text(error)?, 1))?,
            error_type: text(&value["error_type"])?,
            decided: value["decided"] == Value::Bool(true),
        })
    });
    let answer = value.get("answer").or(value.get("error"));
    let metadata = value.get("metadata").and_then(Value::as_str).filter(|text| !text.is_empty());
    Ok(Tool {
        name: text(&value["name"])?,
        weight: number(&value["calls"])? as u32,
        server: text(&value["server"])?,
        compact: in_string(&arguments.to_string())?,
        pretty: in_string(&pretty)?,
        nested: in_string(&pretty.replace('\n', "\n  "))?,
        answer: pattern(&escaped(&text(answer.unwrap_or(&Value::Null))?, 2))?,
        metadata: metadata.map(|text| pattern(&escaped(text, 1))).transpose()?,
        failure: failure.transpose()?,
    })
}

/// Slots that stand for numbers (`"«#int:1-9»"`) without the quotes that keep the file valid.
fn unquoted(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\"«#") {
        let (name, behind) = after.split_once("»\"").unwrap_or((after, ""));
        result.push_str(before);
        result.push_str(&format!("«{name}»"));
        rest = behind;
    }
    result + rest
}

fn api_error(value: &Value) -> Result<ApiError, TemplateError> {
    Ok(ApiError { status: number(&value["status"])? as u32, error: escaped(&text(&value["error"])?, 1) })
}

fn parse(file: &str) -> Result<Value, TemplateError> {
    serde_json::from_str(file).map_err(|error| TemplateError(error.to_string()))
}

fn pattern(text: &str) -> Result<Pattern, TemplateError> {
    Pattern::parse(text).map_err(|slot| TemplateError(format!("slot {slot}")))
}

fn list(value: &Value) -> Result<&Vec<Value>, TemplateError> {
    value.as_array().ok_or_else(|| TemplateError(format!("{value}, which is not a list")))
}

fn text(value: &Value) -> Result<String, TemplateError> {
    value.as_str().map(str::to_owned).ok_or_else(|| TemplateError(format!("{value}, which is not text")))
}

fn number(value: &Value) -> Result<u64, TemplateError> {
    value.as_u64().ok_or_else(|| TemplateError(format!("{value}, which is not a number")))
}
