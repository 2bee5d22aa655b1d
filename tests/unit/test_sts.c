/* Written from the grammars of RFC 8461 3.1 and 3.2, with the errata that stand against them. */
#include "policy/sts.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BYTES(text) { text, sizeof(text) - 1 }

struct bytes {
    const char *at;
    size_t length;
};

#define X8 "xxxxxxxx"
#define X32 X8 X8 X8 X8
#define X63 X32 X8 X8 X8 "xxxxxxx"

/* TXT RRsets: up to three records; id NULL: there is no usable record. */
static const struct {
    const char *what;
    struct bytes records[3];
    const char *id;
} rrsets[] = {
    { "RFC 8461 3.1's example", { BYTES("v=STSv1; id=20160831085700Z;") }, "20160831085700Z" },
    { "no delimiter at the end", { BYTES("v=STSv1; id=1") }, "1" },
    { "no blank at all", { BYTES("v=STSv1;id=1;") }, "1" },
    { "tabs and blanks beside delimiters", { BYTES("v=STSv1; \t id=1\t ; \t") }, "1" },
    { "a blank before the last delimiter", { BYTES("v=STSv1;id=1 ;") }, "1" },
    { "32 characters of id", { BYTES("v=STSv1; id=" X32 ";") }, X32 },
    { "an id of all kinds", { BYTES("v=STSv1; id=azAZ09") }, "azAZ09" },
    { "an extension behind", { BYTES("v=STSv1; id=1; note=hello") }, "1" },
    { "an extension before", { BYTES("v=STSv1; note=hello; id=1") }, "1" },
    { "an extension's value of all visible characters but = and ;",
      { BYTES("v=STSv1; id=1; a=!\"#$%&'()*+,-./09:<>?@AZ[\\]^_`az{|}~") }, "1" },
    { "an extension's name of all kinds", { BYTES("v=STSv1; id=1; 9a_-.Z=x") }, "1" },
    { "an extension's name of 32 characters", { BYTES("v=STSv1; id=1; " X32 "=x") }, "1" },
    { "the first id counts", { BYTES("v=STSv1; id=1; id=2") }, "1" },
    { "the first id counts, whatever the second is", { BYTES("v=STSv1; id=1; id=not-one") }, "1" },
    { "ID is an extension", { BYTES("v=STSv1; ID=2; id=1") }, "1" },
    { "a second v is an extension", { BYTES("v=STSv1; v=STSv2; id=1") }, "1" },
    { "others are discarded", { BYTES("v=spf1 -all"), BYTES("v=STSv1; id=1"), BYTES("") }, "1" },
    { "a later version is discarded", { BYTES("v=STSv2; id=2;"), BYTES("v=STSv1; id=1;") }, "1" },
    { "a blank before the first delimiter is discarded (errata 6285)",
      { BYTES("v=STSv1 ; id=2;"), BYTES("v=STSv1; id=1;") }, "1" },
    { "upper case is discarded", { BYTES("V=STSv1; id=2;"), BYTES("v=STSv1; id=1;") }, "1" },

    { "no record", { { NULL, 0 } }, NULL },
    { "an empty record", { BYTES("") }, NULL },
    { "only strangers", { BYTES("v=spf1 -all"), BYTES("hello") }, NULL },
    { "two records", { BYTES("v=STSv1; id=1;"), BYTES("v=STSv1; id=2;") }, NULL },
    { "the same record twice", { BYTES("v=STSv1; id=1;"), BYTES("v=STSv1; id=1;") }, NULL },
    { "a good and a bad one", { BYTES("v=STSv1; id=1;"), BYTES("v=STSv1; nonsense") }, NULL },
    { "only a blank before the delimiter (errata 6285)", { BYTES("v=STSv1 ; id=1;") }, NULL },
    { "a blank at the start", { BYTES(" v=STSv1; id=1;") }, NULL },
    { "the wrong version", { BYTES("v=STSv2; id=1;") }, NULL },
    { "a longer version", { BYTES("v=STSv10; id=1;") }, NULL },
    { "version in lower case", { BYTES("v=stsv1; id=1;") }, NULL },
    { "v in upper case", { BYTES("V=STSv1; id=1;") }, NULL },
    { "no version", { BYTES("id=1;") }, NULL },
    { "version is not first", { BYTES("id=1; v=STSv1;") }, NULL },
    { "version alone", { BYTES("v=STSv1") }, NULL },
    { "version and a delimiter", { BYTES("v=STSv1;") }, NULL },
    { "version and delimiters", { BYTES("v=STSv1;;") }, NULL },
    { "no id", { BYTES("v=STSv1; note=hello;") }, NULL },
    { "an empty id", { BYTES("v=STSv1; id=;") }, NULL },
    { "33 characters of id", { BYTES("v=STSv1; id=" X32 "x;") }, NULL },
    { "an id with a hyphen", { BYTES("v=STSv1; id=2016-08;") }, NULL },
    { "an id with a dot", { BYTES("v=STSv1; id=1.2;") }, NULL },
    { "an id with a blank", { BYTES("v=STSv1; id=1 2;") }, NULL },
    { "an id in quotes", { BYTES("v=STSv1; id=\"1\";") }, NULL },
    { "an id beyond ASCII", { BYTES("v=STSv1; id=\xc3\xa9;") }, NULL },
    { "the first id is bad", { BYTES("v=STSv1; id=not-one; id=1") }, NULL },
    { "a blank before =", { BYTES("v=STSv1; id =1;") }, NULL },
    { "a blank behind =", { BYTES("v=STSv1; id= 1;") }, NULL },
    { "a blank at the end", { BYTES("v=STSv1; id=1 ") }, NULL },
    { "a tab at the end", { BYTES("v=STSv1; id=1\t") }, NULL },
    { "ID only", { BYTES("v=STSv1; ID=1;") }, NULL },
    { "two delimiters", { BYTES("v=STSv1;; id=1;") }, NULL },
    { "two delimiters at the end", { BYTES("v=STSv1; id=1;;") }, NULL },
    { "parted by commas", { BYTES("v=STSv1; id=1, note=x;") }, NULL },
    { "parted by a blank", { BYTES("v=STSv1; id=1 note=x;") }, NULL },
    { "a field without =", { BYTES("v=STSv1; id=1; note;") }, NULL },
    { "an extension without value", { BYTES("v=STSv1; id=1; note=;") }, NULL },
    { "an extension without name", { BYTES("v=STSv1; id=1; =x;") }, NULL },
    { "an extension's value with =", { BYTES("v=STSv1; id=1; note=a=b;") }, NULL },
    { "an extension's value with a blank", { BYTES("v=STSv1; id=1; note=a b;") }, NULL },
    { "an extension's value beyond ASCII", { BYTES("v=STSv1; id=1; note=\xc3\xa9;") }, NULL },
    { "an extension's name of 33 characters", { BYTES("v=STSv1; id=1; " X32 "x=x;") }, NULL },
    { "an extension's name begins with _", { BYTES("v=STSv1; id=1; _a=x;") }, NULL },
    { "a NUL in a name", { BYTES("v=STSv1; id=1; a\0b=x;") }, NULL },
    { "a NUL in a value", { BYTES("v=STSv1; id=1; a=\0;") }, NULL },
    { "a NUL at the end", { BYTES("v=STSv1; id=1\0") }, NULL },
    { "a line end", { BYTES("v=STSv1; id=1;\n") }, NULL },
    { "DEL", { BYTES("v=STSv1; id=1; a=\x7f") }, NULL },
};

