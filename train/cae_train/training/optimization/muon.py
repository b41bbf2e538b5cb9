"""Muon: the momentum of each convolution's kernel, as a matrix, is made orthogonal before it is applied.

Every direction of a kernel then learns at the same pace, where Adam's steps are dominated by a few. On the small
networks here that is worth more than any change of the network: 0.5 dB after 6,000 batches at 8 KMAC/px (the rows
`muon` of tests/benchmarks/training/candidates.md).

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), with the iteration's
coefficients from there; the scale that makes one learning rate fit both kinds of parameters, Liu et al., "Muon is
scalable for LLM training" (2025). Parameters that are not matrices (biases, and kernels of depthwise convolutions,
whose rows share no input) are updated by Adam (Kingma and Ba, ICLR 2015).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

ITERATIONS, COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)
UPDATE_RMS = 0.2  # root mean square of an update at learning rate 1, as measured for AdamW


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest (semi-)orthogonal matrices, roughly: singular values of 0.7 to 1.2; float32 K x m x n -> K x m x n.

    The iteration multiplies x by a polynomial of its Gram matrix; all those polynomials commute, so they are gathered
    on the small Gram matrix and applied to x once, at less than half the cost.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    gram = x @ x.mT
    gathered = torch.eye(len(gram[0]), device=x.device)
    for left in reversed(range(ITERATIONS)):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        gathered = factor @ gathered
        if left:
            gram = factor @ gram @ factor
    result: Tensor = gathered @ x
    return result.mT if tall else result


class Muon(torch.optim.Optimizer):
    """Muon for parameters of two dimensions and more, Adam for the others.

    Args:
        parameters: what is trained; a kernel C x ... counts as a matrix with C rows.
        lr: learning rate of both.
        momentum: of Muon, as an exponential moving average (with Nesterov's look ahead).
        betas: Adam's.
        weight_decay: decoupled, of the matrices.
        elementwise: parameters among them that are left to Adam whatever their dimensions.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        elementwise: Iterable[Tensor] = (),
    ) -> None:
        self.elementwise = {id(parameter) for parameter in elementwise}
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            kernels: defaultdict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)
            others: list[nn.Parameter] = []
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.ndim > 1 and id(parameter) not in self.elementwise:
                    kernels[len(parameter), parameter[0].numel()].append(parameter)
                else:
                    others.append(parameter)
            self._adam(others, group)
            for alike in kernels.values():
                self._matrices(alike, group)
        return loss

    def _matrices(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        """Update kernels that are matrices of the same shape."""
        ahead = torch.stack([self._ahead(parameter, group["momentum"]) for parameter in parameters])
        changes = orthogonal(ahead) * (UPDATE_RMS * max(ahead.shape[1:]) ** 0.5)
        for parameter, change in zip(parameters, changes, strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(change.view(parameter.shape), alpha=-group["lr"])

    def _ahead(self, parameter: nn.Parameter, decay: float) -> Tensor:
        """The momentum with Nesterov's look ahead, float32, a row for each of the parameter's first dimension."""
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None  # noqa: S101 - the caller has looked
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(gradient, 1 - decay)
        return gradient.lerp(momentum, decay).flatten(1).float()

    def _adam(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        """Update parameters one element at a time; all that have had as many steps at once."""
        by_steps: defaultdict[int, list[nn.Parameter]] = defaultdict(list)
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                state["steps"] = 0
            state["steps"] += 1
            by_steps[state["steps"]].append(parameter)
        slow, fast = group["betas"]
        for steps, alike in by_steps.items():
            gradients = [cast(Tensor, parameter.grad) for parameter in alike]
            means, squares = ([self.state[parameter][name] for parameter in alike] for name in ("mean", "square"))
            torch._foreach_lerp_(means, gradients, 1 - slow)
            torch._foreach_lerp_(squares, torch._foreach_mul(gradients, gradients), 1 - fast)
            spread = torch._foreach_sqrt(torch._foreach_div(squares, 1 - fast**steps))
            torch._foreach_add_(spread, 1e-8)
            torch._foreach_addcdiv_(
                list[Tensor](alike), torch._foreach_div(means, 1 - slow**steps), spread, -group["lr"]
            )
