"""The audit of dependencies: it fails on planted vulnerable versions, and never passes what it could not ask about."""

from __future__ import annotations

import importlib.util
import json
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def loaded():
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["audit"] = module
    spec.loader.exec_module(module)
    return module


audit = loaded()
CHECKED, ADVISORIES = audit.read_list()


def answering(tmp_path, report, status=0) -> list[str]:
    """A vulnerability service that gives one answer."""
    script = tmp_path / "service.py"
    text = report if isinstance(report, str) else json.dumps({"dependencies": report})
    script.write_text(f"import sys\nprint({text!r})\nprint('could not connect', file=sys.stderr)\nsys.exit({status})\n")
    return [sys.executable, str(script)]


CLEAN = [{"name": "mako", "version": "9.9", "vulns": []}, {"name": "numpy", "version": "9.9", "vulns": []}]
NOT_FOUND = [{"name": "mako", "skip_reason": "Dependency not found on PyPI and could not be audited: mako (1.4.3)"}]


# the kept list ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("package", "version", "identifier"),
    [
        ("Mako", "1.3.11", "GHSA-2h4p-vjrc-8xpq"),
        ("SQLAlchemy", "1.2.18", "GHSA-887w-45rq-vxgf"),
        ("SQLAlchemy", "1.3.0b2", "GHSA-887w-45rq-vxgf"),
        ("pydantic", "2.3.0", "GHSA-mr82-8j83-vxmv"),
        ("markdown_it_py", "2.1.0", "GHSA-jrwr-5x3p-hvc3"),
        ("pip", "26.1.1", "GHSA-wf93-45jw-7689"),
    ],
)
def test_a_planted_vulnerable_version_is_named_with_its_advisory(package, version, identifier):
    assert identifier in " ".join(audit.vulnerable({package: version}, ADVISORIES))


@pytest.mark.parametrize(
    ("package", "version"),
    [("mako", "1.3.12"), ("sqlalchemy", "2.1.0"), ("pydantic", "1.10.13"), ("pydantic", "2.4.0"), ("unlisted", "0.1")],
)
def test_a_version_with_the_fix_is_not_named(package, version):
    assert audit.vulnerable({package: version}, ADVISORIES) == []


def test_every_advisory_names_something_and_spares_something():
    for advisory in ADVISORIES:
        assert audit.vulnerable({advisory.package: "0.1"}, [advisory]) or ">" in str(advisory.affected[0])
        assert not advisory.concerns(advisory.package, "9999")
    assert len({(each.package, each.identifier) for each in ADVISORIES}) == len(ADVISORIES)
    assert date.today() + timedelta(days=1) >= CHECKED


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('id = "A rumour"\naffected = ["<2"]', "no identifier"),
        ('id = "CVE-2026-1234"\naliases = ["GHSA-1"]\naffected = ["<2"]', "no identifier"),
        ('id = "CVE-2026-1234"\naffected = []', "no range"),
        ('id = "CVE-2026-1234"\naffected = [""]', "no range"),
    ],
)
def test_an_entry_without_identifier_or_range_is_refused(tmp_path, line, said):
    path = tmp_path / "advisories.toml"
    path.write_text(f'checked = 2026-01-01\n[[advisory]]\npackage = "mako"\ntext = "t"\n{line}\n')
    with pytest.raises(ValueError, match=said):
        audit.read_list(path)


def test_no_lowest_version_that_is_permitted_is_known_to_be_vulnerable(tmp_path):
    assert audit.vulnerable(audit.floors(audit.required()), ADVISORIES) == []
    planted = tmp_path / "pyproject.toml"
    planted.write_text('[project]\ndependencies = ["Mako>=1.3"]\n[project.optional-dependencies]\nx = ["pytest>=8"]\n')
    assert len(audit.vulnerable(audit.floors(audit.required(planted)), ADVISORIES)) == 3


# the requirements -------------------------------------------------------------------------------


def test_what_is_installed_meets_the_requirements_of_the_project():
    tree, problems = audit.unmet(audit.required())
    assert problems == []
    assert {"sqlalchemy", "mako", "markupsafe", "psycopg-binary", "pytest", "iniconfig"} <= tree


def test_a_missing_or_old_package_is_named():
    lines = ["numpy>=9999", "nobody-has-this", "scipy; python_version < '3'", "psycopg[binary]>=3"]
    tree, problems = audit.unmet(map(audit.Requirement, lines))
    assert sorted(each.split(", ")[0] for each in problems) == [
        "escalation needs nobody-has-this",
        "escalation needs numpy >=9999",
    ]
    assert tree >= {"numpy", "psycopg", "psycopg-binary"}
    assert "scipy" not in tree


# the service ------------------------------------------------------------------------------------


def test_a_service_that_finds_something_fails_the_audit(tmp_path, capsys):
    fault = {"id": "PYSEC-2026-1", "fix_versions": ["2.0"]}
    service = answering(tmp_path, [{"name": "mako", "version": "1.9", "vulns": [fault]}], 1)
    assert audit.main(service, {}) == 1
    assert "FAULT: mako 1.9: PYSEC-2026-1, fixed in 2.0" in capsys.readouterr().out


def test_a_service_that_finds_nothing_passes_and_names_what_it_skipped(tmp_path, capsys):
    assert audit.main(answering(tmp_path, [*CLEAN, {"name": "own", "skip_reason": "not found"}]), {}) == 0
    said = capsys.readouterr().out
    assert "2 packages audited, 0 vulnerabilities" in said
    assert "NOT AUDITED by the service: own" in said
    assert "NOTHING WAS AUDITED" not in said


@pytest.mark.parametrize(("report", "status"), [(NOT_FOUND, 0), ("no JSON", 1), ([], 0)])
def test_what_was_not_audited_is_said_aloud_and_the_kept_list_decides(tmp_path, capsys, report, status):
    service = answering(tmp_path, report, status)
    assert audit.main(service, {}) == 0
    assert "NOTHING WAS AUDITED" in capsys.readouterr().out
    assert audit.main(service, {"mako": "1.3.10"}) == 1
    assert "FAULT: installed: mako 1.3.10: GHSA-v92g-xgxw-vvmm" in capsys.readouterr().out


def test_no_service_at_all_is_said_aloud(tmp_path, capsys):
    assert audit.main([str(tmp_path / "nothing")], {}) == 0
    assert "NOTHING WAS AUDITED" in capsys.readouterr().out


def test_an_old_list_is_said_to_be_old(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(audit, "read_list", lambda: (date.today() - timedelta(days=91), ADVISORIES))
    assert audit.main(answering(tmp_path, CLEAN), {}) == 0
    assert "WARNING: the kept list is 91 days old" in capsys.readouterr().out
