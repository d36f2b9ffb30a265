// hive-client.js: Hive's events, in browsers and in Node 18 or later.
//
//     import { HiveClient } from './hive-client.js';
//
//     const hive = new HiveClient({ url: 'https://hive.example.org', getToken });
//     const project = hive.project(id, { onEvent: (event) => show(event) });
//     hive.connect();
//
// A subscription gets every event of its channel once and in order, however
// often the connection breaks: it knows the offset of the last one it has
// handed on, drops what it has seen, and asks for what it has missed. What
// cannot be had again is told by onGap: look at the thing anew (stateSync).
//
// What comes from the server is handed on with the names it has there
// (web/asyncapi.json); what is the client's own is in camelCase.

/**
 * A place in the stream of a channel. An offset means nothing without its
 * epoch: a database that was restored begins another one.
 * @typedef {object} Position
 * @property {string} epoch
 * @property {number} offset
 */

/**
 * Something that happened. With `first` it stands for all offsets from there
 * to `offset`; without an offset it is kept nowhere, and comes once or never.
 * @typedef {object} HiveEvent
 * @property {string} type
 * @property {string} channel
 * @property {number} [offset]
 * @property {number} [first]
 * @property {any} data
 * @property {string} [timestamp]
 */

/**
 * @typedef {object} Confirmation
 * @property {'subscription_confirmed'} type
 * @property {string} channel
 * @property {string} [resource_type]
 * @property {string} [resource_id]
 * @property {string} epoch
 * @property {number} offset
 * @property {boolean} recovered
 */

/**
 * Events after `from`, up to `to`, that this subscription will never get.
 * @typedef {object} Gap
 * @property {string} channel
 * @property {number} from
 * @property {number} to
 */

/**
 * @typedef {object} ChannelState
 * @property {'state'} type
 * @property {string} channel
 * @property {string} epoch
 * @property {number} offset
 * @property {any} data
 */

/**
 * @typedef {object} Presence
 * @property {'presence'} type
 * @property {string} channel
 * @property {{user_id: string, connections: number}[]} users
 */

/**
 * @typedef {object} ConnectionStats
 * @property {'stats'} type
 * @property {string} connection_id
 * @property {string} connected_at
 * @property {{channel: string, offset: number, live: boolean}[]} subscriptions
 * @property {number} messages_in
 * @property {number} messages_out
 * @property {number} bytes_in
 * @property {number} bytes_out
 * @property {number} queued
 */

/**
 * idle: connect() was not called. waiting: for the next attempt. failed: it
 * has given up, because the server does not take the credentials. closed: by
 * close().
 * @typedef {'idle' | 'connecting' | 'open' | 'waiting' | 'failed' | 'closed'} State
 */

/**
 * @typedef {object} StateDetail
 * @property {HiveError} [error] why it is waiting or failed
 * @property {number} [delayMs] waiting: until the next attempt
 */

/**
 * @typedef {object} SubscribeOptions
 * @property {string[]} [types] only these: `project.updated`, `task.*`
 * @property {Position} [since] where to go on; else from now
 * @property {boolean} [presence] presence.join and presence.leave as well
 * @property {(event: HiveEvent) => void} [onEvent] without it events wait for
 *     the subscription's iterator
 * @property {(confirmation: Confirmation) => void} [onConfirmed] at first, and
 *     after every reconnect
 * @property {(gap: Gap) => void} [onGap]
 * @property {(error: HiveError) => void} [onError] the server has ended the
 *     subscription: not_allowed, access_withdrawn, too_many_subscriptions
 */

/**
 * What is used of a WebSocket: the browser's, Node's, or that of `ws`.
 * @typedef {object} Socket
 * @property {number} readyState
 * @property {any} onopen
 * @property {any} onmessage
 * @property {any} onclose
 * @property {any} onerror
 * @property {(text: string) => void} send
 * @property {(code?: number, reason?: string) => void} close
 */

/**
 * @typedef {object} HiveClientOptions
 * @property {string | URL} [url] of the server or of its /ws; in a browser it
 *     may be relative, or left out: where the page is from
 * @property {string} [token] an access token. It is not renewed
 * @property {() => string | Promise<string>} [getToken] asked at each attempt
 *     to connect, and some time before the token expires
 * @property {() => string | Promise<string>} [getTicket] asked at each attempt
 *     to connect, for a ticket of POST /api/v1/auth/ticket
 * @property {number} [batchMs] events may wait that long to come together
 * @property {new (url: string, protocols?: string[]) => Socket} [WebSocket]
 * @property {{min?: number, max?: number}} [backoff] in ms; 250 and 15000
 * @property {(state: State, detail: StateDetail) => void} [onState]
 * @property {(event: HiveEvent) => void} [onEvent] what comes on the channel
 *     of the user (`user:<id>`) without a subscription
 * @property {{getItem(key: string): string | null, setItem(key: string,
 *     value: string): void, removeItem(key: string): void}} [storage] keeps
 *     positions, so that a page goes on where it was: localStorage. Only for
 *     those that keep what they have made of the events as well
 * @property {boolean} [reportMetrics] tells the server of lag and of the
 *     screen's refresh rate, each 30 s
 */

/**
 * @typedef {object} Counters
 * @property {number} events handed on
 * @property {number} duplicates dropped, since they had been handed on
 * @property {number} gaps offsets that were missing: asked for again, or lost
 * @property {number} reconnects connections after the first
 * @property {number} errors of the server that answer nothing we asked, and
 *     messages that are none
 */

/**
 * A message that waits for its answer.
 * @typedef {object} Pending
 * @property {Record<string, any>} message
 * @property {boolean} sent
 * @property {number} sentAt
 * @property {(reply: any) => void} onReply
 * @property {(error: HiveError) => void} onError
 * @property {ReturnType<typeof setTimeout>} timer
 */

