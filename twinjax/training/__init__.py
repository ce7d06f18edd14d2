"""Training of networks that are asked in place of the solver."""

from twinjax.training.accuracy import Accuracy as Accuracy
from twinjax.training.accuracy import accuracy as accuracy
from twinjax.training.accuracy import predicted as predicted
from twinjax.training.checkpoint import TrainingCheckpoint as TrainingCheckpoint
from twinjax.training.examples import Examples as Examples
from twinjax.training.examples import Tumors as Tumors
from twinjax.training.operator import OperatorTraining as OperatorTraining
from twinjax.training.operator import squared_error as squared_error
from twinjax.training.trainer import Progress as Progress
from twinjax.training.trainer import Trainer as Trainer
