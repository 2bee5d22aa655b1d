#include "site.h"

#include "base/memory.h"
#include "mta/doctor.h"
#include "mta/sendmail_doctor_program.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* What danelaw.m4 makes, line by line. */
static const char *const source[] = {
#include "mta/danelaw_m4.inc"
    NULL,
};

/*
 * A sendmail.cf as Sendmail's macros and danelaw.m4 make it, but for what nobody looks at; @ is the site's folder. The
 * folder lies below /tmp, which Sendmail trusts with that option only.
 */
static const char head[] =
    "V10/Berkeley\n"
    "O DontBlameSendmail=TrustStickyBit\n"
    "Cwlocalhost\n"
    "Fw-o @/etc/local-host-names %[^\\#]\n"
    "FR-o @/etc/relay-domains %[^\\#]\n"
    "DS\n"
    "C{VirtHost}virtual.example\n"
    "Kaccess hash -T<TMPF> @/etc/access\n"
    "Kmailertable hash @/etc/mailertable\n"
    "Kdanelaw socket -f -t -q -d5 -T<TMPF> local:@/map.sock\n"
    "Kdanelaw_mandatory hash -t -T<TMPF> @/state/sendmail/mandatory\n"
    "C{DanelawMailers}danesmtp smtp esmtp smtp8 dsmtp relay\n"
    "O DaemonPortOptions=Name=MTA, Family=inet\n"
    "#O TLSFallbacktoClear\n"
    "O Timeout.queuereturn=5d\n"
    "#O Timeout.queuereturn.urgent=2d\n"
    "O InputMailFilters=danelaw\n"
    "O Milter.macros.envrcpt={rcpt_mailer}, {rcpt_host}, {rcpt_addr}\n"
    "O CertFingerprintAlgorithm=sha256\n"
    "O DontExpandCnames=True\n"
    "Sparse=0\n"
    "R$*\t\t\t$: $>Parse0 $1\t\tinitial parsing\n"
    "R$*\t\t\t$: $>ParseLocal $1\thandle local hacks\n"
    "R$*\t\t\t$: $>Parse1 $1\t\tfinal parsing\n"
    "Stls_rcpt\n"
    "R$*\t\t\t$: $1 $| $>\"Local_tls_rcpt\" $1\n"
    "Stls_server\n"
    "R$*\t\t\t$: $1 $| $>\"Local_tls_server\" $1\n";
static const char tail[] =
    "Xdanelaw, S=local:@/milter.sock, F=T, T=C:30s;S:10s;R:20s;E:60s\n"
    "Mlocal,\t\tP=/usr/bin/mail, F=lsDFMAw5:/|@qPn9S, A=mail $u\n"
    "Msmtp,\t\tP=[IPC], F=mDFMuX, A=TCP $h\n"
    "Mesmtp,\t\tP=[IPC], F=mDFMuXa,\n\t\tA=TCP $h\n"
    "Mdanesmtp,\tP=[IPC], F=mDFMuXa, L=990,\n\t\tT=DNS/RFC822/SMTP,\n\t\tA=TCP $h\n";

/* `-bt` says what it was built with, and complains of lines with BROKEN in them. */
static const char fake_sendmail[] =
    "#!/bin/sh\n"
    "echo 'Version 8.17.1.9'\n"
    "echo ' Compiled with: DNSMAP MILTER NEWDB=5.3'\n"
    "echo '\t\tSOCKETMAP STARTTLS'\n"
    "[ \"$1\" = -C ] && grep -n BROKEN \"$2\" | sed \"s|^\\([0-9]*\\):.*|$2: line \\1: unknown option|\"\n"
    "sed -n 's/^.map \\(.*\\) \\(.*\\)$/> map_lookup: \\1 (\\2) no match (0)/p'\n"
    "exit 0\n";
/* ... -u TYPE NAME */
static const char fake_makemap[] = "#!/bin/sh\nfor name; do :; done\nexec cat \"$name.db\"\n";

struct clinic {
    struct site site;
    char milter[128], map[128], makemap[128];
    int sockets[2];
    char *cf;                               /* before it is written */
    struct ruleset *rules;
};

static const char *places[2];
static char place[128];

static int listen_at(const char *root, const char *name, char setting[static 128])
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(setting, 128, "unix:%s/%s", root, name);
    strcpy(address.sun_path, setting + 5);
    assert_return_code(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_return_code(listen(fd, 8), 0);
    return fd;
}

static void put_expanded(struct text *out, const char *text, const char *root)
{
    for (; *text != '\0'; text++) {
        if (*text == '@' && text[1] == '/')
            text_put(out, root);
        else
            text_add(out, text, 1);
    }
}

