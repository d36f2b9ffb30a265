// websocket.mjs: as much of a WebSocket as the client needs, for a Node that
// has none: ws:// only, no extensions. It trusts no frame that RFC 6455
// forbids a server to send.

import { createHash, randomBytes } from 'node:crypto';
import { connect } from 'node:net';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

export class WebSocket {
    readyState = 0;
    protocol = '';
    onopen = null;
    onmessage = null;
    onclose = null;
    onerror = null;

    #socket;
    #in = Buffer.alloc(0);
    #parts = [];
    #close = { code: 1006, reason: '' };

    constructor(url, protocols = []) {
        const { hostname, port, pathname, search, host } = new URL(url);
        const key = randomBytes(16).toString('base64');

        this.#socket = connect({ host: hostname, port: Number(port || 80), noDelay: true }, () => {
            this.#socket.write([
                `GET ${pathname}${search} HTTP/1.1`, `Host: ${host}`, 'Upgrade: websocket',
                'Connection: Upgrade', `Sec-WebSocket-Key: ${key}`, 'Sec-WebSocket-Version: 13',
                ...(protocols.length > 0 ? [`Sec-WebSocket-Protocol: ${protocols.join(', ')}`] : []),
                '', '',
            ].join('\r\n'));
        });
        this.#socket.on('data', (data) => {
            this.#in = Buffer.concat([this.#in, data]);
            try {
                if (this.readyState === 0) {
                    this.#handshake(key, protocols);
                }
                while (this.readyState > 0 && this.#frame()) {
                    // the next
                }
            } catch (error) {
                this.#close = { code: 1002, reason: error.message };
                this.onerror?.({ message: error.message });
                this.#socket.destroy();
            }
        });
        this.#socket.on('error', (error) => this.onerror?.({ message: error.message }));
        this.#socket.on('end', () => this.#socket.end());
        this.#socket.on('close', () => {
            this.readyState = 3;
            this.onclose?.(this.#close);
        });
    }

    send(text) {
        if (this.readyState === 1) {
            this.#write(1, Buffer.from(text));
        }
    }

    close(code = 1000, reason = '') {
        if (this.readyState === 0) {
            this.#socket.destroy();
        } else if (this.readyState === 1) {
            this.readyState = 2;
            this.#write(8, Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]));
            setTimeout(() => this.#socket.destroy(), 1000).unref();
        }
    }

    // As a network that fails: no close frame.
    cut() {
        this.#socket.destroy();
    }

    #handshake(key, protocols) {
        const end = this.#in.indexOf('\r\n\r\n');

        if (end < 0) {
            return;
        }

        const [status, ...lines] = this.#in.toString('latin1', 0, end).split('\r\n');
        const headers = new Map(lines.map((line) => {
            const colon = line.indexOf(':');
            return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
        }));
        const accept = createHash('sha1').update(key + GUID).digest('base64');

        if (!/^HTTP\/1\.1 101 /.test(status)) {
            throw new Error(status);
        }
        if (headers.get('sec-websocket-accept') !== accept) {
            throw new Error('Sec-WebSocket-Accept is wrong');
        }
        this.protocol = headers.get('sec-websocket-protocol') ?? '';
        if (protocols.length > 0 ? !protocols.includes(this.protocol) : this.protocol !== '') {
            throw new Error(`not a subprotocol of ours: ${this.protocol}`);
        }
        this.#in = this.#in.subarray(end + 4);
        this.readyState = 1;
        this.onopen?.({});
    }

    // One frame of what has arrived; whether there was one.
    #frame() {
        const [first, second] = this.#in;
        let at = 2;
        let length = second & 127;

        if (this.#in.length < 2) {
            return false;
        }
        if (first & 112 || second & 128) {
            throw new Error('reserved bits, or a mask');
        }
        if (length === 126) {
            at = 4;
            length = this.#in.length < 4 ? 0 : this.#in.readUInt16BE(2);
        } else if (length === 127) {
            at = 10;
            length = this.#in.length < 10 ? 0 : Number(this.#in.readBigUInt64BE(2));
        }
        if (this.#in.length < at + length) {
            return false;
        }

        const payload = this.#in.subarray(at, at + length);

        this.#in = this.#in.subarray(at + length);
        this.#take(first & 15, Boolean(first & 128), payload);
        return true;
    }

    #take(opcode, fin, payload) {
        if (opcode >= 8 && (!fin || payload.length > 125)) {
            throw new Error('a control frame that is none');
        }
        if (opcode === 8) {
            this.#close = payload.length < 2 ? { code: 1005, reason: '' }
                : { code: payload.readUInt16BE(0), reason: payload.toString('utf8', 2) };
            if (this.readyState === 1) {
                this.readyState = 2;
                this.#write(8, payload);
            }
            this.#socket.end();
        } else if (opcode === 9) {
            this.#write(10, payload);
        } else if (opcode === 10) {
            // we do not ping
        } else if (opcode === (this.#parts.length > 0 ? 0 : 1)) {
            this.#parts.push(payload);
            if (fin) {
                const text = new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(this.#parts));

                this.#parts = [];
                this.onmessage?.({ data: text });
            }
        } else {
            throw new Error(`opcode ${opcode}`);
        }
    }

    #write(opcode, payload) {
        const mask = randomBytes(4);
        const head = Buffer.alloc(payload.length < 126 ? 2 : payload.length < 65536 ? 4 : 10);

        head[0] = 128 | opcode;
        if (head.length === 2) {
            head[1] = 128 | payload.length;
        } else if (head.length === 4) {
            head[1] = 128 | 126;
            head.writeUInt16BE(payload.length, 2);
        } else {
            head[1] = 128 | 127;
            head.writeBigUInt64BE(BigInt(payload.length), 2);
        }
        this.#socket.write(Buffer.concat([head, mask, payload.map((byte, i) => byte ^ mask[i & 3])]));
    }
}
