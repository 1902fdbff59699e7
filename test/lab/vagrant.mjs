/** `npm run lab:vagrant`. */
import { runBundled } from './bundle.mjs';

await runBundled('vagrant/main.ts');
