divert(-1)
dnl #
dnl # danelaw.m4: mandatory DANE and MTA-STS for Sendmail, decided by danelawd(8).
dnl #
dnl # In sendmail.mc, behind the last MAILER line:
dnl #
dnl #	include(`/usr/share/danelaw/sendmail/danelaw.m4')
dnl #
dnl # "danelaw setup sendmail" prints this line and all that belongs to it, with the paths of danelaw.conf.  Works
dnl # with Sendmail 8.17.1 (Debian 12, no DANE compiled in) and 8.18; needs SOCKETMAP and STARTTLS.
dnl #
dnl # How it works:
dnl #
dnl #   route   For each recipient in another domain, at RCPT and again at each queue run, the rules ask which
dnl #           road the mail takes: the MTA's own (mailertable and all), a mailer and a host, or none for now.
dnl #   gate    Before each RCPT on the wire they ask whether this connection may have this recipient.  danelawd
dnl #           knows the recipient, the host and the fingerprint of the certificate that Sendmail was shown.
dnl #           For a mandatory recipient they ask already when the connection stands, before MAIL FROM: Sendmail
dnl #           reports a refusal of LOCAL_TLS_RCPT with the worst status of the whole message, so that behind
dnl #           another recipient's "User unknown" a deferral would become a bounce; that of LOCAL_TLS_SERVER is
dnl #           what its text says.  Its price: the message's other recipients with the same MX hosts wait along
dnl #           (until route, after five minutes, takes the one out that is held), and this mailer leaves the host
dnl #           alone until the process ends; so in a queue run, a message with one recipient is left to
dnl #           LOCAL_TLS_RCPT all the same.  They also ask then for a bounce to any other connector's recipient, made
dnl #           in the process in which the message failed: its deferral would be that failure once more.
dnl #
dnl # Both ask only for recipients that the generated map names (makemap hash; "danelaw tables" writes it):
dnl #
dnl #   mandatory   no mail without danelawd's word: while it does not answer, these are deferred
dnl #   road        a connector with a mailer or a fallback of its own: route and gate are asked, but while nobody
dnl #               answers, the mail goes the MTA's way
dnl #   named       another connector: only the gate is asked; while nobody answers, the mail goes the MTA's way
dnl #   own         a domain of this site that a wildcard must not swallow: left alone
dnl #
dnl # with keys user@d, d, .d (all below d) and "." (everyone), in this order.  Mail for everybody else never asks,
dnl # and so never waits for danelawd, unless the map cannot be read: then all are taken for mandatory.  Local names
dnl # (class w), virtual hosts, and relayed domains (class R, unless the map names just them) are left alone, as are
dnl # the mailertable, the access map and all other local rules.
dnl #
dnl # Why so many small rulesets: where a rule cannot be carried out (an answer that cannot be parsed, or is too
dnl # long), Sendmail leaves the ruleset, and takes what it has until then for "OK".  Here each look-up sits in a
dnl # ruleset of its own; what comes back without a mark that was set on purpose is no answer.  The markers
dnl # <> <> <> <> only take room, so that the rule behind them never makes its line longer.
dnl #
dnl # What may be defined before the include:

