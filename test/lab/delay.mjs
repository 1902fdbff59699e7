/**
 * Carries frames between two taps and keeps each for a while: `delay.mjs NEAR FAR MS`, in the namespace that gets the taps.
 * It makes both, prints a line, and takes them away by ending. A full queue loses what comes.
 */
import { close, constants, openSync, read, writeSync } from 'node:fs';
import koffi from 'koffi';

const [near, far, ms] = [process.argv[2], process.argv[3], Number(process.argv[4])];
const ioctl = koffi.load(null).func('int ioctl(int, ulong, void *)');

/** linux/if_tun.h: TUNSETIFF; IFF_TAP and IFF_NO_PI, frames as they are on a wire. */
const TUNSETIFF = 0x400454ca;
const TAP_WITHOUT_HEADER = 0x1002;
const IFNAMSIZ = 16;
/** sizeof(struct ifreq), linux/if.h. */
const IFREQ_OCTETS = 40;
const MAX_FRAME_OCTETS = 65_536;
/** Frames that wait, in one direction. */
const MAX_QUEUE = 20_000;

function openTap(name) {
  const fd = openSync('/dev/net/tun', constants.O_RDWR);
  const wish = Buffer.alloc(IFREQ_OCTETS);
  wish.write(name, 0, IFNAMSIZ - 1, 'latin1');
  wish.writeUInt16LE(TAP_WITHOUT_HEADER, IFNAMSIZ);
  if (ioctl(fd, TUNSETIFF, wish) < 0) throw new Error(`tap ${name}: error ${koffi.errno()}`);
  return fd;
}

/** Each frame of one tap to the other, in order. */
function carry(from, to) {
  const queue = [];
  const buffer = Buffer.alloc(MAX_FRAME_OCTETS);
  const flush = () => {
    const now = performance.now();
    while (queue.length > 0 && queue[0].due <= now) {
      try {
        writeSync(to, queue.shift().frame);
      } catch {
        // The link is down: the frame is lost, as on a wire.
      }
    }
    if (queue.length > 0) setTimeout(flush, Math.max(0, queue[0].due - now));
  };
  const next = () =>
    read(from, buffer, 0, MAX_FRAME_OCTETS, null, (error, octets) => {
      // A tap whose link is still down answers EIO.
      if (error) return void setTimeout(next, 10);
      if (queue.length < MAX_QUEUE) queue.push({ due: performance.now() + ms, frame: Buffer.from(buffer.subarray(0, octets)) });
      if (queue.length === 1) setTimeout(flush, ms);
      next();
    });
  next();
}

const [a, b] = [openTap(near), openTap(far)];
carry(a, b);
carry(b, a);
process.stdout.write('ready\n');
// Whoever started it holds the other end.
process.stdin.resume().once('end', () => {
  for (const fd of [a, b]) close(fd, () => {});
  process.exit(0);
});
