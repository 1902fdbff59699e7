/** The wire form of DHCP: what we write, what we read, and that nothing on the wire can surprise us. */

import { describe, expect, test } from 'vitest';
import { encodeFrame, readFrame } from '../../drivers/dhcp/frame.ts';
import { encodeQuestion, readReply } from '../../drivers/dhcp/message.ts';
import { type Address, type Mac, addressBytes, macBytes } from '../../src/base/index.ts';

const MAC = '02:00:00:00:00:07' as Mac;
const XID = 0xdeadbeef;
const CLIENT_ID = Buffer.from([1, ...macBytes(MAC)]);
const asked = { xid: XID, mac: MAC, clientId: CLIENT_ID };

const option = (code: number, ...octets: number[]): number[] => [code, octets.length, ...octets];
const address = (text: string): number[] => [...addressBytes(text as Address)];

const OFFER = [
  ...option(53, 2),
  ...option(54, ...address('10.0.0.1')),
  ...option(1, 255, 255, 255, 0),
  ...option(3, ...address('10.0.0.254'), ...address('10.0.0.253')),
  ...option(51, 0, 0, 0, 120),
  ...option(58, 0, 0, 0, 3),
  ...option(59, 0, 0, 0, 7),
];

interface Made {
  readonly options?: readonly number[];
  readonly serverName?: readonly number[];
  readonly file?: readonly number[];
  readonly change?: (message: Buffer) => void;
}

function reply({ options = [...OFFER, 255], serverName = [], file = [], change }: Made = {}): Buffer {
  const message = Buffer.concat([Buffer.alloc(240), Buffer.from(options)]);
  message.set([2, 1, 6], 0);
  message.writeUInt32BE(XID, 4);
  message.set(address('10.0.0.77'), 16);
  message.set(macBytes(MAC), 28);
  message.set(serverName, 44);
  message.set(file, 108);
  message.writeUInt32BE(0x63825363, 236);
  change?.(message);
  return message;
}

const READ = {
  type: 'offer',
  server: '10.0.0.1',
  address: '10.0.0.77',
  length: 24,
  router: '10.0.0.254',
  leaseSeconds: 120,
  renewSeconds: 3,
  rebindSeconds: 7,
};

