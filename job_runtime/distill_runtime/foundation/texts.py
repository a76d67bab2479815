"""Texts as numbers, where millions of them are held against each other."""

import hashlib


def text_digest(text: str, size: int) -> bytes:
    """Shorten a text to so many bytes; a text of a file may have halves of surrogate pairs, which UTF-8 does not."""
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=size).digest()


def text_fingerprint(text: str) -> int:
    """Shorten a text to 64 bits; two of ten million collide with a probability of 3 in a million."""
    return int.from_bytes(text_digest(text, 8), "little")
