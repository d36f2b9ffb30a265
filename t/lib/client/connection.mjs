// connection.mjs: the client stays connected: when it comes back after what,
// with which token, and how it notices that nobody is there.

import { HiveClient } from './hive.mjs';
import { FakeSocket, equal, lastSocket, ok, run, settle, sockets, test } from './harness.mjs';

const channel = 'project:018f0000-0000-7000-8000-000000000001';

function make(options = {}) {
    const states = [];
    const client = new HiveClient({
        url: 'http://hive.test', WebSocket: FakeSocket,
        onState: (state, detail) => states.push([state, detail.error?.code ?? null]),
        ...(options.getToken || options.getTicket ? {} : { token: 't0' }), ...options,
    });

    return { client, states };
}

async function connected(options, established) {
    const { client, states } = make(options);

    client.connect();
    await settle();
    lastSocket().establish(established);
    await settle();
    return { client, states, socket: lastSocket() };
}

// How long until the next attempt.
async function wait(clock) {
    const before = sockets.length;
    const begin = clock.now;

    while (sockets.length === before && clock.now - begin < 100000) {
        await clock.advance(10);
    }
    return clock.now - begin;
}

const thrown = (fn) => {
    try {
        fn();
        return '';
    } catch (error) {
        return error.message;
    }
};

test('what it needs', async () => {
    const native = globalThis.WebSocket;

    delete globalThis.WebSocket;
    ok(/WebSocket/.test(thrown(() => new HiveClient({ url: 'http://hive.test', token: 't' }))),
        'where there is no WebSocket it says to pass one');
    globalThis.WebSocket = native;
    ok(/token/.test(thrown(() => new HiveClient({ url: 'http://hive.test', WebSocket: FakeSocket }))),
        'credentials');
    ok(/url/.test(thrown(() => new HiveClient({ token: 't', WebSocket: FakeSocket }))), 'a url');
});

test('where to, and as whom', async () => {
    const tried = async (options) => {
        const { client } = make(options);
        client.connect();
        await settle();
        client.close();
        return [lastSocket().url, lastSocket().protocols];
    };

    equal(await tried({}), ['ws://hive.test/ws', ['hive.v1', 'bearer.t0']], 'an origin, a token');
    equal(await tried({ url: 'https://hive.test/' }), ['wss://hive.test/ws', ['hive.v1', 'bearer.t0']], 'https');
    equal((await tried({ url: new URL('wss://hive.test:8443/at/ws') }))[0], 'wss://hive.test:8443/at/ws',
        'a path of one\'s own');
    equal((await tried({ batchMs: 50 }))[0], 'ws://hive.test/ws?batch_ms=50', 'batches');
    equal((await tried({ getToken: async () => 't1' }))[1], ['hive.v1', 'bearer.t1'], 'getToken');
    equal(await tried({ getTicket: async () => 'a+b' }), ['ws://hive.test/ws?ticket=a%2Bb', []], 'a ticket');
    globalThis.location = { href: 'https://hive.test/some/page' };
    equal((await tried({ url: undefined }))[0], 'wss://hive.test/ws', 'a page\'s own server');
    delete globalThis.location;
});

test('connect()', async (clock) => {
    const { client, states } = make();
    const promise = client.connect();

    ok(client.connect() === promise, 'twice is once');
    await settle();
    equal(client.state, 'connecting', 'it is not open before the server\'s first message');
    lastSocket().establish();
    await promise;
    equal(states, [['connecting', null], ['open', null]], 'states are told');
    equal(client.connection.type, 'connection_established', 'what the server said is there');
    client.close();
    equal([client.state, lastSocket().closed], ['closed', 1000], 'close() closes');
    equal(clock.timers.size, 0, 'and leaves no timer');
});

