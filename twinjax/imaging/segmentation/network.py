"""What a trained network expects and gives, as data beside its weights."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from twinjax.core.errors import InputError, MissingDependencyError
from twinjax.imaging.labels import CONVENTIONS, REGIONS, from_regions, to_internal

MODALITIES = ("T1", "T1CE", "T2", "FLAIR")
NORMALIZATIONS = ("nonzero_zscore",)
# A class in the softmax head for each of background, necrotic core, oedema and enhancing tumour.
CLASSES = 4
HEADS = ("softmax", "sigmoid")
OPPOSITES = str.maketrans("RAI", "LPS")
# Of the encoder and decoder (Myronenko 2018, and MONAI's BraTS bundle).
BLOCKS_DOWN, BLOCKS_UP = (1, 2, 2, 4), (1, 1, 1)


@dataclass(frozen=True)
class NetworkDescription:
    """How a SegResNet was trained; another channel order or normalisation would ruin its result without an error.

    **Fields:**

    - `channels`: the four modalities, in the order of training.
    - `normalization`: `"nonzero_zscore"`, mean 0 and deviation 1 over the voxels of the brain, channel by channel.
    - `head`: `"softmax"` gives one of four classes, `"sigmoid"` three regions that overlap.
    - `convention`: of a softmax head, a name of `twinjax.imaging.labels` whose first four labels in ascending
      order are the classes.
    - `regions`: of a sigmoid head, the names of `twinjax.imaging.labels.REGIONS` in the order of the outputs.
    - `init_filters`: of the first layer, 16 in the publication, a multiple of 8.
    - `dropout`: probability after the first layer; matters in training only.
    - `voxel_mm`: edge of the isotropic voxels (mm); `orientation`: of the voxel axes, LPS in BraTS files.
    - `window`: edge of the windows (voxels) that it is applied in, a multiple of 8. Group normalisation takes its
      statistics over the window: one much larger than the crops of training shifts them and costs overlap.
    - `training_data`: for people, such as "synthetic".

    Raises `InputError` for values outside these.
    """

    channels: tuple[str, ...]
    normalization: str
    head: str = "softmax"
    convention: str | None = None
    regions: tuple[str, ...] = ()
    init_filters: int = 16
    dropout: float = 0.0
    voxel_mm: float = 1.0
    orientation: str = "LPS"
    window: int = 96
    training_data: str = ""

    def __post_init__(self):
        if sorted(self.channels) != sorted(MODALITIES):
            raise InputError(
                f"channels must be {', '.join(MODALITIES)} in the order of training, got {list(self.channels)}"
            )
        if self.normalization not in NORMALIZATIONS:
            raise InputError(f"normalization must be '{NORMALIZATIONS[0]}', got '{self.normalization}'; train with it")
        if self.head not in HEADS:
            raise InputError(f"head must be one of {', '.join(HEADS)}, got '{self.head}'")
        if self.head == "softmax" and (self.convention not in CONVENTIONS or self.regions):
            raise InputError(
                f"a softmax head needs a convention of {', '.join(CONVENTIONS)} and no regions, got convention "
                f"'{self.convention}', regions {list(self.regions)}"
            )
        if self.head == "sigmoid" and (sorted(self.regions) != sorted(REGIONS) or self.convention is not None):
            raise InputError(
                f"a sigmoid head needs the regions {', '.join(REGIONS)} in the order of the outputs and no convention, "
                f"got regions {list(self.regions)}, convention '{self.convention}'"
            )
        if not (isinstance(self.init_filters, int) and self.init_filters > 0 and self.init_filters % 8 == 0):
            raise InputError(f"init_filters must be a multiple of 8, got {self.init_filters}")
        if not (isinstance(self.window, int) and self.window >= 16 and self.window % 8 == 0):
            raise InputError(f"window must be a multiple of 8, at least 16, got {self.window}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must lie in [0, 1), got {self.dropout}")
        if not 0.1 <= self.voxel_mm <= 10:
            raise InputError(f"voxel_mm must lie between 0.1 and 10, got {self.voxel_mm}")
        if "".join(sorted(self.orientation.translate(OPPOSITES))) != "LPS":
            raise InputError(f"orientation must be three letters such as LPS or RAS, got '{self.orientation}'")

    @classmethod
    def create(cls, settings: Any, where: str) -> "NetworkDescription":
        """From a mapping of the fields; `where` names it in the `InputError` of one that does not do."""
        known = [field.name for field in fields(cls)]
        if not isinstance(settings, Mapping) or not {"channels", "normalization"} <= set(settings):
            raise InputError(f"{where} must be a mapping that names at least channels and normalization")
        if unknown := sorted(set(settings) - set(known)):
            raise InputError(f"{where}: {', '.join(map(str, unknown))} unknown; the keys are {', '.join(known)}")
        # JSON and configs give lists and whole numbers.
        kinds = {"channels": tuple, "regions": tuple, "dropout": float, "voxel_mm": float}
        try:
            return cls(**{name: kinds.get(name, lambda value: value)(value) for name, value in settings.items()})
        except (InputError, TypeError, ValueError) as error:
            raise InputError(f"{where}: {error}") from error

    @classmethod
    def read(cls, path: Path) -> "NetworkDescription":
        """From the JSON file beside the weights."""
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path.name} beside the weights is missing or broken; write channels, normalization and what else "
                "docs/segmentation.md names into it"
            ) from error
        return cls.create(settings, path.name)

    @property
    def outputs(self) -> int:
        return CLASSES if self.head == "softmax" else len(self.regions)

    def network(self):
        """The untrained `monai.networks.nets.SegResNet`; `MissingDependencyError` without MONAI."""
        try:
            from monai.networks.nets.segresnet import SegResNet
        except ImportError as error:
            raise MissingDependencyError("SegResNet needs MONAI: pip install 'twinjax[imaging]'") from error
        return SegResNet(
            blocks_down=BLOCKS_DOWN,
            blocks_up=BLOCKS_UP,
            init_filters=self.init_filters,
            in_channels=len(self.channels),
            out_channels=self.outputs,
            dropout_prob=self.dropout or None,
        )

    def load(self, path: Path):
        """The network with the weights of `path` (`.safetensors`, or a torch file of a plain state dict), for use.

        Raises `InputError` for pickled objects, weights of another network, and weights that were saved with
        another description.
        """
        network = self.network()
        state, saved = _read_weights(path)
        if saved is not None and (differing := self._differing(saved)):
            raise InputError(
                f"{path.name} was trained with {', '.join(f'{name} {getattr(saved, name)!r}' for name in differing)}; "
                f"its description says {', '.join(f'{name} {getattr(self, name)!r}' for name in differing)}: correct it"
            )
        try:
            network.load_state_dict({name: value.float() for name, value in state.items()})
        except (RuntimeError, AttributeError, TypeError) as error:
            raise InputError(
                f"{path.name} does not fit SegResNet with {self.init_filters} filters, {len(self.channels)} channels "
                f"and {self.outputs} outputs{_shape_of(state)}; correct the description or use other weights"
            ) from error
        return network.eval()

    def save(self, network, path: Path) -> None:
        """Weights in half precision as `.safetensors`, the description in their header and as JSON beside them."""
        import torch
        from safetensors.torch import save_file

        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self), indent=2)
        state = {name: value.detach().to(torch.float16).contiguous() for name, value in network.state_dict().items()}
        save_file(state, path, metadata={"description": text})
        path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")

    def labels(self, logits, inside: np.ndarray) -> np.ndarray:
        """(X, Y, Z) int8 internal labels of `logits`, an (outputs, X, Y, Z) tensor, where `inside`; 0 elsewhere."""
        if self.head == "softmax":
            values = np.asarray(sorted(CONVENTIONS[str(self.convention)])[:CLASSES])
            return to_internal(values[logits.argmax(dim=0).numpy()] * inside, str(self.convention))
        # The sigmoid is above one half where its argument is positive.
        return from_regions({name: (logits[i] > 0).numpy() & inside for i, name in enumerate(self.regions)})

    def _differing(self, other: "NetworkDescription") -> list[str]:
        names = [field.name for field in fields(self) if field.name not in ("dropout", "window", "training_data")]
        return [name for name in names if getattr(self, name) != getattr(other, name)]


def _read_weights(path: Path) -> tuple[dict, NetworkDescription | None]:
    """The state dict, and the description that it was saved with, if any."""
    import torch
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        if path.suffix != ".safetensors":
            # weights_only: an ordinary torch file is a program, and would run.
            return torch.load(path, map_location="cpu", weights_only=True), None
        state = load_file(path)
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("description")
        saved = None if text is None else json.loads(text)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, UnpicklingError, SafetensorError) as error:
        raise InputError(f"{path.name} is no plain weights file; save the state dict as .safetensors") from error
    return state, None if saved is None else NetworkDescription.create(saved, f"header of {path.name}")


def _shape_of(state: Any) -> str:
    try:
        (filters, channels), outputs = state["convInit.conv.weight"].shape[:2], state["conv_final.2.conv.bias"].shape[0]
    except (KeyError, AttributeError, TypeError, ValueError, IndexError):
        return ""
    return f": it has {filters} filters, {channels} channels and {outputs} outputs"
