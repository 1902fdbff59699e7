export { type PluginServer, servePlugins } from './server.ts';
