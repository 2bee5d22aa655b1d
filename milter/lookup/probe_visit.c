#include "lookup/probe_visit.h"

#include "base/clock.h"
#include "base/text.h"
#include "lookup/probe_smtp.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

enum { LEAVE_MS = 3000 };

static void spell(const struct sockaddr_storage *a, char *ret, size_t size)
{
    const void *octets = a->ss_family == AF_INET ? (const void *)&((const struct sockaddr_in *)a)->sin_addr
                                                 : (const void *)&((const struct sockaddr_in6 *)a)->sin6_addr;

    if (inet_ntop(a->ss_family, octets, ret, (socklen_t)size) == NULL)
        *ret = '\0';
}

static enum probe_state shake(struct visit *v, SSL_CTX *tls, const struct probe_target *target, struct probe_sight *ret,
                              struct fault *why)
{
    struct fault inner;

    tls_init(&v->talk, tls, target);
    v->shaken = tls_shake(&v->talk, &v->wire, &inner);
    if (!v->shaken || !tls_chain(&v->talk, &ret->chain, &inner)) {
        fault_set(why, "TLS: %.160s", inner.text);
        return v->wire.stopped ? PROBE_UNREACHABLE : PROBE_TLS_FAILED;
    }
    snprintf(ret->tls, sizeof(ret->tls), "%s", SSL_get_version(v->talk.ssl));
    return PROBE_SEEN;
}

void visit_make(struct visit *v, const struct visit_manner *m, const struct visit_goal *g, struct probe_sight *ret)
{
    struct fault why = { .text = "" }, inner;

    *v = (struct visit){ .wire = { .fd = -1, .stop = m->stop, .deadline = g->connect_by } };
    *ret = (struct probe_sight){ .state = PROBE_UNREACHABLE };
    spell(g->to, ret->address, sizeof(ret->address));
    if (wire_connect(&v->wire, g->to, &m->from, &inner)) {
        v->wire.deadline = g->end_by;
        ret->state = smtp_open(&v->wire, m->helo, &v->in_step, &why);
    } else
        fault_set(&why, "connection: %.160s", inner.text);
    if (ret->state == PROBE_TLS_FAILED)
        ret->state = shake(v, m->tls, g->target, ret, &why);
    text_printable(ret->state == PROBE_SEEN ? "" : why.text, false, ret->why, sizeof(ret->why));
}

void visit_leave(struct visit *v)
{
    int64_t leave_by = clock_ms() + LEAVE_MS;

    if (v->wire.deadline > leave_by)
        v->wire.deadline = leave_by;
    if (v->shaken)
        tls_quit(&v->talk, &v->wire);
    else if (v->in_step)
        smtp_quit(&v->wire);
    tls_done(&v->talk);
    wire_close(&v->wire);
}
