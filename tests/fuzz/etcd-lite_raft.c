/* Fuzz target: raft's messages, as anybody who reaches the port between members may send them.
 * Bytes: type, length of the header (2), header, payload. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "etcd-lite/raft_receive.h"

static volatile uint64_t seen;

/* Whatever was accepted is read to its end. */
static void touch(const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        seen += ((const uint8_t *)p)[i];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    size_t header = (size_t)data[1] | (size_t)data[2] << 8, payload;
    if (header > size - 3)
        header = size - 3;
    uint8_t *copy = malloc(header ? header : 1); /* exactly so long */
    memcpy(copy, data + 3, header);
    struct raft_message m;
    if (raft_decode_header(data[0], copy, header, &m, &payload)) {
        size_t have = size - 3 - header;
        uint8_t *body = NULL;
        if (payload && payload == have) {
            body = raft_malloc(payload);
            memcpy(body, data + 3 + header, payload);
        }
        if (payload != (body ? have : 0)) {
            raft_message_clear(&m); /* the connection ends before all of it is there */
        } else if (raft_decode_payload(&m, body, payload)) {
            if (m.type == RAFT_IO_APPEND_ENTRIES)
                for (unsigned i = 0; i < m.append_entries.n_entries; i++)
                    touch(m.append_entries.entries[i].buf.base,
                          m.append_entries.entries[i].buf.len);
            if (m.type == RAFT_IO_INSTALL_SNAPSHOT) {
                touch(m.install_snapshot.data.base, m.install_snapshot.data.len);
                for (unsigned i = 0; i < m.install_snapshot.conf.n; i++)
                    touch(m.install_snapshot.conf.servers[i].address,
                          strlen(m.install_snapshot.conf.servers[i].address));
            }
            raft_free(body);
            raft_message_clear(&m);
        }
    }
    free(copy);
    return 0;
}
