//! The functions that a query may call: nothing else is reachable by name, so a function that only
//! resembles GoogleSQL's is never called by mistake.

mod aggregate;
mod arithmetic;
mod array;
mod bits;
mod cast;
mod characters;
mod civil;
mod conditional;
mod contains;
mod date;
mod farm;
mod format;
mod generate;
mod hash;
pub(crate) mod json;
mod list;
mod pattern;
mod percentile;
mod quantiles;
mod regexp;
pub(crate) mod scalar;
mod string;
mod sum;
mod text;
mod timestamp;
mod top;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};

use crate::suggest::nearest;
use scalar::{Definition, Function};

pub(crate) use aggregate::FIRST_BY;
pub(crate) use arithmetic::operator;
pub(crate) use cast::cast_name;
pub(crate) use json::normal_string;
pub(crate) use list::ARRAY_OF;
pub use text::cell_text;
pub(crate) use text::write_json;

/// What kind of function a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    Scalar,
    Aggregate,
    Window,
}

static DEFINITIONS: LazyLock<HashMap<&'static str, &'static Definition>> = LazyLock::new(|| {
    let families = [
        arithmetic::DEFINITIONS,
        array::DEFINITIONS,
        bits::DEFINITIONS,
        cast::DEFINITIONS,
        characters::DEFINITIONS,
        contains::DEFINITIONS,
        date::DEFINITIONS,
        format::DEFINITIONS,
        generate::DEFINITIONS,
        hash::DEFINITIONS,
        json::DEFINITIONS,
        json::array::DEFINITIONS,
        json::build::DEFINITIONS,
        list::DEFINITIONS,
        regexp::DEFINITIONS,
        string::DEFINITIONS,
        timestamp::DEFINITIONS,
    ];
    families.iter().flat_map(|family| family.iter()).map(|definition| (definition.name, definition)).collect()
});

/// The scalar function of a name, with `safe.` or `safe_cast#` before it for the forgiving one.
pub(crate) fn scalar(name: &str) -> Option<Arc<ScalarUDF>> {
    if let Some(function) = conditional::function(name.strip_prefix("safe.").unwrap_or(name)) {
        return Some(function);
    }
    let (plain, safe) = match name.strip_prefix("safe_cast#") {
        Some(target) => (format!("cast#{target}"), true),
        None => match name.strip_prefix("safe.") {
            Some(plain) => (plain.to_owned(), true),
            None => (name.to_owned(), false),
        },
    };
    let definition = DEFINITIONS.get(plain.as_str())?;
    Some(Arc::new(ScalarUDF::new_from_impl(Function::new(name.to_owned(), definition, safe))))
}

pub(crate) fn aggregate(name: &str) -> Option<Arc<AggregateUDF>> {
    aggregate::aggregate(name)
}

pub(crate) fn window(name: &str) -> Option<Arc<WindowUDF>> {
    aggregate::window(name)
}

/// What a lower-case name is.
pub(crate) fn known(name: &str) -> Option<Known> {
    if DEFINITIONS.contains_key(name) || conditional::NAMES.contains(&name) {
        Some(Known::Scalar)
    } else if aggregate::AGGREGATES.contains(&name) {
        Some(Known::Aggregate)
    } else if aggregate::WINDOWS.contains(&name) {
        Some(Known::Window)
    } else {
        None
    }
}

/// Whether a name, in any case, is an aggregate function's.
pub(crate) fn is_aggregate(name: &str) -> bool {
    aggregate::AGGREGATES.contains(&name.to_lowercase().as_str())
}

/// The supported function whose name is most like this one.
pub(crate) fn nearest_function(name: &str) -> Option<String> {
    nearest(name, names())
}

/// The names of all functions that a query can write.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    const FORMS: [&str; 9] = [
        "if",
        "ifnull",
        "countif",
        "current_date",
        "current_timestamp",
        "current_datetime",
        "array_concat_agg",
        "max_by",
        "min_by",
    ];
    DEFINITIONS
        .keys()
        .copied()
        .chain(conditional::NAMES.iter().copied())
        .chain(aggregate::AGGREGATES.iter().copied())
        .chain(aggregate::WINDOWS.iter().copied())
        .chain(FORMS)
        .filter(|name| !name.contains('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_function() {
        for name in names().filter(|name| known(name).is_some()) {
            match known(name) {
                Some(Known::Scalar) => assert!(scalar(name).is_some(), "{name}"),
                Some(Known::Aggregate) => assert!(aggregate(name).is_some(), "{name}"),
                Some(Known::Window) => assert!(window(name).is_some(), "{name}"),
                None => {}
            }
        }
        assert_eq!(nearest_function("json_valu"), Some("json_value".to_owned()));
    }
}
