// order.mjs: a subscription hands on every event once and in order, whatever
// comes twice, out of turn or not at all.

import { HiveClient, HiveError, TextAccumulator } from './hive.mjs';
import { FakeSocket, equal, event, lastSocket, ok, reported, run, settle, sockets,
    test, user } from './harness.mjs';

const channel = 'project:018f0000-0000-7000-8000-000000000001';

// A client that is connected, and what it was told.
async function connected(options = {}) {
    const client = new HiveClient({ url: 'http://hive.test', token: 't0',
        WebSocket: FakeSocket, ...options });

    client.connect();
    await settle();
    lastSocket().establish();
    await settle();
    return { client, socket: lastSocket() };
}

// The same with a subscription that stands at that offset.
async function subscribed(offset, options = {}) {
    const { client, socket } = await connected();
    const seen = { offsets: [], events: [], gaps: [], confirmed: [], errors: [] };
    const subscription = client.subscribe(channel, {
        onEvent: (e) => {
            seen.events.push(e);
            seen.offsets.push(e.offset);
        },
        onGap: (gap) => seen.gaps.push(gap),
        onConfirmed: (confirmation) => seen.confirmed.push(confirmation),
        onError: (error) => seen.errors.push(error.code),
        ...options,
    });

    socket.confirm(channel, { offset });
    return { client, socket, subscription, seen };
}

async function reconnected(clock) {
    lastSocket().end(1006);
    await clock.advance(1000);
    lastSocket().establish();
    await settle();
    return lastSocket();
}

test('in order', async () => {
    const { client, socket, subscription, seen } = await subscribed(12);

    equal(await subscription.ready.then(({ offset }) => offset), 12, 'ready says where it begins');
    equal([subscription.epoch, subscription.offset], ['e1', 12], 'as the subscription does');
    socket.say(event(channel, 13), event(channel, 14));
    equal(seen.offsets, [13, 14], 'events are handed on');
    equal(subscription.offset, 14, 'and counted');
    socket.say(event(channel, 13), event(channel, 14), event(channel, 15));
    equal(seen.offsets, [13, 14, 15], 'what comes twice is dropped');
    equal(client.counters.duplicates, 2, 'and counted');
    socket.say(event(channel, 19, { first: 16 }), event(channel, 20));
    equal(seen.offsets, [13, 14, 15, 19, 20], 'one may stand for several');
    socket.say(event(channel, 22, { first: 19 }));
    equal(seen.offsets.at(-1), 22, 'also for some that were handed on');
    socket.say({ type: 'presence.join', channel, data: { user_id: user } });
    equal(seen.events.at(-1).type, 'presence.join', 'one without an offset passes');
    equal(subscription.offset, 22, 'and moves nothing');
    equal(client.counters.gaps, 0, 'no gap was seen');
    client.close();
});

test('nothing before the confirmation', async () => {
    const { client, socket } = await connected();
    const offsets = [];

    client.subscribe(channel, { onEvent: (e) => offsets.push(e.offset) });
    socket.say(event(channel, 1), event(channel, 5));
    equal(offsets, [], 'an event of an earlier subscription is not taken');
    socket.confirm(channel, { offset: 5 });
    socket.say(event(channel, 6));
    equal(offsets, [6], 'those after the confirmation are');
    client.close();
});

test('a gap', async (clock) => {
    const { client, socket, seen } = await subscribed(10);

    socket.took('subscribe');
    socket.say(event(channel, 11), event(channel, 13), event(channel, 14));
    equal(seen.offsets, [11], 'what comes after a missing one waits');
    const [again] = socket.took('subscribe');
    equal(again.since, { epoch: 'e1', offset: 11 }, 'the client asks for what is missing');
    equal(socket.took('subscribe'), [], 'once');
    equal(client.counters.gaps, 1, 'and counts');
    socket.say({ type: 'subscription_confirmed', id: again.id, channel, epoch: 'e1', offset: 11, recovered: true });
    socket.say(event(channel, 12), event(channel, 13), event(channel, 14), event(channel, 15));
    equal(seen.offsets, [11, 12, 13, 14, 15], 'all come once, in order');
    equal(seen.gaps, [], 'nobody is bothered with it');

    socket.say(event(channel, 17));
    const [second] = socket.took('subscribe');
    socket.say({ type: 'subscription_confirmed', id: second.id, channel, epoch: 'e1', offset: 15, recovered: true });
    socket.say(event(channel, 17));
    equal(socket.took('subscribe'), [], 'a server that leaves it out again is not asked at once');
    await clock.advance(300);
    equal(socket.took('subscribe').length, 1, 'but soon');
    client.close();
});

