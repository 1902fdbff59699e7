/** Classic packet filters of sockets (linux/filter.h), which the kernel runs before a packet reaches us. */

import * as libc from './libc.ts';

/** One instruction: what to do, how far to jump when it is true and when it is not, and its operand. */
export type FilterStep = readonly [code: number, whenTrue: number, whenFalse: number, operand: number];

const SO_ATTACH_FILTER = 26;
const STEP_SIZE = 8;
/** Longest program that we have. */
const MAX_STEPS = 32;

/** The program must stay in place for the call only: one piece of memory serves all. */
let memory: libc.NativeMemory | undefined;

/** Attaches a program to a socket; before bind, so that not even one packet slips into the queue. Throws KernelError. */
export function attachFilter(fd: number, program: readonly FilterStep[]): void {
  memory ??= libc.allocateForever(STEP_SIZE * MAX_STEPS);
  const { bytes, address } = memory;
  for (const [i, [code, whenTrue, whenFalse, operand]] of program.entries()) {
    const at = i * STEP_SIZE;
    bytes.writeUInt16LE(code, at);
    bytes.writeUInt8(whenTrue, at + 2);
    bytes.writeUInt8(whenFalse, at + 3);
    bytes.writeUInt32LE(operand, at + 4);
  }
  // struct sock_fprog
  const filter = Buffer.alloc(16);
  filter.writeUInt16LE(program.length, 0);
  filter.writeBigUInt64LE(address, 8);
  libc.setSocketOption(fd, libc.SOL.socket, SO_ATTACH_FILTER, filter);
}

/** Returns this many octets of the packet; 0 drops it. */
export const give = (octets: number): FilterStep => [0x06, 0, 0, octets];

/** Loads a number from an offset of the packet. */
export const load = {
  octet: (at: number): FilterStep => [0x30, 0, 0, at],
  half: (at: number): FilterStep => [0x28, 0, 0, at],
  /** From an offset behind the IPv4 header, whose length `ipv4Length` has noted. */
  halfBehind: (at: number): FilterStep => [0x48, 0, 0, at],
  /** Notes the length of the IPv4 header that begins at the offset. */
  ipv4Length: (at: number): FilterStep => [0xb1, 0, 0, at],
  /** Where an attribute of netlink lies, from an offset on; 0 when it is not there. */
  attribute: (type: number, from: number): readonly FilterStep[] => [
    [0x00, 0, 0, from],
    [0x01, 0, 0, type],
    [0x20, 0, 0, 0xfffff000 + 12],
  ],
  /** The 32-bit value of the attribute that has just been found, the first octet highest. */
  valueThere: (): readonly FilterStep[] => [
    [0x07, 0, 0, 0],
    [0x40, 0, 0, 4],
  ],
  /** 1 for a frame with a VLAN tag, which the kernel has taken off already. */
  isTagged: (): FilterStep => [0x30, 0, 0, 0xfffff000 + 48],
} as const;

/** Goes on when the number is this one, else over so many steps. */
export const isEqual = (value: number, otherwise: number): FilterStep => [0x15, 0, otherwise, value];
/** Goes on when the number has none of these bits. */
export const hasNone = (bits: number, otherwise: number): FilterStep => [0x45, otherwise, 0, bits];