/* The rules of danelaw.m4, each section where m4 puts it. */
static void put_rules(struct text *out)
{
    static const char *const sections[][2] = { { "LOCAL_RULE_0", "ParseLocal=98" }, { "LOCAL_TLS_RCPT", "Local_tls_rcpt" },
                                               { "LOCAL_TLS_SERVER", "Local_tls_server" } };
    size_t i, k;

    for (i = 0; source[i] != NULL; i++) {
        for (k = 0; k < COUNT_OF(sections); k++) {
            if (strcmp(source[i], sections[k][0]) == 0)
                text_print(out, "S%s\n", sections[k][1]);
        }
        if (*source[i] == 'R' || *source[i] == 'S')
            text_print(out, "%.*s\n", (int)strcspn(source[i], "'"), source[i]);
    }
}

static void program(struct site *s, const char *name, const char *text)
{
    char path[600];

    site_write(s, name, text);
    snprintf(path, sizeof(path), "%s/%s", s->root, name);
    assert_return_code(chmod(path, 0755), 0);
}

/* The map as danelawd writes it for the rules below. */
static const char mandatory[] = "bank.example\tmandatory\n.bank.example\tmandatory\nal@user.example\tmandatory\n"
                                "other.example\tnamed\n";

/* The built-in routes as they are for Sendmail. */
static const struct route roads[] = {
    { .name = "dane-mandatory", .transport = "danesmtp", .next_hop = "", .tls = TLS_DANE_ONLY },
    { .name = "sts-mandatory", .transport = "danesmtp", .next_hop = "", .tls = TLS_SECURE },
    { .name = "opportunistic", .transport = "danesmtp", .next_hop = "", .tls = TLS_SITE },
};

static struct connector *add(struct clinic *c, const char *name, enum mode dane, const char *recipients)
{
    struct connector *made = rules_add(c->rules, name, dane, MODE_NONE, recipients);

    made->hold = 86400;
    made->route = &roads[dane == MODE_MANDATORY ? 0 : 2];
    return made;
}

static void clinic_open(struct clinic *c)
{
    struct site *s = &c->site;
    char path[600];
    struct text cf;
    size_t i;

    *c = (struct clinic){ .rules = NULL };
    snprintf(s->root, sizeof(s->root), "/tmp/danelaw-clinic-XXXXXX");
    assert_non_null(mkdtemp(s->root));
    assert_return_code(chmod(s->root, 0755), 0);
    snprintf(s->config, sizeof(s->config), "%s/etc", s->root);
    snprintf(s->state, sizeof(s->state), "%s/state", s->root);
    snprintf(path, sizeof(path), "%s/sendmail", s->state);
    assert_return_code(mkdir(s->config, 0755) | mkdir(s->state, 0755) | mkdir(path, 0755), 0);
    c->sockets[0] = listen_at(s->root, "milter.sock", c->milter);
    c->sockets[1] = listen_at(s->root, "map.sock", c->map);
    snprintf(c->makemap, sizeof(c->makemap), "%s/makemap", s->root);
    s->settings = (struct settings){
        .milter = { .socket = c->milter, .budget = 3 }, .maps = { .socket = c->map, .budget = 4 },
        .store = { .directory = s->state },
        .tables = { .mta = "sendmail", .type = "", .config_dir = s->config, .postmap = c->makemap },
    };
    program(s, "sendmail", fake_sendmail);
    program(s, "makemap", fake_makemap);
    snprintf(place, sizeof(place), "%s/sendmail", s->root);
    places[0] = place;
    sendmail_program_places = places;
    site_write(s, "state/sendmail/mandatory.db", mandatory);
    site_write(s, "etc/access.db", "");
    site_write(s, "etc/mailertable.db", "");
    text_init(&cf, 1024 * 1024);
    put_expanded(&cf, head, s->root);
    put_rules(&cf);
    put_expanded(&cf, tail, s->root);
    c->cf = text_give(&cf);
    c->rules = rules_new();
    for (i = 0; i < COUNT_OF(roads); i++)
        ruleset_add_route(c->rules, &roads[i]);
    add(c, "Bank", MODE_MANDATORY, "bank.example *.bank.example al@user.example");
    add(c, "Other", MODE_OPPORTUNISTIC, "other.example");
}

static void clinic_close(struct clinic *c)
{
    close(c->sockets[0]);
    close(c->sockets[1]);
    free(c->cf);
    ruleset_unref(c->rules);
    site_close(&c->site);
}

/* More lines in the generated map. */
static void write_map(struct clinic *c, const char *more)
{
    struct text map;

    text_init(&map, 65536);
    text_print(&map, "%s%s", mandatory, more);
    site_write(&c->site, "state/sendmail/mandatory.db", text_words(&map));
    text_done(&map);
}

