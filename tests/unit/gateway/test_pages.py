"""The page's Content-Security-Policy."""

from base64 import b64encode
from hashlib import sha256

from services.gateway.routes.pages import PAGE, content_policy, script_hashes


def source(text: bytes) -> str:
    return f"'sha256-{b64encode(sha256(text).digest()).decode()}'"


def test_each_inline_script_is_known_by_the_hash_of_its_text() -> None:
    html = b"<SCRIPT type=module>\nlet a = '</p>';\n</SCRIPT><p></p><script>b()</script><script src=x></script>"
    assert script_hashes(html) == [source(b"\nlet a = '</p>';\n"), source(b"b()")]


def test_a_page_with_windows_line_ends_is_hashed_as_a_browser_reads_it() -> None:
    assert script_hashes(b"<script>a\r\nb\rc</script>") == [source(b"a\nb\nc")]


def test_a_page_without_scripts_may_run_none() -> None:
    assert "script-src 'none'" in content_policy(b"<p>hello</p>")


def test_the_page_of_this_installation_runs_its_script_and_frames_youtube_alone() -> None:
    policy = content_policy(PAGE.read_bytes())
    assert "script-src 'sha256-" in policy
    assert "'unsafe-eval'" not in policy
    assert "frame-src https://www.youtube.com https://www.youtube-nocookie.com" in policy
    assert policy.startswith("default-src 'none'")
