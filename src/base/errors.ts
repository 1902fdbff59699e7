/** Error kinds, stable codes and their catalogue. Where an error becomes an HTTP status is the daemon's concern. */

export type ErrorKind =
  | 'invalid'
  | 'unauthorized'
  | 'forbidden'
  | 'not_found'
  | 'conflict'
  | 'not_modified'
  | 'not_implemented'
  | 'unavailable'
  | 'timeout'
  | 'cancelled'
  | 'data_loss'
  | 'internal';

interface CatalogueEntry {
  readonly kind: ErrorKind;
  /** What was wrong, one sentence. */
  readonly meaning: string;
  /** What would work, one sentence. */
  readonly remedy: string;
}

const entry = (kind: ErrorKind, meaning: string, remedy: string): CatalogueEntry => ({ kind, meaning, remedy });

/** Every code this project can answer with. docs/errors.md lists exactly these. */
export const errorCatalogue = {
  bad_request: entry('invalid', 'The request is malformed.', 'Correct the field that the message names.'),
  bad_json: entry('invalid', 'The body is not one JSON value.', 'Send one JSON object and nothing after it.'),
  bad_content_type: entry('invalid', 'The body has no type, or one other than JSON.', 'Send Content-Type: application/json.'),
  bad_api_version: entry(
    'invalid',
    'The version prefix is outside the served range.',
    'Use a version within the range that the message names.',
  ),
  bad_name: entry(
    'invalid',
    'A name is empty or has characters that are not allowed.',
    'Use letters, digits, underscore, dot and dash, starting with a letter or digit.',
  ),
  bad_subnet: entry('invalid', 'A subnet is malformed or has host bits set.', 'Give the network address, such as 10.1.0.0/24.'),
  bad_ip_range: entry(
    'invalid',
    'An address range does not fit its subnet.',
    'Give a prefix inside the subnet, without host bits.',
  ),
  bad_gateway: entry('invalid', 'A gateway is malformed or outside its subnet.', 'Give an address inside the subnet.'),
  bad_aux_address: entry(
    'invalid',
    'An auxiliary address is malformed or outside its subnet.',
    'Give name=address with an address inside the subnet.',
  ),
  bad_address: entry('invalid', 'An address is malformed or cannot be used here.', 'Give one plain IPv4 or IPv6 address.'),
  bad_mac: entry(
    'invalid',
    'A MAC address is malformed or not unicast.',
    'Give six hexadecimal pairs, such as 02:00:00:00:00:01.',
  ),
  bad_option: entry('invalid', 'An option has a value that it does not take.', 'Use one of the values that the message names.'),
  bad_filter: entry('invalid', 'A filter is unknown or has a bad value.', 'Use one of the filters that the message names.'),
  bad_port: entry('invalid', 'A port binding is malformed.', 'Write [hostIP:][hostPort[-end]:]containerPort[-end][/tcp|udp].'),
  bad_config: entry(
    'invalid',
    'The configuration file or a flag of the daemon is wrong.',
    'Correct the key that the message names.',
  ),
  bad_netns: entry(
    'invalid',
    'A path is not a network namespace that may be used.',
    "Give the path of a network namespace other than the host's own.",
  ),
  bad_process: entry(
    'invalid',
    'A process is not alive or does not live in the sandbox.',
    'Give the pid of a living process inside the sandbox.',
  ),
  ambiguous_name: entry('invalid', 'More than one object matches.', 'Give the full name or a longer id.'),
  pools_exhausted: entry(
    'invalid',
    'No free subnet is left in the default address pools.',
    'Give --subnet, remove unused networks, or start the daemon with more --default-address-pool.',
  ),
  unknown_address_space: entry(
    'invalid',
    'The address space does not exist.',
    'Use one of the address spaces of the IPAM driver.',
  ),
  no_family: entry('invalid', 'Neither IPv4 nor IPv6 is enabled.', 'Enable at least one of them.'),
  not_supported_here: entry('invalid', 'The setting is not supported on this network.', 'Use a user-defined network.'),
  predefined_network: entry('forbidden', 'The network is predefined.', 'Use another name, or leave the network alone.'),
  network_in_use: entry(
    'forbidden',
    'The network has endpoints.',
    'Disconnect the sandboxes that the message names first, or remove them.',
  ),
  pool_overlap: entry(
    'forbidden',
    'The subnet overlaps one that is in use.',
    'Choose a subnet that does not overlap, or give none.',
  ),
  address_in_use: entry('forbidden', 'The address is taken.', 'Choose another address, or give none.'),
  address_out_of_range: entry(
    'invalid',
    'The address lies in none of the subnets.',
    'Choose an address inside a subnet of the network.',
  ),
  already_joined: entry(
    'forbidden',
    'The endpoint is joined, or the sandbox is connected already.',
    'Leave or disconnect first.',
  ),
  singleton_network: entry('forbidden', 'Only one network of this driver can exist.', 'Use the existing one.'),
  subnet_conflict: entry(
    'forbidden',
    'Another bridge network has the same bridge name or an overlapping subnet.',
    'Choose another name or subnet.',
  ),
  too_many_subnets: entry('forbidden', 'The driver takes one subnet a family.', 'Give one subnet for IPv4 and one for IPv6.'),
  not_permitted: entry(
    'forbidden',
    'It would change the host itself, which is for root.',
    'Ask root to do it, or leave the option out.',
  ),
  config_only: entry('forbidden', 'A configuration-only network cannot do this.', 'Use a network made with --config-from.'),
  endpoint_active: entry('forbidden', 'The endpoint is joined to a sandbox.', 'Leave first, or force.'),
  network_full: entry('forbidden', 'The network takes no further endpoint.', 'Use a second network.'),
  too_many_members: entry(
    'forbidden',
    'The services of the networks of a sandbox have more members than its namespace can be told.',
    'Use several services, in several networks, or take members away.',
  ),
  number_taken: entry(
    'forbidden',
    'A number, such as the VXLAN id of a network, is in use.',
    'Choose another number, or none; or remove what the message names.',
  ),
  parent_in_use: entry(
    'forbidden',
    'The parent link is in use in a way that keeps others out.',
    'Use another parent, or a VLAN of it.',
  ),
  parent_refuses: entry(
    'forbidden',
    'The parent link takes no frames for MACs other than its own.',
    'Allow promiscuous mode and forged transmits for it, or use driver ipvlan.',
  ),
  scope_refused: entry('forbidden', 'The scope does not fit the driver.', 'Leave the scope out, or use another driver.'),
  no_network: entry('not_found', 'No such network.', 'network ls shows the networks.'),
  no_endpoint: entry('not_found', 'No such endpoint.', 'network inspect shows the endpoints.'),
  no_node: entry('not_found', 'No such host in the cluster.', 'network node ls shows all hosts.'),
  no_sandbox: entry('not_found', 'No such sandbox.', 'network sandbox ls shows the sandboxes.'),
  no_service: entry('not_found', 'No such service.', 'network service ls shows the services.'),
  no_member: entry('not_found', 'The sandbox is no member of the service.', 'network service inspect shows the members.'),
  no_pool: entry('not_found', 'No such address pool.', 'Ask for a pool first.'),
  no_driver: entry('not_found', 'No driver or plugin of this name.', 'Use one of the drivers that the message names.'),
  no_page: entry('not_found', 'The path or method is not served.', 'See the Engine API reference.'),
  name_taken: entry('conflict', 'The name is taken.', 'Choose another name, or remove the other object.'),
  node_alive: entry('conflict', 'The host is alive.', 'Stop its daemon first, or leave the host in the cluster.'),
  sandbox_busy: entry('conflict', 'The process of the sandbox is alive.', 'Stop the process, or force.'),
  prune_running: entry('conflict', 'Another prune is running.', 'Wait for it to end.'),
  stale_revision: entry('conflict', 'The record changed in between.', 'Read it again and retry.'),
  daemon_running: entry('conflict', 'Another daemon holds the state directory.', 'Stop it, or use another --state-dir.'),
  port_taken: entry('internal', 'The host port is taken.', 'Choose another host port, or stop the process that holds it.'),
  ports_exhausted: entry('internal', 'No host port of the range is free.', 'Give a wider range, or free some ports.'),
  numbers_exhausted: entry('internal', 'No number of the range is free.', 'Remove networks that are not used.'),
  no_free_address: entry('internal', 'The address pools of the network are full.', 'Remove an endpoint, or use a larger subnet.'),
  gateway_taken: entry('internal', 'The gateway or auxiliary address cannot be reserved.', 'Choose another address.'),
  not_connected: entry('internal', 'The sandbox is not connected to the network.', 'network inspect shows who is connected.'),
  kernel_lacks: entry('not_implemented', 'The kernel lacks a feature.', 'Load the module or use a kernel that has it.'),
  driver_lacks: entry('not_implemented', 'The driver does not support this.', 'Use another driver or leave the setting out.'),
  parent_gone: entry(
    'unavailable',
    'The parent link of the network is not there.',
    'Bring the link back: the network mends itself then.',
  ),
  plugin_unreachable: entry('unavailable', 'A plugin or an engine does not answer.', 'See that it runs, then try again.'),
  plugin_failed: entry(
    'internal',
    'A plugin refused, or its answer cannot be used; what was begun is taken back.',
    "The message holds the plugin's own words, or what is wrong with them.",
  ),
  dhcp_unanswered: entry(
    'unavailable',
    'No DHCP server answers on the parent of the network; nothing was changed.',
    'See that a server runs there and has addresses left, then try again.',
  ),
  dhcp_refused: entry(
    'internal',
    'A DHCP server refuses, or gives what cannot be used; what was leased is given back.',
    'The message says what the server gave: correct its reservations, or the subnet of the network.',
  ),
  store_unreachable: entry('unavailable', 'The store does not answer.', 'Check the store; nothing was changed.'),
  no_cluster: entry('unavailable', 'The daemon is in no cluster.', 'Start it with --cluster etcd://HOST:PORT.'),
  store_refused: entry(
    'internal',
    'The cluster refuses a call.',
    'The message holds its words: check certificates and rights, or its limits.',
  ),
  resolver_unavailable: entry(
    'unavailable',
    'The keeper, which holds resolvers and host ports, does not answer.',
    'Try again; see the log if it persists.',
  ),
  too_busy: entry(
    'unavailable',
    'More is under way than the daemon does at once; nothing was changed.',
    'Try again in a moment.',
  ),
  shutting_down: entry('unavailable', 'The daemon is stopping.', 'Try again when it is back.'),
  deadline_exceeded: entry(
    'timeout',
    'The operation took too long; nothing was changed.',
    'Try again; see the log if it persists.',
  ),
  client_gone: entry('cancelled', 'The client went away and the operation was undone.', 'Try again.'),
  store_corrupt: entry(
    'data_loss',
    'The store or a record in it cannot be read.',
    'Restore the state directory from a copy, or move it away to start empty.',
  ),
  store_newer: entry(
    'data_loss',
    'The store was written by a newer version.',
    'Start the newer version, or move the state directory away to start empty.',
  ),
  syscall_failed: entry('internal', 'The kernel refused an operation.', 'The message names the operation and the errno.'),
  firewall_failed: entry(
    'internal',
    'The firewall refused a change; what was is restored.',
    "The message holds the tool's own words.",
  ),
  internal: entry('internal', 'Something unexpected happened.', "See the daemon's log."),
} as const satisfies Record<string, CatalogueEntry>;

