#include "etcd-lite/rpc_library.h"
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

/* The version whose headers we are compiled with: its number changes with the ABI. */
#define LIBRARY "libgrpc_unsecure.so.29"

static void silent(gpr_log_func_args *args)
{
    (void)args; /* what matters is answered to the client */
}

const struct rpc_library *rpc_library_load(struct error **err)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct rpc_library library;
    static void *handle;
    pthread_mutex_lock(&lock);
    bool ok = handle != NULL;
    if (!ok) {
        void *h = dlopen(LIBRARY, RTLD_LAZY | RTLD_LOCAL);
        const char *missing = NULL;
#define RPC_LIBRARY_FIND(name)                                                                     \
    if (h && !missing) {                                                                           \
        void *p = dlsym(h, #name);                                                                 \
        memcpy(&library.name, &p, sizeof(p));                                                      \
        missing = p ? NULL : #name;                                                                \
    }
        RPC_LIBRARY_FUNCTIONS(RPC_LIBRARY_FIND)
        ok = h && !missing;
        if (ok) {
            handle = h;
            library.gpr_set_log_function(silent);
        } else {
            error_setf(err, "cannot load " LIBRARY ": %s", missing ? missing : dlerror());
        }
    }
    pthread_mutex_unlock(&lock);
    return ok ? &library : NULL;
}
