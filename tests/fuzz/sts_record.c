/* A TXT RRset as strangers write it; records are parted by line ends. An id that is accepted makes a record of its own. */
#include "fuzz.h"

#include "policy/sts.h"

#include <stdio.h>
#include <string.h>

enum { RECORDS = 8 };

static size_t part(const char *bytes, size_t length, const char *records[static RECORDS], size_t lengths[static RECORDS])
{
    const char *end = bytes + length, *stop;
    size_t count = 0;

    while (count < RECORDS && bytes < end) {
        stop = memchr(bytes, '\n', (size_t)(end - bytes));
        if (stop == NULL || count == RECORDS - 1)
            stop = end;
        records[count] = bytes;
        lengths[count++] = (size_t)(stop - bytes);
        bytes = stop < end ? stop + 1 : end;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    const char *records[RECORDS];
    size_t lengths[RECORDS], count = part((const char *)bytes, length, records, lengths);
    char id[STS_ID_SIZE], again[STS_ID_SIZE], made[STS_ID_SIZE + 16];
    struct fault why = { { 0 } };

    if (!sts_record_parse(records, lengths, count, id, &why)) {
        must(why.text[0] != '\0');
        return 0;
    }
    must(strlen(id) >= 1 && strlen(id) < STS_ID_SIZE);
    must(strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") == strlen(id));
    records[0] = made;
    lengths[0] = (size_t)snprintf(made, sizeof(made), "v=STSv1; id=%s;", id);
    must(sts_record_parse(records, lengths, 1, again, &why) && strcmp(id, again) == 0);
    return 0;
}
