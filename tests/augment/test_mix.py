from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from imgtrain.augment.mix import MIXING_DTYPE, mix_images, mix_targets, pair_up, sample_mixing
from imgtrain.augment.sample import epoch_order
from imgtrain.config.schema import AugmentationConfig

COUNT = 4000
HEIGHT, WIDTH = 100, 200


def draw(stream_indices=None, *, seed=7, epoch=3, height=HEIGHT, width=WIDTH, **options):
    indices = np.arange(COUNT) if stream_indices is None else np.asarray(stream_indices, np.intp)
    augmentation = AugmentationConfig(**options)
    return sample_mixing(
        augmentation, seed=seed, epoch=epoch, stream_indices=indices, height=height, width=width
    )


def areas(mixing):
    left, top, right, bottom = mixing["box"].T
    return (right - left) * (bottom - top)


class TestPartners:
    @given(count=st.integers(0, 60), seed=st.integers(0, 99))
    def test_everyone_has_another_one_that_mostly_has_it_back(self, count, seed):
        order = epoch_order(seed=seed, epoch=0, count=count)
        partners = pair_up(order)
        assert len(partners) == count
        if count > 1:
            assert (partners != np.arange(count)).all()
            assert np.count_nonzero(partners[partners] != np.arange(count)) == count % 2
        else:
            assert partners.tolist() == [0] * count

    def test_they_are_neighbors_in_the_order(self):
        assert pair_up(np.array([4, 0, 2, 1, 3])).tolist() == [4, 2, 1, 4, 0]

    def test_every_epoch_has_other_pairs(self):
        pairs = {tuple(pair_up(epoch_order(seed=0, epoch=epoch, count=20))) for epoch in range(5)}
        assert len(pairs) == 5


class TestNumbers:
    @pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
    def test_shares_of_mixup_are_beta(self, alpha):
        mixing = draw(mixup=alpha)
        assert not mixing["box"].any()
        # Shares are rounded to six digits, which moves some of the smallest alpha to 1.
        assert stats.kstest(mixing["own_share"], stats.beta(alpha, alpha).cdf).statistic < 0.04

    def test_shares_of_cutmix_are_what_is_left_of_the_image(self):
        mixing = draw(cutmix=1.0)
        left, top, right, bottom = mixing["box"].T
        assert left.min() >= 0
        assert top.min() >= 0
        assert right.max() <= WIDTH
        assert bottom.max() <= HEIGHT
        assert (mixing["own_share"] == 1 - areas(mixing) / (HEIGHT * WIDTH)).all()

    def test_the_rectangle_is_torchvisions(self):
        """Where nothing is cut off: half the side is int(sqrt(1 - lambda) / 2 × side)."""
        shares, mixing = draw(mixup=1.0)["own_share"], draw(cutmix=1.0)
        left, top, right, bottom = mixing["box"].T
        inside = (left > 0) & (top > 0) & (right < WIDTH) & (bottom < HEIGHT)
        reach = 0.5 * np.sqrt(1 - shares[inside])
        assert ((right - left)[inside] == 2 * (reach * WIDTH).astype(int)).all()
        assert ((bottom - top)[inside] == 2 * (reach * HEIGHT).astype(int)).all()
        assert inside.sum() > 500

    def test_centers_are_everywhere(self):
        left, top, right, bottom = draw(cutmix=1.0)["box"].T
        small = (right - left < 40) & (left > 0) & (right < WIDTH)
        assert stats.kstest((left + right)[small] / 2, stats.uniform(0, WIDTH).cdf).statistic < 0.15
        assert abs(np.mean(top + bottom) / 2 - HEIGHT / 2) < 2

    def test_both_at_once_are_drawn_equally_often(self):
        mixing = draw(mixup=1.0, cutmix=1.0)
        cut = areas(mixing) > 0
        # A rectangle of no area, which some of the shares near 1 give, counts as blended here.
        assert abs(cut.mean() - 0.5) < 4 * 0.5 / np.sqrt(COUNT)
        assert (mixing[~cut]["own_share"] < 1).mean() > 0.98

    def test_the_probability_is_that_of_being_mixed(self):
        mixed = draw(mixup=1.0, mix_probability=0.3)["own_share"] < 1
        assert abs(mixed.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / COUNT)

    def test_the_probability_does_not_change_how_those_are_mixed_that_are(self):
        always, at_times = draw(cutmix=0.4), draw(cutmix=0.4, mix_probability=0.3)
        mixed = at_times["own_share"] < 1
        assert (always[mixed] == at_times[mixed]).all()

    @settings(max_examples=60, deadline=None)
    @given(
        seed=st.integers(0, 2**32 - 1),
        epoch=st.integers(0, 10**6),
        stream_indices=st.lists(st.integers(0, 10**9), max_size=12),
        alpha=st.floats(0.05, 20),
    )
    def test_the_numbers_of_an_image_depend_on_its_own_index_only(self, seed, epoch, stream_indices, alpha):
        options = {"seed": seed, "epoch": epoch, "mixup": alpha, "cutmix": alpha, "mix_probability": 0.7}
        together = draw(stream_indices, **options)
        for mixing, index in zip(together, stream_indices, strict=True):
            assert (draw([index], **options) == mixing).all()

    @given(height=st.integers(1, 9), width=st.integers(1, 9), alpha=st.floats(0.05, 20))
    def test_no_image_is_too_small(self, height, width, alpha):
        mixing = draw(np.arange(20), height=height, width=width, cutmix=alpha)
        assert mixing["own_share"].min() >= 0
        assert (areas(mixing) <= height * width).all()


