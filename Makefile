# Skiff: one binary a component. `make` builds all of them into build/bin/.
#   make up / down      start / remove a cluster of five hosts on this machine
#   make test / bench   all tests / figures beside the peers
#   make chaos          half an hour of faults for the store
#   make SAN=1          AddressSanitizer + UBSan build, under build/san/
#   make SAN=thread     ThreadSanitizer build, under build/tsan/
#   make fuzz           runs every fuzz target (clang's libFuzzer) for FUZZ_SECONDS each
#   make lint           clang's warnings and cppcheck
SHELL := /bin/bash
COMPONENTS := etcd-lite apiserver scheduler controller-manager kubelet kube-proxy dns ingress-controller

ifeq ($(SAN),1)
BUILD := build/san
SANFLAGS := -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined
OPT := -O1 -g
else ifeq ($(SAN),thread)
BUILD := build/tsan
SANFLAGS := -fsanitize=thread -fno-omit-frame-pointer
OPT := -O1 -g
else ifeq ($(SAN),fuzz)
BUILD := build/fuzz
SANFLAGS := -fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer
OPT := -O1 -g
CC := clang
else
BUILD := build
OPT := -O2 -g -D_FORTIFY_SOURCE=2
endif

ifneq ($(SAN),fuzz)
CC := gcc
endif
# V=1 shows the commands.
ifneq ($(V),1)
Q = @echo "  $(if $(filter %.o,$@),CC,LD)  $@";
endif
PKGS_common             := libmicrohttpd libcurl libcjson gnutls yaml-0.1 zlib
PKGS_etcd-lite          := raft libuv
PKGS_apiserver          := libpcre2-8
PKGS_scheduler          :=
PKGS_controller-manager :=
PKGS_kubelet            := grpc_unsecure libprotobuf-c
PKGS_kube-proxy         := libnftables libmnl libnetfilter_conntrack
PKGS_dns                := ldns
PKGS_ingress-controller := libpcre2-8
LIBS_common             := -lm -lhttp_parser

# Packages are asked for once, and only when something is compiled.
pkg_cflags = $(shell pkg-config --cflags $(1) 2>/dev/null)
pkg_libs   = $(shell pkg-config --libs $(1) 2>/dev/null | sed 's/-Wl,--no-undefined//')

WARN   := -Wall -Wextra -Werror
CFLAGS_all = -std=c11 -D_GNU_SOURCE $(OPT) $(WARN) $(SANFLAGS) -fPIE -fstack-protector-strong -fvisibility=hidden -pthread \
	-I. -I$(BUILD)/gen $(CFLAGS)
LDFLAGS_all = -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(SANFLAGS) -pthread $(LDFLAGS)

.SECONDARY:
.PHONY: all
all: $(addprefix $(BUILD)/bin/,$(COMPONENTS))

# --- how a component is built -------------------------------------------------------------
# All .c files of its folder (two levels), archived without main.c so that unit tests link them.
sources = $(wildcard $(1)/*.c) $(wildcard $(1)/*/*.c)
objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(filter-out %/main.c $(wildcard $(1)/tools/*.c),$(call sources,$(1)))) $(GENOBJ_$(1))

# Generated code: a component's own rules stand in <component>/build.mk; it may add to GENOBJ_<component>
# (objects) and GENHDR_<component> (headers that must exist before its sources are compiled).
-include $(wildcard $(addsuffix /build.mk,common $(COMPONENTS)))

define component_rules
CFLAGS_$(1) := $(call pkg_cflags,$(PKGS_common) $(PKGS_$(1)))
$(BUILD)/obj/$(1)/%.o: $(1)/%.c Makefile $$(GENHDR_$(1))
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(CFLAGS_all) $$(CFLAGS_$(1)) -MMD -MP -MT $$@ -MF $$(@:.o=.d) -c $$< -o $$@.$$$$$$$$ && mv -f $$@.$$$$$$$$ $$@
$(BUILD)/lib/$(1).a: $(call objects,$(1))
	@mkdir -p $$(@D)
	$$(Q)$$(AR) rcs $$@.$$$$$$$$ $$^ && mv -f $$@.$$$$$$$$ $$@
endef
$(foreach c,common $(COMPONENTS),$(eval $(call component_rules,$(c))))

define binary_rules
$(BUILD)/bin/$(1): $(BUILD)/obj/$(1)/main.o $(BUILD)/lib/$(1).a $(BUILD)/lib/common.a
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(LDFLAGS_all) -o $$@.$$$$$$$$ $$^ $(call pkg_libs,$(PKGS_$(1)) $(PKGS_common)) $(LIBS_common) $$(LIBS_$(1)) && mv -f $$@.$$$$$$$$ $$@
.PHONY: $(1)
$(1): $(BUILD)/bin/$(1)
endef
$(foreach c,$(COMPONENTS),$(eval $(call binary_rules,$(c))))

# --- unit tests -------------------------------------------------------------------------------
# tests/unit/<component>/test_<thing>.c is one Check program, linked with that component's objects.
UNIT_SOURCES := $(wildcard tests/unit/*/test_*.c)
UNIT_BINS := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(UNIT_SOURCES))
define unit_rules
$(BUILD)/tests/unit/$(1)/%: tests/unit/$(1)/%.c $(if $(filter common,$(1)),,$(BUILD)/lib/$(1).a) $(BUILD)/lib/common.a
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(CFLAGS_all) $$(CFLAGS_$(1)) -MMD -MP -MT $$@ -MF $$@.d $$(LDFLAGS_all) -o $$@ $$< $$(filter %.a,$$^) $(call pkg_libs,check $(PKGS_$(1)) $(PKGS_common)) $(LIBS_common) $$(LIBS_$(1))
endef
$(foreach c,common $(COMPONENTS),$(eval $(call unit_rules,$(c))))