describe('an answer', () => {
  test('is read with all that it says', () => {
    expect(readReply(reply(), asked)).toEqual(READ);
  });

  test.each<[string, Made]>([
    ['of another conversation', { change: (m) => m.writeUInt32BE(XID + 1, 4) }],
    ['to another client', { change: (m) => m.writeUInt8(9, 33) }],
    ['with another magic number', { change: (m) => m.writeUInt8(0, 236) }],
    ['that is a question', { change: (m) => m.writeUInt8(1, 0) }],
    ['of another kind of link', { change: (m) => m.writeUInt8(6, 1) }],
    ['with an address of another length', { change: (m) => m.writeUInt8(16, 2) }],
    ['without a type', { options: [...option(54, ...address('10.0.0.1')), 255] }],
    ['of a type that no server sends', { options: [...option(53, 3), ...option(54, ...address('10.0.0.1')), 255] }],
    ['without a server', { options: [...option(53, 2), 255] }],
    ['of a server without an address', { options: [...option(53, 2), ...option(54, 0, 0, 0, 0), 255] }],
    ['with a server of three octets', { options: [...option(53, 2), ...option(54, 10, 0, 0), 255] }],
    ['whose last option is cut off', { options: [...OFFER, 12, 9, 65, 66] }],
    ['whose last option has no length', { options: [...OFFER, 12] }],
    ['for another client identifier', { options: [...OFFER, ...option(61, 1, 2, 3), 255] }],
  ])('%s is none', (_what, made) => {
    expect(readReply(reply(made), asked)).toBeUndefined();
  });

  test('that is shorter than its head is none', () => {
    for (let length = 0; length < 240; length++) expect(readReply(reply().subarray(0, length), asked)).toBeUndefined();
  });

  test('may carry its options in the fields of the file and of the name, which are read when it says so', () => {
    const [type, server, ...rest] = [OFFER.slice(0, 3), OFFER.slice(3, 9), OFFER.slice(9)];
    const made = {
      options: [...(type ?? []), ...option(52, 3), 255],
      file: [...(server ?? []), 255],
      serverName: [...rest.flat(), 255],
    };
    expect(readReply(reply(made), asked)).toEqual(READ);
    expect(readReply(reply({ ...made, options: [...(type ?? []), 255] }), asked)).toBeUndefined();
    expect(readReply(reply({ ...made, options: [...(type ?? []), ...option(52, 1), 255] }), asked)).toEqual({
      type: 'offer',
      server: '10.0.0.1',
      address: '10.0.0.77',
    });
    // One that runs over the end of its field does not run on in the next one.
    const over = { options: [...OFFER, ...option(52, 2), 255], serverName: [...Array<number>(62).fill(0), 12, 20] };
    expect(readReply(reply(over), asked)).toBeUndefined();
  });

  test('joins the parts of an option that is given in parts', () => {
    const words = (text: string): number[] => [...Buffer.from(text)];
    const options = [...option(53, 6), ...option(54, ...address('10.0.0.1')), ...option(56, ...words('wrong ')), 0, 0];
    expect(readReply(reply({ options: [...options, ...option(56, ...words('net\u0007work')), 255] }), asked)).toMatchObject({
      type: 'nak',
      text: 'wrong network',
    });
  });

  test.each([
    [[255, 0, 255, 0], undefined],
    [[0, 0, 0, 0], undefined],
    [[127, 0, 0, 0], undefined],
    [[255, 255, 255, 255], 32],
    [[255, 255, 240, 0], 20],
    [[255, 255, 255], undefined],
  ])('with the mask %j has the length %s', (mask, length) => {
    const options = [...option(53, 2), ...option(54, ...address('10.0.0.1')), ...option(1, ...mask), 255];
    expect(readReply(reply({ options }), asked)?.length).toBe(length);
  });

  test.each(['0.0.0.0', '127.0.0.1', '224.0.0.1', '255.255.255.255'])('gives no host the address %s', (text) => {
    expect(readReply(reply({ change: (m) => m.set(address(text), 16) }), asked)).not.toHaveProperty('address');
  });

  test('with any octets changed, added or missing is read or is none, and never more than it says', () => {
    let seed = 20_261_126;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    const outcomes = { read: 0, none: 0 };
    for (let n = 0; n < 4000; n++) {
      let mutated = reply(n % 3 === 0 ? { options: [...OFFER, ...option(52, 1 + (n % 2)), ...option(12, 65, 66), 255] } : {});
      for (let changes = random(6); changes >= 0; changes--) {
        const at = n % 2 === 0 ? 236 + random(mutated.length - 236) : random(mutated.length);
        if (random(4) > 0) mutated.writeUInt8(random(256), at);
        else if (random(2) === 0) mutated = mutated.subarray(0, Math.max(240, at));
        else mutated = Buffer.concat([mutated.subarray(0, at), Buffer.from([random(256)]), mutated.subarray(at)]);
      }
      const read = readReply(mutated, asked);
      outcomes[read === undefined ? 'none' : 'read']++;
      if (read === undefined) continue;
      expect(mutated.readUInt32BE(4)).toBe(XID);
      expect(['offer', 'ack', 'nak']).toContain(read.type);
      expect(read.server).toMatch(/^\d+\.\d+\.\d+\.\d+$/);
      expect(read.length ?? 24).toBeLessThanOrEqual(32);
      for (const seconds of [read.leaseSeconds, read.renewSeconds, read.rebindSeconds])
        expect(seconds ?? 0).toBeLessThanOrEqual(0xffffffff);
    }
    expect(outcomes.read).toBeGreaterThan(500);
    expect(outcomes.none).toBeGreaterThan(500);
  });
});

const WAY = {
  sourceMac: MAC,
  targetMac: 'ff:ff:ff:ff:ff:ff' as Mac,
  source: '0.0.0.0' as Address,
  target: '255.255.255.255' as Address,
};

/** A frame of ours with the ports the other way round, as a server sends it. */
function answering(payload: Buffer): Buffer {
  const frame = encodeFrame(WAY, payload);
  frame.writeUInt16BE(67, 34);
  frame.writeUInt16BE(68, 36);
  return frame;
}

