// As amqplib's README publishes.
import amqplib from 'amqplib';

const message = JSON.parse(process.env.MESSAGE);
const connection = await amqplib.connect(process.env.RABBITMQ_URL);
const channel = await connection.createChannel();
await channel.assertQueue(process.env.QUEUE);
channel.sendToQueue(process.env.QUEUE, Buffer.from(JSON.stringify({ ...message, timestamp: new Date() })));
// A text cut inside an emoji, a zone's words, and a number.
const cut = `${message.error_message}👍`.slice(0, -1);
for (const timestamp of [String(new Date()), new Date().toUTCString(), Date.now()]) {
  channel.sendToQueue(process.env.QUEUE, Buffer.from(JSON.stringify({ ...message, error_message: cut, timestamp })));
}
await channel.close();
await connection.close();
