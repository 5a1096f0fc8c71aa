package tieline;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.util.HashMap;
import java.util.Map;

/** What a consumer of tieline has to remember: the last number of each key, the state of each topic, and what is incomplete. */
final class Book {
    private record Key(String epoch, String subject) {}

    private final Map<Key, Long> last = new HashMap<>();
    final Map<String, JsonElement> state = new HashMap<>();
    final Map<String, JsonObject> incomplete = new HashMap<>();
    private long events, repeats, holes, gaps, snapshots;

    /** Takes an event in the order of the broker. False when it was taken before: skip it. */
    boolean take(Event event) {
        if (!isNew(event)) {
            return false;
        }
        events++;
        if (event.type().equals("tieline.gap.v1")) {
            gaps++;
            JsonObject gap = event.data().getAsJsonObject();
            incomplete.put(event.topic(), gap);
            System.out.printf("gap: %s was not heard from %s to %s (%s)%n", event.topic(),
                    gap.get("from").getAsString(), gap.get("to").getAsString(), gap.get("cause").getAsString());
        } else if (event.type().startsWith("tieline.snapshot.")) {
            snapshots++;
            state.put(event.topic(), event.data());
            incomplete.remove(event.topic());
            System.out.printf("snapshot: %s is whole again%n", event.topic());
        } else if (event.type().startsWith("tieline.")) {
            System.out.printf("%s: %s%n", event.type(), event.data());
        } else {
            state.put(event.topic(), event.data()); // Your own work begins here.
        }
        return true;
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

    /** Prints the summary; answers the exit code. */
    int close() {
        System.out.printf("{\"events\":%d,\"repeats\":%d,\"holes\":%d,\"gaps\":%d,\"snapshots\":%d}%n",
                events, repeats, holes, gaps, snapshots);
        return holes == 0 ? 0 : 1;
    }

    /** A setting of the environment. */
    static String setting(String name, String otherwise) {
        return System.getenv().getOrDefault(name, otherwise);
    }
}
