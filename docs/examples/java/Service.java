// An external service in miniature: takes Rita's two webhooks and answers over RabbitMQ. See docs/integration.md.
// mvn -q compile exec:java; RABBITMQ_URL, AUTOMATION_AUTH and WEBHOOK_SIGNING_SECRET in the environment.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.ConnectionFactory;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.time.Instant;
import java.util.Base64;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeoutException;
import java.util.function.UnaryOperator;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public final class Service {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Map<String, String> ENV = System.getenv();
    private static final String QUEUE = ENV.getOrDefault("STATUS_QUEUE", "data_source_status");
    private static final byte[] AUTHORIZATION = ENV.get("AUTOMATION_AUTH").getBytes(StandardCharsets.UTF_8);
    private static final byte[] KEY = Base64.getDecoder().decode(ENV.get("WEBHOOK_SIGNING_SECRET").substring("whsec_".length()));
    private static final long OLDEST_SECONDS = 300;
    private static final Map<String, Map<String, String>> OPTIONS = Map.of(
        "confluence", Map.of("spaces", "ENG,PROD"), "servicenow", Map.of("tables", "incident"));

    // A real service keeps these two and the work in its database: ids with a unique index, credentials encrypted.
    private final Set<String> seen = ConcurrentHashMap.newKeySet();
    private final Map<String, JsonNode> credentials = new ConcurrentHashMap<>();
    // One operation after the other: that keeps the messages in order.
    private final ExecutorService work = Executors.newSingleThreadExecutor();
    private final ConnectionFactory broker = new ConnectionFactory();

    public static void main(String[] arguments) throws Exception {
        Service service = new Service();
        service.broker.setUri(ENV.get("RABBITMQ_URL"));
        int port = Integer.parseInt(ENV.getOrDefault("PORT", "8090"));
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.createContext("/webhook", service::answer);
        server.start();
    }

    /** Let in who may call, take each operation once, and answer at once (2.2 to 2.4). */
    private void answer(HttpExchange request) throws IOException {
        byte[] raw = request.getRequestBody().readAllBytes();
        int status = 401;
        if (mayCall(request, raw)) {
            JsonNode body = JSON.readTree(raw);
            status = switch (body.path("action").asText()) {
                case "verify_credentials" -> accept(body, () -> verify(body));
                case "data_source_sync_requested" -> accept(body, () -> sync(body));
                default -> 422;
            };
        }
        request.sendResponseHeaders(status, -1);
        request.close();
    }

    private int accept(JsonNode body, Runnable task) {
        if (seen.add(body.get("operation_id").asText())) work.execute(task);
        return 202;
    }

    /** Compare the agreed header, and check the signature and its age, as in Standard Webhooks. */
    private static boolean mayCall(HttpExchange request, byte[] raw) {
        byte[] given = header(request, "Authorization").getBytes(StandardCharsets.UTF_8);
        if (!MessageDigest.isEqual(given, AUTHORIZATION)) return false;
        String id = header(request, "webhook-id"), timestamp = header(request, "webhook-timestamp");
        try {
            if (Math.abs(Instant.now().getEpochSecond() - Long.parseLong(timestamp)) > OLDEST_SECONDS) return false;
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(KEY, "HmacSHA256"));
            mac.update((id + "." + timestamp + ".").getBytes(StandardCharsets.UTF_8));
            byte[] expected = ("v1," + Base64.getEncoder().encodeToString(mac.doFinal(raw))).getBytes(StandardCharsets.UTF_8);
            boolean matches = false;
            for (String signature : header(request, "webhook-signature").split(" ")) {
                matches |= MessageDigest.isEqual(signature.getBytes(StandardCharsets.UTF_8), expected);
            }
            return matches;
        } catch (NumberFormatException | GeneralSecurityException problem) {
            return false;
        }
    }

    private static String header(HttpExchange request, String name) {
        String value = request.getRequestHeaders().getFirst(name);
        return value == null ? "" : value;
    }

    /** Ask the source, keep good credentials, and report (3.2). This one makes it up; never quote a secret. */
    private void verify(JsonNode body) {
        String type = body.get("connection_type").asText(), words = body.get("credentials").toString();
        String error = words.contains("unreachable") ? type + " could not be reached"
            : words.contains("bad") ? type + " refused the credentials" : null;
        if (error == null) credentials.put(keyOf(body), body.get("credentials"));
        ObjectNode message = messageAbout(body, "verification", error == null ? "success" : "failed");
        message.set("options", error == null ? JSON.valueToTree(OPTIONS.get(type)) : null);
        publish(message.put("error", error));
    }

    /** Sync with the credentials of this tenant's connection, and report progress (3.3). */
    private void sync(JsonNode body) {
        if (!credentials.containsKey(keyOf(body)) && !body.get("connection_type").asText().equals("websearch")) {
            report(body, "sync_failed", message -> message.put("error_message", "No credentials are stored: verify the connection again"));
            return;
        }
        for (int documents : new int[] {0, 10, 25}) { // Here the source is read.
            report(body, "sync_started", message -> message.put("documents_processed", documents));
        }
        report(body, "sync_completed", message -> message.put("documents_processed", 25));
    }

    private void report(JsonNode body, String status, UnaryOperator<ObjectNode> more) {
        // Microseconds, so that no two are equal (3.5).
        publish(more.apply(messageAbout(body, "sync", status).put("timestamp", Instant.now().toString())));
    }

    private static ObjectNode messageAbout(JsonNode body, String type, String status) {
        ObjectNode message = JSON.createObjectNode().put("type", type).put("status", status);
        for (String key : new String[] {"connection_id", "tenant_id", "operation_id"}) message.set(key, body.get(key));
        return message;
    }

    /** Name the place of a connection's credentials: all three, or another tenant's might be found (2.5). */
    private static String keyOf(JsonNode body) {
        return body.get("tenant_id") + "/" + body.get("connection_id") + "/" + body.get("connection_type");
    }

    /** Publish until the broker confirms; the queue is durable and has no other argument (3.1). */
    private void publish(ObjectNode message) {
        AMQP.BasicProperties properties = new AMQP.BasicProperties.Builder().deliveryMode(2).contentType("application/json").build();
        while (true) {
            try (var connection = broker.newConnection(); var channel = connection.createChannel()) {
                channel.queueDeclare(QUEUE, true, false, false, null);
                channel.confirmSelect();
                channel.basicPublish("", QUEUE, true, properties, message.toString().getBytes(StandardCharsets.UTF_8));
                channel.waitForConfirmsOrDie(10_000);
                return;
            } catch (IOException | TimeoutException problem) {
                System.err.println("the broker does not take the message: " + problem);
                pause();
            } catch (InterruptedException stopped) {
                Thread.currentThread().interrupt();
                return;
            }
        }
    }

    private static void pause() {
        try {
            Thread.sleep(2000);
        } catch (InterruptedException stopped) {
            Thread.currentThread().interrupt();
        }
    }
}
