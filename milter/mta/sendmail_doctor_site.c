#include "mta/sendmail_doctor_site.h"

#include "base/memory.h"
#include "mta/sendmail_doctor_program.h"
#include "mta/setup.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { SAID_MAX = 64 * 1024 };

bool sendmail_site_read(struct sendmail_doctor *d, const struct settings *set, const struct ruleset *rules,
                        struct doctor_report *report, struct fault *why)
{
    struct text mc;
    bool good;

    *d = (struct sendmail_doctor){ .set = set, .rules = rules, .report = report, .memory = report->memory, .mc = "" };
    d->folder = *set->tables.config_dir == '\0' ? "/etc/mail" : set->tables.config_dir;
    if (!sendmail_cf_read(d->folder, d->memory, &d->cf, why))
        return false;
    text_init(&mc, SAID_MAX);
    good = setup_sendmail(set, rules, &mc, why);
    if (good)
        d->mc = sendmail_say(d, "%s", text_words(&mc));
    text_done(&mc);
    d->program = sendmail_program_find(d);
    return good;
}

void sendmail_site_done(struct sendmail_doctor *d)
{
    sendmail_cf_done(&d->cf);
}

const char *sendmail_say(const struct sendmail_doctor *d, const char *format, ...)
{
    const char *said;
    va_list args;

    va_start(args, format);
    said = doctor_report_say_list(d->report, format, args);
    va_end(args);
    return said;
}

void sendmail_find(struct sendmail_doctor *d, enum doctor_severity severity, const struct sendmail_line *line,
                   const char *what, const char *fix)
{
    const char *where = line == NULL ? "sendmail.mc" : sendmail_say(d, "sendmail.cf:%u", line->number);

    doctor_report_find(d->report, severity, where, what, fix);
}

void sendmail_find_at(struct sendmail_doctor *d, enum doctor_severity severity, const char *where, const char *what,
                      const char *fix)
{
    doctor_report_find(d->report, severity, where, what, fix);
}

void sendmail_unread(struct sendmail_doctor *d, const char *what)
{
    doctor_report_unread(d->report, what);
}

const char *sendmail_wanted(const struct sendmail_doctor *d, const char *begin)
{
    size_t length = strlen(begin);
    const char *line;

    for (line = d->mc; *line != '\0'; line += *line == '\n') {
        if (strncmp(line, begin, length) == 0)
            return arena_bytes(d->memory, line, strcspn(line, "\n"));
        line += strcspn(line, "\n");
    }
    return begin;
}

/* Lines and what is in them */

static const char *skip(const char *text)
{
    return text + strspn(text, " \t");
}

static bool is_named(const struct sendmail_line *line, const char *name)
{
    const char *text = skip(line->text);
    size_t length = strlen(name);

    /* Options are told from those of one letter by the blank before them; macros have no end but their own. */
    if (line->command == 'O' && text == line->text)
        return false;
    if (strncasecmp(text, name, length) != 0)
        return false;
    return line->command == 'D' || (line->command == 'O' ? *skip(text + length) == '=' || *skip(text + length) == '\0'
                                                         : strchr(", \t", text[length]) != NULL);
}

const struct sendmail_line *sendmail_line_of(const struct sendmail_doctor *d, char command, const char *name)
{
    size_t i;

    for (i = d->cf.count; i > 0; i--) {
        if (d->cf.lines[i - 1].command == command && is_named(&d->cf.lines[i - 1], name))
            return &d->cf.lines[i - 1];
    }
    return NULL;
}

const char *sendmail_option(const struct sendmail_doctor *d, const char *name, const struct sendmail_line **ret_line)
{
    const struct sendmail_line *line = sendmail_line_of(d, 'O', name);
    const char *value = line == NULL ? NULL : strchr(line->text, '=');
    char *kept, *c;

    *ret_line = line;
    if (value == NULL)
        return "";
    kept = arena_text(d->memory, skip(value + 1));
    for (c = kept; *c != '\0'; c++)
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c + 'a' - 'A') : *c;
    return kept;
}

bool sendmail_is_on(const struct sendmail_doctor *d, const char *name, const struct sendmail_line **ret_line)
{
    const char *value = sendmail_option(d, name, ret_line);

    return *ret_line != NULL && (*value == '\0' || strchr("tTyY", *value) != NULL);
}

