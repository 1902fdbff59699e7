/** Every option key that the model or our drivers read, in one list (spec 04 §1). */

const BRIDGE = 'com.docker.network.bridge';
const ENDPOINT = 'com.docker.network.endpoint';

export const labels = {
  bridgeName: `${BRIDGE}.name`,
  enableIpMasquerade: `${BRIDGE}.enable_ip_masquerade`,
  enableIcc: `${BRIDGE}.enable_icc`,
  gatewayModeIPv4: `${BRIDGE}.gateway_mode_ipv4`,
  gatewayModeIPv6: `${BRIDGE}.gateway_mode_ipv6`,
  hostBinding: `${BRIDGE}.host_binding_ipv4`,
  inhibitIPv4: `${BRIDGE}.inhibit_ipv4`,
  defaultBridge: `${BRIDGE}.default_bridge`,
  trustedHostInterfaces: `${BRIDGE}.trusted_host_interfaces`,
  ifacePrefix: 'com.docker.network.container_iface_prefix',
  hostIPv4: 'com.docker.network.host_ipv4',
  hostIPv6: 'com.docker.network.host_ipv6',
  vxlanIds: 'com.docker.network.driver.overlay.vxlanid_list',
  encrypted: 'encrypted',
  mtu: 'com.docker.network.driver.mtu',
  enableIPv4: 'com.docker.network.enable_ipv4',
  enableIPv6: 'com.docker.network.enable_ipv6',
  advertiseCount: 'com.docker.network.advertise_addr_nmsgs',
  advertiseIntervalMs: 'com.docker.network.advertise_addr_ms',
  endpointIfname: `${ENDPOINT}.ifname`,
  endpointSysctls: `${ENDPOINT}.sysctls`,
  /** Network of the cluster that an engine's network stands for. */
  clusterNetwork: 'patchbay.network',
  parent: 'parent',
  macvlanMode: 'macvlan_mode',
  ipvlanMode: 'ipvlan_mode',
  ipvlanFlag: 'ipvlan_flag',
  hostAccess: 'host_access',
  /** Auxiliary address key of the host's own address in the network, where it has one by `hostAccess`. */
  auxHost: 'host',
  /** Auxiliary address keys that override the endpoints' default gateway (spec 04 N3). */
  auxGatewayIPv4: 'DefaultGatewayIPv4',
  auxGatewayIPv6: 'DefaultGatewayIPv6',
} as const;
