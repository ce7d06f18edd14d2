"""The main job: from a patient to a calibrated twin, files and a report."""

from twinjax.job.cohort import run_cohort as run_cohort
from twinjax.job.course import run_course as run_course
from twinjax.job.longitudinal import run_longitudinal as run_longitudinal
from twinjax.job.output import Run as Run
from twinjax.job.patient import model_of as model_of
from twinjax.job.patient import persistent_cache as persistent_cache
from twinjax.job.patient import run_patient as run_patient
from twinjax.job.patient import settings_of as settings_of
from twinjax.job.settings import JobSettings as JobSettings
from twinjax.job.single_scan import run_single_scan as run_single_scan
