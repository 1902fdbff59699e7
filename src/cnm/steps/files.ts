/** The endpoint's lines in the sandbox's hosts file. */

import { prefixAddress } from '../../base/index.ts';
import type { Attachment, JoinStep } from '../attachment.ts';
import { addHostLines, hostLine, removeHostLines } from '../files.ts';

export const filesStep: JoinStep = {
  label: 'files',
  async do(a) {
    addHostLines(a.cnm, a.sandbox, linesOf(a));
  },
  async undo(a) {
    removeHostLines(a.cnm, a.sandbox, linesOf(a));
  },
};

const linesOf = (a: Attachment): string[] =>
  [a.ep.v4, a.ep.v6].filter((p) => p !== undefined).map((prefix) => hostLine(prefixAddress(prefix), a.sandbox.hostname));
