import { silentLogger } from '../../src/base/index.ts';
import { openFirewall } from '../../src/firewall/index.ts';
import { firewallContract } from './firewall.ts';

firewallContract('iptables', { open: (host, mark) => openFirewall({ backend: 'iptables', host, mark, log: silentLogger }) });
