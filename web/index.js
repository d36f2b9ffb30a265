// index.js: puts this server's address into the examples and shows whether
// Hive is ready.

'use strict';

for (const span of document.querySelectorAll('.origin')) {
    span.textContent = location.origin;
}

const state = document.getElementById('state');
const reason = document.getElementById('reason');

function show(name, text, why) {
    // The same text again would be read out again.
    if (state.textContent !== text) {
        state.dataset.state = name;
        state.textContent = text;
    }
    reason.textContent = why;
    reason.hidden = why === '';
}

// In words, what /health/ready says of the workers.
function why(workers) {
    const databases = workers.map((worker) => worker.facts?.database)
        .filter(Boolean);

    if (workers.length === 0) {
        return 'No worker process answers.';
    }
    if (workers.every((worker) => worker.draining)) {
        return 'The workers are about to stop.';
    }
    if (databases.some((database) => !database.reachable)) {
        return 'The workers do not reach their database.';
    }
    if (databases.some((database) => !database.schema_ok)) {
        return 'The database is of another version; the workers\' log says what mends it.';
    }
    return 'The workers are starting.';
}

async function ask() {
    try {
        const response = await fetch('/health/ready', {
            cache: 'no-store', signal: AbortSignal.timeout(5000),
        });
        const facts = await response.json().catch(() => ({}));

        if (response.ok) {
            show('ready', 'Ready', '');
        } else {
            show('away', 'Not ready', why(facts.workers || []));
        }
    } catch {
        show('away', 'No answer', '');
    }
}

async function watch() {
    if (!document.hidden) {
        await ask();
    }
    setTimeout(watch, 5000);
}

watch();
