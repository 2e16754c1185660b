"""What Kafka and Valkey are told of locale and time zone."""

import sys

import pytest

from services.local.errors import NoUtf8Locale
from services.local.processes.environment import is_installed, settled

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are UTF-8 in every locale")


def test_java_gets_a_utf8_locale_and_utc_whatever_the_shell_has() -> None:
    told = settled({"LC_ALL": "C", "TZ": "Asia/Tokyo", "HOME": "/h"}, "/tmp/josé")
    assert told == {"LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": "/h"}


def test_an_older_machine_has_another_name_for_it() -> None:
    assert settled({}, "/tmp/josé", installed=lambda name: name == "en_US.utf8")["LC_ALL"] == "en_US.utf8"


@pytest.mark.parametrize(
    ("environ", "named"),
    [({"LC_ALL": "C", "LANG": "x"}, "LC_ALL=C"), ({"LANG": "xx_INVALID"}, "LANG=xx_INVALID"), ({}, "none is set")],
)
def test_without_any_the_sentence_names_the_locale_and_the_path(environ: dict[str, str], named: str) -> None:
    with pytest.raises(NoUtf8Locale, match="ANIMUSIC_DATA_DIR") as refused:
        settled(environ, "/tmp/jars", "/tmp/josé", installed=lambda name: False)
    assert named in str(refused.value)
    assert "/tmp/josé" in str(refused.value)


def test_ascii_paths_need_none() -> None:
    assert settled({"LC_ALL": "C"}, "/tmp/jose", installed=lambda name: False) == {"LC_ALL": "C", "TZ": "UTC"}


def test_the_c_library_is_asked_which_locales_there_are() -> None:
    assert is_installed("C")
    assert not is_installed("xx_INVALID.UTF-8")