test('full jitter', async (clock) => {
    const { client, states } = make();
    const delays = [];

    clock.random = 1;
    client.connect();
    await settle();
    for (let i = 0; i < 9; i++) {
        lastSocket().end(1006);
        delays.push(await wait(clock));
    }
    equal(delays, [250, 500, 1000, 2000, 4000, 8000, 15000, 15000, 15000], 'doubles up to the limit');
    equal(states.slice(-2), [['waiting', 'connection_lost'], ['connecting', null]], 'and is told');
    clock.random = 0;
    lastSocket().end(1006);
    equal(await wait(clock), 10, 'and may be nothing');

    clock.random = 1;
    lastSocket().establish();
    await clock.advance(9990);
    lastSocket().end(1006);
    equal(await wait(clock), 15000, 'a connection of less than 10 s changes nothing');
    lastSocket().establish();
    await clock.advance(10010);
    lastSocket().end(1006);
    equal(await wait(clock), 250, 'after a stable one it begins anew');
    client.close();
});

test('its own limits', async (clock) => {
    const { client } = make({ backoff: { min: 100, max: 150 } });
    const delays = [];

    clock.random = 1;
    client.connect();
    await settle();
    for (let i = 0; i < 3; i++) {
        lastSocket().end(1006);
        delays.push(await wait(clock));
    }
    equal(delays, [100, 150, 150], 'are kept');
    client.close();
});

test('1001', async (clock) => {
    const { client, states, socket } = await connected();

    clock.random = 1;
    socket.end(1001, 'reload');
    equal(states.at(-1), ['waiting', 'reload'], 'is told');
    equal(await wait(clock), 500, 'is followed by a short jitter');
    lastSocket().end(1001, 'reload');
    equal(await wait(clock), 250, 'before it was open it is a failure like others');
    lastSocket().end(1001, 'reload');
    equal(await wait(clock), 500, 'whose delay grows');
    client.close();
});

test('1013', async (clock) => {
    const { client, socket } = await connected();

    clock.random = 0;
    socket.end(1013, 'slow_consumer');
    equal(await wait(clock), 1000, 'waits a second at least');
    clock.random = 1;
    lastSocket().end(1013, 'unavailable');
    equal(await wait(clock), 1500, 'and the back-off');
    client.close();
});

test('1008 token_expired', async (clock) => {
    let token = 't1';
    let asked = 0;
    const { client, states, socket } = await connected({ getToken: async () => {
        asked++;
        return token;
    } });

    token = 't2';
    socket.end(1008, 'token_expired');
    equal(await wait(clock), 10, 'reconnects at once');
    equal([asked, lastSocket().protocols[1]], [2, 'bearer.t2'], 'with another token');
    lastSocket().establish();
    await settle();
    lastSocket().end(1008, 'token_expired');
    await clock.advance(10);
    equal(states.at(-1), ['failed', 'token_expired'], 'the same again would not do');
    equal([sockets.length, clock.timers.size], [2, 0], 'and it has stopped');

    token = 't3';
    client.connect();
    await settle();
    lastSocket().establish();
    await settle();
    equal(client.state, 'open', 'connect() tries again');
    client.close();
});

test('1008', async (clock) => {
    let token = 't1';
    const { client, states, socket } = await connected({ getToken: () => token });
    const subscription = client.subscribe(channel, { onEvent: () => {} });

    clock.random = 1;
    token = 't2';
    socket.end(1008, 'token_invalid');
    equal(await wait(clock), 250, 'with another token it goes on, after a delay');
    lastSocket().end(1008, 'too_many_connections');
    await clock.advance(1000);
    equal(states.at(-1), ['failed', 'too_many_connections'], 'with the same it stops');
    equal(await client.ping().catch(({ code }) => code), 'closed', 'and answers nothing');
    token = 't4';
    client.connect();
    await settle();
    lastSocket().establish();
    await settle();
    equal(lastSocket().took('subscribe').map((m) => m.channel), [channel], 'subscriptions are kept for another try');
    subscription.unsubscribe();
    client.close();

    const asked = await connected({}, { heartbeat: { interval_ms: 1000, timeout_ms: 500 } });
    await clock.advance(1510);
    asked.socket.end(1008, 'token_expired');
    await clock.advance(1000);
    equal(asked.states.map(([state]) => state), ['connecting', 'open', 'failed'], 'also while a ping is under way');

    const fixed = await connected();
    fixed.socket.end(1008, 'token_expired');
    equal(fixed.states.at(-1), ['failed', 'token_expired'], 'a token alone is not tried again');
});

