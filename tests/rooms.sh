#!/bin/sh
# Reads the include lines of the sources and checks the arrows between the rooms: a room leans only on those below it.
# Prints each wrong arrow; exit 1 if there is one.

# What each room may include besides itself.
may_lean_on() {
    case $1 in
    base) ;;
    policy) echo base ;;
    config) echo base policy ;;
    lookup) echo base policy ;;
    store) echo base policy ;;
    engine) echo base policy lookup store ;;
    server) echo base policy store engine ;;
    mta) echo base policy ;;
    cli) echo base policy config engine lookup mta ;;      # `check` has eyes of its own
    *) return 1 ;;
    esac
}

top=${srcdir:-$(dirname "$0")/..}
cd "$top/milter" || exit 1
wrong=0
complain() {
    echo "milter/$1"
    wrong=1
}

for folder in */; do
    room=${folder%/}
    set -- "$room"/*.[ch]
    [ -e "$1" ] || continue
    allowed=$(may_lean_on "$room") || { complain "$room/: no such room in tests/rooms.sh; say what it leans on"; continue; }
    # FILE:LINE:room of each include line that names a room
    arrows=$(grep -nHE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$@" |
        sed -nE 's|^([^:]*:[0-9]+):[^"]*"([^"/]*)/[^"]*".*|\1 \2|p; t; s|^([^:]*:[0-9]+):[^"]*"([^"]*)".*|\1 (\2)|p')
    while read -r where other; do
        case " $room $allowed " in
        "  "*) ;;
        *" $other "*) continue ;;
        esac
        [ -z "$where" ] || complain "$where: $room must not lean on $other"
    done <<END
$arrows
END
done
[ "$wrong" = 0 ] && echo "rooms: all arrows point down"
exit "$wrong"