#define V "version: STSv1\n"
#define M "mode: enforce\n"
#define A "max_age: 604800\n"
#define X "mx: mx.example\n"

/* Policy files; mx is the list with a comma behind each; NULL: the policy is invalid. */
static const struct {
    const char *what;
    struct bytes body;
    const char *mx;
    enum sts_mode mode;
    uint32_t max_age;
} files[] = {
    { "RFC 8461 3.2's example",
      BYTES("version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmx: backupmx.example.com\r\n"
            "max_age: 604800\r\n"),
      "mail.example.com,*.example.net,backupmx.example.com,", STS_MODE_ENFORCE, 604800 },
    { "LF (errata 6253)", BYTES(V M A X), "mx.example,", STS_MODE_ENFORCE, 604800 },
    { "LF and CRLF mixed", BYTES("version: STSv1\r\nmode: enforce\nmax_age: 604800\r\nmx: mx.example\n"), "mx.example,",
      STS_MODE_ENFORCE, 604800 },
    { "no line end at the end", BYTES(V M A "mx: mx.example"), "mx.example,", STS_MODE_ENFORCE, 604800 },
    { "any order", BYTES(X A M V), "mx.example,", STS_MODE_ENFORCE, 604800 },
    { "no blank behind the colon", BYTES("version:STSv1\nmode:enforce\nmax_age:604800\nmx:mx.example\n"), "mx.example,",
      STS_MODE_ENFORCE, 604800 },
    { "blanks and tabs behind the colon", BYTES("version: \t STSv1\nmode:\tenforce\n" A X), "mx.example,", STS_MODE_ENFORCE, 604800 },
    { "blanks and tabs at the end of lines", BYTES("version: STSv1 \t\nmode: enforce  \r\n" A "mx: mx.example\t"), "mx.example,",
      STS_MODE_ENFORCE, 604800 },
    { "testing", BYTES(V "mode: testing\n" A X), "mx.example,", STS_MODE_TESTING, 604800 },
    { "none with mx", BYTES(V "mode: none\n" A X), "mx.example,", STS_MODE_NONE, 604800 },
    { "none without mx", BYTES(V "mode: none\n" A), "", STS_MODE_NONE, 604800 },
    { "max_age 0", BYTES(V M "max_age: 0\n" X), "mx.example,", STS_MODE_ENFORCE, 0 },
    { "max_age at the most", BYTES(V M "max_age: 31557600\n" X), "mx.example,", STS_MODE_ENFORCE, 31557600 },
    { "max_age past the most", BYTES(V M "max_age: 31557601\n" X), "mx.example,", STS_MODE_ENFORCE, 31557600 },
    { "max_age of ten digits (errata 7282)", BYTES(V M "max_age: 9999999999\n" X), "mx.example,", STS_MODE_ENFORCE, 31557600 },
    { "max_age with leading zeros", BYTES(V M "max_age: 0000086400\n" X), "mx.example,", STS_MODE_ENFORCE, 86400 },
    { "mx in upper case", BYTES(V M A "mx: MX.Example.COM\n"), "mx.example.com,", STS_MODE_ENFORCE, 604800 },
    { "a wildcard", BYTES(V M A "mx: *.Example.com\n"), "*.example.com,", STS_MODE_ENFORCE, 604800 },
    { "a wildcard of a single label", BYTES(V M A "mx: *.example\n"), "*.example,", STS_MODE_ENFORCE, 604800 },
    { "mx of a single label", BYTES(V M A "mx: localhost\n"), "localhost,", STS_MODE_ENFORCE, 604800 },
    { "an A-label", BYTES(V M A "mx: mx.xn--bcher-kva.example\n"), "mx.xn--bcher-kva.example,", STS_MODE_ENFORCE, 604800 },
    { "digits and hyphens in mx", BYTES(V M A "mx: 1-a--b.2.3com\n"), "1-a--b.2.3com,", STS_MODE_ENFORCE, 604800 },
    { "a label of 63", BYTES(V M A "mx: " X63 ".example\n"), X63 ".example,", STS_MODE_ENFORCE, 604800 },
    { "253 characters of mx", BYTES(V M A "mx: " X63 "." X63 "." X63 "." X32 X8 X8 X8 "xxxxx\n"),
      X63 "." X63 "." X63 "." X32 X8 X8 X8 "xxxxx,", STS_MODE_ENFORCE, 604800 },
    { "the same mx twice", BYTES(V M A X X), "mx.example,mx.example,", STS_MODE_ENFORCE, 604800 },
    { "an extension", BYTES(V M A X "note: hello\n"), "mx.example,", STS_MODE_ENFORCE, 604800 },
    { "an extension first", BYTES("note: hello\n" V M A X), "mx.example,", STS_MODE_ENFORCE, 604800 },
    { "an extension with blanks within", BYTES(V M A X "note: a  b: c;d=e\n"), "mx.example,", STS_MODE_ENFORCE, 604800 },
    { "an extension in UTF-8", BYTES(V M A X "note: \xc3\xa9 \xe2\x82\xac \xf0\x9f\x93\xa7\n"), "mx.example,", STS_MODE_ENFORCE, 604800 },
    { "the ends of UTF-8",
      BYTES(V M A X "note: \xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\n"),
      "mx.example,", STS_MODE_ENFORCE, 604800 },
    { "an extension's name of all kinds", BYTES(V M A X "9a_-.Z: x\n"), "mx.example,", STS_MODE_ENFORCE, 604800 },
    { "an extension's name of 32 characters", BYTES(V M A X X32 ": x\n"), "mx.example,", STS_MODE_ENFORCE, 604800 },
    { "MX and Mode are extensions", BYTES(V M A X "MX: -\nMode: none\nVersion: 2\n"), "mx.example,", STS_MODE_ENFORCE, 604800 },
    { "the first mode counts", BYTES(V M "mode: none\n" A X), "mx.example,", STS_MODE_ENFORCE, 604800 },
    { "the first mode counts, whatever the second is", BYTES(V M "mode: report\n" A X), "mx.example,", STS_MODE_ENFORCE, 604800 },
    { "the first max_age counts", BYTES(V M A "max_age: 1\n" X), "mx.example,", STS_MODE_ENFORCE, 604800 },
    { "the first max_age counts, whatever the second is", BYTES(V M A "max_age: week\n" X), "mx.example,", STS_MODE_ENFORCE, 604800 },
    { "the first version counts", BYTES(V "version: STSv2\n" M A X), "mx.example,", STS_MODE_ENFORCE, 604800 },

    { "nothing", BYTES(""), NULL },
    { "a line end", BYTES("\n"), NULL },
    { "no version", BYTES(M A X), NULL },
    { "no mode", BYTES(V A X), NULL },
    { "no max_age", BYTES(V M X), NULL },
    { "enforce without mx", BYTES(V M A), NULL },
    { "testing without mx", BYTES(V "mode: testing\n" A), NULL },
    { "a wrong version", BYTES("version: STSv2\n" M A X), NULL },
    { "a wrong version first", BYTES("version: STSv2\n" V M A X), NULL },
    { "a version in lower case", BYTES("version: stsv1\n" M A X), NULL },
    { "version in upper case", BYTES("Version: STSv1\n" M A X), NULL },
    { "a longer version", BYTES("version: STSv1.1\n" M A X), NULL },
    { "mode report", BYTES(V "mode: report\n" A X), NULL },
    { "mode in upper case", BYTES(V "mode: Enforce\n" A X), NULL },
    { "mode with more behind", BYTES(V "mode: enforce please\n" A X), NULL },
    { "a bad mode first", BYTES(V "mode: report\n" M A X), NULL },
    { "an empty mode", BYTES(V "mode:\n" A X), NULL },
    { "a blank mode", BYTES(V "mode: \n" A X), NULL },
    { "max_age of eleven digits", BYTES(V M "max_age: 00000086400\n" X), NULL },
    { "max_age below zero", BYTES(V M "max_age: -1\n" X), NULL },
    { "max_age with a plus", BYTES(V M "max_age: +1\n" X), NULL },
    { "max_age with a fraction", BYTES(V M "max_age: 1.5\n" X), NULL },
    { "max_age in hexadecimal", BYTES(V M "max_age: 0x10\n" X), NULL },
    { "max_age with a unit", BYTES(V M "max_age: 7d\n" X), NULL },
    { "max_age in words", BYTES(V M "max_age: week\n" X), NULL },
    { "max_age in two numbers", BYTES(V M "max_age: 1 2\n" X), NULL },
    { "an empty max_age", BYTES(V M "max_age:\n" X), NULL },
    { "an empty mx", BYTES(V M A "mx:\n"), NULL },
    { "one bad mx of two", BYTES(V M A X "mx: -bad-.example\n"), NULL },
    { "a bad mx where none would do", BYTES(V "mode: none\n" A "mx: -\n"), NULL },
    { "mx with a final dot", BYTES(V M A "mx: mx.example.\n"), NULL },
    { "mx with an empty label", BYTES(V M A "mx: mx..example\n"), NULL },
    { "mx begins with a dot", BYTES(V M A "mx: .example\n"), NULL },
    { "mx of dots", BYTES(V M A "mx: .\n"), NULL },
    { "an underscore in mx", BYTES(V M A "mx: mx_1.example\n"), NULL },
    { "a hyphen at the start of a label", BYTES(V M A "mx: mx.-example\n"), NULL },
    { "a hyphen at the end of a label", BYTES(V M A "mx: mx-.example\n"), NULL },
    { "a hyphen at the end of mx", BYTES(V M A "mx: mx.example-\n"), NULL },
    { "a U-label", BYTES(V M A "mx: mx.b\xc3\xbc""cher.example\n"), NULL },
    { "a label of 64", BYTES(V M A "mx: x" X63 ".example\n"), NULL },
    { "254 characters of mx", BYTES(V M A "mx: " X63 "." X63 "." X63 "." X32 X8 X8 X8 "xxxxxx\n"), NULL },
    { "mx of 300 characters", BYTES(V M A "mx: " X63 "." X63 "." X63 "." X63 "." X32 X8 "\n"), NULL },
    { "a star alone", BYTES(V M A "mx: *\n"), NULL },
    { "a star and a dot", BYTES(V M A "mx: *.\n"), NULL },
    { "two stars", BYTES(V M A "mx: *.*.example\n"), NULL },
    { "a star within", BYTES(V M A "mx: mx.*.example\n"), NULL },
    { "a star in a label", BYTES(V M A "mx: mx*.example\n"), NULL },
    { "a star without its dot", BYTES(V M A "mx: *example\n"), NULL },
    { "an address literal", BYTES(V M A "mx: [192.0.2.1]\n"), NULL },
    { "a port", BYTES(V M A "mx: mx.example:25\n"), NULL },
    { "two hosts on a line", BYTES(V M A "mx: mx.example mx2.example\n"), NULL },
    { "two hosts with a comma", BYTES(V M A "mx: mx.example,mx2.example\n"), NULL },
    { "mx with a NUL", BYTES(V M A "mx: mx\0.example\n"), NULL },
    { "an empty line within", BYTES(V M "\n" A X), NULL },
    { "an empty line at the end", BYTES(V M A X "\n"), NULL },
    { "an empty line at the start", BYTES("\n" V M A X), NULL },
    { "a blank line", BYTES(V M " \n" A X), NULL },
    { "a blank before a name", BYTES(V M A " mx: mx.example\n"), NULL },
    { "a blank before the colon", BYTES(V M A "mx : mx.example\n"), NULL },
    { "= for the colon", BYTES(V M A "mx=mx.example\n"), NULL },
    { "a line without colon", BYTES(V M A X "hello\n"), NULL },
    { "a comment", BYTES(V M A X "# hello\n"), NULL },
    { "no name", BYTES(V M A X ": hello\n"), NULL },
    { "an extension without value", BYTES(V M A X "note:\n"), NULL },
    { "a tab within a value", BYTES(V M A X "note: a\tb\n"), NULL },
    { "a control character in a value", BYTES(V M A X "note: a\x01\n"), NULL },
    { "DEL in a value", BYTES(V M A X "note: a\x7f\n"), NULL },
    { "a NUL in a value", BYTES(V M A X "note: a\0b\n"), NULL },
    { "a NUL in a name", BYTES(V M A X "n\0te: a\n"), NULL },
    { "a NUL at the end", BYTES(V M A X "\0"), NULL },
    { "an extension's name of 33 characters", BYTES(V M A X "x" X32 ": x\n"), NULL },
    { "an extension's name begins with a dot", BYTES(V M A X ".a: x\n"), NULL },
    { "an extension's name beyond ASCII", BYTES(V M A X "\xc3\xa9: x\n"), NULL },
    { "CR alone", BYTES("version: STSv1\rmode: enforce\rmax_age: 604800\rmx: mx.example\r"), NULL },
    { "two CRs", BYTES("version: STSv1\r\r\n" M A X), NULL },
    { "CR at the end", BYTES(V M A "mx: mx.example\r"), NULL },
    { "Latin-1", BYTES(V M A X "note: caf\xe9\n"), NULL },
    { "UTF-8 cut by the end of a line", BYTES(V M A X "note: \xe2\x82\n"), NULL },
    { "UTF-8 cut by the end", BYTES(V M A X "note: \xf0\x9f\x93"), NULL },
    { "UTF-8 longer than need be", BYTES(V M A X "note: \xc0\xaf\n"), NULL },
    { "UTF-8 of three longer than need be", BYTES(V M A X "note: \xe0\x9f\xbf\n"), NULL },
    { "UTF-8 of four longer than need be", BYTES(V M A X "note: \xf0\x8f\xbf\xbf\n"), NULL },
    { "half of a surrogate pair", BYTES(V M A X "note: \xed\xa0\x80\n"), NULL },
    { "past the last code point", BYTES(V M A X "note: \xf4\x90\x80\x80\n"), NULL },
    { "a byte order mark", BYTES("\xef\xbb\xbf" V M A X), NULL },
    { "HTML", BYTES("<!DOCTYPE html>\n<title>404</title>\n"), NULL },
    { "JSON", BYTES("{\"version\": \"STSv1\", \"mode\": \"enforce\"}\n"), NULL },
};

