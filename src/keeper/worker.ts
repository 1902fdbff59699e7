/** Entry of the keeper's second thread. All of it is elsewhere, so that the build can keep what V8 makes of it (src/kept-code.ts). */

void import('./thread.ts').then(({ runThread }) => runThread());
