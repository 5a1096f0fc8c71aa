// Reads tieline's events from Kafka, committed ones only, and keeps the book.
import kafkajs from "kafkajs";
import lz4 from "lz4-napi";
import { Book, read, whenIdle } from "./book.js";

const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = kafkajs;
// tieline compresses with lz4 unless told otherwise (sink.kafka.compression), which kafkajs leaves to a codec.
CompressionCodecs[CompressionTypes.LZ4] = () => ({ compress: lz4.compressFrame, decompress: lz4.decompressFrame });

const topic = process.env.KAFKA_TOPIC ?? "genesys.events";
const brokers = (process.env.KAFKA_BROKERS ?? "localhost:9092").split(",");
const kafka = new Kafka({ clientId: "example", brokers, logLevel: logLevel.ERROR });

const book = new Book();
const consumer = kafka.consumer({
  groupId: process.env.KAFKA_GROUP ?? "tieline-example",
  readUncommitted: false, // isolation.level=read_committed: what a transaction gave up is never seen
});

const alive = whenIdle(async () => {
  await consumer.disconnect();
  process.exit(book.close());
});

await consumer.connect();
// The topic, and, where it exists, what concerns all of it: gaps as they open and close, epochs.
const topics = new RegExp(`^${topic.replaceAll(".", "[.]")}([.]control)?$`);
await consumer.subscribe({ topic: topics, fromBeginning: true });
await consumer.run({
  eachMessage: async ({ message }) => {
    alive();
    book.take(read((name) => message.headers[name]?.toString(), "ce_", message.value));
  },
});
