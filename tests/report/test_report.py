import base64
import dataclasses
import io
import json
import re
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from twinjax.report import KeyFigure, PatientReport, Section, Table, write_report
from twinjax.report import report as report_module
from twinjax.report.report import content_of, format_cell

HOSTILE = "<script>alert('x')</script><img src=https://example.org/a.png onerror=alert(1)>"


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def named(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def drawing(size=(4.0, 3.0)):
    figure = Figure(figsize=size)
    figure.subplots().imshow(np.random.default_rng(0).random((200, 200)))
    return figure


@pytest.fixture
def report():
    table = Table(
        ["name", "value", "met"], [["Dice", 0.9, True], ["error", 1234.5, False], ["n", None, None]], "Scores."
    )
    return PatientReport(
        title="Forecast",
        patient_id="virtual_001",
        synthetic=True,
        summary=["The tumour grows."],
        key_figures=[KeyFigure("Volume on day 180", "21 mL", "90 % interval 18 to 26")],
        sections=[
            Section("Scans", "First paragraph.\n\nSecond paragraph.", [("The scans.", drawing())]),
            Section("Accuracy", figures=[("A map.", drawing()), ("A curve.", drawing())], tables=[table]),
        ],
        provenance={"seed": 7, "configuration": "model:\n  growth: logistic\n"},
        limitations=["No mass effect."],
    )


def read(report, tmp_path):
    return write_report(report, tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_loads_nothing_from_anywhere(report, tmp_path):
    page = read(report, tmp_path)
    tags = Tags(page)
    images = tags.named("img")
    assert len(images) == 3
    assert all(image["src"].startswith("data:image/png;base64,") for image in images)
    assert all(link["href"].startswith("#section-") for link in tags.named("a"))
    assert not {"script", "link", "iframe", "object", "form"} & {name for name, _ in tags.found}
    assert not re.search(r"https?:|@import|url\(", page)
    policy = next(meta["content"] for meta in tags.named("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")


def test_pictures_survive_and_are_described(report, tmp_path):
    images = Tags(read(report, tmp_path)).named("img")
    assert [image["alt"] for image in images] == ["The scans.", "A map.", "A curve."]
    assert images[0]["width"] == "384"
    picture = matplotlib.image.imread(io.BytesIO(base64.b64decode(images[0]["src"].split(",")[1])), format="png")
    assert picture.shape == (360, 480, 4)


def test_every_text_is_escaped(report, tmp_path):
    harmless = Tags(read(report, tmp_path)).found
    section = Section(HOSTILE, HOSTILE, [(HOSTILE, drawing())], [Table([HOSTILE], [[HOSTILE]], HOSTILE)])
    hostile = PatientReport(
        HOSTILE,
        HOSTILE,
        synthetic=False,
        summary=[HOSTILE],
        warnings=[HOSTILE],
        sections=[section],
        provenance={HOSTILE: HOSTILE, "folded": HOSTILE + "\n"},
        limitations=[HOSTILE],
        key_figures=[KeyFigure(HOSTILE, HOSTILE, HOSTILE)],
    )
    tags = Tags(read(hostile, tmp_path))
    assert tags.named("script") == []
    assert [image["alt"] for image in tags.named("img")] == [HOSTILE]
    assert {name for _, attributes in tags.found for name in attributes} <= {
        name for _, attributes in harmless for name in attributes
    } | {"role"}


def test_figures_and_tables_are_numbered_through(report, tmp_path):
    page = read(report, tmp_path)
    assert re.findall(r"<b>(Figure \d|Table \d)\.</b>", page) == ["Figure 1", "Figure 2", "Figure 3", "Table 1"]
    assert "<p>First paragraph.</p>" in page and "<p>Second paragraph.</p>" in page


def test_the_banner_is_there_only_with_a_warning(report, tmp_path):
    assert 'role="alert"' not in read(report, tmp_path)
    page = read(dataclasses.replace(report, warnings=["The calibration has not converged."]), tmp_path)
    assert page.index('role="alert"') < page.index("The calibration has not converged.") < page.index("Summary</h2>")


@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_data_and_research_use_are_said(report, tmp_path, synthetic):
    page = read(dataclasses.replace(report, synthetic=synthetic), tmp_path)
    assert ("Synthetic data" in page) == ("All data in this report are synthetic" in page) == synthetic
    assert "Research use only" in page


def test_tables_say_yes_and_no_in_words_and_align_numbers(report, tmp_path):
    page = read(report, tmp_path)
    assert '<td class="yes">✓ yes</td>' in page and '<td class="no">✗ no</td>' in page
    assert '<th scope="col" class="number">value</th>' in page and '<th scope="col">name</th>' in page


def test_a_configuration_is_folded(report, tmp_path):
    assert "<details><summary>show</summary><pre>model:\n  growth: logistic\n</pre>" in read(report, tmp_path)


def test_an_empty_report_is_a_page(tmp_path):
    page = read(PatientReport("Nothing", "nobody", synthetic=False), tmp_path)
    assert "Nothing" in page and "<figure" not in page


def test_the_file_appears_whole_or_not_at_all(report, tmp_path):
    before = read(report, tmp_path)
    with pytest.raises(UnicodeEncodeError):
        write_report(dataclasses.replace(report, title="not a character: \ud800"), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == before
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_as_plain_values_it_says_every_word_of_the_page(report, tmp_path):
    """Every text and cell of the page, in its order, and no picture."""
    content = json.loads(json.dumps(content_of(report)))
    page = read(report, tmp_path)
    assert content["summary"] == ["The tumour grows."] and content["patient"] == "virtual_001" and content["synthetic"]
    assert content["key_figures"] == [
        {"label": "Volume on day 180", "value": "21 mL", "note": "90 % interval 18 to 26"}
    ]
    scans, accuracy = content["sections"]
    assert (scans["figures"], scans["viewer"], scans["tables"]) == (["The scans."], None, [])
    (table,) = accuracy["tables"]
    assert table["columns"] == ["name", "value", "met"] and table["rows"][0] == ["Dice", 0.9, True]
    for section in content["sections"]:
        texts = [section["title"], *section["text"].split("\n\n"), *section["figures"]]
        texts += [format_cell(cell) for one in section["tables"] for row in one["rows"] for cell in row]
        assert all(text in page for text in texts)
    assert content["limitations"] == ["No mass effect."] and content["provenance"]["seed"] == 7


def test_missing_folders_are_made(report, tmp_path):
    path = write_report(report, tmp_path / "a" / "b" / "report.html")
    assert path.is_file()


def test_a_large_report_is_drawn_coarser(report, tmp_path, monkeypatch):
    full = len(read(report, tmp_path))
    assert full < 4_000_000
    monkeypatch.setattr(report_module, "MAX_BYTES", int(0.8 * full))
    assert len(read(report, tmp_path)) < 0.8 * full


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (float("nan"), "—"),
        (np.float32("nan"), "—"),
        (True, "✓ yes"),
        (np.False_, "✗ no"),
        (np.int64(7), "7"),
        (12345, "12\u202f345"),
        (-0.0123461, "−0.01235"),
        (1234.56, "1\u202f235"),
        (3.0, "3"),
        ("text", "text"),
    ],
)
def test_cells_read_as_a_person_would_write_them(value, text):
    assert format_cell(value) == text
