/** Markers of commits: which may be taken away, which are to be put, and which stay. */

import { expect, test, vi } from 'vitest';
import { Markers } from '../../src/store/etcd/markers.ts';

const LONG_MS = 601_000;

test('of a commit that is over the marker goes at once, of one that may come again after a while, and of one in doubt when it was put', () => {
  const clock = vi.spyOn(performance, 'now').mockReturnValue(0);
  try {
    const markers = new Markers('/p!commits/x');
    const [over, again, doubtful] = [markers.next(), markers.next(), markers.next()];
    expect(new Set([over, again, doubtful].map(String)).size).toBe(3);
    markers.settle([over]);
    markers.keep([again]);
    markers.doubt(doubtful);
    expect(markers.settled(0)).toEqual([]);
    expect(markers.settled(-1)).toEqual([]);
    expect(markers.all(9)).toEqual([over, doubtful, again]);
    expect(markers.settled(9)).toEqual([over]);
    expect(markers.isDoubtful).toBe(true);
    markers.keep(markers.doubtful(9));
    expect(markers.isDoubtful).toBe(false);
    expect(markers.settled(9)).toEqual([]);
    clock.mockReturnValue(LONG_MS);
    expect(markers.settled(1)).toEqual([again]);
    expect(markers.settled(9)).toEqual([doubtful]);
    expect(markers.all(9)).toEqual([]);
  } finally {
    clock.mockRestore();
  }
});
