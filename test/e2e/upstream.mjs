/**
 * A name server for tests: UDP and TCP on port 53 of the address given, which answers after so many milliseconds (default 0).
 * host.example is 203.0.113.7, the rest NXDOMAIN.
 */
import dns2 from 'dns2';

const { Packet } = dns2;
const address = process.argv[2];
const delayMs = Number(process.argv[3] ?? 0);
const server = dns2.createServer({
  udp: true,
  tcp: true,
  handle(request, send) {
    const response = Packet.createResponseFromRequest(request);
    const [question] = request.questions;
    if (question?.name.toLowerCase() !== 'host.example') response.header.rcode = 3;
    else if (question.type === Packet.TYPE.A) {
      response.answers.push({
        name: question.name,
        type: Packet.TYPE.A,
        class: Packet.CLASS.IN,
        ttl: 60,
        address: '203.0.113.7',
      });
    }
    // There may be no way back to whoever asks.
    const answer = () => void Promise.resolve(send(response)).catch(() => {});
    if (delayMs === 0) answer();
    else setTimeout(answer, delayMs);
  },
});
await server.listen({ udp: { address, port: 53 }, tcp: { address, port: 53 } });
process.stdout.write('up\n');
