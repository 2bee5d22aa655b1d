#include "base/netstring.h"

#include <stdbool.h>

enum { DIGITS_MAX = 9 };

enum netstring_state netstring_read(const char *bytes, size_t length, size_t most, const char **ret_at, size_t *ret_length,
                                    size_t *ret_used)
{
    size_t wanted = 0, at;

    for (at = 0; at < length && bytes[at] >= '0' && bytes[at] <= '9'; at++) {
        bool leading_zero = at == 1 && bytes[0] == '0';

        wanted = wanted * 10 + (size_t)(bytes[at] - '0');
        if (leading_zero || at >= DIGITS_MAX || wanted > most)
            return NETSTRING_BROKEN;
    }
    if (at == length)
        return NETSTRING_PARTIAL;
    if (at == 0 || bytes[at] != ':')
        return NETSTRING_BROKEN;
    at++;
    if (length - at < wanted + 1)
        return NETSTRING_PARTIAL;
    if (bytes[at + wanted] != ',')
        return NETSTRING_BROKEN;
    *ret_at = bytes + at;
    *ret_length = wanted;
    *ret_used = at + wanted + 1;
    return NETSTRING_WHOLE;
}
