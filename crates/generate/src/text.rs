//! Made-up prose, code and names: the words are those of the recordings, the rest is in their style. All of
//! it is plain ASCII without quotes and backslashes, so that it needs no escaping at any depth of JSON.

use crate::clock::push_number;
use crate::random::Random;

/// A line's end inside JSON text that is itself a JSON string.
pub(crate) const NEWLINE: &[u8] = br"\\n";
/// Places of the table that words are drawn from.
const TABLE: usize = 4_096;

const VERBS: [&str; 24] = [
    "load", "save", "parse", "render", "merge", "split", "count", "find", "build", "check", "apply", "reset",
    "fetch", "store", "sort", "filter", "map", "reduce", "update", "remove", "create", "handle", "resolve",
    "format",
];
const NOUNS: [&str; 40] = [
    "Cart", "Item", "Order", "Price", "Total", "Discount", "User", "Session", "Token", "Invoice", "Stock",
    "Batch", "Window", "Record", "Schema", "Query", "Cache", "Index", "Route", "Header", "Payload", "Event",
    "Metric", "Report", "Config", "Worker", "Queue", "Topic", "Offset", "Segment", "Filter", "Parser",
    "Writer", "Reader", "Client", "Server", "Handler", "Buffer", "Policy", "Quota",
];
const FOLDERS: [&str; 12] =
    ["src", "tests", "lib", "api", "core", "web", "docs", "scripts", "internal", "models", "views", "utils"];
const HOSTS: [&str; 6] = [
    "docs.example.com",
    "wiki.example.org",
    "example.com",
    "status.example.net",
    "blog.example.org",
    "registry.example.com",
];
const COMMANDS: [&str; 16] = [
    "npm test -- ",
    "ls -la ",
    "git diff --stat ",
    "git log --oneline -5 ",
    "cat ",
    "wc -l ",
    "npx tsc --noEmit ",
    "pytest -q ",
    "cargo test ",
    "go test ./",
    "rg -n deprecated ",
    "git status ",
    "npm run build && ls ",
    "head -50 ",
    "make lint && cat ",
    "node ",
];
/// Lines of code; `@` is a name, `#` a number.
const LINES: [&str; 26] = [
    "import { @, @ } from @;",
    "export function @(@: @, @: number): @ {",
    "  const @ = @(@, #);",
    "  const @ = await @(@);",
    "  if (@ === undefined) return;",
    "  for (const @ of @) @ += @ * #;",
    "  return @.reduce((t, i) => t + i.@ * i.@, 0);",
    "  return @(@).filter((i) => i.@ > #);",
    "}",
    "// NOTE: @ before @",
    "export interface @ { @: number; @: string }",
    "  let @ = #;",
    "  @.push({ @: @, @: # });",
    "  try {",
    "  } catch (e) {",
    "  throw new Error(String(@));",
    "  @(@.map((i) => i.@), @);",
    "  while (@ < #) @ = @(@ + 1);",
    "  switch (@.@) {",
    "    case #: return @;",
    "  expect(@(@)).toBe(#);",
    "describe(@, () => {",
    "  const { @, @ } = @;",
    "  await @(@, { @: # });",
    "  @ = Math.max(@, #);",
    "  console.log(@, @);",
];

/// Where text comes from.
pub(crate) struct Texts {
    /// A space in front of each.
    words: Vec<Box<[u8]>>,
    /// Words by how often they come.
    table: Vec<u16>,
}

impl Texts {
    /// Of words, the most frequent first.
    pub(crate) fn new(words: &[String]) -> Self {
        let weights: Vec<usize> = (0..words.len()).map(|rank| 1_000_000 / (rank + 12)).collect();
        let total: usize = weights.iter().sum::<usize>().max(1);
        let mut table = Vec::with_capacity(TABLE);
        let mut sum = 0;
        for (word, weight) in weights.iter().enumerate() {
            sum += weight;
            while table.len() < sum * TABLE / total {
                table.push(word as u16);
            }
        }
        table.resize(TABLE, 0);
        Self { words: words.iter().map(|word| format!(" {word}").into_bytes().into()).collect(), table }
    }

