# instance.sh: up, down, status, logs, psql, clean: one running copy of Hive.
# shellcheck shell=sh

dev_up() {
    [ $# -eq 0 ] || fail "up takes no arguments" "HIVE_PORT and HIVE_VAR move it"
    if [ "${HIVE_DEV_ALONE:-}" != $$ ]; then
        HIVE_DEV_ALONE=$$
        export HIVE_DEV_ALONE
        alone "$TOP/dev" up
    fi
    unset HIVE_DEV_ALONE
    printf 'Hive in %s\n' "$TOP"
    packages build run
    build
    make_var
    exec 9>"$VAR/pids/.lock"
    flock -n 9 || {
        printf '  waiting for another ./dev up\n'
        flock 9
    }
    secrets
    configuration
    postgres_up
    migrations
    worker_up
    catalogue
    nginx_up
    ready
    welcome
}

# build [TARGETS]: all, and those.
build() {
    step build "make"
    log=$(mktemp "${TMPDIR:-/tmp}/hive-build-XXXXXX")
    run "$log" "the build failed" "mend what the compiler says above, then ./dev up" \
        make -C "$TOP" -s -j "$(nproc)" all "$@"
    rm -f "$log"
    done_ "module and worker are up to date"
}

# put FROM TO: as a new file, when it differs: the old one may be running.
put() {
    cmp -s "$1" "$2" || install -m 755 "$1" "$2"
}

# spawn NAME LOG COMMAND...: in the background, in a session of its own, and
# recorded. The lock (9) is not for it.
spawn() {
    spawn_name=$1 spawn_log=$2
    shift 2
    (cd / && HOME=$VAR && export HOME && unset HIVE_VAR HIVE_PORT &&
        exec setsid "$@" </dev/null >>"$spawn_log" 2>&1 9>&-) &
    spawn_pid=$!
    record "$spawn_name" "$spawn_pid" "$now"
}

worker_up() {
    step worker
    put "$TOP/build/hive-worker" "$VAR/bin/hive-worker"
    log=$VAR/log/worker.log
    now=$(stamp "$VAR/bin/hive-worker" "$VAR/worker.ini" "$VAR/secrets/token.key")
    if alive worker && [ "$STAMP" = "$now" ]; then
        done_ "runs (pid $PID)"
        return
    fi
    if alive worker; then
        doing "changed, stopping"
    fi
    worker_down
    run "$VAR/log/worker-check.log" "the worker refuses its configuration" \
        "see the message; $VAR/worker.ini is made by tools/dev/config.sh" \
        as_service "$VAR/bin/hive-worker" -c "$VAR/worker.ini" --check
    roll "$log"
    : >>"$log"
    if [ "$(id -u)" = 0 ]; then
        # the group of nginx, so that the sockets can be given to it
        groups=$(id -G "$SERVICE_USER" | tr ' ' ,),$(id -g "$WEB_USER")
        spawn worker "$log" setpriv --reuid="$SERVICE_USER" \
            --regid="$SERVICE_USER" --groups="$groups" --no-new-privs \
            "$VAR/bin/hive-worker" -c "$VAR/worker.ini"
    else
        spawn worker "$log" "$VAR/bin/hive-worker" -c "$VAR/worker.ini"
    fi
    sleep 0.2
    alive worker || fail "the worker ended as soon as it started" "see its log" "$log"
    done_ "started (pid $PID)"
}

worker_down() {
    stop worker TERM 15 "$VAR/bin/hive-worker"
}

nginx_run() {
    "$NGINX" -p "$VAR/nginx" -e "$VAR/log/nginx.log" -c "$VAR/nginx.conf" "$@"
}

nginx_up() {
    step nginx
    [ -x "$NGINX" ] || fail "there is no $NGINX" "apt-get install nginx-light"
    put "$TOP/build/ngx_http_hive_module.so" "$VAR/bin/ngx_http_hive_module.so"
    now=$(stamp "$VAR/bin/ngx_http_hive_module.so" "$VAR/nginx.conf" "$VAR/secrets/token.key" "$NGINX")
    if alive nginx && [ "$STAMP" = "$now" ]; then
        done_ "runs (pid $PID)"
        return
    fi
    # a module is not loaded anew by a reload: dlopen returns the mapped one
    if alive nginx; then
        doing "changed, stopping"
    fi
    nginx_down
    run "$VAR/log/nginx-check.log" "nginx refuses its configuration" \
        "see the message; $VAR/nginx.conf is made by tools/dev/config.sh" nginx_run -t
    roll "$VAR/log/nginx.log"
    roll "$VAR/log/access.log"
    (cd / && nginx_run) </dev/null >"$VAR/log/nginx-start.log" 2>&1 9>&- || {
        mend="see the message"
        ! grep -q 'Address already in use' "$VAR/log/nginx-start.log" ||
            mend="port $PORT is taken: HIVE_PORT=8081 ./dev up"
        fail "nginx does not start" "$mend" "$VAR/log/nginx-start.log"
    }
    record nginx "$(cat "$VAR/nginx/nginx.pid")" "$now"
    alive nginx || fail "nginx ended as soon as it started" "see its log" "$VAR/log/nginx.log"
    done_ "started (pid $PID)"
}

nginx_down() {
    stop nginx QUIT 5 "$NGINX"
}

# catalogue: the models of conf/models.json, as they are there now.
catalogue() {
    step models
    put "$TOP/build/hivectl" "$VAR/bin/hivectl"
    said=$(as_service "$VAR/bin/hive-worker" -c "$VAR/worker.ini" --load-models - \
        2>"$VAR/log/models.log" <"$TOP/conf/models.json") ||
        fail "the catalogue of models cannot be loaded" "mend conf/models.json" "$VAR/log/models.log"
    done_ "$said"
}

# health: the status of /health/ready, 000 when nobody answers.
health() {
    curl -s -o "$VAR/log/ready.json" -w '%{http_code}' --max-time 2 \
        "$URL/health/ready" 2>/dev/null || true
}

ready() {
    step ready
    tenths=300
    while [ "$(health)" != 200 ]; do
        alive worker || fail "the worker has ended" "see its log" "$VAR/log/worker.log"
        alive nginx || fail "nginx has ended" "see its log" "$VAR/log/nginx.log"
        tenths=$((tenths - 2))
        if [ "$tenths" -le 0 ]; then
            printf '\n    %s\n' "$(cat "$VAR/log/ready.json" 2>/dev/null)"
            fail "not ready after 30 s" "see the worker's log; ./dev logs shows the others" "$VAR/log/worker.log"
        fi
        [ "$tenths" != 290 ] || doing "waiting for the workers"
        sleep 0.2
    done
    done_ "$URL/health/ready says 200"
}

welcome() {
    link=$(as_service "$VAR/bin/hive-worker" -c "$VAR/worker.ini" --init-admin 2>"$VAR/log/init-admin.log") ||
        fail "the first administrator cannot be prepared" "see the log" "$VAR/log/init-admin.log"
    cat <<END

Hive is up:  $URL
    health   $URL/health/ready
    metrics  $URL/metrics
    state    $VAR (./dev status, ./dev logs, ./dev psql)

END
    [ -z "$link" ] || printf 'Make the first administrator (this link works once, for 24 hours):\n    %s\n\n' "$link"
    cat <<END
Try it:
    curl $URL/api/v1/auth/register -H 'Content-Type: application/json' \\
        -d '{"email":"ada@example.org","name":"Ada","password":"a long walk by the sea"}'
    TOKEN=\$(curl -s $URL/api/v1/auth/login -H 'Content-Type: application/json' \\
        -d '{"email":"ada@example.org","password":"a long walk by the sea"}' |
        sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')
    curl $URL/api/v1/projects -H "Authorization: Bearer \$TOKEN" \\
        -H 'Content-Type: application/json' -d '{"name":"First project"}'
    curl $URL/api/v1/projects -H "Authorization: Bearer \$TOKEN"

See a swarm of agents at work:  ./dev demo
Stop it: ./dev down      Test it: ./dev test
END
}

# enter_var: for commands that need a copy that exists.
enter_var() {
    [ -d "$VAR/pids" ] || return 1
    VAR=$(CDPATH='' cd -- "$VAR" && pwd -P)
    [ ! -d "$VAR/run" ] || RUN=$(CDPATH='' cd -- "$VAR/run" && pwd -P)
}

# What was begun last ends first, so that nobody meets a dead neighbour.
dev_down() {
    if ! enter_var; then
        echo "nothing runs: there is no $VAR"
        return
    fi
    for name in nginx worker postgres; do
        step "$name"
        if alive "$name"; then
            doing "stopping (pid $PID)"
            "${name}_down"
            done_ "stopped"
        else
            "${name}_down"
            done_ "was not running"
        fi
    done
}

dev_status() {
    if ! enter_var; then
        echo "nothing runs: there is no $VAR (./dev up makes it)"
        return 1
    fi
    all=0
    for name in postgres worker nginx; do
        step "$name"
        if alive "$name"; then
            done_ "runs (pid $PID)"
        else
            done_ "is not running"
            all=1
        fi
    done
    step ready
    code=$(health)
    if [ "$code" = 200 ]; then
        done_ "yes: $URL"
    else
        done_ "no: $URL/health/ready says $code"
        all=1
    fi
    return $all
}

dev_logs() {
    enter_var || fail "there are no logs yet" "./dev up"
    follow='' names=''
    for arg in "$@"; do
        case $arg in
            -f) follow=-f ;;
            worker | nginx | access | postgres) names="$names $VAR/log/$arg.log" ;;
            *) fail "there is no log '$arg'" "worker, nginx, access or postgres" ;;
        esac
    done
    # shellcheck disable=SC2086
    exec tail -n 40 $follow ${names:-"$VAR/log/postgres.log" "$VAR/log/nginx.log" "$VAR/log/worker.log"}
}

dev_psql() {
    enter_var && alive postgres || fail "Postgres is not running" "./dev up"
    # root may connect too, see postgres_access; so may files be read from here
    PGOPTIONS='-c search_path=cell0,hive' exec "$PGBIN/psql" -h "$RUN" -U postgres -d hive "$@"
}

dev_clean() {
    if enter_var; then
        dev_down
        case $RUN in
            /tmp/hive-*) rm -rf "$RUN" ;;
        esac
        rm -rf "$VAR"
    fi
    var=${HIVE_VAR:-$TOP/var}
    [ ! -L "$var" ] || rm -f "$var"
    make -C "$TOP" -s clean
    rm -rf "$TOP/coverage"
    echo "clean"
}
