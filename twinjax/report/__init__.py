"""The patient report: figures, tables and one self-contained HTML file."""

from twinjax.report.report import KeyFigure as KeyFigure
from twinjax.report.report import PatientReport as PatientReport
from twinjax.report.report import Section as Section
from twinjax.report.report import Table as Table
from twinjax.report.report import Viewer as Viewer
from twinjax.report.report import content_of as content_of
from twinjax.report.report import write_report as write_report
