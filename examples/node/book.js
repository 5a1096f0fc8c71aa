// What a consumer of tieline has to remember: the last number of each key, the state of each topic, and what is incomplete.

export class Book {
  #last = new Map(); // epoch and key → the last number
  #parts = new Map(); // topic → the parts of its snapshot, while some are still to come
  state = new Map(); // topic → the last that was said of it; what REST showed of it is a list of parts
  incomplete = new Map(); // topic → the gap that made it so
  counts = { events: 0, repeats: 0, late: 0, holes: 0, gaps: 0, snapshots: 0 };

  /** Takes an event in the order of the broker. False when it was taken before: skip it. */
  take(event) {
    if (!this.#isNew(event)) return false;
    this.counts.events += 1;
    if (event.type === "tieline.gap.v1") this.#gap(event);
    else if (event.type.startsWith("tieline.snapshot.")) this.#snapshot(event);
    else if (event.type.startsWith("tieline.")) console.log(`${event.type}: ${JSON.stringify(event.data)}`);
    else this.#notification(event);
    return true;
  }

  #notification({ topic, late, data }) {
    if (late) this.counts.late += 1;
    // Something younger of its key was taken before a late one: that happened too, but it is not how things stand.
    if (!late || !this.state.has(topic)) this.state.set(topic, data); // Your own work begins here.
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
    this.#parts.delete(topic);
    console.log(`gap: ${topic} was not heard from ${data.from} to ${data.to} (${data.cause})`);
  }

  #snapshot({ topic, data }) {
    const parts = this.#parts.get(topic) ?? new Map();
    parts.set(data.part ?? 1, data);
    this.#parts.set(topic, parts);
    if (parts.size < (data.parts ?? 1)) return; // A long list takes several events, and is whole with the last.
    this.#parts.delete(topic);
    this.counts.snapshots += 1;
    this.state.set(topic, [...parts.values()]);
    this.incomplete.delete(topic);
    console.log(`snapshot: ${topic} is whole again`);
  }

  /** Prints the summary; answers the exit code. */
  close() {
    console.log(JSON.stringify({ ...this.counts, incomplete: this.incomplete.size }));
    return this.counts.holes === 0 ? 0 : 1;
  }
}

/** An event of either content mode. `header` answers a header's text, or undefined. */
export function read(header, prefix, payload) {
  if (header("content-type")?.startsWith("application/cloudevents+json")) return JSON.parse(payload);
  const attributes = ["type", "subject", "epoch", "sequence", "topic", "time"].map((name) => [name, header(prefix + name)]);
  const late = header(`${prefix}late`) === "true";
  return { ...Object.fromEntries(attributes), late, data: JSON.parse(payload) };
}

/** Calls `end` once nothing more has come for EXIT_WHEN_IDLE_MS; the function that it returns says that something did. */
export function whenIdle(end) {
  const limit = Number(process.env.EXIT_WHEN_IDLE_MS ?? 0);
  if (limit === 0) return () => {};
  let timer;
  return () => (timer = timer?.refresh() ?? setTimeout(end, limit));
}