test('what was asked before counts no more', async () => {
    const { client, socket, seen } = await subscribed(10);
    const [first] = socket.took('subscribe');

    socket.say(event(channel, 12));
    const [second] = socket.took('subscribe');
    socket.say({ type: 'subscription_confirmed', id: first.id, channel, epoch: 'e0', offset: 99, recovered: false });
    socket.say(event(channel, 11), event(channel, 12));
    equal(seen.offsets, [11, 12], 'events that fit are taken meanwhile');
    socket.say({ type: 'subscription_confirmed', id: second.id, channel, epoch: 'e1', offset: 10, recovered: true });
    socket.say(event(channel, 11), event(channel, 12), event(channel, 13));
    equal(seen.offsets, [11, 12, 13], 'and not again');
    equal(seen.gaps, [], 'no gap');
    client.close();
});

test('types', async () => {
    const { client, socket, seen } = await subscribed(3, { types: ['project.*'] });

    equal(socket.took('subscribe')[0].types, ['project.*'], 'the server is told');
    socket.say(event(channel, 9), event(channel, 20), event(channel, 9));
    equal(seen.offsets, [9, 20], 'with a filter offsets are left out');
    equal(client.counters, { events: 2, duplicates: 1, gaps: 0, reconnects: 0, errors: 0 }, 'and are no gap');
    client.close();
});

test('reconnect', async (clock) => {
    const { client, seen, subscription } = await subscribed(1);

    lastSocket().say(event(channel, 2));
    let socket = await reconnected(clock);
    equal(socket.sent.find(({ type }) => type === 'subscribe').since, { epoch: 'e1', offset: 2 },
        'subscribes from where it was');
    socket.confirm(channel, { offset: 2 });
    socket.say(event(channel, 3), event(channel, 4));
    equal(seen.offsets, [2, 3, 4], 'and goes on');
    equal(seen.confirmed.length, 2, 'onConfirmed each time');

    socket = await reconnected(clock);
    socket.confirm(channel, { offset: 40, recovered: false });
    equal(seen.gaps, [{ channel, from: 4, to: 40 }], 'what cannot be had is told');
    equal(subscription.offset, 40, 'the position is the server\'s');
    socket.say(event(channel, 41));
    equal(seen.offsets.at(-1), 41, 'and events follow from there');

    socket = await reconnected(clock);
    socket.confirm(channel, { epoch: 'e2', offset: 7, recovered: false });
    socket.say(event(channel, 8));
    equal(seen.offsets.at(-1), 8, 'in a new epoch offsets begin anew');
    equal(seen.gaps.at(-1), { channel, from: 41, to: 7 }, 'after a gap');

    socket = await reconnected(clock);
    socket.confirm(channel, { epoch: 'e3', offset: 8, recovered: true });
    equal(seen.gaps.at(-1), { channel, from: 8, to: 8 }, 'another epoch is a gap, whatever it is called');
    equal(client.counters.gaps, 3, 'all are counted');
    equal(client.counters.reconnects, 4, 'so are reconnects');
    client.close();
});

test('a position of one\'s own', async () => {
    const { client, socket, seen } = await subscribed(4, { since: { epoch: 'e1', offset: 4 } });

    equal(socket.took('subscribe')[0].since, { epoch: 'e1', offset: 4 }, 'is asked for');
    socket.say(event(channel, 5));
    equal(seen.offsets, [5], 'and followed');
    client.close();
});

