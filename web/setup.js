// setup.js: sends the form with the token of the link. The token is in the
// fragment, which browsers send to nobody; it leaves the address bar at once.
"use strict";

const form = document.getElementById("form");
const result = document.getElementById("result");
const token = new URLSearchParams(location.hash.slice(1)).get("token");
history.replaceState(null, "", location.pathname);

function say(text, failed) {
  result.textContent = text;
  result.className = failed ? "failed" : "";
}

function explain(problem) {
  const fields = (problem.errors || []).map((e) => e.field + ": " + e.message);
  return fields.length > 0 ? fields.join("; ") : problem.detail || problem.title;
}

async function submit(event) {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  say("One moment");
  try {
    const fields = Object.fromEntries(new FormData(form));
    const reply = await fetch("/api/v1/auth/setup", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token, ...fields }),
    });
    const body = await reply.json();
    if (reply.ok) {
      form.hidden = true;
      document.getElementById("intro").hidden = true;
      say(body.email + " is the administrator. Sign in with POST /api/v1/auth/login.");
      return;
    }
    say(explain(body), true);
  } catch (error) {
    say("Hive did not answer: " + error.message, true);
  }
  button.disabled = false;
}

if (token === null) {
  form.hidden = true;
  say("This page is opened by the link that ./dev up or hive-worker --init-admin prints.", true);
} else {
  form.addEventListener("submit", submit);
}
