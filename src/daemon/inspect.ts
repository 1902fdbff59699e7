/** Records to the API's JSON (spec 02 §3.2). Pure but for the controller's look-ups. */

import {
  type EndpointAnswer,
  type EndpointJson,
  type NetworkJson,
  type HostPortJson,
  type PortsAnswer,
  type SandboxAnswer,
  prefixAddress,
  prefixLength,
} from '../base/index.ts';
import {
  type EndpointRecord,
  type NetworkController,
  type NetworkRecord,
  type SandboxRecord,
  conflictText,
  isGatewayEndpoint,
} from '../cnm/index.ts';

/** RFC 3339 with the nanoseconds that Go clients expect. */
export const isoTime = (ms: number): string => new Date(ms).toISOString().replace(/Z$/, '000000Z');

/** Problems told in one field; the rest is counted. */
const MAX_PROBLEMS = 8;

function degraded(problems: readonly string[]): { Degraded?: string } {
  if (problems.length === 0) return {};
  const more = problems.length - MAX_PROBLEMS;
  return { Degraded: [...problems.slice(0, MAX_PROBLEMS), ...(more > 0 ? [`and ${more} more`] : [])].join('; ') };
}

/** The network's own problem, and those of leases and published ports of its endpoints. */
function problemsOf(controller: NetworkController, net: NetworkRecord): string[] {
  const endpoints = controller.endpointsOfNetwork(net.id);
  const leases = endpoints.flatMap((ep) => controller.leaseTroubles.ofEndpoint(ep));
  const ports = endpoints.flatMap((ep) => {
    const conflicts = controller.conflictsOfEndpoint(ep);
    if (conflicts.length === 0 || ep.sandbox === undefined) return [];
    const { name } = controller.sandboxRecord(ep.sandbox);
    return conflicts.map((conflict) => `sandbox ${name}: ${conflictText(conflict)}`);
  });
  const cluster = controller.shared?.troubleOf(net.id);
  return [...[net.degraded, cluster].filter((problem) => problem !== undefined), ...leases, ...ports];
}

export function networkJson(controller: NetworkController, net: NetworkRecord, withContainers: boolean): NetworkJson {
  return {
    Name: net.name,
    Id: net.id,
    Created: isoTime(net.created),
    Scope: net.scope,
    Driver: net.driver,
    EnableIPv4: net.enableIPv4,
    EnableIPv6: net.enableIPv6,
    IPAM: {
      Driver: net.ipam.driver,
      Options: Object.keys(net.ipam.options).length > 0 ? { ...net.ipam.options } : null,
      Config: ipamConfig(net),
    },
    Internal: net.internal,
    Attachable: net.attachable,
    Ingress: net.ingress,
    ConfigFrom: { Network: net.configFrom },
    ConfigOnly: net.configOnly,
    ...(withContainers && { Containers: containersOf(controller, net) }),
    Options: { ...net.options },
    Labels: { ...net.labels },
    ...degraded(problemsOf(controller, net)),
  };
}

function ipamConfig(net: NetworkRecord): NetworkJson['IPAM']['Config'] {
  if (net.configOnly) {
    return net.ipam.config.map((c) => ({
      ...(c.subnet && { Subnet: c.subnet }),
      ...(c.range && { IPRange: c.range }),
      ...(c.gateway && { Gateway: c.gateway }),
      ...(Object.keys(c.aux).length > 0 && { AuxiliaryAddresses: { ...c.aux } }),
    }));
  }
  if (net.pools.length === 0) return null;
  return net.pools.map((pool) => ({
    Subnet: pool.prefix,
    ...(pool.range && { IPRange: pool.range }),
    ...(pool.gateway && { Gateway: pool.gateway }),
    ...(Object.keys(pool.aux).length > 0 && { AuxiliaryAddresses: { ...pool.aux } }),
  }));
}

