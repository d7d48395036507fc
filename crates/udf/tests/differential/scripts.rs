//! Random scripts: projections as people write them, and stranger ones.

use crate::documents::NAMES;
use crate::random::Random;

/// A script that defines `f`, for the template's shape.
pub fn script(random: &mut Random) -> String {
    let overlay = random.once_in(4);
    let mut writer = Writer { random, locals: 0, names: Vec::new(), overlay, depth: 0 };
    let mut body = String::new();
    for _ in 0..1 + writer.random.below(7) {
        body.push_str(&writer.statement());
    }
    let result = match (overlay, writer.random.below(12)) {
        (true, _) => "JSON.stringify(o)".to_owned(),
        (_, 0) => writer.value(2),
        (_, 1) => format!("{} ? JSON.stringify(row) : null", writer.value(1)),
        (_, 2) => "text".to_owned(),
        (_, 3) => format!("JSON.stringify({{ a: {}, b: {}, row: row }})", writer.value(2), writer.value(1)),
        (_, 4) => format!("JSON.stringify(({} && null) || {{ c: {} }})", writer.value(1), writer.value(1)),
        _ => "JSON.stringify(row)".to_owned(),
    };
    let start = writer.random.pick(&[
        "var row = {};",
        "const row = { first: o.a };",
        "var row = { nested: { x: o.b, y: 'y' }, z: null };",
    ]);
    let text = if result == "text" { "var text = JSON.stringify(row);" } else { "" };
    let parse = writer.random.pick(&[
        "var o = JSON.parse(s);",
        "var o; try { o = JSON.parse(s); } catch (e) { return null; }",
        "if (!s) { return null; } const o = JSON.parse(s);",
    ]);
    format!(
        "var LIST = ['a', 'b', 'labels', 'severity'];\nvar MAP = {{ a: 'A', c: 'C', list: 'L' }};\n\
         function pick(v, d) {{ if (v === undefined || v === null) {{ return d; }} return v; }}\n\
         const text = (v) => typeof v === 'string' ? v : JSON.stringify(v);\n\
         function f(s) {{\n{parse}\n{start}\n{body}{text}\nreturn {result};\n}}\n"
    )
    .replace("const text = (v)", "const asText = (v)")
}

struct Writer<'r> {
    random: &'r mut Random,
    locals: usize,
    /// Variables that are declared so far.
    names: Vec<String>,
    overlay: bool,
    depth: usize,
}

