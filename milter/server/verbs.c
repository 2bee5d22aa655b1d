/*
 * What each request of danelaw(1) comes to. A verb answers at once, or begins a list, a reading from disk or a job.
 */
#include "server/client.h"

#include "base/clock.h"
#include "base/memory.h"
#include "server/held.h"
#include "server/modes.h"
#include "server/recall.h"
#include "server/report.h"
#include "server/swept.h"
#include "server/trace_list.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

static const char only_trusted[] = "only root and the daemon's own user may change anything";

static const char *member(const json_t *request, const char *key)
{
    const char *text = json_string_value(json_object_get(request, key));

    return text == NULL ? "" : text;
}

/* A domain alone is as good as an address there, but no user@domain rule can be meant. */
static bool read_recipient(const char *spoken, struct address *ret)
{
    struct fault why;

    *ret = (struct address){ .kind = ADDRESS_DOMAIN };
    if (strchr(spoken, '@') == NULL)
        return domain_parse(spoken, &ret->domain, &why);
    address_parse(spoken, ret);
    return ret->kind == ADDRESS_DOMAIN || ret->kind == ADDRESS_LITERAL;
}

/* Where nothing is known yet, whoever asks again in a while shall know more. */
static void search(struct engine *e, const struct address *to)
{
    struct text words;

    text_init(&words, 4096);
    engine_explain(e, to, &words);
    text_done(&words);
}

/* Takes item. */
static void send_connector(struct client *client, const json_t *request, json_t *item, const struct connector *c)
{
    report_visits(item, client->control->engine, c);
    if (json_is_true(json_object_get(request, "whole")))
        report_more(item, c);
    client_send(client, item);
}

static void show_match(struct client *client, const json_t *request)
{
    struct engine *e = client->control->engine;
    const json_t *sender = json_object_get(request, "from");
    const struct connector *c;
    struct address to, from = { 0 };    /* nobody in particular: only rules for any sender */

    if (!read_recipient(member(request, "address"), &to)) {
        client_finish(client, EXIT_FAILURE + 1, "that is neither an address nor a domain");
        return;
    }
    if (json_is_string(sender))
        address_parse(json_string_value(sender), &from);
    if (json_is_true(json_object_get(request, "search")))
        search(e, &to);
    c = ruleset_find(client->rules, &to, &from);
    send_connector(client, request, report_match(e, c, &to), c);
    client_finish(client, EX_OK, NULL);
}

static void show_named(struct client *client, const json_t *request)
{
    const char *name = member(request, "name");
    const struct connector *c = ruleset_named(client->rules, name);
    struct fault why;

    if (c == NULL && strcmp(name, ruleset_default(client->rules)->name) == 0)
        c = ruleset_default(client->rules);
    if (c == NULL) {
        fault_set(&why, "no connector is called \"%s\"", name);
        client_finish(client, EXIT_FAILURE, why.text);
        return;
    }
    send_connector(client, request, report_connector(client->control->engine, c), c);
    client_finish(client, EX_OK, NULL);
}

static json_t *next_rule(struct client *client)
{
    if (client->next_rule == ruleset_count(client->rules))
        return NULL;
    return report_connector(client->control->engine, ruleset_at(client->rules, client->next_rule++));
}

static void verb_connectors(struct client *client, const json_t *request)
{
    const char *what = member(request, "what");

    client->rules = engine_rules(client->control->engine);
    if (strcmp(what, "list") == 0)
        client_list(client, next_rule);
    else if (strcmp(what, "show") == 0)
        show_named(client, request);
    else if (strcmp(what, "match") == 0)
        show_match(client, request);
    else
        client_finish(client, EXIT_FAILURE + 1, "this daemon can list, show or match connectors");
}

static json_t *next_recalled(struct client *client)
{
    return recall_next(client->recall);
}

static void show_cache(struct client *client, const struct domain *host, bool policies)
{
    struct control *c = client->control;

    if (policies)
        client->recall = recall_policies(c->hooks.policies, host);
    else
        client->recall = recall_evidence(c->engine, host);
    if (host != NULL)
        client->nothing = policies ? "no policy of that domain is kept" : "nothing is remembered of that domain";
    client_list(client, next_recalled);
}

