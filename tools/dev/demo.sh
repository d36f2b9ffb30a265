# demo.sh: what Hive is for: a swarm of five takes one request to a finished
# piece of work, shown live by hivectl.
# shellcheck shell=sh

DEMO_WORK="Write a one-page guide for people who want to keep bees in a city: what it takes, what it costs, what can go wrong"

# hivectl of this copy, with tokens of its own.
demo_hivectl() {
    XDG_CONFIG_HOME=$VAR/demo HIVE_URL=$URL HIVE_TOKEN='' "$VAR/bin/hivectl" "$@"
}

dev_demo() {
    if [ "$(health)" != 200 ]; then
        "$TOP/dev" up >&2 || exit
    fi
    (umask 077 && mkdir -p "$VAR/demo")
    if ! demo_hivectl whoami >/dev/null 2>&1; then
        secret "$VAR/secrets/demo.password"
        name=demo-$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')
        demo_hivectl login --email "$name@example.org" --register Demo \
            --password-file "$VAR/secrets/demo.password" >/dev/null ||
            fail "the demonstration cannot sign in" "./dev status says whether Hive is up"
    fi
    model=$(demo_hivectl models | awk '$1 == "claude-haiku-5-5" && $2 == "yes" { print $1 }')
    model=${model:-echo}
    swarm=$(date +demo-%H%M%S)
    project=$(demo_hivectl --json projects create "Demonstration $swarm" | sed 's/.*"id":"\([^"]*\)".*/\1/')
    demo_hivectl swarm create "$swarm" --topology hierarchical --model "$model" --project "$project" \
        --agent coordinator --agent researcher --agent analyst --agent documenter --agent reviewer >/dev/null ||
        fail "the demonstration cannot make a swarm" "see the worker's log" "$VAR/log/worker.log"
    if [ "$model" = echo ]; then
        printf 'A swarm of five, with the built-in stand-in for a model. For a real one: a key in\n'
        printf '%s, then ./dev up.\n\n' "$VAR/secrets/anthropic.key"
    else
        printf 'A swarm of five, with %s.\n\n' "$model"
    fi
    status=0
    demo_hivectl swarm run "$swarm" "${*:-$DEMO_WORK}" || status=$?
    printf '\nYours to try:\n    export HIVE_URL=%s XDG_CONFIG_HOME=%s\n    %s swarm run %s "..."\n' \
        "$URL" "$VAR/demo" "$VAR/bin/hivectl" "$swarm"
    return "$status"
}
