export { PortAllocator, ours, type AllocatedPort, type AllocatorOptions } from './allocator.ts';
export { parseEphemeralRange, parseReservedPorts } from './limits.ts';
export { describeNat, type NatInput, type NatMode } from './nat.ts';
export { parsePortBindings, type HostSide, type PortBindingsInput, type WantedPort } from './spec.ts';