/* Who it is that asks for a change, for the audit. */
static char *asker(const struct client *client, const json_t *request, char ret[static AUDIT_BY_SIZE])
{
    return peer_name(&client->peer, client->control->own_name, json_string_value(json_object_get(request, "sudo")), ret,
                     AUDIT_BY_SIZE);
}

static void audit_flush(struct client *client, const json_t *request, const struct domain *host, size_t evidence, size_t policies)
{
    char by[AUDIT_BY_SIZE], after[400];

    snprintf(after, sizeof(after), "%s: evidence about %zu next hops and %zu policies forgotten",
             host == NULL ? "everything" : host->name, evidence, policies);
    audit_note(client->control->hooks.store, &(struct audit_entry){ .by = asker(client, request, by),
                                                                    .action = "cache flushed", .after = after });
}

static void flush_cache(struct client *client, const json_t *request, const struct domain *host, bool policies)
{
    size_t evidence, dropped;

    if (!client->peer.trusted) {
        client_finish(client, EXIT_FAILURE, only_trusted);
        return;
    }
    engine_cache_flush(client->control->engine, host, policies, &evidence, &dropped);
    audit_flush(client, request, host, evidence, dropped);
    client_send(client, json_pack("{s:I, s:I}", "evidence", (json_int_t)evidence, "policies", (json_int_t)dropped));
    client_finish(client, EX_OK, NULL);
}

static void verb_cache(struct client *client, const json_t *request)
{
    bool policies = json_is_true(json_object_get(request, "sts")), all = json_object_get(request, "domain") == NULL;
    const char *what = member(request, "what");
    struct next_hop hop;                /* as it is spelled in the list; its host is what counts */

    if (!all && !next_hop_parse(member(request, "domain"), &hop, NULL))
        client_finish(client, EXIT_FAILURE + 1, "that is no domain");
    else if (policies && client->control->hooks.policies == NULL)
        client_finish(client, EXIT_FAILURE, "no policies are kept");
    else if (strcmp(what, "show") == 0)
        show_cache(client, all ? NULL : &hop.host, policies);
    else if (strcmp(what, "flush") == 0)
        flush_cache(client, request, all ? NULL : &hop.host, policies);
    else
        client_finish(client, EXIT_FAILURE + 1, "this daemon can show or flush the cache");
}

static json_t *next_held(struct client *client)
{
    return held_next(client->held);
}

static void audit_forget(struct client *client, const json_t *request, size_t count)
{
    const char *connector = json_string_value(json_object_get(request, "connector")), *to = member(request, "to");
    char by[AUDIT_BY_SIZE], after[ADDRESS_TEXT_SIZE + 64], shown[ADDRESS_TEXT_SIZE];

    snprintf(after, sizeof(after), "%s: %zu hold clocks forgotten",
             connector != NULL || *to == '\0' ? "everything" : text_printable(to, false, shown, sizeof(shown)), count);
    audit_note(client->control->hooks.store, &(struct audit_entry){ .by = asker(client, request, by), .connector = connector,
                                                                    .action = "holds forgotten", .after = after });
}

static void forget_held(struct client *client, const json_t *request)
{
    struct fault why;
    size_t count;

    if (!client->peer.trusted) {
        client_finish(client, EXIT_FAILURE, only_trusted);
        return;
    }
    if (!held_forget(client->control->hooks.holds, request, &count, &why)) {
        client_finish(client, EXIT_FAILURE + 1, why.text);
        return;
    }
    audit_forget(client, request, count);
    client_send(client, json_pack("{s:I}", "forgotten", (json_int_t)count));
    client_finish(client, EX_OK, NULL);
}

static void verb_held(struct client *client, const json_t *request)
{
    const char *what = member(request, "what");

    if (client->control->hooks.holds == NULL) {
        client_finish(client, EXIT_FAILURE, "no hold clocks are kept");
    } else if (strcmp(what, "list") == 0) {
        client->held = held_list(client->control->hooks.holds);
        client_list(client, next_held);
    } else if (strcmp(what, "forget") == 0) {
        forget_held(client, request);
    } else {
        client_finish(client, EXIT_FAILURE + 1, "this daemon can list or forget what is held");
    }
}

