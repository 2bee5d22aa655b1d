#include "cli/cli.h"

#include "base/memory.h"

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONFIG_PRESET SYSCONFDIR "/danelaw/danelaw.conf"

/* Options that only some verbs take. */
enum { TAKES_FROM = 1 << 0, TAKES_CHECK = 1 << 1, TAKES_ALL = 1 << 2, TAKES_STS = 1 << 3 };

struct verb {
    const char *name;
    int (*run)(const struct cli *c);
    unsigned takes;
    size_t least, most;         /* words behind it */
    const char *synopsis, *help, *more;
};

static const struct verb verbs[] = {
    { "check", cli_check, TAKES_FROM, 1, (size_t)-1, "check DOMAIN|ADDRESS|[HOST]:PORT... [--from SENDER]",
      "judge how mail to a partner would travel, and why",
      "Looks DNS and the MTA-STS policy up by itself and needs no daemon. Shows the connector, the MX hosts, their TLSA\n"
      "records, the DNSSEC chain and its failing link, the policy and which hosts it lists, where reports go, the verdict\n"
      "and what to tell the partner.\n"
      "  --from SENDER   judge as for mail from this sender\n"
      "Exit: 0 mail would go, 1 it would be held, 75 that can't be told at the moment." },
    { "connectors", cli_connectors, TAKES_FROM, 0, 2, "connectors [list|show NAME|match ADDRESS [--from SENDER]]",
      "the rules in force and their state, as the daemon has them",
      "  list            all of them, in file order (the preset)\n"
      "  show NAME       one, with everything about it\n"
      "  match ADDRESS   the one that covers this recipient\n"
      "  --from SENDER   match: as for mail from this sender" },
    { "cache", cli_cache, TAKES_STS, 0, 2, "cache [show|flush] [DOMAIN] [--sts]",
      "what the daemon remembers of destinations; have it forgotten",
      "  show            evidence by next hop; a domain's with reasons (the preset)\n"
      "  flush           forget evidence, all or a domain's: the next question looks it up again\n"
      "  --sts           show: the MTA-STS policies that are kept; flush: these, too" },
    { "tables", cli_tables, TAKES_CHECK, 0, 0, "tables [--check]",
      "write the MTA's tables now, or say whether they are current",
      "  --check         touch nothing; exit 1 if the tables are not what the configuration makes" },
    { "setup", cli_setup, TAKES_ALL, 1, 1, "setup postfix [--all]",
      "print the exact lines that the MTA's configuration needs",
      "Makes sure that the table exists, then prints what belongs into main.cf and master.cf.\n"
      "  --all           judge every destination, not only those of named connectors; outbound mail then waits\n"
      "                  while the daemon is down" },
    { "status", cli_status, 0, 0, 0, "status",
      "health and counters of the daemon",
      "Exit: 0 good, 1 the resolver can prove nothing, the store fails or the tables are not current, 75 just started." },
    { "reload", cli_reload, 0, 0, 0, "reload",
      "have the daemon read its configuration again",
      "A bad configuration is refused: its faults are shown, the rules in force stay, exit 78." },
    { "config", cli_config, 0, 1, 1, "config test",
      "look for faults in the configuration",
      "Exit: 0 good, 78 bad; every fault is one line on standard error." },
};

/* Verbs of the manual that this version lacks. */
static const char *const later[] = { "trace", "held", "mode", "audit", "sweep", "doctor" };

enum { OPTION_JSON = 256, OPTION_FROM, OPTION_CHECK, OPTION_ALL, OPTION_STS, OPTION_PROBE, OPTION_VERSION };

static const struct option options[] = {
    { "config", required_argument, NULL, 'c' },
    { "json", no_argument, NULL, OPTION_JSON },
    { "from", required_argument, NULL, OPTION_FROM },
    { "check", no_argument, NULL, OPTION_CHECK },
    { "all", no_argument, NULL, OPTION_ALL },
    { "sts", no_argument, NULL, OPTION_STS },
    { "probe", no_argument, NULL, OPTION_PROBE },
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, OPTION_VERSION },
    { NULL },
};