test('dropped', async () => {
    const { client, socket, seen, subscription } = await subscribed(4);

    socket.say({ type: 'dropped', channel, epoch: 'e1', offset: 90 }, event(channel, 91));
    equal(seen.gaps, [{ channel, from: 4, to: 90 }], 'a gap');
    equal([seen.offsets, subscription.offset], [[91], 91], 'and events follow from there');
    client.close();
});

test('state', async () => {
    const { client, socket, seen, subscription } = await subscribed(4);
    const state = client.stateSync(channel);
    const [{ id }] = socket.took('state_sync');

    socket.say({ type: 'state', id, channel, epoch: 'e1', offset: 30, data: { name: 'x' } },
        event(channel, 31));
    equal((await state).data, { name: 'x' }, 'comes');
    equal([seen.offsets, subscription.offset], [[31], 31], 'and events follow from there');
    equal([seen.gaps, client.counters.gaps], [[], 0], 'which is no gap');

    const older = client.stateSync(channel);
    socket.say({ type: 'state', id: socket.took('state_sync')[0].id, channel, epoch: 'e1', offset: 29, data: {} },
        event(channel, 30), event(channel, 31), event(channel, 32));
    await older;
    equal(seen.offsets, [31, 32], 'one that is older than what was seen changes nothing');

    const other = client.stateSync('task:1');
    socket.say({ type: 'state', id: socket.took('state_sync')[0].id, channel: 'task:1', epoch: 'e1', offset: 1, data: {} });
    await other;
    equal(socket.took('unsubscribe').map((m) => m.channel), ['task:1'],
        'without a subscription the server is told to send no events');
    client.close();
});

test('what state_sync does to a subscription', async () => {
    const { client, socket } = await connected();
    const offsets = [];
    const subscription = client.subscribe(channel, { types: ['project.*'], presence: true,
        onEvent: (e) => offsets.push(e.offset) });
    const state = client.stateSync(channel);
    const [{ id, types }] = socket.took('state_sync');

    equal(types, ['project.*'], 'it is asked for with the types');
    socket.took('subscribe');
    socket.say({ type: 'state', id, channel, epoch: 'e1', offset: 30, data: {} });
    await state;
    equal(socket.took('subscribe').map(({ since, presence }) => [since.offset, presence]), [[30, true]],
        'what it cannot say, and what it has cut off, is said again');

    const plain = client.subscribe('task:1', { onEvent: () => {} });
    const early = client.stateSync('task:1');
    socket.took('subscribe');
    socket.say({ type: 'state', id: socket.took('state_sync')[0].id, channel: 'task:1', epoch: 'e1', offset: 3, data: {} });
    await early;
    equal(socket.took('subscribe').map(({ since }) => since.offset), [3], 'or one that was not confirmed yet');
    plain.unsubscribe();

    const refused = client.stateSync(channel).catch((error) => error.code);
    socket.say({ type: 'error', id: socket.took('state_sync')[0].id, code: 'unavailable', message: 'no' });
    equal(await refused, 'unavailable', 'when it fails');
    equal(socket.took('subscribe').map(({ since }) => since.offset), [30], 'the subscription is made again');
    subscription.unsubscribe();
    client.close();
});

test('lost after all', async () => {
    const { client, socket, seen, subscription } = await subscribed(4);

    socket.say({ type: 'subscription_confirmed', channel, epoch: 'e2', offset: 2, recovered: false },
        event(channel, 3));
    equal(seen.gaps, [{ channel, from: 4, to: 2 }], 'is a gap');
    equal([seen.offsets, subscription.epoch], [[3], 'e2'], 'and events follow from there');
    client.close();
});

test('batches', async () => {
    const { client, socket, seen } = await subscribed(0);

    socket.say([event(channel, 1), event(channel, 2), event(channel, 3)]);
    equal(seen.offsets, [1, 2, 3], 'are unpacked');
    socket.say([event(channel, 4), 7, null, event(channel, 5)]);
    equal([seen.offsets.length, client.counters.errors], [5, 2], 'what is no message is counted');
    socket.onmessage({ data: '{"type":' });
    equal(client.counters.errors, 3, 'as is what is no JSON');
    client.close();
});

