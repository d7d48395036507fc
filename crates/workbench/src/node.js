/*
 * Runs a UDF over messages in Node and prints how fast that was. Reads job.json ({scripts, function, seconds})
 * and messages.ndjson beside it. One pass makes the digest and warms the compiler up; then whole passes are
 * timed until the time is over.
 */
'use strict';
const fs = require('fs');
const vm = require('vm');
const crypto = require('crypto');

const job = JSON.parse(fs.readFileSync('job.json', 'utf8'));
const messages = fs.readFileSync('messages.ndjson', 'utf8').split('\n');
const say = process.stdout.write.bind(process.stdout);
// Not in a context of its own, where every look at a global is slow. What scripts print goes nowhere.
globalThis.console = { log() {}, error() {}, warn() {}, info() {}, debug() {} };
globalThis.print = function () {};
for (const script of job.scripts) vm.runInThisContext(script.source, { filename: script.name });
const udf = vm.runInThisContext(job.function);

function outcome(message) {
  let returned;
  try {
    returned = udf(message);
  } catch (error) {
    return '!';
  }
  if (returned === null || returned === undefined || returned === '') return '-';
  return typeof returned === 'string' ? '+' + returned : '!';
}

const digest = crypto.createHash('sha256');
// A lone surrogate has no UTF-8: its escape stands for it, as it does in a row.
const escaped = (text) => text.replace(/[\ud800-\udfff]/gu, (one) => '\\u' + one.charCodeAt(0).toString(16));
for (const message of messages) digest.update(escaped(outcome(message)) + '\n');

let done = 0;
let kept = 0;
const cpu = process.cpuUsage();
const started = process.hrtime.bigint();
const limit = BigInt(Math.round(job.seconds * 1e9));
do {
  for (const message of messages) kept += outcome(message).length;
  done += messages.length;
} while (process.hrtime.bigint() - started < limit);
const elapsed = Number(process.hrtime.bigint() - started) / 1e9;
const used = process.cpuUsage(cpu);
say(JSON.stringify({
  version: process.version,
  messages: done,
  elapsed,
  processor: (used.user + used.system) / 1e6,
  digest: digest.digest('hex'),
  kept,
}));
