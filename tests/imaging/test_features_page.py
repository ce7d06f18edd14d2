"""The code of docs/features.md runs as written and gives what its comments say."""

import json
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "features.md"


def test_the_snippet_runs_and_its_comments_hold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    match = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert match is not None
    names = {}
    exec(match.group(1), names)
    core, maps = names["record"]["core"], names["maps"]
    shown = re.findall(r'\["(\w+)"\]\s+# \{"value": ([\d.]+), "standard_deviation": ([\d.]+)', match.group(1))
    assert len(shown) == 2
    for key, *numbers in shown:
        found = [core[key]["value"], core[key]["standard_deviation"]]
        assert found == pytest.approx([float(number) for number in numbers], rel=1e-3)
    assert [float(maps.values[name][0]) for name in ("ktrans", "ve", "vp")] == pytest.approx([0.2, 0.3, 0.05], rel=1e-6)
    assert json.loads(Path("features.json").read_text(encoding="utf-8"))["visits"][0]["core"] == core
    assert Path("scans.png").stat().st_size > 5000
