// An external service in miniature: takes Rita's two webhooks and answers over RabbitMQ. See docs/integration.md.
// npm install && npm start; RABBITMQ_URL, AUTOMATION_AUTH and WEBHOOK_SIGNING_SECRET in the environment.

import { timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { connect, type ChannelModel, type ConfirmChannel } from 'amqplib';
import { Webhook } from 'standardwebhooks';

type Json = Record<string, unknown>;
type Common = {
  operation_id: string; tenant_id: string; connection_id: string; connection_type: string;
  user_id: string; user_email: string; timestamp: string;
};
type Verify = Common & { action: 'verify_credentials'; settings: Json; credentials: Json };
type Sync = Common & { action: 'data_source_sync_requested'; connection_name: string; config: Json };

const { RABBITMQ_URL, AUTOMATION_AUTH, WEBHOOK_SIGNING_SECRET } = process.env;
if (!RABBITMQ_URL || !AUTOMATION_AUTH || !WEBHOOK_SIGNING_SECRET) throw new Error('a setting is missing');
const authorization = Buffer.from(AUTOMATION_AUTH);
const signatures = new Webhook(WEBHOOK_SIGNING_SECRET);
const queue = process.env.STATUS_QUEUE ?? 'data_source_status';
const options: Record<string, Json> = { confluence: { spaces: 'ENG,PROD' }, servicenow: { tables: 'incident' } };

// A real service keeps these in its database: ids with a unique index, credentials encrypted.
const seen = new Set<string>();
const credentials = new Map<string, Json>();
// One operation after the other: that keeps the messages in order.
let work = Promise.resolve();

// 2.5: all three, or another tenant's might be found.
const keyOf = (body: Common) => JSON.stringify([body.tenant_id, body.connection_id, body.connection_type]);
const addressOf = ({ connection_id, tenant_id, operation_id }: Common) => ({ connection_id, tenant_id, operation_id });

// 2.2: who may call. The library looks at the signature and at its age.
function letIn(request: IncomingMessage, raw: string): Verify | Sync | undefined {
  const given = Buffer.from(request.headers.authorization ?? '');
  if (given.length !== authorization.length || !timingSafeEqual(given, authorization)) return undefined;
  try {
    return signatures.verify(raw, request.headers as Record<string, string>) as Verify | Sync;
  } catch {
    return undefined;
  }
}

// 3.2: ask the source, keep what is good, and tell. This one makes it up; never quote a secret.
async function verify(body: Verify): Promise<void> {
  const words = JSON.stringify(body.credentials);
  const error = words.includes('unreachable') ? `${body.connection_type} could not be reached`
    : words.includes('bad') ? `${body.connection_type} refused the credentials` : null;
  if (error === null) credentials.set(keyOf(body), body.credentials);
  const found = error === null ? options[body.connection_type] ?? null : null;
  const status = error === null ? 'success' : 'failed';
  await publish({ type: 'verification', ...addressOf(body), status, options: found, error });
}

// 3.3: tell how it goes; 3.5: no two of one instant.
let last = 0;
async function report(body: Sync, status: string, more: Json): Promise<void> {
  last = Math.max(Date.now(), last + 1);
  await publish({ type: 'sync', ...addressOf(body), status, timestamp: new Date(last).toISOString(), ...more });
}

async function sync(body: Sync): Promise<void> {
  if (!credentials.has(keyOf(body)) && body.connection_type !== 'websearch') {
    await report(body, 'sync_failed', { error_message: 'No credentials are stored: verify the connection again' });
    return;
  }
  for (const documents of [0, 10, 25]) await report(body, 'sync_started', { documents_processed: documents });
  await report(body, 'sync_completed', { documents_processed: 25 });
}

// 3.1: durable and nothing else, persistent, until the broker confirms.
let channel: ConfirmChannel | undefined;
async function publish(message: Json): Promise<void> {
  for (;;) {
    try {
      channel ??= await open();
      channel.sendToQueue(queue, Buffer.from(JSON.stringify(message)), { persistent: true, contentType: 'application/json' });
      await channel.waitForConfirms();
      return;
    } catch {
      channel = undefined;
      await pause(2000);
    }
  }
}

async function open(): Promise<ConfirmChannel> {
  const connection: ChannelModel = await connect(RABBITMQ_URL!);
  connection.on('error', () => { channel = undefined; });
  const opened = await connection.createConfirmChannel();
  opened.on('error', () => { channel = undefined; });
  await opened.assertQueue(queue, { durable: true });
  return opened;
}

const server = createServer(async (request, response) => {
  let raw = '';
  for await (const chunk of request.setEncoding('utf8')) raw += chunk;
  const body = request.method === 'POST' && request.url === '/webhook' ? letIn(request, raw) : undefined;
  // 2.4: act once, answer 2xx each time.
  if (body && !seen.has(body.operation_id)) {
    seen.add(body.operation_id);
    work = work.then(() => (body.action === 'verify_credentials' ? verify(body) : sync(body)));
  }
  response.writeHead(body ? 202 : 401).end();
});
server.listen(Number(process.env.PORT ?? 8090), '127.0.0.1');
