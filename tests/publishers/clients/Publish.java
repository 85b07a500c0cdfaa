// As the Java client's tutorial publishes.
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.time.ZoneId;
import java.time.ZonedDateTime;
import java.util.Date;

public class Publish {
    public static void main(String[] arguments) throws Exception {
        ConnectionFactory factory = new ConnectionFactory();
        factory.setUri(System.getenv("RABBITMQ_URL"));
        String queue = System.getenv("QUEUE"), message = System.getenv("MESSAGE");
        Object[] moments = {Instant.now(), OffsetDateTime.now(), ZonedDateTime.now(ZoneId.of("Europe/Berlin")), new Date()};
        try (Connection connection = factory.newConnection(); Channel channel = connection.createChannel()) {
            channel.queueDeclare(queue, true, false, false, null);
            for (Object moment : moments) {
                String body = message.replaceFirst("\\}$", ",\"timestamp\":\"" + moment + "\"}");
                channel.basicPublish("", queue, null, body.getBytes(StandardCharsets.UTF_8));
            }
        }
    }
}
