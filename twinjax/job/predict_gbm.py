"""The interface by which PREDICT-GBM scores models: folders of patients in, one density each out."""

import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

from twinjax.core.errors import IncompleteCohort, InputError, TwinjaxError
from twinjax.core.folder import writable
from twinjax.job.patient import checked_parts, run_patient
from twinjax.model import UntimedFisherKPP

log = logging.getLogger("twinjax")

PREFIX = "Patient-"
CHOICES = {"patient": "predict_gbm", "model": "glioblastoma_single_scan"}


def predict_densities(source: str | Path, target: str | Path, config_of: Callable[[str], DictConfig]) -> list[Path]:
    """`NUMBER.nii.gz` in `target` of every folder `Patient-NUMBER` in `source`, as PREDICT-GBM has it of a container.

    That is the mean density, 0 to 1, in the patient's space (arXiv 2509.13360). `config_of(path)` is the configuration
    for one patient's folder. What is there already is not done again. Raises `InputError` where there is no patient,
    and `IncompleteCohort` where some failed, after all others are done.
    """
    folders = sorted(folder for folder in Path(source).glob(f"{PREFIX}*") if folder.is_dir())
    if not folders:
        raise InputError(f"'{source}' has no folder {PREFIX}NUMBER; name the folder that holds the patients")
    if not isinstance(checked_parts(config_of(str(folders[0])))[1], UntimedFisherKPP):
        raise InputError("predict_gbm fits one scan of a glioblastoma: leave model out")
    output = writable(target, "predict_gbm: cannot write to the folder")
    paths = [output / f"{folder.name.removeprefix(PREFIX)}.nii.gz" for folder in folders]
    failed = []
    for number, (folder, path) in enumerate(zip(folders, paths, strict=True), start=1):
        log.info("[%d/%d] %s", number, len(folders), folder.name)
        if path.exists():
            continue
        with tempfile.TemporaryDirectory() as work:
            try:
                run_patient(config_of(str(folder)), work, CHOICES)
            except (TwinjaxError, OSError) as error:
                log.error("  %s: %s", folder.name, error)
                failed.append(folder.name)
                continue
            # Whole or not at all: what is there counts as done.
            partial = path.with_name(f"partial-{path.name}")
            shutil.copyfile(Path(work) / "density_mean.nii.gz", partial)
            partial.replace(path)
    if failed:
        raise IncompleteCohort(f"{len(failed)} of {len(folders)} patients have no density: {', '.join(failed)}")
    return paths
