"""The printable alphabet that byte-level tokenizers write bytes in (GPT-2's `bytes_to_unicode`).

A byte that is a printable character of Latin-1 stands for itself; the other 68 are numbered from U+0100 on.
"""

_PRINTABLE = (*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1))
_OTHERS = [value for value in range(256) if value not in _PRINTABLE]
_BYTE_OF = {chr(value): value for value in _PRINTABLE} | {
    chr(256 + position): value for position, value in enumerate(_OTHERS)
}


def token_bytes(token: str) -> bytes:
    """Give the bytes that a token of a vocabulary stands for.

    Raises:
        KeyError: for a character outside of the alphabet.
    """
    return bytes(_BYTE_OF[character] for character in token)
