package tieline;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Reads tieline's events from Kafka, committed ones only, and keeps the book. */
final class KafkaReader {
    public static void main(String[] args) {
        String topic = Book.setting("KAFKA_TOPIC", "genesys.events");
        long idle = Long.parseLong(Book.setting("EXIT_WHEN_IDLE_MS", "0"));
        Map<String, Object> settings = Map.of(
                ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, Book.setting("KAFKA_BROKERS", "localhost:9092"),
                ConsumerConfig.GROUP_ID_CONFIG, Book.setting("KAFKA_GROUP", "tieline-example"),
                ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest",
                // What a transaction gave up is never seen.
                ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed",
                ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, ByteArrayDeserializer.class,
                ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, ByteArrayDeserializer.class);
        Book book = new Book();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings)) {
            // The topic, and what concerns all of it: gaps as they open and close, epochs.
            consumer.subscribe(List.of(topic, topic + ".control"));
            // Until the first event comes it is waited for: a group of readers is formed in its own time.
            long heard = System.nanoTime();
            while (idle == 0 || book.isEmpty() || System.nanoTime() - heard < idle * 1_000_000) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(250))) {
                    heard = System.nanoTime();
                    book.take(Event.read(headers(record), "ce_", record.value()));
                }
            }
        }
        System.exit(book.close());
    }

    private static UnaryOperator<String> headers(ConsumerRecord<byte[], byte[]> record) {
        return name -> {
            var header = record.headers().lastHeader(name);
            return header == null ? null : new String(header.value(), StandardCharsets.UTF_8);
        };
    }
}
