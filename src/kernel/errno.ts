/** Names of the kernel's error numbers. */

import { constants } from 'node:os';

/** What Node's own table lacks; ENOTSUPP is kernel-internal but leaks through netlink. */
const EXTRA: Readonly<Record<string, number>> = {
  EXFULL: 54,
  ENONET: 64,
  ENOTUNIQ: 76,
  ERESTART: 85,
  EUSERS: 87,
  ESOCKTNOSUPPORT: 94,
  EPFNOSUPPORT: 96,
  ESHUTDOWN: 108,
  EHOSTDOWN: 112,
  EUCLEAN: 117,
  EKEYREJECTED: 129,
  ENOTSUPP: 524,
};

const names = new Map<number, string>();
for (const [name, number] of [...Object.entries(constants.errno), ...Object.entries(EXTRA)]) {
  // Of two names for one number the commoner stays: EAGAIN and EOPNOTSUPP.
  if (name !== 'EWOULDBLOCK' && name !== 'ENOTSUP') names.set(number, name);
}

/** Symbolic name of a positive error number; `E<number>` for an unknown one. */
export const errnoName = (number: number): string => names.get(number) ?? `E${number}`;
