# fresh.sh: both README commands inside a minimal Debian made for it.
# shellcheck shell=sh
#
# The mirror is the one this machine uses (its apt sources and settings are
# copied in). All of it runs in mount and process namespaces of its own:
# when they end, so do its mounts and whatever still ran.

dev_fresh() {
    [ "$(id -u)" = 0 ] ||
        fail "fresh needs root, for debootstrap and chroot" "sudo ./dev fresh"
    packages fresh
    mirror=$(fresh_mirror)
    [ -n "$mirror" ] || fail "no Debian mirror in /etc/apt/sources.list*" "add one"
    if [ -n "$(git -C "$TOP" status --porcelain 2>/dev/null)" ]; then
        echo "note: what is not committed is not in the copy that is tested"
    fi
    ROOT=$(mktemp -d "${TMPDIR:-/tmp}/hive-fresh-XXXXXX")
    chmod 755 "$ROOT"
    trap 'rm -rf --one-file-system "$ROOT"' EXIT
    trap 'exit 130' INT TERM HUP
    step debootstrap "minimal bookworm"
    run "$ROOT.log" "debootstrap failed" "see the log" \
        debootstrap --variant=minbase bookworm "$ROOT" "$mirror"
    rm -f "$ROOT.log"
    done_ "done"
    step copy
    fresh_apt
    git clone -q --no-hardlinks "$TOP" "$ROOT/root/hive"
    done_ "$(git -C "$ROOT/root/hive" log -1 --format='%h %s')"
    result=0
    unshare --mount --pid --fork --kill-child sh "$TOP/tools/dev/fresh-inside" "$ROOT" || result=$?
    if [ "$result" = 0 ]; then
        echo "fresh: passed"
    else
        echo "fresh: failed"
    fi
    return "$result"
}

# The first Debian mirror that apt here is set to, in either notation.
fresh_mirror() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        sed -n -e 's/^deb  *\(\[[^]]*\]  *\)\{0,1\}\([^ ]*\)  *bookworm .*/\2/p' \
            -e 's/^URIs:  *\([^ ]*\).*/\1/p' | grep '/debian/*$' | head -n 1
}

# fresh_apt: this machine's Debian sources, keys and transport settings.
fresh_apt() {
    rm -f "$ROOT/etc/apt/sources.list"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
        if grep -qs '/debian' "$file"; then
            cp "$file" "$ROOT/etc/apt/${file#/etc/apt/}"
        fi
    done
    for file in /etc/apt/apt.conf /etc/apt/apt.conf.d/*; do
        if grep -Eqs 'Acquire|Proxy' "$file"; then
            cp "$file" "$ROOT/etc/apt/${file#/etc/apt/}"
        fi
    done
    # and npm's, with the authorities that this machine trusts
    mkdir -p "$ROOT/etc/ssl/certs"
    cp /etc/ssl/certs/ca-certificates.crt "$ROOT/etc/ssl/certs/host.crt" 2>/dev/null || true
    for file in /etc/npmrc /root/.npmrc; do
        [ ! -e "$file" ] ||
            sed 's#/etc/ssl/certs/ca-certificates.crt#/etc/ssl/certs/host.crt#' "$file" >"$ROOT$file"
    done
    cp /etc/resolv.conf "$ROOT/etc/resolv.conf"
    cp /etc/hosts "$ROOT/etc/hosts"
}
