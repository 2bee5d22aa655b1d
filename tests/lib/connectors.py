"""Connectors as the tests write them."""

import table


def connector(name, recipients, **more):
    patterns = [recipients] if isinstance(recipients, str) else list(recipients)
    return {"name": name, "recipients": patterns, **more}


def mandatory(*recipients, name=None, **more):
    return connector(name or f"strict {recipients[0]}", recipients, smtp_dane="mandatory", **more)


def opportunistic(*recipients, name=None, **more):
    return connector(name or f"lax {recipients[0]}", recipients, smtp_dane="opportunistic", **more)


def nothing(*recipients, name=None, **more):
    """Asks for nothing at all: none, none, site."""
    return connector(name or f"none {recipients[0]}", recipients, smtp_dane="none", mta_sts="none", **more)


def each(kind, partners=table.PARTNERS, **more):
    """One connector for each partner, named after it."""
    return [kind(p.domain, name=p.name, **more) for p in partners]
