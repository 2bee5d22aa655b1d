/*
 * The filter that Danelaw is measured against: libmilter with the same callbacks, and nothing in them.
 *
 * usage: null_milter [-w SUFFIX:MILLISECONDS] SOCKET
 *
 *   -w  recipients that end so wait as long, and are told to come again, as where DNS hangs
 */
#include <libmilter/mfapi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *slow;
static size_t slow_length;
static long slow_ms;

static sfsistat on_negotiate(SMFICTX *ctx, unsigned long actions, unsigned long steps, unsigned long unused0,
                             unsigned long unused1, unsigned long *ret_actions, unsigned long *ret_steps,
                             unsigned long *ret_unused0, unsigned long *ret_unused1)
{
    (void)ctx, (void)actions, (void)unused0, (void)unused1;
    *ret_actions = 0;
    *ret_steps = steps & (SMFIP_NOHELO | SMFIP_NOEOH | SMFIP_NOBODY | SMFIP_NODATA | SMFIP_NOUNKNOWN | SMFIP_NOHDRS);
    *ret_unused0 = *ret_unused1 = 0;
    return SMFIS_CONTINUE;
}

static sfsistat on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *address)
{
    (void)ctx, (void)host, (void)address;
    return SMFIS_CONTINUE;
}

static sfsistat on_mail(SMFICTX *ctx, char **arguments)
{
    (void)ctx, (void)arguments;
    return SMFIS_CONTINUE;
}

static sfsistat on_rcpt(SMFICTX *ctx, char **arguments)
{
    struct timespec pause = { .tv_sec = slow_ms / 1000, .tv_nsec = slow_ms % 1000 * 1000000 };
    size_t length = strlen(arguments[0]);

    (void)ctx;
    if (slow == NULL || length < slow_length || strncmp(arguments[0] + length - slow_length, slow, slow_length) != 0)
        return SMFIS_CONTINUE;
    nanosleep(&pause, NULL);
    return SMFIS_TEMPFAIL;
}

static sfsistat on_end(SMFICTX *ctx)
{
    (void)ctx;
    return SMFIS_CONTINUE;
}

int main(int argc, char **argv)
{
    struct smfiDesc filter = { .xxfi_name = (char *)(uintptr_t)"null", .xxfi_version = SMFI_VERSION, .xxfi_flags = 0,
                               .xxfi_connect = on_connect, .xxfi_envfrom = on_mail, .xxfi_envrcpt = on_rcpt, .xxfi_eom = on_end,
                               .xxfi_abort = on_end, .xxfi_close = on_end, .xxfi_negotiate = on_negotiate };
    char where[200];
    int option;

    while ((option = getopt(argc, argv, "w:")) == 'w') {
        slow_ms = strtol(strchr(optarg, ':') == NULL ? "0" : strchr(optarg, ':') + 1, NULL, 10);
        slow_length = strcspn(optarg, ":");
        slow = optarg;
    }
    if (option != -1 || optind != argc - 1) {
        fprintf(stderr, "usage: null_milter [-w SUFFIX:MILLISECONDS] SOCKET\n");
        return 64;
    }
    snprintf(where, sizeof(where), "unix:%s", argv[optind]);
    smfi_setbacklog(1024);
    if (smfi_register(filter) != MI_SUCCESS || smfi_setconn(where) != MI_SUCCESS)
        return 1;
    return smfi_main() == MI_SUCCESS ? 0 : 1;
}
