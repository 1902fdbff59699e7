export { createApp } from './app.ts';
export type { DaemonParts } from './route.ts';
export { listen, type ServerOptions } from './server.ts';
export { API_VERSION, PRODUCT_VERSION } from './system.ts';
export { AskedForHelp, type DaemonConfig, readConfig } from './config.ts';
export { createLogger } from './log.ts';
