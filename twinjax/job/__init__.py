"""The main job: from a patient to a calibrated twin, files and a report."""

from twinjax.job.course import run_course as run_course
from twinjax.job.longitudinal import run_longitudinal as run_longitudinal
from twinjax.job.output import Run as Run
from twinjax.job.settings import JobSettings as JobSettings
from twinjax.job.single_scan import run_single_scan as run_single_scan
