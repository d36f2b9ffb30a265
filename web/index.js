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

async function ask() {
    try {
        const response = await fetch('/health/ready', {
            cache: 'no-store', signal: AbortSignal.timeout(5000),
        });
        const facts = await response.json().catch(() => ({}));

        if (response.ok) {
            show('ready', 'Ready', '');
        } else {
            show('away', 'Not ready', facts.detail || facts.reason || '');
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
