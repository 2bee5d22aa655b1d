#ifndef DANELAW_CLI_CLI_H
#define DANELAW_CLI_CLI_H

#include "config/config.h"

#include <stdbool.h>
#include <stddef.h>

/* How danelaw(1) ends: of several, the largest. */
enum {
    CLI_GOOD = 0,
    CLI_NO = 1,                 /* the answer is no: held, failing, found something */
    CLI_USAGE = 2,
    CLI_UNREACHABLE = 69,
    CLI_TEMPORARY = 75,
    CLI_CONFIG = 78,
};

/* What was asked of the command, options sorted from words. */
struct cli {
    const char *config;         /* path */
    bool config_given;          /* by -c */
    bool json;
    const char *from, *to, *domain, *connector, *queue_id, *verdict, *since, *limit;    /* each as written, or NULL */
    const char *dane_mode, *sts_mode, *span, *config_dir;                               /* also */
    bool check, probe, all, sts, permanent, clear, dry_run, mixed;
    const char *const *words;   /* behind the verb */
    size_t count;
};

/* The whole command; the exit status. */
int cli_main(int argc, char **argv);

/* Each verb gives the exit status. */
int cli_check(const struct cli *c);
int cli_connectors(const struct cli *c);
int cli_cache(const struct cli *c);
int cli_trace(const struct cli *c);
int cli_held(const struct cli *c);
int cli_mode(const struct cli *c);
int cli_audit(const struct cli *c);
int cli_doctor(const struct cli *c);
int cli_sweep(const struct cli *c);
int cli_tables(const struct cli *c);
int cli_setup(const struct cli *c);
int cli_status(const struct cli *c);
int cli_reload(const struct cli *c);
int cli_config(const struct cli *c);

/* One line on standard error, `danelaw: ...`; gives exit back. */
int cli_fail(int exit, const char *format, ...) __attribute__((format(printf, 2, 3)));
void cli_remark(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * The configuration. On failure its faults are on standard error and ret_exit says how to end. A preset file that isn't
 * there is no fault where lenient is set: presets and no connectors then, with a remark.
 */
bool cli_load(const struct cli *c, bool lenient, struct configuration **ret, int *ret_exit);

/* Without the daemon: what its store has of overrides counts here, too. Changes conf->rules. */
bool cli_add_overrides(struct configuration *conf, struct fault *why);

#endif