/**
 * What a subscription needs of its client.
 * @typedef {object} Link
 * @property {(message: Record<string, any>, onReply: (reply: any) => void,
 *     onError: (error: HiveError) => void) => () => void} ask sends, and
 *     returns what forgets the answer
 * @property {(subscription: Subscription) => void} forget there is no such
 *     subscription any more
 * @property {(channel: string) => Promise<void>} leave tells the server
 * @property {(subscription: Subscription) => void} moved
 * @property {(refusals: number) => number} delay
 * @property {Counters} counters
 */

const CONNECT_MS = 10000;     // from an attempt to the server's first message
const REQUEST_MS = 10000;     // for an answer
const STABLE_MS = 10000;      // after that the back-off begins anew
const RELOAD_MS = 500;        // jitter after 1001
const BUSY_MS = 1000;         // at least, after 1013
const RENEW_MS = 60000;       // before a token expires
const RENEW_AGAIN_MS = 5000;  // at least, after a renewal that failed
const METRICS_MS = 30000;
const SAVE_MS = 1000;         // between writes of a position
const TIMER_MAX = 2 ** 31 - 1;
const ROUND_TRIPS = 15;       // that the median is taken of
const BURST = 64;             // subscriptions that are asked for at once,
const PACE_MS = 25;           // and the time between those that follow
const QUEUE_MAX = 10000;      // events that an iterator may be behind

/** Refusals that pass: the subscription asks again. */
const PASSING = new Set(['rate_limited', 'unavailable', 'timeout']);

/**
 * A failure with the server's code, or one of the client's own: `timeout`,
 * `disconnected`, `closed`, `unsubscribed`, `access_withdrawn`, `no_answer`,
 * `overflow`, `connection_lost`, `credentials`.
 */
export class HiveError extends Error {
    /**
     * @param {string} code
     * @param {string} [message]
     * @param {unknown} [cause]
     */
    constructor(code, message, cause) {
        super(message ?? code);
        this.name = 'HiveError';
        this.code = code;
        this.cause = cause;
    }
}

/**
 * What somebody else's function throws is their error, told as such, and not
 * the end of our stream.
 * @template T
 * @param {((value: T) => void) | undefined} fn
 * @param {T} value
 */
function tell(fn, value) {
    try {
        fn?.(value);
    } catch (error) {
        if (typeof reportError === 'function') {
            reportError(error);
        } else {
            queueMicrotask(() => {
                throw error;
            });
        }
    }
}

/**
 * A promise with its two ends, which nobody has to look at.
 * @template T
 * @returns {{promise: Promise<T>, resolve: (value: T) => void, reject: (error: HiveError) => void}}
 */
function makeDeferred() {
    /** @type {(value: T) => void} */
    let resolve = () => {};
    /** @type {(error: HiveError) => void} */
    let reject = () => {};
    const promise = new Promise((onValue, onError) => {
        resolve = onValue;
        reject = onError;
    });

    promise.catch(() => {});
    return { promise: /** @type {Promise<T>} */ (promise), resolve, reject };
}

/**
 * The events of a subscription, for one `for await`.
 * @implements {AsyncIterableIterator<HiveEvent>}
 */
class Reader {
    /** @type {HiveEvent[]} */
    #queue = [];
    /** @type {ReturnType<typeof makeDeferred<void>> | null} */
    #wake = null;
    #ended = false;
    /** @type {HiveError | null} */
    #error = null;
    /** @type {(reader: Reader) => void} */
    #leave;

    /** @param {(reader: Reader) => void} leave */
    constructor(leave) {
        this.#leave = leave;
    }

    /** @param {HiveEvent} event */
    push(event) {
        if (this.#queue.length >= QUEUE_MAX) {
            this.#queue = [];
            this.end(new HiveError('overflow', `${QUEUE_MAX} events were not read`));
            this.#leave(this);
            return;
        }
        this.#queue.push(event);
        this.#signal();
    }

    /** @param {HiveError | null} error */
    end(error) {
        this.#ended = true;
        this.#error = error;
        this.#signal();
    }

    #signal() {
        this.#wake?.resolve();
        this.#wake = null;
    }

    /** @returns {Promise<IteratorResult<HiveEvent, undefined>>} */
    async next() {
        while (this.#queue.length === 0 && !this.#ended) {
            this.#wake ??= makeDeferred();
            await this.#wake.promise;
        }

        const event = this.#queue.shift();
        const error = this.#error;

        if (event !== undefined) {
            return { done: false, value: event };
        }
        this.#error = null;
        if (error !== null) {
            throw error;
        }
        return { done: true, value: undefined };
    }

    /** @returns {Promise<IteratorResult<HiveEvent, undefined>>} */
    async return() {
        this.#queue = [];
        this.end(null);
        this.#leave(this);
        return { done: true, value: undefined };
    }

    [Symbol.asyncIterator]() {
        return this;
    }
}

/**
 * One channel of a client, made by its subscribe().
 *
 *     for await (const event of hive.task(id)) { ... }
 *
 * An iterator ends with the subscription: with unsubscribe() and close(), or
 * by throwing what onError is told. One that is 10000 events behind throws
 * `overflow`.
 */
export class Subscription {
    /** @type {string} */
    channel;
    /**
     * Of the last event that was handed on; null before the server has
     * confirmed.
     * @type {number | null}
     */
    offset = null;
    /** @type {string | null} */
    epoch = null;
    /**
     * Fulfilled by the first confirmation.
     * @type {Promise<Confirmation>}
     */
    ready;

