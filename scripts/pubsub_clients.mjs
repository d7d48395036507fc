#!/usr/bin/env node
// Uses the Pub/Sub port as people do: with Google's Node client.
//
//     scripts/pubsub_clients.mjs HOST PORT [--emulator google] [SCENARIO...]
//
// Installs @google-cloud/pubsub into a temporary directory, or into PUBSUB_CLIENTS_NODE where it stays. The
// scenarios are those of pubsub_clients.py. With --emulator google they run against Google's own emulator: what is
// known to differ there (pubsub_google_emulator.json, docs/pubsub.md) must differ, and nothing else.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";

import { Client, Report, WAIT_MS, countingProxy, sleep } from "./pubsub_client_kit.mjs";

/** The newest that runs on Node 18 and 20 too. */
const PACKAGE = "@google-cloud/pubsub@5.3.1";

/** gRPC's codes. */
const [INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION] = [3, 5, 6, 9];
/** grpc-js's number for it. */
const GZIP = 2;

const text = (message) => (message.message ?? message).data.toString();
const texts = (messages) => messages.map(text);
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
const numbers = (count) => Array.from({ length: count }, (_, n) => n);
const sorted = (list) => [...list].sort((one, other) => one - other);

async function publishing(client, report) {
  const topic = await client.topic("publishing", { batching: { maxMessages: 100, maxMilliseconds: 50 } });
  const sub = await client.subscription("publishing", topic);
  const publish = (n) => topic.publishMessage({ data: Buffer.from(`m${n}`), attributes: { number: String(n) } });
  const ids = await Promise.all(numbers(1000).map(publish));
  report.check("publish: a thousand in batches, each with its id", new Set(ids).size === 1000);
  const received = await client.collect(sub, (found) => new Set(found.map(({ id }) => id)).size >= 1000);
  const byId = new Map(received.map((message) => [message.id, message]));
  const is = (message, n) => message && text(message) === `m${n}` && message.attributes.number === String(n)
    && Math.abs(message.publishTime.getTime() - Date.now()) < 600_000;
  report.check("streaming pull: all of them, with data, attributes, ids and times", ids.every((id, n) => is(byId.get(id), n)));
  const data = Buffer.alloc(1_000_000, "z");
  const proxy = await countingProxy(client.endpoint);
  const zipping = client.connect(proxy.endpoint, { "grpc.default_compression_algorithm": GZIP });
  await zipping.topic(topic.name).publishMessage({ data });
  await zipping.close();
  proxy.close();
  report.check("publish: compressed, a tenth of it on the wire", proxy.sentBytes < data.length / 10, proxy.sentBytes);
  const [large] = await client.pull(sub, 1);
  report.check("pull: what was published compressed", large?.message.data.equals(data));
  const none = client.pubsub.topic(`${topic.name}-none`);
  await report.fails("publish: to a topic that is not there", NOT_FOUND, () => none.publishMessage({ data: Buffer.from("x") }), none.name);
  await report.fails("publish: an empty message", INVALID_ARGUMENT,
    () => client.publisher.publish({ topic: topic.name, messages: [{}] }), "at least one attribute");
}

async function administration(client, report) {
  const { pubsub, publisher, subscriber } = client;
  const topic = await client.topic("administration");
  await report.fails("create a topic twice", ALREADY_EXISTS, () => pubsub.createTopic(topic.name), topic.name);
  const name = await client.subscription("administration", topic, { ackDeadlineSeconds: 30, labels: { a: "b" } });
  const subscription = pubsub.subscription(name);
  let [got] = await subscription.getMetadata();
  report.check("subscription: settings and defaults", got.topic === topic.name && got.ackDeadlineSeconds === 30
    && Number(got.messageRetentionDuration?.seconds) === 7 * 86_400 && got.labels.a === "b", JSON.stringify(got));
  await subscription.setMetadata({ ackDeadlineSeconds: 60 });
  [got] = await subscription.getMetadata();
  report.check("subscription: an update changes what its mask names", got.ackDeadlineSeconds === 60 && got.labels.a === "b", JSON.stringify(got));
  await report.scenario("topic: update", async () => {
    await topic.setMetadata({ labels: { x: "y" } });
    const [metadata] = await topic.getMetadata();
    report.check("topic: update", metadata.labels.x === "y", JSON.stringify(metadata));
  });
  for (const n of numbers(25)) await client.subscription(`page-${n}`, topic);
  const pages = [];
  let query = { pageSize: 10, autoPaginate: false };
  while (query && pages.length < 100) {
    const [found, next] = await pubsub.getSubscriptions(query);
    pages.push(found.map((one) => one.name));
    query = next;
  }
  const listed = pages.flat();
  report.check("lists come in pages", pages.length >= 3 && listed.includes(name) && new Set(listed).size === listed.length, pages.length);
  const [attached] = await topic.getSubscriptions();
  report.check("a topic's subscriptions", attached.length === 26, attached.length);
  await report.scenario("detach", async () => {
    await pubsub.detachSubscription(name);
    await report.fails("pull: from a detached subscription", FAILED_PRECONDITION,
      () => subscriber.pull({ subscription: name, maxMessages: 1 }), "detached");
  });
  await subscription.delete();
  await report.fails("get: a deleted subscription", NOT_FOUND, () => subscription.getMetadata(), name);
  const [{ name: unchanged }] = await publisher.getTopic({ topic: topic.name });
  report.check("get: a topic", unchanged === topic.name);
}

