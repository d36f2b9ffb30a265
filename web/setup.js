// setup.js: takes the one-time token from the fragment of the address, asks
// for an account and posts both. The token goes nowhere else.

'use strict';

const byId = (id) => document.getElementById(id);
const fields = ['name', 'email', 'password'];
const labels = { name: 'The name', email: 'The address', password: 'The password' };

const readToken = () =>
    new URLSearchParams(location.hash.slice(1)).get('token') || '';

let token = '';

function show(id) {
    for (const section of ['unlinked', 'asking', 'done']) {
        byId(section).hidden = section !== id;
    }
}

function setAlert(text) {
    byId('alert').textContent = text;
    byId('alert').hidden = text === '';
}

function setError(field, text) {
    byId(`${field}-error`).textContent = text;
    byId(field).setAttribute('aria-invalid', text === '' ? 'false' : 'true');
}

function clearErrors() {
    setAlert('');
    fields.forEach((field) => setError(field, ''));
}

// What can be told without asking: the rest is the server's to say.
function check(values) {
    const errors = [];

    if (values.name.trim() === '') {
        errors.push(['name', 'Enter your name.']);
    }
    if (!/^\s*[^\s@]+@[^\s@]+\s*$/.test(values.email)) {
        errors.push(['email', 'Enter an e-mail address, like ada@example.org.']);
    }
    if (new TextEncoder().encode(values.password).length < 8) {
        errors.push(['password', 'Enter at least 8 characters.']);
    }
    return errors;
}

function showErrors(errors) {
    const others = [];
    let first = null;

    for (const [field, text] of errors) {
        if (fields.includes(field)) {
            setError(field, text);
            first = first || byId(field);
        } else {
            others.push(text);
        }
    }
    setAlert(others.join(' '));
    (first || byId('alert')).focus();
}

const sentence = (text) =>
    text ? text[0].toUpperCase() + text.slice(1).replace(/\.?$/, '.') : '';

// A problem document (RFC 9457) as pairs of field and text.
function errorsOf(problem, status) {
    if (problem.code === 'email_taken') {
        return [['email', 'There is an account with this address already.']];
    }
    if (problem.code === 'already_set_up') {
        return [['', 'There is an administrator already: sign in with that account.']];
    }
    if (problem.code === 'setup_token_invalid') {
        return [['', 'This link is wrong, used, replaced by a newer one or older '
            + 'than 24 hours. Print a new one: hive-worker -c worker.ini --init-admin']];
    }
    if (Array.isArray(problem.errors) && problem.errors.length > 0) {
        return problem.errors.map((e) => labels[e.field]
            ? [e.field, sentence(`${labels[e.field]} ${e.message}`)]
            : ['', sentence(`${e.field} ${e.message}`)]);
    }
    if (status === 503 || status === 504) {
        return [['', 'Hive is busy or not ready yet. Wait a moment and try again.']];
    }
    return [['', sentence(problem.detail || problem.title
        || `the server answered ${status}`)]];
}

function finish(user) {
    const body = JSON.stringify({ email: user.email, password: '…' });

    // The used token need not stay in the address bar and the history.
    history.replaceState(null, '', location.pathname);
    token = '';
    byId('form').reset();
    byId('who').textContent = `${user.name} (${user.email})`;
    byId('signin').textContent = `curl ${location.origin}/api/v1/auth/login \\\n`
        + `  -H 'Content-Type: application/json' \\\n  -d '${body.replace(/'/g, "'\\''")}'`;
    document.title = 'Hive is set up';
    show('done');
    byId('done').focus();
}

async function post(values) {
    const response = await fetch('/api/v1/auth/setup', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ token, ...values }),
        credentials: 'omit',
        cache: 'no-store',
    });
    const reply = await response.json().catch(() => ({}));

    if (response.status === 201) {
        finish(reply);
    } else {
        showErrors(errorsOf(reply, response.status));
    }
}

async function submit(event) {
    const values = Object.fromEntries(
        fields.map((field) => [field, byId(field).value]));
    const button = byId('submit');
    const errors = check(values);

    event.preventDefault();
    if (button.disabled) {
        return;
    }
    clearErrors();
    if (errors.length > 0) {
        showErrors(errors);
        return;
    }

    button.disabled = true;
    button.textContent = 'Creating…';
    try {
        await post(values);
    } catch {
        showErrors([['', 'The server did not answer. Is Hive running?']]);
    } finally {
        button.disabled = false;
        button.textContent = 'Create administrator';
    }
}

function reveal() {
    const shown = byId('password').type === 'password';

    byId('password').type = shown ? 'text' : 'password';
    byId('reveal').textContent = shown ? 'Hide' : 'Show';
    byId('reveal').setAttribute('aria-pressed', String(shown));
}

function begin() {
    token = readToken();
    show(token ? 'asking' : 'unlinked');
    if (token) {
        byId('name').focus();
    }
}

byId('form').addEventListener('submit', submit);
byId('reveal').addEventListener('click', reveal);
window.addEventListener('hashchange', begin);
begin();