/* A block of exactly this size, so that the address sanitizer sees any step past it. */
static char *exactly(const struct bytes *b)
{
    char *copy = malloc(b->length == 0 ? 1 : b->length);

    assert_non_null(copy);
    if (b->length > 0)
        memcpy(copy, b->at, b->length);
    return copy;
}

static bool parse(const struct bytes *b, struct sts_policy **ret, struct fault *why)
{
    char *copy = exactly(b);
    bool good = sts_policy_parse(copy, b->length, ret, why);

    free(copy);
    return good;
}

static void every_rrset_reads_as_the_grammar_says(void **state)
{
    size_t i, n;

    (void)state;
    for (i = 0; i < COUNT_OF(rrsets); i++) {
        const char *records[3];
        char *copies[3] = { NULL };
        size_t lengths[3];
        struct fault why = { { 0 } };
        char id[STS_ID_SIZE] = "untouched";
        bool good;

        for (n = 0; n < 3 && rrsets[i].records[n].at != NULL; n++) {
            records[n] = copies[n] = exactly(&rrsets[i].records[n]);
            lengths[n] = rrsets[i].records[n].length;
        }
        good = sts_record_parse(records, lengths, n, id, &why);
        if (good != (rrsets[i].id != NULL))
            fail_msg("%s: %s", rrsets[i].what, good ? "accepted" : why.text);
        assert_string_equal(id, good ? rrsets[i].id : "untouched");
        assert_true(good || why.text[0] != '\0');
        for (n = 0; n < 3; n++)
            free(copies[n]);
    }
    assert_true(COUNT_OF(rrsets) >= 40);
}