    /** @type {Link} */
    #link;
    /** @type {SubscribeOptions} */
    #options;
    /** @type {ReturnType<typeof makeDeferred<Confirmation>>} */
    #ready = makeDeferred();
    /** @type {Set<Reader>} */
    #readers = new Set();
    /** @type {Reader | null} */
    #waiting = null;
    /** @type {(() => void) | null} */
    #forget = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #timer;
    /** @type {number | null} */
    #gapAt = null;
    #refusals = 0;
    #ended = false;

    /**
     * @param {Link} link
     * @param {string} channel
     * @param {SubscribeOptions} options
     * @param {Position | undefined} since
     */
    constructor(link, channel, options, since) {
        this.#link = link;
        this.#options = options;
        this.channel = channel;
        this.ready = this.#ready.promise;
        if (since !== undefined) {
            this.epoch = since.epoch;
            this.offset = since.offset;
        }
        if (options.onEvent === undefined) {
            this.#waiting = this.#addReader();
        }
    }

    /** Fulfilled when the server knows of it. Nothing is handed on any more. */
    async unsubscribe() {
        if (!this.#ended) {
            this._end(null);
            this.#link.forget(this);
            await this.#link.leave(this.channel);
        }
    }

    /** @returns {AsyncIterableIterator<HiveEvent>} */
    [Symbol.asyncIterator]() {
        const reader = this.#waiting ?? this.#addReader();

        this.#waiting = null;
        return reader;
    }

    #addReader() {
        const reader = new Reader((left) => this.#readers.delete(left));

        if (this.#ended) {
            reader.end(null);
        } else {
            this.#readers.add(reader);
        }
        return reader;
    }

    // ---- for the client ----

    /** Subscribes, from where it is. What was asked before counts no more. */
    _resume() {
        /** @type {Record<string, any>} */
        const message = { type: 'subscribe', channel: this.channel };
        const { types, presence } = this.#options;

        this._pause();
        if (this.epoch !== null && this.offset !== null) {
            message.since = { epoch: this.epoch, offset: this.offset };
        }
        if (types !== undefined) {
            message.types = types;
        }
        if (presence) {
            message.presence = true;
        }
        this.#forget = this.#link.ask(message, (reply) => {
            this.#forget = null;
            this._confirmed(reply);
        }, (error) => this._refused(error));
    }

    /** @param {number} ms */
    _resumeIn(ms) {
        this._pause();
        this.#timer = setTimeout(() => this._resume(), ms);
    }

    /** The connection is gone. */
    _pause() {
        clearTimeout(this.#timer);
        this.#timer = undefined;
        this.#forget?.();
        this.#forget = null;
    }

    /**
     * Unasked it comes too, when what was to follow is lost after all.
     * @param {Confirmation} reply
     */
    _confirmed(reply) {
        const from = this.offset;
        const lost = from !== null
            && (!reply.recovered || reply.epoch !== this.epoch);

        if (this.#gapAt !== from) {
            this.#refusals = 0;
        }
        // Recovered, it says where we were when we asked: we may be further.
        if (from === null || lost) {
            this.#move(reply.epoch, reply.offset);
        }
        tell(this.#options.onConfirmed, reply);
        this.#ready.resolve(reply);
        if (lost && !this.#ended) {
            this.#missed(from, reply.offset);
        }
    }

    /**
     * Not taken, or taken back: asks again when that may help.
     * @param {HiveError} error
     */
    _refused(error) {
        if (error.code === 'superseded') {
            return;     // what took its place is answered
        }
        this._pause();
        if (error.code === 'disconnected' || error.code === 'closed') {
            return;
        }
        if (!PASSING.has(error.code)) {
            this._end(error);
            return;
        }
        this.#resumeLater();
    }

    /**
     * The server has dropped a message, and cannot say which.
     * @param {HiveError} error
     */
    _limited(error) {
        if (this.#forget !== null) {
            this._refused(error);
        }
    }

    #resumeLater() {
        this._resumeIn(this.#link.delay(this.#refusals++));
    }

    /** @param {HiveEvent} event */
    _receive(event) {
        if (event.offset === undefined) {
            this.#deliver(event);
            return;
        }
        if (this.offset === null) {
            // Not confirmed: it is from before, or comes again.
            return;
        }
        if (event.offset <= this.offset) {
            this.#link.counters.duplicates++;
            return;
        }
        if (this.#options.types === undefined
            && (event.first ?? event.offset) > this.offset + 1) {
            this.#skipped();
            return;
        }
        this.#move(this.epoch, event.offset);
        this.#deliver(event);
    }

    /** An offset is missing: all from there are asked for, and come again. */
    #skipped() {
        if (this.#forget !== null || this.#timer !== undefined) {
            return;
        }
        this.#link.counters.gaps++;
        if (this.#gapAt === this.offset) {
            // Asking has not helped: not at once again.
            this.#resumeLater();
        } else {
            this.#gapAt = this.offset;
            this._resume();
        }
    }

    /**
     * The server has left out what is before that.
     * @param {Position} position
     */
    _dropped(position) {
        const from = this.offset;

        if (from === null) {
            return;
        }
        if (position.epoch !== this.epoch || position.offset > from) {
            this.#move(position.epoch, position.offset);
            this.#missed(from, position.offset);
        }
    }

    /**
     * What to say with state_sync, which takes the subscription's place on the
     * server's side.
     */
    get _syncOptions() {
        const { types } = this.#options;

        return types === undefined ? {} : { types };
    }

    /**
     * The state of the channel as of that was asked for: events follow from
     * there. What state_sync cannot say is said again, and so is what it
     * may have left without an answer.
     * @param {Position} position
     */
    _synced(position) {
        if (position.epoch !== this.epoch || this.offset === null
            || position.offset > this.offset) {
            this.#move(position.epoch, position.offset);
        }
        if (this.#options.presence || this.#forget !== null) {
            this._resume();
        }
    }

    /** @param {HiveError | null} error */
    _end(error) {
        if (this.#ended) {
            return;
        }
        this.#ended = true;
        this._pause();
        this.#ready.reject(error ?? new HiveError('unsubscribed'));
        for (const reader of this.#readers) {
            reader.end(error);
        }
        this.#readers.clear();
        if (error !== null) {
            this.#link.forget(this);
            tell(this.#options.onError, error);
        }
    }

    /**
     * @param {number} from
     * @param {number} to
     */
    #missed(from, to) {
        this.#link.counters.gaps++;
        tell(this.#options.onGap, { channel: this.channel, from, to });
    }

    /**
     * @param {string | null} epoch
     * @param {number} offset
     */
    #move(epoch, offset) {
        this.epoch = epoch;
        this.offset = offset;
        this.#link.moved(this);
    }

    /** @param {HiveEvent} event */
    #deliver(event) {
        if (this.#ended) {
            return;
        }
        this.#link.counters.events++;
        for (const reader of this.#readers) {
            reader.push(event);
        }
        tell(this.#options.onEvent, event);
    }
}