async function leases(client, report) {
  const topic = await client.topic("leases");
  const sub = await client.subscription("leases", topic, { ackDeadlineSeconds: 10 });
  await topic.publishMessage({ data: Buffer.from("lease") });
  const [first] = await client.pull(sub, 1, { ack: false });
  await client.extend(sub, first, 0);
  const [second] = await client.pull(sub, 1, { ack: false });
  report.check("nack: comes again at once", text(second) === "lease");
  report.check("nack: with another ack id", second.ackId !== first.ackId);
  const start = performance.now();
  await client.extend(sub, second, 20);
  const again = await client.pull(sub, 1);
  const afterMs = performance.now() - start;
  report.check("extension: comes again after its deadline, not before", afterMs > 19_900 && same(texts(again), ["lease"]), afterMs);
  await topic.publishMessage({ data: Buffer.from("slow") });
  let handled = 0;
  const handle = async (message) => {
    await sleep(15_000);
    message.ack();
    handled += 1;
  };
  const received = await client.collect(sub, () => handled > 0, { handle });
  report.check("streaming pull: leases are extended while a message is handled", received.length === 1 && handled === 1, received.length);
  report.check("and it does not come again", (await client.pull(sub, 1, { waitMs: 3_000 })).length === 0);
}

async function ordering(client, report) {
  const topic = await client.topic("ordering", { messageOrdering: true });
  const sub = await client.subscription("ordering", topic, { enableMessageOrdering: true });
  await Promise.all(numbers(300).map((n) => topic.publishMessage({ data: Buffer.from(String(n)), orderingKey: `key-${n % 3}` })));
  let failed = false;
  const handle = (message) => {
    if (text(message) !== "30" || failed) return message.ack();
    failed = true;
    return message.nack();
  };
  // The nack brings later messages again, so more than these come.
  const enough = (found) => new Set(texts(found)).size === 300 && found.filter((message) => text(message) === "30").length > 1;
  const received = await client.collect(sub, enough, { handle, lingerMs: 3_000 });
  report.check("ordering: everything came", new Set(texts(received)).size === 300);
  for (const key of [0, 1, 2]) {
    const ofKey = received.filter((message) => message.orderingKey === `key-${key}`).map((message) => Number(text(message)));
    report.check(`ordering: key ${key} in order`, same([...new Set(ofKey)], sorted(new Set(ofKey))), ofKey);
  }
  const ofKey = received.filter((message) => message.orderingKey === "key-0").map((message) => Number(text(message)));
  const again = ofKey.slice(ofKey.indexOf(30) + 1);
  const replayed = again.slice(again.indexOf(30));
  report.check("ordering: a nack replays from there, in order", again.includes(30) && same(replayed, sorted(replayed)), ofKey);
}

async function deadLetters(client, report) {
  const [topic, dead] = [await client.topic("work"), await client.topic("dead")];
  const sub = await client.subscription("work", topic, { deadLetterPolicy: { deadLetterTopic: dead.name, maxDeliveryAttempts: 5 } });
  const fromDead = await client.subscription("dead", dead);
  await topic.publishMessage({ data: Buffer.from("poison"), attributes: { who: "me" } });
  // Google's emulator looks at attempts when it is about to deliver again: somebody must stay to be delivered to.
  const options = { handle: (message) => message.nack(), lingerMs: 3_000 };
  const received = await client.collect(sub, (found) => found.length >= 5, options);
  const attempts = received.map((message) => message.deliveryAttempt);
  report.check("dead letter: attempts are counted", same(attempts.slice(0, 5), [1, 2, 3, 4, 5]), attempts);
  const [letter] = await client.pull(fromDead, 1);
  report.check("dead letter: arrives with its attributes", letter && text(letter) === "poison"
    && letter.message.attributes.who === "me"
    && letter.message.attributes.CloudPubSubDeadLetterSourceSubscription === "work", JSON.stringify(letter?.message.attributes));
}

