export { execInSandbox, runForeground } from './foreground.ts';
export { runDetached } from './detached.ts';
export { printLog } from './logs.ts';
