/** Chooses the backend and makes sure that it works here. */

import { CnmError } from '../base/index.ts';
import type { Firewall } from './contract.ts';
import { createIptablesFirewall, type IptablesOptions } from './iptables/backend.ts';
import { probeRules } from './iptables/tool.ts';

export interface FirewallOptions extends IptablesOptions {
  /** `none`: no rules at all; published ports and isolation are then not enforced. */
  readonly backend: 'iptables' | 'nftables' | 'none';
}

/** Throws kernel_lacks when the backend is not available; nothing is changed yet. */
export async function openFirewall(options: FirewallOptions): Promise<Firewall> {
  switch (options.backend) {
    case 'none':
      return withoutRules;
    case 'nftables':
      throw new CnmError('kernel_lacks', 'the nftables firewall backend is not implemented yet; use --firewall iptables');
    case 'iptables':
      await probeRules(options, 4);
      return createIptablesFirewall(options);
  }
}

const nothing = async (): Promise<void> => {};
const withoutRules: Firewall = {
  backend: 'none',
  apply: nothing,
  mend: nothing,
  sync: nothing,
  closeForward: nothing,
  check: async () => false,
  reload: nothing,
  purge: nothing,
  close: nothing,
};
