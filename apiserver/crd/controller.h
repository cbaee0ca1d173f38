/* Follows the CustomResourceDefinitions: serves what they define, tells so in their status, and
 * clears up behind a deleted one. Every apiserver does it for itself; what they write is the same.
 */
#pragma once
#include <stdbool.h>
#include "apiserver/storage/storage.h"

bool crd_start(struct storage *storage, struct error **err);
