"""Enhanced multi-frame files (MR, CT, PET): each frame as an `Instance`, as if it were a file of its own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from twinjax.core.errors import InputError
from twinjax.imaging.dicom.instance import Instance, first_item, header_of, read_dataset, values_of

# Enhanced CT, MR and PET, and what is converted from classic files (DICOM PS3.4 B.5).
_STORAGE = "1.2.840.10008.5.1.4.1.1."
ENHANCED_PET = _STORAGE + "130"
ENHANCED = (*(_STORAGE + kind for kind in ("2.1", "2.2", "4.1", "4.4", "128.1")), ENHANCED_PET)
SHARED, PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
# Functional group to its values, by the keywords of a classic file (DICOM PS3.3 C.7.6.16.2, C.8.13.5, C.8.22.5).
GROUPS: dict[str, dict[str, str]] = {
    "PixelMeasuresSequence": {"PixelSpacing": "PixelSpacing"},
    "PlanePositionSequence": {"ImagePositionPatient": "ImagePositionPatient"},
    "PlaneOrientationSequence": {"ImageOrientationPatient": "ImageOrientationPatient"},
    "PixelValueTransformationSequence": {k: k for k in ("RescaleSlope", "RescaleIntercept", "RescaleType")},
    "FrameContentSequence": {"FrameAcquisitionDateTime": "AcquisitionDateTime"},
    "TemporalPositionSequence": {"TemporalPositionTimeOffset": "TemporalPositionTimeOffset"},
    "CardiacSynchronizationSequence": {"NominalCardiacTriggerDelayTime": "TriggerTime"},
    "MRTimingAndRelatedParametersSequence": {"RepetitionTime": "RepetitionTime"},
    "MREchoSequence": {"EffectiveEchoTime": "EchoTime"},
    "MRModifierSequence": {"InversionTimes": "InversionTime"},
    "MRImageFrameTypeSequence": {"FrameType": "ImageType"},
    "CTImageFrameTypeSequence": {"FrameType": "ImageType"},
    "PETFrameTypeSequence": {"FrameType": "ImageType"},
}
# Of converted files: what the classic ones had and the enhanced kind has no place for.
UNASSIGNED = ("UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence")
# More MBq than anybody is given: some write Bq where the standard has MBq.
IMPOSSIBLE_MBQ = 1e5


def is_multiframe(instance: Instance) -> bool:
    return instance.text("SOPClassUID") in ENHANCED


def frames(instance: Instance) -> list[Instance]:
    """An `Instance` for each frame, in the order of the file; values that the frame does not have are missing.

    Raises `InputError` for a file that is broken or describes more or fewer frames than it says it has.
    """
    tags: list[Any] = [SHARED, PER_FRAME, "NumberOfFrames", "ContrastBolusAgentSequence", "DecayCorrected"]
    tags += ["AttenuationCorrected", "DecayCorrectionDateTime", "RadiopharmaceuticalInformationSequence"]
    dataset = read_dataset(instance.path, instance.file, specific_tags=tags, stop_before_pixels=True)
    count = int(instance.number("NumberOfFrames"))
    items = dataset.get(PER_FRAME) or []
    if count < 1 or len(items) != count:
        raise InputError(f"{instance.file} has {count} frames and describes {len(items)}; export it again")
    common = {k: v for k, v in instance.header.items() if k != "NumberOfFrames"}
    agent = values_of(first_item(dataset, "ContrastBolusAgentSequence"), ("CodeMeaning",)).get("CodeMeaning")
    if agent:
        common.setdefault("ContrastBolusAgent", agent)
    if instance.text("SOPClassUID") == ENHANCED_PET:
        common |= _pet(dataset, instance)
    shared = first_item(dataset, SHARED)
    common |= _of_groups(shared)
    found = []
    for number, item in enumerate(items):
        header = common | _of_groups(item)
        if "RealWorldCodeValue" in header and instance.text("SOPClassUID") == ENHANCED_PET:
            header |= _pet_units(header)
        file = f"{instance.file} frame {number + 1}"
        found.append(
            replace(instance, file=file, header=header, pixel_bytes=instance.pixel_bytes // count, frame=number)
        )
    return found


def _of_groups(item: Any) -> dict[str, Any]:
    """What a functional group item, shared or of a frame, says in the keywords of a classic header."""
    found = header_of(item)
    for sequence in UNASSIGNED:
        found |= header_of(first_item(item, sequence))
    for sequence, keywords in GROUPS.items():
        values = values_of(first_item(item, sequence), tuple(keywords))
        found |= {keywords[key]: value for key, value in values.items()}
    return found


def _pet(dataset: Any, instance: Instance) -> dict[str, Any]:
    """What SUV needs, in the words of a classic PET file (DICOM PS3.3 C.8.22.4, C.8.22.6)."""
    corrected = {"DECY": "DecayCorrected", "ATTN": "AttenuationCorrected"}
    flags = values_of(dataset, tuple(corrected.values()))
    found: dict[str, Any] = {"CorrectedImage": [k for k, keyword in corrected.items() if flags.get(keyword) == "YES"]}
    found |= values_of(dataset, ("DecayCorrectionDateTime",))
    tracer = first_item(
        first_item(dataset, "RadiopharmaceuticalInformationSequence"), "RadiopharmaceuticalCodeSequence"
    )
    if name := values_of(tracer, ("CodeMeaning",)).get("CodeMeaning"):
        found["Radiopharmaceutical"] = name
    dose = instance.number("RadionuclideTotalDose", 0.0)
    if dose > 0:
        found["RadionuclideTotalDose"] = dose * 1e6 if dose < IMPOSSIBLE_MBQ else dose
    return found


def _pet_units(header: Mapping[str, Any]) -> dict[str, Any]:
    """The units of the voxels, which an enhanced file gives with its real world values alone."""
    code = str(header["RealWorldCodeValue"]).lower()
    known = {"bq/ml": "BQML", "{suvbw}g/ml": "GML", "g/ml{suvbw}": "GML"}
    slope, intercept = (header.get(f"RealWorldValue{name}") for name in ("Slope", "Intercept"))
    return {"Units": known.get(code, code), "RescaleSlope": slope, "RescaleIntercept": intercept or 0}