test('a handler that closes', async () => {
    const offsets = [];
    const { client, socket } = await subscribed(0, {
        onEvent: (e) => {
            offsets.push(e.offset);
            if (e.offset === 2) {
                client.close();
            }
        },
    });

    socket.say([event(channel, 1), event(channel, 2), event(channel, 3)]);
    equal(offsets, [1, 2], 'gets no more');
});

test('a handler that throws', async () => {
    const offsets = [];
    const { client, socket } = await subscribed(0, {
        onEvent: (e) => {
            offsets.push(e.offset);
            throw new Error('mine');
        },
    });

    socket.say(event(channel, 1), event(channel, 2));
    equal(offsets, [1, 2], 'gets the next all the same');
    equal(reported.splice(0).map((error) => error.message), ['mine', 'mine'], 'and its error is reported');
    client.close();
});

test('iterator', async () => {
    const { client, socket, subscription } = await subscribed(0, { onEvent: undefined });
    const offsets = [];
    const read = (async () => {
        for await (const e of subscription) {
            offsets.push(e.offset);
        }
        return 'done';
    })();

    socket.say(event(channel, 1));
    await settle();
    socket.say(event(channel, 2), event(channel, 3));
    await settle();
    equal(offsets, [1, 2, 3], 'gives the events');
    const left = subscription.unsubscribe();
    equal(await read, 'done', 'ends with the subscription');
    socket.say({ type: 'unsubscribed', id: socket.took('unsubscribe')[0].id, channel, reason: 'requested' });
    await left;
    ok(true, 'which the server confirms');
    socket.say(event(channel, 4));
    equal(offsets, [1, 2, 3], 'nothing comes after that');
    client.close();
});

test('iterator, late', async () => {
    const { client, socket, subscription } = await subscribed(0, { onEvent: undefined });

    socket.say(event(channel, 1), event(channel, 2));
    await settle();
    for await (const e of subscription) {
        if (e.offset === 2) {
            ok(true, 'what came before the loop began was kept');
            break;
        }
    }
    const next = subscription[Symbol.asyncIterator]();
    const both = Promise.all([next.next(), next.next(), next.next()]);
    socket.say(event(channel, 3), event(channel, 4), event(channel, 5));
    equal((await both).map(({ value }) => value.offset), [3, 4, 5], 'and another loop goes on');
    client.close();
    equal((await next.next()).done, true, 'until the client is closed');
});

test('iterator, far behind', async () => {
    const { client, socket, subscription } = await subscribed(0, { onEvent: undefined });

    for (let i = 1; i <= 10001; i++) {
        socket.say(event(channel, i));
    }
    const error = await subscription[Symbol.asyncIterator]().next().catch((e) => e);
    equal(error.code, 'overflow', 'is told so, and no memory is filled');
    client.close();
});

test('access is withdrawn', async () => {
    const { client, socket, subscription, seen } = await subscribed(0);
    const reader = subscription[Symbol.asyncIterator]();

    socket.took('unsubscribe');
    socket.say({ type: 'unsubscribed', channel, reason: 'access_withdrawn' }, event(channel, 1));
    equal(seen.errors, ['access_withdrawn'], 'onError is told');
    equal(await reader.next().catch((error) => error.code), 'access_withdrawn', 'so is an iterator');
    equal(seen.offsets, [], 'and nothing follows');
    equal(socket.sent.filter(({ type }) => type === 'unsubscribe'), [], 'the server knows already');
    client.subscribe(channel, { onEvent: () => {} });
    ok(true, 'one may ask again');
    client.close();
});

