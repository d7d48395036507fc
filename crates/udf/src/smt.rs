//! Pub/Sub's single message transform, `f(message, metadata) -> message | null`: its arguments and what may
//! come back (<https://cloud.google.com/pubsub/docs/smts/udfs-overview>).
//!
//! `message` is `{data, attributes}`, `metadata` is `{message_id, publish_time, ordering_key}`, the last one
//! only where the message has one, and the first only when it is in a topic. The result is an object with a string `data`, and `attributes`, when
//! there are any, of strings within Pub/Sub's limits.

use chrono::DateTime;
use millrace_model::{AttributeBlock, ErrorClass, Micros, TopicId};
use rquickjs::object::{Filter, Property};
use rquickjs::{Atom, Ctx, Object, Result, String as JsString, Value};

use crate::envelope::{Envelope, Input};
use crate::thrown;

/// Why a returned value is no message.
pub(crate) enum Refused {
    /// It has another form.
    Form(ErrorClass, String),
    /// Looking at it threw.
    Thrown(rquickjs::Error),
}

impl From<rquickjs::Error> for Refused {
    fn from(error: rquickjs::Error) -> Self {
        Self::Thrown(error)
    }
}

/// A returned message.
pub(crate) struct Message<'js> {
    pub data: JsString<'js>,
    pub attributes: Option<Vec<(String, String)>>,
}

/// The two arguments.
pub(crate) fn arguments<'js>(ctx: &Ctx<'js>, input: Input<'_>) -> Result<(Object<'js>, Object<'js>)> {
    let message = Object::new(ctx.clone())?;
    let data = JsString::from_str(ctx.clone(), input.text)?;
    // Defined, not set, here and below: a script may have put a setter on `Object.prototype`, and an
    // attribute may be called `__proto__`.
    message.prop("data", Property::from(data).writable().enumerable().configurable())?;
    let attributes = Object::new(ctx.clone())?;
    let metadata = Object::new(ctx.clone())?;
    if let Some(envelope) = input.envelope {
        for (key, value) in &envelope.attributes {
            let value = Property::from(value.as_str()).writable().enumerable().configurable();
            attributes.prop(key.as_str(), value)?;
        }
        describe(&metadata, envelope)?;
    }
    message.prop("attributes", Property::from(attributes).writable().enumerable().configurable())?;
    Ok((message, metadata))
}

/// Metadata cannot be changed by the script.
fn describe(metadata: &Object<'_>, envelope: &Envelope) -> Result<()> {
    // A message on its way into a topic has no id yet.
    if envelope.id.topic != TopicId::NONE {
        metadata.prop("message_id", Property::from(envelope.id.to_string()).enumerable())?;
    }
    metadata.prop("publish_time", Property::from(timestamp(envelope.publish_time)).enumerable())?;
    if !envelope.ordering_key.is_empty() {
        metadata.prop("ordering_key", Property::from(envelope.ordering_key.as_str()).enumerable())?;
    }
    Ok(())
}

/// `YYYY-MM-DDTHH:MM:SSZ`, as documented: without a fraction.
fn timestamp(time: Micros) -> String {
    DateTime::from_timestamp(time.0.div_euclid(1_000_000), 0)
        .map_or_else(String::new, |time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Reads what the function returned; `None` for null, which leaves the message out.
pub(crate) fn read<'js>(value: &Value<'js>) -> std::result::Result<Option<Message<'js>>, Refused> {
    if value.is_null() {
        return Ok(None);
    }
    let is_plain = matches!(value.type_of(), rquickjs::Type::Object | rquickjs::Type::Proxy);
    let Some(object) = value.as_object().filter(|_| is_plain) else {
        let kind = thrown::kind(value);
        let text =
            format!("the UDF returned {kind}: it must return a message, {{data, attributes}}, or null");
        return Err(Refused::Form(ErrorClass::UdfResultType, text));
    };
    let data: Value<'js> = object.get("data")?;
    let Some(data) = data.as_string() else {
        let kind = thrown::kind(&data);
        let text = format!("the `data` of the returned message is {kind}: it must be a string");
        return Err(Refused::Form(ErrorClass::UdfResultType, text));
    };
    let attributes = read_attributes(&object.get("attributes")?)?;
    Ok(Some(Message { data: data.clone(), attributes }))
}

fn read_attributes(value: &Value<'_>) -> std::result::Result<Option<Vec<(String, String)>>, Refused> {
    let form = |text: String| Refused::Form(ErrorClass::UdfResultType, text);
    if value.is_undefined() || value.is_null() {
        return Ok(None);
    }
    let Some(object) = value.as_object().filter(|_| !value.is_array() && !value.is_function()) else {
        let kind = thrown::kind(value);
        return Err(form(format!(
            "the `attributes` of the returned message are {kind}: they must be an object"
        )));
    };
    let mut attributes = Vec::new();
    for key in object.own_keys::<Atom<'_>>(Filter::new().string().enum_only()) {
        let key = key?;
        let name = text(&key.to_js_string()?).ok_or_else(|| form(LONE.to_owned()))?;
        let value: Value<'_> = object.get(key)?;
        let Some(value) = value.as_string() else {
            let kind = thrown::kind(&value);
            return Err(form(format!("an attribute of the returned message is {kind}: it must be a string")));
        };
        attributes.push((name, text(value).ok_or_else(|| form(LONE.to_owned()))?));
    }
    let pairs = attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    match AttributeBlock::pack(pairs) {
        Ok(_) => Ok(Some(attributes)),
        Err(error) => Err(Refused::Form(
            ErrorClass::TooLarge,
            format!("in the attributes of the returned message: {error}"),
        )),
    }
}

const LONE: &str = "an attribute of the returned message holds a lone surrogate, which is no text";

fn text(string: &JsString<'_>) -> Option<String> {
    string.to_string().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_documented() {
        assert_eq!(timestamp(Micros(1_700_000_000_999_999)), "2023-11-14T22:13:20Z");
        assert_eq!(timestamp(Micros(-1)), "1969-12-31T23:59:59Z");
    }
}
