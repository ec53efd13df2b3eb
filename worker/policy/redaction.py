r"""No secret in a text, in whatever spelling: what is known to be one, and what looks like a login in a URL.

A response may repeat the key as JSON spells it (``\/``, ``\u002b``), percent-encoded once or twice, as HTML, in
hexadecimal or base64, with other letters' case, with separators in it, or cut short. So a text is decoded as often as
there is something to decode, and compared by its letters and digits alone; what is taken out is taken out of the text
as it came.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote, unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["REDACTED", "Redaction", "secrets_in_url"]

REDACTED: Final = "[redacted]"

_SHORTEST: Final = 6
"""Characters of a secret that is looked for by itself: a shorter one would spoil words, and can be guessed."""

_UNMISTAKABLE: Final = 12
"""Letters and digits, or half as many with a digit or of a key: no text has them by chance, whatever is in between."""

_LEAST_OF_ONE_CUT_SHORT: Final = 4
"""Letters and digits of a secret at the end of a text."""

_LAYERS: Final = 6
"""How many encodings on top of each other are taken off."""

_ENCODED: Final = re.compile(
    r"(?P<percent>(?:%[0-9A-Fa-f]{2})+)"
    r"|\\(?:u\{(?P<braced>[0-9A-Fa-f]{1,6})\}|u(?P<unicode>[0-9A-Fa-f]{4})|U(?P<long>[0-9A-Fa-f]{8})"
    r"|x(?P<hex>[0-9A-Fa-f]{2})|(?P<octal>[0-7]{3})|(?P<escaped>.))"
    r"|(?P<entity>&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});?)",
    re.DOTALL,
)
_CONTROLS: Final = frozenset("nrtbfv0a")

_WORTH_A_LOOK: Final = ("%", "\\", "&", "=", "://", "':", '":')

_LOWER: Final = bytes(code + 32 if 65 <= code <= 90 else code for code in range(256))  # noqa: PLR2004 - the codes of A to Z
_NOT_FOLDED: Final = bytes(code for code in range(128) if not chr(code).isalnum())
_OF_BASE64: Final = re.compile(r"[A-Za-z0-9+/=_-]")

_LOGIN: Final = re.compile(r"(?<=://)(?P<login>[^\s/?#\"'<>]+)@")
_NAME: Final = r"\w{0,40}?(?:password|passwd|secret|token|api_?key)\w{0,40}"
_AS_OPTION: Final = re.compile(rf"(?P<name>(?<!\w){_NAME}=)(?P<secret>'[^']*'|[^\s&;\"']+)", re.IGNORECASE)
_AS_MEMBER: Final = re.compile(
    rf"(?P<name>(?P<quote>['\"]){_NAME}(?P=quote)\s*:\s*b?)(?P<value>['\"])[^'\"]+(?P=value)", re.IGNORECASE
)
_NAMES: Final = ("password", "passwd", "secret", "token", "apikey", "api_key")
"""What `_NAME` looks for, one by one: nearly every text has none of them, which is seen sooner so."""
_HEADER: Final = "x-ax-key"
_IN_HEADER: Final = re.compile(r"(?P<name>X-AX-KEY['\"]?\s*[:=,]\s*b?['\"]?)(?P<key>[^\s'\",}]+)", re.IGNORECASE)


class _Spelling(NamedTuple):
    """A way to write a secret.

    Attributes:
        folded: Its letters and digits, in lower case.
        before: How many other characters stand before them.
        behind: How many stand behind them.
        blob: Whether all that is written without a break around it belongs to it.
    """

    folded: str
    before: int = 0
    behind: int = 0
    blob: bool = False


def secrets_in_url(url: str) -> set[str]:
    """Return what is secret in a URL, or in several that ``;`` divides, as it stands there and as it is meant.

    Of a login that is one word alone, that word: it is what redis-cli reads as the password.
    """
    found = set()
    for one in _LOGIN.finditer(url):
        user, colon, password = one["login"].partition(":")
        found.add(password if colon else user)
    found |= {one["secret"] for one in _AS_OPTION.finditer(url)}
    return {spelling for secret in found if secret for spelling in (secret, unquote(secret))}


class Redaction:
    """Takes secrets out of texts.

    Args:
        secrets: What is known to be secret.
        keys: Likewise, and looked for however short they are, and in any letters' case.
    """

    def __init__(self, secrets: Iterable[str] = (), *, keys: Iterable[str] = ()) -> None:
        keys = {key for key in keys if key}
        given = keys | {secret for secret in secrets if len(secret) >= _SHORTEST}
        known = {secret for secret in given if unquote(secret) == secret or unquote(secret) not in given}
        loosely = {secret for secret in known if _unmistakable(_folded(secret), key=secret in keys)}
        self._exactly = sorted(known - loosely, key=len, reverse=True)
        spellings = {spelling for secret in known for spelling in _spellings(secret, loosely=secret in loosely)}
        self._spellings = sorted(spellings, key=lambda spelling: len(spelling.folded), reverse=True)
        self._any = (*(spelling.folded for spelling in self._spellings), _folded(_HEADER))

    def __call__(self, text: str, *, cut: bool = False) -> str:
        """Return the text without what is secret.

        Args:
            text: Any text.
            cut: Whether it may end within a secret: only its beginning has come, or was kept.
        """
        if not cut and not self.may_be_needed(text):
            return text
        if spans := [*self._found(text, cut=cut)]:
            text = _without(text, spans)
        return _without_logins(text)

    def may_be_needed(self, text: str) -> bool:
        """Whether there is anything in a text that has to be looked at more closely; this is quick."""
        for sign in _WORTH_A_LOOK:
            if sign in text:
                return True
        for secret in self._exactly:
            if secret in text:
                return True
        folded = _folded(text)
        for spelling in self._any:  # noqa: SIM110 - `any` takes twice as long, for each line of a log
            if spelling in folded:
                return True
        return False

    def _found(self, text: str, *, cut: bool) -> Iterator[tuple[int, int]]:
        decoded = text
        for layer in range(_LAYERS):
            if any(map(decoded.__contains__, self._exactly)) or any(self._stands_in(_folded(decoded), cut=cut)):
                yield from self._spans(text, layer, cut=cut)
            if not _may_be_encoded(decoded):
                return
            before, decoded = decoded, _ENCODED.sub(_meant, decoded)
            if before == decoded:
                return

    def _stands_in(self, folded: str, *, cut: bool) -> Iterator[_Spelling]:
        for spelling in self._spellings:
            if spelling.folded in folded or (cut and _end_in(folded, spelling.folded)):
                yield spelling

    def _spans(self, text: str, layers: int, *, cut: bool) -> Iterator[tuple[int, int]]:
        """Where a secret stands in a text once so many layers are off; as places of the text itself."""
        placed = _Placed.of(text)
        for _ in range(layers):
            placed = placed.decoded()
        for secret in self._exactly:
            for at in _places(secret, placed.text):
                yield placed.begins[at], placed.ends[at + len(secret) - 1]
        folded, indices = placed.folded()
        for spelling in self._stands_in(folded, cut=cut):
            length = len(spelling.folded)
            for at in _places(spelling.folded, folded):
                yield placed.span(indices[at], indices[at + length - 1], spelling)
            if cut and (length := _end_in(folded, spelling.folded)):
                yield placed.span(indices[-length], indices[-1], spelling)


class _Placed(NamedTuple):
    """A text, and for each of its characters where it comes from."""

    text: str
    begins: list[int]
    ends: list[int]

    @classmethod
    def of(cls, text: str) -> _Placed:
        return cls(text, list(range(len(text))), list(range(1, len(text) + 1)))

    def decoded(self) -> _Placed:
        """Take one layer off."""
        parts: list[str] = []
        begins: list[int] = []
        ends: list[int] = []
        at = 0
        for encoded in _ENCODED.finditer(self.text):
            first, behind = encoded.span()
            meant = _meant(encoded)
            parts += (self.text[at:first], meant)
            begins += self.begins[at:first] + [self.begins[first]] * len(meant)
            ends += self.ends[at:first] + [self.ends[behind - 1]] * len(meant)
            at = behind
        parts.append(self.text[at:])
        return _Placed("".join(parts), begins + self.begins[at:], ends + self.ends[at:])

    def folded(self) -> tuple[str, list[int]]:
        """Return the letters and digits in lower case, and which character each of them is."""
        found = [(one, index) for index, character in enumerate(self.text) for one in _folded(character)]
        return "".join(one for one, _ in found), [index for _, index in found]

    def span(self, first: int, last: int, spelling: _Spelling) -> tuple[int, int]:
        """Return from where to where a spelling stands whose first and last letter these are."""
        for _ in range(len(self.text) if spelling.blob else spelling.before):
            if first and self._belongs(first - 1, spelling):
                first -= 1
        for _ in range(len(self.text) if spelling.blob else spelling.behind):
            if last + 1 < len(self.text) and self._belongs(last + 1, spelling):
                last += 1
        return self.begins[first], self.ends[last]

    def _belongs(self, index: int, spelling: _Spelling) -> bool:
        character = self.text[index]
        return bool(_OF_BASE64.match(character)) if spelling.blob else not (character.isalnum() or character.isspace())


def _places(what: str, text: str) -> Iterator[int]:
    at = text.find(what)
    while at >= 0:
        yield at
        at = text.find(what, at + len(what))


def _spellings(secret: str, *, loosely: bool) -> Iterator[_Spelling]:
    if loosely:
        yield _letters_of(secret)
        # Where the secret itself looks as if it were encoded, decoding a text decodes it too.
        if (meant := _ENCODED.sub(_meant, secret)) != secret and len(_folded(meant)) >= _SHORTEST:
            yield _letters_of(meant)
    content = secret.encode(errors="surrogatepass")
    if len(content) < _SHORTEST:
        return
    yield _Spelling(content.hex())
    for ahead in range(3):  # bytes of something else in the group of three in which it begins
        encoded = b64encode(bytes(ahead) + content).decode().rstrip("=")
        mixed = -(ahead + len(content)) % 3 != 0  # the last character also has bits of what follows
        yield _Spelling(_folded(encoded[(0, 2, 3)[ahead] : len(encoded) - mixed]), blob=True)


def _letters_of(secret: str) -> _Spelling:
    first = next(index for index, character in enumerate(secret) if character.isalnum())
    behind = next(index for index, character in enumerate(reversed(secret)) if character.isalnum())
    return _Spelling(_folded(secret), before=first, behind=behind)


def _unmistakable(folded: str, *, key: bool) -> bool:
    enough = _SHORTEST if key or any(one.isdigit() for one in folded) else _UNMISTAKABLE
    return len(folded) >= enough


def _folded(text: str) -> str:
    if text.isascii():
        return text.encode().translate(_LOWER, _NOT_FOLDED).decode()
    return "".join(one for one in text.casefold() if one.isalnum())


def _end_in(folded: str, secret: str) -> int:
    """How many letters of the secret, not all, the text ends in; 0 if too few to be sure."""
    longest = min(len(folded), len(secret) - 1)
    if longest <= 0 or secret[:_LEAST_OF_ONE_CUT_SHORT] not in folded[-longest:]:
        return 0  # nearly always, and a twentieth of the time
    return next((n for n in range(longest, _LEAST_OF_ONE_CUT_SHORT - 1, -1) if folded.endswith(secret[:n])), 0)


def _may_be_encoded(text: str) -> bool:
    return "%" in text or "\\" in text or "&" in text


def _meant(encoded: re.Match[str]) -> str:
    """What an escape stands for."""
    if run := encoded["percent"]:
        return unquote_to_bytes(run).decode(errors="replace")
    if entity := encoded["entity"]:
        import html  # noqa: PLC0415 - its table of two thousand names is rarely needed

        return html.unescape(entity if entity.endswith(";") else f"{entity};")
    if escaped := encoded["escaped"]:
        return " " if escaped in _CONTROLS else escaped
    if octal := encoded["octal"]:
        return chr(int(octal, 8))
    code = int(encoded["braced"] or encoded["unicode"] or encoded["long"] or encoded["hex"], 16)
    return chr(code) if code <= 0x10FFFF else " "  # noqa: PLR2004 - the last code point of Unicode


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    parts: list[str] = []
    at = 0
    for first, behind in sorted(spans):
        if first >= at:
            parts += (text[at:first], REDACTED)
        at = max(at, behind)
    return "".join([*parts, text[at:]])


def _without_logins(text: str) -> str:
    """Take out what looks like a secret by where it stands."""
    if "://" in text:
        text = _LOGIN.sub(_masked_login, text)
    folded = text.casefold()
    if any(map(folded.__contains__, _NAMES)):
        text = _AS_OPTION.sub(rf"\g<name>{REDACTED}", text)
        text = _AS_MEMBER.sub(rf"\g<name>\g<value>{REDACTED}\g<value>", text)
    if _HEADER in folded:
        text = _IN_HEADER.sub(rf"\g<name>{REDACTED}", text)
    return text


def _masked_login(login: re.Match[str]) -> str:
    user, colon, password = login["login"].partition(":")
    if set(password or user) == {"*"}:  # it is masked already
        return login[0]
    return f"{user}:{REDACTED}@" if colon else f"{REDACTED}@"
