/** The endpoint's lines in the sandbox's hosts file. */

import { prefixAddress } from '../../base/index.ts';
import type { Attachment, JoinStep } from '../attachment.ts';
import type { Cnm } from '../context.ts';
import { addHostLines, createFiles, hostLine, removeHostLines } from '../files.ts';
import { isGatewayEndpoint } from '../gateway-names.ts';
import type { EndpointRecord, SandboxRecord } from '../records.ts';

export const filesStep: JoinStep = {
  label: 'files',
  async do(a) {
    addHostLines(a.cnm, a.sandbox, linesOf(a.cnm, a));
  },
  async undo(a) {
    if (!a.isEnding) removeHostLines(a.cnm, a.sandbox, linesOf(a.cnm, a));
  },
};

/** None for the way outside that a sandbox has not asked for (spec 01 H3). */
function linesOf(cnm: Cnm, { ep, sandbox }: Pick<Attachment, 'ep' | 'sandbox'>): string[] {
  if (isGatewayEndpoint(ep, cnm.state.networkById(ep.network))) return [];
  return [ep.v4, ep.v6].filter((p) => p !== undefined).map((prefix) => hostLine(prefixAddress(prefix), sandbox.hostname));
}

/** Start: files of the sandbox that are gone are made again, with the lines of its joined endpoints. */
export function restoreFiles(cnm: Cnm, sandbox: SandboxRecord, endpoints: readonly EndpointRecord[]): void {
  createFiles(cnm, sandbox);
  addHostLines(
    cnm,
    sandbox,
    endpoints.flatMap((ep) => linesOf(cnm, { ep, sandbox })),
  );
}
