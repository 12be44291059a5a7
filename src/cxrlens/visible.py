r"""Text from elsewhere, shown so that it cannot act: what steers a terminal or turns writing round is spelt.

A film may be called ``\x1b[2J`` and clear the screen, or end in ``gnp.exe`` read backwards. In tables, which
are data, names stay as they are.
"""

import unicodedata

_JOINERS = "\u200c\u200d"
"""Persian and Indian scripts need them; they act on their neighbours alone."""


def visible(text: str, keep: str = "") -> str:
    r"""Write out control and format characters and lone surrogates of a text as Python does.

    Parameters
    ----------
    text
        Whatever it is.
    keep
        Characters that stay, for example the ends of lines.

    Examples
    --------
    >>> print(visible("a\x1b[2Jb\u202egnp.exe"))
    a\x1b[2Jb\u202egnp.exe
    >>> visible("Zoë 胸片.png")
    'Zoë 胸片.png'
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in keep else _written_out(one) for one in text)


def _written_out(one: str) -> str:
    acts = unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") and one not in _JOINERS
    return one.encode("unicode_escape").decode() if acts else one
