# config.sh: secrets, and the configuration of this copy's worker and nginx.
# shellcheck shell=sh

# secret FILE: makes it when absent, refuses one that anybody could guess.
secret() {
    if [ ! -e "$1" ]; then
        (umask 077 && openssl rand -base64 48 | tr -d '\n' >"$1.new") ||
            fail "cannot make a secret with openssl" "apt-get install openssl"
        own "$1.new"
        mv "$1.new" "$1"
    fi
    chmod 600 "$1"
    mend="remove $1 and run ./dev up again; tokens issued with it end"
    [ "$(wc -c <"$1")" -ge 32 ] || fail "the secret in $1 is shorter than 32 bytes" "$mend"
    [ "$(fold -w 1 "$1" | sort -u | wc -l)" -ge 12 ] ||
        fail "the secret in $1 is no random one" "$mend"
    if grep -Eqi 'change|secret|example|placeholder' "$1"; then
        fail "the secret in $1 is a placeholder" "$mend"
    fi
}

secrets() {
    step secrets
    secret "$VAR/secrets/token.key"
    done_ "$VAR/secrets"
}

# How many processes each side gets: a core each, within reason. The tests
# set PROCESSES.
processes() {
    count=${PROCESSES:-$(nproc)}
    [ "$count" -le 8 ] || count=8
    echo "$count"
}

worker_ini() {
    cat <<END
; Made by ./dev up: changes are overwritten. conf/worker.ini explains the keys.
[worker]
endpoint = ipc://$RUN/worker
processes = $(processes)
socket_mode = 0660
socket_group = $(id -gn "$WEB_USER")

[database]
conninfo = host=$RUN dbname=hive user=hive

[auth]
issuer = hive
audience = hive
key_id = dev
algorithm = HS256
key_file = $VAR/secrets/token.key
public_url = $URL
END
    # a key of one's own makes the models of its provider ready
    [ ! -s "$VAR/secrets/anthropic.key" ] || cat <<END

[llm]
anthropic_key_file = $VAR/secrets/anthropic.key
END
}

nginx_conf() {
    user=
    [ "$(id -u)" != 0 ] || user="user $WEB_USER;"
    cat <<END
# Made by ./dev up: changes are overwritten. conf/nginx.conf explains it.
load_module $VAR/bin/ngx_http_hive_module.so;
$user
worker_processes $(processes);
worker_rlimit_nofile 16384;
pid $VAR/nginx/nginx.pid;
lock_file $VAR/nginx/nginx.lock;
error_log $VAR/log/nginx.log notice;

events {
    worker_connections 4096;
}

http {
    default_type application/octet-stream;
    client_body_temp_path $VAR/nginx/body;
    proxy_temp_path $VAR/nginx/proxy;
    fastcgi_temp_path $VAR/nginx/fastcgi;
    uwsgi_temp_path $VAR/nginx/uwsgi;
    scgi_temp_path $VAR/nginx/scgi;
    server_tokens off;

$(sed -n '/^log_format hive/,/^# A server of its own/ { /^#/d; s/^./    &/; p }' "$TOP/conf/hive.conf")
    access_log $VAR/log/access.log hive buffer=64k flush=1s;

    hive_workers ipc://$RUN/worker $(processes);
    hive_zone hive:4m;
    hive_jwt_key dev HS256 $VAR/secrets/token.key;
    hive_jwt_issuer hive;
    hive_jwt_audience hive;

    server {
        listen 127.0.0.1:$PORT backlog=4096;

        location ^~ /api/ {
            hive on;
        }

        location = /health {
            hive on;
        }

        location / {
            hive on;
        }

        root $VAR/web;
        include $VAR/web/web.conf;
    }
}
END
}

# configuration: writes both; what reads them is restarted by their stamps.
configuration() {
    step config
    worker_ini >"$VAR/worker.ini.new"
    mv "$VAR/worker.ini.new" "$VAR/worker.ini"
    nginx_conf >"$VAR/nginx.conf.new"
    mv "$VAR/nginx.conf.new" "$VAR/nginx.conf"
    rm -rf "$VAR/web.new"
    cp -R "$TOP/web" "$VAR/web.new"
    rm -rf "$VAR/web"
    mv "$VAR/web.new" "$VAR/web"
    echo "$PORT" >"$VAR/port"
    done_ "$VAR/worker.ini, $VAR/nginx.conf"
}
