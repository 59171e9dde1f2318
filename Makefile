# SPDX-License-Identifier: BSD-2-Clause
# Sluice. Everything is written below build/. `make help` lists the targets, V=1 shows commands.

MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:
.PHONY: no-dpdk churn all help deps demo drills test check check-root bench bench-dpdk bench-readme bench-scale fuzz verify-stats install clean need-root

B      := build
CC     := gcc
CLANG  ?= clang
PREFIX ?= /usr/local
ARCH   := $(shell gcc -print-multiarch 2>/dev/null)
FUZZ_S ?= 60
JOBS   ?= $(shell nproc)
# san or tsan: namespace tests run those builds of the programs, and fail for what they report
export SLUICE_PROGRAMS := $(PROGRAMS)
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(B)/pycache

ifeq ($(V),1)
Q :=
say = @mkdir -p $(@D); :
else
Q := @
say = @mkdir -p $(@D); printf '  %-9s %s\n'
endif

PKGS    := libbpf libxdp libelf libcurl libmicrohttpd jansson libfyaml libmnl libsystemd libcap-ng libseccomp libcares
WARN    := -Wall -Wextra -Wshadow $(if $(filter 1,$(WERROR)),-Werror)
CFLAGS  ?= -O2 -g
ALLC     = -std=gnu11 -D_GNU_SOURCE $(WARN) -I. -I$(B) $(CFLAGS) $(shell pkg-config --cflags $(PKGS)) -MMD -MP
LIBS     = $(shell pkg-config --libs $(PKGS)) -lresolv -lm -lpthread
SAN     := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1
TSAN    := -fsanitize=thread -Wno-tsan -fno-omit-frame-pointer -O1
# What is missing is said here, not by the linker; targets that begin with tools/deps see to it.
ifneq ($(filter-out help deps clean demo churn drills test,$(or $(MAKECMDGOALS),all)),)
MISSING := $(strip $(shell \
	for t in $(firstword $(CC)) $(firstword $(CLANG)) bpftool pkg-config; do \
		command -v $$t >/dev/null || echo $$t; done; \
	v=$$($(CLANG) -dumpversion 2>/dev/null) && [ "$${v%%.*}" -lt 12 ] && echo 'clang>=12'; \
	for p in $(PKGS:libbpf='libbpf >= 1.0'); do \
		pkg-config --exists "$$p" 2>/dev/null || echo "$$p" | tr -d ' '; done))
$(if $(MISSING),$(error not found: $(MISSING). 'make deps' (as root) installs what is missing))
endif
ifneq ($(filter clean,$(MAKECMDGOALS)),)
.NOTPARALLEL: # make -j clean all: one after the other
endif
BPFC    := -std=gnu11 -O2 -g -target bpf -mcpu=v3 -Wall -Wextra -Wno-unused-parameter -Wno-address-of-packed-member \
	   $(if $(filter 1,$(WERROR)),-Werror) -I. -idirafter /usr/include/$(ARCH) -MMD -MP