/* Another text in place of the first such one; "" as `from`: behind all others. */
static void change(struct clinic *c, const char *from, const char *to)
{
    char *at = *from == '\0' ? c->cf + strlen(c->cf) : strstr(c->cf, from);
    struct text cf;

    if (at == NULL)
        fail_msg("there is no \"%s\"", from);
    text_init(&cf, 1024 * 1024);
    text_add(&cf, c->cf, (size_t)(at - c->cf));
    put_expanded(&cf, to, c->site.root);
    text_put(&cf, at + strlen(from));
    free(c->cf);
    c->cf = text_give(&cf);
}

static void examine(struct clinic *c, const char *stale, struct doctor_report *ret)
{
    struct fault why = { "" };

    site_write(&c->site, "etc/sendmail.cf", c->cf);
    ruleset_freeze(c->rules);
    doctor_report_init(ret);
    if (!doctor_sendmail(&c->site.settings, c->rules, stale, ret, &why))
        fail_msg("%s", why.text);
}

static void show(const struct doctor_report *r)
{
    size_t i;

    for (i = 0; i < r->count; i++)
        print_message("%s %s: %s [%s]\n", doctor_severity_word(r->items[i].severity), r->items[i].where, r->items[i].what,
                      r->items[i].fix);
    for (i = 0; i < r->unread_count; i++)
        print_message("unread: %s\n", r->unread[i]);
}

/* That exactly one thing is found, and this. */
static void expect_one(struct clinic *c, enum doctor_severity severity, const char *where, const char *what)
{
    struct doctor_report r;

    examine(c, "", &r);
    if (r.count != 1 || r.unread_count != 0 || r.items[0].severity != severity || strstr(r.items[0].where, where) == NULL ||
        strstr(r.items[0].what, what) == NULL || *r.items[0].fix == '\0') {
        show(&r);
        fail_msg("not found alone: %s at %s: %s", doctor_severity_word(severity), where, what);
    }
    doctor_report_done(&r);
}

static void expect_silence(struct clinic *c)
{
    struct doctor_report r;

    examine(c, "", &r);
    if (r.count + r.unread_count > 0) {
        show(&r);
        fail_msg("something is found");
    }
    doctor_report_done(&r);
}

static void a_good_set_up_is_silent(void **state)
{
    struct clinic c;

    (void)state;
    clinic_open(&c);
    expect_silence(&c);
    clinic_close(&c);
}