describe('a question', () => {
  test('for an address is broadcast, asks for a broadcast, and names who asks', () => {
    const message = encodeQuestion({
      ...asked,
      type: 'discover',
      requestedAddress: '10.0.0.5' as Address,
      hostName: 'web',
      seconds: 70_000,
    });
    expect(message.length).toBe(300);
    expect(message.subarray(0, 12)).toEqual(Buffer.from([1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0xff, 0xff, 0x80, 0]));
    expect(message.subarray(12, 28).every((octet) => octet === 0)).toBe(true);
    expect(message.subarray(28, 34)).toEqual(Buffer.from(macBytes(MAC)));
    const options = [...option(53, 1), ...option(61, 1, ...macBytes(MAC)), ...option(50, 10, 0, 0, 5)];
    expect(message.subarray(236, 240 + options.length)).toEqual(Buffer.from([0x63, 0x82, 0x53, 0x63, ...options]));
    expect(message.includes(Buffer.from(option(12, ...Buffer.from('web'))))).toBe(true);
    expect(message.includes(Buffer.from([...option(55, 1, 3, 51, 58, 59), 255, 0]))).toBe(true);
  });

  test('of a client with an address does not ask for a broadcast', () => {
    const message = encodeQuestion({ ...asked, type: 'request', clientAddress: '10.0.0.5' as Address });
    expect(message.readUInt16BE(10)).toBe(0);
    expect(message.subarray(12, 16)).toEqual(Buffer.from([10, 0, 0, 5]));
  });

  test('that gives an address back asks for nothing', () => {
    const message = encodeQuestion({
      ...asked,
      type: 'release',
      clientAddress: '10.0.0.5' as Address,
      server: '10.0.0.1' as Address,
    });
    expect(message.subarray(240, 243)).toEqual(Buffer.from(option(53, 7)));
    expect(message.includes(Buffer.from([55, 5]))).toBe(false);
  });
});

describe('a frame', () => {
  test('has right sums and says where it came from', () => {
    const payload = Buffer.from('seventeen octets!');
    expect(readFrame(answering(payload))).toEqual({ sourceMac: MAC, source: '0.0.0.0', payload });
    const frame = encodeFrame(WAY, payload);
    const sum = (octets: Buffer): number => {
      let all = 0;
      for (let i = 0; i < octets.length; i += 2) all += ((octets[i] ?? 0) << 8) | (octets[i + 1] ?? 0);
      return (all & 0xffff) + (all >>> 16);
    };
    const udp = frame.subarray(34);
    const pseudo = Buffer.from([0, 0, 0, 0, 255, 255, 255, 255, 0, 17, 0, udp.length]);
    expect(sum(Buffer.concat([pseudo, udp]))).toBe(0xffff);
  });

  test.each<[string, (frame: Buffer) => void]>([
    ['of another protocol', (f) => f.writeUInt16BE(0x86dd, 12)],
    ['of another version', (f) => f.writeUInt8(0x65, 14)],
    ['with a short head', (f) => f.writeUInt8(0x44, 14)],
    ['that claims more than it has', (f) => f.writeUInt16BE(2000, 16)],
    ['that is a fragment', (f) => f.writeUInt16BE(0x2000, 20)],
    ['of TCP', (f) => f.writeUInt8(6, 23)],
    ['whose head has a wrong sum', (f) => f.writeUInt8(63, 22)],
    ['to another port', (f) => f.writeUInt16BE(69, 36)],
    ['from another port', (f) => f.writeUInt16BE(53, 34)],
    ['whose datagram is longer than it', (f) => f.writeUInt16BE(900, 38)],
    ['whose datagram is shorter than its head', (f) => f.writeUInt16BE(7, 38)],
  ])('%s is not for us', (_what, change) => {
    const frame = answering(Buffer.alloc(20));
    change(frame);
    expect(readFrame(frame)).toBeUndefined();
  });

  test('that is cut off anywhere is not for us', () => {
    const frame = answering(Buffer.alloc(20));
    for (let length = 0; length < frame.length; length++) expect(readFrame(frame.subarray(0, length))).toBeUndefined();
  });
});
