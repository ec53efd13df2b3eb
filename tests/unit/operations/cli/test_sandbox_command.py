from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from worker.operations.cli.sandbox import sandbox

if TYPE_CHECKING:
    from pathlib import Path


def run(*flags: str) -> Result:
    """Call the command, which refuses before it listens."""
    return CliRunner().invoke(sandbox, flags)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--hang-rate", "2"], "--hang-rate is 2.0: expected a number from 0 to 1"),
        (["--latency", "-1"], "--latency is -1.0: expected a number from 0 to 3600"),
        (["--error-rate", "503"], "'503': expected a status and a rate, such as 503=0.1"),
        (["--error-rate", "200=1"], "--error-rate is '200': expected an object of rates by status"),
        (["--error-rate", "503=7"], "--error-rate 503 is 7.0: expected a number from 0 to 1"),
        (["--outage-for", "-1"], "--outage-for is -1.0: expected a number from 0"),
        (["--unknown-request-id", "x"], "--unknown-request-id is 'x': expected a UUID such as"),
        (["--redirect-to", "a b"], "--redirect-to is 'a b': expected an address or a path"),
        (["--hang-rate", "0.6", "--reset-rate", "0.6"], "are together 1.2: expected at most 1"),
        (["--port", "70000"], "'--port': 70000 is not in the range"),
        (["--tls-cert", __file__], "--tls-cert and --tls-key belong together"),
        (["--tls-cert", __file__, "--tls-key", __file__], "--tls-cert and --tls-key can't be used"),
    ],
)
def test_a_wrong_option_is_refused_with_its_name_and_the_fix(flags: list[str], message: str) -> None:
    """The sandbox does not start, and says which option is wrong and what belongs there."""
    result = run(*flags)

    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_the_help_names_every_way_to_misbehave() -> None:
    """Each is an option in the field's terms."""
    help_text = run("--help").output

    for option in (
        "--error-rate", "--latency", "--retry-after", "--hang-rate", "--reset-rate", "--close-rate", "--trickle-rate",
        "--outage-from", "--unknown-share", "--revoked-key", "--forbidden-org", "--echo-headers",
    ):  # fmt: skip
        assert option in help_text


def test_the_help_does_not_show_a_key_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It names the variable and the default, not what is in the variable."""
    monkeypatch.setenv("AQUILAX_API_KEY", "a-real-key")
    monkeypatch.chdir(tmp_path)

    assert "a-real-key" not in run("--help").output
