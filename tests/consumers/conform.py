"""Holds messages to the contract: each must be a CloudEvent by the CloudEvents project's own SDK, and valid by docs/contract/schemas, and a
consumer's span must join its trace by OpenTelemetry's own SDK as it comes.

Reads what the readers beside this file print, one message a line, and prints each event as the SDK understood it. Exits 1 at the first
message that does not conform, and says how.
"""

import argparse
import json
import sys
from pathlib import Path

from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event
from jsonschema import Draft7Validator, FormatChecker
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

STRUCTURED = "application/cloudevents+json"
OPTIONAL = ("late", "possibleduplicate", "snapshot")
# As a consumer that sets nothing has it: its sampler decides by the parent.
TRACER = TracerProvider().get_tracer("consumer")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", required=True, choices=["kafka", "nats"])
    parser.add_argument("--schemas", required=True, type=Path)
    args = parser.parse_args()
    schemas = {file.stem: validator(file) for file in args.schemas.glob("*.json")}
    for number, line in enumerate(sys.stdin, 1):
        message = json.loads(line)
        try:
            print(json.dumps(conform(message, args.broker, schemas)))
        except Exception as error:
            sys.exit(f"message {number} does not conform: {type(error).__name__}: {error}\n{line}")


def validator(file):
    schema = json.loads(file.read_text())
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema, format_checker=FormatChecker())


def conform(message, broker, schemas):
    headers, payload = message["headers"], message["value"]
    if headers.get("content-type") == STRUCTURED:
        schemas["headers-structured"].validate(headers)
        document = json.loads(payload)
    else:
        schemas[f"headers-{broker}"].validate(headers)
        document = unwrapped(headers, payload, broker)
    schemas["event"].validate(document)
    name = document["type"] if document["type"].startswith("tieline.") else "notification"
    schemas[name].validate(document["data"])

    event = by_sdk(message, broker)
    told = {
        "id": event.get_id(),
        "source": event.get_source(),
        "type": event.get_type(),
        "subject": event.get_subject(),
        "sequence": event.get_extension("sequence"),
        "partitionkey": event.get_extension("partitionkey"),
        "topic": event.get_extension("topic"),
        "data": event.get_data(),
    }
    for attribute, value in told.items():
        if value != document[attribute]:
            raise ValueError(f"the SDK reads {attribute} as {value!r}, not as {document[attribute]!r}")
    if event.get_time().utcoffset().total_seconds() != 0:
        raise ValueError("the time is not in UTC")
    join(event.get_extension("traceparent"))
    return told


def join(traceparent):
    """A span begun under the event is recorded, and lies in the event's trace."""
    parent = TraceContextTextMapPropagator().extract({"traceparent": traceparent})
    with TRACER.start_as_current_span("handle", context=parent) as span:
        _, trace, caller, _ = traceparent.split("-")
        if not span.is_recording():
            raise ValueError(f"under {traceparent} the default sampler drops a consumer's span")
        if (span.get_span_context().trace_id, span.parent.span_id) != (int(trace, 16), int(caller, 16)):
            raise ValueError(f"a consumer's span does not join {traceparent}")


def unwrapped(headers, payload, broker):
    """The document that structured mode would have: attributes by their own names."""
    prefix = "ce_" if broker == "kafka" else "ce-"
    document = {name.removeprefix(prefix): value for name, value in headers.items() if name.startswith(prefix)}
    document.setdefault("datacontenttype", headers.get("content-type"))
    for mark in OPTIONAL:
        if mark in document:
            document[mark] = document[mark] == "true"
    return {**document, "data": json.loads(payload)}


def by_sdk(message, broker):
    headers, payload = dict(message["headers"]), message["value"].encode()
    if broker == "kafka":
        raw = {name: value.encode() for name, value in headers.items()}
        return from_kafka_event(KafkaMessage(headers=raw, key=message["key"], value=payload))
    # The SDK has no binding for NATS, whose rules for headers are those of HTTP but for the type of the data.
    if "ce-datacontenttype" in headers:
        headers["content-type"] = headers.pop("ce-datacontenttype")
    return from_http_event(HTTPMessage(headers=headers, body=payload))


if __name__ == "__main__":
    main()