test('refusals', async (clock) => {
    const { client, socket } = await connected();
    const errors = [];
    const refuse = (code) => {
        const [{ id }] = socket.took('subscribe');
        socket.say({ type: 'error', id, code, message: 'because', channel });
    };
    const subscription = client.subscribe(channel, { onError: (e) => errors.push(e), onEvent: () => {} });

    refuse('rate_limited');
    await clock.advance(250);
    refuse('unavailable');
    await clock.advance(500);
    equal(errors, [], 'those that pass are tried again');
    refuse('not_allowed');
    equal(errors.map(({ code, message }) => [code, message]), [['not_allowed', 'because']], 'others are told');
    const error = await subscription.ready.catch((e) => e);
    ok(error instanceof HiveError && error.code === 'not_allowed', 'and by ready');
    await clock.advance(20000);
    equal(socket.took('subscribe'), [], 'and not tried again');

    const dropped = client.subscribe('task:1', { onEvent: () => {} });
    const taken = client.subscribe('task:2', { onEvent: () => {} });
    socket.confirm('task:2');
    socket.took('subscribe');
    socket.say({ type: 'error', code: 'rate_limited', message: 'one was dropped' });
    await clock.advance(250);
    equal(socket.took('subscribe').map((m) => m.channel), ['task:1'], 'of what may have been dropped too');
    dropped.unsubscribe();
    taken.unsubscribe();

    const silent = client.subscribe(channel, { onEvent: () => {} });
    socket.took('subscribe');
    await clock.advance(10500);
    equal(socket.took('subscribe').length, 1, 'no answer is one that passes');
    silent.unsubscribe();
    equal(await silent.ready.catch((e) => e.code), 'unsubscribed', 'one that was left is not ready');
    client.close();
});

test('one a channel', async () => {
    const { client, socket } = await connected();
    const project = client.project('1', { presence: true });
    const task = client.task('2');

    equal([project.channel, task.channel], ['project:1', 'task:2'], 'project() and task() name channels');
    equal(socket.took('subscribe').map((m) => [m.channel, m.presence]), [['project:1', true], ['task:2', undefined]],
        'and subscribe');
    let message = '';
    try {
        client.project('1');
    } catch (error) {
        message = error.message;
    }
    ok(/already/.test(message), 'a second is refused');
    client.close();
});

test('the user\'s own channel', async () => {
    const events = [];
    const { client, socket } = await connected({ onEvent: (e) => events.push(e.type) });

    socket.say({ type: 'user.notice', channel: `user:${user}`, data: {} },
        { type: 'project.updated', channel, offset: 3, data: {} });
    equal(events, ['user.notice'], 'is handed on without a subscription, and no other');
    client.close();
});

test('storage', async (clock) => {
    const kept = new Map();
    const storage = {
        getItem: (key) => kept.get(key) ?? null,
        setItem: (key, value) => kept.set(key, value),
        removeItem: (key) => kept.delete(key),
    };
    const first = await connected({ storage });

    first.client.subscribe(channel, { onEvent: () => {} });
    first.socket.confirm(channel, { offset: 4 });
    first.socket.say(event(channel, 5));
    await clock.advance(1000);
    equal([...kept.values()], ['{"epoch":"e1","offset":5}'], 'a position is kept');
    first.socket.say(event(channel, 6));
    first.client.close();
    equal([...kept.values()], ['{"epoch":"e1","offset":6}'], 'and the last one by close()');

    const second = await connected({ storage });
    const subscription = second.client.subscribe(channel, { onEvent: () => {} });
    equal(second.socket.took('subscribe')[0].since, { epoch: 'e1', offset: 6 }, 'another client goes on there');
    subscription.unsubscribe();
    equal(kept.size, 0, 'unsubscribe() forgets it');
    second.client.close();

    kept.set(`hive.position.${channel}`, '{');
    const third = await connected({ storage });
    third.client.subscribe(channel);
    equal(third.socket.took('subscribe')[0].since, undefined, 'what is no position is none');
    third.client.close();
});