/**
 * A connection that is kept. All that it promises is in the options and in
 * what the methods say; a client may be used before connect() is called.
 */
export class HiveClient {
    /** @type {Counters} */
    counters = { events: 0, duplicates: 0, gaps: 0, reconnects: 0, errors: 0 };
    /**
     * What the server said first on this connection.
     * @type {Record<string, any> | null}
     */
    connection = null;

    /** @type {HiveClientOptions} */
    #options;
    /** @type {URL} */
    #url;
    /** @type {new (url: string, protocols?: string[]) => Socket} */
    #WebSocket;
    /** @type {{min: number, max: number}} */
    #backoff;
    /** @type {Link} */
    #link;

    /** @type {State} */
    #state = 'idle';
    /** @type {Socket | null} */
    #socket = null;
    /** Which attempt is under way; what belongs to an older one is ignored. */
    #turn = 0;
    /** Attempts since a connection was stable. */
    #attempts = 0;
    /** @type {ReturnType<typeof makeDeferred<void>>} */
    #connected = makeDeferred();
    /** Whether it has ever been open. */
    #known = false;

    /** @type {string | null} */
    #token = null;
    /** @type {{token: string | null, error: HiveError} | null} */
    #refused = null;
    /** The server's clock less ours, and until when it lets us stay; ms. */
    #skew = 0;
    #expiresAt = 0;

    #heartbeat = { interval_ms: 25000, timeout_ms: 10000 };
    #heardAt = 0;
    #probing = false;
    /** @type {number[]} */
    #roundTrips = [];

    #lastId = 0;
    /** @type {Promise<any>} */
    #asked = Promise.resolve();
    /** @type {Map<number, Pending>} */
    #pending = new Map();
    /** @type {Map<string, Subscription>} */
    #subscriptions = new Map();
    /** @type {Set<Subscription>} */
    #unsaved = new Set();
    /** @type {Record<string, ReturnType<typeof setTimeout> | undefined>} */
    #timers = {};
    /** @type {(() => void)[]} */
    #unlisten = [];

