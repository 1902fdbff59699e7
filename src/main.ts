/** Daemon entry. All of it is elsewhere, so that its parts may be loaded without that it runs (src/kept-code.ts). */

void import('./start.ts').then(({ start }) => start());
