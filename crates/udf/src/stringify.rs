//! A quicker `JSON.stringify` for plain data.
//!
//! QuickJS writes JSON text character by character, which was two thirds of the default script's time.
//! This walks arrays and plain objects the way ECMA-262 (SerializeJSONProperty and its kin) orders,
//! with each property read once and in order, and quotes strings in runs. Whatever is not plain data
//! (`toJSON`, proxies, boxed primitives, class instances, dates, functions, lone surrogates, cycles and
//! anything very deep) is given to the engine's own function, value by value, as is every call with a
//! replacer or an indent. The result is the same text; a property test holds the two against each other.

use std::sync::Arc;

use rquickjs::atom::PredefinedAtom;
use rquickjs::object::Filter;
use rquickjs::{Atom, Ctx, Error, Function, Object, Result, String as JsString, Type, Value};

use crate::pulse::Pulse;
use crate::quote::quote;

/// Nesting beyond which the engine's own function takes over: it watches its stack and finds cycles.
const DEPTH_MAX: usize = 64;

/// Puts the quick function before the engine's own. The two functions and the prototype are handed over
/// with each call: a Rust closure that kept them would keep the whole engine alive for ever.
const INSTALL: &str = "(function (quick) {
    var native = JSON.stringify, plain = Object.prototype;
    JSON.stringify = function stringify(value, replacer, space) {
        if (replacer == null && space == null) return quick(value, native, plain);
        return native(value, replacer, space);
    };
})";

/// Replaces `JSON.stringify`. `text_bytes_max` bounds the text held outside the engine's heap: a larger
/// one is left to the engine's own function and its heap limit.
pub(crate) fn install(ctx: &Ctx<'_>, pulse: &Arc<Pulse>, text_bytes_max: usize) -> Result<()> {
    let pulse = Arc::clone(pulse);
    let quick = one_lifetime(move |ctx, value, native, plain| {
        stringify(&ctx, &pulse, text_bytes_max, &value, native, plain)
    });
    let quick = Function::new(ctx.clone(), quick)?;
    ctx.eval::<Function<'_>, _>(INSTALL)?.call((quick,))
}

/// Tells the compiler what it does not infer: all of a closure's arguments are of one engine.
fn one_lifetime<F>(closure: F) -> F
where
    F: for<'js> Fn(Ctx<'js>, Value<'js>, Function<'js>, Object<'js>) -> Result<Value<'js>>,
{
    closure
}

fn stringify<'js>(
    ctx: &Ctx<'js>,
    pulse: &Pulse,
    text_bytes_max: usize,
    value: &Value<'js>,
    native: Function<'js>,
    plain: Object<'js>,
) -> Result<Value<'js>> {
    let out = String::with_capacity(1024);
    let mut writer = Writer { out, is_refused: false, pulse, native, plain, text_bytes_max };
    let written = writer.value(value, &Key::Root, 0)?;
    if writer.is_refused || writer.out.len() > text_bytes_max {
        return writer.native.call((value.clone(),));
    }
    match written {
        Written::Text => Ok(JsString::from_str(ctx.clone(), &writer.out)?.into_value()),
        Written::Nothing => Ok(Value::new_undefined(ctx.clone())),
    }
}

/// What a value is called where it is held, as `toJSON` gets to know it.
enum Key<'a, 'js> {
    Root,
    Index(usize),
    Name(&'a JsString<'js>),
}

/// What became of a value.
#[derive(PartialEq, Eq)]
enum Written {
    /// Its text.
    Text,
    /// It has none: undefined, a function, a symbol.
    Nothing,
}

struct Writer<'a, 'js> {
    out: String,
    /// Something came up that only a run of the engine's own function over everything can write.
    is_refused: bool,
    pulse: &'a Pulse,
    native: Function<'js>,
    plain: Object<'js>,
    text_bytes_max: usize,
}

