#!/bin/sh
# The manual pages tell what there is: every setting stands in danelaw.conf(5) with its preset, every verb and option of
# danelaw in danelaw(1), every option of danelawd in danelawd(8); and mandoc, where it is there, has nothing against them.
# The completion for bash offers the same verbs and options.

top=${srcdir:-$(dirname "$0")/../..}
built=${builddir:-$top}/milter
conf=$top/conf/danelaw.conf.5
wrong=0

# Reads the page, then the tables in the sources: `.It Ic NAME = PRESET` must stand in the section of the setting's group.
settings_are_told() {
    awk '
    function quoted(text) { return "\\(dq" text "\\(dq" }

    # The preset as the page shows it. Paths are those of --prefix=/usr.
    function shown(kind, preset,    words, count, i, list) {
        if (kind == "FLAG" || kind == "NUMBER")
            return preset
        if (kind != "LIST")
            return quoted(preset)
        count = split(preset, words, " ")
        for (i = 1; i <= count; i++)
            list = list quoted(words[i]) (i < count ? ", " : " ")
        return "[ " list "]"
    }

    function need(section, text) {
        needed++
        if (index(page[section], text) > 0)
            return
        print "danelaw.conf.5, section " section ": nothing like \"" text "\""
        missing++
    }

    function check(entry, section,    part, kind, words, count, i) {
        gsub(/SOCKET\("/, "\"unix:/run/danelaw/", entry)
        gsub(/sock"\)/, "sock\"", entry)
        gsub(/LOCALSTATEDIR "/, "\"/var", entry)
        split(entry, part, "\"")                        # part[2]: the name, part[4]: the preset
        match(entry, /SETTING_[A-Z]+/)
        kind = substr(entry, RSTART + 8, RLENGTH - 8)
        if (section in of_rules && part[4] == "" && (kind == "LIST" || part[2] == "name" || part[2] == "transport"))
            need(section, ".It Ic " part[2] " = ")      # required, or absent means something else than empty
        else
            need(section, ".It Ic " part[2] " = " shown(kind, part[4]))
    }

    BEGIN {
        of_rules["connectors"]; of_rules["routes"]
        told["top"] = "Top level"; told["logging"] = "log"
        told["connectors_settings"] = "connectors"; told["routes_settings"] = "routes"
    }

    FILENAME == ARGV[1] {
        if (/^\.S[hs] /)
            heading = substr($0, 5)
        else
            page[heading] = page[heading] $0 "\n"
        next
    }

    /^(static )?const struct setting [a-z_]+\[\]/ {
        table = $0
        sub(/\[\].*/, "", table)
        sub(/.* /, "", table)
        entry = ""
        next
    }
    /^};/ { table = "" }
    table != "" {
        entry = entry " " $0
        if (/},$/) {
            if (entry ~ /SETTING_/)
                check(entry, table in told ? told[table] : table)
            entry = ""
        }
    }

    END {
        if (needed < 65)
            print "only " needed + 0 " settings found in the sources: can this test still read them?"
        exit missing > 0 || needed < 65
    }' "$conf" "$top/milter/base/settings.c" "$top/milter/config/connectors.c" "$top/milter/config/routes.c"
}

# PAGE WORD...: each as an argument of a macro, a long option without its first hyphen.
are_in() {
    page=$1
    shift
    for word in "$@"; do
        grep -qE "^\.(.* )?(Cm|Fl) $word( |\$)|^\.(.* )?Cm ([a-z]+ )*$word( |\$)|^\.(.* )?Cm .*\| Cm $word( |\$)" "$page" && continue
        echo "$page: nothing on $word"
        wrong=1
    done
}

# The verbs are the lines of --help that are indented by two, their options those of each verb's own help.
command_is_told() {
    "$built/danelaw" --help >/dev/null || return 1
    verbs=$("$built/danelaw" --help | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p')
    [ "$(echo "$verbs" | wc -w)" -ge 14 ] || { echo "danelaw --help lists too few verbs: $verbs"; wrong=1; }
    # shellcheck disable=SC2086
    are_in "$top/milter/danelaw.1" $verbs
    # shellcheck disable=SC2046
    are_in "$top/milter/danelaw.1" $( { "$built/danelaw" --help; for verb in $verbs; do "$built/danelaw" "$verb" --help; done; } |
        grep -oE -- '--[a-z]+(-[a-z]+)*' | sed 's/^-//' | sort -u)
    # shellcheck disable=SC2046
    are_in "$top/milter/danelawd.8" $("$built/danelawd" --help | grep -oE -- '--[a-z]+' | sed 's/^-//' | sort -u)
}

# Behind a verb its options are offered; behind what else it needs, where they only go with that.
completion_is_whole() {
    bash -s "$top/contrib/completion/danelaw" "$built/danelaw" <<'END'
    . "$1"
    danelaw=$2 missing=0
    offers() {
        local wanted=$1
        shift
        COMP_WORDS=(danelaw "$@") COMP_CWORD=$#
        _danelaw
        [[ " ${COMPREPLY[*]} " == *" $wanted "* ]] && return
        echo "completion: after \"${*:1:$#-1}\" no $wanted"
        missing=1
    }
    for verb in $("$danelaw" --help | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p'); do
        offers "$verb" ""
        case $verb in
        connectors) more=(match) ;;
        held) more=(forget) ;;
        *) more=() ;;
        esac
        for option in $("$danelaw" "$verb" --help | grep -oE -- '--[a-z]+(-[a-z]+)*|^  -[a-z] ' | sort -u); do
            offers "$option" "$verb" "${more[@]}" -
        done
    done
    exit "$missing"
END
}

# Style is a matter of taste: which pages are installed, for one.
pages_are_clean() {
    command -v mandoc >/dev/null || { echo "mandoc is not installed: the pages are not linted"; return 0; }
    mandoc -Tlint -Wwarning "$top/milter/danelaw.1" "$conf" "$top/milter/danelawd.8"
}

settings_are_told || wrong=1
command_is_told || wrong=1
completion_is_whole || wrong=1
pages_are_clean || wrong=1
exit "$wrong"
