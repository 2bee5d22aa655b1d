#include "cli/words.h"

#include "base/hash.h"
#include "base/memory.h"
#include "cli/daemon.h"
#include "cli/output.h"

#include <string.h>
#include <time.h>

/* How long all searches of the daemon are waited for, in one sweep; those that take longer are known to the next. */
enum { BUCKETS = 4096, PATIENCE_MS = 30000, SLICE_MS = 250 };

/* An answer, for all recipients of one domain who fall to one connector. */
struct entry {
    struct entry *next;
    const struct connector *about;
    const char *domain;
    bool has_word, searching;
    struct sweep_word word;
};

struct words {
    struct cli cli;
    const char *socket;
    const struct ruleset *rules;
    struct arena *memory;
    struct entry *buckets[BUCKETS];
    bool asked, gone, proven;
    unsigned waited_ms;
};

/* A request's answer while it is read. */
struct hearing {
    struct daemon_reader reader;
    struct words *words;
    struct entry *into;
    bool heard;
};

struct words *words_open(const struct cli *c, const struct configuration *conf)
{
    struct words *w = mem_zero(sizeof(*w));

    w->cli = *c;
    w->cli.json = false;                /* its items are for us */
    w->socket = conf->settings.control.socket;
    w->rules = conf->rules;
    w->memory = arena_new();
    return w;
}

void words_close(struct words *w)
{
    arena_free(w->memory);
    free(w);
}

/* Takes request. */
static void ask(struct words *w, json_t *request, void (*take)(struct daemon_reader *self, const json_t *item),
                struct entry *into)
{
    struct hearing h = { .reader.item = take, .words = w, .into = into };
    int exit = daemon_ask_at(&w->cli, w->socket, request, &h.reader);

    if (h.heard || (exit != CLI_UNREACHABLE && exit != CLI_CONFIG && exit != CLI_TEMPORARY))
        return;                         /* whatever it thinks of the question, it is there */
    w->gone = true;
    cli_remark("without danelawd only what Postfix says of itself counts, and nobody logs what is returned but Postfix");
}

static void take_status(struct daemon_reader *self, const json_t *item)
{
    struct hearing *h = (struct hearing *)self;

    h->heard = true;
    h->words->proven = json_is_true(json_object_get(json_object_get(item, "resolver"), "proven"));
}

static int64_t time_of(const char *text)
{
    struct tm utc = { 0 };

    return strptime(text, "%Y-%m-%dT%H:%M:%SZ", &utc) == NULL ? 0 : (int64_t)timegm(&utc);
}

/* Another connector: it has other rules than the configuration that we read. */
static void take_match(struct daemon_reader *self, const json_t *item)
{
    struct hearing *h = (struct hearing *)self;
    struct sweep_word *word = &h->into->word;
    const char *reason = output_member(item, "reason", "-");

    h->heard = h->into->has_word = true;
    word->another = strcmp(output_member(item, "name", ""), h->into->about->name) != 0;
    word->overridden = json_is_object(json_object_get(item, "override"));
    word->proven = h->words->proven;
    word->since = time_of(output_member(item, "since", ""));
    word->route = ruleset_route(h->words->rules, output_member(item, "route", ""));
    h->into->searching = json_is_null(json_object_get(item, "verdict"));
    word->known = verdict_parse(output_member(item, "verdict", ""), &word->verdict) &&
                  dane_parse(output_member(item, "dane", ""), &word->dane);
    if (strcmp(reason, "-") == 0)
        word->reason = REASON_NONE;
    else
        word->known = word->known && reason_parse(reason, &word->reason);
}

static struct entry **find(struct words *w, const struct connector *about, const char *domain)
{
    struct entry **at = &w->buckets[hash_text(domain) % BUCKETS];

    while (*at != NULL && ((*at)->about != about || strcmp((*at)->domain, domain) != 0))
        at = &(*at)->next;
    return at;
}

/* The first question starts the search where nothing is known. */
static void ask_about(struct words *w, const char *to, const char *from, struct entry *e)
{
    const struct timespec slice = { .tv_nsec = SLICE_MS * 1000000L };

    do {
        if (e->searching) {
            nanosleep(&slice, NULL);
            w->waited_ms += SLICE_MS;
        }
        ask(w, json_pack("{s:s, s:s, s:s, s:s, s:b}", "verb", "connectors", "what", "match", "address", to, "from", from,
                         "search", 1), take_match, e);
    } while (e->searching && !w->gone && w->waited_ms < PATIENCE_MS);
}

const struct sweep_word *words_ask(struct words *w, const struct connector *about, const struct domain *domain,
                                   const char *to, const char *from)
{
    struct entry **at = find(w, about, domain->name), *e;

    if (*at != NULL)
        return (*at)->has_word ? &(*at)->word : NULL;
    if (!w->asked)
        ask(w, json_pack("{s:s}", "verb", "status"), take_status, NULL);
    w->asked = true;
    e = *at = arena_take(w->memory, sizeof(*e));
    *e = (struct entry){ .about = about, .domain = arena_text(w->memory, domain->name) };
    if (!w->gone)
        ask_about(w, to, from, e);
    return e->has_word ? &e->word : NULL;
}

static void take_nothing(struct daemon_reader *self, const json_t *item)
{
    (void)self;
    (void)item;
}

void words_tell(struct words *w, const char *queue_id, const char *to, const char *from, enum reason reason)
{
    if (!w->gone)
        ask(w, json_pack("{s:s, s:s, s:s, s:s, s:s}", "verb", "swept", "queue_id", queue_id, "to", to, "from", from,
                         "reason", reason_word(reason)), take_nothing, NULL);
}
