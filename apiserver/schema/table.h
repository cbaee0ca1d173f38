/* What mkschema's output gives to schema.c. */
#pragma once
#include "apiserver/schema/schema.h"

/* Sorted by group, version, name. */
extern const struct schema_type *const schema_types;
extern const size_t schema_types_count;
