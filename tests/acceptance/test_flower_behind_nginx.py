"""Flower under a prefix, behind nginx with TLS, as docs/dashboard.md says: its block is what runs here."""

from __future__ import annotations

import os
import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import pytest
import redis
import requests

from tests.support.browser import a_page, chromium
from tests.support.certificates import self_signed
from tests.support.dead_letter_records import a_record, add
from tests.support.environment import clean_environment
from tests.support.nginx import nginx
from tests.support.processes import ROOT, eventually, running
from worker.database.schema import upgrade
from worker.dead_letters.store import DeadLetterStore
from worker.operations.doctor.finding import Level
from worker.operations.doctor.flower import look_at_flower
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.processes import RedisServer

LOGIN = ("operator", "password")
PAGES = ("feedback", "feedback/dead-letters", "feedback/dead-letters/rows", "feedback/audit", "workers", "tasks")
LINK = re.compile(r'(?:href|src|action|formaction)="([^"#]+)"')
PASSED_ON = "    proxy_set_header Host $http_host;\n"


def documented_block() -> str:
    """What docs/dashboard.md tells to put into a server of nginx."""
    (block,) = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs" / "dashboard.md").read_text(), re.DOTALL)
    return str(block)


def documented_options() -> list[str]:
    """The options with which it tells to start Flower behind it."""
    (line,) = re.findall(r"celery -A worker flower (--address=127\.0\.0\.1 --url_prefix=.*)", documented())
    return str(line).split()


def documented() -> str:
    """The page."""
    return (ROOT / "docs" / "dashboard.md").read_text()


@dataclass(frozen=True)
class Proxied:
    """Flower, behind nginx."""

    folder: Path
    own: str
    broker: str
    certificate: Path
    key: Path

    @contextmanager
    def behind(self, name: str, block: str) -> Iterator[str]:
        """Run nginx with this block, and give Flower's address behind it."""
        port = str(urlsplit(self.own).port)
        moved = block.replace("127.0.0.1:5555", f"127.0.0.1:{port}")
        with nginx(self.folder / name, moved, certificate=self.certificate, key=self.key) as url:
            yield f"{url}/flower"

    def visitor(self) -> requests.Session:
        """A browser with the login, as far as requests is one."""
        session = requests.Session()
        session.auth, session.verify = LOGIN, str(self.certificate)
        session.trust_env = False
        return session


@pytest.fixture(scope="module")
def flower(_valkey: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """Flower, started as the page says; with a dead letter to show."""
    folder = tmp_path_factory.mktemp("nginx")
    database = f"sqlite:///{folder}/dead.sqlite3"
    upgrade(database)
    store = DeadLetterStore.connect(database)
    add(store, a_record())
    store.close()
    port = free_port()
    environment = clean_environment() | {
        "FEEDBACK_BROKER_URL": _valkey.url,
        "FEEDBACK_DATABASE_URL": database,
        "FLOWER_BASIC_AUTH": ":".join(LOGIN),
    }
    celery = [sys.executable, "-m", "celery", "-A", "worker", "flower"]
    command = [*celery, *documented_options(), f"--port={port}"]
    own = f"http://127.0.0.1:{port}/flower"
    with running(command, log=folder / "flower.log", env=environment) as process:
        eventually(lambda: _answers(f"{own}/healthcheck"), what="Flower answers")
        assert process.process.poll() is None
        certificate, key = self_signed(folder)
        yield Proxied(folder, own, _valkey.url, certificate, key)


@pytest.fixture(scope="module")
def url(flower: Proxied) -> Iterator[str]:
    """Flower's address behind the documented block."""
    with flower.behind("documented", documented_block()) as url:
        yield url


def _answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=5).ok
    except requests.ConnectionError:
        return False


def hold(flower: Proxied, url: str) -> requests.Response:
    """Press *Hold*, as a browser does."""
    with flower.visitor() as session:
        assert session.get(f"{url}/feedback", timeout=30).status_code == 200
        where = urlsplit(url)
        headers = {"Origin": f"{where.scheme}://{where.netloc}", "Sec-Fetch-Site": "same-origin"}
        fields = {"_xsrf": session.cookies.get("_xsrf", ""), "comment": "a test"}
        return session.post(f"{url}/feedback/hold", data=fields, headers=headers, timeout=30, allow_redirects=False)