ifdef(`DANELAW_MAP_SOCKET',,	`define(`DANELAW_MAP_SOCKET', `local:/run/danelaw/map.sock')')
ifdef(`DANELAW_MANDATORY_MAP',,	`define(`DANELAW_MANDATORY_MAP', `/var/lib/danelaw/sendmail/mandatory')')

dnl # hash or btree, as tables.type of danelaw.conf has it.
ifdef(`DANELAW_MANDATORY_TYPE',,	`define(`DANELAW_MANDATORY_TYPE', `hash')')

dnl # Seconds; more than maps.budget of danelaw.conf.
ifdef(`DANELAW_TIMEOUT',,	`define(`DANELAW_TIMEOUT', `5')')

dnl # The mailers that an answer may name: danesmtp, and each transport in danelaw.conf's group "routes".
ifdef(`DANELAW_MAILERS',,	`define(`DANELAW_MAILERS', `danesmtp smtp esmtp smtp8 dsmtp relay')')

dnl # TCP with $h; a third word is the port.
ifdef(`DANELAW_MAILER_ARGS',,	`define(`DANELAW_MAILER_ARGS', `TCP $h')')

dnl # A partner's domain stays what it is: a CNAME of DNS must not lead to a name that nobody has a connector for.
define(`confDONT_EXPAND_CNAMES', `True')

dnl # The fingerprint of the certificate; TLSA records know SHA-256.
define(`confCERT_FINGERPRINT_ALGORITHM', `sha256')

ifdef(`_MAILER_smtp_',, `errprint(`*** ERROR: danelaw.m4: no SMTP mailer yet; include it behind the MAILER lines
')')
divert(0)dnl
VERSIONID(`danelaw.m4')
MAILER_DEFINITIONS
dnl # As esmtp; a name of its own, so that the log shows whose road it was.
Mdanesmtp,	P=[IPC], F=_MODMF_(CONCAT(_DEF_SMTP_MAILER_FLAGS, `a', SMTP_MAILER_FLAGS), `ESMTP'), S=EnvFromSMTP/HdrFromSMTP, R=ifdef(`_ALL_MASQUERADE_', `EnvToSMTP/HdrFromSMTP', `EnvToSMTP'), E=\r\n, L=SMTP_MAILER_LL,
		T=DNS/RFC822/SMTP,
		A=DANELAW_MAILER_ARGS

LOCAL_CONFIG
dnl # -f: queue ids are case sensitive.  -q: without its quotes a local part could be written so that the parts of the
dnl # key end elsewhere.  -t, -T: a look-up that fails is for the rules below to judge.
Kdanelaw socket -f -t -q -d`'DANELAW_TIMEOUT -T<TMPF> DANELAW_MAP_SOCKET
Kdanelaw_mandatory DANELAW_MANDATORY_TYPE -t -T<TMPF> DANELAW_MANDATORY_MAP
C{DanelawMailers}DANELAW_MAILERS

LOCAL_RULE_0
R$*			$: $>DanelawRoad $1		mandatory partners and their roads

LOCAL_TLS_SERVER
R$*			$: $>DanelawServer $1		may this connection have mandatory mail?

LOCAL_TLS_RCPT
R$*			$: $>DanelawGate $1		may this connection have this recipient?

LOCAL_RULESETS
###################################################################
###  DanelawKind: what the generated map says			###
###								###
###	u @ d  ->  <mandatory> <road> <named> <own> <none>,	###
###	or something else where the map cannot be read		###
###################################################################
SDanelawKind
R$* @ $* .		$: $1 @ $2
R$* @ $*		$: <$(danelaw_mandatory $1 @ $2 $: none $)> <$2>
R<none> <$*>		$: <$(danelaw_mandatory $1 $: none $)> <$1>
R<none> <$* $=R>	$@ <own>			we relay for it, and it is not named
R<none> <$* . $+>	<$(danelaw_mandatory . $2 $: none $)> <$2>	one parent after the other
R<none> <$*>		$: <$(danelaw_mandatory . $: none $)> <$1>	everyone
R<mandatory> <$*>	$@ <mandatory>
R<road> <$*>		$@ <road>
R<named> <$*>		$@ <named>
R<own> <$*>		$@ <own>
R<none> <$*>		$@ <none>
R<$*> <$*>		$@ <trouble>
R$*			$@ <none>			no domain

###################################################################
###  DanelawText: "REASON : sentence", readable again: Sendmail	###
###  drops the blank behind a colon				###
###################################################################
SDanelawText
R$- : $+		$@ $1 ": " $2

###################################################################
###  DanelawAskRoute: u @ d  ->  <pass>, <road> <mailer> host,	###
###  <hold> and <bounce> with status and text, or anything else	###
###################################################################
SDanelawAskRoute
R$* @ $* .		$: $1 @ $2
R$*			$: $(danelaw route <$1> <$&f> <$&i> $: none $)
R$* <TMPF>		$@ <trouble>
Rpass			$@ <pass>
R$={DanelawMailers} : $+	$@ <road> <$1> $2
Rerror : 4 . $- . $- : 451 $+	$@ <hold> <> <> <> <> 4 . $1 . $2 $>DanelawText $3
Rerror : 5 . $- . $- : 550 $+	$@ <bounce> <> <> <> <> 5 . $1 . $2 $>DanelawText $3
R$*			$@ <trouble>

###################################################################
###  DanelawRoad: a parsed address  ->  the same, or where it	###
###  goes; in front of the mailertable				###
###################################################################
SDanelawRoad
R$*			$: <$&{addr_type}> $1
R<e r> $* < @ $=w > $*		$@ $1 < @ $2 > $3	local
R<e r> $* < @ $=w . > $*	$@ $1 < @ $2 . > $3
ifdef(`_VIRTHOSTS_', `dnl
R<e r> $* < @ $={VirtHost} > $*	$@ $1 < @ $2 > $3	virtual
R<e r> $* < @ $={VirtHost} . > $*	$@ $1 < @ $2 . > $3', `dnl')
R<e r> $* < @ $+ > $*		$: <?> $1 < @ $2 > $3 $| $>DanelawKind $1 @ $2
R<e $*> $*		$@ $2				a sender, or no domain
R<h $*> $*		$@ $2				a header
R<> $*			$@ $1
R<?> $* $| <none>	$@ $1
R<?> $* $| <own>	$@ $1
R<?> $* $| <named>	$@ $1				the gate will ask
R<?> $* < @ $+ > $* $| <road>	$: <other> $1 < @ $2 > $3 $| $>DanelawAskRoute $1 @ $2
R<?> $* < @ $+ > $* $| $*	$: <mandatory> $1 < @ $2 > $3 $| $>DanelawAskRoute $1 @ $2	also without a map
R<?> $*			$#error $@ 4.7.5 $: "451 internal: the recipient cannot be asked about"
R<$-> $* $| <pass>	$@ $2
R<$-> $* < @ $+ > $* $| <road> <$-> $+	$#$5 $@ $6 $: $2 < @ $3 > $4
R<$-> $* $| <hold> <> <> <> <> $- . $- . $- $*	$#error $@ $3 . $4 . $5 $: "451 " $6
R<$-> $* $| <bounce> <> <> <> <> $- . $- . $- $*	$#error $@ $3 . $4 . $5 $: "550 " $6
R<other> $* $| $*	$@ $1
R<mandatory> $* $| $*	$#error $@ 4.7.5 $: "451 internal: danelawd does not answer"

###################################################################
###  DanelawAskGate: u @ d  ->  <pass>, <hold> or <bounce> with	###
###  a text, or anything else					###
###################################################################
SDanelawAskGate
R$*			$: $(danelaw gate <$1> <$&f> <$&i> <$&{verify}> <$&{server_name}> <$&{server_addr}> <$&{tls_version}> <$&{cert_fp}> $: none $)
R$* <TMPF>		$@ <trouble>
Rpass			$@ <pass>
Rbounce $- : $+		$@ <bounce> <> <> <> <> <> $>DanelawText $1 : $2
R$- : $+		$@ <hold> <> <> <> <> <> $>DanelawText $1 : $2
R$*			$@ <trouble>

###################################################################
###  DanelawServer: a connection that is about to be used	###
###								###
###	${verify}  ->  the same, or why not; $u is one of the	###
###	recipients, all of which have the same mailer and host	###
###################################################################
SDanelawServer
R$*			$: <?> $1 $| $>DanelawKind $&u
R<?> $* $| <mandatory>	$: <mandatory> $1 $| $>DanelawAskGate $&u
R<?> $* $| <named>	$: <?> <$&f> $1 $| $&u
R<?> $* $| <road>	$: <?> <$&f> $1 $| $&u
R<?> $* $| <$*>		$@ $1
R<?> <$&n> $* $| $*	$: <ours> $1 $| $>DanelawAskGate $2	our own bounce, whose status is the failure's
R<?> <$*> $* $| $*	$@ $2				the recipients are enough
R<ours> $* $| <hold> <> <> <> <> <> $*	$#error $@ 4.7.5 $: "451 " $2
R<ours> $* $| $*	$@ $1
R<mandatory> $* $| <pass>	$@ $1 $(macro {DanelawPassed} $@ <$&u> <$&i> <$&{server_name}> <$&{server_addr}> <$&{cert_fp}> $)
R<mandatory> $* $| <bounce> $*	$@ $1			the recipient says it
R<mandatory> NONE $| <hold> $*	$: <> <> NONE $| <hold> $1	no TLS: if the access map wants none, a bounce
R<mandatory> $* $| <hold> $*	$: <$&{opMode}> <$&{nrcpts}> $1 $| <hold> $2
R<q> <1> $* $| <hold> $*	$@ $1			so does it
R<$*> <$*> $* $| <hold> <> <> <> <> <> $*	$#error $@ 4.7.5 $: "451 " $4
R$*			$#error $@ 4.7.5 $: "451 internal: danelawd does not answer"

###################################################################
###  DanelawGate: a recipient about to go on the wire  ->  the	###
###  same, or why not						###
###################################################################
SDanelawGate
R$*			$: <?> $1 $| $>DanelawKind $1
R<?> $* $| <none>	$@ $1
R<?> $* $| <own>	$@ $1
R<?> $* $| <mandatory>	$: <mandatory> $1 $| <$1> <$&i> <$&{server_name}> <$&{server_addr}> <$&{cert_fp}>
R<mandatory> $* $| $&{DanelawPassed}	$@ $1		has just been asked
R<mandatory> $* $| $*	$: <strict> $1 $| $>DanelawAskGate $1
R<?> $* $| <road>	$: <other> $1 $| $>DanelawAskGate $1
R<?> $* $| <named>	$: <other> $1 $| $>DanelawAskGate $1
R<?> $* $| $*		$: <strict> $1 $| $>DanelawAskGate $1	the map cannot be read: all are asked about
R<?> $*			$#error $@ 4.7.5 $: "451 internal: the recipient cannot be asked about"
R<$-> $* $| <pass>	$@ $2
R<$-> $* $| <hold> <> <> <> <> <> $*	$#error $@ 4.7.5 $: "451 " $3
R<$-> $* $| <bounce> <> <> <> <> <> $*	$#error $@ 5.0.0 $: "550 5.7.5 " $3
R<other> $* $| $*	$@ $1
R$*			$#error $@ 4.7.5 $: "451 internal: danelawd does not answer"

ifdef(`_TLS_SESSION_FEATURES_',, `ifdef(`_MTA_STS_',, `dnl
###################################################################
###  Partners with several certificates want to be told whose	###
###  (a site with its own tls_clt_features says so there)	###
###################################################################
Stls_clt_features
R$*			$@ "servername=hostname"
')')
divert(0)dnl
