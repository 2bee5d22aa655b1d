#include "policy/queue_id.h"

#include <string.h>
#include <time.h>

/* year, month, day, hour, minute, second, two of a sequence, then the process in digits */
enum { LETTERS = 60, STAMP = 6, SEQUENCE = 2, LENGTH_LEAST = STAMP + SEQUENCE + 1, LENGTH_MOST = 32, YEARS = 60 };

static bool read_letter(char letter, int *ret)
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwx";
    const char *at = letter == '\0' ? NULL : strchr(letters, letter);

    *ret = at == NULL ? LETTERS : (int)(at - letters);
    return at != NULL;
}

static bool has_form(const char *id)
{
    size_t length = strnlen(id, LENGTH_MOST + 1), i;
    int unused;

    if (length < LENGTH_LEAST || length > LENGTH_MOST)
        return false;
    for (i = 0; i < STAMP + SEQUENCE; i++) {
        if (!read_letter(id[i], &unused))
            return false;
    }
    return strspn(id + i, "0123456789") == length - i;
}

/* Whether the calendar has that day, and the clock that second; false also where `mktime` has made another one of it. */
static bool at(int year, const int stamp[static STAMP], int64_t *ret)
{
    struct tm meant = { .tm_year = year, .tm_mon = stamp[1], .tm_mday = stamp[2], .tm_hour = stamp[3], .tm_min = stamp[4],
                        .tm_sec = stamp[5] };
    struct tm made = meant;
    time_t seconds = timegm(&made);

    if (made.tm_mon != meant.tm_mon || made.tm_mday != meant.tm_mday || made.tm_hour != meant.tm_hour ||
        made.tm_min != meant.tm_min || made.tm_sec != meant.tm_sec)
        return false;
    *ret = (int64_t)seconds;
    return true;
}

bool queue_id_time(const char *id, int64_t now, int64_t *ret)
{
    time_t seconds = (time_t)now;
    int stamp[STAMP], away, i;
    struct tm today;

    if (!has_form(id) || gmtime_r(&seconds, &today) == NULL)
        return false;
    for (i = 0; i < STAMP; i++)
        read_letter(id[i], &stamp[i]);
    away = (stamp[0] - today.tm_year % YEARS + YEARS) % YEARS;      /* years from this one to the next that is meant */
    return at(today.tm_year + (away > YEARS / 2 ? away - YEARS : away), stamp, ret);
}
