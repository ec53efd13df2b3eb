"""Who asks, and whether they may act: in our own handlers, and in Flower's, which `flower_guard` puts it before."""

from __future__ import annotations

import logging
from base64 import b64decode
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from flower.views import BaseHandler
from tornado.web import HTTPError

from worker.operations.dashboard.proxy_login import LoginRefused, ProxiedUser, ProxyLogin
from worker.policy.api_token import PREFIX, presented_token, token_in
from worker.policy.dead_letter import clean
from worker.policy.roles import ActRule, Role
from worker.setting_types import UNIX_SOCKET

if TYPE_CHECKING:
    from types import TracebackType

    from worker.operations.tokens import Token
    from worker.settings import Settings

__all__ = ["READING", "AccessRules", "ActRefused", "Authorization", "RequestRefused"]

log = logging.getLogger(__name__)

READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""The methods by which nothing is changed."""

_BASIC: Final = 'Basic realm="flower"'
_BEARER: Final = 'Bearer realm="aquilax-feedback"'


class RequestRefused(HTTPError):
    """The request is not carried out; the message tells the operator why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text.replace("%", "%%"))
        self.summary = text


class ActRefused(RequestRefused):
    """The user, or the program, may look, and not act."""

    def __init__(self, text: str) -> None:
        super().__init__(403, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRules:
    """What the settings say of access.

    Attributes:
        acting: Who may act; None if all who have access may.
        proxy: The proxy that logs users in, if one does.
    """

    acting: ActRule | None
    proxy: ProxyLogin | None

    @classmethod
    def of(cls, settings: Settings) -> AccessRules:
        """Return the rules of the settings."""
        acting = settings.feedback_dashboard_act
        return cls(acting=None if acting is None else ActRule.read(acting), proxy=ProxyLogin.of(settings))


class Authorization(BaseHandler):
    """A handler that knows who asks.

    Attributes:
        current_user: Who is logged in: a name; True for a login without one, or where none is needed; or None.
        api_token: The token of the program that asks, if one does, and once it is found to be valid.
        proxied: Who is logged in as the proxy says, if it does.
    """

    current_user: Any
    api_token: Token | None = None
    proxied: ProxiedUser | None = None

    @property
    def rules(self) -> AccessRules:
        """What the settings say of access; read once for the whole Flower."""
        application: Any = self.application  # which carries them
        if not hasattr(application, "feedback_access"):
            application.feedback_access = AccessRules.of(application.capp.feedback.settings)
        rules: AccessRules = application.feedback_access
        return rules

    @property
    def has_own_login(self) -> bool:
        """Whether Flower itself asks for a login."""
        return bool(self.application.options.basic_auth or self.application.options.auth)

    def get_current_user(self) -> object:
        """Return who is logged in: as the proxy says, where one does; else by Flower's own login, if it has one."""
        proxy = self.rules.proxy
        if proxy is None:
            return super().get_current_user()
        try:
            self.proxied = proxy.user(self.peer, self.request.headers.get_list)
        except LoginRefused as refused:
            raise RequestRefused(401, f"This login is refused: {refused}.") from None
        if self.proxied is not None:
            return self.proxied.name
        return super().get_current_user() if self.has_own_login else None

    def refuse_token_in_address(self) -> None:
        """Refuse a request whose address has a token (400): it stands in logs and histories by now."""
        if token_in(self.request.uri or ""):
            raise RequestRefused(
                400,
                "A token stands in the address, which proxies and browsers keep: send it as `Authorization: Bearer`, "
                "and revoke this one (aquilax-feedback tokens revoke).",
            )

    @property
    def token_sent(self) -> str | None:
        """What the request brings as a token. Raises `RequestRefused` if that is not clear."""
        try:
            return presented_token(self.request.headers.get_list("Authorization"))
        except ValueError as error:
            raise RequestRefused(401, f"This login is refused: {error}.") from None

    def refuse_token(self) -> None:
        """Refuse a token where none is taken (401)."""
        if self.token_sent is not None:
            raise RequestRefused(
                401, "An API token is for /api/feedback alone: everything else asks for Flower's login."
            )

    @property
    def act_refusal(self) -> str:
        """Why the user, or the program, may only look; '' if they may act."""
        if self.api_token is not None:
            name = self.api_token.name
            return "" if self.api_token.scope is Role.ACT else f"The token {name} may only look: its scope is look."
        user, groups = self.user_name, () if self.proxied is None else self.proxied.groups
        if self.rules.acting is None or self.rules.acting.allows(user, groups):
            return ""
        if user is None:
            return "You may only look: FEEDBACK_DASHBOARD_ACT says who may act, and no login here says who you are."
        return f"You may only look: FEEDBACK_DASHBOARD_ACT does not name {user}."

    def require_act(self) -> None:
        """Refuse what those who may only look may not do. Raises `ActRefused`."""
        if reason := self.act_refusal:
            raise ActRefused(reason)

    @property
    def user_name(self) -> str | None:
        """Who is logged in, by name; None if no login says who it is."""
        if isinstance(self.current_user, str):
            return self.current_user
        return clean(self._basic_user()) if self.current_user and self.application.options.basic_auth else None

    @property
    def actor(self) -> str:
        """Who asks, as the audit has it."""
        if self.api_token is not None:
            return f"token {self.api_token.name}"
        return self.user_name or f"without login, from {self.peer}"

    @property
    def peer(self) -> str:
        """The address of the connection's other end, whatever a header says of it; `UNIX_SOCKET` if it has none."""
        address = getattr(getattr(self.request.connection, "context", None), "address", None)
        return str(address[0]) if isinstance(address, tuple) else UNIX_SOCKET

    def challenge(self) -> None:
        """Say which login is missing, in the header of status 401."""
        headers = self.request.headers
        if any(PREFIX in value for value in headers.get_list("Authorization")):
            self.set_header("WWW-Authenticate", f'{_BEARER}, error="invalid_token"')
        else:  # a browser asks for a password where it reads Basic, which a proxy's login is not
            self.set_header("WWW-Authenticate", _BEARER if self.rules.proxy and not self.has_own_login else _BASIC)

    def log_exception(
        self, typ: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Write down who was refused what. It is not in the audit, which those who may only look could fill."""
        if isinstance(value, ActRefused):
            log.warning("%s was refused %s %s: %s", self.actor, self.request.method, self.request.path, value.summary)
        else:
            super().log_exception(typ, value, tb)

    def _basic_user(self) -> str:
        """The name in the login, which Flower has checked by now."""
        credentials = self.request.headers.get("Authorization", "").partition(" ")[2]
        with suppress(ValueError):
            return b64decode(credentials).decode(errors="replace").partition(":")[0]
        return ""
