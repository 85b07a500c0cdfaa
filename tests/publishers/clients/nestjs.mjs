// NestJS's ClientProxy, as its documentation publishes, then with the serializer that docs/integration.md names.
import { ClientProxyFactory, Transport } from '@nestjs/microservices';
import { lastValueFrom } from 'rxjs';

const { RABBITMQ_URL: url, QUEUE: queue, MESSAGE } = process.env;
const message = { ...JSON.parse(MESSAGE), timestamp: new Date() };
for (const extra of [{}, { serializer: { serialize: (packet) => packet.data }, persistent: true }]) {
  const client = ClientProxyFactory.create({ transport: Transport.RMQ, options: { urls: [url], queue, queueOptions: { durable: true }, ...extra } });
  await client.connect();
  await lastValueFrom(client.emit('status', message), { defaultValue: null });
  await client.close();
}
process.exit(0);
