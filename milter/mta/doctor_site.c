#include "mta/doctor_site.h"

#include "base/memory.h"
#include "mta/tables.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { SAID_MAX = 64 * 1024 };

const char *doctor_say(const struct doctor *d, const char *format, ...)
{
    const char *said;
    va_list args;

    va_start(args, format);
    said = doctor_report_say_list(d->report, format, args);
    va_end(args);
    return said;
}

void doctor_find(struct doctor *d, enum doctor_severity severity, const char *where, const char *what, const char *fix)
{
    doctor_report_find(d->report, severity, where, what, fix);
}

void doctor_unread(struct doctor *d, const char *what)
{
    doctor_report_unread(d->report, what);
}

static void add_value(struct doctor *d, const char *name, const char *service, const char *value)
{
    if (d->value_count == d->value_room) {
        d->value_room = d->value_room == 0 ? 1024 : d->value_room * 2;
        d->values = mem_grow(d->values, d->value_room, sizeof(*d->values));
    }
    d->values[d->value_count++] = (struct doctor_value){ name, service, value };
}

/* `name = value`, or `service/type/name = value`. */
static void take_value(struct doctor *d, char *line)
{
    char *end = strstr(line, " ="), *slash, *value;

    if (end == NULL)
        return;
    *end = '\0';
    for (value = end + 2; *value == ' '; value++)
        ;
    slash = strrchr(line, '/');
    if (slash != NULL)
        *slash = '\0';
    add_value(d, slash == NULL ? line : slash + 1, slash == NULL ? "" : line, value);
}

/* Name, type, private, unprivileged, chroot, wakeup, limit, command, its arguments. */
static void take_service(struct doctor *d, char *line)
{
    enum { NAME, TYPE, CHROOT = 4, COMMAND = 7, FIELDS };
    const char *fields[FIELDS];
    char *rest = line, *word;
    size_t i;

    for (i = 0; i < FIELDS && (word = strtok_r(rest, " \t", &rest)) != NULL; i++)
        fields[i] = word;
    if (i < FIELDS)
        return;
    if (d->service_count == d->service_room) {
        d->service_room = d->service_room == 0 ? 64 : d->service_room * 2;
        d->services = mem_grow(d->services, d->service_room, sizeof(*d->services));
    }
    d->services[d->service_count++] = (struct doctor_service){
        .id = doctor_say(d, "%s/%s", fields[NAME], fields[TYPE]), .name = fields[NAME], .type = fields[TYPE],
        .command = fields[COMMAND],
        .chroot = *fields[CHROOT] == 'y' || (*fields[CHROOT] == '-' && d->site.old_chroot),
    };
}

static bool take_list(struct doctor *d, const char *option, void (*take_line)(struct doctor *, char *), struct fault *why)
{
    char *lines, *line, *next;

    if (!postconf_list(&d->site.conf, option, &lines, why))
        return false;
    line = arena_text(d->memory, lines);
    free(lines);
    for (; *line != '\0'; line = next) {
        next = line + strcspn(line, "\n");
        if (*next == '\n')
            *next++ = '\0';
        take_line(d, line);
    }
    return true;
}

static int by_name(const void *a, const void *b)
{
    const struct doctor_value *x = a, *y = b;
    int order = strcmp(x->name, y->name);

    return order != 0 ? order : strcmp(x->service, y->service);
}

static void name_programs(struct doctor *d)
{
    const char *folder = doctor_value(d, NULL, "command_directory");

    d->postmap.config_dir = d->set->tables.config_dir;
    d->postmap.program = *d->set->tables.postmap != '\0'
                             ? d->set->tables.postmap
                             : doctor_say(d, "%s/postmap", *folder == '\0' ? "/usr/sbin" : folder);
}

static void fill_sheet(struct doctor *d)
{
    struct text name;

    d->sheet.extensions = *doctor_value(d, NULL, "recipient_delimiter") != '\0';
    sheet_add_connectors(&d->sheet, d->rules);
    d->table_path = doctor_say(d, "%s/postfix/transport", d->set->store.directory);
    text_init(&name, SAID_MAX);
    d->table = tables_name(d->set, &name, NULL) ? doctor_say(d, "%s", text_words(&name)) : "";
    text_done(&name);
}

