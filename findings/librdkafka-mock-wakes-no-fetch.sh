#!/bin/sh
# librdkafka's mock cluster: a fetch that waits is not woken by what is produced meanwhile.
#
# Guess: a consumer with fetch.min.bytes=1 hears of a message at once, as Kafka's documentation of fetch.max.wait.ms has it: the broker answers when
#   there is enough, or when the wait is up. The mock, which speaks the protocol to any client over TCP, does the same.
# Seen:  it looks at the log when the fetch comes, and then again when the whole wait is up. A message waits for as long as is left of the
#   consumer's fetch.wait.max.ms: half of it on average, 250 ms with the default of 500. So latencies measured against it are those of that option:
#   a bench against the mock tells nothing of a client's own, and two clients compare alike only with the same wait.
#
# confluent-kafka 2.16.1 (librdkafka 2.16.0), CPython 3.11.7. Printed:
#   fetch.wait.max.ms=1000: from produce to poll, median 555 ms, most 999 ms
#   fetch.wait.max.ms=100: from produce to poll, median 59 ms, most 107 ms
#   as found: messages wait for the end of the fetch
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder" confluent-kafka==2.16.1
PYTHONPATH=$folder python3 - <<'PYTHON'
import random, statistics, sys, time
from confluent_kafka import Consumer, Producer, TopicPartition, libversion

print("librdkafka", libversion()[0])
producer = Producer({"test.mock.num.brokers": 1, "linger.ms": 0})
brokers = producer.list_topics(timeout=10).brokers.values()
address = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
chance = random.Random(1)


def latencies_ms(topic, wait_ms):
    producer.produce(topic, b"first")
    producer.flush()
    consumer = Consumer({
        "bootstrap.servers": address, "group.id": topic, "enable.auto.commit": False,
        "fetch.wait.max.ms": wait_ms, "fetch.min.bytes": 1, "auto.offset.reset": "earliest",
    })
    consumer.assign([TopicPartition(topic, partition, 0) for partition in producer.list_topics(topic).topics[topic].partitions])
    assert consumer.poll(10).value() == b"first"
    found = []
    for _ in range(15):
        # At any moment of a wait that has begun.
        consumer.poll(wait_ms / 1000 * chance.uniform(1, 2))
        begun = time.monotonic()
        producer.produce(topic, b"next", partition=0)
        producer.flush()
        assert consumer.poll(10).value() == b"next"
        found.append((time.monotonic() - begun) * 1000)
    consumer.close()
    return found


medians = []
for wait_ms in (1000, 100):
    found = latencies_ms(f"topic{wait_ms}", wait_ms)
    medians.append(statistics.median(found))
    print(f"fetch.wait.max.ms={wait_ms}: from produce to poll, median {medians[-1]:.0f} ms, most {max(found):.0f} ms")
if not (medians[0] > 150 and medians[0] > 4 * medians[1]):
    sys.exit("this has changed")
print("as found: messages wait for the end of the fetch")
PYTHON
