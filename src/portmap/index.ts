export { PortAllocator, type AllocatedPort, type AllocatorOptions, type TryHold } from './allocator.ts';
export { parseEphemeralRange, parseReservedPorts } from './limits.ts';
export { describeNat, type NatInput, type NatMode, type NatRule, type NatSide, type ReportedPort } from './nat.ts';
export { parsePortBindings, type HostSide, type PortBindingsInput, type PortSpec, type WantedPort } from './spec.ts';
