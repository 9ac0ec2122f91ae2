"""Each loss against its formula written out by hand, its bounds, and a gradient."""

import math

import numpy as np
import pytest
import torch

from fctfg import losses


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# -- Eq. 3 ------------------------------------------------------------------------------------------------------------


def test_ortho_is_equation_3_written_out():
    canonical, motion = draw(2, 3, 4), draw(2, 5, 3, 4, seed=1)
    by_hand = 0.0
    for b in range(2):
        for t in range(5):
            for layer in range(3):
                by_hand += sum(abs(float(canonical[b, layer, d] * motion[b, t, layer, d])) for d in range(4)) / 4
    assert float(losses.orthogonality(canonical, motion)) == pytest.approx(by_hand / (2 * 5 * 3), rel=1e-12)


def test_ortho_is_zero_for_disjoint_supports_and_never_negative():
    canonical, motion = draw(2, 3, 8).abs() + 0.1, draw(2, 5, 3, 8, seed=1)
    canonical[..., :4] = 0
    motion[..., 4:] = 0
    assert float(losses.orthogonality(canonical, motion)) == 0
    for seed in range(20):
        assert float(losses.orthogonality(draw(1, 2, 3, seed=seed), draw(1, 2, 2, 3, seed=seed + 99))) > 0


def test_ortho_as_printed_falls_without_bound():
    canonical = draw(1, 2, 4).abs()
    motion = -canonical[:, None]
    signed = [float(losses.orthogonality(canonical, k * motion, absolute=False)) for k in (1, 10, 100)]
    assert signed[0] < 0
    assert signed[2] == pytest.approx(100 * signed[0])


def test_ortho_sum_is_as_many_times_the_mean_as_there_are_channels():
    canonical, motion = draw(2, 3, 16), draw(2, 5, 3, 16, seed=1)
    ratio = losses.orthogonality(canonical, motion, channels="sum") / losses.orthogonality(canonical, motion)
    assert float(ratio) == pytest.approx(16)


def test_ortho_cosine_and_none():
    canonical, motion = draw(2, 3, 16), draw(2, 5, 3, 16, seed=1)
    cosines = [
        abs(np.dot(c, m) / np.linalg.norm(c) / np.linalg.norm(m))
        for b in range(2)
        for t in range(5)
        for c, m in zip(canonical[b].numpy(), motion[b, t].numpy(), strict=True)
    ]
    assert float(losses.orthogonality(canonical, motion, form="cosine")) == pytest.approx(np.mean(cosines))
    # a plain orthogonal pair pleases the cosine and not L_ortho, which asks for disjoint channels
    a, b = torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[[1.0, -1.0]]]])
    assert float(losses.orthogonality(a, b, form="cosine")) == pytest.approx(0, abs=1e-7)
    assert float(losses.orthogonality(a, b)) == 1
    assert float(losses.orthogonality(canonical, motion, form="none")) == 0
    with pytest.raises(ValueError, match="l_ortho, cosine or none"):
        losses.orthogonality(canonical, motion, form="dot")


# -- Eq. 4 to 9 -------------------------------------------------------------------------------------------------------


def test_synchronisation_and_identity_are_one_less_the_cosine():
    a, b = draw(6, 32), draw(6, 32, seed=1)
    expected = np.mean(
        [1 - np.dot(x, y) / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    )
    assert float(losses.synchronisation(a, b)) == pytest.approx(expected)
    assert float(losses.identity(a, b)) == pytest.approx(expected)
    assert float(losses.synchronisation(a, 3 * a)) == pytest.approx(0)
    assert float(losses.synchronisation(a, -a)) == pytest.approx(2)


def test_identity_trains_the_generated_side_only():
    a, b = draw(2, 8).requires_grad_(), draw(2, 8, seed=1).requires_grad_()
    losses.identity(a, b).backward()
    assert a.grad.abs().sum() > 0
    assert b.grad is None


def test_steepness_is_the_mean_squared_difference_of_neighbours():
    picture = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(4))
    a = picture.numpy()
    wanted = np.mean((a[..., 1:] - a[..., :-1]) ** 2) + np.mean((a[..., 1:, :] - a[..., :-1, :]) ** 2)
    assert float(losses.steepness(picture)) == pytest.approx(float(wanted))
    blurred = torch.nn.functional.avg_pool2d(picture, 3, 1, 1)
    assert losses.steepness(blurred) < 0.3 * losses.steepness(picture)
    assert losses.steepness(torch.ones(1, 1, 4, 4)) == 0


def test_texture_is_the_difference_of_local_changes_at_three_sizes():
    a, b = torch.rand(2, 2, 3, 80, 64, generator=torch.Generator().manual_seed(5))

    def changes(x, axis):
        d = np.diff(x, axis=axis) ** 2
        rows, columns = (range(0, n - 7, 4) for n in d.shape[2:])
        local = [[d[:, :, i : i + 8, j : j + 8].mean((2, 3)) for j in columns] for i in rows]
        return np.sqrt(np.array(local) + 1e-6)

    terms, x, y = [], a.double().numpy(), b.double().numpy()
    for _ in range(3):
        terms += [np.abs(changes(x, axis) - changes(y, axis)).mean() for axis in (2, 3)]
        x, y = ((z[..., ::2, :] + z[..., 1::2, :]) / 2 for z in (x, y))
        x, y = ((z[..., ::2] + z[..., 1::2]) / 2 for z in (x, y))
    assert float(losses.texture(a, b)) == pytest.approx(np.mean(terms), rel=1e-5)
    # a picture that is small has fewer sizes
    a, b = a[..., :20, :20], b[..., :20, :20]
    x, y = a.double().numpy(), b.double().numpy()
    once = [np.abs(changes(x, axis) - changes(y, axis)).mean() for axis in (2, 3)]
    assert float(losses.texture(a, b)) == pytest.approx(np.mean(once), rel=1e-5)
    assert float(losses.texture(a, a)) == 0


