"""Reads tieline's events from a JetStream stream in order, and keeps the book."""

import asyncio
import os
import sys
from urllib.parse import unquote

import nats
from nats.errors import TimeoutError

from book import Book, Event


async def main():
    idle = int(os.environ.get("EXIT_WHEN_IDLE_MS", "0")) / 1000 or None  # None waits for ever
    connection = await nats.connect(os.environ.get("NATS_URL", "nats://localhost:4222"))
    # An ordered consumer: no state in the server, begun again by itself where it was when the connection breaks.
    stream = os.environ.get("NATS_STREAM", "GENESYS")
    subscription = await connection.jetstream().subscribe(">", stream=stream, ordered_consumer=True)
    book = Book()
    while True:
        try:
            message = await subscription.next_msg(timeout=idle if book.counts["events"] else None)
        except TimeoutError:
            break
        # CloudEvents percent-encodes what headers cannot hold.
        headers = {name: unquote(value) for name, value in (message.headers or {}).items()}
        book.take(Event.read(headers, "ce-", message.data))
    await connection.close()
    return book.close()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