    /** @param {HiveClientOptions} options */
    constructor(options) {
        const found = options.WebSocket ?? globalThis.WebSocket;

        if (typeof found !== 'function') {
            throw new TypeError('There is no WebSocket here: pass one, as in '
                + 'new HiveClient({ WebSocket }) with the class of the package ws');
        }
        if (options.token === undefined && options.getToken === undefined
            && options.getTicket === undefined) {
            throw new TypeError('HiveClient needs token, getToken or getTicket');
        }
        this.#options = options;
        this.#url = socketUrl(options.url);
        this.#WebSocket = /** @type {any} */ (found);
        this.#backoff = { min: 250, max: 15000, ...options.backoff };
        this.#link = {
            ask: (message, onReply, onError) => this.#ask(message, onReply, onError),
            forget: (subscription) => this.#forget(subscription),
            leave: (channel) => this.#leave(channel),
            moved: (subscription) => this.#moved(subscription),
            delay: (refusals) => this.#jitter(refusals),
            counters: this.counters,
        };
    }

    /** @returns {State} */
    get state() {
        return this.#state;
    }

    // ---- what people call ----

    /**
     * Connects, and stays connected. Fulfilled when it is open for the first
     * time; rejected when the credentials are refused, or by close().
     * @returns {Promise<void>}
     */
    connect() {
        if (this.#state === 'idle' || this.#state === 'failed'
            || this.#state === 'closed') {
            this.#connected = makeDeferred();
            this.#attempts = 0;
            this.#refused = null;
            this.#listen();
            this.#attempt();
        }
        return this.#connected.promise;
    }

    /** Ends the connection, all subscriptions and what waits for an answer. */
    close() {
        this.#save();
        this.#stop('closed', new HiveError('closed'));
        for (const subscription of this.#subscriptions.values()) {
            subscription._end(null);
        }
        this.#subscriptions.clear();
        this.#unsaved.clear();
    }

    /**
     * There is one subscription a channel; unsubscribe() it to have another.
     * @param {string} channel
     * @param {SubscribeOptions} [options]
     * @returns {Subscription}
     */
    subscribe(channel, options = {}) {
        if (this.#subscriptions.has(channel)) {
            throw new Error(`There is a subscription to ${channel} already`);
        }

        const subscription = new Subscription(this.#link, channel, options,
            options.since ?? this.#saved(channel));

        this.#subscriptions.set(channel, subscription);
        if (this.#state === 'open') {
            subscription._resume();
        }
        return subscription;
    }

    /**
     * @param {string} id
     * @param {SubscribeOptions} [options]
     */
    project(id, options) {
        return this.subscribe(`project:${id}`, options);
    }

    /**
     * @param {string} id
     * @param {SubscribeOptions} [options]
     */
    task(id, options) {
        return this.subscribe(`task:${id}`, options);
    }

    /**
     * What the channel is about, as it is now. A subscription to it goes on
     * from there.
     * @param {string} channel
     * @returns {Promise<ChannelState>}
     */
    async stateSync(channel) {
        const options = this.#subscriptions.get(channel)?._syncOptions;

        return this.#request({ type: 'state_sync', channel, ...options }, (state) => {
            const subscription = this.#subscriptions.get(channel);

            if (subscription !== undefined) {
                subscription._synced(state);
            } else {
                // It has made one on the server's side.
                this.#send({ type: 'unsubscribe', channel, id: ++this.#lastId });
            }
        }).catch((error) => {
            // It has ended the one there was.
            if (this.#state === 'open') {
                this.#subscriptions.get(channel)?._resume();
            }
            throw error;
        });
    }

    /**
     * Who is there.
     * @param {string} channel
     * @returns {Promise<Presence>}
     */
    async presence(channel) {
        const before = this.#asked;
        const answer = makeDeferred();

        // The server takes one such question after another.
        this.#asked = answer.promise.catch(() => {});
        await before;
        this.#request({ type: 'presence', channel }).then(answer.resolve, answer.reject);
        return /** @type {Promise<Presence>} */ (answer.promise);
    }

    /**
     * What the server has counted of this connection.
     * @returns {Promise<ConnectionStats>}
     */
    async stats() {
        return this.#request({ type: 'get_stats' });
    }

    /**
     * The time to the server and back, in ms.
     * @returns {Promise<number>}
     */
    async ping() {
        let roundTrip = 0;

        await this.#request({ type: 'ping' }, (_pong, sentAt) => {
            roundTrip = this.#measure(sentAt);
        });
        return roundTrip;
    }

    /**
     * The median of the last pings, in ms; null before there was one.
     * @returns {number | null}
     */
    lag() {
        const sorted = [...this.#roundTrips].sort((a, b) => a - b);
        const half = sorted.length >> 1;

        if (sorted.length === 0) {
            return null;
        }
        return sorted.length % 2 === 1 ? sorted[half]
            : (sorted[half - 1] + sorted[half]) / 2;
    }

    // ---- connecting ----

    /**
     * @param {State} state
     * @param {StateDetail} [detail]
     */
    #setState(state, detail = {}) {
        this.#state = state;
        if (this.#options.onState !== undefined) {
            tell((told) => this.#options.onState?.(told.state, told.detail),
                { state, detail });
        }
    }

    async #attempt() {
        const turn = ++this.#turn;
        let address;

        this.#arm('attempt', CONNECT_MS, () =>
            this.#lost(new HiveError('timeout', 'The server did not answer in time')));
        this.#setState('connecting');
        try {
            address = await this.#credentials();
        } catch (error) {
            if (turn === this.#turn) {
                this.#lost(error instanceof HiveError ? error
                    : new HiveError('credentials', String(error), error));
            }
            return;
        }
        if (turn !== this.#turn) {
            return;
        }
        if (this.#refused !== null && this.#refused.token !== null
            && this.#refused.token === this.#token) {
            this.#fail(this.#refused.error);
            return;
        }
        this.#open(address.url, address.protocols);
    }

    async #credentials() {
        const { token, getToken, getTicket, batchMs } = this.#options;
        const url = new URL(this.#url);

        if (batchMs) {
            url.searchParams.set('batch_ms', String(batchMs));
        }
        if (getTicket !== undefined) {
            url.searchParams.set('ticket', await getTicket());
            this.#token = null;
            return { url: url.href, protocols: [] };
        }

        const current = getToken !== undefined ? await getToken() : token;

        if (typeof current !== 'string' || current === '') {
            throw new HiveError('credentials', 'getToken gave no token');
        }
        this.#token = current;
        return { url: url.href, protocols: ['hive.v1', `bearer.${current}`] };
    }

    /**
     * @param {string} url
     * @param {string[]} protocols
     */
    #open(url, protocols) {
        let socket;

        try {
            socket = new this.#WebSocket(url, protocols);
        } catch (error) {
            this.#fail(new HiveError('credentials', String(error), error));
            return;
        }
        this.#socket = socket;
        socket.onmessage = (/** @type {{data: any}} */ event) => {
            if (socket === this.#socket) {
                this.#receive(event.data);
            }
        };
        socket.onclose = (/** @type {{code: number, reason: string}} */ event) => {
            if (socket === this.#socket) {
                this.#closed(event.code, String(event.reason ?? ''));
            }
        };
        // What there is to say about it is said by the close that follows.
        socket.onerror = () => {};
    }

    /**
     * The server's first message.
     * @param {Record<string, any>} message
     */
    #established(message) {
        this.connection = message;
        this.#heartbeat = { ...this.#heartbeat, ...message.heartbeat };
        this.#skew = Date.parse(message.server_time) - Date.now() || 0;
        this.#refused = null;
        if (this.#known) {
            this.counters.reconnects++;
        }
        this.#known = true;
        this.#disarm('attempt');
        this.#arm('stable', STABLE_MS, () => {
            this.#attempts = 0;
        });
        this.#watch();
        this.#planRenewal(message.expires_at);
        this.#planMetrics();
        this.#setState('open');
        this.#connected.resolve();
        this.#sendAll();
    }

    /**
     * Subscriptions first: who asks for more has heard of what is missing. The
     * server drops what comes too fast.
     */
    #sendAll() {
        let count = 0;

        for (const subscription of [...this.#subscriptions.values()]) {
            if (this.#state !== 'open') {
                return;
            }
            if (count++ < BURST) {
                subscription._resume();
            } else {
                subscription._resumeIn((count - BURST) * PACE_MS);
            }
        }
        for (const [id, pending] of [...this.#pending]) {
            if (!pending.sent && this.#pending.has(id)) {
                this.#sendPending(pending);
            }
        }
    }

    /**
     * The server, or the network, has closed.
     * @param {number} code
     * @param {string} reason
     */
    #closed(code, reason) {
        const wasOpen = this.#state === 'open';
        const error = new HiveError(reason || 'connection_lost',
            `The connection was closed: ${code} ${reason}`.trim());

        if (code === 1001 && wasOpen) {
            this.#lost(error, Math.random() * RELOAD_MS);
        } else if (code === 1013) {
            this.#lost(error, BUSY_MS + this.#jitter(this.#attempts++));
        } else if (code === 1008) {
            this.#refuse(error, reason);
        } else {
            this.#lost(error);
        }
    }

    /**
     * It does not like us. The same token would not be liked better; of
     * tickets there are always new ones, so two in a row.
     * @param {HiveError} error
     * @param {string} reason
     */
    #refuse(error, reason) {
        const { getToken, getTicket } = this.#options;
        const again = this.#refused !== null;

        this.#refused = { token: this.#token, error };
        if (getTicket !== undefined ? again : getToken === undefined) {
            this.#fail(error);
        } else if (reason === 'token_expired' && !again) {
            this.#lost(error, 0);
        } else {
            this.#lost(error);
        }
    }

    /**
     * There is no connection now, and another attempt later.
     * @param {HiveError} error
     * @param {number} [delayMs]
     */
    #lost(error, delayMs = this.#jitter(this.#attempts++)) {
        this.#disconnect();
        this.#setState('waiting', { error, delayMs });
        if (this.#state === 'waiting') {
            this.#arm('attempt', delayMs, () => this.#attempt());
        }
    }

    /** @param {HiveError} error */
    #fail(error) {
        this.#stop('failed', error);
    }

    /**
     * @param {'failed' | 'closed'} state
     * @param {HiveError} error
     */
    #stop(state, error) {
        this.#disconnect(error);
        for (const stop of this.#unlisten.splice(0)) {
            stop();
        }
        for (const id of [...this.#pending.keys()]) {
            this.#take(id)?.onError(error);
        }
        this.#connected.reject(error);
        if (this.#state !== state) {
            this.#setState(state, state === 'failed' ? { error } : {});
        }
    }

    /** @param {HiveError} [why] for what has been sent and not answered */
    #disconnect(why = new HiveError('disconnected',
        'The connection was lost before the answer came')) {
        const socket = this.#socket;

        this.#turn++;
        this.#socket = null;
        this.#probing = false;
        this.connection = null;
        for (const name of Object.keys(this.#timers)) {
            if (name !== 'save') {
                this.#disarm(name);
            }
        }
        if (socket !== null) {
            // It may have news for nobody for as long as it takes to close.
            socket.onmessage = null;
            socket.onclose = null;
            try {
                socket.close(1000);
            } catch {
                // It was closed.
            }
        }
        for (const subscription of this.#subscriptions.values()) {
            subscription._pause();
        }
        for (const [id, pending] of [...this.#pending]) {
            if (pending.sent) {
                this.#take(id)?.onError(why);
            }
        }
    }

    /**
     * Full jitter: anything from nothing to the limit, which doubles.
     * @param {number} attempts
     */
    #jitter(attempts) {
        const { min, max } = this.#backoff;

        return Math.random() * Math.min(max, min * 2 ** Math.min(attempts, 30));
    }

    /** Something has changed that may have ended the connection, or may help. */
    #hurry() {
        if (this.#state === 'waiting') {
            this.#attempt();
        } else if (this.#state === 'open') {
            this.#probe();
        }
    }

    /** What a browser tells of network and page. */
    #listen() {
        const page = globalThis.document;
        /** @type {(target: any, type: string, fn: () => void) => void} */
        const on = (target, type, fn) => {
            if (typeof target?.addEventListener === 'function') {
                target.addEventListener(type, fn);
                this.#unlisten.push(() => target.removeEventListener(type, fn));
            }
        };

        on(globalThis, 'online', () => this.#hurry());
        on(globalThis, 'offline', () => {
            if (this.#state === 'open') {
                this.#probe();
            }
        });
        on(globalThis, 'pagehide', () => this.#save());
        on(page, 'visibilitychange', () => {
            if (!page.hidden) {
                this.#hurry();
            }
        });
    }

    // ---- the server is there ----

    /** Pings of the server show in no browser: what is quiet is asked. */
    #watch() {
        const { interval_ms: interval, timeout_ms: timeout } = this.#heartbeat;
        const left = this.#heardAt + interval + timeout - performance.now();

        if (left > 0) {
            this.#arm('watch', left, () => this.#watch());
        } else {
            this.#probe();
        }
    }

    #probe() {
        const turn = this.#turn;
        const asked = performance.now();

        if (this.#probing) {
            return;
        }
        this.#probing = true;
        this.#ask({ type: 'ping' }, (_pong, sentAt) => {
            this.#probing = false;
            this.#measure(sentAt);
            this.#watch();
        }, () => {
            if (turn !== this.#turn) {
                return;
            }
            this.#probing = false;
            if (this.#heardAt > asked) {
                this.#watch();
            } else {
                this.#lost(new HiveError('no_answer', 'The server does not answer'));
            }
        }, this.#heartbeat.timeout_ms);
    }

    /** @param {number} sentAt */
    #measure(sentAt) {
        const roundTrip = performance.now() - sentAt;

        this.#roundTrips.push(roundTrip);
        if (this.#roundTrips.length > ROUND_TRIPS) {
            this.#roundTrips.shift();
        }
        return roundTrip;
    }

    #planMetrics() {
        if (this.#options.reportMetrics) {
            this.#arm('metrics', METRICS_MS, () => {
                this.#planMetrics();
                this.#reportMetrics();
            });
        }
    }

    async #reportMetrics() {
        const turn = this.#turn;
        const [rate] = await Promise.all([refreshRate(), this.ping().catch(() => 0)]);
        const lag = this.lag();
        /** @type {Record<string, any>} */
        const message = { type: 'client_metrics' };

        if (rate !== null) {
            message.refresh_rate = Math.round(rate);
        }
        if (lag !== null) {
            message.lag_ms = Math.round(lag);
        }
        if (turn === this.#turn) {
            this.#send(message);
        }
    }

    // ---- renewal ----

    /**
     * Before the server lets us stay no longer: a minute, or a third of what
     * is left, whichever is less.
     * @param {string} expiresAt
     * @param {number} [atLeastMs]
     */
    #planRenewal(expiresAt, atLeastMs = 0) {
        const until = Date.parse(expiresAt);
        const left = until - Date.now() - this.#skew;

        this.#expiresAt = until;
        if (this.#options.getToken !== undefined && left > 0) {
            this.#arm('renew', Math.max(atLeastMs, left - Math.min(RENEW_MS, left / 3)),
                () => this.#renew());
        }
    }

    async #renew() {
        const turn = this.#turn;
        const later = () => this.#planRenewal(
            new Date(this.#expiresAt).toISOString(), RENEW_AGAIN_MS);
        let token = '';

        try {
            token = await /** @type {any} */ (this.#options).getToken();
        } catch {
            // Perhaps next time; at worst the connection expires.
        }
        if (turn !== this.#turn) {
            return;
        }
        if (typeof token !== 'string' || token === '' || token === this.#token) {
            later();
            return;
        }
        this.#ask({ type: 'authenticate', token }, (reply) => {
            this.#token = token;
            this.#planRenewal(reply.expires_at, RENEW_AGAIN_MS);
        }, () => {
            if (turn === this.#turn) {
                later();
            }
        });
    }

    // ---- messages ----

    /** @param {Record<string, any>} message */
    #send(message) {
        try {
            this.#socket?.send(JSON.stringify(message));
        } catch {
            // It is closing; its end is told by onclose.
        }
    }

    /**
     * Sends it, now or when there is a connection, under an id of its own.
     * Exactly one of both functions is called, before anything that comes
     * later is looked at; none when it is forgotten before.
     * @param {Record<string, any>} message
     * @param {(reply: any, sentAt: number) => void} onReply
     * @param {(error: HiveError) => void} onError
     * @param {number} [timeoutMs]
     * @returns {() => void} forgets it
     */
    #ask(message, onReply, onError, timeoutMs = REQUEST_MS) {
        const id = ++this.#lastId;
        /** @type {Pending} */
        const pending = {
            message: { ...message, id },
            sent: false,
            sentAt: 0,
            onReply: (reply) => onReply(reply, pending.sentAt),
            onError,
            timer: setTimeout(() => this.#take(id)?.onError(new HiveError('timeout',
                `No answer to ${message.type} in ${timeoutMs} ms`)), timeoutMs),
        };

        this.#pending.set(id, pending);
        if (this.#state === 'open') {
            this.#sendPending(pending);
        }
        return () => {
            this.#take(id);
        };
    }

    /** @param {Pending} pending */
    #sendPending(pending) {
        pending.sent = true;
        pending.sentAt = performance.now();
        this.#send(pending.message);
    }

    /**
     * The one of that id, which waits no longer.
     * @param {number} id
     */
    #take(id) {
        const pending = this.#pending.get(id);

        if (pending !== undefined) {
            clearTimeout(pending.timer);
            this.#pending.delete(id);
        }
        return pending;
    }

    /**
     * @param {Record<string, any>} message
     * @param {(reply: any, sentAt: number) => void} [onReply]
     * @returns {Promise<any>}
     */
    #request(message, onReply) {
        const answer = makeDeferred();

        if (this.#state === 'closed' || this.#state === 'failed') {
            answer.reject(new HiveError('closed', 'The client is not connected'));
            return answer.promise;
        }
        this.#ask(message, (reply, sentAt) => {
            onReply?.(reply, sentAt);
            answer.resolve(reply);
        }, answer.reject);
        return answer.promise;
    }

    /** @param {any} text */
    #receive(text) {
        const socket = this.#socket;
        let parsed;

        this.#heardAt = performance.now();
        try {
            parsed = JSON.parse(text);
        } catch {
            this.counters.errors++;
            return;
        }
        for (const message of Array.isArray(parsed) ? parsed : [parsed]) {
            // Somebody who was told of the one before may have closed.
            if (socket !== this.#socket) {
                return;
            }
            if (typeof message?.type === 'string') {
                this.#dispatch(message);
            } else {
                this.counters.errors++;
            }
        }
    }

    /** @param {Record<string, any>} message */
    #dispatch(message) {
        const subscription = this.#subscriptions.get(message.channel);

        if (message.id !== undefined && message.id !== null) {
            this.#answer(message);
            return;
        }
        switch (message.type) {
        case 'connection_established':
            if (this.#state === 'connecting') {
                this.#established(message);
            }
            break;
        case 'unsubscribed':
            subscription?._end(new HiveError(message.reason ?? 'unsubscribed',
                `The server has ended the subscription to ${message.channel}`));
            break;
        case 'dropped':
            subscription?._dropped(/** @type {any} */ (message));
            break;
        case 'subscription_confirmed':
            subscription?._confirmed(/** @type {any} */ (message));
            break;
        case 'error':
            this.#complained(message);
            break;
        default:
            if (subscription !== undefined) {
                subscription._receive(/** @type {any} */ (message));
            } else if (message.channel === `user:${this.connection?.user_id}`) {
                this.counters.events++;
                tell(this.#options.onEvent, /** @type {any} */ (message));
            }
        }
    }

    /**
     * An error that answers no message of ours by its id.
     * @param {Record<string, any>} message
     */
    #complained(message) {
        const error = new HiveError(message.code, message.message);

        this.counters.errors++;
        if (message.channel !== undefined) {
            this.#subscriptions.get(message.channel)?._refused(error);
        } else if (error.code === 'rate_limited') {
            for (const subscription of [...this.#subscriptions.values()]) {
                subscription._limited(error);
            }
        }
    }

    /** @param {Record<string, any>} message */
    #answer(message) {
        const pending = this.#take(message.id);

        if (message.type === 'error') {
            pending?.onError(new HiveError(message.code, message.message));
        } else {
            pending?.onReply(message);
        }
    }

    // ---- subscriptions ----

    /** @param {Subscription} subscription */
    #forget(subscription) {
        this.#subscriptions.delete(subscription.channel);
        this.#unsaved.delete(subscription);
        try {
            this.#options.storage?.removeItem(storageKey(subscription.channel));
        } catch {
            // Then it stays.
        }
    }

    /** @param {string} channel */
    async #leave(channel) {
        if (this.#state === 'open') {
            await this.#request({ type: 'unsubscribe', channel }).catch(() => {});
        }
    }

    /** @param {Subscription} subscription */
    #moved(subscription) {
        if (this.#options.storage === undefined) {
            return;
        }
        this.#unsaved.add(subscription);
        if (this.#timers.save === undefined) {
            this.#arm('save', SAVE_MS, () => this.#save());
        }
    }

    #save() {
        this.#disarm('save');
        for (const { channel, epoch, offset } of this.#unsaved) {
            try {
                this.#options.storage?.setItem(storageKey(channel),
                    JSON.stringify({ epoch, offset }));
            } catch {
                // Full, or forbidden: then there is nothing to go on from.
            }
        }
        this.#unsaved.clear();
    }

    /**
     * @param {string} channel
     * @returns {Position | undefined}
     */
    #saved(channel) {
        try {
            const { epoch, offset } = JSON.parse(
                this.#options.storage?.getItem(storageKey(channel)) ?? 'null');

            if (typeof epoch === 'string' && Number.isSafeInteger(offset)) {
                return { epoch, offset };
            }
        } catch {
            // Not there, or not ours.
        }
        return undefined;
    }

    // ---- timers, by name ----

    /**
     * @param {string} name
     * @param {number} ms
     * @param {() => void} fn
     */
    #arm(name, ms, fn) {
        this.#disarm(name);
        this.#timers[name] = setTimeout(() => {
            this.#timers[name] = undefined;
            fn();
        }, Math.min(Math.max(ms, 0), TIMER_MAX));
    }

    /** @param {string} name */
    #disarm(name) {
        clearTimeout(this.#timers[name]);
        this.#timers[name] = undefined;
    }
}

