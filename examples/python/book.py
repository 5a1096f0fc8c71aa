"""What a consumer of tieline has to remember: the last number of each key, the state of each topic, and what is incomplete."""

import json
import sys
from dataclasses import dataclass, field


@dataclass
class Event:
    type: str
    subject: str
    epoch: str
    sequence: int
    topic: str
    late: bool
    data: object

    @classmethod
    def read(cls, headers, prefix, payload):
        """An event of either content mode; `headers` are texts by their names."""
        if headers.get("content-type", "").startswith("application/cloudevents+json"):
            attributes = json.loads(payload)
            data = attributes["data"]
        else:
            attributes = {name.removeprefix(prefix): value for name, value in headers.items()}
            data = json.loads(payload)
        names = ("type", "subject", "epoch", "topic")
        late = attributes.get("late") in (True, "true")
        return cls(**{name: attributes[name] for name in names}, sequence=int(attributes["sequence"]), late=late, data=data)


@dataclass
class Book:
    last: dict = field(default_factory=dict)  # epoch and key → the last number
    parts: dict = field(default_factory=dict)  # topic → the parts of its snapshot, while some are still to come
    state: dict = field(default_factory=dict)  # topic → the last that was said of it; what REST showed of it is a list of parts
    incomplete: dict = field(default_factory=dict)  # topic → the gap that made it so
    counts: dict = field(default_factory=lambda: dict(events=0, repeats=0, late=0, holes=0, gaps=0, snapshots=0))

    def take(self, event):
        """Takes an event in the order of the broker. False when it was taken before: skip it."""
        if not self._is_new(event):
            return False
        self.counts["events"] += 1
        if event.type == "tieline.gap.v1":
            self._gap(event.topic, event.data)
        elif event.type.startswith("tieline.snapshot."):
            self._snapshot(event.topic, event.data)
        elif event.type.startswith("tieline."):
            print(f"{event.type}: {json.dumps(event.data)}")
        else:
            self._notification(event)
        return True

    def _notification(self, event):
        self.counts["late"] += event.late
        # Something younger of its key was taken before a late one: that happened too, but it is not how things stand.
        if not event.late or event.topic not in self.state:
            self.state[event.topic] = event.data  # Your own work begins here.

    def _gap(self, topic, gap):
        self.counts["gaps"] += 1
        self.incomplete[topic] = gap
        self.parts.pop(topic, None)
        print(f"gap: {topic} was not heard from {gap['from']} to {gap['to']} ({gap['cause']})")

    def _snapshot(self, topic, data):
        parts = self.parts.setdefault(topic, {})
        parts[data.get("part", 1)] = data
        if len(parts) < data.get("parts", 1):
            return  # A long list takes several events, and is whole with the last.
        self.state[topic] = list(self.parts.pop(topic).values())
        self.counts["snapshots"] += 1
        self.incomplete.pop(topic, None)
        print(f"snapshot: {topic} is whole again")

    def _is_new(self, event):
        key = (event.epoch, event.subject)
        last = self.last.get(key, 0)
        if event.sequence <= last:
            self.counts["repeats"] += 1
            return False
        if event.sequence != last + 1:
            self.counts["holes"] += 1
            print(f"HOLE: {event.subject} has {event.sequence} after {last} in epoch {event.epoch}", file=sys.stderr)
        self.last[key] = event.sequence
        return True

    def close(self):
        """Prints the summary; answers the exit code."""
        print(json.dumps({**self.counts, "incomplete": len(self.incomplete)}), flush=True)
        return 0 if self.counts["holes"] == 0 else 1