static void verb_trace(struct client *client, const json_t *request)
{
    struct store *store = client->control->hooks.store;
    struct clerk_source *source;
    struct fault why;

    source = store == NULL ? NULL : trace_list(store, request, &why);
    client->nothing = "no such decision was found";
    if (store == NULL)
        client_end_list(client);
    else if (source == NULL)
        client_finish(client, EXIT_FAILURE + 1, why.text);
    else
        client_read(client, source);
}

static void verb_status(struct client *client, const json_t *request)
{
    struct control *c = client->control;
    struct report_house house = { .store = c->hooks.store, .policies = c->hooks.policies,
                                  .holds = c->hooks.holds, .trace = c->hooks.trace, .tables_good = true };
    char why[512] = "";
    json_t *item;
    int exit;

    (void)request;
    if (c->hooks.status != NULL)
        c->hooks.status(c->hooks.self, &house.tables_good, why, sizeof(why));
    house.uptime_s = (clock_ms() - c->started_ms) / 1000;
    house.tables_why = why;
    item = report_status(c->engine, &house, &exit);
    client_send(client, item);
    client_finish(client, exit, NULL);
}

/* Something that takes its time on another thread, which ends the job. */
static struct control_job *job_for(struct client *client, const json_t *request)
{
    struct control_job *job = client_job(client);

    asker(client, request, job->by);
    return job;
}

static void verb_reload(struct client *client, const json_t *request)
{
    const struct control_hooks *hooks = &client->control->hooks;

    hooks->reload(hooks->self, job_for(client, request));
}

static void verb_mode(struct client *client, const json_t *request)
{
    const struct control_hooks *hooks = &client->control->hooks;
    struct mode_order order;
    struct fault why;

    if (modes_read(request, &order, &why))
        hooks->mode(hooks->self, &order, job_for(client, request));
    else
        client_finish(client, EXIT_FAILURE + 1, why.text);
}

static void verb_tables(struct client *client, const json_t *request)
{
    const struct control_hooks *hooks = &client->control->hooks;
    enum tables_order order = json_is_true(json_object_get(request, "check"))    ? TABLES_CHECK
                              : json_is_true(json_object_get(request, "follow")) ? TABLES_FOLLOW
                                                                                 : TABLES_REPLACE;

    if (order == TABLES_CHECK || client->peer.trusted)
        hooks->tables(hooks->self, order, job_for(client, request));
    else
        client_finish(client, EXIT_FAILURE, only_trusted);
}

static void verb_audit(struct client *client, const json_t *request)
{
    (void)request;
    if (client->control->hooks.store == NULL)
        client_finish(client, EXIT_FAILURE, "no audit is kept");
    else
        client_read(client, modes_audit(client->control->hooks.store));
}

static void verb_swept(struct client *client, const json_t *request)
{
    const char *error = swept_record(client->control->engine, request);

    client_finish(client, error == NULL ? EX_OK : EXIT_FAILURE + 1, error);
}

static const struct {
    const char *name;
    void (*obey)(struct client *client, const json_t *request);
    bool changes;
} verbs[] = {
    { "connectors", verb_connectors, false },
    { "cache", verb_cache, false },     /* but to flush is a change */
    { "held", verb_held, false },       /* but to forget is a change */
    { "trace", verb_trace, false },
    { "status", verb_status, false },
    { "reload", verb_reload, true },
    { "mode", verb_mode, true },
    { "tables", verb_tables, false },   /* but to write is a change */
    { "audit", verb_audit, false },
    { "swept", verb_swept, true },
};

void client_obey(struct client *client, const char *line, size_t length)
{
    json_t *request = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);
    const char *verb = member(request, "verb");
    size_t i;

    for (i = 0; i < COUNT_OF(verbs) && strcmp(verbs[i].name, verb) != 0; i++)
        ;
    if (request == NULL)
        client_finish(client, EXIT_FAILURE + 1, "that is no line of JSON");
    else if (i == COUNT_OF(verbs))
        client_finish(client, EXIT_FAILURE + 1, "this daemon doesn't know that verb");
    else if (verbs[i].changes && !client->peer.trusted)
        client_finish(client, EXIT_FAILURE, only_trusted);
    else
        verbs[i].obey(client, request);
    json_decref(request);
}