/**
 * Puts texts together from message.delta events.
 *
 *     const texts = new TextAccumulator();
 *     onEvent: (event) => show(event.data.id, texts.add(event))
 */
export class TextAccumulator {
    /** @type {Map<string, {text: string, bytes: number}>} */
    #texts = new Map();

    /**
     * The text so far; null when a piece of it is missing, until it begins
     * anew.
     * @param {HiveEvent} event
     * @returns {string | null}
     */
    add(event) {
        const { id, text, position } = event.data;
        const bytes = new TextEncoder().encode(text);
        const entry = position === 0 ? { text: '', bytes: 0 } : this.#texts.get(id);

        if (entry === undefined || position > entry.bytes) {
            this.#texts.delete(id);
            return null;
        }

        // Positions are in bytes of UTF-8, and cut no character in two.
        const fresh = bytes.subarray(entry.bytes - position);

        entry.text += new TextDecoder('utf-8', { ignoreBOM: true }).decode(fresh);
        entry.bytes += fresh.length;
        this.#texts.set(id, entry);
        return entry.text;
    }

    /**
     * @param {string} id
     * @returns {string | null}
     */
    text(id) {
        return this.#texts.get(id)?.text ?? null;
    }

    /** @param {string} id */
    delete(id) {
        this.#texts.delete(id);
    }
}

