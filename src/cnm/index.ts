export { NetworkController, Network, Endpoint, Sandbox } from './controller.ts';
export { type CnmEvent, EVENT_ACTIONS, type EventLog } from './events.ts';
export type { ControllerParts } from './context.ts';
export type { EndpointSpec, IpamConfigSpec, NetworkSpec } from './spec.ts';
export type {
  GuestEndpoint,
  GuestEndpointSpec,
  GuestJoined,
  GuestNetwork,
  GuestNetworkSpec,
  GuestPoolRequest,
  Guests,
} from './guests/index.ts';
export type { SandboxSpec } from './sandboxes.ts';
export type { ServiceSpec } from './services/spec.ts';
export type { Caller } from './callers.ts';
export type { SandboxFiles } from './files.ts';
export type { EndpointRecord, JoinRecord, NetworkPool, NetworkRecord, SandboxRecord, ServiceRecord } from './records.ts';
export { conflictText } from './conflicts.ts';
export { isGatewayEndpoint } from './gateway-names.ts';
export { ingressServiceOf } from './services/ingress-names.ts';
export { isPredefined } from './spec.ts';
