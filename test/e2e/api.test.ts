/** The Engine API's rules of transport, answers and errors, and our own routes, asked with curl. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { NetworkJson, SandboxAnswer } from '../../src/base/index.ts';
import { Lab } from './lab.ts';

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.open();
});
afterAll(async () => {
  await lab.close();
});

const api = <T = { message: string; code: string }>(method: string, path: string, body?: unknown) =>
  lab.api<T>(method, path, body);
const curl = async (...args: string[]): Promise<string> =>
  (await lab.in('host', 'curl', '-s', '--unix-socket', lab.socket, ...args)).stdout;

describe('transport', () => {
  test('ping says what clients need, with and without a body', async () => {
    const head = await curl('-I', 'http://x/_ping');
    expect(head).toMatch(/^HTTP\/1\.1 200/);
    expect(head).toMatch(/api-version: 1\.56/i);
    expect(head).toMatch(/ostype: linux/i);
    expect(head).toMatch(/content-length: 0/i);
    expect(await curl('http://x/_ping')).toBe('OK');
  });

  test.each(['/networks', '/v1.56/networks', '/v1.40/networks/', '/v1.24/networks'])('%s is served', async (path) => {
    expect((await api<unknown[]>('GET', path)).status).toBe(200);
  });

  test.each([
    ['GET', '/v1.99/networks', 400, 'Maximum supported API version is 1.56'],
    ['GET', '/v1.1/networks', 400, 'Minimum supported API version is 1.24'],
    ['GET', '/nothing', 404, 'page not found'],
    ['PUT', '/networks', 404, 'page not found'],
    ['GET', '/networks/missing', 404, 'network missing not found'],
    ['GET', '/containers/missing/json', 404, 'No such container: missing'],
    ['GET', '/networks?filters=%7B', 400, 'invalid filter'],
    ['GET', '/networks?filters=%7B%22until%22%3A%5B%221%22%5D%7D', 400, "invalid filter 'until'"],
    ['GET', '/networks/bridge?verbose=maybe', 400, 'invalid value for verbose'],
  ])('%s %s is %i: %s', async (method, path, status, words) => {
    const answer = await api(method, path);
    expect(answer.status).toBe(status);
    expect(answer.json.message).toContain(words);
  });

  test('a body of another type, broken JSON and a second value are refused', async () => {
    const post = (type: string, data: string) =>
      curl('-X', 'POST', '-H', `Content-Type: ${type}`, '-d', data, 'http://x/networks/create');
    expect(await post('text/plain', '{"Name":"a"}')).toContain("must be 'application/json'");
    expect(await post('application/json', '{"Name":')).toContain('invalid JSON');
    expect(await post('application/json', '{"Name":"a"}{}')).toContain('invalid JSON');
    expect(await post('application/json', '[]')).toContain('must be one object');
    expect((await api<NetworkJson[]>('GET', '/networks')).json.map((n) => n.Name).sort()).toEqual(['bridge', 'host', 'none']);
  });

  test('a path is taken with its host before it', async () => {
    expect(await curl('--request-target', 'http://x/v1.44/_ping?a=1', 'http://x/')).toBe('OK');
  });

  test('OPTIONS is answered with 200', async () => {
    expect(await curl('-X', 'OPTIONS', '-o', '/dev/null', '-w', '%{http_code}', 'http://x/any/thing')).toBe('200');
  });
});

describe('networks', () => {
  test('a network with everything given is shown as asked', async () => {
    const created = await api<{ Id: string; Warning: string }>('POST', '/networks/create', {
      name: 'full/name:x',
      EnableIPv6: true,
      IPAM: {
        Config: [
          { Subnet: '10.7.0.0/16', IPRange: '10.7.4.0/24', Gateway: '10.7.0.254', AuxiliaryAddresses: { printer: '10.7.4.1' } },
        ],
      },
      Options: { 'com.docker.network.driver.mtu': '1400', 'com.docker.network.bridge.name': 'fullbr0' },
      Labels: { a: '1' },
    });
    expect(created.status).toBe(201);
    const { json } = await api<NetworkJson>('GET', '/networks/full%2Fname:x');
    expect(json).toMatchObject({
      Name: 'full/name:x',
      Id: created.json.Id,
      Driver: 'bridge',
      Scope: 'local',
      EnableIPv6: true,
      Labels: { a: '1' },
      Containers: {},
      IPAM: {
        Driver: 'default',
        Config: [
          { Subnet: '10.7.0.0/16', IPRange: '10.7.4.0/24', Gateway: '10.7.0.254', AuxiliaryAddresses: { printer: '10.7.4.1' } },
          {},
        ],
      },
    });
    expect(json.IPAM.Config?.[1]?.Subnet).toMatch(/^fd.*\/64$/);
    const link = (await lab.in('host', 'ip', '-o', 'addr', 'show', 'fullbr0')).stdout;
    expect(link).toContain('10.7.0.254/16');
    expect((await lab.in('host', 'ip', '-o', 'link', 'show', 'fullbr0')).stdout).toContain('mtu 1400');
    const first = await api<{ Id: string }>('POST', '/sandboxes/create', { Name: 'one', Networks: { 'full/name:x': {} } });
    expect(first.status).toBe(201);
    const one = await api<SandboxAnswer>('GET', '/sandboxes/one');
    // The printer has the first address of the range.
    expect(one.json.Networks['full/name:x']).toMatchObject({ IPAddress: '10.7.4.0', IPPrefixLen: 16, Gateway: '10.7.0.254' });
    expect((await api('DELETE', '/sandboxes/one')).status).toBe(204);
    expect((await api('DELETE', '/networks/full%2Fname:x')).status).toBe(204);
  });

  test.each([
    [{ Name: '' }, 400, 'name is empty'],
    [{ Name: 'a\nb' }, 400, 'control characters'],
    [{ Name: 'bridge' }, 403, 'not permitted on predefined bridge network'],
    [{ Name: 'x', Driver: 'nope' }, 404, 'could not find driver "nope"'],
    [{ Name: 'x', IPAM: { Driver: 'nope' } }, 404, 'could not find IPAM driver "nope"'],
    [{ Name: 'x', IPAM: { Config: [{ Subnet: '10.0.0.1/24' }] } }, 400, 'invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24'],
    [
      { Name: 'x', IPAM: { Config: [{ Subnet: '10.0.0.0/24', IPRange: '10.1.0.0/25', Gateway: '10.2.0.1' }] } },
      400,
      "invalid gateway 10.2.0.1: parent subnet 10.0.0.0/24 doesn't contain this address",
    ],
    [{ Name: 'x', EnableIPv4: false }, 400, 'IPv4 or IPv6 must be enabled'],
    [{ Name: 'x', Options: { 'com.docker.network.bridge.gateway_mode_ipv4': 'magic' } }, 400, 'unknown gateway mode'],
    [{ Name: 'x', Options: { 'com.docker.network.driver.mtu': '-1' } }, 400, 'whole number'],
    [{ Name: 'x', Options: { 'com.docker.network.bridge.name': 'lo' } }, 400, 'existing interface lo is not a bridge'],
    [{ Name: 'x', Scope: 'swarm' }, 403, 'scope'],
    [
      { Name: 'x', IPAM: { Config: [{ Subnet: '10.1.0.0/24' }, { Subnet: '10.2.0.0/24' }] } },
      403,
      "doesn't support multiple subnets",
    ],
    [{ Name: 'x', IPAM: { Config: [{ Subnet: '172.16.0.0/24' }] } }, 403, 'overlap'],
    [{ Name: 'x', ConfigFrom: { Network: 'nope' } }, 404, 'does not exist'],
    [{ Name: 42 }, 400, 'Name'],
  ])('%j is refused with %i: %s', async (body, status, words) => {
    // Without what waits for its deletion.
    const links = async () =>
      (await lab.in('host', 'ip', '-o', 'link')).stdout.split('\n').filter((line) => !/\bdead/.test(line)).length;
    const rules = async () => (await lab.in('host', 'iptables-save', '-t', 'nat')).stdout.replaceAll(/\[\d+:\d+\]|# .*/g, '');
    const before = [await rules(), await links()];
    const answer = await api('POST', '/networks/create', body);
    expect([answer.status, answer.json.message]).toEqual([status, expect.stringContaining(words)]);
    expect(answer.json.code).toMatch(/^[a-z_]+$/);
    expect([await rules(), await links()]).toEqual(before);
  });

  test('of two creates with one name at once exactly one wins', async () => {
    const both = await Promise.all([1, 2].map(() => api('POST', '/networks/create', { Name: 'twin' })));
    expect(both.map((a) => a.status).sort()).toEqual([201, 409]);
    await api('DELETE', '/networks/twin');
  });

  test('a subnet of a family that the network does not have is dropped, as the engine does, and said', async () => {
    const { status, json } = await api<{ Warning: string }>('POST', '/networks/create', {
      Name: 'onefamily',
      IPAM: { Config: [{ Subnet: '10.8.0.0/24' }, { Subnet: 'fd08::/64' }] },
    });
    expect([status, json.Warning]).toEqual([201, 'subnet fd08::/64 is not used: the network has no IPv6, which --ipv6 enables']);
    await lab.ok('rm', 'onefamily');
  });

  test('a given subnet that overlaps a route of the host is taken, with a warning', async () => {
    const { status, json } = await api<{ Warning: string }>('POST', '/networks/create', {
      Name: 'over',
      IPAM: { Config: [{ Subnet: '198.51.100.128/25' }] },
    });
    expect([status, json.Warning]).toEqual([201, expect.stringContaining('198.51.100.0/24 dev wire0')]);
    await api('DELETE', '/networks/over');
  });

  test('filters choose by name, driver, label, type and use', async () => {
    await api('POST', '/networks/create', { Name: 'f1', Labels: { tier: 'a' } });
    await api('POST', '/networks/create', { Name: 'f2', Internal: true });
    const names = async (filters: object) =>
      (await api<NetworkJson[]>('GET', `/networks?filters=${encodeURIComponent(JSON.stringify(filters))}`)).json
        .map((n) => n.Name)
        .sort();
    expect(await names({ name: ['f1', 'f2'] })).toEqual(['f1', 'f2']);
    expect(await names({ name: { '^f': true } })).toEqual(['f1', 'f2']);
    expect(await names({ label: ['tier=a'] })).toEqual(['f1']);
    expect(await names({ type: ['builtin'] })).toEqual(['bridge', 'host', 'none']);
    expect(await names({ dangling: ['true'] })).toEqual(['f1', 'f2']);
    expect(await names({ driver: ['host'] })).toEqual(['host']);
    const pruned = await api<{ NetworksDeleted: string[] }>(
      'POST',
      `/networks/prune?filters=${encodeURIComponent('{"label!":["tier"]}')}`,
    );
    expect(pruned.json.NetworksDeleted).toEqual(['f2']);
    expect((await api<{ NetworksDeleted: string[] }>('POST', '/networks/prune')).json.NetworksDeleted).toEqual(['f1']);
  });
});