impl Writer<'_> {
    fn name(&mut self) -> &'static str {
        self.random.pick(&NAMES)
    }

    fn property(&mut self, base: &str, optional: bool) -> String {
        let name = self.name();
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let chain = if optional { "?." } else { "" };
        match plain && !self.random.once_in(4) {
            true => format!("{base}{}{name}", if optional { "?." } else { "." }),
            false => {
                format!("{base}{chain}[{name:?}]").replace("\\u{fc}", "\u{fc}").replace("\\u{df}", "\u{df}")
            }
        }
    }

    fn path(&mut self) -> String {
        let first = self.property("o", false);
        match self.random.below(8) {
            0 => self.property(&first, true),
            1 => {
                let second = self.property(&first, true);
                self.property(&second, true)
            }
            2 => format!("{first}?.[0]"),
            3 => format!("({first} || {{}})") + &self.property("", false),
            4 => format!("{first} && {}", self.property(&first, false)),
            _ => first,
        }
    }

    fn value(&mut self, depth: usize) -> String {
        if depth == 0 {
            return match self.random.below(6) {
                0 => self.literal(),
                1 if !self.names.is_empty() => {
                    let index = self.random.below(self.names.len());
                    self.names[index].clone()
                }
                _ => self.path(),
            };
        }
        let (a, b) = (self.value(depth - 1), self.value(depth - 1));
        match self.random.below(24) {
            0 => format!("({a} || {b})"),
            1 => format!("({a} && {b})"),
            2 => format!("(({a}) ?? ({b}))"),
            3 => format!("({} ? {a} : {b})", self.condition(depth - 1)),
            4 => format!("'' + ({a})"),
            5 => format!("(({a}) + ({b}))"),
            6 => format!("`x${{{a}}}\\n${{{b}}}`"),
            7 | 8 => format!("JSON.stringify({a})"),
            9 => format!("String({a})"),
            10 => format!("pick({a}, {b})"),
            11 => format!("asText({a})"),
            12 => format!("typeof ({a})"),
            13 => self.condition(depth - 1),
            14 => format!("{{ x: {a}, 'y z': {b} }}"),
            15 => "row.first".to_owned(),
            16 => format!("JSON.stringify({{ x: {a}, {}: {b} }})", self.random.pick(&["y", "a", "'q\"'"])),
            _ => a,
        }
    }

    fn literal(&mut self) -> String {
        self.random
            .pick(&[
                "null",
                "undefined",
                "'text'",
                "''",
                "0",
                "-0",
                "1.5",
                "1e21",
                "true",
                "false",
                "'\\u00e9\\n\"'",
                "'\u{1f600}'",
            ])
            .to_owned()
    }

    fn condition(&mut self, depth: usize) -> String {
        let a = self.value(depth);
        match self.random.below(12) {
            0 => format!("({a}) === {}", self.literal()),
            1 => format!("({a}) !== undefined"),
            2 => format!("({a}) == null"),
            3 => format!("!({a})"),
            4 => format!(
                "typeof ({a}) === {}",
                self.random.pick(&["'string'", "'object'", "'number'", "'undefined'"])
            ),
            5 => format!("Array.isArray({a})"),
            6 => {
                format!("({:?} in o)", self.name()).replace("\\u{fc}", "\u{fc}").replace("\\u{df}", "\u{df}")
            }
            7 => "o.hasOwnProperty('a')".to_owned(),
            8 => format!("({a}) > 1"),
            9 => format!("({a}) != {}", self.literal()),
            10 => format!("({a}) === ({})", self.path()),
            _ => format!("!!({a})"),
        }
    }

    fn target(&mut self) -> String {
        let base = if self.overlay && !self.random.once_in(3) { "o" } else { "row" };
        self.property(base, false)
    }

    fn statement(&mut self) -> String {
        self.depth += 1;
        let text = self.statement_here();
        self.depth -= 1;
        text
    }

    fn block(&mut self) -> String {
        let known = self.names.len();
        let mut text = String::new();
        for _ in 0..1 + self.random.below(2) {
            text.push_str(&self.statement());
        }
        self.names.truncate(known);
        text
    }

    fn statement_here(&mut self) -> String {
        let simple = self.depth > 3;
        match self.random.below(if simple { 5 } else { 16 }) {
            0..=2 => {
                let (target, value) = (self.target(), self.value(2));
                format!("{target} = {value};\n")
            }
            3 => {
                let (kind, value) = (self.random.pick(&["var", "let", "const"]), self.value(2));
                self.locals += 1;
                let name = format!("v{}", self.locals);
                self.names.push(name.clone());
                format!("{kind} {name} = {value};\n")
            }
            4 => format!("if ({}) {{ return null; }}\n", self.condition(1) + " && o.c === 'never' "),
            5 | 6 => {
                let (test, then) = (self.condition(2), self.block());
                let other = if self.random.once_in(2) { format!(" else {{\n{}}}", self.block()) } else { String::new() };
                format!("if ({test}) {{\n{then}}}{other}\n")
            }
            7 => {
                let test = self.random.pick(&["v !== undefined", "v", "v != null", "typeof v === 'string'"]);
                format!("for (var i = 0; i < LIST.length; i++) {{ var n = LIST[i], v = o[n]; if ({test}) {{ row[n + '_x'] = v; }} }}\n")
            }
            8 => "for (const k in MAP) { row[MAP[k]] = o[k]; }\n".to_owned(),
            9 => "LIST.forEach(function (n) { if (o[n] == null) return; row['t_' + n] = asText(o[n]); });\n".to_owned(),
            10 => "for (let n of LIST) { if (n === 'b') continue; if (o.c === n) break; row[n] = pick(o[n], n); }\n".to_owned(),
            11 => format!("delete {};\n", self.target()),
            12 => {
                self.locals += 1;
                let name = format!("v{}", self.locals);
                let value = self.value(1);
                let text = format!("var {name} = 'p'; {name} += {value}; {name} = {name} + '-';\n");
                self.names.push(name);
                text
            }
            13 => {
                let (subject, one, two) = (self.value(1), self.block(), self.block());
                format!("switch ({subject}) {{ case 'ERROR': case 200: {{ {one} break; }} case true: {two} break; default: row.other = 1; }}\n")
            }
            14 => {
                self.locals += 2;
                let (one, two) = (format!("v{}", self.locals - 1), format!("v{}", self.locals));
                let text = format!("var {{ a: {one}, severity: {two} = 'DEFAULT' }} = o;\n");
                self.names.extend([one, two]);
                text
            }
            _ => {
                let inner = self.block();
                format!("try {{ {inner} }} catch (e) {{ console.error('bad', e.message); return JSON.stringify({{ error: e.message }}); }}\n")
            }
        }
    }
}
