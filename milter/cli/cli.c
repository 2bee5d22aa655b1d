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

struct verb {
    const char *name;
    int (*run)(const struct cli *c);
    size_t least, most;         /* words behind it */
    const char *synopsis, *help, *more;
};

static const struct verb verbs[] = {
    { "check", cli_check, 1, (size_t)-1, "check DOMAIN|ADDRESS|[HOST]:PORT... [--from SENDER] [--probe]",
      "judge how mail to a partner would travel, and why",
      "Looks DNS and the MTA-STS policy up by itself and needs no daemon. Shows the connector, the MX hosts, their TLSA\n"
      "records, the DNSSEC chain and its failing link, the policy and which hosts it lists, where reports go, the verdict\n"
      "and what to tell the partner.\n"
      "  --from SENDER   judge as for mail from this sender\n"
      "  --probe         also visit the hosts, as mail does: STARTTLS, which TLSA record matches or why none does,\n"
      "                  whether authorities vouch for the certificate, and how long it lives\n"
      "Exit: 0 mail would go, 1 it would be held, or a host fails, 75 that can't be told at the moment." },
    { "connectors", cli_connectors, 0, 2, "connectors [list|show NAME|match ADDRESS [--from SENDER]]",
      "the rules in force and their state, as the daemon has them",
      "  list            all of them, in file order (the preset)\n"
      "  show NAME       one, with everything about it\n"
      "  match ADDRESS   the one that covers this recipient\n"
      "  --from SENDER   match: as for mail from this sender" },
    { "cache", cli_cache, 0, 2, "cache [show|flush] [DOMAIN] [--sts]",
      "what the daemon remembers of destinations; have it forgotten",
      "  show            evidence by next hop; a domain's with reasons (the preset)\n"
      "  flush           forget evidence, all or a domain's: the next question looks it up again\n"
      "  --sts           show: the MTA-STS policies that are kept; flush: these, too" },
    { "trace", cli_trace, 0, 0,
      "trace [--to A] [--domain D] [--connector N] [--queue-id Q] [--verdict V] [--since 24h] [--limit N]",
      "every decision about mail, newest first",
      "Also while the daemon is down (then as root or the daemon's user).\n"
      "  --to A          decisions about this recipient, or this next hop\n"
      "  --domain D      about recipients and next hops in this very domain\n"
      "  --connector N   by this connector, also by one in test mode\n"
      "  --queue-id Q    about the message that the MTA calls so\n"
      "  --verdict V     deliver, hold, bounce, fallback or pass\n"
      "  --since 24h     not older than this (the preset)\n"
      "  --limit N       at most so many (preset 1000)\n"
      "Exit: 0 found, 1 none found, 75 the store can't be read." },
    { "held", cli_held, 0, 1, "held [list|forget --connector N|--to A|--all]",
      "recipients refused for now: since when, until when, and why",
      "  list            all of them (the preset), also while the daemon is down\n"
      "  forget          let their clocks begin anew at the next attempt\n"
      "  --connector N   forget: those of this connector\n"
      "  --to A          forget: those of this recipient\n"
      "  --all           forget: all of them" },
    { "mode", cli_mode, 1, 1, "mode NAME [--dane M] [--sts M] (--for 2h|--permanent) [--clear]",
      "override a connector's modes at once, or show them",
      "Takes effect without a reload, and outlives a restart; tables follow. M is opportunistic, mandatory or none.\n"
      "  --dane M        instead of the configured smtp_dane\n"
      "  --sts M         instead of the configured mta_sts\n"
      "  --for 2h        for this long, at most 7d; then the configuration counts again\n"
      "  --permanent     until --clear\n"
      "  --clear         let the configuration count again\n"
      "A mode weaker than the configured one needs --for or --permanent.\n"
      "Exit: 0 in force, 1 no such connector or not in the table yet, 2 usage, 75 in force, but a restart would end it." },
    { "audit", cli_audit, 0, 0, "audit",
      "who changed what, and when, newest first",
      "Lists overrides and their ends, forgotten holds, flushed caches, reloads and tables written by hand; also while the\n"
      "daemon is down." },
    { "tables", cli_tables, 0, 0, "tables [--check]",
      "write the MTA's tables now, or say whether they are current",
      "  --check         touch nothing; exit 1 if the tables are not what the configuration makes" },
    { "setup", cli_setup, 1, 1, "setup postfix|sendmail [--all]",
      "print the exact lines that the MTA's configuration needs",
      "Makes sure that the table exists, then prints what belongs into main.cf and master.cf, or into sendmail.mc.\n"
      "  --all           Postfix: judge every destination, not only those of named connectors; outbound mail then\n"
      "                  waits while the daemon is down" },
    { "doctor", cli_doctor, 1, 1, "doctor postfix|sendmail [--config-dir D]",
      "name every way past Danelaw in the MTA's configuration",
      "Reads the configuration that is in force, and says which line to change.\n"
      "  --config-dir D  the MTA's configuration folder, instead of tables.config_dir or the MTA's own\n"
      "Exit: 0 nothing found, 1 something found, 75 something can't be read." },
    { "sweep", cli_sweep, 0, 0, "sweep [-n] [--mixed]",
      "bounce mail that has waited too long on Danelaw's roads",
      "As root, by a timer: returns deferred messages to their senders that are older than their connector's hold, where all\n"
      "remaining recipients are held by their connector or wait for TLS that Postfix could not authenticate. Sendmail needs\n"
      "none: its queue runs give up what danelawd has held for too long.\n"
      "  -n              only show what would be done\n"
      "  --mixed         also messages with other recipients left, who are all given up then\n"
      "Exit: 0 done, 1 not root, 75 Postfix can't be asked, or another sweep is under way." },
    { "status", cli_status, 0, 0, "status",
      "health and counters of the daemon",
      "Exit: 0 good, 1 the resolver can prove nothing, the store fails or the tables are not current, 75 just started." },
    { "reload", cli_reload, 0, 0, "reload",
      "have the daemon read its configuration again",
      "A bad configuration is refused: its faults are shown, the rules in force stay, exit 78." },
    { "config", cli_config, 1, 1, "config test",
      "look for faults in the configuration",
      "Exit: 0 good, 78 bad; every fault is one line on standard error." },
};

