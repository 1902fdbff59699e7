/** Options of overlay networks: parsed once to a typed value, every problem named (spec 07 §1). Pure. */

import { CnmError } from '../../src/base/index.ts';
import { type DriverNetwork, labels } from '../../src/driver/index.ts';
import { type Advertise, advertiseOptions, badOption, checkIfacePrefix, wholeOption } from '../shared/options.ts';
import { checkSubnet } from '../shared/subnets.ts';

export interface OverlayOptions {
  /** One a segment, in their order; empty: they are chosen. */
  readonly vnis: readonly number[];
  /** Most octets of a packet inside; absent: what the underlay leaves. */
  readonly mtu?: number;
  readonly advertise: Advertise;
}

const MAX_VNI = 2 ** 24 - 1;
/** Smallest MTU that carries IPv4 (RFC 791), and IPv6 (RFC 8200). */
const MIN_MTU = { v4: 68, v6: 1280 } as const;
const MAX_MTU = 65_535;

/** By what a network's packets are encrypted on the underlay: any value but `wireguard` is ESP, the empty one too (spec 07 §5). */
export function encryptionOf({ options }: Pick<DriverNetwork, 'options'>): 'esp' | 'wireguard' | undefined {
  const asked = options[labels.encrypted];
  return asked === undefined || asked === 'wireguard' ? asked : 'esp';
}

/** Parses the options of a network. Unknown keys are ignored. Throws bad_option. */
export function parseOverlayOptions({ options, enableIPv6 }: DriverNetwork): OverlayOptions {
  checkIfacePrefix(options);
  const mtu = wholeOption(options, labels.mtu, 0, MAX_MTU, 0);
  const least = enableIPv6 ? MIN_MTU.v6 : MIN_MTU.v4;
  if (mtu !== 0 && mtu < least) throw badOption(labels.mtu, String(mtu), `the least is ${least}`);
  return { vnis: vniList(options[labels.vxlanIds]), ...(mtu !== 0 && { mtu }), advertise: advertiseOptions(options) };
}

function vniList(text: string | undefined): number[] {
  if (text === undefined || text === '') return [];
  const works = `use whole numbers from 1 to ${MAX_VNI}, one a subnet, separated by commas`;
  const vnis = text.split(',').map((part) => (/^\d{1,8}$/.test(part.trim()) ? Number(part) : Number.NaN));
  if (!vnis.every((vni) => vni >= 1 && vni <= MAX_VNI)) throw badOption(labels.vxlanIds, text, works);
  if (new Set(vnis).size < vnis.length) throw badOption(labels.vxlanIds, text, 'an id is named twice');
  return vnis;
}

/** Checks what is known once subnets are leased. Throws bad_subnet, bad_option. */
export function checkOverlaySubnets({ v4, v6, options }: DriverNetwork, { vnis }: OverlayOptions): void {
  for (const { prefix } of [...v4, ...v6]) checkSubnet(prefix);
  if (v4.length > 0 && v6.length > 0 && v4.length !== v6.length) {
    throw new CnmError(
      'bad_subnet',
      `an overlay network of both families needs as many subnets of IPv4 as of IPv6, since each pair of them is one wire: it has ${v4.length} and ${v6.length}`,
    );
  }
  const wires = Math.max(v4.length, v6.length);
  if (vnis.length > 0 && vnis.length !== wires)
    throw badOption(labels.vxlanIds, options[labels.vxlanIds] ?? '', `the network has ${wires} subnets, and needs as many ids`);
}