bool doctor_site_read(struct doctor *d, const struct settings *set, const struct ruleset *rules,
                      struct doctor_report *report, struct fault *why)
{
    *d = (struct doctor){ .set = set, .rules = rules, .report = report, .memory = report->memory };
    sheet_init(&d->sheet);
    setup_site_ask(&d->site, set, d->memory);
    if (!d->site.known)
        return fault_set(why, "%s", d->site.why.text);
    if (!setup_roads(&d->site, set, d->memory, d->roads, why) || !take_list(d, "-x", take_value, why) ||
        !take_list(d, "-Px", take_value, why) || !take_list(d, "-M", take_service, why))
        return false;
    if (d->value_count > 0)
        qsort(d->values, d->value_count, sizeof(*d->values), by_name);
    name_programs(d);
    fill_sheet(d);
    return true;
}

void doctor_site_done(struct doctor *d)
{
    sheet_done(&d->sheet);
    free(d->services);
    free(d->values);
}

const char *doctor_override(const struct doctor *d, const struct doctor_service *s, const char *name)
{
    const struct doctor_value wanted = { .name = name, .service = s == NULL ? "" : s->id }, *found = NULL;

    if (d->value_count > 0)
        found = bsearch(&wanted, d->values, d->value_count, sizeof(*d->values), by_name);
    return found == NULL ? NULL : found->value;
}

const char *doctor_value(const struct doctor *d, const struct doctor_service *s, const char *name)
{
    const char *value = doctor_override(d, s, name);

    if (value == NULL && s != NULL)
        value = doctor_override(d, NULL, name);
    return value == NULL ? "" : value;
}

/* Of several with one name Postfix takes the last. */
const struct doctor_service *doctor_service(const struct doctor *d, const char *name, const char *type)
{
    size_t i;

    for (i = d->service_count; i-- > 0;) {
        if (strcmp(d->services[i].name, name) == 0 && strcmp(d->services[i].type, type) == 0)
            return &d->services[i];
    }
    return NULL;
}

static const struct doctor_service *service_of(const struct doctor *d, const char *id)
{
    size_t i;

    for (i = d->service_count; i-- > 0;) {
        if (strcmp(d->services[i].id, id) == 0)
            return &d->services[i];
    }
    return NULL;
}

bool doctor_next_place(const struct doctor *d, const char *name, size_t *cursor, struct doctor_place *ret)
{
    for (; *cursor < d->value_count; (*cursor)++) {
        const struct doctor_value *v = &d->values[*cursor];
        const struct doctor_service *s = *v->service == '\0' ? NULL : service_of(d, v->service);

        if (strcmp(v->name, name) != 0 || (*v->service != '\0' && s == NULL))
            continue;
        (*cursor)++;
        *ret = (struct doctor_place){
            .service = s, .value = v->value,
            .where = s == NULL ? doctor_say(d, "main.cf: %s", name) : doctor_say(d, "master.cf: %s: -o %s", s->id, name),
        };
        return true;
    }
    return false;
}

const char *doctor_path(const struct doctor *d, bool chroot, const char *path)
{
    if (!chroot && *path == '/')
        return path;
    return doctor_say(d, "%s%s%s", d->site.queue, *path == '/' ? "" : "/", path);
}

bool doctor_is_socket(const struct doctor *d, bool chroot, const char *words, const char *socket)
{
    struct setup_endpoint ours;
    bool same;

    if (strncmp(words, "inet:localhost:", 15) == 0)
        words = doctor_say(d, "inet:127.0.0.1:%s", words + 15);
    if (strncmp(words, "unix:", 5) == 0 || strncmp(words, "local:", 6) == 0)
        return (strncmp(socket, "unix:", 5) == 0 || strncmp(socket, "local:", 6) == 0) &&
               doctor_same_path(doctor_path(d, chroot, strchr(words, ':') + 1), strchr(socket, ':') + 1);
    same = setup_endpoint_init(&ours, &d->site, "", socket, NULL) &&
           (strcmp(text_words(&ours.name), words) == 0 ||
            (strncmp(text_words(&ours.name), "inet:localhost:", 15) == 0 && strncmp(words, "inet:127.0.0.1:", 15) == 0 &&
             strcmp(text_words(&ours.name) + 15, words + 15) == 0));
    text_done(&ours.name);
    return same;
}

bool doctor_seconds(const char *text, char unit, uint64_t *ret)
{
    static const struct {
        char unit;
        uint64_t seconds;
    } units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 7 * 86400 } };
    unsigned long long number;
    char *end;
    size_t i;

    if (*text < '0' || *text > '9')
        return false;
    number = strtoull(text, &end, 10);
    if (*end != '\0')
        unit = *end++;
    for (i = 0; i < COUNT_OF(units); i++) {
        if (units[i].unit == unit && *end == '\0' && number < UINT32_MAX) {
            *ret = number * units[i].seconds;
            return true;
        }
    }
    return false;
}
