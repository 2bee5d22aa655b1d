divert(-1)
dnl #
dnl # danelaw-mailfrom.m4: asks before MAIL FROM, for every recipient that a connector names.
dnl #
dnl # In sendmail.mc, behind the line that includes danelaw.m4:
dnl #
dnl #	include(`/usr/share/danelaw/sendmail/danelaw-mailfrom.m4')
dnl #
dnl # danelaw.m4 alone asks about recipients of opportunistic connectors before RCPT, when a host that fails its own
dnl # DANE or MTA-STS has seen the sender's address already; and where a message has another recipient that was
dnl # refused for good, Sendmail turns the deferral into a bounce.  (Mandatory recipients know neither.)  With this
dnl # file such a host sees EHLO and STARTTLS, and then QUIT.
dnl #
dnl # The price: where a connection is refused, the mailer leaves the host alone until the process (one message, or
dnl # one queue run) ends, also for domains that ask for nothing; they go with the next queue run.
dnl #
ifdef(`DANELAW_MAP_SOCKET',, `errprint(`*** ERROR: danelaw-mailfrom.m4: include it behind danelaw.m4
')')
divert(0)dnl
VERSIONID(`danelaw-mailfrom.m4')
LOCAL_TLS_SERVER
R$*			$: $>DanelawServerNamed $1	may this connection have mail of a connector?

LOCAL_RULESETS
###################################################################
###  DanelawServerNamed: as DanelawServer, for the other	###
###  connectors							###
###################################################################
SDanelawServerNamed
R$*			$: <?> $1 $| $>DanelawKind $&u
R<?> $* $| <road>	$: <named> $1 $| $>DanelawAskGate $&u
R<?> $* $| <named>	$: <named> $1 $| $>DanelawAskGate $&u
R<named> $* $| <hold> <> <> <> <> <> $*	$#error $@ 4.7.5 $: "451 " $2
R<$-> $* $| $*		$@ $2
divert(0)dnl
