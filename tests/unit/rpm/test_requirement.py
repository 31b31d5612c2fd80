"""Python requirements as RPM's dependencies."""

from __future__ import annotations

import pytest

from trilby.rpm.requirement import normalized, parse_requirement, rpm_version

FORMS = {
    "PyYAML": ["python3dist(pyyaml)"],
    "aiohttp >= 3.9": ["python3dist(aiohttp) >= 3.9"],
    "a>=1,<2": ["(python3dist(a) >= 1 with python3dist(a) < 2)"],
    "a == 1.4.*": ["(python3dist(a) >= 1.4 with python3dist(a) < 1.5~~)"],
    "a ~= 2.2.1": ["(python3dist(a) >= 2.2.1 with python3dist(a) < 2.3~~)"],
    "a != 1.5": ["(python3dist(a) < 1.5 or python3dist(a) > 1.5)"],
    "a == 1.0rc1": ["python3dist(a) = 1.0~rc1"],
    "zope.interface[test,Docs] (>=5)": [
        "python3dist(zope-interface) >= 5",
        "python3dist(zope-interface[test]) >= 5",
        "python3dist(zope-interface[docs]) >= 5",
    ],
}


@pytest.mark.parametrize("text", FORMS)
def test_rpm_form(text: str) -> None:
    assert parse_requirement(text).rpm() == FORMS[text]


def test_marker_is_kept() -> None:
    found = parse_requirement("tomli >= 2 ; python_version < '3.11'")
    assert (found.name, found.marker) == ("tomli", "python_version < '3.11'")


@pytest.mark.parametrize(
    "text", ["", ">= 3", "a >=", "a >= 1 or 2", "a @ https://example.org/a.whl"]
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError):
        parse_requirement(text)


@pytest.mark.parametrize(
    ("python", "rpm"),
    [
        ("1.0", "1.0"),
        ("1.0rc1", "1.0~rc1"),
        ("2.0.dev3", "2.0~dev3"),
        ("1.0a2", "1.0~a2"),
        ("1.0.post1", "1.0^post1"),
        ("1!2.0", "1:2.0"),
        ("3.1+local", "3.1"),
    ],
)
def test_versions_sort_as_python_sorts_them(python: str, rpm: str) -> None:
    assert rpm_version(python) == rpm


def test_names_compare_as_pep_503_says() -> None:
    assert normalized("Prometheus_Client.X") == "prometheus-client-x"
