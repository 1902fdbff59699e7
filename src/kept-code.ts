/**
 * Loads parts of the programs together with what V8 made of them at the build, so that a start neither parses them nor compiles what every start runs
 * (docs/decisions/0031-kept-code.md). It is a file of its own in dist/, which the bundles load their parts with. What does not fit, since it is of another
 * Node, another text or other flags, is loaded as usual.
 */

import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import Module, { createRequire } from 'node:module';
import { join } from 'node:path';
import { Script } from 'node:vm';

/**
 * Before the code, as doubles: time of change (whole seconds, since that is what copies keep) and octets of the text, octets of Node's program. V8 itself
 * compares the length of the text, its own version and flags; one version can be built in several ways.
 */
const HEAD_OCTETS = 24;
const SECOND_MS = 1000;

const codeFolder = (dist: string): string => join(dist, 'code', `${process.version}-${process.arch}`);
const codeFile = (dist: string, name: string): string => join(codeFolder(dist), `${name}.bin`);

function headOf(file: string): Buffer {
  const { mtimeMs, size } = statSync(file);
  const head = Buffer.alloc(HEAD_OCTETS);
  head.writeDoubleLE(Math.floor(mtimeMs / SECOND_MS));
  head.writeDoubleLE(size, 8);
  head.writeDoubleLE(statSync(process.execPath).size, 16);
  return head;
}

function keptOf(dist: string, name: string): Buffer | undefined {
  try {
    const kept = readFileSync(codeFile(dist, name));
    return kept.subarray(0, HEAD_OCTETS).equals(headOf(join(dist, name))) ? kept.subarray(HEAD_OCTETS) : undefined;
  } catch {
    return undefined;
  }
}

function compile(file: string, cachedData: Buffer | undefined): Script {
  // The bundles are ASCII, and have no import(): that would throw here.
  const text = readFileSync(file, 'latin1');
  return new Script(`(function (exports, require, module, __filename, __dirname) { ${text}\n})`, {
    filename: file,
    ...(cachedData === undefined ? {} : { cachedData }),
  });
}

/** As Node runs a CommonJS module: it is known by its file before it runs, and is not when it throws. */
function run(file: string, dist: string, script: Script): unknown {
  const require = createRequire(file);
  const module = new Module(file);
  module.filename = file;
  require.cache[file] = module;
  try {
    script.runInThisContext().call(module.exports, module.exports, require, module, file, dist);
    module.loaded = true;
  } catch (error) {
    delete require.cache[file];
    throw error;
  }
  return module.exports;
}

/** The exports of `name`, a file of `dist`. `require`: whoever asks. */
export function load(require: NodeJS.Require, dist: string, name: string): unknown {
  const file = join(dist, name);
  const kept = require.cache[file] === undefined ? keptOf(dist, name) : undefined;
  return kept === undefined ? require(file) : run(file, dist, compile(file, kept));
}

/** Whether V8 of this process takes what is kept of `name`. Nothing is run. */
export function isKept(dist: string, name: string): boolean {
  const kept = keptOf(dist, name);
  return kept !== undefined && compile(join(dist, name), kept).cachedDataRejected === false;
}

/**
 * Runs `name`, which may do no more than define, and keeps what V8 has compiled for that: for this Node, and processes with the flags of this one.
 * Throws the system's error where the folder cannot be written.
 */
export function keep(dist: string, name: string): void {
  const file = join(dist, name);
  const script = compile(file, undefined);
  run(file, dist, script);
  mkdirSync(codeFolder(dist), { recursive: true });
  // All of it is on the disk before it has its name: V8 ends the process over code that is damaged inside.
  const unfinished = `${codeFile(dist, name)}.${process.pid}`;
  writeFileSync(unfinished, Buffer.concat([headOf(file), script.createCachedData()]), { flush: true });
  renameSync(unfinished, codeFile(dist, name));
}
