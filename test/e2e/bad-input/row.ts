/** What a row of the tables of bad input is, and short ways to write one. */

export interface Ask {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Octets as they are sent. */
  readonly body?: string | Buffer;
  /** Length that the header names, when it is not the body's. */
  readonly announces?: number;
}

/** One bad request: the status and code it gets, and what its message says about what is wrong and what would work. */
export interface Row {
  readonly title: string;
  readonly ask: Ask;
  readonly status: number;
  readonly code: string;
  readonly says: readonly RegExp[];
}

/** A table's line: title, what is sent, status, code, what the message says. */
export type Line = readonly [title: string, body: unknown, status: number, code: string, ...says: RegExp[]];

/** Rows that send JSON to one path. */
export const posts = (path: string, lines: readonly Line[]): Row[] =>
  lines.map(([title, body, status, code, ...says]) => ({
    title,
    ask: { method: 'POST', path, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) },
    status,
    code,
    says,
  }));

/** A table's line for a request without a body. */
export type PathLine = readonly [title: string, path: string, status: number, code: string, ...says: RegExp[]];

export const gets = (lines: readonly PathLine[], method = 'GET'): Row[] =>
  lines.map(([title, path, status, code, ...says]) => ({ title, ask: { method, path }, status, code, says }));

/** The same text many times. */
export const many = (text: string, count: number): string => text.repeat(count);
