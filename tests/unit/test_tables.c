#include "site.h"

#include "base/memory.h"
#include "mta/run.h"
#include "mta/tables.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct ruleset *old_rules(void)
{
    struct ruleset *rules = rules_new();

    rules_add(rules, "Old", MODE_MANDATORY, MODE_NONE, "old.example");
    ruleset_freeze(rules);
    return rules;
}

static struct ruleset *new_rules(void)
{
    struct ruleset *rules = rules_new();

    rules_add(rules, "Old", MODE_MANDATORY, MODE_NONE, "old.example bo@old.example *.bücher.example");
    rules_add(rules, "New", MODE_OPPORTUNISTIC, MODE_NONE, "new.example");
    ruleset_freeze(rules);
    return rules;
}

static void write_well(const struct site *s, struct ruleset *rules, bool changes)
{
    struct fault why = { "" };
    bool changed = !changes;

    if (!tables_write(&s->settings, rules, &changed, &why))
        fail_msg("%s", why.text);
    assert_int_equal(changed, changes);
    if (!tables_current(&s->settings, rules, &why))
        fail_msg("%s", why.text);
    ruleset_unref(rules);
}

/* Only these names are in the table's folder. */
static void expect_names(const struct site *s, const char *wanted)
{
    AUTO(free) char *names = NULL;
    char command[256];

    snprintf(command, sizeof(command), "ls -A %s/postfix | tr '\\n' ' ' > %s/names", s->state, s->root);
    assert_int_equal(system(command), 0);
    names = site_read(s, "names", NULL);
    assert_string_equal(names, wanted);
}

static char *ask(const struct site *s, const char *type, const char *key)
{
    char table[256];
    const char *argv[] = { "/usr/sbin/postmap", "-c", s->config, "-q", key, table, NULL };
    struct run r;
    char *said;

    snprintf(table, sizeof(table), "%s:%s/postfix/transport", type, s->state);
    assert_true(run_program(argv, NULL, 0, &r, NULL));
    said = text_give(&r.out);
    run_done(&r);
    return said;
}

static void expect_answer(const struct site *s, const char *type, const char *key, const char *wanted)
{
    AUTO(free) char *said = ask(s, type, key);

    assert_string_equal(said, wanted);
}

static void expect_mode(const struct site *s, const char *name, mode_t wanted)
{
    char path[256];
    struct stat seen;

    snprintf(path, sizeof(path), "%s/%s", s->root, name);
    assert_int_equal(stat(path, &seen), 0);
    assert_int_equal(seen.st_mode & 07777, wanted);
}

static void try_type(const char *type, const char *suffix)
{
    char names[64], path[64];
    struct site s;

    site_open(&s, "");
    s.settings.tables.type = type;
    umask(077);
    write_well(&s, new_rules(), true);
    umask(022);
    snprintf(names, sizeof(names), "transport transport%s ", suffix);
    snprintf(path, sizeof(path), "state/postfix/transport%s", suffix);
    expect_names(&s, names);
    expect_mode(&s, "state/postfix", 0755);
    expect_mode(&s, "state/postfix/transport", 0644);
    expect_mode(&s, path, 0644);
    expect_answer(&s, type, "old.example", "danelaw-dane:\n");
    expect_answer(&s, type, "Bo@Old.Example", "danelaw-dane:\n");
    expect_answer(&s, type, ".bücher.example", "danelaw-dane:\n");
    expect_answer(&s, type, ".xn--bcher-kva.example", "danelaw-dane:\n");
    expect_answer(&s, type, "new.example", "danelaw:\n");
    expect_answer(&s, type, "other.example", "");
    write_well(&s, new_rules(), false);
    write_well(&s, old_rules(), true);
    expect_answer(&s, type, "new.example", "");
    site_close(&s);
}

static void a_hash_table_is_written_and_read_back(void **state)
{
    (void)state;
    try_type("hash", ".db");
}

static void a_btree_table_is_written_and_read_back(void **state)
{
    (void)state;
    try_type("btree", ".db");
}