/* One change of sendmail.cf each, and what comes of it. */
static const struct {
    const char *from, *to;
    enum doctor_severity severity;
    const char *where, *what;
} changes[] = {
    /* the milter */
    { "Xdanelaw,", "#Xdanelaw,", DOCTOR_HOLD, "sendmail.mc", "danelawd is no filter" },
    { "milter.sock, F=T", "milter.sock", DOCTOR_HOLD, "sendmail.cf:", "without F=T" },
    { "F=T,", "F=R,", DOCTOR_HOLD, "sendmail.cf:", "refused for good" },
    { "S=local:", "S=local:/other", DOCTOR_HOLD, "sendmail.cf:", "not danelawd's milter socket" },
    { "R:20s", "R:3s", DOCTOR_HOLD, "sendmail.cf:", "waits 3s" },
    { "InputMailFilters=danelaw", "InputMailFilters=other", DOCTOR_HOLD, "sendmail.cf:", "not among InputMailFilters" },
    { "Name=MTA,", "Name=MTA, InputMailFilters=spam,", DOCTOR_HOLD, "sendmail.cf:", "this door has filters of its own" },
    { "{rcpt_mailer}, ", "", DOCTOR_HINT, "sendmail.cf:", "without {rcpt_mailer}" },
    /* the socket map */
    { "Kdanelaw socket", "#Kdanelaw socket", DOCTOR_LEAK, "sendmail.mc", "no map \"danelaw\"" },
    { "Kdanelaw socket", "Kdanelaw hash", DOCTOR_HOLD, "sendmail.cf:", "of type hash" },
    { "socket -f", "socket", DOCTOR_HOLD, "sendmail.cf:", "without -f" },
    { "-f -t", "-f", DOCTOR_HOLD, "sendmail.cf:", "without -t" },
    { "-t -q", "-t", DOCTOR_LEAK, "sendmail.cf:", "without -q" },
    { "-d5 -T<TMPF>", "-d5", DOCTOR_HOLD, "sendmail.cf:", "without -T<TMPF>" },
    { "-d5 -T<TMPF>", "-d5 -o -T<TMPF>", DOCTOR_HOLD, "sendmail.cf:", "-o changes" },
    { "-d5", "-d4", DOCTOR_HOLD, "sendmail.cf:", "waits 4s" },
    { "local:@/map", "local:/other/map", DOCTOR_HOLD, "sendmail.cf:", "not danelawd's map socket" },
    { "C{DanelawMailers}danesmtp", "C{DanelawMailers}", DOCTOR_HOLD, "class {DanelawMailers}", "danesmtp" },
    /* the map of mandatory recipients */
    { "Kdanelaw_mandatory", "#Kdanelaw_mandatory", DOCTOR_LEAK, "sendmail.mc", "no map \"danelaw_mandatory\"" },
    { "mandatory hash", "mandatory btree", DOCTOR_LEAK, "sendmail.cf:", "of type btree" },
    { "hash -t -T<TMPF>", "hash -t", DOCTOR_LEAK, "sendmail.cf:", "without -T<TMPF>" },
    { "hash -t -T<TMPF>", "hash -T<TMPF>", DOCTOR_HOLD, "sendmail.cf:", "without -t" },
    { "hash -t", "hash -o -t", DOCTOR_LEAK, "sendmail.cf:", "with -o" },
    { "hash -t", "hash -f -t", DOCTOR_LEAK, "sendmail.cf:", "-f changes" },
    { "@/state/sendmail/mandatory", "/other/mandatory", DOCTOR_LEAK, "sendmail.cf:", "not the map that danelawd writes" },
    /* the rules */
    { "$: $>DanelawRoad $1", "$: $1", DOCTOR_LEAK, "sendmail.mc", "doesn't ask where mail goes" },
    { "$: $>DanelawGate $1", "$: $1", DOCTOR_LEAK, "sendmail.mc", "doesn't ask at the gate whether" },
    { "$: $>DanelawServer $1", "$: $1", DOCTOR_LEAK, "sendmail.mc", "before it says who sends" },
    { "$: $>ParseLocal $1", "$: $1", DOCTOR_LEAK, "sendmail.mc", "parse doesn't call ParseLocal" },
    { "$>\"Local_tls_rcpt\" $1", "$1", DOCTOR_LEAK, "sendmail.mc", "tls_rcpt doesn't call" },
    { "$>\"Local_tls_server\" $1", "$1", DOCTOR_LEAK, "sendmail.mc", "tls_server doesn't call" },
    { "SDanelawKind\n", "SDanelawOther\n", DOCTOR_LEAK, "sendmail.mc", "the ruleset DanelawKind of danelaw.m4 is missing" },
    { "R<mandatory> <$*>\t$@ <mandatory>", "R<mandatory> <$*>\t$@ <none>", DOCTOR_LEAK, "sendmail.cf:",
      "of DanelawKind is not" },
    { "SDanelawRoad\n", "SDanelawRoad\nR$*\t$@ $1\n", DOCTOR_LEAK, "sendmail.cf:", "of DanelawRoad is not" },
    { "R<other> $* $| $*\t$@ $1\n", "", DOCTOR_LEAK, "sendmail.cf:", "DanelawRoad" },
    { "\t$@ \"servername=hostname\"", "\t$@ \"\"", DOCTOR_HOLD, "sendmail.mc", "SNI" },
    { "SParseLocal=98\n", "SParseLocal=98\nR$* < @ bank.example . > $*\t$#esmtp $@ [192.0.2.1] $: $1 < @ bank.example > "
                          "$2\n",
      DOCTOR_LEAK, "sendmail.cf:", "comes before Danelaw's" },
    { "SParseLocal=98\n", "SParseLocal=98\nR$* < @ $* . example . > $*\t$#smtp $@ [192.0.2.1] $: $1 < @ $2 . example > $3\n",
      DOCTOR_LEAK, "sendmail.cf:", "comes before Danelaw's" },
    { "SParseLocal=98\n", "C{Near}bank.example\nSParseLocal=98\nR$* < @ $={Near} . > $*\t$@ $1 < @ $2 > $3\n", DOCTOR_LEAK,
      "sendmail.cf:", "comes before Danelaw's" },
    { "SLocal_tls_rcpt\n", "SLocal_tls_rcpt\nR$*\t$@ OK\n", DOCTOR_LEAK, "sendmail.cf:", "ends Local_tls_rcpt" },
    /* mailers */
    { "Mdanesmtp,", "Mother,", DOCTOR_HOLD, "sendmail.mc", "no mailer danesmtp" },
    { "Mdanesmtp,\tP=[IPC]", "Mdanesmtp,\tP=/usr/bin/uux", DOCTOR_LEAK, "sendmail.cf:", "no SMTP over the network" },
    { "Mdanesmtp,\tP=[IPC], F=mDFMuXa", "Mdanesmtp,\tP=[IPC], F=mDFMuXa%", DOCTOR_HOLD, "sendmail.cf:", "ETRN" },
    { "Mdanesmtp,\tP=[IPC], F=mDFMuXa", "Mdanesmtp,\tP=[IPC], F=mDFMuXaz", DOCTOR_HOLD, "sendmail.cf:", "LMTP" },
    { "Mdanesmtp,\tP=[IPC], F=mDFMuXa", "Mdanesmtp,\tP=[IPC], F=lmDFMuXa", DOCTOR_HINT, "sendmail.cf:", "local ones" },
    /* single options */
    { "=sha256", "=md5", DOCTOR_HOLD, "sendmail.cf:", "told by md5" },
    { "O CertFinger", "#O CertFinger", DOCTOR_HOLD, "sendmail.mc", "is not set" },
    { "O DontExpand", "#O DontExpand", DOCTOR_LEAK, "sendmail.mc", "what a CNAME leads to" },
    { "Cnames=True", "Cnames=False", DOCTOR_LEAK, "sendmail.cf:", "what a CNAME leads to" },
    { "", "O HostStatusDirectory=.hoststat\n", DOCTOR_HOLD, "sendmail.cf:", "for one partner" },
    { "#O TLSFallbacktoClear", "O TLSFallbacktoClear=True", DOCTOR_HINT, "sendmail.cf:", "in the clear" },
    { "", "O FallbackMXhost=spare.example\n", DOCTOR_HINT, "sendmail.cf:", "spare.example" },
    { "", "O FallbackSmartHost=spare.example\n", DOCTOR_HINT, "sendmail.cf:", "spare.example" },
    { "queuereturn=5d", "queuereturn=12h", DOCTOR_HOLD, "sendmail.cf:", "after 12h" },
    { "#O Timeout.queuereturn.urgent=2d", "O Timeout.queuereturn.urgent=1h", DOCTOR_HOLD, "sendmail.cf:", "after 1h" },
    { "", "O ConnectOnlyTo=192.0.2.1\n", DOCTOR_HOLD, "sendmail.cf:", "192.0.2.1" },
    { "", "O ClientPortOptions=Family=inet, M=S\n", DOCTOR_HOLD, "sendmail.cf:", "never encrypts" },
    { "", "O BROKEN=1\n", DOCTOR_HOLD, "sendmail.cf:", "unknown option" },
    /* ways */
    { "Fw-o @/", "Fw@/", DOCTOR_HOLD, "class w", "etc/local-host-names" },
    { "Cwlocalhost", "Cwlocalhost bank.example", DOCTOR_HINT, "class w", "delivered on this host" },
    { "C{VirtHost}", "C{VirtHost}other.example ", DOCTOR_HINT, "class {VirtHost}", "other.example" },
    { "DS\n", "DS\nCRa.bank.example\n", DOCTOR_LEAK, "class R", "a.bank.example" },
};