    /// So many words with a space between.
    pub(crate) fn words(&self, out: &mut Vec<u8>, random: &mut Random, count: u32) {
        let mut bits = 0;
        for place in 0..count {
            if place % 5 == 0 {
                bits = random.next();
            }
            let word = self.table[bits as usize % TABLE];
            let space = usize::from(place == 0);
            out.extend_from_slice(&self.words[usize::from(word)][space..]);
            bits >>= 12;
        }
    }

    /// So many lines of code.
    pub(crate) fn code(&self, out: &mut Vec<u8>, random: &mut Random, lines: u32) {
        for line in 0..lines {
            if line > 0 {
                out.extend_from_slice(NEWLINE);
            }
            if random.per_mille(120) {
                out.extend_from_slice(b"  // ");
                let words = random.between(3, 9);
                self.words(out, random, words);
                continue;
            }
            for byte in random.pick(&LINES).bytes() {
                match byte {
                    b'@' => identifier(out, random),
                    b'#' => push_number(out, random.below(500).into()),
                    byte => out.push(byte),
                }
            }
        }
    }

    /// What a command has printed.
    pub(crate) fn output(&self, out: &mut Vec<u8>, random: &mut Random) {
        match random.below(4) {
            0 => {
                let files = random.between(2, 8);
                listing(out, random, files);
            }
            1 => {
                let lines = random.between(2, 8);
                self.code(out, random, lines);
            }
            2 => {
                out.extend_from_slice(b"step ");
                push_number(out, random.below(40).into());
            }
            _ => {
                let words = random.between(3, 60);
                self.words(out, random, words);
            }
        }
    }
}

/// A name as code has them.
pub(crate) fn identifier(out: &mut Vec<u8>, random: &mut Random) {
    let bits = random.next();
    out.extend_from_slice(VERBS[(bits & 0xffff) as usize % VERBS.len()].as_bytes());
    out.extend_from_slice(NOUNS[(bits >> 16 & 0xffff) as usize % NOUNS.len()].as_bytes());
    if bits >> 60 == 0 {
        push_number(out, bits >> 32 & 63);
    }
}

/// A folder of a project.
pub(crate) fn folder(out: &mut Vec<u8>, random: &mut Random) {
    out.extend_from_slice(random.pick(&FOLDERS).as_bytes());
}

/// A file of a project.
pub(crate) fn path(out: &mut Vec<u8>, random: &mut Random) {
    folder(out, random);
    out.push(b'/');
    identifier(out, random);
    out.extend_from_slice(b".ts");
}

/// A pattern of file names.
pub(crate) fn glob(out: &mut Vec<u8>, random: &mut Random) {
    out.extend_from_slice(
        random.pick(&["**/*.ts", "**/*.py", "src/**/*.rs", "docs/*.md", "**/*.test.ts"]).as_bytes(),
    );
}

/// A host of a web page.
pub(crate) fn host(out: &mut Vec<u8>, random: &mut Random) {
    out.extend_from_slice(random.pick(&HOSTS).as_bytes());
}

/// A shell command.
pub(crate) fn command(out: &mut Vec<u8>, random: &mut Random) {
    out.extend_from_slice(random.pick(&COMMANDS).as_bytes());
    path(out, random);
}

/// Lines of a directory.
pub(crate) fn listing(out: &mut Vec<u8>, random: &mut Random, lines: u32) {
    for line in 0..lines {
        if line > 0 {
            out.extend_from_slice(NEWLINE);
        }
        path(out, random);
        out.extend_from_slice(b" (");
        push_number(out, random.between(20, 60_000).into());
        out.extend_from_slice(b" bytes)");
    }
}

/// An article number.
pub(crate) fn sku(out: &mut Vec<u8>, random: &mut Random) {
    out.push(b'A' + random.below(26) as u8);
    out.push(b'-');
    push_number(out, random.below(400).into());
}
