"""What a run is, in frozen dataclasses: checked when built, flags on the command line, JSON on disk."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from data_pipeline.config import DataConfig, FileOptions, check_types, require

AXES = ("data", "fsdp", "tensor")  # of the mesh of devices
MAX_HEAD_DIM = 4096  # attention in blocks (kernels/causal.py) takes exp of scores up to its root
WRITERS = ("tensorboard", "wandb", "trackio")  # of metrics, beside the run's own file


def _require_positive(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        require(value > 0, f"{name}={value} must be above 0")


@dataclass(frozen=True)
class ModelConfig:
    """The network. The defaults are the seed's: 25,296,896 parameters."""

    sequence_len: int = 512
    """Context: the length of a training window, and how many tokens each layer of attention looks back."""
    vocab_size: int = 128
    """Number of bins a return can fall into: the tokens that are predicted."""
    n_special: int = 0
    """Further tokens that are read and never predicted: beginnings, gaps, sessions; set by the data."""
    n_layer: int = 8
    """Number of transformer blocks."""
    n_head: int = 8
    """Number of query heads."""
    n_kv_head: int = 8
    """Number of key and value heads; fewer than n_head shares them in groups."""
    n_embd: int = 512
    """Width of the residual stream."""
    inputs: bool = False
    """Read volatility inputs beside each token."""
    ordinal: bool = False
    """Treat tokens as numbers: embed and predict them through smooth functions of their bins' mean values."""
    dropout: float = 0.0
    """Share of the embedding and of each block's output dropped in training."""
    dtype: Literal["auto", "float32", "bfloat16"] = "float32"
    """Precision of the matrix products, auto: bfloat16 where the machine has instructions for it; parameters, softmax,
    norms and loss stay float32."""
    attention: Literal["auto", "blocks", "xla", "cudnn"] = "auto"
    """How windows are attended to: in triangular blocks, by XLA as one masked product, or by cuDNN's fused kernel."""
    unroll: int = 0
    """Layers laid out one after another in the compiled program; 0: all of up to 12, one of more."""
    remat: Literal["none", "dots", "all"] = "none"
    """What the backward pass computes again to save memory: nothing, all but matrix products, or whole layers."""
    rope_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the rotary tables; the original rounds them to bfloat16."""

    def __post_init__(self) -> None:
        check_types(self)
        _require_positive(self, "sequence_len", "vocab_size", "n_layer", "n_head", "n_kv_head", "n_embd")
        require(
            self.n_embd % self.n_head == 0,
            f"n_embd={self.n_embd} is not a multiple of n_head={self.n_head}; "
            f"try --n_embd {self.n_head * -(-self.n_embd // self.n_head)}",
        )
        require(
            self.head_dim % 2 == 0,
            f"n_embd={self.n_embd} / n_head={self.n_head} gives heads of odd size {self.head_dim}, which cannot be "
            f"rotated in pairs; try --n_embd {self.n_embd + self.n_head}",
        )
        require(
            self.head_dim <= MAX_HEAD_DIM,
            f"n_embd={self.n_embd} / n_head={self.n_head} gives heads of size {self.head_dim}, which must be at most "
            f"{MAX_HEAD_DIM}; try --n_head {self._more_heads()}",
        )
        require(
            self.n_head % self.n_kv_head == 0,
            f"n_head={self.n_head} is not a multiple of n_kv_head={self.n_kv_head}; try --n_kv_head {self.n_head}",
        )
        require(self.unroll >= 0, f"unroll={self.unroll} must not be negative")
        require(self.n_special >= 0, f"n_special={self.n_special} must not be negative")
        require(0 <= self.dropout < 1, f"dropout={self.dropout} must be in [0, 1)")

    @property
    def head_dim(self) -> int:
        return self.n_embd // self.n_head

    @property
    def padded_vocab_size(self) -> int:
        """All tokens rounded up to a multiple of 64, as the original's tables are."""
        return 64 * -(-(self.vocab_size + self.n_special) // 64)

    def _more_heads(self) -> int:
        """The fewest heads, a multiple of those there are, whose size is even and not too large."""
        pieces = range(1, self.head_dim + 1)
        few = next(n for n in pieces if self.head_dim % (2 * n) == 0 and self.head_dim // n <= MAX_HEAD_DIM)
        return few * self.n_head


@dataclass(frozen=True)
class TrainConfig:
    """How the network is fitted. The defaults are the original train.py's, the learning rate falling at every step."""

    num_epochs: int = 10
    """Passes over the training tokens (each token is seen about twice per pass: windows overlap by half)."""
    batch_size: int = 32
    """Windows per step."""
    accumulate: int = 1
    """Parts into which a step's windows are cut, one after another, to save memory; the step is the same."""
    learning_rate: float = 5e-4
    """Peak learning rate of AdamW."""
    warmup_steps: int = 0
    """Steps in which the learning rate rises linearly to its peak."""
    schedule: Literal["cosine", "cosine_by_epoch", "wsd"] = "cosine"
    """After the warm-up: a cosine to 0, one that falls once per epoch as the original's does, or warm-up-stable-decay:
    the peak, and a straight line to 0 in the last fifth."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """AdamW for all, or Muon for the matrices of the blocks and AdamW for the tables around them."""
    weight_decay: float = 0.01
    """Decoupled weight decay of all matrices."""
    beta1: float = 0.9
    """AdamW's decay of the first moment."""
    beta2: float = 0.95
    """AdamW's decay of the second moment."""
    label_smoothing: float = 0.0
    """Share of each target's mass that training lays on the two bins beside it."""
    average_decay: float = 0.0
    """Keep this exponentially weighted mean of the weights, and evaluate it; 0 keeps the last weights."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this global norm."""
    skip_nonfinite: int = 0
    """Leave out this many steps whose loss or gradient is not finite, before one stops the run."""
    patience: int = 0
    """Stop after this many epochs without a better validation loss; 0 trains all epochs."""
    init_from: str | None = None
    """Start from the weights of this run, of the same network and kind of tokens; of runs, separated by commas, the
    seed counts which."""
    seed: int = 0
    """Seed of the weights, the batches and the dropout."""
    mesh: str = "data=-1"
    """Devices that share the windows (data), the windows and the weights (fsdp), or the heads (tensor), like
    data=-1,fsdp=1,tensor=1; -1 takes those that are left."""
    param_data_ratio: float = 5.0
    """Warn when the network has more parameters than this per training token."""
    log_to: str = ""
    """Also write metrics to these, separated by commas: tensorboard, wandb, trackio."""

    def __post_init__(self) -> None:
        check_types(self)
        positive = "num_epochs", "batch_size", "accumulate", "learning_rate", "max_grad_norm", "param_data_ratio"
        _require_positive(self, *positive)
        for name in ("warmup_steps", "weight_decay", "skip_nonfinite", "patience", "seed"):
            require(getattr(self, name) >= 0, f"{name}={getattr(self, name)} must not be negative")
        for name in ("beta1", "beta2", "label_smoothing", "average_decay"):
            require(0 <= getattr(self, name) < 1, f"{name}={getattr(self, name)} must be in [0, 1)")
        require(
            self.batch_size % self.accumulate == 0,
            f"batch_size={self.batch_size} cannot be cut into accumulate={self.accumulate} equal parts; try "
            f"--batch_size {self.accumulate * -(-self.batch_size // self.accumulate)}",
        )
        sizes = list(self.mesh_axes.values())
        require(
            set(self.mesh_axes) == set(AXES) and sizes.count(-1) <= 1 and 0 not in sizes,
            f"mesh={self.mesh}: write sizes of {', '.join(AXES)}, like data=-1,fsdp=2; at most one is -1",
        )
        require(self.seed < 2**32, f"seed={self.seed} must be below 2**32")
        for name in self.writers:
            require(name in WRITERS, f"log_to={self.log_to}: {name!r} is no writer; choose from {', '.join(WRITERS)}")

    @property
    def mesh_axes(self) -> dict[str, int]:
        """The sizes in `mesh`; axes that are left out have one device, but data takes all where nothing else does."""
        parts = [part.partition("=") for part in self.mesh.replace(" ", "").split(",")]
        given = {name: int(size) if size == "-1" or size.isdecimal() else 0 for name, _, size in parts}
        return dict.fromkeys(AXES, 1) | {"data": 1 if -1 in given.values() else -1} | given

    @property
    def writers(self) -> tuple[str, ...]:
        """The names in `log_to`, each once."""
        return tuple(dict.fromkeys(name.strip() for name in self.log_to.split(",") if name.strip()))


@dataclass(frozen=True)
class Config:
    """One run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one step trains on."""
        return self.train.batch_size * self.model.sequence_len

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Config:
        """Rebuild from `to_json`. Raises ValueError naming fields that are missing, unknown or out of range."""
        data = dict(value.get("data", {}))
        if "files" in data:
            data["files"] = _from_json(FileOptions, data["files"], "files")
        return cls(
            _from_json(ModelConfig, value.get("model", {}), "model"),
            _from_json(DataConfig, data, "data"),
            _from_json(TrainConfig, value.get("train", {}), "train"),
        )


def _from_json(kind: type, given: dict[str, Any], part: str) -> Any:
    known = {f.name for f in fields(kind)}
    require(known == set(given), f"{part}: fields {sorted(known ^ set(given))} are missing or unknown")
    return kind(**given)