static void every_policy_reads_as_the_grammar_says(void **state)
{
    size_t i, n;

    (void)state;
    for (i = 0; i < COUNT_OF(files); i++) {
        struct sts_policy *policy = NULL;
        struct fault why = { { 0 } };
        char list[1024] = "";
        bool good = parse(&files[i].body, &policy, &why);

        if (good != (files[i].mx != NULL))
            fail_msg("%s: %s", files[i].what, good ? "accepted" : why.text);
        if (!good) {
            assert_null(policy);
            assert_true(why.text[0] != '\0');
            continue;
        }
        for (n = 0; n < policy->mx_count; n++) {
            strcat(list, policy->mx[n]);
            strcat(list, ",");
        }
        if (strcmp(list, files[i].mx) != 0 || policy->mode != files[i].mode || policy->max_age != files[i].max_age)
            fail_msg("%s: mode %s, max_age %u, mx %s", files[i].what, sts_mode_word(policy->mode), policy->max_age, list);
        sts_policy_unref(policy);
    }
    assert_true(COUNT_OF(files) >= 60);
}

/* RFC 8461 3.2: whatever precedes the cut, no half of a policy is one. */
static void a_policy_cut_short_is_never_another_policy(void **state)
{
    static const char whole[] = V M "max_age: 604800\n" "mx: mx.example\n";
    size_t length;

    (void)state;
    for (length = 0; length < sizeof(whole) - 1; length++) {
        struct bytes cut = { whole, length };
        struct sts_policy *policy = NULL;
        bool good = parse(&cut, &policy, NULL);

        if (good) {
            /* only names of hosts that begin alike are left to the reader; the fetch knows whether it was whole */
            assert_true(length > sizeof(V M A "mx: ") - 1);
            assert_int_equal(strncmp(policy->mx[0], "mx.example", strlen(policy->mx[0])), 0);
            sts_policy_unref(policy);
        }
    }
}