static void every_change_is_found(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(changes); i++) {
        struct clinic c;
        struct text from;

        clinic_open(&c);
        text_init(&from, 4096);
        put_expanded(&from, changes[i].from, c.site.root);
        change(&c, text_words(&from), changes[i].to);
        text_done(&from);
        expect_one(&c, changes[i].severity, changes[i].where, changes[i].what);
        clinic_close(&c);
    }
}

static size_t count_of(const struct doctor_report *r, enum doctor_severity severity, const char *where, const char *what)
{
    size_t count = 0, i;

    for (i = 0; i < r->count; i++) {
        if (r->items[i].severity == severity && strstr(r->items[i].where, where) != NULL &&
            strstr(r->items[i].what, what) != NULL)
            count++;
    }
    return count;
}

static void expect_two(struct clinic *c, enum doctor_severity severity, const char *first, const char *second)
{
    struct doctor_report r;

    examine(c, "", &r);
    if (r.count != 2 || count_of(&r, severity, "sendmail.cf:", first) != 1 ||
        count_of(&r, severity, "sendmail.cf:", second) != 1) {
        show(&r);
        fail_msg("not found alone: %s; %s", first, second);
    }
    doctor_report_done(&r);
}

static void a_smart_host_is_not_the_partners(void **state)
{
    struct clinic c;

    (void)state;
    clinic_open(&c);
    change(&c, "DS\n", "DSsmart.example\n");
    expect_two(&c, DOCTOR_HINT, "straight to the partners' hosts: Bank", "smart.example, and waits where it must be with "
                                                                         "the partners' "
               "own hosts: Other");
    clinic_close(&c);
}

/* ... unless a connector says so itself. */
static void a_connectors_smart_host_is_silent(void **state)
{
    struct connector *more;
    struct clinic c;

    (void)state;
    clinic_open(&c);
    ruleset_unref(c.rules);
    c.rules = rules_new();
    more = add(&c, "Bank", MODE_MANDATORY, "bank.example *.bank.example al@user.example");
    rules_smart_hosts(c.rules, more, "[smart.example]");
    change(&c, "DS\n", "DSsmart.example\n");
    site_write(&c.site, "etc/mailertable.db", "bank.example\tesmtp:[smart.example]\n");
    expect_silence(&c);
    clinic_close(&c);
}

