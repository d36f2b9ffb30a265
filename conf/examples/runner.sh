#!/bin/sh
# runner.sh: runs tasks of the kind "shout" for Hive, as an example of a remote
# runner: sh, curl and jq.
#
#     HIVE_URL=http://127.0.0.1:8080 HIVE_TOKEN=... ./runner.sh
#
# Input {"text": "a", "seconds": 1} succeeds with {"shouted": "A"} after that
# time. TERM and INT let the task in hand end, and then the program.

dir=$(mktemp -d)
stopping=
trap 'stopping=1' TERM INT
trap 'rm -rf "$dir"' EXIT

# post PATH BODY: the reply on standard output. 1: not heard, or not now; 2:
# refused. The token goes by standard input: arguments are for all to see.
post() {
    code=$(printf 'header = "Authorization: Bearer %s"\n' "$HIVE_TOKEN" |
        curl -s -K - --max-time 35 -o "$dir/reply" -w '%{http_code}' -H 'Content-Type: application/json' \
            --data-binary "$2" "$HIVE_URL/api/v1/tasks/$1")
    case $code in
    2??) cat "$dir/reply" ;;
    429 | 5?? | 000) return 1 ;;
    *) return 2 ;;
    esac
}

# insist PATH BODY: what is safe to repeat, until it is heard or refused.
insist() {
    for pause in 0.5 1 2 4 8 16; do
        post "$1" "$2"
        [ $? -eq 1 ] || return
        sleep "$pause"
    done
    return 1
}

# The work, beside the heartbeats: its result goes to standard output, TERM
# ends it.
shout() {
    trap '' INT
    sleep "$(printf '%s' "$1" | jq -r '.input.seconds // 0')" &
    trap 'kill $!; exit 1' TERM
    wait $!
    printf '%s' "$1" | jq -c '{shouted: (.input.text | ascii_upcase)}'
}

run() {
    id=$(printf '%s' "$1" | jq -r .id)
    lease=$(printf '%s' "$1" | jq -c '{lease_token}')
    shout "$1" >"$dir/result" &
    work=$! ticks=0 why='it failed'
    while kill -0 $work 2>/dev/null; do
        sleep 0.2
        ticks=$((ticks + 1))
        [ $((ticks % 10)) -eq 0 ] || continue
        state=$(insist "$id/heartbeat" "$lease") || state='{"cancel_requested": true}' # the lease is lost
        if printf '%s' "$state" | jq -e '.cancel_requested or .pause_requested' >/dev/null; then
            why='told to stop'
            kill $work
        fi
    done
    if wait $work; then
        insist "$id/complete" "$(printf '%s' "$lease" | jq -c --slurpfile r "$dir/result" '. + {result: $r[0]}')"
    else
        insist "$id/fail" "$(printf '%s' "$lease" | jq -c --arg why "$why" '. + {error: {code: "stopped", message: $why}}')"
    fi >/dev/null
}

pause=1
while [ -z "$stopping" ]; do
    if tasks=$(post claim '{"kinds": ["shout"], "wait_ms": 5000, "lease_ms": 15000}'); then
        pause=1
        task=$(printf '%s' "$tasks" | jq -c '.tasks[0] // empty')
        [ -z "$task" ] || run "$task"
    else
        sleep $pause
        pause=$((pause < 30 ? pause * 2 : 30))
    fi
done
exit 0
