from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgtrain.augment.apply import augment_batch
from imgtrain.augment.mix import mix_images, mix_targets, pair_up, sample_mixing
from imgtrain.augment.sample import epoch_order, sample_params
from imgtrain.batches.batches import Batches
from imgtrain.config.schema import AugmentationConfig
from imgtrain.events import Progress

EVERYTHING = AugmentationConfig(
    rotation_range=30,
    width_shift_range=0.2,
    zoom_range=0.2,
    brightness_range=(0.5, 1.5),
    horizontal_flip=True,
)
SHAPE = (6, 8, 3)


class Noise:
    """A pixel store in memory, every image another picture."""

    shape = SHAPE

    def __init__(self, count):
        self.pixels = np.random.default_rng(0).integers(0, 256, (count, *SHAPE), dtype=np.uint8)

    def __len__(self):
        return len(self.pixels)

    def read(self, indices, out=None):
        return np.take(self.pixels, indices, axis=0, out=out)


def make_batches(labels, *, pixels=None, indices=None, **options):
    labels = np.asarray(labels, np.int32)
    indices = np.arange(len(labels)) if indices is None else np.asarray(indices)
    options = {
        "class_count": int(labels.max(initial=0)) + 1,
        "class_mode": "sparse",
        "batch_size": 4,
    } | options
    return Batches(pixels=pixels or Noise(int(indices.max()) + 1), indices=indices, labels=labels, **options)


def all_batches(batches, epoch):
    return [batches.batch(epoch, step) for step in range(len(batches))]


def same(one, other):
    return all((a == b).all() and a.dtype == b.dtype for a, b in zip(one, other, strict=True))


class TestLabels:
    def test_categorical_is_one_hot_float32(self):
        _, labels = make_batches([0, 2, 1], class_count=4, class_mode="categorical").batch(0, 0)
        assert labels.dtype == np.float32
        assert labels.tolist() == [[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]]

    def test_binary_is_a_float32_column(self):
        _, labels = make_batches([0, 1, 1], class_mode="binary").batch(0, 0)
        assert labels.dtype == np.float32
        assert labels.tolist() == [[0], [1], [1]]

    def test_sparse_is_int32(self):
        _, labels = make_batches([0, 2, 1]).batch(0, 0)
        assert labels.dtype == np.int32
        assert labels.tolist() == [0, 2, 1]

    def test_class_weights_become_a_third_part(self):
        batches = make_batches([0, 2, 1, 2, 0], class_weights=np.array([0.5, 1, 3]))
        *_, weights = batches.batch(0, 0)
        assert weights.dtype == np.float32
        assert weights.tolist() == [0.5, 3, 1, 3]
        assert batches.to_arrays()[2].tolist() == [0.5, 3, 1, 3, 0.5]


class TestOrder:
    def test_unshuffled_images_come_in_file_order_and_the_last_batch_is_short(self):
        batches = make_batches([0, 0, 1, 1, 2, 2], indices=[1, 2, 4, 5, 7, 9])
        assert len(batches) == 2
        images = [images for images, _ in all_batches(batches, 3)]
        assert [len(part) for part in images] == [4, 2]
        assert (np.concatenate(images) == batches.pixels.pixels[[1, 2, 4, 5, 7, 9]]).all()

    def test_every_image_comes_once_in_an_epoch_in_another_order_each_time(self):
        batches = make_batches(np.arange(30) % 3, shuffle=True)
        orders = [tuple(batches.samples(epoch)) for epoch in range(3)]
        assert all(sorted(order) == list(range(30)) for order in orders)
        assert len({*orders, tuple(range(30))}) == 4

    def test_samples_and_stream_indices_belong_to_the_images_of_the_batches(self):
        labels = np.arange(30) % 3
        indices = np.sort(np.random.default_rng(1).permutation(50)[:30])
        batches = make_batches(
            labels, indices=indices, shuffle=True, paths=[f"{index}.png" for index in indices]
        )
        images, targets = map(np.concatenate, zip(*all_batches(batches, 2), strict=True))
        samples = batches.samples(2)
        assert (batches.stream_indices(2) == indices[samples]).all()
        assert (targets == labels[samples]).all()
        for image, sample in zip(images, samples, strict=True):
            index = int(batches.paths[sample].removesuffix(".png"))
            assert (image == batches.pixels.pixels[index]).all()

    def test_the_seed_decides(self):
        labels = np.arange(30) % 3
        orders = [make_batches(labels, shuffle=True, seed=seed).samples(0).tolist() for seed in (0, 0, 1)]
        assert orders[0] == orders[1] != orders[2]