async function filters(client, report) {
  const topic = await client.topic("filters");
  const sub = await client.subscription("filters", topic, { filter: 'attributes.kind = "a" AND NOT attributes:skip' });
  for (const attributes of [{ kind: "b" }, { kind: "a", skip: "" }, {}, { kind: "a" }]) {
    await topic.publishMessage({ data: Buffer.from(JSON.stringify(attributes)), attributes });
  }
  const passed = [...new Set(texts(await client.pull(sub, 4, { waitMs: 5_000 })))];
  report.check("filter: only what passes", same(passed, ['{"kind":"a"}']), passed);
  await report.fails("filter: a wrong one", INVALID_ARGUMENT, () => client.subscription("bad-filter", topic, { filter: "kind = a" }), "filter");
}

async function seeks(client, report) {
  const { pubsub, subscriber } = client;
  const topic = await client.topic("seeks");
  const sub = await client.subscription("seeks", topic, { retainAckedMessages: true, ackDeadlineSeconds: 60 });
  const subscription = pubsub.subscription(sub);
  for (const n of numbers(3)) await topic.publishMessage({ data: Buffer.from(`before ${n}`) });
  const first = await client.pull(sub, 3, { ack: false });
  await client.ack(sub, first.filter((message) => text(message) === "before 0"));
  const [snapshot] = await subscription.createSnapshot("here");
  const [made] = await subscriber.getSnapshot({ snapshot: snapshot.name });
  report.check("snapshot: made, and lives a week", made.topic === topic.name
    && Number(made.expireTime.seconds) - Date.now() / 1000 > 6 * 86_400, JSON.stringify(made));
  await report.scenario("snapshot: labels", async () => {
    await subscriber.updateSnapshot({ snapshot: { name: snapshot.name, labels: { a: "b" } }, updateMask: { paths: ["labels"] } });
    const [labelled] = await subscriber.getSnapshot({ snapshot: snapshot.name });
    report.check("snapshot: labels", labelled.labels.a === "b");
  });
  await client.ack(sub, first.filter((message) => text(message) !== "before 0"));
  // The client takes milliseconds for microseconds, and so seeks up to a second too early.
  await sleep(1_100);
  await topic.publishMessage({ data: Buffer.from("after") });
  const after = await client.pull(sub, 1);
  report.check("then only the new one", same(texts(after), ["after"]));
  const { seconds, nanos } = after[0].message.publishTime;
  const then = new Date(Number(seconds) * 1000 + Math.floor(nanos / 1e6));
  await subscription.seek("here");
  report.check("seek: to the snapshot", same(texts(await client.pull(sub, 3)).sort(), ["after", "before 1", "before 2"]));
  await subscription.seek(then);
  report.check("seek: to a time", same(texts(await client.pull(sub, 1)), ["after"]));
  await subscription.seek(new Date(then.getTime() - 3_600_000));
  report.check("seek: back to the beginning", (await client.pull(sub, 4)).length === 4);
  const [listed] = await pubsub.getSnapshots();
  report.check("snapshots are listed", same(listed.map((one) => one.name), [snapshot.name]));
  await snapshot.delete();
  await report.fails("seek: to a deleted snapshot", NOT_FOUND, () => subscription.seek("here"), snapshot.name);
}

async function backoff(client, report) {
  const topic = await client.topic("backoff");
  const retryPolicy = { minimumBackoff: { seconds: 3 }, maximumBackoff: { seconds: 4 } };
  const sub = await client.subscription("backoff", topic, { retryPolicy });
  await topic.publishMessage({ data: Buffer.from("again") });
  const times = [];
  const handle = (message) => {
    times.push(performance.now());
    return times.length < 3 ? message.nack() : message.ack();
  };
  await client.collect(sub, () => times.length >= 3, { handle });
  const gaps = [times[1] - times[0], times[2] - times[1]];
  report.check("retry policy: waits between deliveries, and longer", gaps[0] > 2_900 && gaps[1] > 3_900, gaps);
}