function containersOf(controller: NetworkController, net: NetworkRecord): NonNullable<NetworkJson['Containers']> {
  return Object.fromEntries(
    controller.endpointsOfNetwork(net.id).map((ep) => [
      ep.sandbox ?? `ep-${ep.id}`,
      {
        Name: ep.name,
        EndpointID: ep.id,
        MacAddress: ep.mac ?? '',
        IPv4Address: ep.v4 ?? '',
        IPv6Address: ep.v6 ?? '',
      },
    ]),
  );
}

/**
 * The largest double below 2^64. Counts saturate here, not at 2^64 - 1: that is printed as 18446744073709552000, which Go
 * clients refuse as too large for their uint64.
 */
const MOST = (1n << 64n) - 2048n;

/** Usage of the pools (I6), numbers saturated. */
export async function statusJson(controller: NetworkController, net: NetworkRecord): Promise<NetworkJson['Status']> {
  const number = (value: bigint): number => Number(value > MOST ? MOST : value);
  const usages = await controller.usage(net.id);
  return {
    IPAM: {
      Subnets: Object.fromEntries(
        usages.map((u) => [u.prefix, { IPsInUse: number(u.inUse), DynamicIPsAvailable: number(u.available) }]),
      ),
    },
  };
}

export function endpointJson(ep: EndpointRecord): EndpointAnswer {
  const { asked } = ep;
  const given = {
    ...(asked.v4 && { IPv4Address: asked.v4 }),
    ...(asked.v6 && { IPv6Address: asked.v6 }),
    ...(ep.linkLocal.length > 0 && { LinkLocalIPs: ep.linkLocal.map(prefixAddress) }),
  };
  return {
    IPAMConfig: Object.keys(given).length > 0 ? given : null,
    Links: null,
    Aliases: ep.aliases.length > 0 ? [...ep.aliases] : null,
    DriverOpts: Object.keys(ep.options).length > 0 ? { ...ep.options } : null,
    GwPriority: ep.gwPriority,
    NetworkID: ep.network,
    EndpointID: ep.id,
    Gateway: ep.join?.gateway ?? '',
    IPAddress: ep.v4 ? prefixAddress(ep.v4) : '',
    IPPrefixLen: ep.v4 ? prefixLength(ep.v4) : 0,
    MacAddress: ep.mac ?? '',
    IPv6Gateway: ep.join?.gateway6 ?? '',
    GlobalIPv6Address: ep.v6 ? prefixAddress(ep.v6) : '',
    GlobalIPv6PrefixLen: ep.v6 ? prefixLength(ep.v6) : 0,
    DNSNames: ep.dnsNames.length > 0 ? [...ep.dnsNames] : null,
  };
}

/** One endpoint as a thing of its own. */
export function endpointDetail(controller: NetworkController, ep: EndpointRecord): EndpointJson {
  const net = controller.networkRecord(ep.network);
  const sandbox = ep.sandbox === undefined ? undefined : controller.sandboxRecord(ep.sandbox);
  return {
    Id: ep.id,
    Name: ep.name,
    State: ep.phase === 'creating' ? 'deleting' : ep.phase,
    Network: { Id: net.id, Name: net.name },
    Sandbox: sandbox === undefined ? null : { Id: sandbox.id, Name: sandbox.name },
    Interface: ep.join?.ifname ?? '',
    ByConnect: ep.boundTo !== undefined,
    Created: isoTime(ep.created),
    ...endpointJson(ep),
    ...degraded([...controller.leaseTroubles.ofEndpoint(ep), ...controller.conflictsOfEndpoint(ep).map(conflictText)]),
  };
}

/** Networks that the sandbox is shown on, with its endpoint: not the gateway bridge, which it is led outside by unasked. */
export function networksOf(
  controller: NetworkController,
  sandbox: SandboxRecord,
): { readonly net: NetworkRecord; readonly ep: EndpointRecord }[] {
  return controller
    .endpointsOfSandbox(sandbox.id)
    .map((ep) => ({ net: controller.networkRecord(ep.network), ep }))
    .filter(({ net, ep }) => !isGatewayEndpoint(ep, net));
}

function networksJson(controller: NetworkController, sandbox: SandboxRecord): Record<string, EndpointAnswer> {
  return Object.fromEntries(networksOf(controller, sandbox).map(({ net, ep }) => [net.name, endpointJson(ep)]));
}

