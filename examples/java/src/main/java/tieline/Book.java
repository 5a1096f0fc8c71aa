package tieline;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** What a consumer of tieline has to remember: the last number of each key, the state of each topic, and what is incomplete. */
final class Book {
    private record Key(String epoch, String subject) {}

    private final Map<Key, Long> last = new HashMap<>();
    /** The parts of a topic's snapshot, while some are still to come. */
    private final Map<String, TreeMap<Integer, JsonElement>> parts = new HashMap<>();
    /** The last that was said of a topic; what REST showed of it is a list of parts. */
    final Map<String, List<JsonElement>> state = new HashMap<>();
    final Map<String, JsonObject> incomplete = new HashMap<>();
    private long events, repeats, late, holes, gaps, snapshots;

    /** Takes an event in the order of the broker. False when it was taken before: skip it. */
    boolean take(Event event) {
        if (!isNew(event)) {
            return false;
        }
        events++;
        if (event.type().equals("tieline.gap.v1")) {
            gap(event.topic(), event.data().getAsJsonObject());
        } else if (event.type().startsWith("tieline.snapshot.")) {
            snapshot(event.topic(), event.data().getAsJsonObject());
        } else if (event.type().startsWith("tieline.")) {
            System.out.printf("%s: %s%n", event.type(), event.data());
        } else {
            notification(event);
        }
        return true;
    }

    private void notification(Event event) {
        if (event.late()) {
            late++;
        }
        // Something younger of its key was taken before a late one: that happened too, but it is not how things stand.
        if (!event.late() || !state.containsKey(event.topic())) {
            state.put(event.topic(), List.of(event.data())); // Your own work begins here.
        }
    }

    private void gap(String topic, JsonObject gap) {
        gaps++;
        incomplete.put(topic, gap);
        parts.remove(topic);
        System.out.printf("gap: %s was not heard from %s to %s (%s)%n", topic,
                gap.get("from").getAsString(), gap.get("to").getAsString(), gap.get("cause").getAsString());
    }

    private void snapshot(String topic, JsonObject data) {
        TreeMap<Integer, JsonElement> seen = parts.computeIfAbsent(topic, none -> new TreeMap<>());
        seen.put(data.has("part") ? data.get("part").getAsInt() : 1, data);
        if (seen.size() < (data.has("parts") ? data.get("parts").getAsInt() : 1)) {
            return; // A long list takes several events, and is whole with the last.
        }
        parts.remove(topic);
        snapshots++;
        state.put(topic, List.copyOf(seen.values()));
        incomplete.remove(topic);
        System.out.printf("snapshot: %s is whole again%n", topic);
    }

    private boolean isNew(Event event) {
        Key key = new Key(event.epoch(), event.subject());
        long before = last.getOrDefault(key, 0L);
        if (event.sequence() <= before) {
            repeats++;
            return false;
        }
        if (event.sequence() != before + 1) {
            holes++;
            System.err.printf("HOLE: %s has %d after %d in epoch %s%n", event.subject(), event.sequence(), before, event.epoch());
        }
        last.put(key, event.sequence());
        return true;
    }

    /** Whether nothing has come yet. */
    boolean isEmpty() {
        return events == 0;
    }

    /** Prints the summary; answers the exit code. */
    int close() {
        System.out.printf("{\"events\":%d,\"repeats\":%d,\"late\":%d,\"holes\":%d,\"gaps\":%d,\"snapshots\":%d,\"incomplete\":%d}%n",
                events, repeats, late, holes, gaps, snapshots, incomplete.size());
        return holes == 0 ? 0 : 1;
    }

    /** A setting of the environment. */
    static String setting(String name, String otherwise) {
        return System.getenv().getOrDefault(name, otherwise);
    }
}