def test_texture_tells_blur_and_noise_from_an_edge_that_is_a_little_aside():
    sharp = torch.zeros(1, 3, 64, 64)
    sharp[..., 20:] = 1
    aside, noise = sharp.roll(3, 3), sharp + 0.1 * torch.randn(sharp.shape, generator=torch.Generator().manual_seed(6))
    aside[..., :4] = 0
    blurred = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(sharp, (4, 4, 4, 4), "replicate"), 9, 1)
    moved, soft, grainy = (losses.texture(x, sharp) for x in (aside, blurred, noise))
    assert moved < 0.8 * soft
    assert moved < 0.8 * grainy
    # what a mean of pixel errors says of the same two: the blurred one is the better
    assert losses.reconstruction(blurred, sharp) < losses.reconstruction(aside, sharp)
    wrong = blurred.clone().requires_grad_(True)
    losses.texture(wrong, sharp).backward()
    assert torch.isfinite(wrong.grad).all()


def test_reconstruction_is_the_mean_absolute_difference():
    a, b = draw(2, 3, 8, 8), draw(2, 3, 8, 8, seed=1)
    assert float(losses.reconstruction(a, b)) == pytest.approx(float(np.abs(a.numpy() - b.numpy()).mean()))


@pytest.mark.parametrize("norm", ["rms", "square", "absolute"])
def test_perceptual_norms_do_not_depend_on_the_size_of_a_map(norm):
    small, large = torch.ones(2, 3, 4, 4), torch.ones(2, 64, 32, 32)
    both = losses.perceptual([3 * small, 3 * large], [small, large], norm)
    assert float(both) == pytest.approx({"rms": 2, "square": 4, "absolute": 2}[norm], rel=1e-6)


def test_perceptual_of_equal_pictures_has_a_finite_slope():
    maps = [draw(1, 2, 4, 4).requires_grad_()]
    losses.perceptual(maps, [maps[0].detach().clone()]).backward()
    assert torch.isfinite(maps[0].grad).all()


def test_adversarial_losses_are_logistic():
    real, fake = draw(7, 1), draw(7, 1, seed=1)
    d = lambda x: 1 / (1 + np.exp(-x.numpy()))  # noqa: E731
    assert float(losses.adversarial_generator(fake)) == pytest.approx(float(-np.log(d(fake)).mean()))
    assert float(losses.adversarial_generator(fake, "minimax")) == pytest.approx(float(np.log(1 - d(fake)).mean()))
    expected = float(-np.log(d(real)).mean() - np.log(1 - d(fake)).mean())
    assert float(losses.adversarial_discriminator(real, fake)) == pytest.approx(expected)


def test_r1_of_a_linear_score_is_its_weights_squared_norm():
    weight = draw(3 * 8 * 8)
    pictures = draw(4, 3, 8, 8, seed=1).requires_grad_()
    penalty = losses.r1(pictures.flatten(1) @ weight, pictures)
    assert float(penalty) == pytest.approx(float(weight @ weight))


def test_r1_reaches_the_weights():
    weight = draw(3 * 8 * 8).requires_grad_()
    pictures = draw(4, 3, 8, 8, seed=1).requires_grad_()
    losses.r1((pictures.flatten(1) @ weight).square(), pictures).backward()
    assert weight.grad.abs().sum() > 0


def test_path_lengths_of_a_linear_generator():
    # pictures = A w for one style row: J^T y = A^T y, whose length we can take by hand
    matrix, noise = draw(3 * 4 * 4, 6), draw(2, 3, 4, 4, seed=1)
    styles = draw(2, 1, 6, seed=2).requires_grad_()
    pictures = (styles[:, 0] @ matrix.T).view(2, 3, 4, 4)
    expected = ((noise.flatten(1) / 4) @ matrix).norm(dim=1)
    torch.testing.assert_close(losses.path_lengths(pictures, styles, noise).detach(), expected)


def test_sync_expert_is_cross_entropy_of_the_cosine():
    video, audio = draw(3, 8).abs(), draw(3, 8, seed=1).abs()
    matched = torch.tensor([1, 0, 1])
    cosine = torch.nn.functional.cosine_similarity(video, audio)
    by_hand = -np.mean([math.log(c) if m else math.log(1 - c) for c, m in zip(cosine, matched, strict=True)])
    assert float(losses.sync_expert(video, audio, matched)) == pytest.approx(by_hand, rel=1e-6)
    assert float(losses.sync_expert(video, video, torch.ones(3))) == pytest.approx(0, abs=1e-6)


def test_total_is_the_weighted_sum_and_asks_for_every_weight():
    parts = {"ortho": torch.tensor(2.0), "gan": torch.tensor(3.0)}
    assert float(losses.total(parts, {"ortho": 1.0, "gan": 0.1, "sync": 5.0})) == pytest.approx(2.3)
    with pytest.raises(KeyError):
        losses.total(parts, {"ortho": 1.0})


def test_losses_have_right_gradients():
    a, b = draw(2, 3, 4).requires_grad_(), draw(2, 2, 3, 4, seed=1).requires_grad_()
    for form in ("l_ortho", "cosine"):
        assert torch.autograd.gradcheck(lambda x, y, f=form: losses.orthogonality(x, y, f), (a, b))
    x, y = draw(3, 5).requires_grad_(), draw(3, 5, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(losses.synchronisation, (x, y))
    assert torch.autograd.gradcheck(losses.adversarial_discriminator, (x, y))
    assert torch.autograd.gradcheck(lambda v: losses.perceptual([v], [y]), (x,))