/* Sendmail's mailers have the port, hosts have none. */
static void another_port_wants_a_mailer_of_its_own(void **state)
{
    struct connector *more;
    struct clinic c;

    (void)state;
    clinic_open(&c);
    more = add(&c, "Port", MODE_MANDATORY, "port.example");
    rules_smart_hosts(c.rules, more, "[smart.example]:587");
    write_map(&c, "port.example\tmandatory\n");
    expect_one(&c, DOCTOR_HOLD, "sendmail.cf:", "danesmtp leads to port 25, but connector \"Port\" names port 587");
    clinic_close(&c);

    clinic_open(&c);
    more = add(&c, "Port", MODE_MANDATORY, "port.example");
    rules_smart_hosts(c.rules, more, "[smart.example]:587");
    write_map(&c, "port.example\tmandatory\n");
    change(&c, "T=DNS/RFC822/SMTP,\n\t\tA=TCP $h", "T=DNS/RFC822/SMTP,\n\t\tA=TCP $h 587");
    expect_silence(&c);
    clinic_close(&c);
}

static void mailertable_comes_after_roads_and_before_the_gate(void **state)
{
    struct clinic c;

    (void)state;
    clinic_open(&c);
    site_write(&c.site, "etc/mailertable.db", "Bank.Example\tesmtp:[in.example]\nother.example\tesmtp:[in.example]\n"
               "nobody.example\tesmtp:[in.example]\n.\tesmtp:[in.example]\n");
    expect_two(&c, DOCTOR_HINT, "count no longer, and mail goes to the partner's own hosts: bank.example",
               "by these entries, and waits where it must be with the partner's own hosts: other.example");
    clinic_close(&c);
}

static void a_mailertable_that_cannot_be_listed_is_said(void **state)
{
    struct clinic c;

    (void)state;
    clinic_open(&c);
    change(&c, "Kmailertable hash", "Kmailertable ldap");
    expect_one(&c, DOCTOR_HINT, "sendmail.cf:", "can't be listed");
    clinic_close(&c);
}

static void maps_that_cannot_be_read_are_said(void **state)
{
    static const char *const names[] = { "etc/mailertable.db", "etc/access.db", "state/sendmail/mandatory.db" };
    size_t i;

    (void)state;
    if (geteuid() != 0)
        skip();
    for (i = 0; i < COUNT_OF(names); i++) {
        char path[600];
        struct clinic c;

        clinic_open(&c);
        snprintf(path, sizeof(path), "%s/%s", c.site.root, names[i]);
        assert_return_code(unlink(path), 0);
        expect_one(&c, DOCTOR_HOLD, "", names[i] + strcspn(names[i], "/") + 1);
        clinic_close(&c);
    }
}

static void no_tls_for_partners_is_found(void **state)
{
    static const struct {
        const char *entry;
        enum doctor_severity severity;
    } entries[] = { { "Try_TLS:\tNO", DOCTOR_HOLD }, { "Try_TLS:bank.example\tNO", DOCTOR_HOLD },
                    { "Clt_Features:other.example\tS", DOCTOR_HOLD }, { "try_tls:mx.else.example\tNO", DOCTOR_HINT } };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(entries); i++) {
        char text[200];
        struct clinic c;

        clinic_open(&c);
        snprintf(text, sizeof(text), "Connect:127\tRELAY\n%s\nClt_Features:a.example\tD\n", entries[i].entry);
        site_write(&c.site, "etc/access.db", text);
        expect_one(&c, entries[i].severity, "sendmail.cf:", "tries no TLS");
        clinic_close(&c);
    }
}

static void what_the_daemon_says_of_the_map_is_found(void **state)
{
    struct doctor_report r;
    struct clinic c;

    (void)state;
    clinic_open(&c);
    examine(&c, "the disk is full", &r);
    assert_int_equal(count_of(&r, DOCTOR_LEAK, "state/sendmail/mandatory", "the disk is full"), 1);
    assert_int_equal(r.count, 1);
    doctor_report_done(&r);
    clinic_close(&c);
}

static void a_recipient_that_the_map_lacks_is_found(void **state)
{
    struct clinic c;

    (void)state;
    clinic_open(&c);
    site_write(&c.site, "state/sendmail/mandatory.db", "bank.example\tmandatory\n.bank.example\tnamed\n");
    expect_one(&c, DOCTOR_LEAK, "state/sendmail/mandatory", "are not in the map: .bank.example, al@user.example");
    clinic_close(&c);
}

static void a_map_that_nobody_writes_is_found(void **state)
{
    struct clinic c;

    (void)state;
    clinic_open(&c);
    c.site.settings.tables.mta = "none";
    expect_one(&c, DOCTOR_LEAK, "danelaw.conf: tables.mta", "it is \"none\"");
    clinic_close(&c);
}

