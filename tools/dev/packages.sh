# packages.sh: Debian packages, by the groups of packages.txt.
# shellcheck shell=sh

# packages_of GROUP...: the names under those headings.
packages_of() {
    awk -v groups=" $* " '
        /^# / { on = index(groups, " " $2 " ") && NF == 2 }
        /^[a-z0-9]/ && on { print $1 }' "$TOP/packages.txt"
}

# packages_missing GROUP...: those that are not installed, one a line.
packages_missing() {
    wanted=$(packages_of "$@")
    # dpkg-query fails when it does not know one of them: that is an answer
    # shellcheck disable=SC2086
    here=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' $wanted 2>/dev/null |
        sed -n 's/ installed$//p') || true
    for name in $wanted; do
        # other packages of nodejs bring their own npm, and conflict with this
        [ "$name" != npm ] || ! command -v npm >/dev/null || continue
        printf '%s\n' "$here" | grep -qxF "$name" || echo "$name"
    done
}

# packages GROUP...: installs what is missing.
packages() {
    step packages
    command -v dpkg-query >/dev/null ||
        fail "this is not Debian: there is no dpkg-query" "use Debian 12, or a container of it"
    missing=$(packages_missing "$@")
    if [ -z "$missing" ]; then
        done_ "all here"
        return
    fi
    count=$(printf '%s\n' "$missing" | wc -l)
    # shellcheck disable=SC2086
    set -- $missing
    doing "installing $count ($(printf '%s' "$*" | cut -c 1-40)...)"
    as_root=
    if [ "$(id -u)" != 0 ]; then
        as_root=sudo
        command -v sudo >/dev/null ||
            fail "packages are missing and there is no sudo" \
                "as root: apt-get install --no-install-recommends $*"
    fi
    log=$(mktemp "${TMPDIR:-/tmp}/hive-apt-XXXXXX")
    quiet_services
    run "$log" "apt-get update failed" "check the network and /etc/apt/sources.list*" \
        $as_root apt-get -q update
    run "$log" "apt-get could not install the packages" \
        "$as_root apt-get install $*" \
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
        -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold \
        install --no-install-recommends "$@"
    loud_services
    rm -f "$log"
    done_ "installed $count"
}

# Packages must not start a Postgres on 5432 or an nginx on port 80: Hive runs
# its own. For the time of the installation only, and only where nobody has
# said anything about it.
POLICY=/usr/sbin/policy-rc.d

quiet_services() {
    [ ! -e "$POLICY" ] || return 0
    printf '#!/bin/sh\n# of %s/dev, while it installs packages\nexit 101\n' "$TOP" |
        $as_root tee "$POLICY" >/dev/null
    $as_root chmod 755 "$POLICY"
    trap 'loud_services' EXIT
    trap 'exit 130' INT TERM
}

loud_services() {
    if grep -qs "^# of $TOP/dev, while" "$POLICY"; then
        $as_root rm -f "$POLICY"
    fi
    trap - EXIT INT TERM
}