static void a_policy_has_1_mib_at_the_most(void **state)
{
    size_t head = strlen(V M A X);
    char *body = malloc(STS_BODY_MAX + 1);
    struct sts_policy *policy = NULL;
    struct fault why;

    (void)state;
    assert_non_null(body);
    strcpy(body, V M A X);
    memset(body + head, 'x', STS_BODY_MAX + 1 - head);
    memcpy(body + head, "note:", 5);
    assert_true(sts_policy_parse(body, STS_BODY_MAX, &policy, &why));
    sts_policy_unref(policy);
    assert_false(sts_policy_parse(body, STS_BODY_MAX + 1, &policy, &why));
    assert_non_null(strstr(why.text, "1 MiB"));
    free(body);
}

static void thousands_of_hosts_fit_into_a_policy(void **state)
{
    char *body = malloc(STS_BODY_MAX);
    size_t length = (size_t)sprintf(body, V M A), count = 0;
    struct sts_policy *policy = NULL;

    (void)state;
    while (length + 16 < STS_BODY_MAX)
        length += (size_t)sprintf(body + length, "mx:a%zu\n", count++);
    assert_true(sts_policy_parse(body, length, &policy, NULL));
    assert_int_equal(policy->mx_count, count);
    assert_string_equal(policy->mx[0], "a0");
    assert_true(sts_policy_lists(policy, "a4711"));
    assert_false(sts_policy_lists(policy, "b"));
    sts_policy_unref(policy);
    free(body);
}

