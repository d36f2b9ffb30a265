// asyncapi.mjs: web/asyncapi.json holds together: every reference leads
// somewhere, every message is used, and its examples are what it says.

import { check, document, resolve } from './schema.mjs';
import { equal, ok, run, test } from './harness.mjs';

function walk(node, visit) {
    if (typeof node === 'object' && node !== null) {
        visit(node);
        Object.values(node).forEach((child) => walk(child, visit));
    }
}

test('references', () => {
    const lost = [];
    let count = 0;

    walk(document, (node) => {
        if (typeof node.$ref === 'string') {
            count++;
            try {
                resolve(node.$ref);
            } catch (error) {
                lost.push(error.message);
            }
        }
    });
    equal(lost, [], `all ${count} lead somewhere`);
});

test('messages', () => {
    const { messages } = document.components;
    const listed = Object.keys(document.channels.ws.messages);

    equal(listed, Object.keys(messages), 'the channel has all of them');
    equal(listed.filter((key) => document.channels.ws.messages[key].$ref !== `#/components/messages/${key}`), [],
        'under their names');

    for (const [key, message] of Object.entries(messages)) {
        const wrong = message.examples.flatMap(({ payload }) => check(message.payload, payload));

        equal(wrong, [], `${key}: its examples are right`);
        ok(message.examples.length > 0, `${key}: there is one`);
        if (key !== 'server.batch' && key !== 'server.any') {
            equal(message.examples.filter(({ payload }) => payload.type !== message.name), [], `${key}: of that type`);
            ok(check(message.payload, { ...message.examples[0].payload, type: 'else' }).length > 0,
                `${key}: not of another`);
        }
        equal(key, `${key.split('.')[0]}.${message.name}`, `${key}: is its name`);
    }
});

test('operations', () => {
    const used = new Set();
    const wrong = [];

    for (const [name, operation] of Object.entries(document.operations)) {
        const [sent, answered] = operation.action === 'receive' ? ['client', 'server'] : ['server', ''];

        for (const { $ref } of operation.messages) {
            used.add($ref.split('/').at(-1));
            wrong.push(...$ref.includes(`/messages/${sent}.`) ? [] : [`${name}: ${$ref}`]);
        }
        for (const { $ref } of operation.reply?.messages ?? []) {
            used.add($ref.split('/').at(-1));
            wrong.push(...$ref.includes(`/messages/${answered}.`) ? [] : [`${name}: ${$ref}`]);
        }
    }
    equal(wrong, [], 'each from whom it comes');
    equal(Object.keys(document.components.messages).filter((key) => !used.has(key)), [], 'every message is of one');
});

run();
