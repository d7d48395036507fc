// What the scenarios of pubsub_clients.mjs are made of: a list of what holds and what does not, and short ways to
// publish, pull and receive with Google's Node client.

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import net from "node:net";

/** No scenario waits longer than this for what must come: what is slow is not wrong. */
export const WAIT_MS = 300_000;
/** Google's emulator keeps a pull waiting for as long as the client does. */
const PULL_WAIT_MS = 30_000;
const DEADLINE_EXCEEDED = 4;

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** What holds and what does not. Against an emulator, what is known to differ must differ, and nothing else. */
export class Report {
  #differs = {};
  #wrong = [];

  constructor(emulator) {
    if (emulator !== undefined) {
      const file = new URL(`pubsub_${emulator}_emulator.json`, import.meta.url);
      this.#differs = JSON.parse(readFileSync(file, "utf8"));
    }
  }

  check(what, holds, seen) {
    const expected = !(what in this.#differs);
    console.log(`  ${holds ? "" : "NO: "}${what}${expected ? "" : " (differs)"}`);
    if (Boolean(holds) === expected) return;
    this.#wrong.push(holds ? `${what}: it does not differ any more` : what);
    if (seen !== undefined) console.log(`      ${String(seen).slice(0, 500)}`);
  }

  /** The call is refused with a code of gRPC, and the texts are in what it says. */
  async fails(what, code, call, ...texts) {
    const error = await call().then(() => undefined, (error) => error);
    this.check(what, error?.code === code, error ?? "it did not fail");
    if (texts.length > 0) {
      this.check(`${what}: says what`, texts.every((text) => error?.message.includes(text)), error);
    }
  }

  /** What stops a scenario fails it, and the others go on. */
  async scenario(name, run) {
    try {
      await run();
    } catch (error) {
      this.check(`${name}: runs to its end`, false, error.stack);
    }
  }

  /** Whether all is as it should be. */
  end() {
    if (this.#wrong.length === 0) console.log("all that the client tried works");
    for (const what of this.#wrong) console.log(`not as it should be: ${what}`);
    return this.#wrong.length === 0;
  }
}

/** Google's client, in a project of its own. */
export class Client {
  constructor({ PubSub, v1 }, endpoint) {
    this.library = PubSub;
    this.endpoint = endpoint;
    this.project = `clients-${randomBytes(4).toString("hex")}`;
    this.pubsub = this.connect(endpoint);
    this.ready = this.pubsub.getClientConfig().then((config) => {
      this.publisher = new v1.PublisherClient(config);
      this.subscriber = new v1.SubscriberClient(config);
    });
  }

  connect(endpoint, options = {}) {
    return new this.library({ projectId: this.project, apiEndpoint: endpoint, ...options });
  }

  async topic(name, options) {
    const [topic] = await this.pubsub.createTopic(name);
    return this.pubsub.topic(topic.name, options);
  }

  async subscription(name, topic, settings = {}) {
    const [subscription] = await this.pubsub.createSubscription(topic, name, settings);
    return subscription.name;
  }

  /** Pulls until there are so many messages, or nothing came for a while. */
  async pull(subscription, count, { waitMs = WAIT_MS, ack = true } = {}) {
    const found = [];
    const until = Date.now() + waitMs;
    while (found.length < count && Date.now() < until) {
      const request = { subscription, maxMessages: count - found.length };
      const receivedMessages = await this.subscriber.pull(request, { timeout: PULL_WAIT_MS }).then(
        ([answer]) => answer.receivedMessages,
        (error) => {
          if (error.code !== DEADLINE_EXCEEDED) throw error;
          return [];
        },
      );
      if (ack && receivedMessages.length > 0) await this.ack(subscription, receivedMessages);
      found.push(...receivedMessages);
    }
    return found;
  }

  ack(subscription, messages) {
    return this.subscriber.acknowledge({ subscription, ackIds: messages.map((message) => message.ackId) });
  }

  extend(subscription, message, ackDeadlineSeconds) {
    return this.subscriber.modifyAckDeadline({ subscription, ackIds: [message.ackId], ackDeadlineSeconds });
  }

  /** Receives over a stream until what was found is enough, then for a while more. */
  async collect(name, enough, { handle = (message) => message.ack(), lingerMs = 0, waitMs = WAIT_MS, ...options } = {}) {
    // One stream, as flow control counts for each.
    const subscription = this.pubsub.subscription(name, { streamingOptions: { maxStreams: 1 }, ...options });
    const found = [];
    let timer;
    try {
      await new Promise((done, fail) => {
        timer = setTimeout(done, waitMs);
        subscription.on("error", fail);
        subscription.on("message", async (message) => {
          found.push(message);
          try {
            await handle(message, found);
          } catch (error) {
            fail(error);
          }
          if (enough(found)) done();
        });
      });
      await sleep(lingerMs);
    } finally {
      clearTimeout(timer);
      await subscription.close();
    }
    return found;
  }

  async close() {
    await Promise.all([this.pubsub.close(), this.publisher.close(), this.subscriber.close()]);
  }
}

/** Counts what a client sends to the server. */
export async function countingProxy(endpoint) {
  const [host, port] = endpoint.split(":");
  const proxy = { sentBytes: 0 };
  const sockets = new Set();
  const server = net.createServer((near) => {
    const far = net.connect(Number(port), host);
    for (const [socket, other] of [[near, far], [far, near]]) {
      sockets.add(socket);
      socket.on("error", () => other.destroy());
      socket.pipe(other);
    }
    near.on("data", (chunk) => (proxy.sentBytes += chunk.length));
  });
  await new Promise((done, fail) => server.once("error", fail).listen(0, "127.0.0.1", done));
  proxy.endpoint = `127.0.0.1:${server.address().port}`;
  proxy.close = () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  return proxy;
}
