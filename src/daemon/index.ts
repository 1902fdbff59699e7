export { createApp } from './app.ts';
export { checkFree, checkServer, listen } from './server.ts';
export { AskedForHelp, type DaemonConfig, readConfig } from './config.ts';
export { createLogger } from './log.ts';
export { PRODUCT_VERSION } from './system.ts';
