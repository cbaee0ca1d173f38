/* Runs nftables transactions in this process, through libnftables. */
#pragma once
#include <stdbool.h>
#include "common/error.h"

struct nft;
struct nft *nft_new(struct error **err);
void nft_free(struct nft *n);
/* All of the commands or none of them. */
bool nft_run(struct nft *n, const char *commands, struct error **err);
