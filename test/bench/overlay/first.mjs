/**
 * In a sandbox: `first.mjs SOCKET`. For each line, a name, it asks the sandbox's resolver again and again until the name is
 * there, then opens a TCP connection to the first address, which anything that answers at once refuses. It writes when both
 * happened, milliseconds of the machine's monotonic clock, and how long the answer took.
 */
import { createSocket } from 'node:dgram';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';

const [path] = process.argv.slice(2);
/** Between two questions while there is no answer, milliseconds. */
const EVERY_MS = 1;
const CLOSED_PORT = 9;
const now = () => Number(process.hrtime.bigint()) / 1e6;

/** A question for an A record (RFC 1035 §4.1). */
function question(id, name) {
  const labels = name.split('.').flatMap((label) => [label.length, ...Buffer.from(label)]);
  return Buffer.from([id >> 8, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, 1, 0, 1]);
}

/** The address of the first answer, which is the last four octets of a reply with one answer. */
const addressIn = (reply) => (reply.readUInt16BE(6) > 0 ? [...reply.subarray(-4)].join('.') : undefined);

function named(name) {
  const socket = createSocket('udp4');
  return new Promise((resolve) => {
    let id = 0;
    const ask = () => socket.send(question(++id & 0xffff, name), 53, '127.0.0.11', () => {});
    const again = setInterval(ask, EVERY_MS);
    socket.on('error', () => {});
    socket.on('message', (reply) => {
      const address = addressIn(reply);
      if (address === undefined) return;
      clearInterval(again);
      socket.close();
      resolve({ address, at: now() });
    });
    ask();
  });
}

const answers = (address) =>
  new Promise((resolve) => {
    const socket = connect(CLOSED_PORT, address);
    socket.on('connect', () => resolve(socket.destroy()));
    socket.on('error', resolve);
  });

async function first(name, connection) {
  const { address, at } = await named(name);
  await answers(address);
  connection.write(`${JSON.stringify({ named: at, answered: now() })}\n`);
}

createServer((connection) => {
  connection.on('error', () => {});
  createInterface({ input: connection }).on('line', (name) => void first(name, connection));
}).listen(path);
