/** Bundles the embedded store and writes pairs of keys that belong together; says each number once it is acknowledged. */
import { rmSync } from 'node:fs';
import { rolldown } from 'rolldown';

const [folder, from] = process.argv.slice(2);
const build = await rolldown({
  input: new URL('../../src/store/index.ts', import.meta.url).pathname,
  platform: 'node',
  external: ['classic-level'],
});
const file = new URL(`../../node_modules/.cache/patchbay/store-${process.pid}.mjs`, import.meta.url).pathname;
await build.write({ file, format: 'esm' });
await build.close();
const { openEmbeddedStore } = await import(file);
rmSync(file);
const store = await openEmbeddedStore(folder);
for (let i = Number(from); ; i++) {
  const value = i;
  await store.commit({
    put: [
      { key: `left/${i}`, value },
      { key: `right/${i}`, value },
    ],
    durable: i % 3 === 0,
  });
  process.stdout.write(`${i}\n`);
}
