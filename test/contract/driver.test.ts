import { createBridgeDriver } from '../../drivers/bridge/driver.ts';
import { createHostDriver } from '../../drivers/host/driver.ts';
import { createMacvlanDriver } from '../../drivers/macvlan/driver.ts';
import { createNullDriver } from '../../drivers/null/driver.ts';
import { driverContract } from './driver.ts';
import { stageOf } from './stage.ts';

driverContract('bridge', { open: () => stageOf(createBridgeDriver, true) });
driverContract('macvlan', { open: () => stageOf(createMacvlanDriver, true, { parent: 'lan0', host_access: 'true' }) });
driverContract('host', { open: () => stageOf(createHostDriver, false) });
driverContract('null', { open: () => stageOf(createNullDriver, false) });