static bool has_type(const char *type)
{
    struct site s;
    const char *argv[] = { "/usr/sbin/postconf", "-c", s.config, "-m", NULL };
    struct run r;
    bool found;

    site_open(&s, "");
    assert_true(run_program(argv, NULL, 0, &r, NULL));
    found = strstr(text_words(&r.out), type) != NULL;
    run_done(&r);
    site_close(&s);
    return found;
}

static void an_lmdb_table_is_written_and_read_back(void **state)
{
    (void)state;
    if (!has_type("lmdb\n"))
        skip();
    try_type("lmdb", ".lmdb");
}

static void a_cdb_table_is_written_and_read_back(void **state)
{
    (void)state;
    if (!has_type("cdb\n"))
        skip();
    try_type("cdb", ".cdb");
}

static void the_empty_table_is_written_too(void **state)
{
    struct ruleset *rules = rules_new();
    struct site s;

    (void)state;
    site_open(&s, "");
    ruleset_freeze(rules);
    write_well(&s, ruleset_ref(rules), true);
    write_well(&s, rules, false);
    expect_names(&s, "transport transport.db ");
    expect_answer(&s, "hash", "a.example", "");
    site_close(&s);
}

static void a_site_without_postfix_tables_is_left_alone(void **state)
{
    struct site s;

    (void)state;
    site_open(&s, "");
    s.settings.tables.mta = "none";
    s.settings.store.directory = "/nonexistent";
    s.settings.tables.postmap = "/nonexistent/postmap";
    write_well(&s, new_rules(), false);
    site_close(&s);
}

static void the_type_is_postfixs_own_if_none_is_set(void **state)
{
    struct site s;
    struct text name;

    (void)state;
    site_open(&s, "default_database_type = btree");
    text_init(&name, 1024);
    assert_true(tables_name(&s.settings, &name, NULL));
    assert_non_null(strstr(text_words(&name), "/state/postfix/transport"));
    assert_memory_equal(text_words(&name), "btree:/", 7);
    text_done(&name);
    write_well(&s, new_rules(), true);
    expect_answer(&s, "btree", "new.example", "danelaw:\n");
    s.settings.tables.type = "hash";                    /* the same file name */
    write_well(&s, new_rules(), true);
    expect_answer(&s, "hash", "new.example", "danelaw:\n");
    site_close(&s);
}

static uint64_t look(const struct site *s)
{
    uint64_t seen;

    assert_true(tables_look(&s->settings, &seen));
    return seen;
}

static void a_spoilt_table_is_seen_and_mended(void **state)
{
    struct ruleset *rules = new_rules();
    struct fault why;
    char index[256];
    struct site s;

    (void)state;
    site_open(&s, "");
    snprintf(index, sizeof(index), "%s/postfix/transport.db", s.state);
    assert_false(tables_current(&s.settings, rules, &why));
    write_well(&s, ruleset_ref(rules), true);
    assert_int_equal(unlink(index), 0);
    assert_false(tables_current(&s.settings, rules, &why));
    write_well(&s, ruleset_ref(rules), true);
    assert_int_equal(truncate(index, 0), 0);
    assert_false(tables_current(&s.settings, rules, &why));
    write_well(&s, ruleset_ref(rules), true);
    assert_int_equal(truncate(index, 4096), 0);
    assert_false(tables_current(&s.settings, rules, &why));
    write_well(&s, ruleset_ref(rules), true);
    site_write(&s, "state/postfix/transport.db", "no index");
    assert_false(tables_current(&s.settings, rules, &why));
    write_well(&s, ruleset_ref(rules), true);
    site_write(&s, "state/postfix/transport", "old.example :\n");
    assert_false(tables_current(&s.settings, rules, &why));
    write_well(&s, rules, true);
    site_close(&s);
}

