# env.sh: where things are and who owns them.
# shellcheck shell=sh
#
#   $VAR/pg         the Postgres cluster
#   $VAR/run        all sockets (a link to a short path when $VAR is long)
#   $VAR/secrets    keys, mode 0600
#   $VAR/bin        the binaries that run: copies, so that a build replaces
#                   nothing under a running process
#   $VAR/nginx      nginx's prefix
#   $VAR/log        every log
#   $VAR/pids       what runs: pid, boot and start time, checksum of its inputs

# Started as root, everything but nginx's master runs as SERVICE_USER, and
# nginx's workers as WEB_USER. Started by anyone else, all of it runs as them.
if [ "$(id -u)" = 0 ]; then
    SERVICE_USER=postgres
    WEB_USER=www-data
else
    SERVICE_USER=$(id -un)
    WEB_USER=$SERVICE_USER
fi

PGBIN=/usr/lib/postgresql/15/bin
NGINX=/usr/sbin/nginx

# Socket paths hold at most 107 bytes; the longest name here takes 24.
RUN_PATH_MAX=80

# Nothing of the caller's Postgres or locale may leak in.
unset PGHOST PGHOSTADDR PGPORT PGUSER PGDATABASE PGPASSWORD PGPASSFILE \
    PGSERVICE PGSERVICEFILE PGOPTIONS PGDATA PGSSLMODE PGAPPNAME
export LC_ALL=C.UTF-8
umask 022

dev_env() {
    VAR=${HIVE_VAR:-$TOP/var}
    case $VAR in
        /*) ;;
        *) VAR=$PWD/$VAR ;;
    esac
    case $VAR in
        *[!A-Za-z0-9_./@+-]*)
            fail "HIVE_VAR has a character that does not fit configuration files: $VAR" \
                "choose a path of letters, digits and ._/@+-"
            ;;
    esac
    PORT=${HIVE_PORT:-$(recorded_port)}
    case $PORT in
        '' | *[!0-9]*) fail "HIVE_PORT is not a port: $PORT" "HIVE_PORT=8080 ./dev up" ;;
    esac
    URL=http://127.0.0.1:$PORT
}

# The port of the copy that runs in $VAR, so that HIVE_VAR alone finds it.
recorded_port() {
    if [ -s "$VAR/pids/nginx" ] && [ -s "$VAR/port" ]; then
        cat "$VAR/port"
    else
        echo 8080
    fi
}

# as_service COMMAND...: as the user who owns the cluster and the workers.
# From /, since the caller's folder may be closed to that user.
as_service() {
    if [ "$(id -u)" = 0 ]; then
        (cd / && HOME=$VAR exec setpriv --reuid="$SERVICE_USER" \
            --regid="$SERVICE_USER" --init-groups "$@")
    else
        "$@"
    fi
}

# make_var: the state folders. When SERVICE_USER cannot reach $VAR (a
# checkout under /root), the state lives in /var/lib/hive-dev and $VAR is a
# link to it.
make_var() {
    if [ ! -e "$VAR" ]; then
        mkdir -p "$VAR" || fail "cannot create $VAR" "choose another place with HIVE_VAR"
    fi
    VAR=$(CDPATH='' cd -- "$VAR" && pwd -P)
    if ! as_service test -x "$VAR"; then
        rmdir "$VAR" 2>/dev/null ||
            fail "user $SERVICE_USER cannot reach $VAR" \
                "remove it (./dev clean) or choose another place with HIVE_VAR"
        elsewhere=/var/lib/hive-dev/$(printf '%s' "$VAR" | cksum | cut -d ' ' -f 1)
        mkdir -p "$elsewhere"
        chmod 755 /var/lib/hive-dev "$elsewhere"
        ln -s "$elsewhere" "$VAR"
        VAR=$elsewhere
        printf '  %-12s%s\n' state "user $SERVICE_USER may not enter here: state is in $VAR, ./var links to it"
    fi
    mkdir -p "$VAR/log" "$VAR/pids" "$VAR/bin" "$VAR/secrets" "$VAR/nginx"
    chmod 755 "$VAR" "$VAR/bin" "$VAR/nginx"
    chmod 700 "$VAR/secrets" "$VAR/pids"
    own "$VAR/secrets"
    make_run
}

# own PATH...: gives it to SERVICE_USER.
own() {
    [ "$(id -u)" != 0 ] || chown "$SERVICE_USER:" "$@"
}

# make_run: the folder of the sockets; RUN is its short, real path. nginx may
# pass through it, nobody may list it, and each socket has its own mode.
make_run() {
    if [ -L "$VAR/run" ] && [ ! -d "$VAR/run" ]; then
        rm -f "$VAR/run"
    fi
    if [ ! -e "$VAR/run" ]; then
        if [ "${#VAR}" -gt "$RUN_PATH_MAX" ]; then
            ln -s "$(mktemp -d /tmp/hive-XXXXXX)" "$VAR/run"
        else
            mkdir "$VAR/run"
        fi
    fi
    RUN=$(CDPATH='' cd -- "$VAR/run" && pwd -P)
    chmod 711 "$RUN"
    own "$RUN"
}
