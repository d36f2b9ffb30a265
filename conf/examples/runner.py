#!/usr/bin/env python3
"""runner.py: runs tasks of the kind "count" for Hive, as an example of a
remote runner. Python 3, standard library only.

    HIVE_URL=http://127.0.0.1:8080 HIVE_TOKEN=... ./runner.py

Input {"to": 5, "each_ms": 100} counts and succeeds with {"counted": 5}.
SIGTERM and SIGINT let the task in hand end, and then the program.
"""
import json, os, random, signal, threading, time
import urllib.error, urllib.request

URL, TOKEN = os.environ["HIVE_URL"].rstrip("/"), os.environ["HIVE_TOKEN"]
LEASE_MS = 15000
stopping = threading.Event()


def post(path, body, timeout=35):
    request = urllib.request.Request(
        URL + "/api/v1/tasks/" + path, json.dumps(body).encode(),
        {"Authorization": "Bearer " + TOKEN, "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as reply:
        return json.load(reply)


def insist(path, body):
    """Sends what is safe to repeat until it is heard or refused."""
    for attempt in range(10):
        try:
            return post(path, body)
        except urllib.error.HTTPError as e:
            if e.code < 500 and e.code != 429:
                return None  # 409: the lease is lost, somebody else has it
        except OSError:
            pass
        time.sleep(min(30, 0.5 * 2 ** attempt) * random.uniform(0.5, 1))


def beat(task, ended, lost):
    """A thread for each task: keeps its lease, learns of a cancel."""
    while not ended.wait(LEASE_MS / 3000):
        state = insist(task["id"] + "/heartbeat", {"lease_token": task["lease_token"]})
        if state is None or state["cancel_requested"] or state["pause_requested"]:
            return lost.set()


def count(task, lost):
    to, each = task["input"]["to"], task["input"].get("each_ms", 0) / 1000
    for n in range(1, to + 1):
        if lost.wait(each):
            raise InterruptedError("stopped at %d" % n)
        insist(task["id"] + "/progress", {"lease_token": task["lease_token"],
               "progress": n / to, "message": "counted to %d" % n})
    return {"counted": to}


def run(task):
    ended, lost = threading.Event(), threading.Event()
    threading.Thread(target=beat, args=(task, ended, lost), daemon=True).start()
    end = {"lease_token": task["lease_token"]}
    try:
        verb, end["result"] = "complete", count(task, lost)
    except Exception as e:
        verb, end["error"] = "fail", {"code": type(e).__name__, "message": str(e)}
    ended.set()
    insist(task["id"] + "/" + verb, end)


def main():
    for s in (signal.SIGTERM, signal.SIGINT):
        signal.signal(s, lambda *_: stopping.set())
    failures = 0
    while not stopping.is_set():
        try:
            tasks = post("claim", {"kinds": ["count"], "wait_ms": 5000, "lease_ms": LEASE_MS})["tasks"]
            failures = 0
        except OSError as e:  # HTTP errors too
            if getattr(e, "code", 500) in (401, 403, 422):
                raise SystemExit("refused: %s" % e)
            failures += 1
            stopping.wait(min(30, 0.5 * 2 ** failures) * random.uniform(0.5, 1))
            continue
        for task in tasks:
            run(task)


if __name__ == "__main__":
    main()
