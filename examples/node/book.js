// What a consumer of tieline has to remember: the last number of each key, the state of each topic, and what is incomplete.

export class Book {
  #last = new Map(); // epoch and key → the last number
  state = new Map(); // topic → the last that was said of it
  incomplete = new Map(); // topic → the gap that made it so
  counts = { events: 0, repeats: 0, holes: 0, gaps: 0, snapshots: 0 };

  /** Takes an event in the order of the broker. False when it was taken before: skip it. */
  take(event) {
    if (!this.#isNew(event)) return false;
    this.counts.events += 1;
    if (event.type === "tieline.gap.v1") this.#gap(event);
    else if (event.type.startsWith("tieline.snapshot.")) this.#snapshot(event);
    else if (event.type.startsWith("tieline.")) console.log(`${event.type}: ${JSON.stringify(event.data)}`);
    else this.state.set(event.topic, event.data); // Your own work begins here.
    return true;
  }

  #isNew({ epoch, subject, sequence }) {
    const key = `${epoch} ${subject}`;
    const last = this.#last.get(key) ?? 0;
    const number = Number(sequence);
    if (number <= last) {
      this.counts.repeats += 1;
      return false;
    }
    if (number !== last + 1) {
      this.counts.holes += 1;
      console.error(`HOLE: ${subject} has ${number} after ${last} in epoch ${epoch}`);
    }
    this.#last.set(key, number);
    return true;
  }

  #gap({ topic, data }) {
    this.counts.gaps += 1;
    this.incomplete.set(topic, data);
    console.log(`gap: ${topic} was not heard from ${data.from} to ${data.to} (${data.cause})`);
  }

  #snapshot({ topic, data }) {
    this.counts.snapshots += 1;
    this.state.set(topic, data);
    this.incomplete.delete(topic);
    console.log(`snapshot: ${topic} is whole again`);
  }

  /** Prints the summary; answers the exit code. */
  close() {
    console.log(JSON.stringify(this.counts));
    return this.counts.holes === 0 ? 0 : 1;
  }
}

/** An event of either content mode. `header` answers a header's text, or undefined. */
export function read(header, prefix, payload) {
  if (header("content-type")?.startsWith("application/cloudevents+json")) return JSON.parse(payload);
  const attributes = ["type", "subject", "epoch", "sequence", "topic", "time"].map((name) => [name, header(prefix + name)]);
  return { ...Object.fromEntries(attributes), data: JSON.parse(payload) };
}

/** Calls `end` once nothing has happened for EXIT_WHEN_IDLE_MS; the function that it returns says that something did. */
export function whenIdle(end) {
  const limit = Number(process.env.EXIT_WHEN_IDLE_MS ?? 0);
  if (limit === 0) return () => {};
  const timer = setTimeout(end, limit);
  return () => timer.refresh();
}
