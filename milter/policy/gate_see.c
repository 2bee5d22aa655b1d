#include "policy/gate.h"

#include <string.h>

static bool read_fingerprint(const char *text, uint8_t ret[static CERT_CHAIN_FINGERPRINT])
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *high, *low;
    size_t i;

    for (i = 0; i < CERT_CHAIN_FINGERPRINT; i++) {
        text += i > 0 && *text == ':';
        high = *text == '\0' ? NULL : strchr(digits, *text);
        low = high == NULL || text[1] == '\0' ? NULL : strchr(digits, text[1]);
        if (low == NULL)
            return false;
        ret[i] = (uint8_t)((high - digits) % 16 * 16 + (low - digits) % 16);
        text += 2;
    }
    return *text == '\0';
}

/* `TLSv1.2`, `TLSv1.3`, and what may come behind them. */
static bool is_modern(const char *version)
{
    static const char prefix[] = "TLSv1.";
    const char *minor = version + sizeof(prefix) - 1;

    return strncmp(version, prefix, sizeof(prefix) - 1) == 0 && *minor >= '2' && *minor <= '9' && minor[1] == '\0';
}

void gate_see(const char *server_name, const char *tls_version, const char *fingerprint, struct gate_sight *ret)
{
    *ret = (struct gate_sight){ .tls = *tls_version != '\0', .modern = is_modern(tls_version) };
    if (!next_hop_parse(server_name, &ret->server, NULL) || (ret->server.bracketed && !ret->server.literal))
        ret->server = (struct next_hop){ 0 };
    ret->shown = ret->tls && read_fingerprint(fingerprint, ret->fingerprint);
}
