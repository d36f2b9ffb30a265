// setup.js: sends the form with the token of the link. The token is in the
// fragment, which browsers send to nobody; it leaves the address bar at once.

'use strict';

const element = (id) => document.getElementById(id);
const fields = ['name', 'email', 'password'];
const token = new URLSearchParams(location.hash.slice(1)).get('token');

history.replaceState(null, '', location.pathname);

function complain(field, message) {
    element(`${field}-error`).textContent = message;
    if (message === '') {
        element(field).removeAttribute('aria-invalid');
    } else {
        element(field).setAttribute('aria-invalid', 'true');
    }
}

function alert(message) {
    element('alert').textContent = message;
    element('alert').hidden = message === '';
}

// What the browser can tell by itself; the rules are the server's.
function missing() {
    for (const field of fields) {
        complain(field, element(field).value === '' ? 'This is needed.' : '');
    }
    return fields.find((field) => element(field).value === '');
}

function refused(problem) {
    const others = [];

    for (const error of problem.errors || []) {
        if (fields.includes(error.field)) {
            complain(error.field, error.message);
        } else {
            others.push(error.message);
        }
    }
    const first = fields.find((field) => element(field).hasAttribute('aria-invalid'));
    if (first !== undefined) {
        element(first).focus();
    }
    if (first === undefined || others.length > 0) {
        alert(others.join(' ') || problem.detail || problem.title);
    }
}

async function send() {
    const body = { token };

    for (const field of fields) {
        body[field] = element(field).value;
    }
    const response = await fetch('/api/v1/auth/setup', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(30000),
    });
    const answer = await response.json();

    if (!response.ok) {
        refused(answer);
        return;
    }
    element('who').textContent = answer.email;
    element('ask').hidden = true;
    element('done').hidden = false;
    element('done').focus();
}

element('form').addEventListener('submit', async (event) => {
    event.preventDefault();
    alert('');
    const first = missing();
    if (first !== undefined) {
        element(first).focus();
        return;
    }
    element('submit').disabled = true;
    try {
        await send();
    } catch {
        alert('Hive did not answer. Nothing may have happened; try again.');
    }
    element('submit').disabled = false;
});

element('show').addEventListener('click', () => {
    const hidden = element('password').type === 'password';

    element('password').type = hidden ? 'text' : 'password';
    element('show').textContent = hidden ? 'Hide' : 'Show';
    element('show').setAttribute('aria-pressed', String(hidden));
});

element(token === null ? 'none' : 'ask').hidden = false;
