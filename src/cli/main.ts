/** CLI entry. All of it is elsewhere, so that the build can keep what V8 makes of it (src/kept-code.ts). */

void import('./run.ts').then(({ runCli }) => runCli());