/* The command line, read but not yet understood. */
struct line {
    struct cli cli;
    unsigned given;             /* TAKES_... */
    bool help, version, probe;
    const char *stranger;       /* an option nobody knows, or one without its argument; or NULL */
};

static void say(const char *format, va_list args) __attribute__((format(printf, 1, 0)));
static void say(const char *format, va_list args)
{
    fflush(stdout);             /* so that the two streams stay in order on a terminal */
    fputs("danelaw: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

int cli_fail(int exit, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(format, args);
    va_end(args);
    return exit;
}

void cli_remark(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(format, args);
    va_end(args);
}

static bool load_from(const char *path, struct configuration **ret, int *ret_exit)
{
    struct config_report report;
    bool good;

    config_report_init(&report);
    good = config_load(path, ret, &report);
    if (!good) {
        fputs(text_words(&report.faults), stderr);
        *ret_exit = CLI_CONFIG;
    }
    config_report_done(&report);
    return good;
}

/* An empty configuration; nothing but a regular file is read as one. */
static bool load_presets(struct configuration **ret, int *ret_exit)
{
    int empty = memfd_create("presets", MFD_CLOEXEC);
    char path[64];
    bool good;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", empty);
    if (empty >= 0)
        fchmod(empty, S_IRUSR);         /* what others may write to is refused, too */
    good = load_from(path, ret, ret_exit);
    if (empty >= 0)
        close(empty);
    return good;
}

bool cli_load(const struct cli *c, bool lenient, struct configuration **ret, int *ret_exit)
{
    if (access(c->config, R_OK) == 0)
        return load_from(c->config, ret, ret_exit);
    if (errno == ENOENT && lenient && !c->config_given) {
        cli_remark("%s does not exist: going by the presets, without any connector", c->config);
        return load_presets(ret, ret_exit);
    }
    *ret_exit = cli_fail(CLI_CONFIG, "%s: cannot read: %s%s", c->config, strerror(errno),
                         errno == EACCES ? "; run this as root, or as a user who may read it" : "");
    return false;
}

static int usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int usage(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(format, args);
    va_end(args);
    fputs("danelaw --help lists the verbs, danelaw VERB --help explains one\n", stderr);
    return CLI_USAGE;
}

static int not_yet(const char *what)
{
    return cli_fail(CLI_USAGE, "\"%s\" is not available in this version", what);
}

static int help(void)
{
    size_t i;

    puts("danelaw [-c FILE] [--json] VERB ...\n"
         "Says how mail travels to partners, and steers danelawd.\n");
    for (i = 0; i < COUNT_OF(verbs); i++)
        printf("  %-11s %s\n", verbs[i].name, verbs[i].help);
    puts("\n"
         "  -c FILE, --config FILE   the configuration, instead of " CONFIG_PRESET "\n"
         "  --json                   one JSON object a line and item\n"
         "  --help                   this page; behind a verb: that verb's\n"
         "  --version                the version\n"
         "\n"
         "Exit: 0 good, 1 the answer is no, 2 usage, 69 daemon not reachable, 75 temporary, 78 configuration.");
    return CLI_GOOD;
}

static int help_with(const struct verb *verb)
{
    printf("danelaw [-c FILE] [--json] %s\n%c%s.\n\n%s\n", verb->synopsis, verb->help[0] - 'a' + 'A', verb->help + 1, verb->more);
    return CLI_GOOD;
}

static void read_option(struct line *ret, int option)
{
    switch (option) {
    case 'c':
        ret->cli.config = optarg;
        ret->cli.config_given = true;
        return;
    case OPTION_JSON:
        ret->cli.json = true;
        return;
    case OPTION_FROM:
        ret->cli.from = optarg;
        ret->given |= TAKES_FROM;
        return;
    case OPTION_CHECK:
        ret->cli.check = true;
        ret->given |= TAKES_CHECK;
        return;
    case OPTION_ALL:
        ret->cli.all = true;
        ret->given |= TAKES_ALL;
        return;
    case OPTION_STS:
        ret->cli.sts = true;
        ret->given |= TAKES_STS;
        return;
    case OPTION_PROBE:
        ret->probe = true;
        return;
    case 'h':
        ret->help = true;
        return;
    case OPTION_VERSION:
        ret->version = true;
        return;
    }
}

/* Options may stand before and behind the verb: getopt_long() moves them to the front. */
static void read_line(int argc, char **argv, struct line *ret)
{
    int option;

    *ret = (struct line){ .cli.config = CONFIG_PRESET };
    opterr = 0;
    while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        if (option == '?' && ret->stranger == NULL)
            ret->stranger = argv[optind - 1];
        read_option(ret, option);
    }
    ret->cli.words = (const char *const *)argv + optind;
    ret->cli.count = (size_t)(argc - optind);
}

static bool is_later(const char *name)
{
    size_t i;

    for (i = 0; i < COUNT_OF(later); i++) {
        if (strcmp(later[i], name) == 0)
            return true;
    }
    return false;
}

static const struct verb *find_verb(const char *name)
{
    size_t i;

    for (i = 0; i < COUNT_OF(verbs); i++) {
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    }
    return NULL;
}

static const char *nearest_verb(const char *name)
{
    const struct verb *best = &verbs[0];
    size_t i;

    for (i = 1; i < COUNT_OF(verbs); i++) {
        if (text_distance(verbs[i].name, name) < text_distance(best->name, name))
            best = &verbs[i];
    }
    return text_distance(best->name, name) <= 2 ? best->name : NULL;
}

static int unknown_verb(const char *name)
{
    const char *near = nearest_verb(name);

    if (is_later(name))
        return not_yet(name);
    if (near != NULL)
        return usage("there is no verb \"%s\"; did you mean \"%s\"?", name, near);
    return usage("there is no verb \"%s\"", name);
}

static int run(const struct verb *verb, struct line *line)
{
    line->cli.words++;
    line->cli.count--;
    if (line->help)
        return help_with(verb);
    if (line->stranger != NULL)
        return usage("%s: unknown option, or its argument is missing: %s", verb->name, line->stranger);
    if (line->probe)
        return strcmp(verb->name, "check") == 0 ? not_yet("check --probe") : usage("%s takes no --probe", verb->name);
    if ((line->given & ~verb->takes) != 0)
        return usage("%s takes no %s", verb->name,
                     (line->given & ~verb->takes & TAKES_FROM) != 0 ? "--from" :
                     (line->given & ~verb->takes & TAKES_CHECK) != 0 ? "--check" :
                     (line->given & ~verb->takes & TAKES_ALL) != 0 ? "--all" : "--sts");
    if (line->cli.count < verb->least || line->cli.count > verb->most)
        return usage("that is: danelaw %s", verb->synopsis);
    return verb->run(&line->cli);
}

int cli_main(int argc, char **argv)
{
    const struct verb *verb;
    struct line line;
    int exit;

    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_IGN);
    read_line(argc, argv, &line);
    if (line.version)
        return puts("danelaw " PACKAGE_VERSION) < 0 ? CLI_TEMPORARY : CLI_GOOD;
    if (line.cli.count == 0) {
        if (line.help)
            return help();
        return line.stranger != NULL ? usage("unknown option: %s", line.stranger) : usage("a verb is missing");
    }
    verb = find_verb(line.cli.words[0]);
    exit = verb == NULL ? unknown_verb(line.cli.words[0]) : run(verb, &line);
    if (fflush(stdout) != 0 || ferror(stdout) != 0)
        return exit > CLI_TEMPORARY ? exit : cli_fail(CLI_TEMPORARY, "standard output: %s", strerror(errno));
    return exit;
}