async function exactlyOnce(client, report) {
  // One for each: Google's emulator does not always go on with a subscription whose stream was closed.
  const make = async (name) => {
    const topic = await client.topic(`exactly-${name}`);
    const settings = { enableExactlyOnceDelivery: true, ackDeadlineSeconds: 10 };
    const sub = await client.subscription(`exactly-${name}`, topic, settings);
    return { sub, publish: (data) => topic.publishMessage({ data: Buffer.from(data) }) };
  };
  const [acked, givenBack, late] = [await make("acked"), await make("given-back"), await make("late")];
  for (const n of numbers(50)) await acked.publish(String(n));
  const results = [];
  const handle = async (message) => results.push(await message.ackWithResponse());
  const received = await client.collect(acked.sub, () => results.length >= 50, { handle });
  report.check("exactly once: acks are confirmed", results.length === 50 && results.every((result) => result === "SUCCESS")
    && new Set(texts(received)).size === 50, results);
  await givenBack.publish("given back");
  const answers = {};
  let secondAcked;
  const second = new Promise((done) => (secondAcked = done));
  // The first waits until the second is through: then nothing but the ack id tells the two apart.
  const giveBackFirst = async (message, found) => {
    const name = found.length === 1 ? "first" : "second";
    if (name === "first") {
      await message.modAckWithResponse(0);
      await second;
    }
    answers[name] = await message.ackWithResponse().catch((error) => error.errorCode);
    if (name === "second") secondAcked();
  };
  await client.collect(givenBack.sub, () => answers.first && answers.second, { handle: giveBackFirst });
  report.check("exactly once: who gave a message back cannot ack it", answers.first === "INVALID" && answers.second === "SUCCESS",
    JSON.stringify(answers));
  await late.publish("late");
  const [stale] = await client.pull(late.sub, 1, { ack: false });
  await client.extend(late.sub, stale, 0);
  const [fresh] = await client.pull(late.sub, 1, { ack: false });
  await report.fails("exactly once: a stale ack fails", INVALID_ARGUMENT, () => client.ack(late.sub, [stale]), "invalid");
  await client.ack(late.sub, [fresh]);
  const again = await client.pull(late.sub, 1, { waitMs: 12_000 });
  again.push(...(await client.pull(acked.sub, 1, { waitMs: 1_000 })));
  report.check("exactly once: nothing comes again", again.length === 0, texts(again));
}

async function flowControl(client, report) {
  const topic = await client.topic("flow");
  const sub = await client.subscription("flow", topic);
  await Promise.all(numbers(60).map(() => topic.publishMessage({ data: Buffer.alloc(1000, "x") })));
  let [running, most, taken] = [0, 0, 0];
  const options = { flowControl: { maxMessages: 5, allowExcessMessages: false } };
  // The first stream keeps what it gets until another one had the rest.
  let release;
  const released = new Promise((done) => (release = done));
  const keep = async (message) => {
    most = Math.max(most, ++running);
    await released;
    running -= 1;
    message.ack();
    taken += 1;
  };
  const keeping = client.collect(sub, () => taken >= 5, { handle: keep, ...options });
  const until = Date.now() + WAIT_MS;
  while (running < 5 && Date.now() < until) await sleep(50);
  const others = await client.collect(sub, (found) => found.length >= 55, { waitMs: WAIT_MS / 2 });
  release();
  await keeping;
  report.check("flow control: at most as many as asked for", most === 5, most);
  report.check("flow control: what one has no room for another one gets", others.length === 55, others.length);
}

const SCENARIOS = { publishing, administration, leases, ordering, dead_letters: deadLetters, filters, seeks, backoff,
  exactly_once: exactlyOnce, flow_control: flowControl };

/** Google's library, from where it was installed before, or installed now. */
function library(home) {
  if (!existsSync(path.join(home, "node_modules", "@google-cloud", "pubsub"))) {
    mkdirSync(home, { recursive: true });
    const quietly = ["--silent", "--no-audit", "--no-fund", "--no-save"];
    const done = spawnSync("npm", ["install", ...quietly, "--prefix", home, PACKAGE], { stdio: ["ignore", "inherit", "inherit"] });
    if (done.status !== 0) throw new Error(`npm cannot install ${PACKAGE}: ${done.error ?? `it ended with ${done.status}`}`);
  }
  return createRequire(path.join(home, "node_modules", "anything.js"))("@google-cloud/pubsub");
}

async function main() {
  const [host, port, ...rest] = process.argv.slice(2);
  const emulator = rest[0] === "--emulator" ? rest.splice(0, 2)[1] : undefined;
  const unknown = rest.filter((name) => !(name in SCENARIOS));
  if (!port || unknown.length > 0) {
    throw new Error(`give HOST PORT [--emulator google] [${Object.keys(SCENARIOS).join(" ")}], not ${unknown}`);
  }
  const kept = process.env.PUBSUB_CLIENTS_NODE;
  // There are no credentials, so the client need not look for those of a machine in Google's cloud.
  process.env.METADATA_SERVER_DETECTION = "none";
  const home = kept ?? mkdtempSync(path.join(os.tmpdir(), "pubsub-clients-"));
  try {
    const client = new Client(library(home), `${host}:${port}`);
    await client.ready;
    const report = new Report(emulator);
    for (const name of rest.length > 0 ? rest : Object.keys(SCENARIOS)) {
      await report.scenario(name, () => SCENARIOS[name](client, report));
    }
    await client.close();
    process.exitCode = report.end() ? 0 : 1;
  } finally {
    if (kept === undefined) rmSync(home, { recursive: true });
  }
}

await main();
