// Squares.java: a connector in Java with nothing but the JDK, by docs/protocol/connector.md and arrow.md.
//
//   javac Squares.java && jar --create --file squares.jar --main-class Squares *.class      run as `java::squares.jar`
//
// A location is a number of rows, of the columns n and square.
import java.io.BufferedOutputStream;
import java.io.BufferedReader;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;

public final class Squares {
    private static final int ROWS_OF_BATCH = 1000;

    // The two messages of arrow.md. What is filled in of a batch: the size of its body, rows, nodes, buffers.
    private static final byte[] SCHEMA = HexFormat.of().parseHex(
        "ffffffffc8000000100000000a000c0004000600080000000c000000040001000c00000008000800000004000800000004000000"
        + "020000001800000058000000100014000400000008000c0000001000100000001000000002000000180000002000000001000000"
        + "6e00000008000c000400080008000000400000000100000000000000100014000400000008000c00000010001000000010000000"
        + "020000001c0000002400000006000000737175617265000008000c00040008000800000040000000010000000000000000000000");
    private static final byte[] BATCH = HexFormat.of().parseHex(
        "ffffffffc0000000100000000c00180004000600080010000c00000004000300200000000000000000000000000000000a001800"
        + "080010001400000000000000100000000000000000000000000000000c0000003000000000000000020000000000000000000000"
        + "0000000000000000000000000000000000000000000000000000000004"
        + "00".repeat(67));
    private static final int BODY = 40, ROWS = 72, NODES = 96, BUFFERS = 136;

    private static final DataOutputStream out = new DataOutputStream(new BufferedOutputStream(System.out, 1 << 16));

    /** What a JSON text says: Map, List, String, Double, Boolean or null. */
    private static final class Json {
        private final String text;
        private int at;

        private Json(String text) {
            this.text = text;
        }

        static Object parse(String text) {
            Json json = new Json(text);
            Object value = json.value();
            if (json.next() != 0) throw new IllegalArgumentException("more than one value");
            return value;
        }

        /** The next character that is no space, and stays the next one; 0 at the end. */
        private char next() {
            while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) at++;
            return at < text.length() ? text.charAt(at) : 0;
        }

        private boolean take(char wanted) {
            boolean there = next() == wanted;
            if (there) at++;
            return there;
        }

        private void need(char wanted) {
            if (!take(wanted)) throw new IllegalArgumentException("no " + wanted + " at " + at);
        }

        private Object value() {
            if (next() == '"') return string();
            if (take('{')) {
                Map<String, Object> map = new HashMap<>();
                if (take('}')) return map;
                do {
                    next();
                    String name = string();
                    need(':');
                    map.put(name, value());
                } while (take(','));
                need('}');
                return map;
            }
            if (take('[')) {
                List<Object> list = new ArrayList<>();
                if (take(']')) return list;
                do list.add(value()); while (take(','));
                need(']');
                return list;
            }
            int begin = at;
            while (at < text.length() && ",]} \t\r\n".indexOf(text.charAt(at)) < 0) at++;
            String word = text.substring(begin, at);
            return switch (word) {
                case "null" -> null;
                case "true" -> true;
                case "false" -> false;
                default -> Double.valueOf(word);
            };
        }

        private String string() {
            StringBuilder made = new StringBuilder();
            need('"');
            for (; text.charAt(at) != '"'; at++) {
                char c = text.charAt(at);
                if (c == '\\') {
                    c = text.charAt(++at);
                    if (c == 'u') {
                        c = (char) Integer.parseInt(text.substring(at + 1, at + 5), 16);
                        at += 4;
                    } else if ("bfnrt".indexOf(c) >= 0) {
                        c = "\b\f\n\r\t".charAt("bfnrt".indexOf(c));
                    }
                }
                made.append(c);
            }
            at++;
            return made.toString();
        }

