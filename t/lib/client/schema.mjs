// schema.mjs: web/asyncapi.json, as a judge of messages. It knows as much of
// JSON Schema as that file uses, and refuses a keyword that it does not know.

import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';

export const document = JSON.parse(readFileSync(new URL('../../../web/asyncapi.json', import.meta.url)));

export function resolve(ref) {
    const found = ref.replace(/^#\//, '').split('/')
        .reduce((node, name) => node?.[name.replace(/~1/g, '/').replace(/~0/g, '~')], document);

    if (!ref.startsWith('#/') || found === undefined) {
        throw new Error(`${ref} leads nowhere`);
    }
    return found;
}

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

const types = {
    object: isObject,
    array: Array.isArray,
    string: (value) => typeof value === 'string',
    number: (value) => typeof value === 'number',
    integer: Number.isSafeInteger,
    boolean: (value) => typeof value === 'boolean',
    null: (value) => value === null,
};

const formats = {
    uuid: /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
    'date-time': /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z$/,
};

const keywords = {
    $ref: (ref, value, at) => check(resolve(ref), value, at),
    type: (type, value, at) => ([type].flat().some((name) => types[name](value)) ? [] : [`${at} is no ${type}`]),
    const: (wanted, value, at) => (isDeepStrictEqual(wanted, value) ? [] : [`${at} is not ${JSON.stringify(wanted)}`]),
    enum: (list, value, at) => (list.includes(value) ? [] : [`${at} is not of ${list}`]),
    pattern: (text, value, at) => (typeof value !== 'string' || new RegExp(text, 'u').test(value)
        ? [] : [`${at} is not like ${text}`]),
    format: (name, value, at) => (typeof value !== 'string' || formats[name].test(value)
        ? [] : [`${at} is no ${name}`]),
    minLength: (n, value, at) => (typeof value !== 'string' || value.length >= n ? [] : [`${at} is too short`]),
    maxLength: (n, value, at) => (typeof value !== 'string' || value.length <= n ? [] : [`${at} is too long`]),
    minimum: (n, value, at) => (typeof value !== 'number' || value >= n ? [] : [`${at} is below ${n}`]),
    maximum: (n, value, at) => (typeof value !== 'number' || value <= n ? [] : [`${at} is above ${n}`]),
    maxItems: (n, value, at) => (!Array.isArray(value) || value.length <= n ? [] : [`${at} has too many`]),
    minItems: (n, value, at) => (!Array.isArray(value) || value.length >= n ? [] : [`${at} has too few`]),
    items: (schema, value, at) => (Array.isArray(value)
        ? value.flatMap((item, i) => check(schema, item, `${at}[${i}]`)) : []),
    required: (names, value, at) => (isObject(value)
        ? names.filter((name) => !(name in value)).map((name) => `${at} has no ${name}`) : []),
    properties: (schemas, value, at) => (isObject(value)
        ? Object.entries(schemas).flatMap(([name, schema]) => (name in value
            ? check(schema, value[name], `${at}.${name}`) : [])) : []),
    allOf: (schemas, value, at) => schemas.flatMap((schema) => check(schema, value, at)),
    oneOf: (schemas, value, at) => (schemas.filter((schema) => check(schema, value, at).length === 0).length === 1
        ? [] : [`${at} is not exactly one of ${schemas.length}`]),
    title: () => [],
    description: () => [],
};

// What is wrong with a value: a list of sentences.
export function check(schema, value, at = 'it') {
    return Object.entries(schema).flatMap(([keyword, rule]) => {
        if (!(keyword in keywords)) {
            throw new Error(`${at}: ${keyword} is not known here`);
        }
        return keywords[keyword](rule, value, at);
    });
}

// What is wrong with a message of the server (or of a client).
export function checkMessage(message, from = 'server') {
    if (Array.isArray(message)) {
        return message.flatMap((one) => checkMessage(one, from));
    }

    const { messages } = document.components;
    const found = messages[`${from}.${message.type}`]
        ?? (/^user:/.test(message.channel) ? messages[`${from}.any`] : undefined);

    return found === undefined ? [`there is no message ${message.type} of the ${from}`]
        : check(found.payload, message, message.type);
}