/* An option, and the verbs that take it. */
struct cli_option {
    const char *name;
    char letter;                /* or 0 */
    bool flag;                  /* a bool in struct cli; else a text */
    size_t offset;
    const char *verbs;          /* parted by blanks */
};

#define AT(member) offsetof(struct cli, member)

static const struct cli_option verb_options[] = {
    { "from", 0, false, AT(from), "check connectors" },
    { "check", 0, true, AT(check), "tables" },
    { "probe", 0, true, AT(probe), "check" },
    { "all", 0, true, AT(all), "setup held" },
    { "sts", 0, true, AT(sts), "cache" },
    { "sts", 0, false, AT(sts_mode), "mode" },
    { "dane", 0, false, AT(dane_mode), "mode" },
    { "for", 0, false, AT(span), "mode" },
    { "permanent", 0, true, AT(permanent), "mode" },
    { "clear", 0, true, AT(clear), "mode" },
    { "to", 0, false, AT(to), "trace held" },
    { "domain", 0, false, AT(domain), "trace" },
    { "connector", 0, false, AT(connector), "trace held" },
    { "queue-id", 0, false, AT(queue_id), "trace" },
    { "verdict", 0, false, AT(verdict), "trace" },
    { "since", 0, false, AT(since), "trace" },
    { "limit", 0, false, AT(limit), "trace" },
    { "config-dir", 0, false, AT(config_dir), "doctor" },
    { "dry-run", 'n', true, AT(dry_run), "sweep" },
    { "mixed", 0, true, AT(mixed), "sweep" },
};

enum { OPTION_JSON = 256, OPTION_VERSION, OPTION_OF_VERBS };

