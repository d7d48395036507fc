//! Reads what a script threw, without trusting it: a thrown value may be anything, and looking at it
//! may run more of the script's code (getters, `toString`), which may throw again.

use millrace_model::ErrorClass;
use rquickjs::convert::Coerced;
use rquickjs::{Ctx, Object, String as JsString, Type, Value};

use crate::foreign;

/// A thrown value in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Thrown {
    /// The error's name, for instance `TypeError`; empty for anything that is not an Error.
    pub name: String,
    /// What it says.
    pub message: String,
    /// The JavaScript stack with script names and line numbers.
    pub stack: Option<String>,
    /// Whether the value is null: the engine's own last resort when there is no memory left even for
    /// the error object.
    pub is_null: bool,
}

impl Thrown {
    /// Takes the pending exception off `ctx` and describes it.
    pub fn catch(ctx: &Ctx<'_>) -> Self {
        let value = ctx.catch();
        let is_null = value.is_null();
        let thrown = match value.as_exception() {
            Some(error) => Self::from_error(ctx, error.as_object()),
            None => Self {
                name: String::new(),
                message: format!("threw {}", describe(ctx, &value)),
                stack: None,
                is_null,
            },
        };
        forget_exception(ctx);
        thrown
    }

    fn from_error(ctx: &Ctx<'_>, error: &Object<'_>) -> Self {
        let name = property(ctx, error, "name").unwrap_or_default();
        let message = property(ctx, error, "message").unwrap_or_default();
        let stack = property(ctx, error, "stack").filter(|stack| !stack.is_empty());
        Self { name, message, stack, is_null: false }
    }

    /// `Name: message`, as a console shows it, with a word on what another engine would have had.
    pub fn text(&self) -> String {
        let mut text = match (self.name.as_str(), self.message.as_str()) {
            ("", "") => "threw an error without a message".to_owned(),
            ("", message) => message.to_owned(),
            (name, "") => name.to_owned(),
            (name, message) => format!("{name}: {message}"),
        };
        if let Some(hint) = foreign::hint_on_name(self) {
            text.push_str(hint);
        }
        text
    }

    /// Which limit this is the engine's word for, else that the UDF threw.
    pub fn class(&self) -> ErrorClass {
        match (self.name.as_str(), self.message.as_str()) {
            ("InternalError", message) if message.starts_with("out of memory") => ErrorClass::UdfMemory,
            ("RangeError", "Maximum call stack size exceeded") => ErrorClass::UdfStack,
            _ => ErrorClass::UdfThrew,
        }
    }

    /// The line in `script` that the stack names first, counted from 1.
    pub fn line_in(&self, script: &str) -> Option<u32> {
        let stack = self.stack.as_deref()?;
        let after = &stack[stack.find(&format!("{script}:"))? + script.len() + 1..];
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        after[..digits].parse().ok()
    }
}

/// What kind of value it is, in the words of the language, with its article.
pub(crate) fn kind(value: &Value<'_>) -> &'static str {
    match value.type_of() {
        Type::Int | Type::Float => "a number",
        Type::Bool => "a boolean",
        Type::BigInt => "a bigint",
        Type::Function | Type::Constructor => "a function",
        Type::Exception => "an error object",
        Type::Array => "an array",
        Type::Promise => "a promise",
        Type::Proxy => "a proxy",
        Type::Symbol => "a symbol",
        Type::String => "a string",
        Type::Null => "null",
        Type::Undefined | Type::Uninitialized => "undefined",
        _ => "an object",
    }
}

/// Clears the pending exception, if any, so that nothing later takes it for its own.
fn forget_exception(ctx: &Ctx<'_>) {
    if ctx.has_exception() {
        drop(ctx.catch());
    }
}

fn property(ctx: &Ctx<'_>, object: &Object<'_>, key: &str) -> Option<String> {
    let value: Result<Value<'_>, _> = object.get(key);
    let text = value.ok().filter(|value| !value.is_undefined()).and_then(|value| coerced(ctx, &value));
    forget_exception(ctx);
    text
}

/// A value that is not an Error, in words.
pub(crate) fn describe<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> String {
    if value.is_symbol() || value.is_proxy() {
        return kind(value).to_owned();
    }
    let plain = coerced(ctx, value);
    let json = (value.type_of() == Type::Object).then(|| ctx.json_stringify(value.clone()).ok().flatten());
    forget_exception(ctx);
    let json = json.flatten().and_then(|json| text(&json));
    let is_telling = |text: &String| text != "[object Object]";
    match plain.filter(is_telling).or(json) {
        Some(text) => text,
        None => format!("{} that cannot be turned into text", kind(value)),
    }
}

fn coerced(ctx: &Ctx<'_>, value: &Value<'_>) -> Option<String> {
    let string = value.get::<Coerced<JsString<'_>>>();
    forget_exception(ctx);
    text(&string.ok()?.0)
}

/// The text of a string; one with a lone surrogate has no UTF-8, and is not worth more words here.
fn text(string: &JsString<'_>) -> Option<String> {
    match string.to_string() {
        Ok(text) => Some(text),
        Err(rquickjs::Error::Utf8(_)) => Some("(text with a lone surrogate)".to_owned()),
        Err(_) => None,
    }
}
