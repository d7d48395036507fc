//! Names that objects have from their prototypes.

/// Names on `Object.prototype` (ECMA-262, 20.1.3 and B.2.2): every object answers to them, whether or not
/// the data has them.
const OBJECT: [&str; 12] = [
    "__defineGetter__",
    "__defineSetter__",
    "__lookupGetter__",
    "__lookupSetter__",
    "__proto__",
    "constructor",
    "hasOwnProperty",
    "isPrototypeOf",
    "propertyIsEnumerable",
    "toLocaleString",
    "toString",
    "valueOf",
];

/// Names on the prototypes of strings, arrays, numbers and booleans that objects do not have, `length`
/// among them (ECMA-262 2025 and its Annex B; a name too many costs speed only).
const OTHERS: [&str; 78] = [
    "anchor",
    "at",
    "big",
    "blink",
    "bold",
    "charAt",
    "charCodeAt",
    "codePointAt",
    "concat",
    "copyWithin",
    "endsWith",
    "entries",
    "every",
    "fill",
    "filter",
    "find",
    "findIndex",
    "findLast",
    "findLastIndex",
    "fixed",
    "flat",
    "flatMap",
    "fontcolor",
    "fontsize",
    "forEach",
    "includes",
    "indexOf",
    "isWellFormed",
    "italics",
    "join",
    "keys",
    "lastIndexOf",
    "length",
    "link",
    "localeCompare",
    "map",
    "match",
    "matchAll",
    "normalize",
    "padEnd",
    "padStart",
    "pop",
    "push",
    "reduce",
    "reduceRight",
    "repeat",
    "replace",
    "replaceAll",
    "reverse",
    "search",
    "shift",
    "slice",
    "small",
    "some",
    "sort",
    "splice",
    "split",
    "startsWith",
    "strike",
    "sub",
    "substr",
    "substring",
    "sup",
    "toExponential",
    "toFixed",
    "toLowerCase",
    "toLocaleLowerCase",
    "toLocaleUpperCase",
    "toPrecision",
    "toReversed",
    "toSorted",
    "toSpliced",
    "toUpperCase",
    "toWellFormed",
    "trim",
    "trimEnd",
    "unshift",
    "values",
];

/// More of them, of older or newer engines.
const STRAYS: [&str; 4] = ["trimStart", "trimLeft", "trimRight", "with"];

/// Whether every object has something of that name.
pub(crate) fn is_on_objects(name: &str) -> bool {
    OBJECT.contains(&name)
}

/// Whether a string, an array, a number or a boolean has something of that name.
pub(crate) fn is_on_others(name: &str) -> bool {
    OTHERS.contains(&name) || STRAYS.contains(&name) || is_on_objects(name) || is_digits(name)
}

/// Whether an object may put a property of that name before others: integer-like names come first, in
/// ascending order (ECMA-262, OrdinaryOwnPropertyKeys). Some that are too large for that are included.
pub(crate) fn is_digits(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// The name as an index of an array, when it is one.
pub(crate) fn index(name: &str) -> Option<u32> {
    let canonical = is_digits(name) && (name == "0" || !name.starts_with('0'));
    canonical.then(|| name.parse().ok()).flatten().filter(|&index| index < u32::MAX)
}
