export { type PluginServer, checkPluginsFree, pluginPaths, servePlugins } from './server.ts';
