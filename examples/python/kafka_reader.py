"""Reads tieline's events from Kafka, committed ones only, and keeps the book."""

import os
import sys

from confluent_kafka import Consumer, KafkaException

from book import Book, Event


def main():
    topic = os.environ.get("KAFKA_TOPIC", "genesys.events")
    idle = int(os.environ.get("EXIT_WHEN_IDLE_MS", "0")) / 1000 or -1  # -1 waits for ever
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ.get("KAFKA_BROKERS", "localhost:9092"),
            "group.id": os.environ.get("KAFKA_GROUP", "tieline-example"),
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",  # what a transaction gave up is never seen
        }
    )
    # The topic, and what concerns all of it: gaps as they open and close, epochs.
    consumer.subscribe([topic, f"{topic}.control"])
    book = Book()
    # Until the first event comes it is waited for: a group of readers is formed in its own time.
    while (message := consumer.poll(idle if book.counts["events"] else -1)) is not None:
        if message.error():
            if message.error().retriable() or message.error().name() == "UNKNOWN_TOPIC_OR_PART":
                continue  # Nothing has been said on the control topic yet.
            raise KafkaException(message.error())
        headers = {name: value.decode() for name, value in message.headers() or []}
        book.take(Event.read(headers, "ce_", message.value()))
    consumer.close()
    return book.close()


if __name__ == "__main__":
    sys.exit(main())
