"""The chapters, in the order in which they run."""

import states                   # noqa: F401
import ways                     # noqa: F401
import rules                    # noqa: F401
import forms                    # noqa: F401
import sites                    # noqa: F401
import roads                    # noqa: F401
import sts                      # noqa: F401
import fallback                 # noqa: F401
import hold                     # noqa: F401
import sweep                    # noqa: F401
import trace                    # noqa: F401
import shadow                   # noqa: F401
import mode                     # noqa: F401
import command                  # noqa: F401
import doctor                   # noqa: F401
import probe                    # noqa: F401
import load                     # noqa: F401
import life                     # noqa: F401
import storms                   # noqa: F401
import sendmail_states          # noqa: F401
import sendmail_ways            # noqa: F401
import sendmail_roads           # noqa: F401
import sendmail_rules           # noqa: F401
import sendmail_tables          # noqa: F401
import sendmail_doctor          # noqa: F401
import unlucky                  # noqa: F401
