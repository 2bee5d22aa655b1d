"""The danelaw command as an administrator meets it."""

import connectors
from lab import wait_until
from trial import chapter, expect

RULES = [connectors.mandatory("unsigned.example"), connectors.mandatory("boss@good311.example"),
         connectors.opportunistic("*.good301.example", senders=["al@sender.example"])]


@chapter
def command(lab, book):
    """exit statuses, and what the verbs say"""
    lab.rules(RULES)
    for words, status in (("check good311.example", 0), ("check unsigned.example", 1),
                          ("check good311.example unsigned.example", 1), ("check", 2), ("nonsense", 2),
                          ("connectors", 0), ("connectors show nobody", 1), ("tables --check", 0),
                          ("config test", 0), ("setup postfix", 0), ("status", 0), ("reload", 0)):
        with book.test(f"danelaw {words}: exit {status}"):
            done = lab.danelawd.cli(*words.split())
            expect(done.returncode == status, f"exit {done.returncode}", done.stdout, done.stderr)
    for address, sender, name in (("u@unsigned.example", None, "strict unsigned.example"),
                                  ("BOSS@good311.example", None, "strict boss@good311.example"),
                                  ("clerk@good311.example", None, "(default)"),
                                  ("u@a.good301.example", "al@sender.example", "lax *.good301.example"),
                                  ("u@a.good301.example", "bo@sender.example", "(default)")):
        with book.test(f"danelaw connectors match {address} from {sender or 'anyone'}: {name}"):
            found = lab.danelawd.ask("connectors", "match", address, *(["--from", sender] if sender else []))
            expect([c["name"] for c in found] == [name], found)
    with book.test("danelaw check ADDRESS judges with the address's own connector"):
        answer = lab.danelawd.ask("check", "boss@good311.example")[0]
        expect(answer["connector"] == "strict boss@good311.example" and answer["policy"] == "dane-only", answer)
    with book.test("danelaw check [HOST]:PORT looks up no MX"):
        answer = lab.danelawd.ask("check", "[mx.good311.example]:25")[0]
        dane = answer["dane"]
        expect(dane["state"] == "usable" and dane["mx"][0]["host"] == "mx.good311.example", answer)
    with book.test("danelaw check names the link of the chain that fails"):
        answer = lab.danelawd.ask("check", "bogus.example")[0]
        failing = [link["zone"] for link in answer["chain"] if link["state"] != "secure"]
        expect(failing == ["bogus.example"], answer)
    with book.test("danelaw check --json: all the keys that scripts rely on"):
        answer = lab.danelawd.ask("check", "good311.example")[0]
        wanted = {"name", "domain", "next_hop", "connector", "dane", "sts", "tlsrpt", "verdict", "policy",
                  "reason", "route", "chain", "probe"}
        expect(set(answer) == wanted, set(answer) ^ wanted)
        record = answer["dane"]["mx"][0]["tlsa"][0]
        expect(set(record) == {"usage", "selector", "matching", "data", "usable", "why"}, answer)
    with book.test("the socketmap's explain table answers in one line"):
        def explained():
            status, answer = lab.postfix.map("explain", "u@unsigned.example")
            return None if "looking" in answer else (status, answer)
        status, answer = wait_until(explained, 20, "the state")
        expect(status == 0 and "dane-required" in answer and "\n" not in answer, status, answer)
    with book.test("the log has one line for each decision, in the documented form"):
        line = lab.danelawd.about('connector="strict')[-1]
        words = "to=< from=< connector= dane= sts= verdict= reason= route= policy= took="
        places = [line.find(w) for w in words.split()]
        expect(-1 not in places and places == sorted(places), line)
    lab.danelawd.kill()
    for argv, status in ((("status",), 69), (("reload",), 69), (("check", "good311.example"), 0)):
        with book.test(f"without danelawd: danelaw {argv[0]}: exit {status}"):
            done = lab.danelawd.cli(*argv)
            expect(done.returncode == status, f"exit {done.returncode}", done.stdout, done.stderr)
    with book.test("without a configuration: exit 78"):
        expect(lab.danelawd.cli("check", "good311.example", conf="/nonexistent").returncode == 78)
