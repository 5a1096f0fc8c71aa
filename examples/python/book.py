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
        return cls(**{name: attributes[name] for name in names}, sequence=int(attributes["sequence"]), data=data)


@dataclass
class Book:
    last: dict = field(default_factory=dict)  # epoch and key → the last number
    state: dict = field(default_factory=dict)  # topic → the last that was said of it
    incomplete: dict = field(default_factory=dict)  # topic → the gap that made it so
    counts: dict = field(default_factory=lambda: dict(events=0, repeats=0, holes=0, gaps=0, snapshots=0))

    def take(self, event):
        """Takes an event in the order of the broker. False when it was taken before: skip it."""
        if not self._is_new(event):
            return False
        self.counts["events"] += 1
        if event.type == "tieline.gap.v1":
            self.counts["gaps"] += 1
            self.incomplete[event.topic] = event.data
            gap = event.data
            print(f"gap: {event.topic} was not heard from {gap['from']} to {gap['to']} ({gap['cause']})")
        elif event.type.startswith("tieline.snapshot."):
            self.counts["snapshots"] += 1
            self.state[event.topic] = event.data
            self.incomplete.pop(event.topic, None)
            print(f"snapshot: {event.topic} is whole again")
        elif event.type.startswith("tieline."):
            print(f"{event.type}: {json.dumps(event.data)}")
        else:
            self.state[event.topic] = event.data  # Your own work begins here.
        return True

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
        print(json.dumps(self.counts), flush=True)
        return 0 if self.counts["holes"] == 0 else 1
