/** Go's `printf` as templates use it: the verbs of texts, numbers and truth values, with flags, width and precision. */

/** Widest field, characters: a template is one line of somebody's own, and no number in it makes a text of gigabytes. */
const MAX_WIDTH = 10_000;

interface Verb {
  readonly flags: string;
  readonly precision: number | undefined;
  readonly verb: string;
}

/** Formats as Go does; `show` is what `%v` makes of a value. What fits no verb is told in Go's way, such as `%!d(string=x)`. */
export function printf(format: string, values: readonly unknown[], show: (value: unknown) => string): string {
  let next = 0;
  return format.replace(
    /%([-+ #0]*)(\d+)?(?:\.(\d*))?([a-zA-Z%])/g,
    (_all, flags: string, width: string | undefined, precision: string | undefined, verb: string) => {
      if (verb === '%') return '%';
      if (next >= values.length) return `%!${verb}(MISSING)`;
      const value = values[next++];
      const most = precision === undefined ? undefined : Math.min(Number(precision), MAX_WIDTH);
      const text = formatted({ flags, precision: most, verb }, value, show) ?? `%!${verb}(${kindOf(value)}=${show(value)})`;
      return padded(text, flags, Math.min(Number(width ?? 0), MAX_WIDTH), numberOf(value) !== undefined && !'svq'.includes(verb));
    },
  );
}

function formatted({ flags, precision, verb }: Verb, value: unknown, show: (value: unknown) => string): string | undefined {
  const number = numberOf(value);
  switch (verb) {
    case 's':
    case 'v':
      return cut(show(value), precision);
    case 'q':
      return JSON.stringify(cut(show(value), precision));
    case 't':
      return typeof value === 'boolean' ? String(value) : undefined;
    case 'd':
      return number === undefined ? undefined : signed(flags, /^-?\d+$/.test(String(value)) ? String(value) : undefined);
    case 'x':
    case 'X':
      return cased(verb, typeof value === 'number' ? value.toString(16) : Buffer.from(show(value)).toString('hex'));
    case 'f':
      return number === undefined ? undefined : signed(flags, number.toFixed(Math.min(precision ?? 6, 100)));
    default:
      return undefined;
  }
}

/** Digits in a text count too: so come numbers that are too large for one of JavaScript. */
function numberOf(value: unknown): number | undefined {
  if (typeof value === 'number') return value;
  return typeof value === 'string' && /^-?\d+$/.test(value) ? Number(value) : undefined;
}

/** Counted in code points, as Go does. */
const cut = (text: string, most: number | undefined): string => Array.from(text).slice(0, most).join('');

const signed = (flags: string, text: string | undefined): string | undefined =>
  text === undefined || text.startsWith('-') || !/[+ ]/.test(flags) ? text : `${flags.includes('+') ? '+' : ' '}${text}`;

const cased = (verb: string, text: string): string => (verb === 'X' ? text.toUpperCase() : text);

function padded(text: string, flags: string, width: number, isNumber: boolean): string {
  const missing = width - Array.from(text).length;
  if (missing <= 0) return text;
  if (flags.includes('-')) return text + ' '.repeat(missing);
  if (!flags.includes('0') || !isNumber) return ' '.repeat(missing) + text;
  const sign = /^[-+ ]/.exec(text)?.[0] ?? '';
  return sign + '0'.repeat(missing) + text.slice(sign.length);
}

const kindOf = (value: unknown): string =>
  value === null || value === undefined
    ? 'nil'
    : Array.isArray(value)
      ? 'list'
      : typeof value === 'boolean'
        ? 'bool'
        : typeof value;
