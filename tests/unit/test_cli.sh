#!/bin/sh
# The command without a daemon and without a network: usage, exit codes, help, config test. DANELAW names the program.

DANELAW=${DANELAW:-${builddir:-.}/milter/danelaw}
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
failures=0

# expect EXIT WORDS-IN-OUTPUT-OR-ERRORS ARGUMENTS...
expect() {
    code=$1 words=$2
    shift 2
    "$DANELAW" "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    if [ "$got" != "$code" ] || ! cat "$work/out" "$work/err" | grep -qF -- "$words"; then
        echo "FAILED: danelaw $*: exit $got, expected $code and \"$words\""
        sed 's/^/    /' "$work/out" "$work/err"
        failures=$((failures + 1))
    fi
}

# quiet out|err: the last command said nothing there
quiet() {
    if [ -s "$work/$1" ]; then
        echo "FAILED: something on std$1:"
        sed 's/^/    /' "$work/$1"
        failures=$((failures + 1))
    fi
}

user=$(id -un)
[ "$user" != root ] || user=nobody
cat >"$work/good.conf" <<END
user = "$user";
control = { socket = "unix:$work/control.sock"; };
store = { directory = "$work/store"; };
resolver = { timeout = "1s"; forward = [ "127.0.0.1@1" ]; };
connectors = (
  { name = "Contoso Bank"; recipients = [ "contoso-bank.example" ]; smtp_dane = "mandatory"; },
  { name = "Gateway"; recipients = [ "gw-partner.example" ]; smtp_dane = "none"; mta_sts = "none"; } );
END
cat >"$work/bad.conf" <<END
usr = "nobody";
control = { socket = "unix:$work/control.sock"; };
connectors = ( { name = "x"; recipients = [ "a..b" ]; smtp_dane = "sure"; } );
END

verbs="check connectors cache trace held mode audit tables setup doctor sweep status reload config"

# usage
expect 2 "a verb is missing"
expect 2 "no verb \"fly\"" fly
expect 2 "did you mean \"check\"" chekc
expect 2 "unknown option" --sideways
expect 2 "--sideways" check --sideways x.example
expect 2 "that is: danelaw check" check
expect 2 "takes no --from" tables --from a@b.example
expect 2 "takes no --all" status --all
expect 2 "takes no --sts" connectors --sts
expect 2 "that is: danelaw cache" cache drop x.example
expect 2 "that is: danelaw cache" cache show x.example y.example
expect 2 "takes no --check" check --check x.example
expect 2 "that is: danelaw status" status now
expect 2 "that is: danelaw connectors" connectors count
expect 2 "that is: danelaw connectors" connectors show
expect 2 "only goes with" connectors list --from a@b.example
expect 2 "takes no --limit" held --limit 3
expect 2 "takes no --dane" connectors --dane none
expect 2 "takes no --mixed" doctor --mixed postfix
expect 2 "takes no --dry-run" tables -n
expect 2 "mode: unknown option, or its argument is missing: --sts" mode Gateway --sts
expect 2 "cache takes no --for" cache --sts --for 2h
expect 2 "that is: danelaw trace" trace bo@contoso-bank.example
expect 2 "that is: danelaw held" held list Gateway
expect 2 "that is: danelaw mode" mode
expect 2 "that is: danelaw mode" mode Contoso Bank
expect 2 "that is: danelaw audit" audit all
expect 2 "that is: danelaw sweep" sweep now
expect 2 "that is: danelaw doctor" doctor
expect 2 "that is: danelaw doctor" doctor exim
expect 2 "neither an address" trace --to @
expect 2 "--domain" trace --domain a..b
expect 2 "write deliver, hold, bounce, fallback or pass" trace --verdict held
expect 2 "write \"30m\", \"24h\" or \"7d\"" trace --since yesterday
expect 2 "no number" trace --limit 0
expect 2 "that is: danelaw held forget" held forget
expect 2 "that is: danelaw held forget" held forget --all --to a@b.example
expect 2 "a mode is opportunistic, mandatory or none" mode Gateway --dane weak
expect 2 "--clear goes with no other option" mode Gateway --clear --dane none
expect 2 "exclude each other" mode Gateway --dane none --for 2h --permanent
expect 2 "--for takes 1s to 7d" mode Gateway --dane none --for 8d
expect 2 "want --dane or --sts" mode Gateway --for 2h
expect 2 "that is: danelaw setup postfix" setup exim
expect 2 "that is: danelaw config test" config show
expect 2 "status takes no --probe" status --probe
expect 2 "that is no address" -c "$work/good.conf" check postmaster@
expect 2 "a..b" -c "$work/good.conf" check a..b
quiet out

