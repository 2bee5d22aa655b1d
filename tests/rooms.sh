#!/bin/sh
# Reads the include lines of milter/*/*.[ch]: a room leans only on the rooms below it. Prints each arrow that points
# elsewhere; exit 1 if there is one. The files right in milter/ are the programs, which see every room.
#
# usage: rooms.sh    (srcdir: where the sources are; preset: the folder above this one)

cd "${srcdir:-$(dirname "$0")/..}/milter" || exit 1

awk '
# What each room may include besides itself. danelaw check has eyes of its own, hence cli -> lookup.
BEGIN {
    leans["base"]   = ""
    leans["policy"] = "base"
    leans["config"] = "base policy"
    leans["lookup"] = "base policy"
    leans["store"]  = "base policy"
    leans["mta"]    = "base policy"
    leans["engine"] = "base policy lookup store"
    leans["server"] = "base policy store engine"
    leans["cli"]    = "base policy config lookup store mta engine"
}

FNR == 1 {
    files++
    room = substr(FILENAME, 1, index(FILENAME, "/") - 1)
    if (!(room in leans) && !(room in strange)) {
        strange[room]
        print "milter/" room ": this room is new; say in tests/rooms.sh what it leans on"
        wrong++
    }
}

/^[ \t]*#[ \t]*include[ \t]*"/ && room in leans {
    split($0, part, "\"")
    slash = index(part[2], "/")
    other = slash > 0 ? substr(part[2], 1, slash - 1) : ""
    if (other == room || (other != "" && index(" " leans[room] " ", " " other " ") > 0))
        next
    if (other == "")
        print "milter/" FILENAME ":" FNR ": \"" part[2] "\" names no room; write \"ROOM/" part[2] "\""
    else
        print "milter/" FILENAME ":" FNR ": " room " must not lean on " other " (\"" part[2] "\")"
    wrong++
}

END {
    if (files == 0) {
        print "milter: no sources found"
        wrong++
    }
    exit wrong > 0
}' */*.[ch] || exit 1
