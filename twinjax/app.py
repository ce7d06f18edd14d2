"""The command line: Hydra composes the configuration, the job does the rest.

Input errors end with one line on the terminal and exit code 2.
"""

import logging
import os
import sys
from pathlib import Path

# Two devices let two chains run side by side on a processor; JAX reads this once, at its import.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")

import hydra
from omegaconf import DictConfig, OmegaConf

from twinjax.core.config import conf_dir, instantiate
from twinjax.core.errors import TwinjaxError

log = logging.getLogger("twinjax")


def main() -> None:
    """Entry point of the `twinjax` command."""
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(_guarded)()


def _guarded(config: DictConfig) -> None:
    """Run, and turn what the user can mend into one line."""
    try:
        run(config)
    except TwinjaxError as error:
        print(f"twinjax: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def run(config: DictConfig) -> dict:
    """The main job on a composed configuration; returns the results that `results.json` holds."""
    import jax

    from twinjax.job import LongitudinalSettings, Run, run_longitudinal, run_single_scan

    logging.getLogger("jax").setLevel(logging.ERROR)
    _persistent_cache(jax)
    folder = Path(hydra.core.hydra_config.HydraConfig.get().runtime.output_dir)
    job = Run(folder, stages=7 if _is_virtual(config) else 5)
    text = OmegaConf.to_yaml(config, resolve=True)
    job.write_text("config.yaml", text)
    log.info("twinjax: results go to %s", folder)
    patient = _patient(job, config)
    model = instantiate({**OmegaConf.to_container(config.model, resolve=True), "domain": patient.brain_mask}, where="model")
    parts = {name: instantiate(config[name], where=name) for name in ("prior", "calibrator", "solver")}
    common = {**parts, "seed": config.seed, "config": text}
    if len(patient.visits) == 1:
        results = run_single_scan(
            job,
            patient,
            model,
            resolution_mm=config.calibration.resolution_mm,
            correlation_length_mm=config.calibration.correlation_length_mm,
            draws=config.forecast.draws,
            **common,
        )
    else:
        decision = config.decision or {"horizon_days": 120.0, "draws": 60, "options": []}
        settings = LongitudinalSettings(
            **OmegaConf.to_container(config.calibration, resolve=True),
            **OmegaConf.to_container(config.forecast, resolve=True),
            decision_horizon_days=decision["horizon_days"],
            decision_draws=decision["draws"],
            options=tuple(decision["options"]),
        )
        results = run_longitudinal(job, patient, model, settings=settings, **common)
    total = sum(job.seconds.values())
    log.info("%.0f s in all; open %s", total, folder / "report.html")
    return results


def _patient(job, config: DictConfig):
    """The patient of the configuration; a virtual one is made, scanned and sent through the imaging pipeline."""
    from twinjax.patient import PatientData
    from twinjax.patient.virtual import VirtualPatient, generate

    described = instantiate(config.patient, where="patient")
    if not isinstance(described, VirtualPatient):
        with job.stage("load the patient"):
            log.info("  %s", described)
        return described
    with job.stage("make a virtual patient and scan it (synthetic)"):
        truth = generate(described, job.folder / "raw")
    with job.stage("process and segment the scans"):
        pipeline = instantiate(config.imaging, where="imaging")
        pipeline.process(job.folder / "raw", job.folder / "processed")
        read = PatientData(described.patient_id, job.folder / "processed")
        patient = PatientData.from_visits(
            read.patient_id, read.visits, read.regimen, read.brain_mask, truth, source="synthetic"
        )
        log.info("  %s", patient)
    return patient


def _is_virtual(config: DictConfig) -> bool:
    return "virtual" in config.patient._target_


def _persistent_cache(jax) -> None:
    """Compiled programs are kept between runs: compiling is the most of a short run's time."""
    jax.config.update("jax_enable_x64", True)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "twinjax" / "jax"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