/** @param {string} channel */
function storageKey(channel) {
    return `hive.position.${channel}`;
}

/**
 * @param {string | URL | undefined} given
 * @returns {URL}
 */
function socketUrl(given) {
    const page = globalThis.location?.href;

    if (given === undefined && page === undefined) {
        throw new TypeError('HiveClient needs a url');
    }

    const url = new URL(given ?? '/ws', page);

    url.protocol = url.protocol.replace(/^http/, 'ws');
    url.hash = '';
    if (url.pathname === '/' || url.pathname === '') {
        url.pathname = '/ws';
    }
    return url;
}

/**
 * Frames of a second, where there is a screen and the page is on it.
 * @returns {Promise<number | null>}
 */
function refreshRate() {
    return new Promise((resolve) => {
        if (typeof requestAnimationFrame !== 'function'
            || globalThis.document?.hidden) {
            resolve(null);
            return;
        }

        let begin = 0;
        let frames = 0;
        const giveUp = setTimeout(() => resolve(null), 3000);
        /** @param {number} now */
        const count = (now) => {
            begin ||= now;
            if (now - begin < 1000) {
                frames++;
                requestAnimationFrame(count);
                return;
            }
            clearTimeout(giveUp);
            resolve(frames * 1000 / (now - begin));
        };

        requestAnimationFrame(count);
    });
}