static void whoever_touches_the_table_is_noticed(void **state)
{
    uint64_t seen, before;
    char index[256];
    struct site s;

    (void)state;
    site_open(&s, "");
    snprintf(index, sizeof(index), "%s/postfix/transport.db", s.state);
    assert_true(look(&s) == 0);
    write_well(&s, new_rules(), true);
    before = look(&s);
    write_well(&s, new_rules(), false);
    assert_true(look(&s) == before);
    site_write(&s, "state/postfix/transport.new", "leftover");
    assert_true(look(&s) == before);
    assert_int_equal(truncate(index, 4096), 0);
    seen = look(&s);
    assert_true(seen != before);
    assert_int_equal(unlink(index), 0);
    assert_true(look(&s) != seen && look(&s) != before);
    site_close(&s);
}

static void a_look_without_descriptors_tells_nothing(void **state)
{
    struct rlimit before, none;
    struct site s;
    uint64_t seen = 7;
    bool told;

    (void)state;
    site_open(&s, "");
    write_well(&s, new_rules(), true);
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &none);
    told = tables_look(&s.settings, &seen);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_false(told);
    assert_true(seen == 7);
    assert_true(look(&s) != seen);
    site_close(&s);
}

/* Who writes into the index and puts its time back is seen by its look alone. */
static void what_is_distrusted_is_made_anew(void **state)
{
    char index[160], command[1024];
    struct site s;
    uint64_t before;

    (void)state;
    site_open(&s, "");
    snprintf(index, sizeof(index), "%s/postfix/transport.db", s.state);
    write_well(&s, new_rules(), true);
    before = look(&s);
    snprintf(command, sizeof(command), "touch -r %s %s/then && printf x | dd of=%s conv=notrunc 2>/dev/null && touch -r %s/then %s",
             index, s.root, index, s.root, index);
    assert_int_equal(system(command), 0);
    assert_true(look(&s) != before);
    write_well(&s, new_rules(), false);
    tables_distrust(&s.settings);
    write_well(&s, new_rules(), true);
    write_well(&s, new_rules(), false);
    site_close(&s);
}

static void leftovers_and_planted_links_do_no_harm(void **state)
{
    AUTO(free) char *victim = NULL;
    char command[512];
    struct site s;

    (void)state;
    site_open(&s, "");
    site_write(&s, "victim", "precious\n");
    snprintf(command, sizeof(command), "mkdir %s/postfix && cd %s/postfix && ln -s %s/victim transport.new && "
             "ln -s %s/victim transport && echo old > transport.new.db", s.state, s.state, s.root, s.root);
    assert_int_equal(system(command), 0);
    write_well(&s, new_rules(), true);
    expect_names(&s, "transport transport.db ");
    victim = site_read(&s, "victim", NULL);
    assert_string_equal(victim, "precious\n");
    site_close(&s);
}

static void a_linked_folder_is_refused(void **state)
{
    struct ruleset *rules = new_rules();
    struct fault why = { "" };
    char command[512];
    bool changed;
    struct site s;

    (void)state;
    site_open(&s, "");
    snprintf(command, sizeof(command), "mkdir %s/elsewhere && ln -s %s/elsewhere %s/postfix", s.root, s.root, s.state);
    assert_int_equal(system(command), 0);
    assert_false(tables_write(&s.settings, rules, &changed, &why));
    assert_string_not_equal(why.text, "");
    ruleset_unref(rules);
    site_close(&s);
}

static void writers_wait_for_each_other(void **state)
{
    struct site s;
    char folder[256];
    int fd, told[2];
    pid_t other;
    char mark;

    (void)state;
    site_open(&s, "");
    write_well(&s, old_rules(), true);
    assert_int_equal(pipe2(told, O_CLOEXEC | O_NONBLOCK), 0);
    snprintf(folder, sizeof(folder), "%s/postfix", s.state);
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    other = fork();
    if (other == 0) {                           /* shares the lock: it ends when both are done with it */
        usleep(300 * 1000);
        _exit(write(told[1], "+", 1) == 1 ? 0 : 1);
    }
    close(fd);
    write_well(&s, new_rules(), true);
    assert_int_equal(read(told[0], &mark, 1), 1);
    waitpid(other, NULL, 0);
    close(told[0]);
    close(told[1]);
    site_close(&s);
}

