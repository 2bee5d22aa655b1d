#ifndef DANELAW_LOOKUP_ASK_H
#define DANELAW_LOOKUP_ASK_H

#include "lookup/lookup.h"
#include "policy/dns.h"

struct ub_ctx;
struct ub_result;

/*
 * One question to libunbound. Resolver thread only. Its answer comes from the loop, never from inside ask_send(); a
 * question that can't even be sent is closed at once, its look has failed, and answered is not called: look after sending.
 */
struct ask {
    struct ub_ctx *ctx;
    struct dns_look *look;          /* how it fared; is filled in before answered is called */
    /* The records are borrowed for the call; NULL: there is no answer. May end the life of the ask. */
    void (*answered)(struct ask *self, const struct ub_result *records);
    void *owner;
    int id;
    bool open;
};

enum { ASK_A = 1, ASK_CNAME = 5, ASK_MX = 15, ASK_AAAA = 28, ASK_TLSA = 52 };

void ask_send(struct ask *a, const char *name, int type);

/* libunbound's pipes can't be mended once one has failed: says so with its error code, and ends the process. */
_Noreturn void ask_give_up(int code);
bool ask_arrived(const struct ask *a);
/* Gives up on it, if it is open: it has failed for this reason, and answered will not be called. */
void ask_drop(struct ask *a, const char *why);
/* As if it had never been asked. */
void ask_forget(struct ask *a);
/* The data of an answer, borrowed from it. */
void ask_read(const struct ub_result *records, struct dns_records *ret);
/* A look that failed. */
struct dns_look ask_failure(const char *why);

#endif