/* A route of the site's own wants its mailer in both places. */
static void another_routes_mailer_is_asked_for(void **state)
{
    static const struct route own = { .name = "own", .transport = "partners", .next_hop = "", .tls = TLS_SITE };
    struct clinic c;

    (void)state;
    clinic_open(&c);
    ruleset_add_route(c.rules, &own);
    add(&c, "Own", MODE_OPPORTUNISTIC, "own.example")->route = &own;
    change(&c, "", "Mpartners,\tP=[IPC], F=mDFMuXa, A=TCP $h\n");
    expect_one(&c, DOCTOR_HOLD, "class {DanelawMailers}", "partners");
    clinic_close(&c);
}

static void sockets_must_be_open_and_safe(void **state)
{
    struct doctor_report r;
    struct clinic c;

    (void)state;
    clinic_open(&c);
    close(c.sockets[0]);
    c.sockets[0] = -1;
    expect_one(&c, DOCTOR_HOLD, "milter.socket", "nobody listens");
    clinic_close(&c);

    clinic_open(&c);
    assert_return_code(chmod(c.site.root, 0775), 0);
    examine(&c, "", &r);
    assert_int_equal(count_of(&r, DOCTOR_HOLD, "milter.socket", "writable for others"), 1);
    assert_int_equal(count_of(&r, DOCTOR_HOLD, "maps.socket", "writable for others"), 1);
    assert_int_equal(count_of(&r, DOCTOR_HOLD, "sendmail/mandatory", "writable for others"), 1);
    assert_int_equal(r.count, 3);
    doctor_report_done(&r);
    clinic_close(&c);

    clinic_open(&c);
    assert_return_code(chmod(c.site.root, 0775), 0);
    change(&c, "=TrustStickyBit", "=GroupWritableDirPathSafe,TrustStickyBit");
    expect_silence(&c);
    clinic_close(&c);
}

/* submit.cf as FEATURE(msp) makes it, but for what nobody looks at. */
#define MSP                                                                                                  \
    "V10/Berkeley\nO DontExpandCnames=True\nD{MTAHost}[127.0.0.1]\nMlocal,\tP=[IPC], F=lDFMuXkw5S, A=TCP $h\n"                           \
    "Mesmtp,\tP=[IPC], F=mDFMuXak5, A=TCP $h\nMrelay,\tP=[IPC], F=mDFMuXa8k, A=TCP $h\n"

static void programs_hand_mail_to_this_hosts_mta(void **state)
{
    static const struct {
        const char *text, *what;
    } files[] = {
        { MSP, NULL },
        { MSP "D{MTAHost}[relay.example]\n", "past this host's Sendmail" },
        { "V10/Berkeley\nO DontExpandCnames=True\nMesmtp,\tP=[IPC], F=mDFMuXak5, A=TCP $h\n", "names no MTA" },
        { MSP "O DontExpandCnames=False\n", "what a CNAME leads to" },
        { MSP "Msmtp,\tP=[IPC], F=mDFMuXk, A=TCP $h\n", "(no F=5), and so past danelawd: smtp" },
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(files); i++) {
        struct clinic c;

        clinic_open(&c);
        site_write(&c.site, "etc/submit.cf", files[i].text);
        if (files[i].what == NULL)
            expect_silence(&c);
        else
            expect_one(&c, DOCTOR_LEAK, "submit.cf", files[i].what);
        clinic_close(&c);
    }
}

/* Whatever the reason may be that nobody else has found. */
static void a_map_that_sendmail_cannot_read_is_found(void **state)
{
    struct clinic c;

    (void)state;
    clinic_open(&c);
    program(&c.site, "sendmail", "#!/bin/sh\necho ' Compiled with: MILTER SOCKETMAP STARTTLS NEWDB=5.3'\n"
            "read key && echo '> hash map \"danelaw_mandatory\": unsafe map file: is a directory'\n"
            "echo 'map_lookup: danelaw_mandatory (nothing.danelaw.invalid) no match (75)'\n");
    expect_one(&c, DOCTOR_HOLD, "sendmail.cf:", "waits: map \"danelaw_mandatory\": unsafe map file: is a directory");
    clinic_close(&c);
}

static void a_program_without_a_feature_is_found(void **state)
{
    struct doctor_report r;
    struct clinic c;

    (void)state;
    clinic_open(&c);
    program(&c.site, "sendmail", "#!/bin/sh\necho ' Compiled with: MILTER SOCKETMAPS NEWDB=5.3'\n");
    examine(&c, "", &r);
    assert_int_equal(count_of(&r, DOCTOR_HOLD, "sendmail", "without SOCKETMAP"), 1);
    assert_int_equal(count_of(&r, DOCTOR_HOLD, "sendmail", "without STARTTLS"), 1);
    assert_int_equal(r.count, 2);
    doctor_report_done(&r);
    clinic_close(&c);
}

