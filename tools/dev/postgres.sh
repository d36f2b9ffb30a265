# postgres.sh: the private cluster, its role and database, the migrations.
# shellcheck shell=sh

# What postgresql.conf is given; durable, and small enough for a laptop.
postgres_settings() {
    cat <<END
# Made by ./dev up: changes are overwritten.
listen_addresses = ''
unix_socket_directories = '$RUN'
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = 256MB
effective_cache_size = 1GB
work_mem = 8MB
maintenance_work_mem = 64MB
random_page_cost = 1.1
fsync = on
synchronous_commit = on
full_page_writes = on
wal_compression = lz4
# After a crash all log since the last checkpoint is read again, at 75 to 160
# MB/s: with these it takes a second or two, and with PostgreSQL's own a dozen.
max_wal_size = 1GB
checkpoint_timeout = 30s
checkpoint_completion_target = 0.5
# Before that every file is flushed, one by one (1.6 to 2 s) or all at once (0.2 s).
recovery_init_sync_method = syncfs
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_min_messages = warning
log_min_duration_statement = 1000
log_line_prefix = '%m [%p] %q%u '
END
}

# Who may connect is decided by the operating system's user, not by a
# password: the owner of the cluster, and root, who could anyway.
# postgres_access CLUSTER
postgres_access() {
    cat >"$1/pg_hba.conf" <<'END'
local all postgres peer map=hive
local hive hive peer map=hive
END
    for user in "$SERVICE_USER" root; do
        for role in postgres hive; do
            echo "hive $user $role"
        done
    done | sort -u >"$1/pg_ident.conf"
}

# sql DATABASE: runs standard input as the cluster's superuser.
sql() {
    as_service "$PGBIN/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$RUN" \
        -U postgres -d "$1"
}

postgres_init() {
    # half a cluster is none: it gets its name when it is whole
    rm -rf "$VAR/pg.new"
    mkdir -m 700 "$VAR/pg.new"
    own "$VAR/pg.new"
    run "$VAR/log/initdb.log" "initdb failed" "see the log; is the disk full?" \
        as_service "$PGBIN/initdb" -D "$VAR/pg.new" -U postgres -E UTF8 \
        --locale=C.UTF-8 --auth-local=peer --auth-host=reject
    echo "include = 'hive.conf'" >>"$VAR/pg.new/postgresql.conf"
    postgres_access "$VAR/pg.new"
    mv "$VAR/pg.new" "$VAR/pg"
}

postgres_up() {
    step postgres
    [ -x "$PGBIN/postgres" ] ||
        fail "there is no $PGBIN/postgres" "apt-get install postgresql-15"
    if [ ! -e "$VAR/pg" ]; then
        doing "making a cluster"
        postgres_init
    fi
    owner=$(stat -c %U "$VAR/pg")
    [ "$owner" = "$SERVICE_USER" ] ||
        fail "the cluster in $VAR/pg belongs to $owner, not to $SERVICE_USER" \
            "run ./dev as the user who made it, or ./dev clean (loses its data)"
    postgres_settings >"$VAR/pg/hive.conf.new"
    own "$VAR/pg/hive.conf.new"
    now=$(stamp "$VAR/pg/hive.conf.new")
    mv "$VAR/pg/hive.conf.new" "$VAR/pg/hive.conf"
    if alive postgres && [ "$STAMP" != "$now" ]; then
        doing "settings changed, stopping"
        postgres_down
    fi
    if alive postgres; then
        done_ "runs (pid $PID)"
    else
        postgres_start "$now"
        done_ "started (pid $PID)"
    fi
    postgres_database
}

# One that was started by other means than ./dev is taken over, when it is
# really there: postmaster.pid alone proves nothing.
postgres_start() {
    roll "$VAR/log/postgres.log"
    if ! as_service "$PGBIN/pg_ctl" -D "$VAR/pg" status >/dev/null 2>&1; then
        touch "$VAR/log/postgres.log"
        own "$VAR/log/postgres.log"
        doing "starting"
        as_service "$PGBIN/pg_ctl" -D "$VAR/pg" -w -t 60 -s \
            -l "$VAR/log/postgres.log" start </dev/null >"$VAR/log/pg_ctl.log" 2>&1 9>&- ||
            fail "Postgres does not start" "see the log" "$VAR/log/postgres.log"
    fi
    record postgres "$(head -n 1 "$VAR/pg/postmaster.pid")" "$1"
    alive postgres || fail "Postgres went away at once" "see the log" "$VAR/log/postgres.log"
}

postgres_down() {
    stop postgres INT 20 "$PGBIN/postgres"
}

postgres_database() {
    sql postgres <<'END' >"$VAR/log/database.log" 2>&1 || fail "cannot create role and database" "see the log" "$VAR/log/database.log"
select 'create role hive login'
    where not exists (select from pg_roles where rolname = 'hive') \gexec
select 'create database hive'
    where not exists (select from pg_database where datname = 'hive') \gexec
END
}

# sqitch COMMAND...: on Hive's database, by the plan in sql/. The schema
# belongs to the cluster's superuser; the role hive only uses it.
sqitch_hive() {
    (cd "$TOP/sql" && HOME=$VAR PGHOST=$RUN SQITCH_FULLNAME=Hive \
        SQITCH_EMAIL=hive@localhost exec sqitch "$@" db:pg://postgres@/hive)
}

# Skipped while sql/ is the one that was deployed to this cluster: sqitch
# takes a second to say so.
migrations() {
    step migrations
    now=$(cd "$TOP/sql" && find sqitch.plan deploy verify -type f -exec cat {} + | cksum | tr ' ' -)
    if [ "$(cat "$VAR/deployed" 2>/dev/null)" = "$now" ]; then
        done_ "up to date"
        return
    fi
    doing "deploying"
    run "$VAR/log/sqitch.log" "a migration failed" \
        "mend the file named above in sql/; ./dev psql shows the database as it is" \
        sqitch_hive deploy
    run "$VAR/log/sqitch-verify.log" "the deployed schema does not verify" \
        "see the log; ./dev clean begins anew (loses its data)" sqitch_hive verify
    echo "$now" >"$VAR/deployed"
    done_ "deployed and verified"
}
