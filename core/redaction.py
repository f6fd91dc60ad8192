"""Takes secrets, addresses and names of accounts out of texts that others have written."""

import re

_CHARACTERS = 300
_READ_CHARACTERS = 4_000
_GAP = "[…]"
_SECRETS = re.compile(
    r"""
      \b(?:bearer|basic)\s+\S+                              # credentials of a header
    | \b(?:sk|rk|pk|org|proj|user|key|asst|acct)[-_][\w.*-]{4,}   # keys and accounts of OpenAI and others
    | \bAIza[\w-]{10,}                                      # keys of Google
    | \b[a-z][a-z\d+.-]*://\S+                              # addresses, with what they carry along
    | /(?:subscriptions|projects|organizations)/\S+         # resources of Azure and Google
    | [\w.+-]+@[\w-]+(?:\.[\w-]+)+                          # mail addresses
    | \b[\w-]+(?:\.[\w-]+)+\.[a-z]{2,}(?::\d+)?\b           # names of hosts
    | \b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b                  # their numbers
    | \b[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}\b          # names of tenants and subscriptions
    | \b(?=[\w+/=-]*\d)[\w+/=-]{24,}                        # whatever else is long and random
    | (?P<mark>["'`“])[^"'`”]{60,}(?:["'`”]|$)              # quotations of what was asked
    """,
    re.VERBOSE | re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return the beginning of a text on one line, with a mark for each thing that is nobody's business."""
    return _SECRETS.sub(_GAP, " ".join(text[:_READ_CHARACTERS].split()))[:_CHARACTERS]
