/* Small questions about strings. */
#pragma once
#include <stdbool.h>

/* Is s one of the names in a list joined by commas? */
bool one_of(const char *s, const char *comma_separated);
