import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseAddress, parseMac } from '../../src/base/index.ts';
import { announcementFrame, markOf, newInstanceId } from '../../src/kernel/index.ts';

test("a mark follows from the id alone; its groups are two, never 0, and fit the kernel's signed number", () => {
  const id = newInstanceId();
  expect(id).toMatch(/^[0-9a-f]{32}$/);
  expect(newInstanceId()).not.toBe(id);
  expect(markOf(id)).toEqual(markOf(id));
  expect(markOf(id).tag).toBe(id.slice(0, 8));
  const digits = fc.array(fc.constantFrom(...Array.from('0123456789abcdef')), { minLength: 32, maxLength: 32 });
  fc.assert(
    fc.property(digits, (chosen) => {
      const { liveGroup, deadGroup } = markOf(chosen.join(''));
      for (const group of [liveGroup, deadGroup]) expect(group >= 2 ** 30 && group < 2 ** 31).toBe(true);
      expect(deadGroup).not.toBe(liveGroup);
    }),
  );
});

test.each(['', 'abc', `${'0'.repeat(31)}g`, 'A'.repeat(32)])('%j is no instance id', (id) => {
  expect(() => markOf(id)).toThrow('invalid instance id');
});

test("a gratuitous ARP is a broadcast request for the sender's own address", () => {
  const frame = announcementFrame({ mac: parseMac('02:00:00:00:00:05'), address: parseAddress('10.0.0.5') });
  expect(frame.toString('hex')).toBe(
    'ffffffffffff 020000000005 0806 0001 0800 06 04 0001 020000000005 0a000005 000000000000 0a000005'.replaceAll(' ', ''),
  );
});

test('an unsolicited advertisement overrides, goes to all nodes with hop limit 255, and has a true checksum', () => {
  const frame = announcementFrame({ mac: parseMac('02:00:00:00:00:05'), address: parseAddress('fd00::5') });
  const [ethernet, ip, icmp] = [frame.subarray(0, 14), frame.subarray(14, 54), frame.subarray(54)] as [Buffer, Buffer, Buffer];
  expect(ethernet.toString('hex')).toBe('333300000001 020000000005 86dd'.replaceAll(' ', ''));
  expect(ip.toString('hex')).toBe(
    '60000000 0020 3a ff fd000000000000000000000000000005 ff020000000000000000000000000001'.replaceAll(' ', ''),
  );
  expect([icmp[0], icmp[1], icmp.readUInt32BE(4)]).toEqual([136, 0, 0x20000000]);
  expect(icmp.subarray(8).toString('hex')).toBe('fd000000000000000000000000000005 0201 020000000005'.replaceAll(' ', ''));
  // Summed over pseudo header and message, its checksum included, the words of a true message give all ones.
  const words = Buffer.concat([ip.subarray(8), Buffer.from([0, 0, 0, icmp.length, 0, 0, 0, 58]), icmp]);
  let sum = 0;
  for (let i = 0; i < words.length; i += 2) sum += words.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  expect(sum).toBe(0xffff);
});
