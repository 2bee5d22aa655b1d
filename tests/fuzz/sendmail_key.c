/* The key of Sendmail's table, as whoever has the map socket may write it. What is read has to be of one piece. */
#include "fuzz.h"

#include "server/sendmail.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    char *key = calloc(1, length + 1), *end = key + length;
    struct sendmail_question q;
    struct fault why = { { 0 } };

    memcpy(key, bytes, length);
    if (!sendmail_parse(key, &q, &why)) {
        must(why.text[0] != '\0');
    } else {
        must(q.queue_id >= key && q.queue_id + strlen(q.queue_id) <= end);
        must(!q.at_gate || (q.fingerprint >= q.tls_version && q.fingerprint + strlen(q.fingerprint) <= end));
        must(strchr(q.queue_id, '\n') == NULL);
    }
    free(key);
    return 0;
}