/** Bindings as they are now, with declared ports as null (spec 05 I1). */
export function portsJson(controller: NetworkController, sandbox: SandboxRecord): PortsAnswer {
  const ports: PortsAnswer = {};
  for (const key of sandbox.exposed) ports[key] = null;
  for (const want of sandbox.publish) ports[`${want.port}/${want.protocol}`] ??= null;
  for (const ep of controller.endpointsOfSandbox(sandbox.id)) {
    const conflicts = controller.conflictsOfEndpoint(ep);
    for (const binding of ep.bindings) {
      const { protocol, hostAddress, hostPort } = binding;
      const key = `${binding.port}/${protocol}`;
      const conflict = conflicts.find((one) => one.protocol === protocol && one.address === hostAddress && one.port === hostPort);
      const host: HostPortJson = {
        HostIp: hostAddress,
        HostPort: hostPort === 0 ? '' : String(hostPort),
        ...(conflict && { Conflict: conflictText(conflict) }),
      };
      ports[key] = [...(ports[key] ?? []), host];
    }
  }
  return ports;
}

export function sandboxJson(controller: NetworkController, sandbox: SandboxRecord): SandboxAnswer {
  const files = controller.files(sandbox.id);
  const alive = controller.isAlive(sandbox.id);
  return {
    Id: sandbox.id,
    Name: sandbox.name,
    Hostname: sandbox.hostname,
    State: alive ? 'running' : sandbox.exited ? 'exited' : 'created',
    Netns: sandbox.key,
    Adopted: sandbox.adopted !== undefined,
    ...(alive && sandbox.process && { Process: { Pid: sandbox.process.pid } }),
    Networks: networksJson(controller, sandbox),
    Ports: portsJson(controller, sandbox),
    Files: { Hosts: files.hosts, ResolvConf: files.resolvConf, Hostname: files.hostname, OutputLog: files.outputLog },
    Labels: { ...sandbox.labels },
    AutoRemove: sandbox.autoRemove,
    Created: isoTime(sandbox.created),
    ...degraded([
      ...controller.endpointsOfSandbox(sandbox.id).flatMap((ep) => controller.leaseTroubles.ofEndpoint(ep)),
      ...controller.conflictsOfSandbox(sandbox.id).map(conflictText),
    ]),
  };
}

/** The read-only view that engine clients ask for. */
export function containerJson(controller: NetworkController, sandbox: SandboxRecord) {
  const json = sandboxJson(controller, sandbox);
  const running = json.State === 'running';
  return {
    Id: json.Id,
    Name: `/${json.Name}`,
    Created: json.Created,
    State: { Status: json.State, Running: running, Pid: json.Process?.Pid ?? 0 },
    HostsPath: json.Files.Hosts,
    ResolvConfPath: json.Files.ResolvConf,
    HostnamePath: json.Files.Hostname,
    Config: { Hostname: json.Hostname, Labels: json.Labels },
    NetworkSettings: { SandboxID: json.Id, SandboxKey: json.Netns, Ports: json.Ports, Networks: json.Networks },
  };
}

/** A row of GET /containers/json. */
export function containerRow(controller: NetworkController, sandbox: SandboxRecord) {
  const json = sandboxJson(controller, sandbox);
  return {
    Id: json.Id,
    Names: [`/${json.Name}`],
    Image: '',
    ImageID: '',
    Command: '',
    Created: Math.floor(sandbox.created / 1000),
    State: json.State,
    Status: json.State,
    Ports: Object.entries(json.Ports).flatMap(([key, hosts]) => {
      const [port, protocol] = key.split('/');
      const base = { PrivatePort: Number(port), Type: protocol ?? 'tcp' };
      if (hosts === null) return [base];
      return hosts.map((h) => ({ ...base, IP: h.HostIp, ...(h.HostPort !== '' && { PublicPort: Number(h.HostPort) }) }));
    }),
    Labels: json.Labels,
    NetworkSettings: { Networks: json.Networks },
  };
}
