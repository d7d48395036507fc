//! Random messages: JSON in every spelling that the grammar has, and nearly JSON.

use crate::random::Random;

const ENTRIES: &str = include_str!("../../../../testdata/gemini-cli/cloud_logging_entries.jsonl");

/// Names that the scripts read and write.
pub const NAMES: [&str; 10] =
    ["a", "b", "c", "labels", "jsonPayload", "a name", "gr\u{fc}\u{df}e", "severity", "list", "values"];

const ODD_NAMES: [&str; 18] = [
    "",
    "0",
    "1",
    "10",
    "007",
    "4294967295",
    "1e3",
    "-1",
    "__proto__",
    "constructor",
    "toString",
    "hasOwnProperty",
    "length",
    "toJSON",
    "\u{1f600}",
    "quo\"te",
    "line\nbreak",
    "\u{7f}\u{80}\u{2028}",
];

const NUMBERS: [&str; 44] = [
    "0",
    "-0",
    "1",
    "-1",
    "42",
    "1.0",
    "1.50",
    "-0.0",
    "0.1",
    "0.10",
    "1e0",
    "1E5",
    "1e21",
    "1e-7",
    "123e-20",
    "0.000001",
    "0.0000001",
    "0.0000012",
    "100000000000000000000",
    "999999999999999",
    "9999999999999999",
    "9007199254740993",
    "123456789012345678901234567890",
    "5e-324",
    "2.2250738585072014e-308",
    "1.7976931348623157e308",
    "1e999",
    "-1e999",
    "4.35",
    "0.30000000000000004",
    "1.7976931348623159e308",
    "3.141592653589793238",
    "1e400",
    "12345.678900",
    "1.10e+2",
    "1e+2",
    "0e5",
    "0.0e-5",
    "123456789.123456",
    "1234567890.123456",
    "1e20",
    "1e-6",
    "179769313486231570000",
    "-9223372036854775808",
];

/// A message.
pub fn message(random: &mut Random) -> String {
    match random.below(20) {
        0 => mutated(random, recorded),
        1 => mutated(random, document),
        2 => recorded(random),
        3 => {
            let depth = 1 + random.below(130);
            let (open, close) = random.pick(&[&("[", "]"), &("{\"a\":", "}")]);
            let inner = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            format!("{{\"{}\": {inner}}}", random.pick(&NAMES))
        }
        4 => {
            let mut out = String::new();
            value(random, &mut out, 3);
            out
        }
        _ => document(random),
    }
}

fn recorded(random: &mut Random) -> String {
    let count = ENTRIES.lines().count();
    ENTRIES.lines().nth(random.below(count)).unwrap().to_owned()
}

fn document(random: &mut Random) -> String {
    let mut out = String::new();
    space(random, &mut out);
    object(random, &mut out, 4, 12);
    space(random, &mut out);
    out
}

/// Breaks a document in one place, most likely.
fn mutated(random: &mut Random, make: fn(&mut Random) -> String) -> String {
    let mut text: Vec<char> = make(random).chars().collect();
    for _ in 0..=random.below(2) {
        let at = random.below(text.len().max(1)).min(text.len());
        let junk = random.pick(&[
            "\"", "\\", "{", "}", "[", "]", ",", ":", "0", "-", ".", "e", "\n", "\u{feff}", "\u{a0}",
            "\u{0}", "t", "'", "\\u", "\\ud83d", "1", " ", "//",
        ]);
        match random.below(3) {
            0 if at < text.len() => drop(text.remove(at)),
            1 => text.truncate(at),
            _ => drop(text.splice(at..at, junk.chars())),
        }
    }
    text.into_iter().collect()
}

fn space(random: &mut Random, out: &mut String) {
    match random.below(12) {
        0 => out.push_str("\t\r\n "),
        1 => out.push_str("                        "),
        2..5 => out.push(' '),
        _ => {}
    }
}

