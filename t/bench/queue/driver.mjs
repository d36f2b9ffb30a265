// driver.mjs: runs the engines of the queue peers (../shared/peers/queue, the
// current folder) by commands on standard input, a line of JSON each, and
// answers each with a line. The worker processes are the kit's own.
import { fork } from 'node:child_process';
import readline from 'node:readline';
import { pathToFileURL } from 'node:url';

let workers = [];

const load = async (spec) => {
    const [engine, variant] = spec.split(':');
    const e = await import(pathToFileURL(`${process.cwd()}/engines/${engine}.mjs`));
    e.variant?.(variant);
    return { engine, variant, e };
};

// The next message of a worker that has `key`.
const answer = (worker, key) => new Promise((resolve, reject) => {
    const gone = () => reject(new Error('a worker went away'));
    const heard = (message) => {
        if (message && key in message) {
            worker.off('message', heard);
            worker.off('exit', gone);
            resolve(message);
        }
    };
    worker.on('message', heard);
    worker.on('exit', gone);
});

const ask = (worker, message, key) => {
    const promise = answer(worker, key);
    worker.send(message);
    return promise;
};

const sum = (messages) => messages.reduce((s, m) => s + m.n, 0);

const commands = {
    // An empty schema; says how to see what is left, and what to analyze.
    async setup({ spec }) {
        const { e, variant } = await load(spec);
        await e.setup();
        return { remaining: e.remainingFor?.(variant) ?? e.remaining, analyze: e.analyze };
    },
    async start({ spec, processes }) {
        const { engine, variant } = await load(spec);
        workers = Array.from({ length: processes }, () =>
            fork('./worker.mjs', [engine, variant], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] }));
        await Promise.all(workers.map((w) => answer(w, 'ready')));
        await Promise.all(workers.map((w) => ask(w, 'go', 'started')));
        return { pids: workers.map((w) => w.pid) };
    },
    async enqueue({ spec, jobs, batch }) {
        const { e } = await load(spec);
        const began = process.hrtime.bigint();
        await e.enqueue(jobs, batch);
        return { seconds: Number(process.hrtime.bigint() - began) / 1e9 };
    },
    async count() {
        return { n: sum(await Promise.all(workers.map((w) => ask(w, 'count', 'n')))) };
    },
    async stop() {
        const ended = workers.map((w) => new Promise((resolve) => w.on('exit', resolve)));
        const n = sum(await Promise.all(workers.map((w) => ask(w, 'stop', 'done'))));
        await Promise.all(ended);
        workers = [];
        return { n };
    },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    let reply;
    try {
        reply = await commands[command.command](command);
    } catch (error) {
        reply = { error: String(error?.stack ?? error) };
    }
    process.stdout.write(JSON.stringify(reply) + '\n');
}
for (const w of workers) w.kill('SIGKILL');
process.exit(0);
