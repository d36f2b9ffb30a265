// page.js: subscribes to a project, changes it, and writes what it has seen
// into the page. Address: /t/page.html#token=...&project=...

import { HiveClient } from '/hive-client.js';

const given = new URLSearchParams(location.hash.slice(1));
const token = given.get('token');
const project = given.get('project');
const seen = { states: [], events: [], failed: null };

function finish(failed = null) {
    clearTimeout(patience);
    seen.failed = failed;
    document.getElementById('seen').textContent = JSON.stringify(seen);
    document.getElementById('hold').removeAttribute('src');
}

async function change(name) {
    const response = await fetch(`/api/v1/projects/${project}`, {
        method: 'PATCH',
        headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/merge-patch+json' },
        body: JSON.stringify({ name }),
    });

    if (!response.ok) {
        throw new Error(`PATCH: ${response.status}`);
    }
}

async function main() {
    const hive = new HiveClient({ token, onState: (state) => seen.states.push(state) });
    const subscription = hive.project(project);

    await hive.connect();
    await subscription.ready;
    await change('changed by the page');
    await change('and again');
    for await (const event of subscription) {
        seen.events.push(event);
        if (seen.events.length === 2) {
            break;
        }
    }
    seen.lag = await hive.ping();
    seen.state = await hive.stateSync(subscription.channel);
    hive.close();
}

const patience = setTimeout(() => finish('not done after 30 s'), 30000);
main().then(() => finish(), (error) => finish(String(error)));
