"""Experiment: what to train on what; strict, in YAML, with overrides by dotted path."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from mkg_builder.errors import RecipeError, UnknownNameError
from mkg_builder.strict import Strict, parse_yaml, set_dotted, validate
from vlkge.errors import ExperimentError

Modality = Literal["structural", "image", "text"]
ObservedName = Literal["degree", "links", "mentions"]
CompileMode = Literal["none", "default", "reduce-overhead"]
Positive = Annotated[int, Field(ge=1)]


class _Section(Strict):
    model_config = ConfigDict(allow_inf_nan=False)


class ModelConfig(_Section):
    """How an entity becomes a vector and a triple a score.

    Attributes:
        scorer: a registered scorer, or `module:Name`.
        fusion: a registered fusion, or `module:Name`.
        modalities: what an entity's vector is made of; none given: structural and all that the features hold.
        dim: components of one modality's vector.
        projection: of image and text vectors to `dim`: `trained`, `frozen` at its seeded orthogonal start, or
            `fitting`: trained where the sizes differ, none where they are equal, as in the paper.
        normalise: of image and text vectors: `standardise` per component by entities seen in train, `l2`, `none`.
        structural: of the type that has unseen members, entities `shared` one free vector or had, where seen in
            train, their `own`; `masked`: as `own`, and unseen ones a vector of zeros that counts as present, as in
            the paper. Entities of other types have their own in any case.
        dropout: share of the components of image and text vectors that a training step leaves out.
        imaginary: of complex vectors: `free`, as in the paper, or `fused` of the modalities like the real part.
        modality_dropout: chance that a training step does without one modality of an entity that has several.
        coverage: by modality, the least share of entities that must have a vector, among those of each type that has
            any; fewer are refused.
        reciprocal: whether each relation has an inverse of its own parameters, learned from and asked for heads
            (Lacroix et al., ICML 2018).
        observed: what a score also sees of a candidate, with weights per relation (Toutanova & Chen, CVSC 2015): the
            `degree` it has already, the `links` from the entity asked about, `mentions` of one in the other's text.
            Each relation is asked both ways, so that it needs `reciprocal`.
    """

    scorer: str = "complex"
    fusion: str = "average"
    modalities: list[Modality] | None = Field(default=None, min_length=1)
    dim: Positive = 128
    projection: Literal["trained", "frozen", "fitting"] = "trained"
    normalise: Literal["standardise", "l2", "none"] = "standardise"
    structural: Literal["shared", "own", "masked"] = "shared"
    dropout: float = Field(default=0.5, ge=0.0, lt=1.0)
    imaginary: Literal["free", "fused"] = "free"
    modality_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    coverage: dict[Literal["image", "text"], Annotated[float, Field(ge=0.0, le=1.0)]] = {}
    reciprocal: bool = False
    observed: list[ObservedName] = []

    @model_validator(mode="after")
    def _consistent(self) -> "ModelConfig":
        if self.modalities and len({*self.modalities}) < len(self.modalities):
            raise ValueError(f"modalities names one twice: {', '.join(self.modalities)}")
        if self.observed and not self.reciprocal:
            raise ValueError("observed needs reciprocal (--reciprocal), since it asks each relation both ways")
        return self


class TrainingConfig(_Section):
    """How the model learns.

    Attributes:
        epochs: at most so many.
        batch_size: positives per step.
        loss: `logistic` as in the paper, or `softmax`, the cross-entropy of the right answer among its negatives.
        negatives: per positive, or `all` of the pool (1-vs-all).
        share_negatives: draw once for all positives of a batch (of a relation, where the pool is the relation's).
        distinct: never give one positive the same negative twice.
        negative_pool: replacements are the relation's own ends in train (`relation`) or any entity of train.
        corrupt: which end is replaced; `auto`: `tail` in the inductive setting, else `both`; with reciprocal relations
            it is the tail in any case.
        known: what a negative must not be: a triple of `train`; of `all` splits; or of all splits in either
            direction, as in the official code (`reference`).
        sample: share of a relation's train triples that an epoch takes, by relation; others are taken whole.
        regularizer: of the positives' vectors: `n3`, `dura` or `none`.
        regularizer_weight: what it is multiplied with, per positive.
        learning_rate: of Adagrad.
        validate_every: so many epochs, and after the last; the best validated epoch is kept.
        patience: stop after so many epochs without a better validation MRR.
        seed: of everything random.
        device: a torch device, `cpu` or `cuda`.
        precision: of matrix products: `float32`, `bfloat16`, or on a GPU `tf32`.
        compile: the mode of `torch.compile` for what a batch costs: `none`, `default`, or with CUDA graphs
            `reduce-overhead`; nothing is gained by it on a CPU (decisions/0010).
    """

    epochs: Positive = 100
    batch_size: Positive = 512
    loss: Literal["logistic", "softmax"] = "logistic"
    negatives: Positive | Literal["all"] = 4
    share_negatives: bool = False
    distinct: bool = False
    negative_pool: Literal["relation", "entities"] = "relation"
    corrupt: Literal["auto", "tail", "both"] = "auto"
    known: Literal["train", "all", "reference"] = "train"
    sample: dict[str, Annotated[float, Field(ge=0.0, le=1.0)]] = {}
    regularizer: Literal["none", "n3", "dura"] = "none"
    regularizer_weight: float = Field(default=0.0, ge=0.0)
    learning_rate: float = Field(default=0.1, gt=0.0)
    validate_every: Positive = 1
    patience: Positive = 10
    seed: int = Field(default=42, ge=0, lt=2**63)
    device: str = "cpu"
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    compile: CompileMode = "none"


class Published(_Section):
    """What a paper reports for an experiment, on the test split.

    Attributes:
        source: where it stands.
        protocol: what it was measured under.
        mrr, hits_at_1, hits_at_3, hits_at_10: the numbers.
    """

    source: str
    protocol: str = "reference"
    mrr: float
    hits_at_1: float
    hits_at_3: float
    hits_at_10: float


class Experiment(_Section):
    """One training, whole: data, model, training, protocol of validation.

    Attributes:
        dataset: a release folder, or `ORG/NAME[@REVISION]` on the Hub.
        features: the folder that `vlkge encode` wrote.
        needs: what to type to have the data set and the features; said when one of them is not there.
        published: what a paper reports for it; `vlkge compare` puts it beside the run. An override of more than the
            seed, the device and where the data lie takes it away.
    """

    dataset: str | None = None
    features: str | None = None
    needs: list[str] = []
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    protocol: str = "strict"
    published: Published | None = None


def shipped_experiments() -> dict[str, Path]:
    """Every experiment that comes with the package, by name."""
    package = Path(__file__).parent
    inside = package / "experiments"
    folder = inside if inside.is_dir() else package.parent / "recipes" / "experiments"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_experiment(name: str) -> Path:
    """The file of an experiment given by its shipped name or by its path.

    Raises:
        UnknownNameError: neither a shipped experiment nor a file.
    """
    shipped = shipped_experiments()
    if name in shipped or Path(name).is_file():
        return shipped.get(name, Path(name))
    raise UnknownNameError("experiment", name, shipped, "or give the path of a YAML file")


def load_experiment(path: Path | None = None, overrides: Iterable[str] = ()) -> Experiment:
    """The experiment of a YAML file, or the default one, with some values replaced.

    Args:
        path: the file; safe YAML of at most 1 MB, without aliases and repeated keys.
        overrides: `dotted.key=value`, for example `model.dim=256`; the last one of a key counts.

    Raises:
        ExperimentError: no such file, not such YAML, an unknown key (names the nearest) or a wrong value.
    """
    if path and not path.is_file():
        raise ExperimentError(f"no experiment file {path}")
    try:
        values = parse_yaml(path) if path else {}
        overrides = list(overrides)
        if not all(_keeps_comparable(values, override) for override in overrides):
            values.pop("published", None)
        for override in overrides:
            set_dotted(values, override)
        return validate(Experiment, values, str(path) if path else "experiment")
    except RecipeError as error:
        raise ExperimentError(str(error)) from None


def _keeps_comparable(values: Mapping[str, Any], override: str) -> bool:
    """Whether what a paper reports of an experiment can stand beside one with this change."""
    key, _, value = override.partition("=")
    if key == "dataset":  # the same release may lie elsewhere
        return Path(value.strip("\"'")).name == Path(values.get("dataset") or "").name
    return key in ("training.seed", "training.device", "training.compile", "features", "published")


def parse_experiment(values: Mapping[str, Any], source: str = "experiment") -> Experiment:
    """The experiment that plain values describe, as `Experiment.model_dump` gives them.

    Raises:
        ExperimentError: an unknown key or a wrong value; names its dotted path.
    """
    try:
        return validate(Experiment, values, source)
    except RecipeError as error:
        raise ExperimentError(str(error)) from None
