"""What a pattern of the chart's values fits, and above all what it does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from distill_operator.allowed import Endpoints, allows, allows_url

TEACHERS = ("http://*.teachers.svc/*",)


@pytest.mark.parametrize(
    ("patterns", "name", "expected"),
    [
        (("*",), "", True),
        (("*",), "anything/at all", True),
        ((), "cpu", False),
        (("HCCL_*", "MS_*"), "MS_BUILD", True),
        (("HCCL_*", "MS_*"), "XMS_BUILD", False),
        (("*_NUM_THREADS",), "OMP_NUM_THREADS", True),
        (("*_NUM_THREADS",), "OMP_NUM_THREADS_", False),
        (("acme.example/*",), "acmeXexample/team", False),
        (("a[b]",), "ab", False),
        (("",), "", True),
    ],
)
def test_a_pattern_fits_the_whole_name(patterns: tuple[str, ...], name: str, expected: bool) -> None:
    assert allows(patterns, name) is expected


@pytest.mark.parametrize(
    "url",
    [
        "http://deepseek-r1.teachers.svc/v1",
        "http://deepseek-r1.teachers.svc:1025/v1",
        "http://a.b.teachers.svc/",
        "http://A.Teachers.SVC",
        "http://deepseek-r1.teachers.svc/v1/openai-like_1.0",
    ],
)
def test_a_url_is_allowed_part_by_part(url: str) -> None:
    assert allows_url(TEACHERS, url)


@pytest.mark.parametrize(
    "url",
    [
        "https://deepseek-r1.teachers.svc/v1",
        "http://teachers.svc/v1",
        "http://evil.example/x.teachers.svc/v1",
        "http://evil.example?x.teachers.svc/v1",
        "http://evil.example#.teachers.svc/v1",
        "http://evil.example:80/.teachers.svc/v1",
        "http://me@evil.example/v1",
        "http://r1.teachers.svc:80@evil.example/v1",
        "http://r1.teachers.svc\\@evil.example/v1",
        "http://evil.example\\.teachers.svc/v1",
        "http://r1.teachers.svc.evil.example/v1",
        "http://*.teachers.svc/v1",
        "http://r1.teachers.svc/v1 ",
        "http://r1.teachers.svc/v1\n",
        "http://r1.teachers.svc/v1/../../admin",
        "http://r1.teachers.svc/v1/%2e%2E/admin",
        "http:///v1",
        "",
    ],
)
def test_a_url_elsewhere_is_not_however_it_is_written(url: str) -> None:
    assert not allows_url(TEACHERS, url)


@pytest.mark.parametrize(
    ("pattern", "url", "expected"),
    [
        ("*", "http://me@anywhere?x", True),
        ("http*://api.example", "https://api.example/v1", True),
        ("http://h:1025/v1", "http://h:1025/v1", True),
        ("http://h:1025/v1", "http://h:1026/v1", False),
        ("http://h:1025/v1", "http://h/v1", False),
        ("http://h/v1/*", "http://h/v1", False),
        ("http://10.0.*", "http://10.0.1.2:80/v1", True),
        ("http://[fd00::*]", "http://[fd00::1]:80/v1", True),
        ("http://[fd00::*]", "http://[fe80::1]:80/v1", False),
    ],
)
def test_ports_and_paths_count_where_a_pattern_has_them(pattern: str, url: str, expected: bool) -> None:
    assert allows_url((pattern,), url) is expected


@given(before=st.text(alphabet="ab.:/@#?\\[]%", max_size=8), after=st.text(alphabet="ab.:/@#?\\[]%", max_size=8))
def test_no_text_around_an_allowed_host_makes_another_one_of_it(before: str, after: str) -> None:
    """What is allowed is http, the host of the pattern, and a path: nothing that two parsers could part otherwise."""
    url = f"http://{before}r1.teachers.svc{after}"
    if allows_url(("http://r1.teachers.svc",), url):
        assert before == ""
        assert after[:1] in ("", ":", "/")
        assert not set(after) & set("@#?\\")


@pytest.mark.parametrize("pattern", ["teachers.svc", "http://", "http://me@h/v1", "http://h/v1?x=*", "http://h h/"])
def test_what_is_no_pattern_of_urls_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError, match="no pattern of URLs"):
        Endpoints(allowed=(pattern,))