// A server that loses, repeats, compacts and goes away by chance: every
// offset comes once, in order, by itself or as part of one that stands for
// several.
test('by chance', async (clock) => {
    let seed = 20261129;
    const random = () => {
        seed = (seed * 1103515245 + 12345) % 2147483648;
        return seed / 2147483648;
    };
    const chance = (share) => random() < share;
    const covered = [];
    const gaps = [];
    let head = 0;
    let at = 0;
    let socket;
    let served = new Set();

    clock.random = random;
    const client = new HiveClient({ url: 'ws://hive.test/ws', token: 't', WebSocket: FakeSocket });
    const subscription = client.subscribe(channel, {
        since: { epoch: 'e1', offset: 0 },
        onEvent: (e) => {
            for (let i = e.first ?? e.offset; i <= e.offset; i++) {
                covered.push(i);
            }
        },
        onGap: (gap) => gaps.push(gap),
    });

    client.connect();
    for (let turn = 0; turn < 4000; turn++) {
        await settle();
        if (lastSocket() !== socket) {
            socket = lastSocket();
            served = new Set();
            at = null;
            socket.establish();
            continue;
        }
        const asked = socket.sent.filter((m) => m.type === 'subscribe' && !served.has(m.id)).at(-1);
        if (asked !== undefined) {
            served.add(asked.id);
            at = asked.since.offset;
            socket.say({ type: 'subscription_confirmed', id: asked.id, channel, epoch: 'e1', offset: at, recovered: true });
        }
        head += chance(0.6) ? 1 : 0;
        while (at !== null && at < head && chance(0.8)) {
            if (chance(0.03)) {
                at++;                                // lost on its way
            } else if (head - at > 2 && chance(0.1)) {
                socket.say(event(channel, at + 3, { first: at + 1 }));
                at += 3;
            } else {
                socket.say(event(channel, ++at));
                if (chance(0.05)) {
                    socket.say(event(channel, at));  // twice
                }
            }
        }
        if (chance(0.02)) {
            socket.end([1001, 1006, 1013][Math.floor(random() * 3)]);
        }
        await clock.advance(chance(0.2) ? 3000 : 1);
    }
    // and then it behaves
    for (let turn = 0; turn < 20; turn++) {
        await clock.advance(5000);
        if (lastSocket() !== socket) {
            socket = lastSocket();
            socket.establish();
        }
        const asked = socket.sent.filter((m) => m.type === 'subscribe' && !served.has(m.id)).at(-1);
        if (asked !== undefined) {
            served.add(asked.id);
            at = asked.since.offset;
            socket.say({ type: 'subscription_confirmed', id: asked.id, channel, epoch: 'e1', offset: at, recovered: true });
        }
        at ??= head;
        head++;
        while (at < head) {
            socket.say(event(channel, ++at));
        }
    }
    equal(subscription.offset, head, 'it has arrived');
    equal(covered.findIndex((offset, i) => offset !== i + 1), -1, `${head} offsets, each once, in order`);
    equal(covered.length, head, 'and none is missing');
    ok(sockets.length > 20, `over ${sockets.length} connections`);
    ok(client.counters.gaps > 20, `and ${client.counters.gaps} gaps`);
    equal(gaps, [], 'none of which was lost');
    client.close();
});

test('TextAccumulator', async () => {
    const texts = new TextAccumulator();
    const delta = (text, position, id = 'm1') => texts.add({ type: 'message.delta', channel: 'conversation:1',
        data: { id, text, position } });

    equal(delta('Ça', 0), 'Ça', 'begins');
    equal(delta(' va', 3), 'Ça va', 'goes on: positions are bytes');
    equal(delta(' 🐝', 6), 'Ça va 🐝', 'of any text');
    equal(delta('!', 11), 'Ça va 🐝!', 'after it too');
    equal(delta('va 🐝! Oui', 4), 'Ça va 🐝! Oui', 'what it has is not taken twice');
    equal(delta('va', 4), 'Ça va 🐝! Oui', 'nor all of it');
    equal(delta('\ufeff', 16), 'Ça va 🐝! Oui\ufeff', 'a byte order mark is a character');
    equal(delta('x', 0, 'm2'), 'x', 'another text');
    equal(texts.text('m1'), 'Ça va 🐝! Oui\ufeff', 'is another');
    equal(delta('lost', 99), null, 'a gap');
    equal([texts.text('m1'), delta('more', 103)], [null, null], 'is not bridged');
    equal(delta('All of it', 0), 'All of it', 'until it begins anew');
    equal(delta('late', 7, 'm3'), null, 'one that is met in the middle neither');
    texts.delete('m1');
    equal(texts.text('m1'), null, 'one can be forgotten');
});

run();
