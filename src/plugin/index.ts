export { type PluginServer, checkPluginsFree, servePlugins } from './server.ts';