export type ErrorCode = keyof typeof errorCatalogue;

/** An error with a stable code. Callers branch on `kind` and `code`, never on text or `instanceof`. */
export class CnmError extends Error {
  readonly code: ErrorCode;
  readonly kind: ErrorKind;
  /** Undo steps that failed after this error, with their labels. */
  undoFailures?: readonly { readonly label: string; readonly error: unknown }[];

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'CnmError';
    this.code = code;
    this.kind = errorCatalogue[code].kind;
  }
}

/** The kernel refused an operation. `errno` is the symbolic name, such as EEXIST. */
export class KernelError extends CnmError {
  readonly operation: string;
  readonly subject: string;
  readonly errno: string;

  constructor(operation: string, subject: string, errno: string, detail?: string) {
    super('syscall_failed', `${operation} ${subject}: ${errno}${detail ? ` (${detail})` : ''}`);
    this.name = 'KernelError';
    this.operation = operation;
    this.subject = subject;
    this.errno = errno;
  }
}

/** True for a CnmError of this or another copy of the package. */
export function isCnmError(error: unknown): error is CnmError {
  return (
    error instanceof Error &&
    'code' in error &&
    'kind' in error &&
    typeof error.code === 'string' &&
    Object.hasOwn(errorCatalogue, error.code)
  );
}

/** The error's code, or undefined for a foreign error. */
export function codeOf(error: unknown): ErrorCode | undefined {
  return isCnmError(error) ? error.code : undefined;
}

/** The kernel's errno name (ENOENT …), or undefined. Knows KernelError and Node's own system errors. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if ('errno' in error && typeof error.errno === 'string') return error.errno;
  if ('code' in error && typeof error.code === 'string' && /^E[A-Z0-9]+$/.test(error.code)) return error.code;
  return undefined;
}

/** Runs `work`; the named errnos count as done. */
export async function ignoring<T>(errnos: readonly string[], work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    const errno = errnoOf(error);
    if (errno !== undefined && errnos.includes(errno)) return undefined;
    throw error;
  }
}

/** The words of any thrown value. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
