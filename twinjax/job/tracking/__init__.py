"""Runs in a tracking tool, side by side: what is told of a run, and one tool a file."""

from twinjax.job.tracking.record import Record as Record
from twinjax.job.tracking.record import cohort_record as cohort_record
from twinjax.job.tracking.record import numbers_of as numbers_of
from twinjax.job.tracking.record import patient_record as patient_record
from twinjax.job.tracking.record import training_record as training_record
from twinjax.job.tracking.tensorboard import TensorBoardTracker as TensorBoardTracker
from twinjax.job.tracking.tracker import AbstractTracker as AbstractTracker
from twinjax.job.tracking.tracker import tracker_of as tracker_of