/* What fails leaves the pair as it was, byte by byte, and says why. */
struct pair {
    char *text, *index;
    size_t text_length, index_length;
};

static void remember(const struct site *s, struct pair *p)
{
    p->text = site_read(s, "state/postfix/transport", &p->text_length);
    p->index = site_read(s, "state/postfix/transport.db", &p->index_length);
}

static void forget(struct pair *p)
{
    free(p->text);
    free(p->index);
}

static void expect_failure(const struct site *s, struct ruleset *rules, const char *words)
{
    struct fault why = { "" };
    struct pair before, after;
    bool changed = false;

    remember(s, &before);
    if (tables_write(&s->settings, rules, &changed, &why))
        fail_msg("it is written, where \"%s\" was to be said", words);
    assert_false(changed);
    if (strstr(why.text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", why.text, words);
    assert_false(tables_current(&s->settings, rules, NULL));
    remember(s, &after);
    assert_int_equal(before.text_length, after.text_length);
    assert_int_equal(before.index_length, after.index_length);
    assert_memory_equal(before.text, after.text, before.text_length);
    assert_memory_equal(before.index, after.index, before.index_length);
    expect_names(s, "transport transport.db ");
    forget(&before);
    forget(&after);
    ruleset_unref(rules);
}

static void open_written(struct site *s, const char *main_cf)
{
    site_open(s, main_cf);
    write_well(s, old_rules(), true);
}

static void without_postmap_the_old_pair_stays(void **state)
{
    struct site s;

    (void)state;
    open_written(&s, "");
    s.settings.tables.postmap = "/nonexistent/postmap";
    expect_failure(&s, new_rules(), "cannot be run");
    site_close(&s);
}

static void a_failing_postmap_leaves_the_old_pair(void **state)
{
    static const struct {
        const char *script, *words;
    } ways[] = {                                /* -q stands alone: the folder's name is anything */
        { "echo 'postmap: fatal: the moon is full' >&2; exit 1", "the moon is full" },
        { "exit 0", "transport.new" },                                      /* makes nothing */
        { "kill -9 $$", "signal 9" },
        { "\"$REAL\" \"$@\" || exit 1; case \"$*\" in *' -q '*) ;; *) truncate -s 4096 \"${3#*:}.db\";; esac",
          "transport.new" },
        { "\"$REAL\" \"$@\" || exit 1; case \"$*\" in *' -q '*) ;; *) : > \"${3#*:}.db\";; esac", "transport.new" },
        { "case \"$*\" in *' -q '*) exec \"$REAL\" \"$@\";; esac; sed -i '/new.example/d' \"${3#*:}\"; exec \"$REAL\" \"$@\"",
          "new.example" },
        { "case \"$*\" in *' -q '*) exec \"$REAL\" \"$@\";; esac; sed -i 's/danelaw-dane:$/danelaw:/' \"${3#*:}\"; "
          "exec \"$REAL\" \"$@\"", "does not give" },
        { "case \"$*\" in *' -q '*) exec \"$REAL\" \"$@\";; esac; echo 'nothing.danelaw.invalid :' >> \"${3#*:}\"; "
          "exec \"$REAL\" \"$@\"", "more than was written" },
        { "case \"$*\" in *' -q '*) exec \"$REAL\" \"$@\";; esac; echo 'old.example :' >> \"${3#*:}\"; exec \"$REAL\" \"$@\"",
          "duplicate entry" },
        { "case \"$*\" in *' -q '*) yes; esac; exec \"$REAL\" \"$@\"", "more than we can read" },
    };
    struct site s;
    size_t i;

    (void)state;
    open_written(&s, "");
    for (i = 0; i < COUNT_OF(ways); i++) {
        site_fake_postmap(&s, ways[i].script);
        expect_failure(&s, new_rules(), ways[i].words);
    }
    s.settings.tables.postmap = "";
    write_well(&s, new_rules(), true);
    site_close(&s);
}

static void a_hanging_postmap_is_ended_with_its_children(void **state)
{
    AUTO(free) char *pid = NULL;
    struct site s;
    char script[512];
    int tries;

    (void)state;
    open_written(&s, "");
    run_limit_seconds = 3;
    snprintf(script, sizeof(script), "sleep 300 & echo $! > %s/child; wait", s.root);
    site_fake_postmap(&s, script);
    expect_failure(&s, new_rules(), "not done within 3 seconds");
    run_limit_seconds = 60;
    pid = site_read(&s, "child", NULL);
    assert_non_null(pid);
    for (tries = 0; tries < 2000 && kill(atoi(pid), 0) == 0; tries++) {
        snprintf(script, sizeof(script), "grep -q '^State:.Z' /proc/%d/status", atoi(pid));
        if (system(script) == 0)
            break;                              /* dead; nobody has taken note yet */
        usleep(20 * 1000);
    }
    assert_true(tries < 2000);
    site_close(&s);
}

static void an_unreadable_main_cf_leaves_the_old_pair(void **state)
{
    struct site s;
    char path[256];

    (void)state;
    open_written(&s, "");
    snprintf(path, sizeof(path), "%s/main.cf", s.config);
    assert_int_equal(unlink(path), 0);
    expect_failure(&s, new_rules(), "main.cf");
    site_close(&s);
}

/* Fills the disk but for some pages. */
static void fill_disk(const char *folder, unsigned pages)
{
    char command[512];

    snprintf(command, sizeof(command), "cd %s && head -c %u /dev/zero > spare; cat /dev/zero > filler 2>/dev/null; rm spare",
             folder, pages * 4096 + 1);
    assert_int_equal(system(command), 0);
}

static void expect_failure_on_full_disk(const struct site *s)
{
    struct ruleset *rules = new_rules();
    struct fault why = { "" };
    struct pair before, after;
    bool changed;

    remember(s, &before);
    assert_false(tables_write(&s->settings, rules, &changed, &why));
    assert_string_not_equal(why.text, "");
    remember(s, &after);
    assert_int_equal(before.index_length, after.index_length);
    assert_memory_equal(before.text, after.text, before.text_length + 1);
    assert_memory_equal(before.index, after.index, before.index_length);
    expect_names(s, "filler transport transport.db ");
    forget(&before);
    forget(&after);
    ruleset_unref(rules);
}

static void a_full_disk_leaves_the_old_pair(void **state)
{
    char folder[256], filler[256];
    struct site s;
    unsigned pages;

    (void)state;
    site_open(&s, "");
    snprintf(folder, sizeof(folder), "%s/postfix", s.state);
    snprintf(filler, sizeof(filler), "%s/postfix/filler", s.state);
    assert_int_equal(mkdir(folder, 0755), 0);
    if (mount("tiny", folder, "tmpfs", 0, "size=64k") != 0) {
        site_close(&s);
        skip();
    }
    write_well(&s, old_rules(), true);
    for (pages = 0; pages < 3; pages++) {               /* the text needs one, the index more */
        fill_disk(folder, pages);
        expect_failure_on_full_disk(&s);
        assert_int_equal(unlink(filler), 0);
    }
    write_well(&s, new_rules(), true);
    assert_int_equal(umount2(folder, MNT_DETACH), 0);
    site_close(&s);
}

static void types_that_cannot_be_changed_safely_are_refused(void **state)
{
    struct site s;

    (void)state;
    open_written(&s, "");
    s.settings.tables.type = "texthash";
    expect_failure(&s, new_rules(), "texthash");
    s.settings.tables.type = "ldap";
    expect_failure(&s, new_rules(), "ldap");
    site_close(&s);
}

static void a_postfix_whose_domains_mean_subdomains_is_refused(void **state)
{
    struct site s;

    (void)state;
    open_written(&s, "");
    site_write(&s, "etc/main.cf", "parent_domain_matches_subdomains = relay_domains, transport_maps\n");
    expect_failure(&s, new_rules(), "parent_domain_matches_subdomains");
    site_close(&s);
}

static struct ruleset *wild_rules(void)
{
    struct ruleset *rules = rules_new();

    rules_add(rules, "Wild", MODE_MANDATORY, MODE_NONE, "*.home.example");
    ruleset_freeze(rules);
    return rules;
}

/* The lines of the table as written, without comments. */
static void expect_written(const struct site *s, const char *wanted)
{
    AUTO(free) char *text = site_read(s, "state/postfix/transport", NULL);
    const char *lines = text;

    while (*lines == '#')
        lines = strchr(lines, '\n') + 1;
    assert_string_equal(lines, wanted);
}

static void own_domains_are_read_wherever_postfix_keeps_them(void **state)
{
    char main_cf[2048];
    struct site s;

    (void)state;
    site_open(&s, "");
    site_write(&s, "list", "# of ours\nfile.home.example, filed.home.example\n  inner.example\n");
    site_write(&s, "local", "table.home.example x\nTABLED.home.example y\n");
    site_index(&s, "hash:local");
    site_write(&s, "aliases", "alias.home.example x\nbo@user.home.example y\njoe z\n@at.home.example w\n");
    site_index(&s, "btree:aliases");
    site_write(&s, "mailboxes", "box.home.example x\n");
    site_write(&s, "relays", "relay.home.example x\n");
    site_index(&s, "hash:relays");
    site_write(&s, "routes", "routed.home.example smtp:[10.0.0.1]\n.routed.home.example smtp:[10.0.0.1]\n");
    site_index(&s, "hash:routes");
    snprintf(main_cf, sizeof(main_cf),
             "myhostname = mail.home.example\nmydomain = home.example\ndefault_database_type = hash\n"
             "mydestination = $myhostname, localhost.$mydomain localhost, [192.0.2.1], /%s/list, proxy:hash:%s/local\n"
             "virtual_alias_maps = btree:%s/aliases\nvirtual_mailbox_domains = texthash:%s/mailboxes inline:{in.home.example=x}\n"
             "relay_domains = hash:%s/relays, routed.home.example, .ignored.home.example\n"
             "transport_maps = hash:%s/postfix/transport, regexp:{{/./ smtp:}}, hash:%s/routes\n",
             s.root, s.root, s.root, s.root, s.root, s.state, s.root);
    site_write(&s, "etc/main.cf", main_cf);
    write_well(&s, wild_rules(), true);
    expect_written(&s, ".home.example\tdanelaw-dane:\n"
                       ".relay.home.example\t:\n"
                       "alias.home.example\t:\n"
                       "box.home.example\t:\n"
                       "file.home.example\t:\n"
                       "filed.home.example\t:\n"
                       "in.home.example\t:\n"
                       "localhost.home.example\t:\n"
                       "mail.home.example\t:\n"
                       "relay.home.example\t:\n"
                       "table.home.example\t:\n"
                       "tabled.home.example\t:\n");
    site_close(&s);
}

static void own_domains_in_a_cdb_table_are_read_too(void **state)
{
    char main_cf[512];
    struct site s;

    (void)state;
    if (!has_type("cdb\n"))
        skip();
    site_open(&s, "");
    site_write(&s, "local", "one.home.example x\nTWO.home.example a longer value\nelsewhere.example\ty\n");
    site_index(&s, "cdb:local");
    snprintf(main_cf, sizeof(main_cf), "compatibility_level = 3.6\ndefault_database_type = hash\n"
             "mydestination = cdb:%s/local\n", s.root);
    site_write(&s, "etc/main.cf", main_cf);
    write_well(&s, wild_rules(), true);
    expect_written(&s, ".home.example\tdanelaw-dane:\n"
                       "one.home.example\t:\n"
                       "two.home.example\t:\n");
    site_write(&s, "local.cdb", "not one");
    expect_failure(&s, wild_rules(), "not a cdb table");
    site_close(&s);
}

static void relay_domains_mean_subdomains_only_where_postfix_says_so(void **state)
{
    struct site s;

    (void)state;
    site_open(&s, "parent_domain_matches_subdomains =\nrelay_domains = one.home.example, .two.home.example");
    write_well(&s, wild_rules(), true);
    expect_written(&s, ".home.example\tdanelaw-dane:\n"
                       ".two.home.example\t:\n"
                       "one.home.example\t:\n");
    site_close(&s);
}

static void what_is_excluded_is_not_our_own(void **state)
{
    struct site s;

    (void)state;
    site_open(&s, "mydestination = !not.home.example, not.home.example, own.home.example");
    write_well(&s, wild_rules(), true);
    expect_written(&s, ".home.example\tdanelaw-dane:\n"
                       "own.home.example\t:\n");
    site_close(&s);
}

static void lists_that_cannot_be_seen_refuse_wildcards_only(void **state)
{
    static const struct {
        const char *parameter, *list;
    } ways[] = {
        { "mydestination", "ldap:/nonexistent" }, { "virtual_mailbox_domains", "mysql:/nonexistent" },
        { "virtual_alias_domains", "regexp:{{/x/ y}}" }, { "relay_domains", "static:all" },
        { "mydestination", "/nonexistent" }, { "mydestination", "hash:/nonexistent" },
        { "mydestination", "!hash:/nonexistent, a.home.example" },
        { "relay_domains", "!not.rel.home.example, rel.home.example" },
        { "virtual_alias_domains", "$virtual_alias_maps\nvirtual_alias_maps = pcre:/nonexistent" },
    };
    char main_cf[512];
    struct site s;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(ways); i++) {
        open_written(&s, "");
        snprintf(main_cf, sizeof(main_cf), "compatibility_level = 3.6\ndefault_database_type = hash\n%s = %s\n",
                 ways[i].parameter, ways[i].list);
        site_write(&s, "etc/main.cf", main_cf);
        expect_failure(&s, wild_rules(), ways[i].parameter);
        write_well(&s, old_rules(), false);
        site_close(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hash_table_is_written_and_read_back),
        cmocka_unit_test(a_btree_table_is_written_and_read_back),
        cmocka_unit_test(an_lmdb_table_is_written_and_read_back),
        cmocka_unit_test(a_cdb_table_is_written_and_read_back),
        cmocka_unit_test(the_empty_table_is_written_too),
        cmocka_unit_test(a_site_without_postfix_tables_is_left_alone),
        cmocka_unit_test(the_type_is_postfixs_own_if_none_is_set),
        cmocka_unit_test(a_spoilt_table_is_seen_and_mended),
        cmocka_unit_test(whoever_touches_the_table_is_noticed),
        cmocka_unit_test(a_look_without_descriptors_tells_nothing),
        cmocka_unit_test(what_is_distrusted_is_made_anew),
        cmocka_unit_test(leftovers_and_planted_links_do_no_harm),
        cmocka_unit_test(a_linked_folder_is_refused),
        cmocka_unit_test(writers_wait_for_each_other),
        cmocka_unit_test(without_postmap_the_old_pair_stays),
        cmocka_unit_test(a_failing_postmap_leaves_the_old_pair),
        cmocka_unit_test(a_hanging_postmap_is_ended_with_its_children),
        cmocka_unit_test(an_unreadable_main_cf_leaves_the_old_pair),
        cmocka_unit_test(a_full_disk_leaves_the_old_pair),
        cmocka_unit_test(types_that_cannot_be_changed_safely_are_refused),
        cmocka_unit_test(a_postfix_whose_domains_mean_subdomains_is_refused),
        cmocka_unit_test(own_domains_are_read_wherever_postfix_keeps_them),
        cmocka_unit_test(own_domains_in_a_cdb_table_are_read_too),
        cmocka_unit_test(relay_domains_mean_subdomains_only_where_postfix_says_so),
        cmocka_unit_test(what_is_excluded_is_not_our_own),
        cmocka_unit_test(lists_that_cannot_be_seen_refuse_wildcards_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