impl<'js> Writer<'_, 'js> {
    /// Writes a value that is held under `key`.
    fn value(&mut self, value: &Value<'js>, key: &Key<'_, 'js>, depth: usize) -> Result<Written> {
        if let Some(string) = value.as_string() {
            self.string(string)?;
            return Ok(Written::Text);
        }
        match value.type_of() {
            Type::Int => self.out.push_str(itoa::Buffer::new().format(value.as_int().unwrap_or(0))),
            Type::Float => match value.as_float().filter(|number| number.is_finite()) {
                Some(number) => self.out.push_str(ryu_js::Buffer::new().format_finite(number)),
                None => self.out.push_str("null"),
            },
            Type::Bool => self.out.push_str(if value.as_bool() == Some(true) { "true" } else { "false" }),
            Type::Null => self.out.push_str("null"),
            Type::Undefined | Type::Symbol => return Ok(Written::Nothing),
            Type::Array | Type::Object if depth < DEPTH_MAX && !value.is_proxy() => {
                let Some(object) = value.as_object() else { return self.native(value, key) };
                return self.object(value, object, key, depth);
            }
            _ => return self.native(value, key),
        }
        Ok(Written::Text)
    }

    fn object(
        &mut self,
        value: &Value<'js>,
        object: &Object<'js>,
        key: &Key<'_, 'js>,
        depth: usize,
    ) -> Result<Written> {
        if self.pulse.is_stopped() || self.out.len() > self.text_bytes_max {
            return self.native(value, key);
        }
        let is_array = value.is_array();
        if !is_array && object.get_prototype().as_ref() != Some(&self.plain) {
            return self.native(value, key);
        }
        if object.get::<_, Value<'js>>(PredefinedAtom::ToJSON)?.is_function() {
            return self.native(value, key);
        }
        if !is_array {
            return self.properties(object, depth);
        }
        let Some(length) = object.get::<_, Value<'js>>(PredefinedAtom::Length)?.as_int() else {
            return self.native(value, key);
        };
        self.elements(value, usize::try_from(length).unwrap_or(0), depth)
    }

    fn elements(&mut self, value: &Value<'js>, length: usize, depth: usize) -> Result<Written> {
        let Some(array) = value.as_array() else {
            self.is_refused = true;
            return Ok(Written::Nothing);
        };
        self.out.push('[');
        for index in 0..length {
            if index > 0 {
                self.out.push(',');
            }
            let element: Value<'js> = array.get(index)?;
            if self.value(&element, &Key::Index(index), depth + 1)? == Written::Nothing {
                self.out.push_str("null");
            }
        }
        self.out.push(']');
        Ok(Written::Text)
    }

    fn properties(&mut self, object: &Object<'js>, depth: usize) -> Result<Written> {
        self.out.push('{');
        let start = self.out.len();
        let names = object.own_keys::<Atom<'js>>(Filter::new().string().enum_only());
        for atom in names {
            let atom = atom?;
            let name = atom.to_js_string()?;
            let property: Value<'js> = object.get(atom)?;
            let before = self.out.len();
            if before > start {
                self.out.push(',');
            }
            self.string(&name)?;
            self.out.push(':');
            if self.value(&property, &Key::Name(&name), depth + 1)? == Written::Nothing {
                self.out.truncate(before);
            }
        }
        self.out.push('}');
        Ok(Written::Text)
    }

    fn string(&mut self, string: &JsString<'js>) -> Result<()> {
        match string.to_string() {
            Ok(text) => quote(&mut self.out, &text),
            Err(Error::Utf8(_)) => {
                // A lone surrogate, which the engine's own function escapes.
                let quoted: JsString<'js> = self.native.call((string.clone(),))?;
                self.out.push_str(&quoted.to_string()?);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Has the engine's own function write the value: in an object of its own, so that a `toJSON` gets to
    /// know the right key, out of whose text `{"key":text}` the value's is taken.
    fn native(&mut self, value: &Value<'js>, key: &Key<'_, 'js>) -> Result<Written> {
        // Without a prototype, so that even the name `__proto__` is a property like any other.
        let holder = Object::new_proto(value.ctx().clone(), None)?;
        match key {
            Key::Root => return self.native_text(value.clone(), 0, 0),
            Key::Index(index) => holder.set(*index as u32, value.clone())?,
            Key::Name(name) => holder.set((*name).clone(), value.clone())?,
        }
        let before = self.out.len();
        match key {
            Key::Root => {}
            Key::Index(index) => quote(&mut self.out, itoa::Buffer::new().format(*index)),
            Key::Name(name) => self.string(name)?,
        }
        let name_length = self.out.len() - before;
        self.out.truncate(before);
        self.native_text(holder.into_value(), name_length + 2, 1)
    }

    /// Appends what the engine's own function makes of `value`, without so many bytes before and after.
    fn native_text(&mut self, value: Value<'js>, before: usize, after: usize) -> Result<Written> {
        let text: Option<JsString<'js>> = self.native.call((value,))?;
        let text = match text.map(|text| text.to_string()).transpose() {
            Ok(text) => text.unwrap_or_default(),
            Err(Error::Utf8(_)) => {
                // Raw JSON with a lone surrogate in it.
                self.is_refused = true;
                return Ok(Written::Nothing);
            }
            Err(error) => return Err(error),
        };
        match text.get(before..text.len().saturating_sub(after)).filter(|text| !text.is_empty()) {
            Some(text) => self.out.push_str(text),
            None => return Ok(Written::Nothing),
        }
        Ok(Written::Text)
    }
}