fn value(random: &mut Random, out: &mut String, depth: usize) {
    match random.below(if depth == 0 { 8 } else { 12 }) {
        0 => out.push_str("null"),
        1 => out.push_str(random.pick(&["true", "false"])),
        2 | 3 => number(random, out),
        4..8 => string(random, out),
        8 => {
            out.push('[');
            for index in 0..random.below(5) {
                if index > 0 {
                    out.push(',');
                }
                space(random, out);
                value(random, out, depth - 1);
                space(random, out);
            }
            out.push(']');
        }
        _ => object(random, out, depth - 1, 6),
    }
}

fn object(random: &mut Random, out: &mut String, depth: usize, properties_max: usize) {
    out.push('{');
    space(random, out);
    let odd = random.once_in(6);
    let mut names: Vec<&str> = Vec::new();
    for _ in 0..random.below(properties_max + 1) {
        let name = if odd && random.once_in(3) { random.pick(&ODD_NAMES) } else { random.pick(&NAMES) };
        // Names that come twice are rare enough to leave something to compare.
        if names.contains(&name) && !random.once_in(20) {
            continue;
        }
        if !names.is_empty() {
            out.push(',');
            space(random, out);
        }
        names.push(name);
        let spelled = random.once_in(8);
        quote(random, out, name, spelled);
        space(random, out);
        out.push(':');
        space(random, out);
        value(random, out, depth);
        space(random, out);
    }
    if random.once_in(12) {
        for index in 0..random.below(300) {
            if !names.is_empty() || index > 0 {
                out.push(',');
            }
            out.push_str(&format!("\"key{}\":{index}", random.below(100_000)));
        }
    }
    out.push('}');
}

fn number(random: &mut Random, out: &mut String) {
    match random.below(4) {
        0 => out.push_str(&(random.next() >> random.below(64)).to_string()),
        1 => out
            .push_str(&format!("{}", f64::from_bits(random.next())).replace("inf", "0").replace("NaN", "0")),
        _ => out.push_str(random.pick(&NUMBERS)),
    }
}

fn string(random: &mut Random, out: &mut String) {
    let mut text = String::new();
    for _ in 0..random.below(4) {
        match random.below(8) {
            0 => text.push_str(random.pick(&[
                "\u{1f600}",
                "\u{e9}",
                "\u{2028}",
                "\u{7f}",
                "\u{10ffff}",
                "\u{20ac}",
            ])),
            1 => {
                text.push_str(random.pick(&["\"", "\\", "\n", "\t", "\u{0}", "\u{1f}", "/", "\u{8}\u{c}\r"]))
            }
            2 => text.push_str(random.pick(&[
                "{\"json\": \"in json\"}",
                "C:\\dir\\file",
                "200",
                "ERROR",
                "true",
            ])),
            _ => text.extend((0..random.below(24)).map(|index| char::from(b'a' + (index % 26) as u8))),
        }
    }
    let spelled = random.once_in(3);
    quote(random, out, &text, spelled);
    if random.once_in(40) {
        out.pop();
        out.push_str(random.pick(&[
            "\\ud800",
            "\\udc00x",
            "\\uD83D\\uDE00",
            "\\ud83d\\ud83d",
            "\\udfff\\ud800",
            "\\ud800\\u0041",
        ]));
        out.push('"');
    }
}

/// A string in one of its spellings.
fn quote(random: &mut Random, out: &mut String, text: &str, spelled: bool) {
    out.push('"');
    for character in text.chars() {
        let short = match character {
            '"' => Some("\\\""),
            '\\' => Some("\\\\"),
            '\n' => Some("\\n"),
            '\t' => Some("\\t"),
            '\r' => Some("\\r"),
            '\u{8}' => Some("\\b"),
            '\u{c}' => Some("\\f"),
            '/' if spelled => Some("\\/"),
            _ => None,
        };
        let must = (character as u32) < 0x20 || matches!(character, '"' | '\\');
        match short {
            Some(short) if !random.once_in(4) => out.push_str(short),
            _ if must || (spelled && random.once_in(3)) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let upper = random.once_in(2);
                    out.push_str(&if upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") });
                }
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}
