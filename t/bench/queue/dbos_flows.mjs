// dbos_flows.mjs FLOWS FAN SINGLE: flows 1 -> FAN -> 1 in DBOS Transact, as a
// workflow of steps, FAN of them at once: the line that the kit's dagbench.mjs
// prints for its engines. In the kit's folder; its cluster by BENCH_DB.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const here = createRequire(`${process.cwd()}/dbos/package.json`);
const sdk = await import(pathToFileURL(here.resolve('@dbos-inc/dbos-sdk')));
const { DBOS } = sdk.DBOS ? sdk : sdk.default;
const [flows, fan, single] = process.argv.slice(2).map(Number);
const url = process.env.BENCH_DB.replace('/queuebench', '/dbos_bench');
const now = () => Number(process.hrtime.bigint()) / 1e6;

let joined = 0;
const flow = DBOS.registerWorkflow(async () => {
    await DBOS.runStep(async () => 0, { name: 'r' });
    await Promise.all(Array.from({ length: fan }, (_, i) => DBOS.runStep(async () => i, { name: `m${i}` })));
    await DBOS.runStep(async () => { joined = now(); }, { name: 'j' });
}, { name: 'flow' });

DBOS.setConfig({ name: 'bench', systemDatabaseUrl: url, systemDatabasePoolSize: 20, runAdminServer: false, logLevel: 'error' });
await DBOS.launch();
const alone = [];
for (let i = 0; i < single; i++) {
    const began = now();
    await (await DBOS.startWorkflow(flow)()).getResult();
    alone.push(joined - began);
}
const began = now();
const handles = [];
for (let i = 0; i < flows; i++) handles.push(await DBOS.startWorkflow(flow)());
const submitted = now() - began;
await Promise.all(handles.map((h) => h.getResult()));
const all = now() - began;
alone.sort((a, b) => a - b);
console.log(JSON.stringify({
    dag: 'dbos', flows, tasks: flows * (fan + 2), submit_flows_s: Math.round(flows / submitted * 1000),
    tasks_s: Math.round(flows * (fan + 2) / all * 1000), single_flow_ms_p50: +alone[alone.length >> 1].toFixed(1),
}));
await DBOS.shutdown();
process.exit(0);