        static String quote(String text) {
            StringBuilder made = new StringBuilder("\"");
            for (char c : text.toCharArray()) {
                if (c < 0x20 || c == '"' || c == '\\' || c > 0x7e) made.append(String.format("\\u%04x", (int) c));
                else made.append(c);
            }
            return made.append('"').toString();
        }
    }

    private static void answer(String id, String member, String value) throws IOException {
        String line = "{\"jsonrpc\":\"2.0\",\"id\":" + id + ",\"" + member + "\":" + value + "}\n";
        out.write(line.getBytes(StandardCharsets.UTF_8));
    }

    private static void fail(String id, int code, String message) throws IOException {
        answer(id, "error", "{\"code\":" + code + ",\"message\":" + Json.quote(message) + "}");
    }

    private static void writeBatch(long begin, long end) throws IOException {
        int rows = (int) (end - begin);
        ByteBuffer message = ByteBuffer.allocate(BATCH.length + 16 * rows).order(ByteOrder.LITTLE_ENDIAN).put(BATCH);
        message.putLong(BODY, 16L * rows);
        for (int at : new int[] {ROWS, NODES, NODES + 16}) message.putLong(at, rows);
        for (int at : new int[] {24, 32, 48, 56}) message.putLong(BUFFERS + at, 8L * rows);
        for (int i = 0; i < rows; i++) {
            long n = begin + i + 1;
            message.putLong(BATCH.length + 8 * i, n).putLong(BATCH.length + 8 * (rows + i), n * n);
        }
        out.write(message.array());
    }

    private static void data(String id, Map<?, ?> params) throws IOException {
        if (!(params.get("location") instanceof Map<?, ?> location) || !(location.get("location") instanceof String name)) {
            fail(id, -32602, "no location");
            return;
        }
        if (!name.matches("[0-9]{1,8}")) {
            fail(id, -32000, "a location is a number of rows");
            return;
        }
        long rows = Long.parseLong(name);
        long batches = (rows + ROWS_OF_BATCH - 1) / ROWS_OF_BATCH;
        answer(id, "result", "{\"ok\":true}");
        out.writeInt(rows == 0 ? 0 : (int) (SCHEMA.length + batches * BATCH.length + 16 * rows + 8)); // it goes first
        if (rows == 0) return; // no data
        out.write(SCHEMA);
        for (long at = 0; at < rows; at += ROWS_OF_BATCH) writeBatch(at, Math.min(at + ROWS_OF_BATCH, rows));
        out.writeLong(0xffffffff00000000L);
    }

    /** One line; false where it was the last. */
    private static boolean handle(String line) throws IOException {
        Object value;
        try {
            value = Json.parse(line);
        } catch (RuntimeException e) {
            fail("null", -32700, "not JSON");
            return true;
        }
        if (!(value instanceof Map<?, ?> request) || !(request.get("method") instanceof String method)) {
            fail("null", -32600, "not a request");
            return true;
        }
        if (!request.containsKey("id")) return true; // a notification: none is known
        Object given = request.get("id");
        String id = given instanceof String text ? Json.quote(text)
            : given instanceof Double number ? Long.toString(number.longValue()) : "null";
        Map<?, ?> params = request.get("params") instanceof Map<?, ?> map ? map : Map.of();
        switch (method) {
            case "handshake" -> answer(id, "result", "{\"protocol_version\":\"1\"}");
            case "ping" -> answer(id, "result", "\"pong\"");
            case "discover" -> answer(id, "result", "{\"locations\":[{\"location\":\"10\",\"num_rows\":10},"
                + "{\"location\":\"1000000\",\"num_rows\":1000000},{\"location\":\"0\"}]}");
            case "data" -> data(id, params);
            case "stable_url" -> answer(id, "result", "null");
            case "shutdown" -> answer(id, "result", "{\"ok\":true}");
            default -> fail(id, -32601, "there is no such method");
        }
        return !method.equals("shutdown");
    }

    public static void main(String[] arguments) throws IOException {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        boolean more = true;
        for (String line; more && (line = in.readLine()) != null; out.flush()) {
            more = line.isBlank() || handle(line);
        }
    }
}