describe('connect and sandboxes', () => {
  beforeAll(async () => {
    await api('POST', '/networks/create', { Name: 'n', IPAM: { Config: [{ Subnet: '10.9.0.0/29' }] } });
    await api('POST', '/sandboxes/create', { Name: 's' });
  });
  afterAll(async () => {
    await api('DELETE', '/sandboxes/s');
    await api('DELETE', '/networks/n');
    expect(await lab.leftovers()).toEqual([]);
  });

  test('a sandbox without networks is on the default bridge, without a resolver', async () => {
    const { json } = await api<SandboxAnswer>('GET', '/sandboxes/s');
    expect(Object.keys(json.Networks)).toEqual(['bridge']);
    expect((await lab.cli('exec', 's', '--', 'cat', '/etc/resolv.conf')).stdout).not.toContain('127.0.0.11');
  });

  test.each([
    [
      'n',
      { Container: 's', EndpointConfig: { IPAMConfig: { IPv4Address: '10.8.0.1' } } },
      400,
      'no configured subnet contains IP address 10.8.0.1',
    ],
    ['n', { Container: 's', EndpointConfig: { IPAMConfig: { IPv4Address: '10.9.0.1' } } }, 403, 'Address already in use'],
    ['n', { Container: 's', EndpointConfig: { IPAMConfig: { IPv4Address: 'x' } } }, 400, 'invalid IPv4 address: x'],
    ['n', { Container: 's', EndpointConfig: { MacAddress: '01:00:00:00:00:01' } }, 400, 'not unicast'],
    [
      'n',
      { Container: 's', EndpointConfig: { DriverOpts: { 'com.docker.network.endpoint.sysctls': 'kernel.x=1' } } },
      400,
      'unrecognised network interface sysctl',
    ],
    ['n', { Container: 'nobody' }, 404, 'No such sandbox: nobody'],
    ['bridge', { Container: 's' }, 403, 'already exists in network bridge'],
    ['host', { Container: 's' }, 400, 'cannot connect container to host network'],
    ['none', { Container: 's' }, 400, 'private (none) mode'],
    ['missing', { Container: 's' }, 404, 'network missing not found'],
  ])('connect to %s with %j is refused with %i: %s', async (network, body, status, words) => {
    const answer = await api('POST', `/networks/${network}/connect`, body);
    expect([answer.status, answer.json.message]).toEqual([status, expect.stringContaining(words)]);
    expect(Object.keys((await api<SandboxAnswer>('GET', '/sandboxes/s')).json.Networks)).toEqual(['bridge']);
  });

  test('static address, MAC, interface name and sysctl are as asked', async () => {
    const config = {
      IPAMConfig: { IPv4Address: '10.9.0.5' },
      MacAddress: '02:00:00:00:be:ef',
      DriverOpts: {
        'com.docker.network.endpoint.ifname': 'data0',
        'com.docker.network.endpoint.sysctls': 'net.ipv4.conf.IFNAME.log_martians=1',
      },
    };
    expect((await api('POST', '/networks/n/connect', { Container: 's', EndpointConfig: config })).status).toBe(200);
    const seen = (
      await lab.cli(
        'exec',
        's',
        '--',
        'sh',
        '-c',
        'ip -o addr show data0; ip -o link show data0; cat /proc/sys/net/ipv4/conf/data0/log_martians',
      )
    ).stdout;
    expect(seen).toContain('10.9.0.5/29');
    expect(seen).toContain('02:00:00:00:be:ef');
    expect(seen.trim().endsWith('1')).toBe(true);
    expect((await api('POST', '/networks/n/disconnect', { Container: 's' })).status).toBe(200);
    expect((await api('POST', '/networks/n/disconnect', { Container: 's' })).status).toBe(500);
  });

  test('a full subnet says so, and an address is free again when its endpoint is gone', async () => {
    for (let i = 0; i < 5; i++)
      expect((await api('POST', '/sandboxes/create', { Name: `p${i}`, Networks: { n: {} } })).status).toBe(201);
    const full = await api('POST', '/sandboxes/create', { Name: 'p5', Networks: { n: {} } });
    expect([full.status, full.json.message]).toEqual([500, expect.stringContaining('no available IPv4 addresses')]);
    expect((await api('GET', '/sandboxes/p5')).status).toBe(404);
    await api('DELETE', '/sandboxes/p2');
    expect((await api('POST', '/sandboxes/create', { Name: 'p5', Networks: { n: {} } })).status).toBe(201);
    for (const i of [0, 1, 3, 4, 5]) await api('DELETE', `/sandboxes/p${i}`);
  });

  test('none has only a loopback; host is the namespace of the machine', async () => {
    await api('POST', '/sandboxes/create', { Name: 'alone', Networks: { none: {} } });
    await api('POST', '/sandboxes/create', { Name: 'shared', Networks: { host: {} } });
    expect((await lab.cli('exec', 'alone', '--', 'ip', '-o', 'link')).stdout.split('\n')).toHaveLength(1);
    expect((await lab.cli('exec', 'shared', '--', 'ip', '-o', 'link')).stdout).toContain('wire0');
    expect((await api('POST', '/networks/n/connect', { Container: 'shared' })).status).toBe(400);
    expect((await api('POST', '/networks/n/connect', { Container: 'alone' })).status).toBe(400);
    expect((await api('POST', '/networks/none/disconnect', { Container: 'alone' })).status).toBe(200);
    expect((await api('POST', '/networks/n/connect', { Container: 'alone' })).status).toBe(200);
    expect((await lab.cli('exec', 'alone', '--', 'dig', '+short', 'alone')).stdout).toMatch(/^10\.9\./);
    for (const name of ['alone', 'shared']) expect((await api('DELETE', `/sandboxes/${name}`)).status).toBe(204);
  });

  test('a namespace given by path is joined, keeps its own links, and is left as it was', async () => {
    const path = `/run/netns/${lab.outside}`;
    const before = (await lab.in('outside', 'ip', '-o', 'addr')).stdout;
    expect((await api('POST', '/sandboxes/create', { Name: 'adopted', Netns: path, Networks: { n: {} } })).status).toBe(201);
    expect((await lab.in('outside', 'ip', '-o', 'link')).stdout).toContain('eth0');
    expect((await lab.in('outside', 'dig', '+short', '@127.0.0.11', 'adopted')).stdout).toMatch(/^10\.9\./);
    expect((await api('POST', '/sandboxes/create', { Name: 'again', Netns: path })).status).toBe(400);
    expect((await api('DELETE', '/sandboxes/adopted')).status).toBe(204);
    await expect
      .poll(async () => (await lab.in('outside', 'ip', '-o', 'addr')).stdout.replaceAll(/valid_lft.*|tentative /g, ''), {
        timeout: 5000,
      })
      .toBe(before.replaceAll(/valid_lft.*|tentative /g, ''));
    expect((await lab.in('outside', 'nft', 'list', 'ruleset')).stdout).not.toContain('patchbay');
    for (const bad of [`/run/netns/${lab.host}`, '/etc/passwd', '/proc/self/ns/mnt', '/nowhere']) {
      expect((await api('POST', '/sandboxes/create', { Name: 'bad', Netns: bad })).status, bad).toBe(400);
    }
  });

  test('the view for engine clients names what they look for', async () => {
    const { json } = await api<Record<string, never>>('GET', '/containers/s/json');
    expect(json).toMatchObject({
      Name: '/s',
      State: { Status: 'created', Running: false, Pid: 0 },
      NetworkSettings: { Networks: { bridge: {} } },
    });
    expect((await api<unknown[]>('GET', '/containers/json?all=1')).json).toHaveLength(1);
    expect((await api<unknown[]>('GET', '/containers/json')).json).toHaveLength(0);
    // As the engine reads them: any word is true, and a number asks for the newest, running or not.
    expect((await api<unknown[]>('GET', '/containers/json?all=yes')).json).toHaveLength(1);
    expect((await api<unknown[]>('GET', '/containers/json?all=none&limit=-1')).json).toHaveLength(0);
    expect((await api<unknown[]>('GET', '/containers/json?limit=1')).json).toHaveLength(1);
  });
});
