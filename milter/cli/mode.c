#include "base/memory.h"
#include "cli/cli.h"
#include "cli/connectors.h"
#include "cli/daemon.h"
#include "cli/output.h"
#include "config/values.h"
#include "policy/terms.h"

#include <string.h>

enum { SPAN_MOST = 7 * 24 * 60 * 60 };

static bool is_mode(const char *word)
{
    enum mode mode;

    return word == NULL || mode_parse(word, &mode);
}

/* What is wrong with the options, or NULL. */
static const char *complaint(const struct cli *c, uint64_t *ret_span)
{
    if (!is_mode(c->dane_mode) || !is_mode(c->sts_mode))
        return "a mode is opportunistic, mandatory or none";
    if (c->clear && (c->dane_mode != NULL || c->sts_mode != NULL || c->span != NULL || c->permanent))
        return "--clear goes with no other option";
    if (c->span != NULL && c->permanent)
        return "--for and --permanent exclude each other";
    if ((c->span != NULL || c->permanent) && c->dane_mode == NULL && c->sts_mode == NULL)
        return "--for and --permanent want --dane or --sts";
    if (c->span != NULL && (!values_duration(c->span, ret_span) || *ret_span < 1 || *ret_span > SPAN_MOST))
        return "--for takes 1s to 7d, such as 90s, 15m, 2h or 3d";
    return NULL;
}

static json_t *order_of(const struct cli *c, uint64_t span)
{
    json_t *order = json_pack("{s:s, s:o}", "verb", "mode", "name", output_text(c->words[0]));

    if (c->clear)
        json_object_set_new(order, "clear", json_true());
    if (c->dane_mode != NULL)
        json_object_set_new(order, "dane", json_string(c->dane_mode));
    if (c->sts_mode != NULL)
        json_object_set_new(order, "sts", json_string(c->sts_mode));
    if (c->span != NULL)
        json_object_set_new(order, "for", json_integer((json_int_t)span));
    if (c->permanent)
        json_object_set_new(order, "permanent", json_true());
    return order;
}

int cli_mode(const struct cli *c)
{
    struct daemon_reader reader = { .item = connectors_show_item };
    const char *wrong;
    uint64_t span = 0;

    wrong = complaint(c, &span);
    if (wrong != NULL)
        return cli_fail(CLI_USAGE, "mode: %s", wrong);
    if (!c->clear && c->dane_mode == NULL && c->sts_mode == NULL)
        return connectors_show(c, c->words[0]);
    return daemon_ask(c, order_of(c, span), &reader);
}