def test_every_page_works_and_stays_under_the_prefix(flower: Proxied, url: str) -> None:
    """Its links, forms, styles and scripts, and those of Flower itself."""
    with flower.visitor() as session:
        assert session.get(url, timeout=30).url == f"{url}/"
        files = set[str]()
        for page in PAGES:
            answer = session.get(f"{url}/{page}", timeout=30)
            assert answer.status_code == 200, page
            links = {urljoin(answer.url, link) for link in LINK.findall(answer.text)}
            ours = {link for link in links if urlsplit(link).netloc == urlsplit(url).netloc}
            assert ours
            assert {link for link in ours if not link.startswith(f"{url}/")} == set(), page
            files |= {link for link in ours if "/static/" in link}
        assert {session.get(file, timeout=30).status_code for file in files} == {200}


def test_a_change_is_made_through_the_proxy(flower: Proxied, url: str) -> None:
    """A form, and the API; the answer leads back under the prefix."""
    answer = hold(flower, url)

    assert (answer.status_code, answer.headers["Location"]) == (303, "/flower/feedback")
    with redis.Redis.from_url(flower.broker) as client:
        assert client.exists("feedback:hold")
        api = {"X-Requested-With": "a test"}
        with flower.visitor() as session:
            resumed = session.post(f"{url}/api/feedback/resume", json={"comment": "a test"}, headers=api, timeout=30)
        assert resumed.status_code == 200, resumed.text
        assert not client.exists("feedback:hold")


@pytest.mark.parametrize("instead", ["", "    proxy_set_header Host $host;\n"])
def test_a_proxy_that_changes_the_host_is_named_in_the_refusal(flower: Proxied, instead: str) -> None:
    """Nginx sends its own by default, and `$host` has no port."""
    assert PASSED_ON in documented_block()
    name = "changed" if instead else "left-out"
    with flower.behind(name, documented_block().replace(PASSED_ON, instead)) as url:
        answer = hold(flower, url)

    assert answer.status_code == 403
    assert "proxy_set_header Host $http_host;" in answer.text
    assert urlsplit(url).netloc in answer.text


def test_a_browser_sees_and_acts_through_the_proxy(flower: Proxied, url: str) -> None:
    """With its own rules for origins, cookies and the page's security policy."""
    name, password = LOGIN
    login = {"username": name, "password": password}
    with (
        chromium() as browser,
        a_page(browser, ignore_https_errors=True, http_credentials=login) as page,
    ):
        page.goto(f"{url}/feedback")
        page.get_by_label("Why").fill("seen through nginx")
        page.get_by_role("button", name="Hold").click()

        page.get_by_text("seen through nginx").first.wait_for()
        assert page.url == f"{url}/feedback"
        assert page.evaluate("getComputedStyle(document.querySelector('.navbar')).display") == "flex"
        page.screenshot(path=flower.folder / "overview.png")
        page.get_by_label("Why").fill("seen enough")
        page.get_by_role("button", name="Resume").click()
        page.get_by_role("button", name="Hold").wait_for()


def test_the_doctor_understands_the_prefix(flower: Proxied, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its address, or where Flower has it from; behind the proxy as well. Without it, it says what is missing."""
    bare = flower.own.removesuffix("/flower")
    monkeypatch.delenv("FLOWER_URL_PREFIX", raising=False)
    assert [finding.level for finding in look_at_flower(flower.own)] == [Level.GREEN, Level.GREEN]
    (without,) = look_at_flower(bare)
    assert (without.level, without.check) == (Level.YELLOW, "flower")
    assert "--url_prefix" in without.fix

    monkeypatch.setenv("FLOWER_URL_PREFIX", "/flower/")
    assert next(finding.summary for finding in look_at_flower(bare)) == f"{flower.own} answers"
    assert next(finding.summary for finding in look_at_flower(flower.own)) == f"{flower.own} answers"

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", os.fspath(flower.certificate))
    assert [finding.level for finding in look_at_flower(url)] == [Level.GREEN, Level.GREEN]
