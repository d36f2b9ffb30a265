# ui.sh: what ./dev says while it works, and how it fails.
# shellcheck shell=sh

STEP=
STEP_BEGAN=0

# step NAME [DOING]: begins a line; what follows may take a while.
step() {
    STEP=$1
    STEP_BEGAN=$(date +%s)
    printf '  %-12s' "$STEP"
    [ $# -lt 2 ] || doing "$2"
}

doing() {
    printf '%s ... ' "$1"
}

# done_ WHAT: ends the line, with the seconds it took when that is of note.
done_() {
    took=$(($(date +%s) - STEP_BEGAN))
    if [ "$took" -gt 1 ]; then
        printf '%s (%d s)\n' "$1" "$took"
    else
        printf '%s\n' "$1"
    fi
    STEP=
}

# fail WHAT HOW_TO_MEND [LOG]: says both, shows the log's end, and ends.
fail() {
    [ -z "$STEP" ] || printf 'failed\n'
    {
        printf '\ndev: %s\n' "$1"
        if [ -n "${3:-}" ] && [ -s "$3" ]; then
            printf '\nthe last lines of %s:\n' "$3"
            tail -n 20 "$3" | cut -c 1-400 | sed 's/^/    /'
            printf '\n'
        fi
        [ -z "$2" ] || printf 'to mend it: %s\n' "$2"
    } >&2
    exit 1
}

# run LOG WHAT HOW_TO_MEND COMMAND...: runs it with its output in LOG.
run() {
    run_log=$1 run_what=$2 run_mend=$3
    shift 3
    "$@" </dev/null >"$run_log" 2>&1 || fail "$run_what" "$run_mend" "$run_log"
}