const char *sendmail_equate(const struct sendmail_doctor *d, const struct sendmail_line *line, char field)
{
    const char *at = line->text, *end;

    while ((at = strchr(at, ',')) != NULL) {
        at = skip(at + 1);
        if (*at != field)
            continue;
        end = at + strcspn(at, ",=");
        if (*end != '=')
            continue;
        end = skip(end + 1);
        return arena_bytes(d->memory, end, strcspn(end, ","));
    }
    return NULL;
}

const char *sendmail_name(const struct sendmail_doctor *d, const struct sendmail_line *line)
{
    const char *text = skip(line->text);

    return arena_bytes(d->memory, text, strcspn(text, ", \t"));
}

const char *sendmail_word(const struct sendmail_doctor *d, const char **cursor)
{
    const char *word = *cursor + strspn(*cursor, ",; \t");
    size_t length = strcspn(word, ",; \t");

    *cursor = word + length;
    return length == 0 ? NULL : arena_bytes(d->memory, word, length);
}

bool sendmail_seconds(const char *text, char unit, uint64_t *ret)
{
    static const char units[] = "smhdw";
    static const uint64_t lengths[] = { 1, 60, 3600, 86400, 7 * 86400 };
    uint64_t sum = 0;

    if (*text < '0' || *text > '9')
        return false;
    while (*text >= '0' && *text <= '9') {
        char *end;
        unsigned long long number = strtoull(text, &end, 10);
        const char *at = strchr(units, *end == '\0' ? unit : *end);

        if (at == NULL || number > UINT32_MAX)
            return false;
        sum += number * lengths[at - units];
        text = end + (*end != '\0');
    }
    *ret = sum;
    return *text == '\0';
}

/* Sockets */

static bool is_path(const char *socket)
{
    return strncmp(socket, "unix:", 5) == 0 || strncmp(socket, "local:", 6) == 0;
}

/* `PORT@HOST` with one spelling of the loopback. */
static const char *port_of(const struct sendmail_doctor *d, const char *words)
{
    const char *at = strchr(words, '@'), *host;
    size_t length;

    if (at == NULL)
        return words;
    host = at + 1 + (at[1] == '[');
    length = strcspn(host, "]");
    if (length == 9 && strncasecmp(host, "localhost", length) == 0)
        return sendmail_say(d, "%.*s@127.0.0.1", (int)(at - words), words);
    return sendmail_say(d, "%.*s@%.*s", (int)(at - words), words, (int)length, host);
}

bool sendmail_is_socket(const struct sendmail_doctor *d, const char *words, const char *socket)
{
    const char *ours = strchr(socket, ':') + 1, *theirs = strchr(words, ':');

    if (theirs == NULL)
        return is_path(socket) && doctor_same_path(words, ours);
    if (theirs == words || is_path(words))
        return is_path(socket) && doctor_same_path(theirs + 1, ours);
    return !is_path(socket) && strncasecmp(words, "inet", 4) == 0 && strcmp(port_of(d, theirs + 1), port_of(d, ours)) == 0;
}

/* Whose mail it is */

static void candidates(const struct sendmail_doctor *d, const char *key, struct connector_list *ret)
{
    struct pattern p = { .kind = PATTERN_EVERYONE };
    char local[ADDRESS_LOCAL_SIZE];
    struct domain domain;

    if (strcmp(key, ".") == 0 || doctor_pattern(key, local, &domain, &p))
        ruleset_candidates(d->rules, &p, ret);
}

bool sendmail_is_strict(const struct sendmail_doctor *d, const char *key)
{
    struct connector_list list = { .count = 0 };
    bool strict = false;
    size_t i;

    candidates(d, key, &list);
    for (i = 0; i < list.count; i++)
        strict |= !list.items[i]->is_default && connector_is_mandatory(list.items[i]);
    connector_list_done(&list);
    return strict;
}

const struct connector *sendmail_ruler(const struct sendmail_doctor *d, const char *key)
{
    struct connector_list list = { .count = 0 };
    const struct connector *found = NULL;
    size_t i;

    candidates(d, key, &list);
    for (i = 0; i < list.count && found == NULL; i++) {
        if (!list.items[i]->is_default && !connector_is_idle(list.items[i]))
            found = list.items[i];
    }
    connector_list_done(&list);
    return found;
}
