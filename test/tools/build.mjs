/**
 * Builds dist/: the CLI, daemon and keeper as CommonJS bundles (they start faster), the library as ES modules with
 * declarations, and the manual pages. Packages with native parts stay outside the bundles.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { rolldown } from 'rolldown';
import { keepCode, keptParts } from './keep-code.mjs';

const root = new URL('../..', import.meta.url).pathname;
const dist = join(root, 'dist');
const onlyDefines = ['node_modules/ip-address/', 'src/base/', 'src/kernel/'].map((folder) => join(root, folder));
const external = ['koffi', 'netlink', 'classic-level'];
// What fastify loads for schemas of routes and for requests without a network; neither is used by a program of ours (src/base/no-schemas.ts).
const unused = ['@fastify/ajv-compiler', '@fastify/fast-json-stringify-compiler', 'light-my-request'];

const programs = {
  network: 'src/cli/main.ts',
  patchbayd: 'src/main.ts',
  keeper: 'src/keeper/main.ts',
  'keeper-worker': 'src/keeper/worker.ts',
  'kept-code': 'src/kept-code.ts',
};
const executable = ['network', 'patchbayd', 'keeper'];
const library = { index: 'src/index.ts', driver: 'src/driver/index.ts', testing: 'test/contract/index.ts' };

const present = (entries) => Object.fromEntries(Object.entries(entries).filter(([, file]) => existsSync(join(root, file))));

async function bundle(input, options, output) {
  const build = await rolldown({
    input,
    cwd: root,
    platform: 'node',
    external: (id) => external.includes(id) || unused.includes(id) || options.external?.(id) === true,
    transform: { target: 'node20' },
    // Of what only defines, no more is loaded than is used: the CLI needs no address arithmetic, the daemon's first start no netlink.
    treeshake: { moduleSideEffects: (id) => !onlyDefines.some((folder) => id.startsWith(folder)) },
    onwarn: (warning, next) => (warning.code === 'CIRCULAR_DEPENDENCY' ? undefined : next(warning)),
  });
  await build.write(output);
  await build.close();
}

/** Where a program loads this part of it, code that was kept is taken. */
function loadKept(part) {
  const plain = `() => require("./${part}"))`;
  const files = readdirSync(dist).filter(
    (name) => name.endsWith('.js') && readFileSync(join(dist, name), 'latin1').includes(plain),
  );
  if (files.length === 0) throw new Error(`no program loads ${part} by itself`);
  if (/[^.\w]import\(/.test(readFileSync(join(dist, part), 'latin1')))
    throw new Error(`${part} has an import(), which kept code cannot do`);
  for (const file of files) {
    const text = readFileSync(join(dist, file), 'latin1');
    writeFileSync(
      join(dist, file),
      text.replaceAll(plain, `() => require("./kept-code.js").load(require, __dirname, "${part}"))`),
      'latin1',
    );
  }
}

rmSync(dist, { recursive: true, force: true });
mkdirSync(join(dist, 'lib'), { recursive: true });
for (const [name, file] of Object.entries(present(programs))) {
  const banner = executable.includes(name) ? '#!/usr/bin/env node' : '';
  await bundle(
    { [name]: file },
    {},
    {
      dir: dist,
      format: 'cjs',
      banner: (chunk) => (chunk.isEntry ? banner : ''),
      entryFileNames: '[name].js',
      chunkFileNames: `${name}-[name].js`,
      minify: false,
      // `import()` of what is not in the bundle would need a warning of Node's in a part that is loaded with kept code.
      dynamicImportInCjs: false,
      // One character beyond these makes V8 keep the text, comments and all, in twice the memory, and read it more slowly.
      charset: 'ascii',
      comments: { legal: true, annotation: false, jsdoc: false },
    },
  );
}
writeFileSync(join(dist, 'package.json'), '{ "type": "commonjs" }\n');
for (const part of keptParts) loadKept(part);
await keepCode();
for (const name of executable) if (existsSync(join(dist, `${name}.js`))) chmodSync(join(dist, `${name}.js`), 0o755);

const manual = join(dist, '.manual');
await bundle(
  { manual: 'test/tools/manual.ts' },
  {},
  { dir: manual, format: 'esm', entryFileNames: '[name].mjs', chunkFileNames: '[name].mjs' },
);
const { manualPages } = await import(join(manual, 'manual.mjs'));
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
mkdirSync(join(dist, 'man'));
for (const [name, page] of manualPages(readFileSync(join(root, 'docs/cli.md'), 'utf8'), version))
  writeFileSync(join(dist, 'man', name), page);
rmSync(manual, { recursive: true });

const packages = [...Object.keys(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).dependencies), 'vitest'];
const entries = present(library);
if (Object.keys(entries).length > 0) {
  await bundle(
    entries,
    // What an embedding program installs with us; the bundler's own helpers go in.
    { external: (id) => packages.some((name) => id === name || id.startsWith(`${name}/`)) },
    {
      dir: join(dist, 'lib'),
      format: 'esm',
      chunkFileNames: 'shared-[hash].js',
    },
  );
  writeFileSync(join(dist, 'lib', 'package.json'), '{ "type": "module" }\n');
  if (!process.argv.includes('--no-types')) {
    await execa('npx', ['tsc', '-p', join(root, 'test/tools/tsconfig.types.json')], { cwd: root, stdio: 'inherit' });
  }
}
