package tieline;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.nio.charset.StandardCharsets;
import java.util.function.UnaryOperator;

/** What a consumer needs of an event. */
record Event(String type, String subject, String epoch, long sequence, String topic, boolean late, JsonElement data) {

    /** An event of either content mode. {@code header} answers a header's text, or null. */
    static Event read(UnaryOperator<String> header, String prefix, byte[] payload) {
        JsonElement json = JsonParser.parseString(new String(payload, StandardCharsets.UTF_8));
        String media = header.apply("content-type");
        if (media != null && media.startsWith("application/cloudevents+json")) {
            JsonObject event = json.getAsJsonObject();
            return of(name -> event.has(name) ? event.get(name).getAsString() : null, event.get("data"));
        }
        return of(name -> header.apply(prefix + name), json);
    }

    private static Event of(UnaryOperator<String> attribute, JsonElement data) {
        return new Event(
                attribute.apply("type"),
                attribute.apply("subject"),
                attribute.apply("epoch"),
                Long.parseLong(attribute.apply("sequence")),
                attribute.apply("topic"),
                Boolean.parseBoolean(attribute.apply("late")),
                data);
    }
}