static void a_pattern_matches_what_rfc_8461_4_1_says(void **state)
{
    static const struct {
        const char *pattern, *host;
        bool match;
    } pairs[] = {
        { "mx.example.com", "mx.example.com", true },
        { "mx.example.com", "mx2.example.com", false },
        { "mx.example.com", "a.mx.example.com", false },
        { "mx.example.com", "example.com", false },
        { "mx.example.com", "mx.example.co", false },
        { "mx.example.com", "mx.example.com.example.net", false },
        { "example.com", "mx.example.com", false },
        { "*.example.com", "mx.example.com", true },
        { "*.example.com", "a-b1.example.com", true },
        { "*.example.com", "xn--bcher-kva.example.com", true },
        { "*.example.com", "mx.eu.example.com", false },
        { "*.example.com", "example.com", false },
        { "*.example.com", ".example.com", false },
        { "*.example.com", "mxexample.com", false },
        { "*.example.com", "mx.example.com.net", false },
        { "*.example.com", "mx.anexample.com", false },
        { "*.example.com", "mx.example.co", false },
        { "*.com", "example.com", true },
        { "*.com", "mx.example.com", false },
        { "*.com", "com", false },
        { "*.xn--bcher-kva.example", "mx.xn--bcher-kva.example", true },
        { "*.xn--bcher-kva.example", "mx.bcher-kva.example", false },
        { "mx.example.com", "", false },
        { "*.example.com", "", false },
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(pairs); i++) {
        if (sts_mx_match(pairs[i].pattern, pairs[i].host) != pairs[i].match)
            fail_msg("%s, %s: %s", pairs[i].pattern, pairs[i].host, pairs[i].match ? "no match" : "a match");
    }
}

