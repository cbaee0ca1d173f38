# The schema tables are C made from apiserver/schema/*.schema.
SCHEMA_FILES := $(sort $(wildcard apiserver/schema/*.schema))
SCHEMA_TABLE := $(BUILD)/gen/apiserver/schema_table.c
GENOBJ_apiserver += $(BUILD)/obj/gen/apiserver/schema_table.o

$(BUILD)/tools/mkschema: apiserver/tools/mkschema.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -O1 $(WARN) -o $@ $<
$(SCHEMA_TABLE): $(BUILD)/tools/mkschema $(SCHEMA_FILES)
	@mkdir -p $(@D)
	$(Q)$(BUILD)/tools/mkschema $@ $(SCHEMA_FILES)
$(BUILD)/obj/gen/apiserver/schema_table.o: $(SCHEMA_TABLE) apiserver/schema/schema.h apiserver/schema/table.h
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_all) -c $< -o $@
