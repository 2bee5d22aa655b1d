#include "server/sendmail.h"

#include <string.h>

enum { ROUTE_PARTS = 3, GATE_PARTS = 8, ADDRESS_PARTS = 2, SALVAGED_SIZE = 512 };

static bool has_control(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return true;
    }
    return false;
}

/* The bracket that closes the one before text, or NULL. */
static char *find_end(char *text)
{
    text += strcspn(text, "<>");
    return *text == '>' ? text : NULL;
}

/* The same for an address: there brackets nest, and those in quotes or behind a backslash are letters, as Sendmail has it. */
static char *find_address_end(char *text)
{
    bool quoted = false;
    int depth = 1;

    for (; *text != '\0'; text++) {
        if (*text == '\\' && text[1] != '\0')
            text++;
        else if (*text == '"')
            quoted = !quoted;
        else if (!quoted && *text == '<')
            depth++;
        else if (!quoted && *text == '>' && --depth == 0)
            return text;
    }
    return NULL;
}

static char *trim(char *text)
{
    size_t length;

    text += strspn(text, " ");
    length = strlen(text);
    while (length > 0 && text[length - 1] == ' ')
        text[--length] = '\0';
    return text;
}

/* Sendmail may part the tokens of an address; a blank between two words is none of those. */
static bool is_joint(char letter)
{
    return letter == '\0' || strchr("@.:,<>[] ", letter) != NULL;
}

static bool close_up(char *text, struct fault *why)
{
    char *to = text, *from;
    bool quoted = false;

    for (from = text; *from != '\0'; from++) {
        bool escaped = *from == '\\' && from[1] != '\0';

        if (escaped)
            *to++ = *from++;
        else if (*from == '"')
            quoted = !quoted;
        if (escaped || quoted || *from != ' ')
            *to++ = *from;
        else if (!is_joint(from[1]) && !is_joint(to[-1]))       /* trimmed: something stands before */
            return fault_set(why, "a blank in an address");
    }
    *to = '\0';
    return true;
}

/* Takes one part off *at. */
static bool take_part(char **at, bool is_address, char **ret, struct fault *why)
{
    char *start = *at + strspn(*at, " "), *end;

    if (*start != '<')
        return fault_set(why, "too few parts");
    end = is_address ? find_address_end(start + 1) : find_end(start + 1);
    if (end == NULL)
        return fault_set(why, "a part without an end");
    *end = '\0';
    *at = end + 1;
    *ret = trim(start + 1);
    return !is_address || close_up(*ret, why);
}

/* An address whose local part is beyond us still has a domain, which rules may name. */
static void read_address(const char *text, struct address *ret)
{
    const char *at = strrchr(text, '@');
    char salvaged[SALVAGED_SIZE];
    size_t length;

    address_parse(text, ret);
    if (ret->kind != ADDRESS_UNUSABLE || at == NULL || strlen(at) + 2 > sizeof(salvaged))
        return;
    salvaged[0] = '?';
    strcpy(salvaged + 1, at);
    length = strlen(salvaged);
    if (*text == '<' && salvaged[length - 1] == '>')
        salvaged[length - 1] = '\0';
    address_parse(salvaged, ret);
}

/* The word in front; returns where the parts begin, or NULL. */
static char *read_word(char *key, bool *ret_at_gate)
{
    key += strspn(key, " ");
    *ret_at_gate = strncmp(key, "gate", 4) == 0;
    if (!*ret_at_gate && strncmp(key, "route", 5) != 0)
        return NULL;
    return key + (*ret_at_gate ? 4 : 5);
}

bool sendmail_parse(char *key, struct sendmail_question *ret, struct fault *why)
{
    struct sendmail_question made = { 0 };
    char *parts[GATE_PARTS] = { NULL }, *at;
    size_t count, i;

    if (has_control(key))
        return fault_set(why, "a control character");
    at = read_word(key, &made.at_gate);
    if (at == NULL)
        return fault_set(why, "neither route nor gate");
    count = made.at_gate ? GATE_PARTS : ROUTE_PARTS;
    for (i = 0; i < count; i++) {
        if (!take_part(&at, i < ADDRESS_PARTS, &parts[i], why))
            return false;
    }
    if (at[strspn(at, " ")] != '\0')
        return fault_set(why, "too many parts");
    read_address(parts[0], &made.to);
    read_address(parts[1], &made.from);
    if (made.to.kind == ADDRESS_UNUSABLE)
        return fault_set(why, "a recipient that can not be read");
    made.queue_id = parts[2];
    /* parts[3] is ${verify}, what the MTA thinks of the certificate itself: nobody here goes by that */
    made.server_name = made.at_gate ? parts[4] : "";
    made.server_addr = made.at_gate ? parts[5] : "";
    made.tls_version = made.at_gate ? parts[6] : "";
    made.fingerprint = made.at_gate ? parts[7] : "";
    *ret = made;
    return true;
}

bool sendmail_is_sound(const char *value)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .:=/_-[]";

    return value == NULL || (*value != '\0' && value[strspn(value, letters)] == '\0');
}