static void a_policy_lists_what_one_of_its_patterns_matches(void **state)
{
    static const struct bytes body = BYTES(V M A "mx: MX.Example.com\nmx: *.Example.net\n");
    struct sts_policy *policy = NULL;

    (void)state;
    assert_true(parse(&body, &policy, NULL));
    assert_true(sts_policy_lists(policy, "mx.example.com"));
    assert_true(sts_policy_lists(policy, "a.example.net"));
    assert_false(sts_policy_lists(policy, "a.example.com"));
    assert_false(sts_policy_lists(policy, "a.b.example.net"));
    assert_false(sts_policy_lists(policy, "example.net"));
    sts_policy_unref(policy);
}

static void a_policy_says_its_state(void **state)
{
    static const struct {
        struct bytes body;
        enum sts_state state;
    } kinds[] = {
        { BYTES(V M A X), STS_ENFORCE },
        { BYTES(V "mode: testing\n" A X), STS_TESTING },
        { BYTES(V "mode: none\n" A), STS_NONE },
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(kinds); i++) {
        struct sts_policy *policy = NULL;

        assert_true(parse(&kinds[i].body, &policy, NULL));
        assert_int_equal(sts_state_of(policy), kinds[i].state);
        sts_policy_unref(policy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rrset_reads_as_the_grammar_says),
        cmocka_unit_test(every_policy_reads_as_the_grammar_says),
        cmocka_unit_test(a_policy_cut_short_is_never_another_policy),
        cmocka_unit_test(a_policy_has_1_mib_at_the_most),
        cmocka_unit_test(thousands_of_hosts_fit_into_a_policy),
        cmocka_unit_test(a_pattern_matches_what_rfc_8461_4_1_says),
        cmocka_unit_test(a_policy_lists_what_one_of_its_patterns_matches),
        cmocka_unit_test(a_policy_says_its_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
