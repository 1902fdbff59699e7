/**
 * Traffic that notices what it loses, run inside a namespace: `echo PORT`, `stream ADDRESS PORT`, `names NAME ADDRESS`.
 * Writes "ready", and after SIGTERM one line of JSON with what it has seen. Ends with 1 at the first loss.
 */
import { createSocket } from 'node:dgram';
import { connect, createServer } from 'node:net';

const [role, first, second] = process.argv.slice(2);
const BLOCK = 512;
const EVERY_MS = { stream: 10, names: 100 };
/** Longest wait for an answer or for the rest of a stream. */
const ANSWER_MS = 10_000;

const fail = (why) => {
  console.log(JSON.stringify({ failed: why }));
  process.exit(1);
};
const end = (seen) => {
  console.log(JSON.stringify(seen));
  process.exit(0);
};
const octet = (at) => (at * 31 + (at >> 8)) & 0xff;

if (role === 'echo') {
  const server = createServer((socket) => socket.on('error', () => {}).pipe(socket));
  server.listen(Number(first), '0.0.0.0', () => console.log('ready'));
  process.on('SIGTERM', () => end({}));
} else if (role === 'stream') {
  let sent = 0;
  let received = 0;
  let stopped = false;
  const socket = connect(Number(second), first, () => console.log('ready'));
  socket.setNoDelay(true);
  socket.on('error', (error) => fail(error.message));
  socket.on('close', () => fail('the stream was closed'));
  socket.on('data', (chunk) => {
    for (const one of chunk) if (one !== octet(received++)) fail(`octet ${received} is wrong`);
    if (stopped && received === sent) end({ octets: received });
  });
  const timer = setInterval(() => {
    socket.write(Uint8Array.from({ length: BLOCK }, () => octet(sent++)));
  }, EVERY_MS.stream);
  process.on('SIGTERM', () => {
    clearInterval(timer);
    stopped = true;
    if (received === sent) end({ octets: received });
    setTimeout(() => fail(`${sent - received} of ${sent} octets are missing`), ANSWER_MS);
  });
} else if (role === 'names') {
  const socket = createSocket('udp4');
  const open = new Map();
  let asked = 0;
  let answered = 0;
  let stopped = false;
  const name = Buffer.concat([Buffer.from([first.length]), Buffer.from(first), Buffer.from([0, 0, 1, 0, 1])]);
  const wanted = Buffer.from(second.split('.').map(Number));
  socket.on('error', (error) => fail(error.message));
  socket.on('message', (answer) => {
    const id = answer.readUInt16BE(0);
    if (!open.has(id)) return;
    clearTimeout(open.get(id));
    open.delete(id);
    if ((answer[3] & 15) !== 0 || !answer.subarray(-4).equals(wanted)) fail(`wrong answer: ${answer.toString('hex')}`);
    if (++answered === 1) console.log('ready');
    if (stopped && open.size === 0) end({ names: answered });
  });
  const timer = setInterval(() => {
    const id = ++asked & 0xffff;
    const head = Buffer.from([id >> 8, id & 0xff, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    open.set(
      id,
      setTimeout(() => fail(`question ${asked} was not answered`), ANSWER_MS),
    );
    socket.send(Buffer.concat([head, name]), 53, '127.0.0.11');
  }, EVERY_MS.names);
  process.on('SIGTERM', () => {
    clearInterval(timer);
    stopped = true;
    if (open.size === 0) end({ names: answered });
  });
} else fail(`unknown role ${role}`);
