"""Methods of fine-tuning a text model: low-rank updates of its linear layers, a prefix, or all weights.

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
"""Weight of AdaLoRA's orthogonality regularization, which peft adds only to its own losses."""


def adapted(model: Any, method: TuneMethod, rank: int, steps: int = 10) -> Any:
    """Return a model in which only the weights that the method trains require gradients.

    Args:
        model: a transformers model, changed in place; a classification head is trained in full.
        method: the method of fine-tuning.
        rank: of the updates, or tokens of the prefix.
        steps: of training, over which AdaLoRA distributes its ranks.

    Raises:
        MissingExtra: peft is not installed.
        UsageError: the method does not support the type of the model.
    """
    if method == "full":
        return _float(model.requires_grad_(True))
    check_installed(method)
    import peft

    try:
        with warnings.catch_warnings():
            # peft warns about settings that are set right after
            warnings.simplefilter("ignore")
            return _float(peft.get_peft_model(model, _config(peft, method, rank, steps, _head(model))))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(
            f"{method} does not support models of type {model.config.model_type}: {error}; "
            "expected another method, such as lora"
        ) from error


def check_installed(method: TuneMethod) -> None:
    """Check that the packages that a method needs are installed.

    Raises:
        MissingExtra: peft is not installed.
    """
    try:
        if method != "full":
            import peft  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtra(
            f'fine-tuning by {method} needs a package that is not installed; run: pip install "kgrec[tune]"'
        ) from None


def learned_weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of the weights that require gradients, by name."""
    return {name: p.detach().cpu().clone() for name, p in module.named_parameters() if p.requires_grad}


def load_weights(module: torch.nn.Module, weights: Mapping[str, npt.NDArray[Any] | torch.Tensor]) -> None:
    """Set the weights that `learned_weights` returned.

    Raises:
        UsageError: the weights are those of another model.
    """
    own = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if own.keys() != weights.keys() or any(own[name].shape != weights[name].shape for name in own):
        raise UsageError("found tuned weights of another model; expected those of this one: train again")
    with torch.no_grad():
        for name, p in own.items():
            p.copy_(torch.as_tensor(np.asarray(weights[name])))


def merged(module: Any, method: TuneMethod) -> Any:
    """Return a model for encoding, with low-rank updates merged into its weights, so that encoding is as fast."""
    return module.merge_and_unload() if method in ("lora", "adalora") else module


def regularization_loss(module: torch.nn.Module, method: TuneMethod) -> torch.Tensor | float:
    """Return the regularization term of the method; 0 for all but AdaLoRA."""
    if method != "adalora":
        return 0.0
    sides = [(name, p) for name, p in module.named_parameters() if "lora_A" in name or "lora_B" in name]
    products = [p @ p.T if "lora_A" in name else p.T @ p for name, p in sides]
    return (
        ORTHOGONALITY_WEIGHT * torch.stack([(x - torch.eye(len(x), device=x.device)).norm() for x in products]).mean()
    )


def after_step(module: Any, method: TuneMethod, step: int) -> None:
    """Update the state of the method after an optimizer step: AdaLoRA reallocates its ranks."""
    if method == "adalora":
        module.base_model.update_and_allocate(step)


def method_state(module: Any, method: TuneMethod) -> dict[str, dict[str, torch.Tensor]]:
    """Return the mutable state of the method between steps: AdaLoRA's importance of every weight."""
    if method != "adalora":
        return {}
    allocator = module.base_model.rankallocator
    return {name: getattr(allocator, name) for name in ("ipt", "exp_avg_ipt", "exp_avg_unc")}


def _head(model: Any) -> list[str]:
    """Return the modules of a classifier to train in full, as checkpoints may lack them; none for other models."""
    if not type(model).__name__.endswith("ForSequenceClassification"):
        return []
    parts = [name for name, part in model.named_children() if any(True for _ in part.parameters())]
    return ["pooler", *(name for name in parts if name != model.base_model_prefix)]


def _config(peft: Any, method: TuneMethod, rank: int, steps: int, head: list[str]) -> Any:
    task: dict[str, Any] = {"task_type": "SEQ_CLS", "modules_to_save": head}
    task = task if head else {"task_type": "FEATURE_EXTRACTION"}
    if method == "prefix":
        return peft.PrefixTuningConfig(task_type=task["task_type"], num_virtual_tokens=rank)
    # Some model types have a pooler, which token vectors do not pass through.
    layers = {"target_modules": "all-linear", "exclude_modules": r".*pooler.*"}
    low_rank = {"lora_alpha": 2 * rank, **task, **layers}
    if method == "lora":
        return peft.LoraConfig(r=rank, **low_rank)
    begin, end = steps // 10, steps // 5
    more = {"target_r": rank, "init_r": rank + (rank + 1) // 2, "tinit": begin, "tfinal": end, "deltaT": 5}
    return peft.AdaLoraConfig(total_step=max(steps, 1), **more, **low_rank)


def _float(module: Any) -> Any:
    """Return the module in full precision: half precision loses small updates."""
    return module.float()
