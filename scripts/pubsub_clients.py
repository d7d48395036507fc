#!/usr/bin/env python3
"""Uses the Pub/Sub port as people do: with Google's Python client.

    scripts/pubsub_clients.py HOST PORT [--emulator google] [SCENARIO...]

Makes a virtual environment in a temporary directory, or in PUBSUB_CLIENTS_VENV where it stays, and installs
google-cloud-pubsub there. The scenarios are those of pubsub_clients.mjs. With --emulator google they run against
Google's own emulator: what is known to differ there (pubsub_google_emulator.json, docs/pubsub.md) must differ, and
nothing else.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import venv

PACKAGE = "google-cloud-pubsub==2.44.0"
CLIENT = '''
import contextlib, datetime, json, os, socket, sys, threading, time, traceback, uuid

import grpc
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber import exceptions as subscriber_exceptions
from google.cloud.pubsub_v1.subscriber.exceptions import AcknowledgeStatus
from google.cloud.pubsub_v1.types import BatchSettings, FlowControl, PublisherOptions
from google.protobuf import duration_pb2, field_mask_pb2
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

PROJECT = "clients-" + uuid.uuid4().hex[:8]
# No scenario waits longer than this for what must come: what is slow is not wrong.
WAIT = 300
# Google's emulator keeps a pull waiting for as long as the client does.
PULL_WAIT = 30
# What is known not to hold.
DIFFERS = json.loads(os.environ["PUBSUB_CLIENTS_DIFFERS"])
publisher = pubsub_v1.PublisherClient()
subscriber = pubsub_v1.SubscriberClient()
wrong = []


def check(what, holds, seen=None):
    expected = what not in DIFFERS
    print(f"  {'' if holds else 'NO: '}{what}{'' if expected else ' (differs)'}", flush=True)
    if bool(holds) != expected:
        wrong.append(f"{what}: it does not differ any more" if holds else what)
        if seen is not None:
            print(f"      {str(seen)[:500]}", flush=True)


def fails(what, kind, call, *texts):
    """The call is refused with an error, and the texts are in what it says."""
    error = None
    try:
        call()
    except Exception as refused:
        error = refused
    check(what, isinstance(error, kind), error or "it did not fail")
    if texts:
        check(f"{what}: says what", all(text in str(error) for text in texts), error)


@contextlib.contextmanager
def scenario(name):
    """What stops it fails it, and the others go on."""
    try:
        yield
    except Exception as error:
        if f"{name}: runs to its end" not in DIFFERS:
            traceback.print_exc()
        check(f"{name}: runs to its end", False, error)


def seconds(count):
    return duration_pb2.Duration(seconds=int(count), nanos=int(count % 1 * 1e9))


def topic(name):
    path = publisher.topic_path(PROJECT, name)
    publisher.create_topic(name=path)
    return path


def subscription(name, of, **settings):
    path = subscriber.subscription_path(PROJECT, name)
    subscriber.create_subscription(request={"name": path, "topic": of, **settings})
    return path


def pull(path, count, wait=WAIT, ack=True):
    """Pulls until there are so many messages, or nothing came for a while."""
    found, until = [], time.monotonic() + wait
    while len(found) < count and time.monotonic() < until:
        request = {"subscription": path, "max_messages": count - len(found)}
        try:
            more = subscriber.pull(request=request, timeout=PULL_WAIT).received_messages
        except exceptions.DeadlineExceeded:
            continue
        if ack and more:
            subscriber.acknowledge(subscription=path, ack_ids=[message.ack_id for message in more])
        found += more
    return found


def data(received):
    return [one.message.data.decode() for one in received]


def collect(path, enough, handle=lambda message: message.ack(), wait=WAIT, linger=0, **settings):
    """Receives over a stream until what was found is enough, then for a while more."""
    found, done, one_at_a_time = [], threading.Event(), threading.Lock()

    def callback(message):
        with one_at_a_time:
            found.append(message)
        handle(message)
        with one_at_a_time:
            if enough(found):
                done.set()

    future = subscriber.subscribe(path, callback, **settings)
    done.wait(wait)
    time.sleep(linger)
    future.cancel()
    future.result(timeout=WAIT)
    return found


class CountingProxy:
    """Counts what a client sends to the server."""

    def __init__(self, endpoint):
        host, port = endpoint.rsplit(":", 1)
        self.sent_bytes = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self.listener.getsockname()[1]}"

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    near, far = self.listener.accept()[0], socket.create_connection((host, int(port)))
                    threading.Thread(target=self.pump, args=(near, far, True), daemon=True).start()
                    threading.Thread(target=self.pump, args=(far, near, False), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()

    def pump(self, source, target, count):
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                self.sent_bytes += len(chunk) if count else 0
                target.sendall(chunk)
            target.shutdown(socket.SHUT_WR)


def publishing():
    top = topic("publishing")
    sub = subscription("publishing", top)
    batched = pubsub_v1.PublisherClient(batch_settings=BatchSettings(max_messages=100, max_latency=0.05))
    futures = [batched.publish(top, f"m{n}".encode(), number=str(n)) for n in range(1000)]
    ids = [future.result(timeout=WAIT) for future in futures]
    check("publish: a thousand in batches, each with its id", len(set(ids)) == 1000)
    received = collect(sub, lambda found: len({message.message_id for message in found}) >= 1000)
    by_id = {message.message_id: message for message in received}
    check("streaming pull: all of them, with data, attributes, ids and times", all(
        id in by_id and by_id[id].data == f"m{n}".encode() and by_id[id].attributes["number"] == str(n)
        and abs(by_id[id].publish_time.timestamp() - time.time()) < 600 for n, id in enumerate(ids)))
    large = b"z" * 1_000_000
    proxy = CountingProxy(os.environ["PUBSUB_EMULATOR_HOST"])
    channel = grpc.insecure_channel(proxy.endpoint, compression=grpc.Compression.Gzip)
    zipping = pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=channel))
    zipping.publish(top, large).result(timeout=WAIT)
    zipping.stop()
    channel.close()
    proxy.listener.close()
    check("publish: compressed, a tenth of it on the wire", proxy.sent_bytes < len(large) / 10, proxy.sent_bytes)
    check("pull: what was published compressed", pull(sub, 1)[0].message.data == large)
    fails("publish: to a topic that is not there", exceptions.NotFound,
        lambda: publisher.publish(top + "-none", b"x").result(timeout=WAIT), top + "-none")
    fails("publish: an empty message", exceptions.InvalidArgument,
        lambda: publisher.api.publish(topic=top, messages=[{}]), "at least one attribute")


def administration():
    top = topic("administration")
    fails("create a topic twice", exceptions.AlreadyExists, lambda: publisher.create_topic(name=top), top)
    sub = subscription("administration", top, ack_deadline_seconds=30, labels={"a": "b"})
    got = subscriber.get_subscription(subscription=sub)
    check("subscription: settings and defaults", got.topic == top and got.ack_deadline_seconds == 30
        and got.message_retention_duration == datetime.timedelta(days=7) and got.labels["a"] == "b")
    got = subscriber.update_subscription(subscription={"name": sub, "ack_deadline_seconds": 60, "labels": {}},
        update_mask=field_mask_pb2.FieldMask(paths=["ack_deadline_seconds"]))
    check("subscription: an update changes what its mask names", got.ack_deadline_seconds == 60 and got.labels["a"] == "b")
    with scenario("topic: update"):
        mask = field_mask_pb2.FieldMask(paths=["labels"])
        got = publisher.update_topic(topic={"name": top, "labels": {"x": "y"}}, update_mask=mask)
        check("topic: update", got.labels["x"] == "y" and publisher.get_topic(topic=top).labels["x"] == "y")
    for n in range(25):
        subscription(f"page-{n}", top)
    pages = list(subscriber.list_subscriptions(request={"project": f"projects/{PROJECT}", "page_size": 10}).pages)
    listed = [one.name for page in pages for one in page.subscriptions]
    check("lists come in pages", len(pages) >= 3 and sub in listed and len(set(listed)) == len(listed))
    check("a topic's subscriptions", len(list(publisher.list_topic_subscriptions(topic=top))) == 26)
    with scenario("detach"):
        publisher.detach_subscription(request={"subscription": sub})
        fails("pull: from a detached subscription", exceptions.FailedPrecondition,
            lambda: subscriber.pull(subscription=sub, max_messages=1), "detached")
    subscriber.delete_subscription(subscription=sub)
    fails("get: a deleted subscription", exceptions.NotFound, lambda: subscriber.get_subscription(subscription=sub), sub)
    check("get: a topic", publisher.get_topic(topic=top).name == top)


def leases():
    top = topic("leases")
    sub = subscription("leases", top, ack_deadline_seconds=10)
    publisher.publish(top, b"lease").result(timeout=WAIT)
    first = pull(sub, 1, ack=False)
    subscriber.modify_ack_deadline(subscription=sub, ack_ids=[first[0].ack_id], ack_deadline_seconds=0)
    second = pull(sub, 1, ack=False)
    check("nack: comes again at once", data(second) == ["lease"])
    check("nack: with another ack id", second[0].ack_id != first[0].ack_id)
    start = time.monotonic()
    subscriber.modify_ack_deadline(subscription=sub, ack_ids=[second[0].ack_id], ack_deadline_seconds=20)
    again = pull(sub, 1)
    after = time.monotonic() - start
    check("extension: comes again after its deadline, not before", after > 19.9 and data(again) == ["lease"], after)
    publisher.publish(top, b"slow").result(timeout=WAIT)
    handled = []

    def slow(message):
        time.sleep(15)
        message.ack()
        handled.append(message)

    received = collect(sub, lambda found: handled, slow)
    check("streaming pull: leases are extended while a message is handled", len(received) == len(handled) == 1)
    check("and it does not come again", pull(sub, 1, wait=3) == [])


def ordering():
    top = topic("ordering")
    sub = subscription("ordering", top, enable_message_ordering=True)
    ordered = pubsub_v1.PublisherClient(publisher_options=PublisherOptions(enable_message_ordering=True))
    futures = [ordered.publish(top, str(n).encode(), ordering_key=f"key-{n % 3}") for n in range(300)]
    [future.result(timeout=WAIT) for future in futures]
    failed = threading.Event()

    def handle(message):
        if message.data == b"30" and not failed.is_set():
            failed.set()
            message.nack()
        else:
            message.ack()

    # The nack brings later messages again, so more than these come.
    def enough(found):
        of = [message.data for message in found]
        return len(set(of)) == 300 and of.count(b"30") > 1

    received = collect(sub, enough, handle, linger=3)
    check("ordering: everything came", {int(message.data) for message in received} == set(range(300)))
    for key in range(3):
        of_key = [int(message.data) for message in received if message.ordering_key == f"key-{key}"]
        firsts = list(dict.fromkeys(of_key))
        check(f"ordering: key {key} in order", firsts == sorted(firsts), of_key)
    of_key = [int(message.data) for message in received if message.ordering_key == "key-0"]
    again = of_key[of_key.index(30) + 1:]
    replayed = again[again.index(30):] if 30 in again else []
    check("ordering: a nack replays from there, in order", replayed and replayed == sorted(replayed), of_key)


def dead_letters():
    top, dead = topic("work"), topic("dead")
    sub = subscription("work", top, dead_letter_policy={"dead_letter_topic": dead, "max_delivery_attempts": 5})
    from_dead = subscription("dead", dead)
    publisher.publish(top, b"poison", who="me").result(timeout=WAIT)
    attempts = []

    def handle(message):
        attempts.append(message.delivery_attempt)
        message.nack()

    # Google's emulator looks at attempts when it is about to deliver again: somebody must stay to be delivered to.
    collect(sub, lambda found: len(found) >= 5, handle, linger=3)
    check("dead letter: attempts are counted", attempts[:5] == [1, 2, 3, 4, 5], attempts)
    letter = pull(from_dead, 1)[0].message
    check("dead letter: arrives with its attributes", letter.data == b"poison" and letter.attributes["who"] == "me"
        and letter.attributes["CloudPubSubDeadLetterSourceSubscription"] == "work")


def filters():
    top = topic("filters")
    sub = subscription("filters", top, filter='attributes.kind = "a" AND NOT attributes:skip')
    for attributes in ({"kind": "b"}, {"kind": "a", "skip": ""}, {}, {"kind": "a"}):
        publisher.publish(top, str(attributes).encode(), **attributes).result(timeout=WAIT)
    passed = set(data(pull(sub, 4, wait=5)))
    check("filter: only what passes", passed == {"{'kind': 'a'}"}, passed)
    fails("filter: a wrong one", exceptions.InvalidArgument,
        lambda: subscription("bad-filter", top, filter="kind = a"), "filter")


def seeks():
    top = topic("seeks")
    sub = subscription("seeks", top, retain_acked_messages=True, ack_deadline_seconds=60)
    for n in range(3):
        publisher.publish(top, f"before {n}".encode()).result(timeout=WAIT)
    first = {one.message.data: one.ack_id for one in pull(sub, 3, ack=False)}
    subscriber.acknowledge(subscription=sub, ack_ids=[first.pop(b"before 0")])
    snapshot = subscriber.snapshot_path(PROJECT, "here")
    made = subscriber.create_snapshot(name=snapshot, subscription=sub)
    check("snapshot: made, and lives a week", made.topic == top
        and (made.expire_time.timestamp() - time.time()) > 6 * 86400)
    with scenario("snapshot: labels"):
        mask = field_mask_pb2.FieldMask(paths=["labels"])
        subscriber.update_snapshot(request={"snapshot": {"name": snapshot, "labels": {"a": "b"}}, "update_mask": mask})
        check("snapshot: labels", subscriber.get_snapshot(snapshot=snapshot).labels["a"] == "b")
    subscriber.acknowledge(subscription=sub, ack_ids=list(first.values()))
    # The time of the message after is one of its own.
    time.sleep(0.1)
    publisher.publish(top, b"after").result(timeout=WAIT)
    after = pull(sub, 1)
    check("then only the new one", data(after) == ["after"])
    then = after[0].message.publish_time
    subscriber.seek(request={"subscription": sub, "snapshot": snapshot})
    check("seek: to the snapshot", sorted(data(pull(sub, 3))) == ["after", "before 1", "before 2"])
    subscriber.seek(request={"subscription": sub, "time": then})
    check("seek: to a time", data(pull(sub, 1)) == ["after"])
    subscriber.seek(request={"subscription": sub, "time": then - datetime.timedelta(hours=1)})
    check("seek: back to the beginning", len(pull(sub, 4)) == 4)
    check("snapshots are listed", [one.name for one in subscriber.list_snapshots(project=f"projects/{PROJECT}")] == [snapshot])
    subscriber.delete_snapshot(snapshot=snapshot)
    fails("seek: to a deleted snapshot", exceptions.NotFound,
        lambda: subscriber.seek(request={"subscription": sub, "snapshot": snapshot}), snapshot)


def backoff():
    top = topic("backoff")
    sub = subscription("backoff", top, retry_policy={"minimum_backoff": seconds(3), "maximum_backoff": seconds(4)})
    publisher.publish(top, b"again").result(timeout=WAIT)
    times = []

    def handle(message):
        times.append(time.monotonic())
        message.nack() if len(times) < 3 else message.ack()

    collect(sub, lambda found: len(times) >= 3, handle)
    gaps = [after - before for before, after in zip(times, times[1:])]
    check("retry policy: waits between deliveries, and longer", len(gaps) == 2 and gaps[0] > 2.9 and gaps[1] > 3.9, gaps)


def exactly_once():
    # One for each: Google's emulator does not always go on with a subscription whose stream was closed.
    tops = [topic(f"exactly-{name}") for name in ("acked", "given-back", "late")]
    settings = {"enable_exactly_once_delivery": True, "ack_deadline_seconds": 10}
    acked, given_back, late = [subscription(top.rsplit("/", 1)[1], top, **settings) for top in tops]
    for n in range(50):
        publisher.publish(tops[0], str(n).encode()).result(timeout=WAIT)
    results = []
    handle = lambda message: results.append(message.ack_with_response().result(WAIT))
    received = collect(acked, lambda found: len(results) >= 50, handle)
    check("exactly once: acks are confirmed", results == [AcknowledgeStatus.SUCCESS] * 50
        and len({message.data for message in received}) == 50, results)
    publisher.publish(tops[1], b"given back").result(timeout=WAIT)
    answers, second_acked = {}, threading.Event()

    # In one request with a bad one, a good ack fails too, in this client: the first waits until the second is through.
    def give_back_first(message):
        name = "second" if answers else "first"
        if name == "first":
            answers["first"] = None
            message.modify_ack_deadline_with_response(0).result(WAIT)
            second_acked.wait(WAIT)
        try:
            answers[name] = message.ack_with_response().result(WAIT)
        except subscriber_exceptions.AcknowledgeError as error:
            answers[name] = error.error_code
        if name == "second":
            second_acked.set()

    collect(given_back, lambda found: all(answers.values()) and len(answers) == 2, give_back_first)
    expected = {"first": AcknowledgeStatus.INVALID_ACK_ID, "second": AcknowledgeStatus.SUCCESS}
    check("exactly once: who gave a message back cannot ack it", answers == expected, answers)
    publisher.publish(tops[2], b"late").result(timeout=WAIT)
    stale = pull(late, 1, ack=False)[0]
    subscriber.modify_ack_deadline(subscription=late, ack_ids=[stale.ack_id], ack_deadline_seconds=0)
    fresh = pull(late, 1, ack=False)[0]
    fails("exactly once: a stale ack fails", exceptions.InvalidArgument,
        lambda: subscriber.acknowledge(subscription=late, ack_ids=[stale.ack_id]), "invalid")
    subscriber.acknowledge(subscription=late, ack_ids=[fresh.ack_id])
    again = pull(late, 1, wait=12) + pull(acked, 1, wait=1)
    check("exactly once: nothing comes again", again == [], again)


def flow_control():
    top = topic("flow")
    sub = subscription("flow", top)
    for future in [publisher.publish(top, b"x" * 1000) for n in range(60)]:
        future.result(timeout=WAIT)
    lock, running, most, taken, released = threading.Lock(), [0], [0], [0], threading.Event()

    # The first stream keeps what it gets until another one had the rest.
    def keep(message):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        released.wait(WAIT)
        with lock:
            running[0] -= 1
            taken[0] += 1
        message.ack()

    def keeping():
        collect(sub, lambda found: taken[0] >= 5, keep, flow_control=FlowControl(max_messages=5))

    keeper = threading.Thread(target=keeping)
    keeper.start()
    until = time.monotonic() + WAIT
    while running[0] < 5 and time.monotonic() < until:
        time.sleep(0.05)
    others = collect(sub, lambda found: len(found) >= 55, wait=WAIT / 2)
    released.set()
    keeper.join(timeout=WAIT)
    check("flow control: at most as many as asked for", most[0] == 5, most[0])
    check("flow control: what one has no room for another one gets", len(others) == 55, len(others))


SCENARIOS = [publishing, administration, leases, ordering, dead_letters, filters, seeks, backoff, exactly_once, flow_control]
names = sys.argv[1:]
known = [one.__name__ for one in SCENARIOS]
if set(names) - set(known):
    sys.exit(f"the scenarios are {', '.join(known)}: {', '.join(set(names) - set(known))} is none")
for one in SCENARIOS:
    if not names or one.__name__ in names:
        with scenario(one.__name__):
            one()
publisher.stop()
for what in wrong:
    print(f"not as it should be: {what}")
if wrong:
    sys.exit(1)
print("all that the client tried works")
'''


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("host")
    arguments.add_argument("port")
    arguments.add_argument("--emulator", choices=["google"])
    arguments.add_argument("scenarios", nargs="*")
    asked = arguments.parse_intermixed_args()
    differs = "{}"
    if asked.emulator:
        differs = pathlib.Path(__file__).with_name(f"pubsub_{asked.emulator}_emulator.json").read_text()
    with tempfile.TemporaryDirectory() as home:
        environment = pathlib.Path(os.environ.get("PUBSUB_CLIENTS_VENV", pathlib.Path(home) / "venv"))
        python = environment / "bin" / "python"
        if not python.exists():
            venv.create(environment, with_pip=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", PACKAGE], check=True)
        script = pathlib.Path(home) / "client.py"
        script.write_text(CLIENT)
        variables = {
            **os.environ,
            "PUBSUB_EMULATOR_HOST": f"{asked.host}:{asked.port}",
            "PUBSUB_CLIENTS_DIFFERS": differs,
        }
        sys.exit(subprocess.run([python, script, *asked.scenarios], env=variables, check=False).returncode)


if __name__ == "__main__":
    main()
