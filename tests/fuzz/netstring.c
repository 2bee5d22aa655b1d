/* The framing of the map socket; the first two octets say how large a payload may be. What comes in pieces is read as what
   comes at once, and what is read is written in one way only. */
#include "fuzz.h"

#include "base/netstring.h"

#include <stdio.h>
#include <string.h>

static void check_whole(const char *bytes, size_t most, const char *at, size_t payload, size_t used)
{
    char head[16];
    size_t count = (size_t)snprintf(head, sizeof(head), "%zu:", payload);

    must(payload <= most && used == count + payload + 1 && at == bytes + count);
    must(memcmp(bytes, head, count) == 0 && bytes[used - 1] == ',');
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct feed f = { bytes, bytes + length };
    size_t most = (size_t)feed_octet(&f) * 256, payload = 0, used = 0, cut, settled = 0;
    enum netstring_state state = NETSTRING_PARTIAL, now;
    const char *at = NULL;

    most += feed_octet(&f);
    length = (size_t)(f.end - f.at);
    for (cut = 0; cut <= length; cut++) {
        char *piece = malloc(cut + 1);      /* of its own, so that a step past it shows */

        must(piece != NULL);
        memcpy(piece, f.at, cut);
        now = netstring_read(piece, cut, most, &at, &payload, &used);
        if (now == NETSTRING_WHOLE)
            check_whole(piece, most, at, payload, used);
        must(state == NETSTRING_PARTIAL || now == state);
        must(now != NETSTRING_WHOLE || used <= cut);
        must(now != NETSTRING_WHOLE || state == NETSTRING_WHOLE || used == cut);
        state = now;
        free(piece);
        settled += state != NETSTRING_PARTIAL;
        if (settled > 4)                    /* more behind it changes nothing */
            break;
    }
    return 0;
}
