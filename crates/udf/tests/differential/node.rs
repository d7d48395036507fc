//! Node beside us, where it is installed: another engine's word for what JavaScript gives.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::Answer;

const PROGRAM: &str = r"
const vm = require('vm');
const lone = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
const escaped = (text) => text.replace(lone, (half) => '\\u' + half.charCodeAt(0).toString(16));
require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const { script, messages } = JSON.parse(line);
  const context = vm.createContext({ console: { error() {}, log() {} } });
  vm.runInContext(script, context);
  const f = vm.runInContext('f', context);
  const answers = messages.map((message) => {
    try {
      const result = f(message);
      if (result === undefined || result === null || result === '') return null;
      return typeof result === 'string' ? { row: escaped(result) } : { failed: true };
    } catch (error) {
      return { failed: true };
    }
  });
  process.stdout.write(JSON.stringify(answers) + '\n');
});
";

pub struct Node {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Node {
    /// Starts it, when it is installed.
    pub fn start() -> Option<Self> {
        let spawned =
            Command::new("node").args(["-e", PROGRAM]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.ok()?;
        let (input, output) = (child.stdin.take()?, BufReader::new(child.stdout.take()?));
        Some(Self { child, input, output })
    }

    pub fn run(&mut self, script: &str, messages: &[String]) -> Vec<Answer> {
        let task = serde_json::json!({ "script": script, "messages": messages });
        writeln!(self.input, "{task}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let answers: Vec<serde_json::Value> = serde_json::from_str(&line).unwrap();
        let answer = |answer: serde_json::Value| match answer.get("row") {
            Some(row) => Answer::Row(row.as_str().unwrap().to_owned()),
            None if answer.is_null() => Answer::Filtered,
            None => Answer::Failed(String::new()),
        };
        answers.into_iter().map(answer).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
