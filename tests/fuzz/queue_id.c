/* What somebody says is a queue id of Sendmail's. Eight octets of clock first. A time that is read makes the same letters. */
#include "fuzz.h"

#include "policy/queue_id.h"

#include <string.h>
#include <time.h>

enum { CENTURIES = 20, DAY = 24 * 60 * 60 };

static void check(const char *id, int64_t now, int64_t seconds)
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwx";
    time_t at = (time_t)seconds;
    struct tm t;
    int i;

    must(gmtime_r(&at, &t) != NULL);
    for (i = 0; i < 6; i++) {
        int part[] = { t.tm_year % 60, t.tm_mon, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec };

        must(id[i] == letters[part[i] < 0 ? part[i] + 60 : part[i]]);
    }
    must(strlen(id) >= 9 && strspn(id + 8, letters) == strlen(id) - 8);
    must(seconds - now < (int64_t)31 * 366 * DAY && now - seconds < (int64_t)31 * 366 * DAY);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct feed f = { bytes, bytes + length };
    int64_t now = 0, at, again;
    char *id;
    int i;

    for (i = 0; i < 8; i++)
        now = (int64_t)((uint64_t)now << 8 | feed_octet(&f));
    now %= (int64_t)CENTURIES * 36525 * DAY;
    if (now < 0)
        now = -now;
    id = feed_rest(&f);
    if (queue_id_time(id, now, &at)) {
        check(id, now, at);
        must(queue_id_time(id, at, &again) && again == at);
    }
    free(id);
    return 0;
}