class TestSteps:
    @settings(max_examples=60, deadline=None)
    @given(
        count=st.integers(1, 40),
        batch_size=st.integers(1, 12),
        steps=st.integers(1, 15),
        balance=st.sampled_from([None, "oversample"]),
        shuffle=st.booleans(),
    )
    def test_epochs_are_cut_from_one_sequence_of_full_passes(
        self, count, batch_size, steps, balance, shuffle
    ):
        labels = np.sort(np.arange(count) % 5 % 3)
        options = {"batch_size": batch_size, "balance": balance, "shuffle": shuffle, "pixels": Noise(40)}
        whole = make_batches(labels, **options)
        cut = make_batches(labels, steps=steps, **options)
        passes = [batch for number in range(4) for batch in all_batches(whole, number)]
        epochs = [batch for epoch in range(4 * len(whole) // steps) for batch in all_batches(cut, epoch)]
        assert len(cut) == cut.steps == steps
        assert all(map(same, epochs, passes))
        assert whole.images_per_epoch == len(whole.samples(0))
        assert cut.images_per_epoch == len(cut.samples(0))

    def test_two_half_epochs_see_every_image_once(self):
        batches = make_batches(np.arange(32) % 2, steps=4, shuffle=True)
        seen = np.concatenate([batches.samples(0), batches.samples(1)])
        assert sorted(seen) == list(range(32))

    def test_an_image_that_comes_twice_in_an_epoch_is_augmented_anew(self):
        batches = make_batches([0, 1], batch_size=2, steps=2, augmentation=EVERYTHING)
        assert not same(batches.batch(0, 0), batches.batch(0, 1))

    @pytest.mark.parametrize("step", [-1, 2])
    def test_there_is_no_other_step(self, step):
        with pytest.raises(IndexError, match=f"step {step} is out of range for 2 batches"):
            make_batches([0, 1, 0, 1, 0]).batch(0, step)


class TestAugmentation:
    def test_a_batch_is_the_warp_of_the_params_of_its_stream_indices(self):
        indices = np.arange(3, 25, 2)
        batches = make_batches(
            np.arange(11) % 2, indices=indices, shuffle=True, seed=5, augmentation=EVERYTHING
        )
        images, _ = batches.to_arrays(epoch=2)
        stream_indices = batches.stream_indices(2)
        params = sample_params(
            EVERYTHING, seed=5, epoch=2, stream_indices=stream_indices, height=SHAPE[0], width=SHAPE[1]
        )
        assert (images == augment_batch(batches.pixels.read(stream_indices), params, EVERYTHING)).all()
        assert (images != batches.pixels.read(stream_indices)).any(axis=(1, 2, 3)).all()

    def test_it_does_not_depend_on_batch_size_or_on_the_other_images_of_the_split(self):
        pixels = Noise(20)
        options = {"pixels": pixels, "augmentation": EVERYTHING}
        everything, _ = make_batches(np.arange(20) % 2, batch_size=3, **options).to_arrays()
        part, _ = make_batches(
            np.arange(10) % 2, indices=np.arange(1, 20, 2), batch_size=7, **options
        ).to_arrays()
        assert (part == everything[1::2]).all()

    def test_each_epoch_has_its_own(self):
        batches = make_batches([0, 1, 0, 1], augmentation=EVERYTHING)
        assert not same(batches.batch(0, 0), batches.batch(1, 0))

    def test_one_that_changes_nothing_hands_the_pixels_on(self):
        batches = make_batches([0, 1, 0, 1], augmentation=AugmentationConfig(fill_mode="wrap"))
        assert (batches.batch(0, 0)[0] == batches.pixels.pixels).all()


class TestMixing:
    """MixUp and CutMix: what becomes of an image depends on seed, pass and image alone."""

    MIXED = EVERYTHING.model_copy(
        update={"mixup": 0.4, "cutmix": 1.0, "mix_probability": 0.8, "erasing": 0.5}
    )

    def draw(self, labels, **options):
        options = {"class_mode": "categorical", "augmentation": self.MIXED, "shuffle": True} | options
        return make_batches(labels, **options)

    def by_sample(self, batches, epoch):
        """Return the parts of an epoch, sorted by sample."""
        parts = (np.concatenate(parts) for parts in zip(*all_batches(batches, epoch), strict=True))
        return [part[np.argsort(batches.samples(epoch))] for part in parts]

    def test_each_image_is_mixed_with_its_partner_as_it_would_be_without(self):
        labels = np.arange(12) % 3
        batches = self.draw(labels, batch_size=5, seed=4)
        alone = self.draw(
            labels, augmentation=self.MIXED.model_copy(update={"mixup": None, "cutmix": None}), seed=4
        )
        images, targets = self.by_sample(batches, 2)
        plain, one_hot = self.by_sample(alone, 2)
        partners = pair_up(epoch_order(seed=4, epoch=2, count=12))
        mixing = sample_mixing(
            self.MIXED, seed=4, epoch=2, stream_indices=np.arange(12), height=SHAPE[0], width=SHAPE[1]
        )
        assert 0 < np.count_nonzero(mixing["own_share"] < 1) < 12
        assert (images == mix_images(plain, partners, mixing, np.empty_like(plain))).all()
        assert (targets == mix_targets(one_hot, one_hot[partners], mixing)).all()

    @settings(max_examples=40, deadline=None)
    @given(
        count=st.integers(1, 25),
        batch_size=st.integers(1, 30),
        other_size=st.integers(1, 30),
        shuffle=st.booleans(),
        balance=st.sampled_from([None, "oversample"]),
        epoch=st.integers(0, 3),
    )
    def test_it_depends_neither_on_the_batch_size_nor_on_the_order(
        self, count, batch_size, other_size, shuffle, balance, epoch
    ):
        labels = np.sort(np.arange(count) % 5 % 3)
        options = {"balance": balance, "pixels": Noise(25)}
        one = self.draw(labels, batch_size=batch_size, **options)
        other = self.draw(labels, batch_size=other_size, shuffle=shuffle, **options)
        # A copy is told from its original by its stream index.
        parts = []
        for batches in (one, other):
            order = np.argsort(batches.stream_indices(epoch))
            whole = (np.concatenate(part) for part in zip(*all_batches(batches, epoch), strict=True))
            parts.append([part[order] for part in whole])
        assert same(*parts)
        np.testing.assert_allclose(parts[0][1].sum(axis=1), 1, rtol=1e-6)

    def test_any_thread_and_any_start_give_the_same_batches(self):
        batches = self.draw(np.arange(50) % 4, batch_size=7)
        expected = all_batches(batches, 1)
        again = self.draw(np.arange(50) % 4, batch_size=7)
        ahead = list(again.read_ahead(1, start=3, workers=4))
        assert all(map(same, ahead, expected[3:]))
        assert len(ahead) == len(expected) - 3

    def test_steps_cut_the_same_passes(self):
        labels = np.arange(22) % 2
        passes = self.draw(labels)
        cut = self.draw(labels, steps=4)
        whole = [batch for number in range(2) for batch in all_batches(passes, number)]
        assert all(map(same, [batch for epoch in range(3) for batch in all_batches(cut, epoch)], whole))

    def test_partners_of_a_shuffled_epoch_are_read_with_it(self):
        """An even batch has the partners of all its images; another one needs at most two more."""
        reads = []

        class Counting(Noise):
            def read(self, indices, out=None):
                reads.append(len(indices))
                return super().read(indices, out)

        always = self.MIXED.model_copy(update={"mix_probability": 1.0})
        list(
            all_batches(
                self.draw(np.arange(32) % 2, batch_size=8, augmentation=always, pixels=Counting(32)), 0
            )
        )
        assert reads == [8] * 4
        reads.clear()
        list(
            all_batches(
                self.draw(np.arange(32) % 2, batch_size=5, augmentation=always, pixels=Counting(32)), 0
            )
        )
        assert max(reads) <= 7

    def test_binary_labels_are_one_column_of_shares(self):
        _, labels = self.draw(np.arange(20) % 2, class_mode="binary", batch_size=20).batch(0, 0)
        assert labels.shape == (20, 1)
        assert labels.dtype == np.float32
        assert ((labels > 0) & (labels < 1)).any()

    def test_weights_are_mixed_like_the_labels(self):
        weights = np.array([1.0, 10.0, 100.0], np.float32)
        _, labels, mixed = self.draw(np.arange(20) % 3, batch_size=20, class_weights=weights).batch(0, 0)
        np.testing.assert_allclose(mixed, labels @ weights, rtol=1e-5)
        assert mixed.dtype == np.float32

    def test_what_is_asked_of_the_whole_split_is_not_mixed(self):
        batches = self.draw(np.arange(6) % 2, seed=1)
        assert (np.concatenate(list(batches.unchanged_images())) == batches.pixels.pixels).all()
        assert set(batches.targets().ravel()) == {0, 1}

    def test_an_epoch_in_memory_has_the_mixed_labels(self):
        batches = self.draw(np.arange(11) % 3, class_weights=np.array([1, 2, 3]))
        expected = [np.concatenate(parts) for parts in zip(*all_batches(batches, 1), strict=True)]
        assert same(batches.to_arrays(epoch=1), expected)

    def test_integers_cannot_be_mixed(self):
        with pytest.raises(ValueError, match="support soft labels"):
            self.draw([0, 1], class_mode="sparse")


class TestOversample:
    LABELS = [0] * 10 + [1] * 4 + [3] * 1

    def draw(self, **options):
        return make_batches(self.LABELS, balance="oversample", class_count=4, **options)

    @pytest.mark.parametrize("shuffle", [False, True])
    def test_every_class_comes_as_often_as_the_largest_and_evenly_over_its_images(self, shuffle):
        batches = self.draw(shuffle=shuffle)
        for epoch in range(3):
            drawn = Counter(batches.samples(epoch).tolist())
            assert batches.images_per_epoch == drawn.total() == 30
            assert [drawn[image] for image in range(10)] == [1] * 10
            assert sorted(drawn[image] for image in range(10, 14)) == [2, 2, 3, 3]
            assert drawn[14] == 10

    def test_where_it_does_not_divide_other_images_are_drawn_once_more_each_epoch(self):
        batches = self.draw()
        favoured = set()
        for epoch in range(20):
            drawn = Counter(batches.samples(epoch).tolist())
            favoured.add(tuple(image for image in range(10, 14) if drawn[image] == 3))
        assert len(favoured) == 6  # every pair of four images

    def test_each_copy_is_augmented_by_itself(self):
        images, _ = self.draw(augmentation=EVERYTHING, shuffle=True).to_arrays()
        assert len({image.tobytes() for image in images}) == 30

    def test_the_originals_are_augmented_as_without_copies(self):
        plain, _ = make_batches(self.LABELS, augmentation=EVERYTHING).to_arrays()
        images, _ = self.draw(augmentation=EVERYTHING).to_arrays()
        assert (images[:15] == plain).all()

    def test_every_copy_has_a_slot_that_no_image_of_the_folder_has(self):
        batches = self.draw(indices=np.arange(15) * 3)
        stream_indices = batches.stream_indices(0)
        assert len(set(stream_indices)) == 30
        assert stream_indices[15:].min() > 14 * 3

    def test_equal_classes_need_no_copies(self):
        batches = make_batches([0, 0, 1, 1], balance="oversample")
        assert batches.samples(0).tolist() == [0, 1, 2, 3]


class TestReadAhead:
    @settings(max_examples=25, deadline=None)
    @given(
        workers=st.integers(1, 5),
        depth=st.integers(1, 9),
        start=st.integers(0, 9),
        epoch=st.integers(0, 5),
        asked=st.permutations(range(9)),
    )
    def test_any_threads_give_the_batches_of_any_order_of_asking(self, workers, depth, start, epoch, asked):
        options = {"shuffle": True, "augmentation": EVERYTHING, "balance": "oversample", "pixels": Noise(24)}
        labels = [0] * 17 + [1] * 7
        by_number = make_batches(labels, **options)
        expected = {step: by_number.batch(epoch, step) for step in asked}
        ahead = make_batches(labels, **options).read_ahead(epoch, start, workers=workers, depth=depth)
        got = list(ahead)
        assert len(got) == 9 - start
        assert all(same(batch, expected[start + place]) for place, batch in enumerate(got))

    def test_an_abandoned_reader_leaves_no_thread_and_reads_no_further(self, monkeypatch):
        reads = []
        second_read_began, shut_down = threading.Event(), threading.Event()

        class Slow(Noise):
            def read(self, indices, out=None):
                reads.append(indices)
                if len(reads) == 2:
                    second_read_began.set()
                    assert shut_down.wait(60)
                return super().read(indices, out)

        class TellingPool(ThreadPoolExecutor):
            def shutdown(self, wait=True, *, cancel_futures=False):
                super().shutdown(wait=False, cancel_futures=cancel_futures)
                shut_down.set()
                super().shutdown(wait=wait)

        monkeypatch.setattr("imgtrain.batches.batches.ThreadPoolExecutor", TellingPool)
        before = threading.active_count()
        ahead = make_batches(np.arange(400) % 2, pixels=Slow(400)).read_ahead(0, workers=1, depth=6)
        next(ahead)
        assert second_read_began.wait(60)
        ahead.close()
        assert threading.active_count() == before
        assert len(reads) == 2  # the one that was taken, and the one that was being read

    def test_it_works_ahead_of_the_reader_up_to_its_depth(self):
        ready = threading.Semaphore(0)

        class Telling(Noise):
            def read(self, indices, out=None):
                ready.release()
                return super().read(indices, out)

        batches = make_batches(np.arange(400) % 2, pixels=Telling(400))
        ahead = batches.read_ahead(0, workers=2, depth=5)
        next(ahead)
        assert all(ready.acquire(timeout=10) for _ in range(6))
        time.sleep(0.05)
        assert not ready.acquire(blocking=False)
        ahead.close()

    def test_an_error_in_a_thread_reaches_the_reader_after_the_batches_before_it(self):
        class Broken(Noise):
            def read(self, indices, out=None):
                if 21 in indices:
                    raise OSError("the disk went away")
                return super().read(indices, out)

        before = threading.active_count()
        ahead = make_batches(np.arange(400) % 2, pixels=Broken(400)).read_ahead(0, workers=3)
        assert [len(next(ahead)[0]) for _ in range(5)] == [4] * 5
        with pytest.raises(OSError, match="the disk went away"):
            next(ahead)
        assert threading.active_count() == before


class TestToArrays:
    def test_everything_is_gathered_in_the_order_of_the_batches(self):
        batches = make_batches(
            np.arange(11) % 3, shuffle=True, class_mode="categorical", augmentation=EVERYTHING
        )
        expected = [np.concatenate(parts) for parts in zip(*all_batches(batches, 0), strict=True)]
        assert same(batches.to_arrays(), expected)

    def test_progress_is_told_from_nothing_to_all(self):
        events = []
        make_batches(np.arange(11) % 3).to_arrays(events.append)
        assert [event.done for event in events] == [0, 4, 8, 11]
        assert {event.total for event in events} == {11}
        assert all(isinstance(event, Progress) for event in events)


class TestWholeSplit:
    """What is asked of the split itself, whatever its epochs do."""

    @pytest.fixture
    def batches(self):
        return make_batches(
            [0, 1, 1, 1, 1], indices=[0, 2, 3, 5, 7], class_mode="binary", batch_size=2,
            shuffle=True, balance="oversample", augmentation=EVERYTHING, steps=1,
        )  # fmt: skip

    def test_unchanged_images(self, batches):
        parts = list(batches.unchanged_images())
        assert [len(part) for part in parts] == [2, 2, 1]
        assert (np.concatenate(parts) == batches.pixels.pixels[[0, 2, 3, 5, 7]]).all()

    def test_targets(self, batches):
        assert batches.targets().tolist() == [[0], [1], [1], [1], [1]]


class TestContradictions:
    def test_no_image(self):
        with pytest.raises(ValueError, match="without images"):
            make_batches([], class_count=2, indices=[], pixels=Noise(1))

    def test_binary_with_three_classes(self):
        with pytest.raises(ValueError, match="exactly two classes; got 3"):
            make_batches([0, 1, 2], class_mode="binary")

    def test_lengths(self):
        with pytest.raises(ValueError, match="same length; got 3, 3, 1"):
            make_batches([0, 1, 2], paths=["one"])

    def test_class_weights(self):
        with pytest.raises(ValueError, match="must have 3 values; got 2"):
            make_batches([0, 1, 2], class_weights=np.ones(2))


class TestLabelSmoothing:
    @pytest.mark.tensorflow
    @pytest.mark.parametrize("mode", ["categorical", "binary"])
    def test_the_loss_of_smoothed_labels_is_that_of_keras_own_smoothing(self, mode):
        import keras

        labels = np.arange(12) % (2 if mode == "binary" else 3)
        options = {"class_mode": mode, "batch_size": 12, "class_count": labels.max() + 1}
        _, plain = make_batches(labels, **options).batch(0, 0)
        _, smoothed = make_batches(labels, label_smoothing=0.2, **options).batch(0, 0)
        assert smoothed.dtype == np.float32
        rng = np.random.default_rng(0)
        outputs = rng.dirichlet(np.ones(plain.shape[1]), 12) if mode == "categorical" else rng.random((12, 1))
        loss = {
            "binary": keras.losses.BinaryCrossentropy,
            "categorical": keras.losses.CategoricalCrossentropy,
        }[mode]
        np.testing.assert_allclose(
            loss()(smoothed, outputs), loss(label_smoothing=0.2)(plain, outputs), rtol=1e-5
        )

    def test_mixed_labels_are_smoothed_after_mixing(self):
        options = {
            "class_mode": "categorical",
            "batch_size": 8,
            "augmentation": AugmentationConfig(mixup=1.0),
        }
        _, mixed = make_batches(np.arange(8) % 2, **options).batch(0, 0)
        _, both = make_batches(np.arange(8) % 2, label_smoothing=0.1, **options).batch(0, 0)
        np.testing.assert_allclose(both, 0.9 * mixed + 0.05, rtol=1e-5)
        np.testing.assert_allclose(both.sum(axis=1), 1, rtol=1e-5)

    def test_labels_of_the_whole_split_are_not_smoothed(self):
        batches = make_batches([0, 1], class_mode="categorical", label_smoothing=0.1)
        assert set(batches.targets().ravel()) == {0, 1}
