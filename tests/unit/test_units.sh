#!/bin/sh
# The units' sandbox is as tight as we say, and the AppArmor profiles are well formed.
passed=0 failed=0 skipped=0

good() {
    passed=$((passed + 1))
    echo "ok   $1"
}

bad() {
    failed=$((failed + 1))
    echo "FAIL $1: $2"
}

skip() {
    skipped=$((skipped + 1))
    echo "skip $1: $2"
}

# Exposures in tenths: the daemon's below 2.0; the sweep runs Postfix's programs as root, which want the machine's addresses.
for exposed in danelawd=19 danelaw-sweep=22; do
    unit=${exposed%=*}
    name=exposure_of_$(echo $unit | tr - _)
    if ! systemd-analyze security --help 2>/dev/null | grep -q -- --offline; then
        skip "$name" "no systemd-analyze of systemd 250 or later"
    elif said=$(systemd-analyze security --no-pager --offline=true --threshold="${exposed#*=}" "contrib/$unit.service" 2>&1); then
        good "$name"
    else
        bad "$name" "$(echo "$said" | tail -n 1)"
        echo "$said" | grep '✗'
    fi
done

if ! command -v apparmor_parser >/dev/null; then
    skip apparmor_profiles "no apparmor_parser"
elif said=$(apparmor_parser --skip-kernel-load --skip-cache contrib/apparmor/danelaw 2>&1); then
    good apparmor_profiles
else
    bad apparmor_profiles "$said"
fi

for file in contrib/danelawd.service contrib/danelaw-sweep.service contrib/sysusers.d/danelaw.conf contrib/tmpfiles.d/danelaw.conf \
    contrib/apparmor/danelaw; do
    name=paths_of_$(echo "$file" | tr -c 'a-z\n' _)
    if grep -n '@[a-z]*dir@' "$file"; then
        bad "$name" "a path is missing"
    else
        good "$name"
    fi
done

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ] || exit 1
[ $skipped = 0 ] || [ $passed -gt 0 ] || exit 77
