/** What an embedding program imports. */

export { openHouse, type ComposeOptions, type House } from './compose.ts';
export * from './cnm/index.ts';
export { CnmError, KernelError, codeOf, errorCatalogue, isCnmError, silentLogger } from './base/index.ts';
export type { Env, ErrorCode, ErrorKind, Logger } from './base/index.ts';
