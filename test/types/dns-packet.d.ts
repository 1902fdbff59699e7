/** The part of dns-packet 5.6 that the tests use; the package has no declarations of its own. */
declare module 'dns-packet' {
  export interface Question {
    readonly name: string;
    readonly type: string;
    readonly class?: string;
  }
  export interface Record {
    readonly name: string;
    readonly type: string;
    readonly ttl?: number;
    readonly class?: string;
    readonly data?: unknown;
    readonly udpPayloadSize?: number;
    readonly extendedRcode?: number;
    readonly ednsVersion?: number;
    readonly flags?: number;
    readonly options?: readonly { readonly code: number; readonly data: Buffer }[];
  }
  export interface Message {
    readonly id?: number;
    readonly type?: 'query' | 'response';
    readonly flags?: number;
    readonly questions?: readonly Question[];
    readonly answers?: readonly Record[];
    readonly authorities?: readonly Record[];
    readonly additionals?: readonly Record[];
  }
  export interface Decoded {
    readonly id: number;
    readonly type: 'query' | 'response';
    readonly rcode: string;
    readonly opcode: string;
    readonly flag_qr: boolean;
    readonly flag_aa: boolean;
    readonly flag_tc: boolean;
    readonly flag_rd: boolean;
    readonly flag_ra: boolean;
    readonly flag_cd: boolean;
    readonly questions: readonly Question[];
    readonly answers: readonly Record[];
    readonly authorities: readonly Record[];
    readonly additionals: readonly Record[];
  }
  const packet: {
    readonly RECURSION_DESIRED: number;
    encode(message: Message): Buffer;
    /** Throws on a malformed message. */
    decode(bytes: Buffer): Decoded;
    readonly name: {
      readonly decode: {
        /** Throws on a malformed name. */
        (bytes: Buffer, at: number): string;
        /** Octets of the last one where it stood. */
        readonly bytes: number;
      };
    };
  };
  export default packet;
}
