"""Patients: visits in days since baseline, treatment and tissue; calendar dates and paths stop here."""

from twinjax.patient.bruchovsky import load_bruchovsky as load_bruchovsky
from twinjax.patient.bruchovsky import load_bruchovsky_trial as load_bruchovsky_trial
from twinjax.patient.clinical_course import ClinicalCourse as ClinicalCourse
from twinjax.patient.gliodil import load_gliodil as load_gliodil
from twinjax.patient.gliodil import load_sbtc as load_sbtc
from twinjax.patient.gliomasolver import load_gliomasolver as load_gliomasolver
from twinjax.patient.patient import PatientData as PatientData
from twinjax.patient.patient import load_folder as load_folder
from twinjax.patient.predict_gbm import load_predict_gbm as load_predict_gbm
from twinjax.patient.raw_patient import RawPatient as RawPatient
from twinjax.patient.sizes import course_of_sizes as course_of_sizes
from twinjax.patient.table import load_table as load_table
from twinjax.patient.treatment_table import read_treatment_csv as read_treatment_csv
from twinjax.patient.treatment_table import write_treatment_csv as write_treatment_csv
from twinjax.patient.tumortwin import load_tumortwin as load_tumortwin
from twinjax.patient.virtual_course import VirtualCourse as VirtualCourse
from twinjax.patient.virtual_organ import VirtualOrgan as VirtualOrgan
from twinjax.patient.visit import Visit as Visit
