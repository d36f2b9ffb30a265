# make                 module and worker, in build/
# make unit            unit tests, in build/t/
# make tools           load generators and probes of the tests, in build/t/
# make fuzz            fuzz targets (clang), in build/fuzz/
# make install DESTDIR=
# SANITIZE=1           address and undefined behaviour, in build-asan/
# COVERAGE=1           gcov, in build-cov/
# make sanitized, covered    all and unit of that build, beside another target

.DELETE_ON_ERROR:
.SUFFIXES:

CC      = gcc
FUZZ_CC = clang-14

ifeq ($(SANITIZE),1)
BUILD   = build-asan
OPT     = -O1 -fno-omit-frame-pointer
INSTR   = -fsanitize=address,undefined -fno-sanitize-recover=undefined
DEBUG   = -g1
else ifeq ($(COVERAGE),1)
BUILD   = build-cov
OPT     = -O0
INSTR   = --coverage -fprofile-update=atomic
DEBUG   = -g
else
BUILD   = build
OPT     = -O2
INSTR   =
DEBUG   = -g
endif

prefix     = /usr
sysconfdir = /etc
libdir     = $(prefix)/lib
bindir     = $(prefix)/bin
datadir    = $(prefix)/share

WARN = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
       -Wpointer-arith -Wvla -Werror
HARDEN = -fstack-protector-strong -fstack-clash-protection

PKGS = libzmq libuv jansson libjwt openssl libcurl inih libpq libargon2 libsystemd zlib
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS))
PKG_LIBS   := $(shell pkg-config --libs $(PKGS)) -lpthread -lm

# The newest change of the plan: what a worker asks of its database.
SCHEMA_CHANGE := $(shell awk '/^[a-z]/ { c = $$1 } END { print c }' sql/sqitch.plan)
VERSION := $(shell cat VERSION)

CPPFLAGS += -I. -I$(BUILD) -DDB_SCHEMA_CHANGE='"$(SCHEMA_CHANGE)"' \
            -DHIVE_VERSION='"$(VERSION)"' -D_GNU_SOURCE
CFLAGS += -std=gnu11 $(OPT) $(DEBUG) $(WARN) $(HARDEN) $(INSTR) $(PKG_CFLAGS)
LDFLAGS += $(INSTR)

