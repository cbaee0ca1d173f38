/* What libraft 0.15 makes wrong of damaged log files is caught before it loads them. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"

/* Looks at the open segments, those that are still written to. (Closed ones libraft judges well:
 * any damage is refused.)
 *
 * libraft frees a buffer twice and dies when an open segment ends inside a batch, as when a file
 * system lost the end of the file. Such a segment is filled up with zeros, as it was made: then it
 * has a torn last batch, which libraft finds by its checksum and cuts off.
 *
 * libraft cuts at the first batch whose checksum is wrong, though intact and acknowledged ones may
 * follow. That is right for what a power loss leaves of a write, wrong for a disk that forgets. As
 * etcd does, the two are told apart by a sector of zeros: a torn write has one, where nothing was
 * written yet. Else, if an intact batch follows, this fails. */
bool log_files_check(const char *dir, struct error **err);

/* The same for the bytes of one open segment: where the damage is that must not be cut off; -1 when
 * there is none. */
int64_t log_segment_damage(const uint8_t *data, size_t len);