test('1008 and tickets', async (clock) => {
    let n = 0;
    const { client, states, socket } = await connected({ getTicket: async () => `k${++n}` });

    socket.end(1008, 'token_expired');
    await clock.advance(10);
    ok(lastSocket().url.endsWith('ticket=k2'), 'a new ticket');
    lastSocket().end(1008, 'token_invalid');
    equal(states.at(-1), ['failed', 'token_invalid'], 'but not for ever');
    client.close();
});

test('connect() fails', async () => {
    const { client } = make();
    const promise = client.connect();

    await settle();
    lastSocket().end(1008, 'token_invalid');
    equal(await promise.catch((error) => [error.name, error.code]), ['HiveError', 'token_invalid'], 'with the reason');

    const other = make();
    const closed = other.client.connect();
    other.client.close();
    equal(await closed.catch((error) => error.code), 'closed', 'and by close()');
});

test('getToken', async (clock) => {
    let fail = true;
    const { client, states } = make({ getToken: async () => {
        if (fail) {
            throw new Error('offline');
        }
        return 't1';
    } });

    client.connect();
    await settle();
    equal(states.at(-1), ['waiting', 'credentials'], 'when it fails there will be another attempt');
    fail = false;
    await clock.advance(1000);
    equal(sockets.length, 1, 'which comes');
    client.close();

    const hanging = make({ getToken: () => new Promise(() => {}) });
    hanging.client.connect();
    await clock.advance(10000);
    equal(hanging.states.at(-1), ['waiting', 'timeout'], 'one that hangs is not waited for');
    hanging.client.close();

    const none = make({ getToken: async () => undefined });
    none.client.connect();
    await settle();
    equal(none.states.at(-1), ['waiting', 'credentials'], 'none is a failure too');
    none.client.close();
});

test('no first message', async (clock) => {
    const { client, states } = make();

    client.connect();
    await settle();
    const [socket] = sockets;
    await clock.advance(10000);
    equal([states.at(-1)[0], states.at(-1)[1], socket.closed], ['waiting', 'timeout', 1000], 'gives up after 10 s');
    socket.establish();
    await settle();
    equal(client.state, 'waiting', 'and does not listen to it any more');
    client.close();
});

test('renewal', async (clock) => {
    let token = 't1';
    let asked = 0;
    const getToken = async () => {
        asked++;
        return token;
    };
    const { client, socket } = await connected({ getToken }, { expires_at: clock.at(900000),
        heartbeat: { interval_ms: 10000000, timeout_ms: 10000 } });

    token = 't2';
    await clock.advance(839990);
    equal(asked, 1, 'not before its time');
    await clock.advance(20);
    const [{ id, ...rest }] = socket.took('authenticate');
    equal(rest, { type: 'authenticate', token: 't2' }, '60 s before it expires');
    socket.say({ type: 'authenticated', id, expires_at: clock.at(90000) });
    token = 't3';
    await clock.advance(60010);
    const [second] = socket.took('authenticate');
    equal(second.token, 't3', 'or with a third of its time left');
    socket.say({ type: 'error', id: second.id, code: 'token_invalid', message: 'no' });
    asked = 0;
    token = 't4';
    await clock.advance(20010);
    equal(socket.took('authenticate').map((m) => m.token), ['t4'], 'when it fails it is tried again');
    client.close();
});

test('renewal with nothing new', async (clock) => {
    let asked = 0;
    const { client, socket, states } = await connected({ getToken: async () => {
        asked++;
        return 't1';
    } }, { expires_at: clock.at(60000), heartbeat: { interval_ms: 10000000, timeout_ms: 10000 } });

    await clock.advance(60000);
    equal(socket.took('authenticate'), [], 'the same token is not sent');
    ok(asked > 2 && asked < 15, `and not asked for all the time (${asked} times)`);
    socket.end(1008, 'token_expired');
    await clock.advance(10);
    equal(states.at(-1), ['failed', 'token_expired'], 'in the end it stops');
    client.close();
});

