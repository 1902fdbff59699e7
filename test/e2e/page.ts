/** Pages whose console blocks are executed: their commands, and what these are to print. Pure. */

export interface Step {
  readonly command: string;
  /** What stands before the `$` or `#` of the prompt: the machine, or nothing. */
  readonly where: string;
  /** Lines as on the page; `…` stands for anything, alone on a line for any number of lines. */
  readonly expected: readonly string[];
  /** Line of the page, from 1. */
  readonly line: number;
}

const PROMPT = /^([a-z]\w*#|\$) /;

/** The commands of all ```console blocks, in order. They follow `$ `, or, as root of a machine, its name and `# `. */
export function stepsOf(page: string): Step[] {
  const steps: { command: string; where: string; expected: string[]; line: number }[] = [];
  let isInside = false;
  for (const [i, line] of page.split('\n').entries()) {
    const [prompt = '', place = ''] = PROMPT.exec(line) ?? [];
    if (line.startsWith('```')) isInside = line === '```console';
    else if (isInside && prompt !== '')
      steps.push({ command: line.slice(prompt.length), where: place.slice(0, -1), expected: [], line: i + 1 });
    else if (isInside) steps.at(-1)?.expected.push(line);
  }
  return steps;
}

const literal = (text: string): string => text.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&');

/** The page's lines as an expression for the whole output. */
export function pattern(expected: readonly string[]): RegExp {
  const lines = expected.map((line, i) => {
    const end = i === expected.length - 1 ? '' : '\n';
    return line.trim() === '…' ? `(?:.*${end === '' ? '(?:\n|$)' : '\n'})+?` : line.split('…').map(literal).join('.+') + end;
  });
  return new RegExp(`^${lines.join('')}$`);
}
