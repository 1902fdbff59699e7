/**
 * For an HTTP framework whose routes have no schemas, since bodies are read by ours. Without it fastify loads two compilers of schemas and sets them up in
 * each application, a fifth of the daemon's text.
 */
export const NO_SCHEMAS = { compilersFactory: { buildValidator: unused, buildSerializer: unused } };

/** Throws, so that a route with a schema is noticed when the application is made. */
function unused(): never {
  throw new Error('routes have no schemas here');
}
