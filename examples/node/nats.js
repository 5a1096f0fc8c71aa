// Reads tieline's events from a JetStream stream in order, and keeps the book.
import { jetstream } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { Book, read, whenIdle } from "./book.js";

const connection = await connect({ servers: process.env.NATS_URL ?? "nats://localhost:4222" });
const book = new Book();

// An ordered consumer: no state in the server, begun again by itself where it was when the connection breaks.
const consumer = await jetstream(connection).consumers.get(process.env.NATS_STREAM ?? "GENESYS");
const messages = await consumer.consume();
const alive = whenIdle(() => messages.stop());

for await (const message of messages) {
  alive();
  // CloudEvents percent-encodes what headers cannot hold.
  const header = (name) => (message.headers?.has(name) ? decodeURIComponent(message.headers.get(name)) : undefined);
  book.take(read(header, "ce-", message.string()));
}
await connection.close();
process.exit(book.close());