/* Another MTA's sendmail(1) knows nothing of this one. */
static void no_sendmail_to_ask_is_said(void **state)
{
    struct doctor_report r;
    struct clinic c;

    (void)state;
    clinic_open(&c);
    program(&c.site, "sendmail", "#!/bin/sh\necho 'sendmail: invalid option' >&2\nexit 75\n");
    examine(&c, "", &r);
    assert_true(r.unread_count > 0);
    assert_non_null(strstr(r.unread[r.unread_count - 1], "no Sendmail is found"));
    doctor_report_done(&r);
    clinic_close(&c);
}

/* Rules that are for others, or that end nothing, may stand before ours. */
static void harmless_rules_of_the_site_are_silent(void **state)
{
    static const char *const rules[] = {
        "R$* < @ elsewhere.example . > $*\t$#esmtp $@ [192.0.2.1] $: $1 < @ elsewhere.example > $2\n",
        "R$* < @ bank.example . > $*\t$#error $@ 5.1.1 $: \"550 nobody\"\n",
        "R$* < @ $* > $*\t$: $1 < @ $2 > $3\n",
        "R$* < @ $=w . > $*\t$#esmtp $@ [192.0.2.1] $: $1 < @ $2 > $3\n",
        "R$* < @ $+ . lan . > $*\t$#smtp $@ gate.lan $: $1 < @ $2 . lan > $3\n",
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rules); i++) {
        struct text to;
        struct clinic c;

        clinic_open(&c);
        text_init(&to, 4096);
        text_print(&to, "SParseLocal=98\n%s", rules[i]);
        change(&c, "SParseLocal=98\n", text_words(&to));
        text_done(&to);
        expect_silence(&c);
        clinic_close(&c);
    }
}

/* FEATURE(virtusertable) makes two rules more; without virtual hosts they are not missed. */
static void rules_for_virtual_hosts_come_with_them(void **state)
{
    struct clinic c;
    char *at;

    (void)state;
    clinic_open(&c);
    while ((at = strstr(c.cf, "R<e r> $* < @ $={VirtHost}")) != NULL)
        memmove(at, at + strcspn(at, "\n") + 1, strlen(at + strcspn(at, "\n") + 1) + 1);
    expect_one(&c, DOCTOR_LEAK, "sendmail.cf:", "of DanelawRoad is not");
    clinic_close(&c);

    clinic_open(&c);
    while ((at = strstr(c.cf, "R<e r> $* < @ $={VirtHost}")) != NULL)
        memmove(at, at + strcspn(at, "\n") + 1, strlen(at + strcspn(at, "\n") + 1) + 1);
    change(&c, "C{VirtHost}virtual.example\n", "");
    expect_silence(&c);
    clinic_close(&c);
}

static void no_sendmail_cf_is_a_fault(void **state)
{
    struct doctor_report r;
    struct fault why = { "" };
    struct clinic c;

    (void)state;
    clinic_open(&c);
    ruleset_freeze(c.rules);
    doctor_report_init(&r);
    assert_false(doctor_sendmail(&c.site.settings, c.rules, "", &r, &why));
    assert_non_null(strstr(why.text, "sendmail.cf"));
    doctor_report_done(&r);
    clinic_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_set_up_is_silent),
        cmocka_unit_test(every_change_is_found),
        cmocka_unit_test(a_smart_host_is_not_the_partners),
        cmocka_unit_test(a_connectors_smart_host_is_silent),
        cmocka_unit_test(another_port_wants_a_mailer_of_its_own),
        cmocka_unit_test(mailertable_comes_after_roads_and_before_the_gate),
        cmocka_unit_test(a_mailertable_that_cannot_be_listed_is_said),
        cmocka_unit_test(maps_that_cannot_be_read_are_said),
        cmocka_unit_test(no_tls_for_partners_is_found),
        cmocka_unit_test(what_the_daemon_says_of_the_map_is_found),
        cmocka_unit_test(a_recipient_that_the_map_lacks_is_found),
        cmocka_unit_test(a_map_that_nobody_writes_is_found),
        cmocka_unit_test(another_routes_mailer_is_asked_for),
        cmocka_unit_test(sockets_must_be_open_and_safe),
        cmocka_unit_test(programs_hand_mail_to_this_hosts_mta),
        cmocka_unit_test(a_map_that_sendmail_cannot_read_is_found),
        cmocka_unit_test(a_program_without_a_feature_is_found),
        cmocka_unit_test(no_sendmail_to_ask_is_said),
        cmocka_unit_test(harmless_rules_of_the_site_are_silent),
        cmocka_unit_test(rules_for_virtual_hosts_come_with_them),
        cmocka_unit_test(no_sendmail_cf_is_a_fault),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