class TestPixels:
    @pytest.fixture
    def pictures(self, make_picture):
        return np.stack([make_picture(12, 16, seed=seed) for seed in range(3)])

    def mix(self, pictures, partners, *rows):
        mixing = np.array(list(rows), MIXING_DTYPE)
        out = np.empty((len(rows), *pictures.shape[1:]), np.uint8)
        before = pictures.copy()
        assert mix_images(pictures, np.array(partners), mixing, out) is out
        assert (pictures == before).all()
        return out

    def test_mixup_is_the_mean_by_shares(self, pictures):
        mixed = self.mix(pictures, [1, 0], (0.3, [0] * 4), (0.75, [0] * 4))
        wanted = [
            0.3 * pictures[0] + 0.7 * pictures[1].astype(float),
            0.75 * pictures[1] + 0.25 * pictures[0].astype(float),
        ]
        assert np.abs(mixed - np.stack(wanted)).max() <= 0.501

    def test_cutmix_takes_the_partners_rectangle_from_the_same_place(self, pictures):
        (mixed,) = self.mix(pictures, [2], (0.5, [3, 4, 10, 9]))
        wanted = pictures[0].copy()
        wanted[4:9, 3:10] = pictures[2, 4:9, 3:10]
        assert (mixed == wanted).all()

    def test_a_share_of_one_is_the_image_and_of_zero_the_partner(self, pictures):
        mixed = self.mix(pictures, [1, 0], (1.0, [0] * 4), (0.0, [0] * 4))
        assert (mixed == pictures[[0, 0]]).all()

    @pytest.mark.parametrize("channels", [1, 4])
    def test_any_channels(self, make_picture, channels):
        pictures = np.stack([make_picture(12, 16, channels, seed=seed) for seed in range(2)])
        mixed = self.mix(pictures, [1, 0], (0.5, [0] * 4), (0.5, [0, 0, 16, 6]))
        assert np.abs(mixed[0] - pictures.mean(axis=0)).max() <= 0.501
        assert (mixed[1] == np.concatenate([pictures[0, :6], pictures[1, 6:]])).all()


def test_labels_and_weights_are_mixed_by_the_shares():
    mixing = np.array([(0.25, [0] * 4), (1.0, [0] * 4)], MIXING_DTYPE)
    labels = mix_targets(np.eye(3, dtype=np.float32)[[0, 1]], np.eye(3, dtype=np.float32)[[2, 0]], mixing)
    assert labels.dtype == np.float32
    assert labels.tolist() == [[0.25, 0, 0.75], [0, 1, 0]]
    weights = mix_targets(np.array([1, 2], np.float32), np.array([3, 5], np.float32), mixing)
    assert weights.tolist() == [2.5, 2]