BPF_OBJS   := $(patsubst bpf/%.bpf.c,$(B)/%.bpf.o,$(wildcard bpf/*.bpf.c))
TBPF_OBJS  := $(patsubst tests/lib/%.bpf.c,$(B)/tests/%.bpf.o,$(wildcard tests/lib/*.bpf.c))
SKELS      := $(BPF_OBJS:.bpf.o=.skel.h) $(TBPF_OBJS:.bpf.o=.skel.h)
LIB_SRC    := $(filter-out userspace/agent/main.c,$(wildcard userspace/agent/*.c userspace/lib/*.c))
TOOL_NAMES := $(filter-out lib %_dpdk,$(sort $(patsubst tools/%/,%,$(dir $(wildcard tools/*/*.c)))))
TOOL_LIB   := $(wildcard tools/lib/*.c)
UNIT_TESTS := $(patsubst tests/unit/%.c,$(B)/tests/%,$(wildcard tests/unit/test_*.c))
ROOT_TESTS := $(patsubst tests/kernel/%.c,$(B)/tests/kernel/%,$(wildcard tests/kernel/test_*.c))
PACKET     := $(B)/tests/packet_cases
FUZZERS    := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
REPLAYS    := $(FUZZERS:$(B)/fuzz/fuzz_%=$(B)/tests/replay_%)

all: $(BPF_OBJS) $(TBPF_OBJS) $(B)/sluiced $(TOOL_NAMES:%=$(B)/%) ## build the agent, the packet programs and the tools

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' Makefile

deps: ## install what building and testing needs (Debian 12, apt)
	@tools/deps

# --- packet path -------------------------------------------------------------------------------
$(B)/%.bpf.o: bpf/%.bpf.c
	$(say) BPF $@
	$(Q)$(CLANG) $(BPFC) -c $< -o $@

$(B)/tests/%.bpf.o: tests/lib/%.bpf.c
	$(say) BPF $@
	$(Q)$(CLANG) $(BPFC) -c $< -o $@

%.skel.h: %.bpf.o
	$(say) SKEL $@
	$(Q)(echo '#include "maps/stats.h" /* types of its variables */'; \
		bpftool gen skeleton $< name $(subst -,_,$(notdir $*))_bpf) > $@

# --- userspace ---------------------------------------------------------------------------------
$(B)/%.a:
	$(Q)rm -f $@ && ar rcs $@ $^

# One way of building the programs. 1: directory below build/, 2: of its objects, 3: flags
define way
$(B)/$(2)%.o: %.c | $(SKELS)
	$$(say) 'CC$(if $(1),($(1:/=)))' $$<
	$$(Q)$$(CC) $$(ALLC) $(3) -c $$< -o $$@

$(B)/$(1)libsluice.a: $(LIB_SRC:%.c=$(B)/$(2)%.o)
$(B)/$(1)libtools.a: $(TOOL_LIB:%.c=$(B)/$(2)%.o)
$(B)/$(1)sluiced: $(B)/$(2)userspace/agent/main.o
$(foreach t,$(TOOL_NAMES),$(eval $(B)/$(1)$(t): $(patsubst %.c,$(B)/$(2)%.o,$(wildcard tools/$(t)/*.c)) $(B)/$(1)libtools.a))
$(B)/$(1)sluiced $(TOOL_NAMES:%=$(B)/$(1)%): $(B)/$(1)libsluice.a
	$$(say) LD $$@
	$$(Q)$$(CC) $$(CFLAGS) $(3) $$(filter %.o %libtools.a,$$^) $(B)/$(1)libsluice.a -o $$@ $$(LIBS)
endef
$(eval $(call way,,obj/,))
$(eval $(call way,san/,san/,$(SAN)))
$(eval $(call way,tsan/,tsan/,$(TSAN)))

# --- poll mode: only where libdpdk is ----------------------------------------------------------
ifeq ($(shell pkg-config --exists libdpdk && echo yes),yes)
# Without SLP: GCC 12 moves pairs of counters into vector registers and back, 5 % of a frame's time.
DPDKC    := $(subst -I/,-isystem /,$(shell pkg-config --cflags libdpdk)) -O3 -fno-tree-slp-vectorize -fno-strict-aliasing \
	    -Wno-unused-parameter -Wno-maybe-uninitialized
DPDKLIBS := $(shell pkg-config --libs libdpdk) -lrte_net_ring
DPDK_OBJ := $(patsubst %.c,$(B)/dpdk/%.o,$(filter-out %/main.c,$(wildcard userspace/dpdk/*.c)))
$(B)/dpdk/%.o: %.c | $(SKELS)
	$(say) CC $<
	$(Q)$(CC) $(ALLC) $(DPDKC) -c $< -o $@

$(B)/sluice-dpdk: $(B)/dpdk/userspace/dpdk/main.o $(DPDK_OBJ) $(B)/libsluice.a
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $^ -o $@ $(DPDKLIBS) $(LIBS)

$(B)/tests/packet_cases_dpdk: $(DPDK_OBJ) $(B)/libsluice.a \
		$(patsubst %.c,$(B)/dpdk/%.o,$(wildcard tests/packet/*.c tests/packet/dpdk/*.c))
	$(say) TEST $@
	$(Q)$(CC) $(CFLAGS) $(filter %.o,$^) $(B)/libsluice.a -o $@ $(DPDKLIBS) $(LIBS)

$(B)/bench_dpdk: $(DPDK_OBJ) $(B)/libsluice.a $(patsubst %.c,$(B)/dpdk/%.o,$(wildcard tools/bench_dpdk/*.c))
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(filter %.o,$^) $(B)/libsluice.a -o $@ $(DPDKLIBS) $(LIBS)

$(B)/tests/test_dpdk_burst: $(DPDK_OBJ) $(B)/libsluice.a $(patsubst %,$(B)/dpdk/tests/packet/%.o, \
		dpdk/host dpdk/run_dpdk dpdk_burst/test_burst world frame)
	$(say) TEST $@
	$(Q)$(CC) $(CFLAGS) $(filter %.o,$^) $(B)/libsluice.a -o $@ -lcmocka $(DPDKLIBS) $(LIBS)

$(B)/tests/dpdk_wire: $(B)/dpdk/tests/lib/dpdk_wire.o # the other end of a device in namespace tests
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $^ -o $@ $(DPDKLIBS)

UNIT_TESTS += $(B)/tests/test_dpdk_burst
DPDK   := $(B)/sluice-dpdk $(B)/bench_dpdk $(B)/tests/dpdk_wire
PACKET += $(B)/tests/packet_cases_dpdk
else
DPDK := no-dpdk
no-dpdk:
	$(say) SKIP 'sluice-dpdk: libdpdk is not installed (Debian: libdpdk-dev)'
endif
all: $(DPDK)

need-root:
	@[ "$$(id -u)" = 0 ] || { echo "make $(MAKECMDGOALS): this takes root (network namespaces, BPF)" >&2; exit 1; }

# --- tests -------------------------------------------------------------------------------------
$(B)/tests/test_%: tests/unit/test_%.c $(B)/san/libsluice.a
	$(say) TEST $@
	$(Q)$(CC) $(ALLC) $(SAN) $< $(B)/san/libsluice.a -o $@ -lcmocka $(LIBS)

$(B)/tests/kernel/test_%: tests/kernel/test_%.c $(B)/san/libsluice.a
	$(say) TEST $@
	$(Q)$(CC) $(ALLC) $(SAN) $< $(filter %.o,$^) $(B)/san/libsluice.a -o $@ -lcmocka $(LIBS)

$(B)/tests/kernel/test_nat_cpus: $(patsubst %,$(B)/san/tests/packet/%.o,run_kernel world frame)
$(B)/tests/kernel/test_scan_cpus: $(B)/san/tests/packet/frame.o

$(B)/tests/packet_cases: $(patsubst %.c,$(B)/san/%.o,$(wildcard tests/packet/*.c)) $(B)/san/libsluice.a
	$(say) TEST $@
	$(Q)$(CC) $(SAN) $^ -o $@ $(LIBS)

# Fuzzers build the library's sources once more, with coverage feedback.
FUZZC := -fsanitize=address,undefined -fno-sanitize-recover=undefined -O1
$(B)/fuzz/obj/%.o: %.c | $(SKELS)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(ALLC) $(FUZZC) -fsanitize=fuzzer-no-link -c $< -o $@

$(B)/fuzz/libsluice.a: $(LIB_SRC:%.c=$(B)/fuzz/obj/%.o)

$(B)/fuzz/fuzz_%: tests/fuzz/fuzz_%.c $(B)/fuzz/libsluice.a
	$(say) FUZZ $@
	$(Q)$(CLANG) $(ALLC) $(FUZZC) -fsanitize=fuzzer $< $(B)/fuzz/libsluice.a -o $@ $(LIBS)

# The same without a fuzzing engine: seeds go through once.
$(B)/tests/replay_%: tests/fuzz/fuzz_%.c $(B)/san/tests/fuzz/replay.o $(B)/san/libsluice.a
	$(say) TEST $@
	$(Q)$(CC) $(ALLC) $(SAN) $< $(filter %.o %.a,$^) -o $@ $(LIBS)

# tests/run runs these, and not what an earlier tree left in build/
export UNIT_TESTS ROOT_TESTS
check: all $(UNIT_TESTS) $(REPLAYS) $(ROOT_TESTS) $(PACKET) ## tests that need no privilege: unit, native packet cases, Linux 6.1 emulated
	@tests/run check

CHECKED := $(B)/san/sluiced $(B)/tsan/sluiced \
	$(if $(PROGRAMS),$(patsubst %,$(B)/$(PROGRAMS)/%,sluiced sluicectl mockbackend loadgen))
check-root: need-root all $(ROOT_TESTS) $(PACKET) $(CHECKED) ## tests that need root: packet cases in the kernel, namespaces
	@tests/run root

test: deps ## everything, from a fresh machine: ends with "N passed, N failed"
	@$(MAKE) --no-print-directory -j$(JOBS) all $(UNIT_TESTS) $(REPLAYS) $(ROOT_TESTS) $(PACKET) $(CHECKED)
	@tests/run all

demo: ## the main job on real connections, in namespaces (root, 90 s; DATAPLANE=dpdk: poll mode)
churn: ## 10,000 streams for two minutes while everything changes; writes build/churn.json
drills: ## faults in a fleet under load, each with what must follow; writes build/drills.json
demo churn drills: need-root
	@tools/deps --packages
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@tools/$@/$@

bench: all ## nanoseconds a packet, table build time; writes build/bench/
	@tools/bench/bench
bench-scale: all ## the agent with 4,000 nodes: processor time, memory, changes, reloads; build/bench/scale.json
	@tools/scale/scale
bench-readme: ## the figures of the last bench and bench-dpdk -> README.md
	@tools/bench/readme
bench-dpdk: all ## frames a second of sluice-dpdk on one core, beside macswap; build/bench/dpdk.json
	@tools/bench_dpdk/bench
fuzz: $(FUZZERS) $(REPLAYS) $(B)/tests/packet_cases ## every fuzzer for FUZZ_S seconds each
	@tests/fuzz/run $(FUZZ_S)
verify-stats: all ## instructions the verifier processed and stack of every program
	@tools/bench/verify-stats

# --- installation ------------------------------------------------------------------------------
DEST  := $(DESTDIR)$(PREFIX)
UNITS := sluiced.service sluice-decap@.service $(if $(filter %/sluice-dpdk,$(DPDK)),sluice-dpdk.service)
install: all ## programs, units, manual pages, sample configuration below DESTDIR= and PREFIX=
	$(Q)install -D -m 755 -t "$(DEST)"/sbin $(B)/sluiced $(B)/xdpattach $(filter %/sluice-dpdk,$(DPDK))
	$(Q)install -D -m 755 -t "$(DEST)"/bin $(B)/sluicectl
	$(Q)install -D -m 644 -t "$(DEST)"/lib/sluice $(B)/decap.bpf.o
	$(Q)install -D -m 644 -t "$(DEST)"/share/sluice tools/systemd/sluice.example.yaml \
		tools/prometheus/sluice.rules.yml tools/grafana/sluice.json
	$(Q)install -D -m 644 -t "$(DEST)"/share/doc/sluice LICENSE LICENSES/GPL-2.0-only.txt
	$(Q)for page in README.md userspace/operating.md userspace/dpdk/README.md; do \
		install -D -m 644 $$page "$(DEST)"/share/doc/sluice/$$page || exit 1; done
	$(Q)install -D -m 644 -t "$(DEST)"/share/man/man5 $(wildcard userspace/*/*.5)
	$(Q)install -D -m 644 -t "$(DEST)"/share/man/man8 $(wildcard tools/*/*.8 userspace/*/*.8)
	$(Q)install -D -m 644 tools/sluicectl/completion.bash \
		"$(DEST)"/share/bash-completion/completions/sluicectl
	$(Q)install -d "$(DEST)"/lib/systemd/system
	$(Q)for unit in $(UNITS); do \
		sed 's|@PREFIX@|$(PREFIX)|g' tools/systemd/$$unit.in >"$(DEST)"/lib/systemd/system/$$unit && \
		chmod 644 "$(DEST)"/lib/systemd/system/$$unit || exit 1; \
	done
	@echo "installed below $(DEST)"

clean: ## remove build/
	rm -rf $(B)

ifeq ($(filter clean,$(MAKECMDGOALS)),) # what they name would count as there
-include $(shell find $(B) -name '*.d' 2>/dev/null)
endif
