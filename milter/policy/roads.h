#ifndef DANELAW_POLICY_ROADS_H
#define DANELAW_POLICY_ROADS_H

#include "policy/ruleset.h"

/*
 * Which road mail takes by the generated table, that can't see senders; and, seen from a road, whose mail is on it.
 * Pure. Both sides live here so that they can't come to differ.
 */

/* The transports that conf/postfix describes. */
#define ROAD_DANE "danelaw-dane"
#define ROAD_STS "danelaw-sts"
#define ROAD_OPPORTUNISTIC "danelaw"
/* The mailer that conf/sendmail describes; all roads lead there, and a gate asks for each recipient. */
#define ROAD_SENDMAIL "danesmtp"

/* What the table says for a key. */
struct road {
    const struct route *route;          /* NULL: the table needs no line */
    bool strict;                        /* some mandatory connector's mail is on it */
    const struct connector *hosts_of;   /* the connector whose smart hosts mail goes to; NULL: each domain's own hosts */
};

/*
 * The strictest of all connectors that may rule mail under key, whoever sends it: any mandatory one puts it on its road.
 * key is a pattern as recipients list it; `*` never has a line.
 */
struct road road_of(const struct ruleset *rules, const struct pattern *key);
/*
 * The same where Postfix takes user@d's line for user+extension@d, too (recipient_delimiter): mail with an extension is
 * ruled by d's connector, so that user@d can't have a laxer road than d.
 */
struct road road_of_extended(const struct ruleset *rules, const struct pattern *key);
/* The same for one recipient's address. */
struct road road_of_address(const struct ruleset *rules, const struct address *to);
/* What `*` says, that has no line but is the MTA's default; no route where no connector for everyone asks for anything. */
struct road road_of_everyone(const struct ruleset *rules);

/*
 * The connectors whose mail is on this transport when it is on its way to this next hop; where there is none, the most
 * specific one without senders that covers the whole domain, else (default) (not for ROAD_STS: then none).
 * Added to ret, in no order.
 */
void road_askers(const struct ruleset *rules, const char *transport, const struct next_hop *hop, struct connector_list *ret);

#endif
