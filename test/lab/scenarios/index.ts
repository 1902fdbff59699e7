/** All scenarios, in the order in which they run. */

import type { Scenario } from '../scenario.ts';
import { addresses } from './addresses.ts';
import { audit } from './audit.ts';
import { churn } from './churn.ts';
import { compaction } from './compaction.ts';
import { cutAndHealed } from './cut-and-healed.ts';
import { daemonKilled } from './daemon-killed.ts';
import { earlyRestart } from './early-restart.ts';
import { engines } from './engines.ts';
import { etcdAway } from './etcd-away.ts';
import { etcdLeaderKilled } from './etcd-leader-killed.ts';
import { hostKilled } from './host-killed.ts';
import { manyServices } from './many-services.ts';
import { move } from './move.ts';
import { mtu } from './mtu.ts';
import { names } from './names.ts';
import { nodes } from './nodes.ts';
import { race } from './race.ts';
import { removedWhileAway } from './removed-while-away.ts';
import { reuse } from './reuse.ts';
import { services } from './services.ts';
import { storm } from './storm.ts';
import { wireFaults } from './wire-faults.ts';
import { wire } from './wire.ts';

/** What the lab itself and a cluster without networks do. */
const BASE: readonly Scenario[] = [wireFaults, nodes, addresses];

/** Networks of several hosts. */
const OVERLAY: readonly Scenario[] = [
  names,
  wire,
  mtu,
  move,
  reuse,
  hostKilled,
  daemonKilled,
  etcdLeaderKilled,
  etcdAway,
  earlyRestart,
  audit,
  cutAndHealed,
  compaction,
  removedWhileAway,
  services,
  engines,
  manyServices,
  race,
  churn,
  storm,
];

export const SCENARIOS: readonly Scenario[] = [...BASE, ...OVERLAY];
