"""Reads a Kafka topic from its start and prints each record as one line of JSON, as any consumer would see it.

A second opinion on what tieline writes: another language, and no code of ours. (The client wraps librdkafka, as tieline's does; the
broker in between is the real one.) Reads committed records only. Exits 1 when fewer than --count arrive within --timeout seconds; without
--count it reads what is there, to the end of each partition.
"""

import argparse
import json
import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition, OFFSET_BEGINNING


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--count", type=int, help="stop after so many records")
    parser.add_argument("--timeout", type=float, default=30, help="seconds")
    args = parser.parse_args()

    deadline = time.monotonic() + args.timeout
    consumer = Consumer(
        {
            "bootstrap.servers": args.brokers,
            "group.id": "tieline-reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    partitions = partitions_of(consumer, args.topic, deadline)
    consumer.assign([TopicPartition(args.topic, partition, OFFSET_BEGINNING) for partition in partitions])

    count = 0
    unread = set(partitions)
    while unread if args.count is None else count < args.count:
        left = deadline - time.monotonic()
        if left <= 0:
            sys.exit(f"read {count} of {args.count or 'all'} records from {args.topic} within {args.timeout:g} s")
        message = consumer.poll(left)
        if message is None:
            continue
        if message.error():
            if message.error().code() == KafkaError._PARTITION_EOF:
                unread.discard(message.partition())
                continue
            raise KafkaException(message.error())
        print(json.dumps(describe(message)), flush=True)
        count += 1
    consumer.close()


def partitions_of(consumer, topic, deadline):
    """The topic's partitions; waits for a topic that does not exist yet."""
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            sys.exit(f"topic {topic} does not exist")
        found = consumer.list_topics(topic, timeout=left).topics[topic]
        if found.error is None and found.partitions:
            return sorted(found.partitions)
        consumer.poll(min(0.1, left))  # Nothing is assigned yet: it only waits.


def describe(message):
    return {
        "key": text(message.key()),
        "subject": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "headers": {name: text(value) for name, value in message.headers() or []},
        "value": text(message.value()),
    }


def text(value):
    return None if value is None else value.decode()


if __name__ == "__main__":
    try:
        main()
    except KafkaException as error:
        sys.exit(f"cannot read: {error}")