test('the server\'s clock', async (clock) => {
    const { client, socket } = await connected({ getToken: async () => `t${clock.now}` },
        { server_time: clock.at(3600000), expires_at: clock.at(3600000 + 30000) });

    await clock.advance(20010);
    equal(socket.took('authenticate').length, 1, 'counts, not ours');
    client.close();
});

test('heartbeat', async (clock) => {
    const { client, states, socket } = await connected({}, { heartbeat: { interval_ms: 1000, timeout_ms: 500 } });

    await clock.advance(1400);
    socket.say({ type: 'presence.join', channel, data: {} });
    await clock.advance(1400);
    equal(socket.took('ping'), [], 'who talks is not asked');
    await clock.advance(200);
    const [{ id }] = socket.took('ping');
    await clock.advance(300);
    socket.say({ type: 'pong', id, server_time: clock.at(0) });
    await clock.advance(1000);
    equal(client.state, 'open', 'who answers is there');
    equal(client.lag(), 400, 'and the time is taken');
    await clock.advance(510);
    equal(socket.took('ping').length, 1, 'asked again when quiet again');
    await clock.advance(300);
    socket.say({ type: 'presence.join', channel, data: {} });
    await clock.advance(300);
    equal(client.state, 'open', 'anything is an answer');
    await clock.advance(2100);
    equal(states.at(-1), ['connecting', null], 'who says nothing is not there');
    equal(states.at(-2), ['waiting', 'no_answer'], 'which is told');
    client.close();
});

test('a server that will not pong', async (clock) => {
    const { client, socket } = await connected({}, { heartbeat: { interval_ms: 1000, timeout_ms: 500 } });

    for (let i = 0; i < 3; i++) {
        await clock.advance(1510);
        const [ping] = socket.took('ping');
        ok(ping, 'is asked');
        socket.say({ type: 'error', id: ping.id, code: 'rate_limited', message: 'no' });
    }
    equal(client.state, 'open', 'but is there');
    client.close();
});

test('lag and metrics', async (clock) => {
    const { client, socket } = await connected({ reportMetrics: true });
    const trip = async (ms) => {
        const promise = client.ping();
        const [{ id }] = socket.took('ping');
        await clock.advance(ms);
        socket.say({ type: 'pong', id, server_time: clock.at(0) });
        return promise;
    };

    equal(client.lag(), null, 'is not known at first');
    equal([await trip(10), await trip(30), await trip(20)], [10, 30, 20], 'ping() gives the round trip');
    equal(client.lag(), 20, 'lag() their median');
    equal([await trip(40), client.lag()], [40, 25], 'of an even number too');
    for (let i = 0; i < 15; i++) {
        await trip(7);
    }
    equal(client.lag(), 7, 'of the last ones');

    await clock.advance(30000);
    socket.say({ type: 'pong', id: socket.took('ping')[0].id, server_time: clock.at(0) });
    await settle();
    equal(socket.took('client_metrics'), [{ type: 'client_metrics', lag_ms: 7 }], 'are reported');
    await clock.advance(20000);
    equal(socket.took('client_metrics'), [], 'each 30 s');
    client.close();
});

