/**
 * The process of a sandbox in the lab: `prober.mjs SOCKET NAME`. It answers every UDP packet to port 7007 with its own name,
 * and does what the lab asks over the unix socket, one JSON a line: `resolve` a name, `ask` an address who it is, `watch` an
 * address all the time and say later (`seen`) what came back.
 */
import { createSocket } from 'node:dgram';
import { Resolver } from 'node:dns/promises';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';

const [path, ownName] = process.argv.slice(2);
const PORT = 7007;
/** Between two packets of a watch, milliseconds. */
const WATCH_MS = 20;

const answering = (type) => {
  const socket = createSocket({ type, ipv6Only: type === 'udp6' });
  socket.on('message', (message, from) => socket.send(`${ownName} ${message}`, from.port, from.address, () => {}));
  socket.on('error', () => {});
  return new Promise((resolve) => socket.bind(PORT, () => resolve(socket)));
};

/** Sends with numbers from a port of its own, and tells of each answer once. */
function asker(address, onAnswer) {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  socket.on('error', () => {});
  socket.on('message', (message) => {
    const [name = '', number] = message.toString().split(' ');
    onAnswer(name, Number(number));
  });
  let number = 0;
  return { send: () => socket.send(String(++number), PORT, address, () => {}), close: () => socket.close() };
}

/** Who is there: its name, or null when nobody answers in time. Asks again every 200 ms. */
const ask = ({ address, ms }) =>
  new Promise((resolve) => {
    const end = (name) => {
      clearInterval(again);
      clearTimeout(timer);
      way.close();
      resolve(name);
    };
    const way = asker(address, end);
    const again = setInterval(way.send, 200);
    const timer = setTimeout(() => end(null), ms);
    way.send();
  });

/** Addresses of a name by the sandbox's own resolver; empty when it has none, null when the resolver fails. */
async function resolve({ name, family, ms }) {
  const resolver = new Resolver({ timeout: ms, tries: 1 });
  try {
    return await (family === 6 ? resolver.resolve6(name) : resolver.resolve4(name));
  } catch (error) {
    return ['ENOTFOUND', 'ENODATA'].includes(error.code) ? [] : null;
  }
}

const watches = new Map();

/** Begins to watch an address under a key. */
function watch({ key, address }) {
  const state = { sent: 0, answered: 0, names: {}, last: performance.now(), longestGapMs: 0 };
  const way = asker(address, (name) => {
    state.answered++;
    state.names[name] = (state.names[name] ?? 0) + 1;
    state.longestGapMs = Math.max(state.longestGapMs, performance.now() - state.last);
    state.last = performance.now();
  });
  const timer = setInterval(() => (state.sent++, way.send()), WATCH_MS);
  watches.set(key, { state, close: () => (clearInterval(timer), way.close()) });
  return true;
}

/** What a watch has seen since it began or was read last; a gap that goes on counts. */
function seen({ key }) {
  const { state } = watches.get(key);
  const gap = performance.now() - state.last;
  const answer = { ...state, sinceLastMs: gap, longestGapMs: Math.max(state.longestGapMs, gap) };
  Object.assign(state, { sent: 0, answered: 0, names: {}, longestGapMs: 0 });
  return answer;
}

function unwatch({ key }) {
  watches.get(key)?.close();
  watches.delete(key);
  return true;
}

const verbs = { ask, resolve, watch, seen, unwatch };

await Promise.all([answering('udp4'), answering('udp6')]);
createServer((connection) => {
  connection.on('error', () => {});
  createInterface({ input: connection }).on('line', (line) => {
    const { id, verb, ...wish } = JSON.parse(line);
    void Promise.resolve(verbs[verb](wish)).then((answer) => connection.write(`${JSON.stringify({ id, answer })}\n`));
  });
}).listen(path);
