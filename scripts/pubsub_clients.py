#!/usr/bin/env python3
"""Uses the Pub/Sub port as people do: with Google's Python client.

    scripts/pubsub_clients.py HOST PORT

Makes a virtual environment in a temporary directory and installs google-cloud-pubsub there. Fails at the first
thing that the client cannot do. The same scenarios run against Google's own emulator, which fails some of
them: docs/pubsub.md says which.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import venv

CLIENT = '''
import concurrent.futures, datetime, os, sys, threading, time, uuid

from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber import exceptions as subscriber_exceptions
from google.cloud.pubsub_v1.types import BatchSettings, FlowControl, PublisherOptions
from google.protobuf import duration_pb2, field_mask_pb2, timestamp_pb2

PROJECT = "clients-" + uuid.uuid4().hex[:8]
publisher = pubsub_v1.PublisherClient()
subscriber = pubsub_v1.SubscriberClient()


def check(what, holds):
    if not holds:
        sys.exit(f"{what}: no")
    print(f"  {what}", flush=True)


def fails(what, kind, call, *texts):
    try:
        call()
    except kind as error:
        check(what, all(text in str(error) for text in texts))
    else:
        sys.exit(f"{what}: it did not fail")


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


def pull(path, count, wait=20, ack=True):
    """Pulls until there are so many messages, or nothing came for a while."""
    found, until = [], time.monotonic() + wait
    while len(found) < count and time.monotonic() < until:
        found += subscriber.pull(subscription=path, max_messages=count - len(found), timeout=30).received_messages
    if ack and found:
        subscriber.acknowledge(subscription=path, ack_ids=[message.ack_id for message in found])
    return found


def data(received):
    return [one.message.data.decode() for one in received]


def collect(path, count, handle=None, wait=30, **settings):
    """Receives over a stream until so many messages came."""
    found, done = [], threading.Event()

    def callback(message):
        found.append(message)
        (handle or (lambda message: message.ack()))(message)
        if len(found) >= count:
            done.set()

    future = subscriber.subscribe(path, callback, **settings)
    done.wait(wait)
    future.cancel()
    future.result(timeout=30)
    return found


def publishing():
    top = topic("publishing")
    sub = subscription("publishing", top)
    batched = pubsub_v1.PublisherClient(batch_settings=BatchSettings(max_messages=100, max_latency=0.05))
    futures = [batched.publish(top, f"m{n}".encode(), number=str(n)) for n in range(1000)]
    ids = [future.result(timeout=30) for future in futures]
    check("publish: a thousand in batches, each with its id", len(set(ids)) == 1000)
    received = collect(sub, 1000)
    by_id = {message.message_id: message for message in received}
    check("streaming pull: all of them, with data, attributes, ids and times", all(
        by_id[id].data == f"m{n}".encode() and by_id[id].attributes["number"] == str(n) for n, id in enumerate(ids))
        and abs(received[0].publish_time.timestamp() - time.time()) < 60)
    zipped = pubsub_v1.PublisherClient(publisher_options=PublisherOptions(enable_message_ordering=False))
    zipped.api.publish(topic=top, messages=[{"data": b"z" * 100000}], metadata=[("x-goog-request-params", "a=b")])
    check("pull: a large one", len(pull(sub, 1)[0].message.data) == 100000)
    fails("publish: to a topic that is not there", exceptions.NotFound,
        lambda: publisher.publish(top + "-none", b"x").result(timeout=30), top + "-none")
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
    got = publisher.update_topic(topic={"name": top, "labels": {"x": "y"}}, update_mask=field_mask_pb2.FieldMask(paths=["labels"]))
    check("topic: update", got.labels["x"] == "y" and publisher.get_topic(topic=top).labels["x"] == "y")
    for n in range(25):
        subscription(f"page-{n}", top)
    pages = list(subscriber.list_subscriptions(request={"project": f"projects/{PROJECT}", "page_size": 10}).pages)
    listed = [one.name for page in pages for one in page.subscriptions]
    check("lists come in pages", len(pages) >= 3 and sub in listed and len(set(listed)) == len(listed))
    check("a topic's subscriptions", len(list(publisher.list_topic_subscriptions(topic=top))) == 26)
    publisher.detach_subscription(request={"subscription": sub})
    fails("pull: from a detached subscription", exceptions.FailedPrecondition,
        lambda: subscriber.pull(subscription=sub, max_messages=1), "detached")
    subscriber.delete_subscription(subscription=sub)
    fails("get: a deleted subscription", exceptions.NotFound, lambda: subscriber.get_subscription(subscription=sub), sub)


def leases():
    top = topic("leases")
    sub = subscription("leases", top, ack_deadline_seconds=10)
    publisher.publish(top, b"lease").result(timeout=30)
    first = pull(sub, 1, ack=False)
    subscriber.modify_ack_deadline(subscription=sub, ack_ids=[first[0].ack_id], ack_deadline_seconds=0)
    second = pull(sub, 1, ack=False)
    check("nack: comes again at once", data(second) == ["lease"])
    check("nack: with another ack id", second[0].ack_id != first[0].ack_id)
    subscriber.modify_ack_deadline(subscription=sub, ack_ids=[second[0].ack_id], ack_deadline_seconds=14)
    start = time.monotonic()
    again = pull(sub, 1, wait=30)
    check("extension: comes again after its deadline, not before", 13 < time.monotonic() - start < 25 and data(again) == ["lease"])
    publisher.publish(top, b"slow").result(timeout=30)
    handled = []

    def slow(message):
        time.sleep(15)
        message.ack()
        handled.append(message)

    received = collect(sub, 1, slow, wait=40)
    time.sleep(1)
    check("streaming pull: leases are extended while a message is handled", len(received) == len(handled) == 1)
    check("and it does not come again", pull(sub, 1, wait=3) == [])


def ordering():
    top = topic("ordering")
    sub = subscription("ordering", top, enable_message_ordering=True)
    ordered = pubsub_v1.PublisherClient(publisher_options=PublisherOptions(enable_message_ordering=True))
    futures = [ordered.publish(top, str(n).encode(), ordering_key=f"key-{n % 3}") for n in range(300)]
    [future.result(timeout=30) for future in futures]
    failed = threading.Event()

    def handle(message):
        if message.data == b"30" and not failed.is_set():
            failed.set()
            message.nack()
        else:
            message.ack()

    # The nack brings later messages again, so more than these come: until it is quiet.
    received = collect(sub, 10**6, handle, wait=20)
    check("ordering: everything came", {int(message.data) for message in received} == set(range(300)))
    for key in range(3):
        of_key = [int(message.data) for message in received if message.ordering_key == f"key-{key}"]
        firsts = list(dict.fromkeys(of_key))
        check(f"ordering: key {key} in order", firsts == sorted(firsts))
    of_key = [int(message.data) for message in received if message.ordering_key == "key-0"]
    again = of_key[of_key.index(30) + 1:]
    check("ordering: a nack replays from there, in order", again.count(30) == 1
        and again[again.index(30):] == sorted(again[again.index(30):]))


def dead_letters():
    top, dead = topic("work"), topic("dead")
    sub = subscription("work", top, dead_letter_policy={"dead_letter_topic": dead, "max_delivery_attempts": 5})
    from_dead = subscription("dead", dead)
    publisher.publish(top, b"poison", who="me").result(timeout=30)
    attempts = []

    def handle(message):
        attempts.append(message.delivery_attempt)
        message.nack()

    collect(sub, 5, handle)
    check("dead letter: attempts are counted", attempts[:5] == [1, 2, 3, 4, 5])
    letter = pull(from_dead, 1)[0].message
    check("dead letter: arrives with its attributes", letter.data == b"poison" and letter.attributes["who"] == "me"
        and letter.attributes["CloudPubSubDeadLetterSourceSubscription"] == "work")


def filters():
    top = topic("filters")
    sub = subscription("filters", top, filter='attributes.kind = "a" AND NOT attributes:skip')
    for attributes in ({"kind": "a"}, {"kind": "b"}, {"kind": "a", "skip": ""}, {}):
        publisher.publish(top, str(attributes).encode(), **attributes).result(timeout=30)
    check("filter: only what passes", data(pull(sub, 2, wait=3)) == ["{'kind': 'a'}"])
    fails("filter: a wrong one", exceptions.InvalidArgument,
        lambda: subscription("bad-filter", top, filter="kind = a"), "filter")


def seeks():
    top = topic("seeks")
    sub = subscription("seeks", top, retain_acked_messages=True)
    for n in range(3):
        publisher.publish(top, f"before {n}".encode()).result(timeout=30)
    first = pull(sub, 3, ack=False)
    subscriber.acknowledge(subscription=sub, ack_ids=[first[0].ack_id])
    snapshot = subscriber.snapshot_path(PROJECT, "here")
    made = subscriber.create_snapshot(name=snapshot, subscription=sub)
    check("snapshot: made, and lives a week", made.topic == top
        and (made.expire_time.timestamp() - time.time()) > 6 * 86400)
    subscriber.acknowledge(subscription=sub, ack_ids=[one.ack_id for one in first[1:]])
    time.sleep(0.1)
    now = datetime.datetime.now(datetime.timezone.utc)
    publisher.publish(top, b"after").result(timeout=30)
    check("then only the new one", data(pull(sub, 1)) == ["after"])
    subscriber.seek(request={"subscription": sub, "snapshot": snapshot})
    check("seek: to the snapshot", sorted(data(pull(sub, 3))) == ["after", "before 1", "before 2"])
    subscriber.seek(request={"subscription": sub, "time": now})
    check("seek: to a time", data(pull(sub, 1)) == ["after"])
    subscriber.seek(request={"subscription": sub, "time": now - datetime.timedelta(hours=1)})
    check("seek: back to the beginning", len(pull(sub, 4)) == 4)
    check("snapshots are listed", [one.name for one in subscriber.list_snapshots(project=f"projects/{PROJECT}")] == [snapshot])
    subscriber.delete_snapshot(snapshot=snapshot)
    fails("seek: to a deleted snapshot", exceptions.NotFound,
        lambda: subscriber.seek(request={"subscription": sub, "snapshot": snapshot}), snapshot)


def backoff():
    top = topic("backoff")
    sub = subscription("backoff", top, retry_policy={"minimum_backoff": seconds(3), "maximum_backoff": seconds(4)})
    publisher.publish(top, b"again").result(timeout=30)
    times = []

    def handle(message):
        times.append(time.monotonic())
        message.nack() if len(times) < 3 else message.ack()

    collect(sub, 3, handle)
    gaps = [after - before for before, after in zip(times, times[1:])]
    check("retry policy: waits between deliveries, and longer", 2.8 < gaps[0] < 6 and 3.8 < gaps[1] < 7)


def exactly_once():
    top = topic("exactly")
    sub = subscription("exactly", top, enable_exactly_once_delivery=True, ack_deadline_seconds=10)
    for n in range(50):
        publisher.publish(top, str(n).encode()).result(timeout=30)
    results = []
    received = collect(sub, 50, lambda message: results.append(message.ack_with_response()))
    confirmed = [result.result(timeout=30) for result in results]
    check("exactly once: acks are confirmed", len(confirmed) == 50 and len({message.data for message in received}) == 50)
    publisher.publish(top, b"late").result(timeout=30)
    stale = pull(sub, 1, ack=False)[0]
    subscriber.modify_ack_deadline(subscription=sub, ack_ids=[stale.ack_id], ack_deadline_seconds=0)
    fresh = pull(sub, 1, ack=False)[0]
    fails("exactly once: a stale ack fails", exceptions.FailedPrecondition,
        lambda: subscriber.acknowledge(subscription=sub, ack_ids=[stale.ack_id]), "invalid")
    subscriber.acknowledge(subscription=sub, ack_ids=[fresh.ack_id])
    check("exactly once: nothing comes again", pull(sub, 1, wait=12) == [])


def flow_control():
    top = topic("flow")
    sub = subscription("flow", top)
    for n in range(60):
        publisher.publish(top, b"x" * 1000).result(timeout=30)
    lock, running, most = threading.Lock(), [0], [0]

    def handle(message):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.02)
        with lock:
            running[0] -= 1
        message.ack()

    received = collect(sub, 60, handle, flow_control=FlowControl(max_messages=5))
    check("flow control: at most as many as asked for", len(received) >= 60 and most[0] <= 5)


CASES = [publishing, administration, leases, ordering, dead_letters, filters, seeks, backoff, exactly_once, flow_control]
names = sys.argv[1:]
for case in CASES:
    if not names or case.__name__ in names:
        case()
publisher.stop()
print("all that the client tried works")
'''


def main() -> None:
    host, port, *cases = sys.argv[1:]
    with tempfile.TemporaryDirectory() as home:
        environment = pathlib.Path(os.environ.get("PUBSUB_CLIENTS_VENV", pathlib.Path(home) / "venv"))
        python = environment / "bin" / "python"
        if not python.exists():
            venv.create(environment, with_pip=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", "google-cloud-pubsub"], check=True)
        script = pathlib.Path(home) / "client.py"
        script.write_text(CLIENT)
        variables = {**os.environ, "PUBSUB_EMULATOR_HOST": f"{host}:{port}"}
        sys.exit(subprocess.run([python, script, *cases], env=variables, check=False).returncode)


if __name__ == "__main__":
    main()
