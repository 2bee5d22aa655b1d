#include "mta/setup_site.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

enum { NAME_MAX_BYTES = 8192, LISTS_MAX_BYTES = 1024 * 1024 };

static const char *or_none(const char *value)
{
    return value == NULL ? "" : value;
}

/* `-` in master.cf means yes before Postfix 3, and for those who kept its ways. */
static bool is_chrooted(struct setup_site *s, const char *field, bool *ret)
{
    const char *column;

    if (!postconf_service(&s->conf, field, &column, &s->why))
        return false;
    if (column != NULL)
        *ret = *column == 'y' || (*column == '-' && s->old_chroot);
    return true;
}

/* Several lists of domains as one. */
static void join(struct setup_site *s, const char *const lists[], size_t count)
{
    struct text all;
    size_t i;

    text_init(&all, LISTS_MAX_BYTES);
    for (i = 0; i < count; i++)
        text_print(&all, "%s ", or_none(lists[i]));
    s->own_domains = arena_text(s->conf.memory, text_words(&all));
    text_done(&all);
}

static bool ask_expanded(struct setup_site *s)
{
    enum { VERSION, QUEUE, OWNER, RELAYHOST, CA_FILE, CA_PATH, CA_DEFAULT, LEVEL, OWN, OWN_COUNT = 4 };
    static const char *const names[] = { "mail_version", "queue_directory", "mail_owner", "relayhost", "smtp_tls_CAfile",
                                         "smtp_tls_CApath", "tls_append_default_CA", "compatibility_level", "mydestination",
                                         "virtual_alias_domains", "virtual_mailbox_domains", "relay_domains", NULL };
    const char *values[COUNT_OF(names)];

    if (!postconf_read(&s->conf, true, names, values, &s->why))
        return false;
    sscanf(or_none(values[VERSION]), "%u.%u", &s->major, &s->minor);
    if (values[QUEUE] != NULL)
        s->queue = values[QUEUE];
    if (values[OWNER] != NULL)
        s->owner = values[OWNER];
    s->relayhost = or_none(values[RELAYHOST]);
    s->has_authorities = *or_none(values[CA_FILE]) != '\0' || *or_none(values[CA_PATH]) != '\0' ||
                         strcmp(or_none(values[CA_DEFAULT]), "yes") == 0;
    join(s, values + OWN, OWN_COUNT);
    s->old_chroot = strcmp(or_none(values[LEVEL]), "0") == 0;
    return is_chrooted(s, "smtp/unix/chroot", &s->smtp_chroot) && is_chrooted(s, "smtp/inet/chroot", &s->smtpd_chroot);
}

static bool ask_as_written(struct setup_site *s)
{
    enum { MAPS, MILTERS, MILTER_CHECKS, HEADER_CHECKS };
    static const char *const names[] = { "transport_maps", "smtpd_milters", "milter_header_checks", "smtp_header_checks",
                                         NULL };
    const char *values[COUNT_OF(names)];

    if (!postconf_read(&s->conf, false, names, values, &s->why))
        return false;
    s->transport_maps = or_none(values[MAPS]);
    s->milters = or_none(values[MILTERS]);
    s->milter_checks = or_none(values[MILTER_CHECKS]);
    s->header_checks = or_none(values[HEADER_CHECKS]);
    return true;
}

void setup_site_ask(struct setup_site *s, const struct settings *set, struct arena *memory)
{
    *s = (struct setup_site){ .queue = "/var/spool/postfix", .owner = "postfix", .transport_maps = "", .milters = "",
                              .milter_checks = "", .header_checks = "", .relayhost = "", .smtp_chroot = true,
                              .own_domains = "", .smtpd_chroot = true, .major = 3, .minor = 7 };
    s->known = postconf_find(set, memory, &s->conf, &s->why) && ask_expanded(s) && ask_as_written(s);
}

static void put_path(const struct setup_site *s, const char *path, struct setup_endpoint *ret)
{
    size_t queue = strlen(s->queue);

    ret->outside = strncmp(path, s->queue, queue) != 0 || path[queue] != '/';
    text_print(&ret->name, "unix:%s", ret->outside ? path : path + queue + 1);
}

bool setup_endpoint_init(struct setup_endpoint *e, const struct setup_site *s, const char *setting, const char *socket,
                         struct fault *why)
{
    const char *rest = strchr(socket, ':'), *at = strchr(socket, '@');

    text_init(&e->name, NAME_MAX_BYTES);
    e->outside = false;
    if (rest != NULL && (strncmp(socket, "unix:", 5) == 0 || strncmp(socket, "local:", 6) == 0)) {
        put_path(s, rest + 1, e);
        return true;
    }
    if (rest == NULL || at == NULL || strncmp(socket, "inet", 4) != 0)
        return fault_set(why, "%s: \"%.100s\" is neither unix:/PATH nor inet:PORT@HOST", setting, socket);
    text_print(&e->name, strchr(at + 1, ':') != NULL && at[1] != '[' ? "inet:[%s]:%.*s" : "inet:%s:%.*s", at + 1,
               (int)(at - rest - 1), rest + 1);
    return true;
}

void setup_put_others(const char *list, const char *ours, bool before, struct arena *memory, struct text *ret)
{
    const char *word;

    while ((word = postconf_word(&list, memory)) != NULL) {
        if (strstr(word, ours) == NULL && strstr(word, SETUP_SPELLINGS) == NULL)
            text_print(ret, before ? "%s, " : ", %s", word);
    }
}

void setup_put_milter(const struct setup_endpoint *e, const struct settings *set, struct text *ret)
{
    text_print(ret, "{ %s, default_action=accept, connect_timeout=%us, command_timeout=%us }", text_words(&e->name),
               set->milter.budget + 2, set->milter.budget + 12);
}
