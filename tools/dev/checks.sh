# checks.sh: test, bench, fault, lint.
# shellcheck shell=sh

COVERAGE_BAR=85

# dev_test [--coverage] [FILE...]: builds what the tests need and runs them.
dev_test() {
    coverage=0
    case ${1:-} in
        --coverage) coverage=1 && shift ;;
        -*) fail "test has no option $1" "./dev test [--coverage] [FILES]" ;;
    esac
    printf 'Testing Hive in %s\n' "$TOP"
    packages build run test
    everything=$#
    [ $# -gt 0 ] || set -- t/
    build_tests
    TEST_DIR=$(mktemp -d /tmp/hive-test-XXXXXX)
    chmod 755 "$TEST_DIR"
    trap 'test_sweep' EXIT
    trap 'exit 130' INT TERM HUP
    if [ "$coverage" = 1 ]; then
        coverage_begin
    fi
    result=0
    HIVE_TEST_DIR=$TEST_DIR prove -r -j3 --timer --exec tools/dev/run-test "$@" || result=1
    if [ "$coverage" = 1 ] && ! coverage_end; then
        [ "$everything" -gt 0 ] || result=1
    fi
    test_sweep || result=1
    trap - EXIT
    return $result
}

# make_log TARGETS...: a build whose output shows only when it fails.
make_log() {
    log=$(mktemp "${TMPDIR:-/tmp}/hive-build-XXXXXX")
    run "$log" "the build failed (make $*)" "mend what the compiler says above" \
        make -C "$TOP" -s -j "$(nproc)" "$@"
    rm -f "$log"
}

build_tests() {
    step build
    if [ "$coverage" = 1 ]; then
        doing "worker, module, unit tests, fuzz targets, and the same with coverage"
        make_log all tools fuzz covered
    else
        doing "worker, module, fuzz targets; worker, module, unit tests with sanitizers"
        make_log all tools fuzz sanitized
    fi
    done_ "built"
}

# test_sweep: no process of a test may outlive it, and no file.
test_sweep() {
    left=''
    for dir in /proc/[0-9]*; do
        pid=${dir#/proc/}
        [ "$pid" != $$ ] || continue
        if tr '\0' ' ' 2>/dev/null <"$dir/cmdline" | grep -qF "$TEST_DIR/" ||
            tr '\0' '\n' 2>/dev/null <"$dir/environ" | grep -qxF "HIVE_TEST_INSTANCE=$TEST_DIR"; then
            left="$left $pid"
        fi
    done
    if [ -n "$left" ]; then
        # shellcheck disable=SC2086
        ps -o pid,ppid,args -p "$(echo $left | tr ' ' ,)" >&2 || true
        # shellcheck disable=SC2086
        kill -s KILL $left 2>/dev/null || true
        echo "dev: tests left these processes behind" >&2
        rm -rf "$TEST_DIR"
        return 1
    fi
    rm -rf "$TEST_DIR"
}

# Processes write their counts where all of them may (they run as several
# users, add to the same files, and the checkout may be closed to them);
# afterwards the counts are put beside the objects that gcovr reads.
coverage_begin() {
    umask 000
    find "$TOP/build-cov" -name '*.gcda' -delete
    (cd "$TOP" && find build-cov -type d) | while read -r dir; do
        mkdir -p "$TEST_DIR/gcov$TOP/$dir"
    done
    export HIVE_BUILD=build-cov GCOV_PREFIX="$TEST_DIR/gcov"
}

coverage_end() {
    unset GCOV_PREFIX HIVE_BUILD
    if [ -d "$TEST_DIR/gcov$TOP" ]; then
        cp -R "$TEST_DIR/gcov$TOP/." "$TOP/"
    fi
    mkdir -p "$TOP/coverage"
    gcovr --root "$TOP" --object-directory "$TOP/build-cov" \
        --filter common/ --filter ngx_module/ --filter workers/ \
        --exclude-unreachable-branches \
        --html-details "$TOP/coverage/index.html" --json-summary "$TOP/coverage/summary.json" \
        --txt "$TOP/coverage/summary.txt" "$TOP/build-cov" >"$TOP/coverage/gcovr.log" 2>&1 ||
        fail "gcovr failed" "see the log" "$TOP/coverage/gcovr.log"
    percent=$(sed -n 's/.*"line_percent": \([0-9.]*\).*/\1/p' "$TOP/coverage/summary.json" | tail -n 1)
    cat "$TOP/coverage/summary.txt"
    echo "coverage: $percent % of lines (bar: $COVERAGE_BAR %), coverage/index.html"
    [ "${percent%.*}" -ge "$COVERAGE_BAR" ]
}

# Standard output is the figures': --json is read by programs.
dev_bench() {
    packages build run test >&2
    build tools >&2
    exec t/bench/run "$@"
}

dev_fault() {
    packages build run test
    build tools
    exec t/fault/run "$@"
}

# Everything is run, whatever failed before. SC2034 and SC2120 misread
# variables and functions that cross the files of tools/dev.
dev_lint() {
    packages build run test lint
    bad=0
    step layers
    if tools/layers; then done_ "hold"; else bad=1; fi
    step nginx
    if tools/lint-nginx-style ngx_module/*.[ch]; then done_ "ngx_module/ reads as nginx"; else bad=1; fi
    step workers
    # shellcheck disable=SC2046
    if tools/lint-worker-style $(lint_c); then done_ "common/ and workers/ keep the house style"; else bad=1; fi
    step format
    if ! command -v clang-format-14 >/dev/null; then
        done_ "skipped: there is no clang-format-14"
    else
        # it cannot keep comments and tables that were aligned by hand, so
        # its word is not the last
        done_ "clang-format would move $(lint_c | xargs clang-format-14 --dry-run -Werror 2>&1 | grep -c 'error:') places (a hint only)"
    fi
    step shell
    if shellcheck -x -S warning -e SC2034,SC2120 dev tools/dev/* .ci/run t/fault/run; then
        done_ "clean"
    else
        bad=1
    fi
    step perl
    if lint_perl; then done_ "compiles, strict"; else bad=1; fi
    return $bad
}

lint_c() {
    find common workers -name '*.[ch]'
}

lint_perl() {
    lax=$(find t tools \( -name '*.t' -o -name '*.pm' -o -name '*.pl' \) \
        -exec grep -LE '^use (strict|Mojo::Base)' {} +)
    [ -z "$lax" ] || {
        printf "without 'use strict':\n%s\n" "$lax"
        return 1
    }
    ! find t tools \( -name '*.t' -o -name '*.pm' -o -name '*.pl' \) \
        -exec perl -It/lib -It/bench/lib -c {} \; 2>&1 | grep -v ' syntax OK$'
}
