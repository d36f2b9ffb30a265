// double.mjs: a provider of models for tests: aimock, which speaks the wire
// formats, with answers that say who asked and what:
//
//   node double.mjs PORT LOG '{"latency": 0, "chunk": 20, "words": 40,
//       "bad_plans": 0, "parts": 3, "truncated": 0.1, "overloaded": 0.1,
//       "slow": 0.1, "chaos": {...}}'
//
// Each answer begins with a word of its own, OUT-<n>; LOG gets a line of JSON
// for each that was served: n, system, user, and the tokens it counts. A prompt
// that asks for a plan gets one, but for the first `bad_plans`, which are none.
// Where a prompt has NOTHING-part-x or NOTHING-lead-x, the first who does a
// part or leads answers with no text.
// Beside it /__aimock is aimock's own (journal, chaos).

import { LLMock } from '@copilotkit/aimock';
import fs from 'node:fs';

const [port, log, given] = process.argv.slice(2);
const set = { latency: 0, chunk: 20, words: 40, bad_plans: 0, parts: 3, truncated: 0, overloaded: 0, slow: 0, ...JSON.parse(given ?? '{}') };
const out = fs.openSync(log, 'a');
const words = 'the plan holds as long as each part says what it needs and what it leaves'.split(' ');
let served = 0;
const said_nothing = new Set();

const text = (content) => typeof content === 'string' ? content
    : (content ?? []).map((part) => part.text ?? '').join('');
const tokens = (string) => Math.max(1, Math.round(string.length / 4));

function plan() {
    if (set.bad_plans-- > 0) return 'I would rather not plan today.';
    const subtasks = [];
    for (let i = 1; i <= set.parts; i++) {
        subtasks.push({ title: `Part ${i}`, description: `What belongs to part ${i}`, kind: 'research' });
    }
    return '```json\n' + JSON.stringify({ subtasks }) + '\n```';
}

function answer(request, more = {}) {
    const of = (role) => request.messages.filter((m) => m.role === role).map((m) => text(m.content)).join('\n');
    const system = of('system'), user = of('user');
    const n = ++served;
    let content;
    const nothing = /NOTHING-(part|lead)-\w+/.exec(user);
    if (nothing && system.includes(nothing[1] === 'part' ? 'do one part' : 'You lead') && !said_nothing.has(nothing[0])) {
        said_nothing.add(nothing[0]);
        content = '\n';
    } else if (user.includes('Schema of the answer:')) {
        content = plan();
    } else {
        const many = Number(/WORDS-(\d+)/.exec(user)?.[1] ?? set.words);
        content = `OUT-${n} ` + Array.from({ length: many }, (_, i) => words[i % words.length]).join(' ');
    }
    const usage = { input_tokens: tokens(system + user), output_tokens: tokens(content) };
    fs.writeSync(out, JSON.stringify({ n, model: request.model, system, user, content, ...usage, ...more }) + '\n');
    return { content, usage };
}

const mock = new LLMock({ port: Number(port), host: '127.0.0.1', latency: set.latency, chunkSize: set.chunk,
    chaos: set.chaos, logLevel: 'silent' });
// Now and then: 529, a stream that stops in its middle, slow bytes.
mock.on({ predicate: () => Math.random() < set.overloaded },
    () => ({ error: { type: 'overloaded_error', message: 'Overloaded' }, status: 529 }));
mock.on({ predicate: () => Math.random() < set.truncated }, (request) => answer(request, { truncated: true }),
    { truncateAfterChunks: 3 });
mock.on({ predicate: () => Math.random() < set.slow }, (request) => answer(request), { latency: 150 });
mock.on({ predicate: () => true }, (request) => answer(request));
await mock.start();
console.log('ready');
process.on('SIGTERM', () => process.exit(0));
