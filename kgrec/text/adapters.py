"""What of a text model fine-tuning changes: low-rank updates of its linear layers, a prefix, or all weights.

LoRA: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022. AdaLoRA: Zhang et al., "Adaptive
Budget Allocation for Parameter-Efficient Fine-Tuning", ICLR 2023. Prefix: Li & Liang, "Prefix-Tuning: Optimizing
Continuous Prompts for Generation", ACL 2021. All three as implemented by peft.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from kgrec.config import TuneMethod
from kgrec.errors import MissingExtra, UsageError

ORTHOGONALITY_WEIGHT: Final = 0.1
"""Weight of AdaLoRA's regularization, which keeps its directions apart; peft adds it only to losses of its own."""


def adapted(model: Any, method: TuneMethod, rank: int, steps: int = 10) -> Any:
    """Return a model in which only what the method learns takes gradients.

    Args:
        model: a transformers model, of which a classification head is learned whole; it is changed.
        method: what is learned.
        rank: of the updates, or tokens of the prefix.
        steps: of training, over which AdaLoRA shares out its ranks.

    Raises:
        MissingExtra: peft is not installed.
        UsageError: the model's kind does not take the method.
    """
    if method == "full":
        return _float(model.requires_grad_(True))
    check_installed(method)
    import peft

    try:
        with warnings.catch_warnings():
            # peft advises on settings that are set right after
            warnings.simplefilter("ignore")
            return _float(peft.get_peft_model(model, _config(peft, method, rank, steps, _head(model))))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(
            f"a model of kind {model.config.model_type} cannot be fine-tuned by {method}: {error}; use method lora"
        ) from error


def check_installed(method: TuneMethod) -> None:
    """See that what a method needs is installed.

    Raises:
        MissingExtra: peft is not.
    """
    try:
        if method != "full":
            import peft  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtra(
            f'fine-tuning by {method} needs a package that is not installed; run: pip install "kgrec[tune]"'
        ) from None


def learned_weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of what takes gradients, by name."""
    return {name: p.detach().cpu().clone() for name, p in module.named_parameters() if p.requires_grad}


def load_weights(module: torch.nn.Module, weights: Mapping[str, npt.NDArray[Any] | torch.Tensor]) -> None:
    """Put back what `learned_weights` returned.

    Raises:
        UsageError: it belongs to another model.
    """
    own = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if own.keys() != weights.keys() or any(own[name].shape != weights[name].shape for name in own):
        raise UsageError("found tuned weights of another kind of model; expected those of this one: train again")
    with torch.no_grad():
        for name, p in own.items():
            p.copy_(torch.as_tensor(np.asarray(weights[name])))


def merged(module: Any, method: TuneMethod) -> Any:
    """Return a model to encode with; low-rank updates become part of its weights, so that they cost nothing."""
    return module.merge_and_unload() if method in ("lora", "adalora") else module


def regularization_loss(module: torch.nn.Module, method: TuneMethod) -> torch.Tensor | float:
    """Return what the method adds to the loss."""
    if method != "adalora":
        return 0.0
    sides = [(name, p) for name, p in module.named_parameters() if "lora_A" in name or "lora_B" in name]
    products = [p @ p.T if "lora_A" in name else p.T @ p for name, p in sides]
    return (
        ORTHOGONALITY_WEIGHT * torch.stack([(x - torch.eye(len(x), device=x.device)).norm() for x in products]).mean()
    )


def after_step(module: Any, method: TuneMethod, step: int) -> None:
    """Let the method have its say between the update of the weights and the next step."""
    if method == "adalora":
        module.base_model.update_and_allocate(step)


def memory(module: Any, method: TuneMethod) -> dict[str, dict[str, torch.Tensor]]:
    """Return what the method remembers between steps, which is AdaLoRA's importance of every weight; to be changed."""
    if method != "adalora":
        return {}
    allocator = module.base_model.rankallocator
    return {name: getattr(allocator, name) for name in ("ipt", "exp_avg_ipt", "exp_avg_unc")}


def _head(model: Any) -> list[str]:
    """Return the parts of a classifier that are learned whole, since its body may come without them; of others none."""
    if not type(model).__name__.endswith("ForSequenceClassification"):
        return []
    parts = [name for name, part in model.named_children() if any(True for _ in part.parameters())]
    return ["pooler", *(name for name in parts if name != model.base_model_prefix)]


def _config(peft: Any, method: TuneMethod, rank: int, steps: int, head: list[str]) -> Any:
    task: dict[str, Any] = {"task_type": "SEQ_CLS", "modules_to_save": head}
    task = task if head else {"task_type": "FEATURE_EXTRACTION"}
    if method == "prefix":
        return peft.PrefixTuningConfig(task_type=task["task_type"], num_virtual_tokens=rank)
    # Poolers are part of the models of some kinds, but token vectors do not go through them.
    layers = {"target_modules": "all-linear", "exclude_modules": r".*pooler.*"}
    low_rank = {"lora_alpha": 2 * rank, **task, **layers}
    if method == "lora":
        return peft.LoraConfig(r=rank, **low_rank)
    begin, end = steps // 10, steps // 5
    more = {"target_r": rank, "init_r": rank + (rank + 1) // 2, "tinit": begin, "tfinal": end, "deltaT": 5}
    return peft.AdaLoraConfig(total_step=max(steps, 1), **more, **low_rank)


def _float(module: Any) -> Any:
    """Return the module in full precision: small updates are lost in half."""
    return module.float()