.PHONY: unit-tests unit
unit-tests: $(UNIT_BINS)
unit: unit-tests
	@tests/unit/run $(UNIT_BINS)

# Programs of the chaos tests.
-include $(wildcard tests/chaos/*/build.mk)

# --- fuzzing: tests/fuzz/<component>_<thing>.c is one libFuzzer target ----------------------------
FUZZ_SECONDS ?= 30
FUZZ_SOURCES := $(wildcard tests/fuzz/*_*.c)
FUZZ_BINS := $(patsubst tests/fuzz/%.c,$(BUILD)/bin/%,$(FUZZ_SOURCES))
define fuzz_rules
$(BUILD)/bin/$(1)_%: tests/fuzz/$(1)_%.c $(if $(filter common,$(1)),,$(BUILD)/lib/$(1).a) $(BUILD)/lib/common.a
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(CFLAGS_all) $$(CFLAGS_$(1)) -fsanitize=fuzzer $$(LDFLAGS_all) -o $$@ $$< $$(filter %.a,$$^) $(call pkg_libs,$(PKGS_$(1)) $(PKGS_common)) $(LIBS_common) $$(LIBS_$(1))
endef
ifeq ($(SAN),fuzz)
$(foreach c,common $(COMPONENTS),$(eval $(call fuzz_rules,$(c))))
.PHONY: fuzz-run
fuzz-run: $(FUZZ_BINS)
	@for f in $(FUZZ_BINS); do echo "== $$f"; mkdir -p build/fuzz/corpus/$$(basename $$f); \
	  $$f -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 -artifact_prefix=build/fuzz/ build/fuzz/corpus/$$(basename $$f) 2>&1 | tail -n 12 || exit 1; done
endif
.PHONY: fuzz lint
fuzz:
	@$(MAKE) --no-print-directory SAN=fuzz fuzz-run
# What cppcheck does not understand: cleanup attributes, designated initializers, arguments of which one is never NULL.
CPPCHECK_OFF := varFuncNullUB legacyUninitvar resourceLeak autoVariables nullPointerRedundantCheck ctunullpointer identicalInnerCondition
lint:
	cppcheck --quiet --enable=warning,portability --inline-suppr $(CPPCHECK_OFF:%=--suppress=%) --error-exitcode=1 -I. \
	  --include=tests/tools/cppcheck.h common $(COMPONENTS)
	@$(MAKE) --no-print-directory BUILD=build/clang CC=clang all

# The store under faults for CHAOS_SECONDS; SEED=N repeats a run.
CHAOS_SECONDS ?= 1800
.PHONY: chaos
chaos:
	@tests/chaos/etcd-lite.sh $(CHAOS_SECONDS) $(SEED)

.PHONY: up down test bench clean format
up:
	@deploy/up
down:
	@deploy/down
test:
	@tests/run
bench:
	@tests/bench/run
clean:
	rm -rf build
format:
	clang-format -i $$(git ls-files '*.c' '*.h')

-include $(shell find $(BUILD)/obj $(BUILD)/tests -name '*.d' 2>/dev/null)
