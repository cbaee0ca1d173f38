#include "kube-proxy/nft.h"
#include <nftables/libnftables.h>
#include <string.h>
#include "common/mem.h"

struct nft {
    struct nft_ctx *ctx;
};

struct nft *nft_new(struct error **err)
{
    struct nft_ctx *ctx = nft_ctx_new(NFT_CTX_DEFAULT);
    if (!ctx) {
        error_setf(err, "nft_ctx_new failed");
        return NULL;
    }
    nft_ctx_buffer_error(ctx);
    nft_ctx_buffer_output(ctx);
    struct nft *n = mem_alloc(sizeof *n);
    n->ctx = ctx;
    return n;
}

void nft_free(struct nft *n)
{
    if (!n)
        return;
    nft_ctx_free(n->ctx);
    free(n);
}

bool nft_run(struct nft *n, const char *commands, struct error **err)
{
    bool ok = nft_run_cmd_from_buffer(n->ctx, commands) == 0;
    /* Getting the buffers also empties them. */
    const char *message = nft_ctx_get_error_buffer(n->ctx);
    if (!ok) {
        /* Its first line tells what is wrong, the others repeat the command, which may be long. */
        const char *text = message && *message ? message : "unknown error";
        error_setf(err, "nftables: %.*s", (int)strcspn(text, "\n") > 300 ? 300 : (int)strcspn(text, "\n"),
                   text);
    }
    nft_ctx_get_output_buffer(n->ctx);
    return ok;
}