COMMON  := $(sort $(wildcard common/*.c))
WORKER  := $(sort $(wildcard workers/*.c workers/*/*.c))
QUERIES := $(sort $(wildcard sql/queries/*.sql))
MODULE  := config $(sort $(wildcard ngx_module/*.[ch] common/*.[ch] common/*.def))

OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(COMMON) $(WORKER)) $(BUILD)/queries.o
CLI     := $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard cli/*.c)))
TESTED  := $(filter-out $(BUILD)/workers/main.o,$(OBJECTS))
UNIT    := $(patsubst t/unit/%.c,$(BUILD)/t/%,$(sort $(wildcard t/unit/*_test.c)))
TOOLS   := $(patsubst t/lib/%.c,$(BUILD)/t/%,$(sort $(wildcard t/lib/*.c)))
FUZZ    := $(patsubst t/fuzz/%.c,$(BUILD)/fuzz/%,$(sort $(wildcard t/fuzz/*_fuzz.c)))

all: worker module cli

worker: $(BUILD)/hive-worker
cli: $(BUILD)/hivectl
module: $(BUILD)/ngx_http_hive_module.so
unit: $(UNIT) tools
tools: $(TOOLS)
fuzz: $(FUZZ)

sanitized:
	+$(MAKE) SANITIZE=1 all unit
covered:
	+$(MAKE) COVERAGE=1 all unit

$(BUILD)/hive-worker: $(OBJECTS)
	$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)

$(BUILD)/hivectl: $(CLI)
	$(CC) $(LDFLAGS) -o $@ $^ -lcurl -ljansson

$(BUILD)/%.o: %.c | $(BUILD)/queries.h
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/queries.o: $(BUILD)/queries.c
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/queries.h $(BUILD)/queries.c: tools/queries.awk $(QUERIES)
	@mkdir -p $(@D)
	awk -v MODE=$(patsubst $(BUILD)/queries.%,%,$@) -f tools/queries.awk $(QUERIES) > $@

# DB_SCHEMA_CHANGE is part of these.
$(BUILD)/workers/worker.o $(BUILD)/workers/main.o: sql/sqitch.plan

# From an archive a test is linked with no more than it needs.
$(BUILD)/tested.a: $(TESTED)
	rm -f $@
	ar rcsT $@ $^

$(BUILD)/t/%: t/unit/%.c $(BUILD)/tested.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(BUILD)/tested.a -lcmocka $(PKG_LIBS)

$(BUILD)/t/%: t/lib/%.c $(BUILD)/tested.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(BUILD)/tested.a $(PKG_LIBS)

# Everything a fuzz target reaches is built again with coverage for libFuzzer.
FUZZ_FLAGS = -std=gnu11 -O1 -g -D_GNU_SOURCE -fsanitize=fuzzer,address,undefined \
             -fno-sanitize-recover=undefined $(PKG_CFLAGS)
$(BUILD)/fuzz/%.o: %.c
	@mkdir -p $(@D)
	$(FUZZ_CC) -I. -I$(BUILD) $(FUZZ_FLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/fuzz/tested.a: $(patsubst %.c,$(BUILD)/fuzz/%.o,$(COMMON) \
    workers/db/cursor.c $(addprefix workers/runtime/,arena.c arena_json.c) \
    $(addprefix workers/llm/,anthropic_reply.c generated.c sse.c tokens.c))
	rm -f $@
	ar rcsT $@ $^

$(BUILD)/fuzz/%: $(BUILD)/fuzz/t/fuzz/%.o $(BUILD)/fuzz/tested.a
	$(FUZZ_CC) $(FUZZ_FLAGS) -o $@ $^ -ljansson -lcrypto -lz

# The module is built by nginx's own configure. Where nginx's development
# files are, and with which of its flags: Debian's nginx-dev by default.
NGINX_DEV = /usr/share/nginx/src
$(BUILD)/ngx_http_hive_module.so: $(MODULE) tools/build-module
	+tools/build-module $(NGINX_DEV) $(abspath $(BUILD)) "$(OPT) $(DEBUG) -Werror $(HARDEN) $(INSTR)" "$(INSTR)"

# What an administrator has configured is left as it is.
install: all
	install -D -m 755 $(BUILD)/hive-worker $(DESTDIR)$(bindir)/hive-worker
	install -D -m 755 $(BUILD)/hivectl $(DESTDIR)$(bindir)/hivectl
	install -D -m 644 cli/hivectl.1 \
	    $(DESTDIR)$(datadir)/man/man1/hivectl.1
	install -D -m 644 $(BUILD)/ngx_http_hive_module.so \
	    $(DESTDIR)$(libdir)/nginx/modules/ngx_http_hive_module.so
	test -e $(DESTDIR)$(sysconfdir)/hive/worker.ini || \
	    install -D -m 640 conf/worker.ini $(DESTDIR)$(sysconfdir)/hive/worker.ini
	test -e $(DESTDIR)$(sysconfdir)/nginx/hive.conf || \
	    install -D -m 644 conf/hive.conf $(DESTDIR)$(sysconfdir)/nginx/hive.conf
	install -D -m 644 conf/hive-worker.service \
	    $(DESTDIR)$(libdir)/systemd/system/hive-worker.service
	mkdir -p $(DESTDIR)$(datadir)/hive
	cp -R README.md packages.txt conf sql web $(DESTDIR)$(datadir)/hive/

clean:
	rm -rf build build-asan build-cov

.PHONY: all worker module cli unit tools fuzz sanitized covered install clean

-include $(wildcard $(OBJECTS:.o=.d) $(CLI:.o=.d) $(BUILD)/t/*.d $(BUILD)/fuzz/*/*.d $(BUILD)/fuzz/*/*/*.d)
