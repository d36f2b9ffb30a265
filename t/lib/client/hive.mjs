// hive.mjs: web/hive-client.js, which a Node before 20 would take for CommonJS:
// nothing beside it says that it is a module, and its name may not.

import { readFileSync } from 'node:fs';

const text = readFileSync(new URL('../../../web/hive-client.js', import.meta.url), 'utf8');

export const { HiveClient, HiveError, Subscription, TextAccumulator } = await import(
    `data:text/javascript,${encodeURIComponent(text)}`);
