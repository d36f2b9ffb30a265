// live.mjs: the client against a real Hive (t/realtime/client.t), which tells
// it what to do, a line of JSON each, and reads lines of JSON:
//
//     live.mjs URL TOKEN CHANNEL [OPTIONS]
//     > {"until": 12}                 what is seen so far, once offset 12 is
//                                     or the subscription has ended
//     > {"call": "stats", "args": []} what a method gives
//     > {"quit": true}
//
// Every message of the server is held against web/asyncapi.json.

import { createInterface } from 'node:readline';

import { HiveClient } from './hive.mjs';
import { checkMessage } from './schema.mjs';
import { WebSocket } from './websocket.mjs';

const [url, token, channel, options = '{}'] = process.argv.slice(2);
const { subscribe, syncAtOnce, ...more } = JSON.parse(options);
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);
const events = [];
const gaps = [];
const own = [];
const states = [];
const wrong = [];
let waiting = [];
let ended = null;

setTimeout(() => {
    say({ failed: 'not done after 100 s' });
    process.exit(2);
}, 100000).unref();

// What arrives is looked at before the client has it.
class Watched extends WebSocket {
    #handler = null;

    constructor(...args) {
        super(...args);
        Object.defineProperty(this, 'onmessage', {
            get: () => ({ data }) => {
                wrong.push(...checkMessage(JSON.parse(data)));
                this.#handler?.({ data });
            },
            set: (handler) => {
                this.#handler = handler;
            },
        });
    }
}

const client = new HiveClient({
    url, WebSocket: Watched, backoff: { min: 20, max: 500 }, getToken: () => token,
    onState: (state, { error }) => states.push(error ? `${state} ${error.code}` : state),
    onEvent: ({ type, data }) => own.push({ type, data }), ...more,
});
const subscription = client.subscribe(channel, {
    onEvent: (event) => {
        events.push(event);
        check();
    },
    onGap: (gap) => gaps.push(gap),
    onError: (error) => {
        ended = error.code;
        check();
    },
    ...subscribe,
});

function check() {
    waiting = waiting.filter((offset) => {
        if (subscription.offset < offset && ended === null) {
            return true;
        }
        say({ offset: subscription.offset, epoch: subscription.epoch,
            events: events.map(({ type, offset: last, first = last, data }) => ({ type, first, last, data })),
            gaps, own, ended, states, wrong, counters: client.counters });
        return false;
    });
}

createInterface({ input: process.stdin }).on('line', async (line) => {
    const { until, call, args, quit } = JSON.parse(line);

    if (until !== undefined) {
        waiting.push(until);
        check();
    } else if (call !== undefined) {
        say(await client[call](...args).catch((error) => ({ failed: error.code })));
    } else if (quit) {
        client.close();
        process.exit(0);
    }
}).on('close', () => process.exit(0));

const connected = client.connect();

connected.catch((error) => say({ failed: error.code }));
if (syncAtOnce) {      // while the subscription has no answer yet
    connected.then(() => client.stateSync(channel)).then(({ offset }) => say({ state: offset }), (error) => say({ failed: error.code }));
}
subscription.ready.then(({ offset }) => say({ ready: offset }), (error) => say({ failed: error.code }));
