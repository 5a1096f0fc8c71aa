"""Reads a JetStream stream from its start and prints each message as one line of JSON, as any consumer would see it.

A second opinion on what tieline writes: another language and another client, and no code of ours. Exits 1 when fewer than --count
arrive within --timeout seconds; without --count it reads what is there. `key` is the header ce-partitionkey, since NATS itself has no keys.
"""

import argparse
import asyncio
import json
import sys
import time

import nats
from nats.errors import TimeoutError
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--stream", required=True)
    parser.add_argument("--count", type=int, help="stop after so many messages")
    parser.add_argument("--timeout", type=float, default=30, help="seconds")
    args = parser.parse_args()

    deadline = time.monotonic() + args.timeout
    connection = await connect(args.url, args.timeout)
    await wait_for_stream(connection, args.stream, deadline)
    if args.count is None:
        args.count = (await connection.jetstream().stream_info(args.stream)).state.messages
    # An ordered reader from the first message; it waits for those that are still to come.
    subscription = await connection.jetstream().subscribe(
        ">",
        stream=args.stream,
        ordered_consumer=True,
        config=ConsumerConfig(deliver_policy=DeliverPolicy.ALL),
    )

    count = 0
    while count < args.count:
        left = deadline - time.monotonic()
        try:
            message = await subscription.next_msg(timeout=max(left, 0.001))
        except TimeoutError:
            sys.exit(f"read {count} of {args.count} messages from {args.stream} within {args.timeout:g} s")
        print(json.dumps(describe(message)), flush=True)
        count += 1
    await connection.close()


async def connect(url, timeout):
    """Tries until the server is there, without the client's traceback for every attempt."""

    async def ignore(_error):
        pass

    attempts = nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.2, error_cb=ignore)
    try:
        return await asyncio.wait_for(attempts, timeout)
    except asyncio.TimeoutError:
        sys.exit(f"no server at {url} within {timeout:g} s")


async def wait_for_stream(connection, stream, deadline):
    """Returns once the stream exists, which may not have been created yet."""
    created = await connection.subscribe(f"$JS.EVENT.ADVISORY.STREAM.CREATED.{stream}")
    try:
        await connection.jetstream().stream_info(stream)
    except NotFoundError:
        try:
            await created.next_msg(timeout=max(deadline - time.monotonic(), 0.001))
        except TimeoutError:
            sys.exit(f"stream {stream} does not exist")
    await created.unsubscribe()


def describe(message):
    headers = dict(message.headers or {})
    return {
        "key": headers.get("ce-partitionkey"),
        "subject": message.subject,
        "sequence": message.metadata.sequence.stream,
        "headers": headers,
        "value": message.data.decode(),
    }


if __name__ == "__main__":
    asyncio.run(main())
