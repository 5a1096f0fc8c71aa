package tieline;

import io.nats.client.Connection;
import io.nats.client.JetStreamSubscription;
import io.nats.client.Message;
import io.nats.client.Nats;
import io.nats.client.PushSubscribeOptions;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.function.UnaryOperator;

/** Reads tieline's events from a JetStream stream in order, and keeps the book. */
final class NatsReader {
    public static void main(String[] args) throws Exception {
        long idle = Long.parseLong(Book.setting("EXIT_WHEN_IDLE_MS", "0"));
        Book book = new Book();
        try (Connection connection = Nats.connect(Book.setting("NATS_URL", "nats://localhost:4222"))) {
            // An ordered consumer: no state in the server, begun again by itself where it was when the connection breaks.
            PushSubscribeOptions options = PushSubscribeOptions.builder()
                    .stream(Book.setting("NATS_STREAM", "GENESYS"))
                    .ordered(true)
                    .build();
            JetStreamSubscription subscription = connection.jetStream().subscribe(">", options);
            long heard = System.nanoTime();
            while (idle == 0 || book.isEmpty() || System.nanoTime() - heard < idle * 1_000_000) {
                Message message = subscription.nextMessage(Duration.ofMillis(250));
                if (message != null && !message.isStatusMessage()) {
                    heard = System.nanoTime();
                    book.take(Event.read(headers(message), "ce-", message.getData()));
                }
            }
        }
        System.exit(book.close());
    }

    private static UnaryOperator<String> headers(Message message) {
        return name -> {
            String value = message.getHeaders() == null ? null : message.getHeaders().getFirst(name);
            // CloudEvents percent-encodes what headers cannot hold; a plus sign is none of that.
            return value == null ? null : URLDecoder.decode(value.replace("+", "%2B"), StandardCharsets.UTF_8);
        };
    }
}
