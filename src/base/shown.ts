/** How text from outside is shown in messages: nothing in it acts on a terminal, a log or a line of a file. Pure. */

/** Longest piece of a user's text in a message, characters. */
const MAX_SHOWN = 300;
/** Longest message, characters. */
const MAX_MESSAGE = 2000;

/** Control and format characters, line separators, halves of surrogate pairs, fillers: nobody sees them, programs act on them. */
export const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{DI}]/u;
const EACH_INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{DI}]/gu;

/** All of a text, with escapes for what is not visible. */
export const escaped = (text: string): string =>
  text.replaceAll(EACH_INVISIBLE, (one) =>
    one === '\n' ? '\\n' : one === '\t' ? '\\t' : `\\u{${(one.codePointAt(0) ?? 0).toString(16)}}`,
  );

const cut = (text: string, length: number): string => (text.length > length ? `${text.slice(0, length)}…` : text);

/** A user's text as it is, with escapes for what is not visible, and cut when it is long. */
export const shown = (text: string): string => escaped(cut(text, MAX_SHOWN));

/** The same in quotes. */
export const quoted = (text: string): string => `"${shown(text).replaceAll('"', '\\"')}"`;

/** A whole message: line feeds stay, since messages may have several lines. */
export const plain = (message: string): string => cut(message.split('\n').map(escaped).join('\n'), MAX_MESSAGE);

/**
 * A message that may hold words of a command line as they were typed: these are escaped whole, line feeds too, and so is what else
 * acts on a terminal. Line feeds of the message itself stay.
 */
export function harmless(message: string, typed: readonly string[]): string {
  const words = typed
    .flatMap((word) => [word, ...word.split('=')])
    .filter((word) => word.trim() !== '' && escaped(word) !== word);
  // The longest first, since one may be a part of another.
  words.sort((a, b) => b.length - a.length);
  const told = words.reduce((text, word) => text.replaceAll(word, () => escaped(word)), message);
  return told.split('\n').map(escaped).join('\n');
}
