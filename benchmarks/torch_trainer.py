"""Training in PyTorch: as the original does it, and the fastest that we know how to write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.exported import ORIGINAL
from benchmarks.torch_gpt import GPTConfig, TorchGPT
from data_pipeline import TokenDataset
from mqc_jax.config import Config

BATCH = 32  # windows scored at once


class TorchTrainer:
    """Takes the steps that `exported.export` wrote down; the data is on the device."""

    def __init__(self, config: Config, dataset: TokenDataset, exported: Path, way: str, dropout: float):
        self.settings, self.length = config.train, config.model.sequence_len
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(config.train.seed)
        with np.load(exported, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored}
        self.windows, self.rates = torch.as_tensor(arrays["windows"], dtype=torch.int64), arrays["rates"]
        self.validation_rows, self.validation_scored = arrays["validation_rows"], arrays["validation_scored"]
        self.per_epoch = int(arrays["per_epoch"])
        self.tokens = torch.as_tensor(np.array(dataset.tokens, np.int64)).to(self.device)
        self.inputs = None
        if config.model.inputs and dataset.market is not None:
            self.inputs = torch.as_tensor(np.array(dataset.market.inputs, np.float32)).to(self.device)

        fields = {name: getattr(config.model, name) for name in GPTConfig.__dataclass_fields__ if name != "n_inputs"}
        fields |= {"dropout": dropout, "n_inputs": 0 if self.inputs is None else self.inputs.shape[1]}
        rope_dtype = getattr(torch, config.model.rope_dtype)
        self.model = TorchGPT(GPTConfig(**fields), rope_dtype, arrays.get("basis"), arrays.get("log_masses"))
        self.model.load_state_dict({name[2:]: torch.as_tensor(w) for name, w in arrays.items() if name[:2] == "w:"})
        self.model.to(self.device)
        self.parameters = list(self.model.parameters())
        self.half = way.startswith("bfloat16")
        original = way == ORIGINAL
        if not original and self.device.type == "cuda":
            torch.set_float32_matmul_precision("high")
        self.loss = torch.compile(self.model.loss) if way.endswith("compiled") else self.model.loss
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            self.rates[0],
            (self.settings.beta1, self.settings.beta2),
            weight_decay=self.settings.weight_decay,
            fused=None if original else True,
        )
        self.average = [p.detach().clone() for p in self.parameters] if self.settings.average_decay else None

    def steps(self, first: int, n: int) -> list[float]:
        """Take n steps from step `first`; their losses before each update, nats."""
        losses = [self._step(step) for step in range(first, first + n)]
        return torch.stack(losses).tolist()

    def _batch(self, first_B: Tensor) -> tuple[Tensor, Tensor | None]:
        rows_BT = (first_B[:, None] + torch.arange(self.length + 1)).to(self.device)
        return self.tokens[rows_BT], None if self.inputs is None else self.inputs[rows_BT[:, :-1]]

    def _step(self, step: int) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = float(self.rates[step])
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            loss = self.loss(*self._batch(self.windows[step]))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.max_grad_norm)
        self.optimizer.step()
        if self.average is not None:
            with torch.no_grad():
                torch._foreach_lerp_(self.average, self.parameters, 1 - self.settings.average_decay)
        return loss.detach()

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Mean −ln p over the validation rows, nats, of the mean of the weights where there is one."""
        kept = [p.detach().clone() for p in self.parameters]
        torch._foreach_copy_(self.parameters, self.average or kept)
        self.model.eval()
        total = 0.0
        for low in range(0, len(self.validation_rows), BATCH):
            rows, scored = self.validation_rows[low : low + BATCH], self.validation_scored[low : low + BATCH]
            rows_BT = torch.as_tensor(rows).to(self.device)
            inputs = None if self.inputs is None else self.inputs[rows_BT[:, :-1]]
            tokens = self.tokens[rows_BT]
            log_p = torch.log_softmax(self.model(tokens[:, :-1], inputs), -1)
            nats = -log_p.gather(-1, tokens[:, 1:, None])[..., 0]
            total += float(nats[torch.as_tensor(scored).to(self.device)].double().sum())
        self.model.train()
        torch._foreach_copy_(self.parameters, kept)
        return total / int(self.validation_scored.sum())
