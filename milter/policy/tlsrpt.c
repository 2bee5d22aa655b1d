/*
 * RFC 8460 3:
 *
 *   tlsrpt-version 1*(field-delim tlsrpt-field) [field-delim]      field-delim: ";", blanks around it
 *   tlsrpt-field:  "rua=" URI *("," URI), blanks around the commas; or a name, "=" and a value
 */
#include "policy/tlsrpt.h"

#include <string.h>

/* What is left to read. */
struct span {
    const char *at, *end;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void trim(struct span *s)
{
    while (s->at < s->end && is_blank(*s->at))
        s->at++;
    while (s->at < s->end && is_blank(s->end[-1]))
        s->end--;
}

static bool skip_word(struct span *s, const char *word)
{
    size_t length = strlen(word);

    if ((size_t)(s->end - s->at) < length || memcmp(s->at, word, length) != 0)
        return false;
    s->at += length;
    return true;
}

/* What stands before the next mark, without blanks around it; moves behind the mark. false: nothing is left. */
static bool take_part(struct span *s, char mark, struct span *ret)
{
    const char *end;

    if (s->at == NULL)
        return false;
    end = memchr(s->at, mark, (size_t)(s->end - s->at));
    *ret = (struct span){ s->at, end == NULL ? s->end : end };
    s->at = end == NULL ? NULL : end + 1;
    trim(ret);
    return true;
}

static bool all_within(const struct span *s, bool (*fits)(char c))
{
    const char *at;

    for (at = s->at; at < s->end; at++) {
        if (!fits(*at))
            return false;
    }
    return s->at < s->end;
}

static bool is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool in_name(char c)
{
    return is_alphanumeric(c) || c == '_' || c == '-' || c == '.';
}

static bool in_value(char c)
{
    return c > 0x20 && c < 0x7f && c != ';' && c != '=';
}

/* Any URI is welcome as long as it could be one; reports go by mail or HTTPS alone. */
static bool in_uri(char c)
{
    return c > 0x20 && c < 0x7f && strchr("\"<>\\^`{|}!,;", c) == NULL;
}

static bool read_rua(struct span uris, struct fault *why)
{
    bool usable = false;
    struct span uri;

    while (take_part(&uris, ',', &uri)) {
        if (!all_within(&uri, in_uri) || memchr(uri.at, ':', (size_t)(uri.end - uri.at)) == NULL)
            return fault_set(why, "rua has something that is no URI");
        usable = usable || ((skip_word(&uri, "mailto:") || skip_word(&uri, "https:")) && uri.at < uri.end);
    }
    return usable || fault_set(why, "rua names neither a mailto: nor an https: address");
}

/* An extension: nothing of it is known to us. */
static bool read_extension(struct span field, struct fault *why)
{
    struct span name = { field.at, memchr(field.at, '=', (size_t)(field.end - field.at)) }, value;

    if (name.end == NULL)
        return fault_set(why, "the record has something that is no field");
    value = (struct span){ name.end + 1, field.end };
    return (all_within(&name, in_name) && is_alphanumeric(*name.at) && name.end - name.at <= 32 && all_within(&value, in_value)) ||
           fault_set(why, "the record has a field that is not well-formed");
}

static bool read_record(struct span s, struct fault *why)
{
    bool reported = false;
    struct span field;

    take_part(&s, ';', &field);         /* the version */
    while (take_part(&s, ';', &field)) {
        if (field.at == field.end) {
            if (s.at != NULL)           /* only the last delimiter may have nothing behind it */
                return fault_set(why, "the record has an empty field");
        } else if (skip_word(&field, "rua=")) {
            if (!read_rua(field, why))
                return false;
            reported = true;
        } else if (!read_extension(field, why)) {
            return false;
        }
    }
    return reported || fault_set(why, "the record has no rua, so nobody gets a report");
}

bool tlsrpt_parse(const char *const records[], const size_t lengths[], size_t count, size_t *ret_index, struct fault *why)
{
    size_t found = 0, index = 0, i;

    for (i = 0; i < count; i++) {
        struct span s = { records[i], records[i] + lengths[i] };

        if (skip_word(&s, "v=TLSRPTv1;")) {
            index = i;
            found++;
        }
    }
    if (found != 1)
        return fault_set(why, found == 0 ? "there is no v=TLSRPTv1 record" : "there is more than one v=TLSRPTv1 record");
    if (!read_record((struct span){ records[index], records[index] + lengths[index] }, why))
        return false;
    *ret_index = index;
    return true;
}
