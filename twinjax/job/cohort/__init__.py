"""Many patients through the main job: resumable, in processes of their own."""

from twinjax.job.cohort.cohort import run_cohort as run_cohort
from twinjax.job.cohort.source import FolderCohort as FolderCohort
from twinjax.job.cohort.source import TableCohort as TableCohort
from twinjax.job.cohort.source import VirtualCohort as VirtualCohort