# help
expect 0 "VERB" --help
quiet err
for verb in $verbs; do
    grep -q "^  $verb " "$work/out" || { echo "FAILED: --help lacks $verb"; failures=$((failures + 1)); }
done
for verb in $verbs; do
    expect 0 "danelaw [-c FILE] [--json] $verb" "$verb" --help
    expect 0 "danelaw [-c FILE] [--json] $verb" --help "$verb"
    quiet err
done
expect 0 "danelaw " --version

# config test
expect 0 "the configuration is good, with 2 connectors" -c "$work/good.conf" config test
expect 0 "the configuration is good" config test -c "$work/good.conf"
expect 0 "the configuration is good" config test --config="$work/good.conf"
expect 78 "bad.conf:1: usr: " -c "$work/bad.conf" config test
quiet out
expect 78 "bad.conf:3: connector \"x\": smtp_dane: " -c "$work/bad.conf" config test
expect 78 "bad.conf:3: connector \"x\": recipients: " -c "$work/bad.conf" config test
expect 78 "nowhere.conf" -c "$work/nowhere.conf" config test

# no daemon
expect 69 "$work/control.sock" -c "$work/good.conf" status
expect 69 "not running" -c "$work/good.conf" connectors
expect 69 "not running" -c "$work/good.conf" reload
expect 69 "not running" -c "$work/good.conf" cache
expect 69 "not running" -c "$work/good.conf" cache flush x.example --sts
expect 69 "not running" -c "$work/good.conf" mode Gateway
expect 69 "not running" -c "$work/good.conf" mode Gateway --dane mandatory
expect 69 "not running" -c "$work/good.conf" held forget --all
expect 69 "$work/control.sock" -c "$work/bad.conf" status       # a bad configuration must not hide the daemon
expect 78 "nowhere.conf" -c "$work/nowhere.conf" status
quiet out
printf 'control = { socket = "unix:%s"; };\nuser = ;\n' "$work/control.sock" >"$work/broken.conf"     # where is the daemon?
for verb in reload status connectors; do
    expect 78 "broken.conf:2: " -c "$work/broken.conf" "$verb"
    quiet out
done

# tables, setup
expect 0 "there is no table to write" -c "$work/good.conf" tables
expect 0 "there is no table to write" -c "$work/good.conf" tables --check
expect 78 "bad.conf:1" -c "$work/bad.conf" tables
expect 78 "bad.conf:1" -c "$work/bad.conf" setup postfix
expect 78 "nowhere.conf" -c "$work/nowhere.conf" setup postfix
expect 78 "bad.conf:1" -c "$work/bad.conf" setup sendmail
expect 0 "sendmail/danelaw.m4')dnl" -c "$work/good.conf" setup sendmail
expect 0 'tables.mta is "none": write tables = { mta = "sendmail"; }' -c "$work/good.conf" setup sendmail

# doctor
expect 2 "doctor postfix|sendmail" -c "$work/good.conf" doctor exim
expect 78 "bad.conf:1" -c "$work/bad.conf" doctor sendmail
expect 75 "$work/sendmail.cf: cannot be opened" -c "$work/good.conf" doctor sendmail --config-dir "$work"

# check, where nothing can be looked up
expect 78 "bad.conf:1" -c "$work/bad.conf" check x.example
expect 75 "THE RESOLVER CAN PROVE NOTHING" -c "$work/good.conf" check bo@contoso-bank.example
expect 75 "verdict       hold" -c "$work/good.conf" check bo@contoso-bank.example
expect 75 '"connector":"Gateway"' -c "$work/good.conf" --json check bo@contoso-bank.example gw-partner.example
[ "$(wc -l <"$work/out")" = 2 ] || { echo "FAILED: not one line a name"; failures=$((failures + 1)); }
expect 75 "MTA-STS       unknown: the root" -c "$work/good.conf" check gw-partner.example
expect 0 "MTA-STS       absent: an address literal" -c "$work/good.conf" check 'bo@[192.0.2.1]'
if [ ! -e "$("$DANELAW" --help | sed -n 's/.*instead of //p')" ]; then
    expect 75 "going by the presets" check 'bo@x.example'
fi
expect 0 "DANE          absent" -c "$work/good.conf" check 'bo@[192.0.2.1]'

[ "$failures" = 0 ]