static const struct option common_options[] = {
    { "config", required_argument, NULL, 'c' },
    { "json", no_argument, NULL, OPTION_JSON },
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, OPTION_VERSION },
};

/* The command line, read but not yet understood. */
struct line {
    struct cli cli;
    bool help, version;
    const struct cli_option *misplaced;     /* one that the verb doesn't take; or NULL */
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

static bool has_word(const char *words, const char *word)
{
    size_t length = strlen(word);

    for (; *words != '\0'; words += strcspn(words, " "), words += strspn(words, " ")) {
        if (strcspn(words, " ") == length && strncmp(words, word, length) == 0)
            return true;
    }
    return false;
}

static void read_verb_option(struct line *ret, const struct cli_option *o, const char *verb)
{
    char *into = (char *)&ret->cli + o->offset;

    if (o->flag)
        *(bool *)into = true;
    else
        *(const char **)(void *)into = optarg;
    if (verb != NULL && !has_word(o->verbs, verb) && ret->misplaced == NULL)
        ret->misplaced = o;
}

static void read_option(struct line *ret, int option, const char *verb)
{
    size_t i;

    switch (option) {
    case 'c':
        ret->cli.config = optarg;
        ret->cli.config_given = true;
        return;
    case OPTION_JSON:
        ret->cli.json = true;
        return;
    case 'h':
        ret->help = true;
        return;
    case OPTION_VERSION:
        ret->version = true;
        return;
    }
    for (i = 0; i < COUNT_OF(verb_options); i++) {
        if (option == OPTION_OF_VERBS + (int)i || (verb_options[i].letter != 0 && option == verb_options[i].letter)) {
            read_verb_option(ret, &verb_options[i], verb);
            return;
        }
    }
}

/* What getopt_long() is to know: of two options with one name the verb's own. Ends with zeros. */
static void list_options(const char *verb, struct option ret[static COUNT_OF(common_options) + COUNT_OF(verb_options) + 1])
{
    size_t count = COUNT_OF(common_options), i, j;

    memcpy(ret, common_options, sizeof(common_options));
    for (i = 0; i < COUNT_OF(verb_options); i++) {
        const struct cli_option *o = &verb_options[i];
        struct option one = { o->name, o->flag ? no_argument : required_argument, NULL, OPTION_OF_VERBS + (int)i };

        for (j = 0; j < count && strcmp(ret[j].name, o->name) != 0; j++)
            ;
        if (j == count)
            ret[count++] = one;
        else if (verb != NULL && has_word(o->verbs, verb))
            ret[j] = one;
    }
    ret[count] = (struct option){ 0 };
}

/* Options may stand before and behind the verb: getopt_long() moves them to the front. verb: NULL while nobody knows it. */
static void read_line(int argc, char **argv, const char *verb, struct line *ret)
{
    struct option options[COUNT_OF(common_options) + COUNT_OF(verb_options) + 1];
    int option;

    *ret = (struct line){ .cli.config = CONFIG_PRESET };
    list_options(verb, options);
    opterr = 0;
    optind = 0;                 /* begin anew */
    while ((option = getopt_long(argc, argv, "c:hn", options, NULL)) != -1) {
        if (option == '?' && ret->stranger == NULL)
            ret->stranger = argv[optind - 1];
        read_option(ret, option, verb);
    }
    ret->cli.words = (const char *const *)argv + optind;
    ret->cli.count = (size_t)(argc - optind);
}

/* The verb decides what an option means, so it is looked for first, in a copy: getopt_long() sorts what it reads. */
static const char *first_word(int argc, char **argv)
{
    char **copy = mem_array((size_t)argc + 1, sizeof(*copy));
    const char *word;
    struct line line;

    memcpy(copy, argv, (size_t)argc * sizeof(*copy));
    read_line(argc, copy, NULL, &line);
    word = line.cli.count == 0 ? NULL : line.cli.words[0];
    free(copy);
    return word;
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
    if (line->misplaced != NULL)
        return usage("%s takes no --%s", verb->name, line->misplaced->name);
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
    read_line(argc, argv, first_word(argc, argv), &line);
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