test('online, and seen', async (clock) => {
    const page = Object.assign(new EventTarget(), { hidden: false });
    const target = new EventTarget();

    globalThis.document = page;
    globalThis.addEventListener = target.addEventListener.bind(target);
    globalThis.removeEventListener = target.removeEventListener.bind(target);
    try {
        const { client, socket } = await connected();

        clock.random = 1;
        target.dispatchEvent(new Event('offline'));
        equal(socket.took('ping').length, 1, 'offline: is it there?');
        await clock.advance(10000);
        equal(client.state, 'waiting', 'it is not');
        target.dispatchEvent(new Event('online'));
        await settle();
        equal(sockets.length, 2, 'online: an attempt at once');
        lastSocket().end(1006);
        page.hidden = true;
        page.dispatchEvent(new Event('visibilitychange'));
        await settle();
        equal(sockets.length, 2, 'hidden: none');
        page.hidden = false;
        page.dispatchEvent(new Event('visibilitychange'));
        await settle();
        equal(sockets.length, 3, 'seen again: an attempt at once');
        lastSocket().establish();
        await settle();
        page.dispatchEvent(new Event('visibilitychange'));
        target.dispatchEvent(new Event('online'));
        equal(lastSocket().took('ping').length, 1, 'or a ping, when it seems to be open');
        client.close();
        target.dispatchEvent(new Event('online'));
        await settle();
        equal(sockets.length, 3, 'and nothing after close()');
    } finally {
        delete globalThis.document;
        delete globalThis.addEventListener;
        delete globalThis.removeEventListener;
    }
});

test('requests', async (clock) => {
    const { client, socket } = await connected();
    const stats = client.stats();
    const presence = client.presence(channel);
    const next = client.presence('task:1');
    await settle();
    const [{ id: first }] = socket.took('get_stats');
    const asked = socket.took('presence');
    const [{ id: second }] = asked;

    equal(asked.map((m) => m.channel), [channel], 'name their channel; of presence there is one at a time');
    socket.say({ type: 'presence', id: second, channel, users: [] }, { type: 'stats', id: first, queued: 0 });
    equal([(await stats).queued, (await presence).users], [0, []], 'answers are matched by id');

    await settle();
    socket.say({ type: 'presence', id: socket.took('presence')[0].id, channel: 'task:1', users: [1] });
    equal((await next).users, [1], 'and then the next');

    const refused = client.presence(channel);
    await settle();
    socket.say({ type: 'error', id: socket.took('presence')[0].id, code: 'not_allowed', message: 'no' });
    equal(await refused.catch(({ code, message }) => [code, message]), ['not_allowed', 'no'], 'a refusal rejects');

    const late = client.stats().catch(({ code }) => code);
    await clock.advance(10000);
    equal(await late, 'timeout', 'no answer rejects');
    socket.say({ type: 'stats', id: socket.took('get_stats')[0].id });
    ok(true, 'and may come later');

    const lost = client.stats().catch(({ code }) => code);
    socket.end(1006);
    equal(await lost, 'disconnected', 'so does the end of the connection');

    const queued = client.stats();
    await clock.advance(1000);
    equal(lastSocket().sent, [], 'without a connection they wait');
    lastSocket().establish();
    lastSocket().say({ type: 'stats', id: lastSocket().took('get_stats')[0].id, queued: 1 });
    equal((await queued).queued, 1, 'for one');

    const ended = client.stats().catch(({ code }) => code);
    client.close();
    equal(await ended, 'closed', 'close() rejects');
    equal(await client.stats().catch(({ code }) => code), 'closed', 'now and later');
});

test('an error that answers nothing', async () => {
    const { client, socket } = await connected();

    socket.say({ type: 'error', code: 'malformed_json', message: 'no' });
    equal([client.counters.errors, client.state], [1, 'open'], 'is counted');
    client.close();
});

test('many subscriptions', async (clock) => {
    const { client } = make();

    for (let i = 0; i < 200; i++) {
        client.subscribe(`project:${i}`, { onEvent: () => {} });
    }
    client.connect();
    await settle();
    lastSocket().establish();
    equal(lastSocket().took('subscribe').length, 64, 'are not asked for all at once');
    await clock.advance(1000);
    equal(lastSocket().took('subscribe').length, 40, 'but so many a second');
    await clock.advance(2500);
    equal(lastSocket().took('subscribe').length, 96, 'until all are');
    client.close();
    equal(clock.timers.size, 0, 'or it is closed');
});

test('before connect()', async () => {
    const { client } = make();
    const subscription = client.project('1', { onEvent: () => {} });

    client.connect();
    await settle();
    lastSocket().establish();
    await settle();
    lastSocket().confirm('project:1', { offset: 3 });
    equal((await subscription.ready).offset, 3, 'one may subscribe');
    client.close();
});

run();
