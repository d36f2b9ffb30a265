// harness.mjs: what the client's tests stand on: TAP, a clock that goes only
// when told to, and a WebSocket whose other end is the test.

import { isDeepStrictEqual } from 'node:util';

const realTimeout = globalThis.setTimeout;
const realImmediate = globalThis.setImmediate;

// ---- TAP ----

let count = 0;
let failed = 0;
const tests = [];

export function ok(value, name) {
    count++;
    failed += value ? 0 : 1;
    console.log(`${value ? 'ok' : 'not ok'} ${count} - ${name}`);
    return Boolean(value);
}

export function equal(got, wanted, name) {
    if (!ok(isDeepStrictEqual(got, wanted), name)) {
        console.log(`#      got: ${JSON.stringify(got)}`);
        console.log(`# expected: ${JSON.stringify(wanted)}`);
    }
}

export function test(name, fn) {
    tests.push({ name, fn });
}

// Runs the tests one by one, each with a clock of its own, and exits.
export async function run(seconds = 60) {
    realTimeout(() => {
        console.log(`Bail out! not done after ${seconds} s`);
        process.exit(2);
    }, seconds * 1000);
    for (const { name, fn } of tests) {
        const clock = new Clock();

        sockets.length = 0;
        reported.length = 0;
        try {
            await fn(clock);
        } catch (error) {
            ok(false, `${name}: ${error.stack}`.replace(/\n/g, '\n# '));
        } finally {
            clock.uninstall();
        }
        equal(reported.map(String), [], `${name}: nothing was thrown aside`);
    }
    console.log(`1..${count}`);
    process.exit(failed > 0 ? 1 : 0);
}

// What the client reports of handlers that throw.
export const reported = [];

globalThis.reportError = (error) => {
    reported.push(error);
};
process.on('unhandledRejection', (error) => {
    reported.push(error);
});

// ---- time ----

// Lets everything run that waits for no time.
export function settle() {
    return new Promise((resolve) => {
        realImmediate(() => realImmediate(resolve));
    });
}

export class Clock {
    now = 1000;
    random = 0.5;
    timers = new Map();
    #id = 0;
    #real = {
        setTimeout: globalThis.setTimeout,
        clearTimeout: globalThis.clearTimeout,
        dateNow: Date.now,
        random: Math.random,
    };

    static epoch = Date.parse('2026-11-29T00:00:00Z');

    constructor() {
        globalThis.setTimeout = (fn, ms) => {
            this.timers.set(++this.#id, { due: this.now + Math.max(ms ?? 0, 0), fn });
            return this.#id;
        };
        globalThis.clearTimeout = (id) => {
            this.timers.delete(id);
        };
        Date.now = () => Clock.epoch + this.now;
        Object.defineProperty(performance, 'now', {
            value: () => this.now, configurable: true, writable: true,
        });
        Math.random = () => (typeof this.random === 'function' ? this.random()
            : this.random);
    }

    uninstall() {
        globalThis.setTimeout = this.#real.setTimeout;
        globalThis.clearTimeout = this.#real.clearTimeout;
        Date.now = this.#real.dateNow;
        Math.random = this.#real.random;
        delete performance.now;
    }

    // That time goes by: what is due runs, in order.
    async advance(ms) {
        const until = this.now + ms;

        await settle();
        for (;;) {
            const next = [...this.timers].filter(([, timer]) => timer.due <= until)
                .sort(([a, x], [b, y]) => x.due - y.due || a - b)[0];

            if (next === undefined) {
                break;
            }
            this.timers.delete(next[0]);
            this.now = Math.max(this.now, next[1].due);
            next[1].fn();
            await settle();
        }
        this.now = until;
        await settle();
    }

    // In so many ms, as the server writes it.
    at(ms) {
        return new Date(Date.now() + ms).toISOString();
    }
}

// ---- sockets ----

export const sockets = [];

export const user = '018f0000-0000-7000-8000-00000000000a';

export class FakeSocket {
    readyState = 0;
    onopen = null;
    onmessage = null;
    onclose = null;
    onerror = null;
    sent = [];
    closed = null;

    constructor(url, protocols) {
        this.url = url;
        this.protocols = protocols;
        sockets.push(this);
    }

    send(text) {
        this.sent.push(JSON.parse(text));
    }

    close(code) {
        this.readyState = 3;
        this.closed ??= code;
    }

    // ---- the server's side ----

    // Each of them a frame; an array is a batch.
    say(...messages) {
        for (const message of messages) {
            this.onmessage?.({ data: JSON.stringify(message) });
        }
    }

    establish(more = {}) {
        this.readyState = 1;
        this.onopen?.({});
        this.say({
            type: 'connection_established', connection_id: user, user_id: user,
            server_time: new Date(Date.now()).toISOString(), batch_ms: 0,
            heartbeat: { interval_ms: 25000, timeout_ms: 10000 },
            expires_at: new Date(Date.now() + 900000).toISOString(), ...more,
        });
    }

    end(code, reason = '') {
        this.readyState = 3;
        this.onclose?.({ code, reason });
    }

    // The messages of that type that were sent since it was last asked.
    took(type) {
        const found = this.sent.filter((message) => message.type === type);

        this.sent = this.sent.filter((message) => message.type !== type);
        return found;
    }

    // Confirms the subscribe of that channel that was sent last.
    confirm(channel, more = {}) {
        const { id } = this.sent.filter((message) => message.type === 'subscribe'
            && message.channel === channel).at(-1);

        this.say({ type: 'subscription_confirmed', id, channel, epoch: 'e1',
            offset: 0, recovered: true, ...more });
    }
}

export const lastSocket = () => sockets.at(-1);

// An event, as a server sends it.
export function event(channel, offset, more = {}) {
    return { type: 'project.updated', channel, offset, data: { version: offset },
        timestamp: '2026-11-29T00:00:00.000Z', ...more };
}
