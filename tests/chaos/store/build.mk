# The store's workload, the checker of its histories, and the checker's own test.
STORE_CHAOS := tests/chaos/store
STORE_CHECK_OBJS := $(patsubst %,$(BUILD)/obj/$(STORE_CHAOS)/%.o,history linear check)
STORE_WORK_OBJS := $(patsubst %,$(BUILD)/obj/$(STORE_CHAOS)/%.o,workload clients watcher net history)
CFLAGS_store-chaos := $(call pkg_cflags,$(PKGS_common))

$(BUILD)/obj/$(STORE_CHAOS)/%.o: $(STORE_CHAOS)/%.c Makefile
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_all) $(CFLAGS_store-chaos) -MMD -MP -MT $@ -MF $(@:.o=.d) -c $< -o $@.$$$$ && mv -f $@.$$$$ $@
$(BUILD)/bin/store-workload: $(STORE_WORK_OBJS) $(BUILD)/lib/common.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS_all) -o $@.$$$$ $^ $(call pkg_libs,$(PKGS_common)) $(LIBS_common) && mv -f $@.$$$$ $@
$(BUILD)/bin/store-checker: $(BUILD)/obj/$(STORE_CHAOS)/checker.o $(STORE_CHECK_OBJS) $(BUILD)/lib/common.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS_all) -o $@.$$$$ $^ $(call pkg_libs,$(PKGS_common)) $(LIBS_common) && mv -f $@.$$$$ $@
$(BUILD)/tests/unit/store-chaos/test_check: $(STORE_CHAOS)/test_check.c $(STORE_CHECK_OBJS) $(BUILD)/lib/common.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_all) $(CFLAGS_store-chaos) -MMD -MP -MT $@ -MF $@.d $(LDFLAGS_all) -o $@ $(filter %.c %.o %.a,$^) \
	  $(call pkg_libs,check $(PKGS_common)) $(LIBS_common)

.PHONY: store-chaos
store-chaos: $(BUILD)/bin/store-workload $(BUILD)/bin/store-checker
UNIT_BINS += $(BUILD)/tests/unit/store-chaos/test_check
unit-tests: $(BUILD)/tests/unit/store-chaos/test_check
