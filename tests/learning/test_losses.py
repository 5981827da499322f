"""The three losses against the paper's equations, written out a second time in plain Python."""

import math

import pytest
import torch

from masd.learning.losses import (
    classification_loss,
    contrastive_loss,
    reconstruction_errors,
    reconstruction_loss,
)


def loop_contrastive(z: list[list[float]], labels: list[int], noise: list[bool], tau: float) -> float:
    """Eqs. (3) and (4) term by term; noise-only clips in the denominator only."""

    def sim(a: list[float], b: list[float]) -> float:
        dot = sum(p * q for p, q in zip(a, b, strict=True))
        return dot / (math.hypot(*a) * math.hypot(*b))

    terms = []
    for i in range(len(z)):
        positives = [p for p in range(len(z)) if p != i and labels[p] == labels[i] and not noise[p]]
        if noise[i] or not positives:
            continue
        denominator = sum(math.exp(sim(z[i], z[j]) / tau) for j in range(len(z)) if j != i)
        terms.append(sum(math.log(math.exp(sim(z[i], z[p]) / tau) / denominator) for p in positives) / len(positives))
    return -sum(terms) / len(terms)


def test_reconstruction_is_the_mean_of_unsquared_norms() -> None:
    x = torch.zeros(3, 1, 2, 2)
    x_hat = torch.zeros(3, 1, 2, 2)
    x_hat[0, 0] = torch.tensor([[3.0, 0.0], [0.0, -4.0]])
    x_hat[1, 0] = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    assert reconstruction_errors(x, x_hat).tolist() == [5.0, 2.0, 0.0]
    assert reconstruction_loss(x, x_hat).item() == pytest.approx(7.0 / 3.0)


def test_reconstruction_scales_with_the_error_not_with_its_square() -> None:
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    zero = torch.zeros_like(x)
    assert reconstruction_loss(10 * x, zero).item() == pytest.approx(10 * reconstruction_loss(x, zero).item())


def test_a_perfect_reconstruction_has_a_finite_gradient() -> None:
    x = torch.ones(2, 1, 4, 4)
    x_hat = x.clone().requires_grad_()
    reconstruction_loss(x, x_hat).backward()
    assert x_hat.grad is not None and torch.isfinite(x_hat.grad).all()


def test_classification_with_soft_labels_by_hand() -> None:
    logits = [[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]]
    soft = [[0.7, 0.3, 0.0], [0.0, 0.25, 0.75]]
    expected = 0.0
    for o, y in zip(logits, soft, strict=True):
        log_sum = math.log(sum(math.exp(value) for value in o))
        expected -= sum(weight * (value - log_sum) for value, weight in zip(o, y, strict=True)) / len(logits)
    assert classification_loss(torch.tensor(logits), torch.tensor(soft)).item() == pytest.approx(expected)


def test_class_indexes_mean_one_hot_labels() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]])
    by_index = classification_loss(logits, torch.tensor([0, 2]))
    one_hot = classification_loss(logits, torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    assert by_index.item() == pytest.approx(one_hot.item())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_contrastive_equals_the_loop_over_its_definition(seed: int, temperature: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(11, 5, generator=generator)
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3, -1, -1, -1])  # class 2 has no positive; -1 is noise
    order = torch.randperm(11, generator=generator)
    z, labels = z[order], labels[order]
    loss = contrastive_loss(z, labels, labels == -1, temperature)
    expected = loop_contrastive(z.tolist(), labels.tolist(), (labels == -1).tolist(), temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", [0.07, 0.3, 1.0])
def test_contrastive_closed_form_of_a_pair_and_an_opposite(temperature: float) -> None:
    """Two equal embeddings and an opposite of another class: log(1 + exp(-2 / tau)) for the two, the third skipped."""
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    loss = contrastive_loss(z, torch.tensor([0, 0, 1]), torch.zeros(3, dtype=torch.bool), temperature)
    assert loss.item() == pytest.approx(math.log1p(math.exp(-2.0 / temperature)), abs=1e-6)


def test_noise_pushes_machine_embeddings_away_and_nothing_else() -> None:
    machine = torch.tensor([[1.0, 0.1], [1.0, -0.1]])
    labels, is_noise = torch.tensor([0, 0, -1, -1]), torch.tensor([False, False, True, True])
    near = torch.cat([machine, torch.tensor([[1.0, 0.0], [0.9, 0.0]])])
    far = torch.cat([machine, torch.tensor([[-1.0, 0.0], [-0.9, 0.0]])])
    assert contrastive_loss(near, labels, is_noise, 0.1) > contrastive_loss(far, labels, is_noise, 0.1) + 0.5
    alone = contrastive_loss(near[2:], labels[2:], is_noise[2:], 0.1)
    assert alone.item() == 0.0  # two noise clips are not each other's positives


def test_noise_is_told_by_its_flag_even_if_it_carries_a_machine_label() -> None:
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    is_noise = torch.tensor([False, False, True, True])
    labelled = contrastive_loss(z, torch.tensor([0, 0, 0, 0]), is_noise, 0.2)
    unlabelled = contrastive_loss(z, torch.tensor([0, 0, -1, -1]), is_noise, 0.2)
    assert labelled.item() == pytest.approx(unlabelled.item())


def test_contrastive_sees_directions_only() -> None:
    generator = torch.Generator().manual_seed(2)
    z = torch.randn(8, 6, generator=generator)
    labels, is_noise = torch.tensor([0, 0, 1, 1, 2, 2, -1, -1]), torch.tensor([False] * 6 + [True] * 2)
    lengths = 10 ** torch.linspace(-3, 3, 8)[:, None]
    loss = contrastive_loss(z, labels, is_noise, 0.07)
    assert contrastive_loss(z * lengths, labels, is_noise, 0.07).item() == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("labels", "noise"),
    [
        pytest.param([0, 1, 2], [False] * 3, id="every class once"),
        pytest.param([-1, -1, -1], [True] * 3, id="noise only"),
        pytest.param([0, -1, -1], [False, True, True], id="one machine clip among noise"),
        pytest.param([0], [False], id="a batch of one"),
    ],
)
def test_without_anchors_the_loss_is_zero_with_a_finite_gradient(labels: list[int], noise: list[bool]) -> None:
    z = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(3)).requires_grad_()
    loss = contrastive_loss(z, torch.tensor(labels), torch.tensor(noise), 0.07)
    loss.backward()
    assert loss.item() == 0.0
    assert z.grad is not None and torch.equal(z.grad, torch.zeros_like(z))


def test_a_zero_embedding_does_not_poison_the_batch() -> None:
    z = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    loss = contrastive_loss(z, torch.tensor([0, 0, 1]), torch.zeros(3, dtype=torch.bool), 0.07)
    loss.backward()
    assert torch.isfinite(loss)
    assert z.grad is not None and torch.isfinite(z.grad).all()


def test_contrastive_keeps_its_precision_under_mixed_precision_training() -> None:
    """At tau = 0.07 a similarity rounded to bfloat16 is off by some percent: the loss is computed in float32 anyhow."""
    z = torch.randn(64, 16, generator=torch.Generator().manual_seed(4))
    labels, is_noise = torch.arange(64) % 5, torch.zeros(64, dtype=torch.bool)
    exact = contrastive_loss(z, labels, is_noise, 0.07)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = contrastive_loss(z, labels, is_noise, 0.07)
    assert mixed.dtype == torch.float32
    assert mixed.item() == pytest.approx(exact.item(), rel=1e-6)
