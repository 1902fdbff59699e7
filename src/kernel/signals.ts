/** Signals by which other daemons are asked for something, and which must do no harm here. */

/** SIGHUP would end the process. At SIGUSR1 Node opens its debugger on a port of the host, by which every user of it is root. */
const HARMLESS = ['SIGHUP', 'SIGUSR1'] as const;

/** `told`: one came. To be called as early as can be; repeatable. */
export function withstandSignals(told: (signal: string) => void = () => {}): void {
  for (const signal of HARMLESS) process.on(signal, told);
}
