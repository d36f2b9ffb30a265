# process.sh: processes that outlive ./dev, known by pid and start time.
# shellcheck shell=sh
#
# $VAR/pids/NAME holds "pid start group stamp": a pid counts as ours only
# while boot and start time are those that were recorded, so a number that
# has been given to somebody else is never signalled.

# stat_field PID FIELD: a field of /proc/PID/stat, as proc(5) numbers them,
# from the third on.
stat_field() {
    { read -r stat_line <"/proc/$1/stat"; } 2>/dev/null || return 1
    stat_n=$(($2 - 2))
    # shellcheck disable=SC2086
    set -- ${stat_line##*) }
    shift $((stat_n - 1))
    echo "$1"
}

# start_of PID: boot and start time; fails when it is gone or a zombie.
start_of() {
    case $(stat_field "$1" 3) in
        '' | Z | X) return 1 ;;
    esac
    echo "$(cut -c 1-8 /proc/sys/kernel/random/boot_id)-$(stat_field "$1" 22)"
}

# alone COMMAND...: becomes the command, without any descriptor of ours but
# the first three: a pipe that a server inherits is held for as long as it
# runs, and the shell cannot close those it does not know of.
alone() {
    exec perl -MPOSIX -e '
        opendir my $fds, "/proc/self/fd" or die "/proc/self/fd: $!\n";
        my @open = grep { /^\d+$/ && $_ > 2 && $_ != fileno $fds } readdir $fds;
        POSIX::close($_) for @open;
        exec { $ARGV[0] } @ARGV or die "$ARGV[0]: $!\n"' "$@"
}

# record NAME PID STAMP
record() {
    echo "$2 $(start_of "$2") $(stat_field "$2" 5) $3" >"$VAR/pids/$1"
}

# alive NAME: sets PID, GROUP and STAMP; fails unless it runs.
alive() {
    PID='' START='' GROUP='' STAMP=''
    [ -s "$VAR/pids/$1" ] || return 1
    read -r PID START GROUP STAMP <"$VAR/pids/$1" || return 1
    [ "$(start_of "$PID")" = "$START" ]
}

# wait_gone NAME SECONDS
wait_gone() {
    tenths=$(($2 * 10))
    while alive "$1"; do
        [ "$tenths" -gt 0 ] || return 1
        tenths=$((tenths - 1))
        sleep 0.1
    done
}

# remains NAME EXECUTABLE: pids of the recorded group that still run it.
# After a kill -9 of the leader these are its orphans.
remains() {
    [ -s "$VAR/pids/$1" ] || return 0
    read -r _ _ group _ <"$VAR/pids/$1" || return 0
    for dir in /proc/[0-9]*; do
        pid=${dir#/proc/}
        [ "$(stat_field "$pid" 5)" = "$group" ] || continue
        exe=$(readlink "$dir/exe") || continue
        [ "${exe% (deleted)}" != "$2" ] || echo "$pid"
    done
}

# stop NAME SIGNAL SECONDS EXECUTABLE: asks, waits, then kills.
stop() {
    if alive "$1"; then
        kill -s "$2" "$PID" 2>/dev/null || true
        wait_gone "$1" "$3" || {
            kill -s KILL "$PID" 2>/dev/null || true
            wait_gone "$1" 5 || true
        }
    fi
    left=$(remains "$1" "$4")
    if [ -n "$left" ]; then
        # shellcheck disable=SC2086
        kill -s KILL $left 2>/dev/null || true
        sleep 0.2
    fi
    rm -f "$VAR/pids/$1"
}

# stamp FILE...: a checksum of their contents.
stamp() {
    cat "$@" | cksum | tr ' ' -
}

# roll FILE: a log of more than 64 MiB becomes FILE.1.
roll() {
    if [ -n "$(find "$1" -size +65536k 2>/dev/null)" ]; then
        mv "$1" "$1.1"
    fi
}
