import math
import random

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from hf_ltr.data.randomness import pack_keys
from hf_ltr.data.transforms.augmentation import OPERATIONS, Augmentation
from hf_ltr.data.transforms.color import color_jitter
from hf_ltr.data.transforms.erasing import cutout, random_erasing
from hf_ltr.data.transforms.geometry import horizontal_flip, random_crop, random_window, rotation
from hf_ltr.data.transforms.policies import apply_policy, autoaugment_policy, isolated_random_state, randaugment_policy
from hf_ltr.data.transforms.resampling import crop_and_resize, random_boxes, resampling_matrices


def keys(count: int, epoch: int = 0) -> torch.Tensor:
    return pack_keys(epoch, torch.zeros(count, dtype=torch.int64), torch.arange(count))


def random_images(batch: int = 6, channels: int = 3, height: int = 10, width: int = 12, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, channels, height, width), dtype=torch.uint8, generator=generator)


def random_uniforms(batch: int, draws: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(batch, draws, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_random_crop_against_slicing(dtype):
    images, uniforms = random_images().to(dtype), random_uniforms(6, 2)
    result = random_crop(images, uniforms, padding=3, fill=7)
    assert result.dtype == dtype
    for image, (row, column), out in zip(images, uniforms.tolist(), result, strict=True):
        padded = torch.full((3, 16, 18), 7, dtype=dtype)
        padded[:, 3:13, 3:15] = image
        top, left = int(row * 7), int(column * 7)
        assert torch.equal(out, padded[:, top : top + 10, left : left + 12])


def test_horizontal_flip_against_loop():
    images, uniforms = random_images(), random_uniforms(6, 1)
    result = horizontal_flip(images, uniforms, probability=0.6)
    for image, (draw,), out in zip(images, uniforms.tolist(), result, strict=True):
        assert torch.equal(out, image.flip(2) if draw < 0.6 else image)


@pytest.mark.parametrize("size", [2, 4, 30])
def test_cutout_against_loop(size):
    images, uniforms = random_images().float() + 1, random_uniforms(6, 2)
    result = cutout(images, uniforms, size=size)
    for image, (row, column), out in zip(images, uniforms.tolist(), result, strict=True):
        expected, y, x = image.clone(), int(row * 10), int(column * 12)
        expected[:, max(y - size // 2, 0) : y + size // 2, max(x - size // 2, 0) : x + size // 2] = 0
        assert torch.equal(out, expected)
    assert (images != 0).all()  # the input is not written to


@pytest.mark.parametrize("shape", [(12, 12), (10, 14)])
def test_rotation_against_torchvision(shape):
    images, uniforms = random_images(height=shape[0], width=shape[1]), random_uniforms(6, 1)
    result = rotation(images, uniforms, degrees=25)
    assert result.dtype == torch.uint8
    for image, (draw,), out in zip(images, uniforms.tolist(), result, strict=True):
        expected = functional.rotate(image, (draw * 2 - 1) * 25)
        different = (out != expected).any(dim=0).float().mean()
        assert different < 0.02  # nearest pixel: ties may fall to the other side
        if abs(draw - 0.5) > 0.15:
            other_way = functional.rotate(image, -(draw * 2 - 1) * 25)
            assert (out != other_way).any(dim=0).float().mean() > 0.2


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(20, 24), (5, 4), (10, 12)])
def test_crop_and_resize_equals_torchvision(interpolation, size):
    images = random_images().double()
    boxes = torch.tensor([[0, 0, 10, 12], [2, 3, 5, 6], [1, 0, 9, 3], [4, 11, 6, 1], [9, 0, 1, 12], [3, 3, 4, 4]])
    result = crop_and_resize(images, boxes, size, interpolation)
    for image, box, out in zip(images, boxes.tolist(), result, strict=True):
        mode = functional.InterpolationMode(interpolation)
        expected = functional.resized_crop(image, *box, list(size), interpolation=mode, antialias=True)
        torch.testing.assert_close(out, expected, atol=2e-3, rtol=0)
    rounded = crop_and_resize(images.to(torch.uint8), boxes, size, interpolation)
    assert rounded.dtype == torch.uint8
    assert (rounded.double() - result.clamp(0, 255)).abs().max() <= 0.51


def test_resampling_matrices_are_averages():
    matrices = resampling_matrices(torch.tensor([0, 2]), torch.tensor([8, 3]), 5, 8, "bicubic")
    torch.testing.assert_close(matrices.sum(dim=2), torch.ones(2, 5))
    assert (matrices[1, :, :2] == 0).all() and (matrices[1, :, 5:] == 0).all()  # nothing from outside the box
    identity = resampling_matrices(torch.tensor([0]), torch.tensor([6]), 6, 6, "bilinear")[0]
    torch.testing.assert_close(identity, torch.eye(6))
    with pytest.raises(ValueError, match="interpolation must be one of"):
        resampling_matrices(torch.tensor([0]), torch.tensor([6]), 6, 6, "lanczos")


def slow_box(draws: list[float], height: int, width: int, scale, ratio) -> list[int]:
    """torchvision's RandomResizedCrop.get_params with the random numbers given."""
    for attempt in range(10):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * draws[attempt])
        low, high = math.log(ratio[0]), math.log(ratio[1])
        aspect = math.exp(low + (high - low) * draws[10 + attempt])
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return [int(draws[20] * (height - h + 1)), int(draws[21] * (width - w + 1)), h, w]
    if width / height < ratio[0]:
        w, h = width, round(width / ratio[0])
    elif width / height > ratio[1]:
        h, w = height, round(height * ratio[1])
    else:
        w, h = width, height
    return [(height - h) // 2, (width - w) // 2, h, w]


@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.9, 1.0)])
def test_random_boxes_against_loop(scale):
    uniforms = random_uniforms(300, 22)
    generator = torch.Generator().manual_seed(2)
    heights, widths = torch.randint(5, 60, (2, 300), generator=generator)
    heights[:20], widths[:20] = 100, 8  # far outside the allowed ratios: the central box
    heights[20:40], widths[20:40] = 8, 100
    boxes = random_boxes(uniforms, heights, widths, scale)
    sizes = zip(heights.tolist(), widths.tolist(), strict=True)
    expected = [slow_box(d, h, w, scale, (3 / 4, 4 / 3)) for d, (h, w) in zip(uniforms.tolist(), sizes, strict=True)]
    assert boxes.tolist() == expected


def test_random_boxes_have_torchvisions_distribution():
    count = 4_000
    sides = torch.full((count,), 64)
    ours = random_boxes(random_uniforms(count, 22), sides, sides).float()
    torch.manual_seed(0)
    image = torch.zeros(3, 64, 64)
    parameters = [v2.RandomResizedCrop(8).make_params([image]) for _ in range(count)]
    theirs = torch.tensor([[p["top"], p["left"], p["height"], p["width"]] for p in parameters]).float()
    quantiles = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9])
    for column in range(4):
        a, b = (torch.quantile(boxes[:, column], quantiles) for boxes in (ours, theirs))
        torch.testing.assert_close(a, b, atol=2.0, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_color_jitter_against_torchvision(channels):
    images, uniforms = random_images(channels=channels).float() / 255, random_uniforms(6, 8)
    result = color_jitter(images * 255, uniforms, brightness=0.4, contrast=0.3, saturation=1.5) / 255
    adjustments = [functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation]
    for image, draws, out in zip(images, uniforms, result, strict=True):
        expected = image
        for which in draws[3:6].argsort().tolist():
            strength = (0.4, 0.3, 1.5)[which]
            low = max(0.0, 1 - strength)
            expected = adjustments[which](expected, low + (1 + strength - low) * draws[which].item())
        torch.testing.assert_close(out, expected, atol=1e-4, rtol=0)
    assert color_jitter(random_images(), uniforms).dtype == torch.uint8


def test_random_erasing():
    images = torch.full((4_000, 2, 12, 16), 9.0)
    result = random_erasing(images, random_uniforms(4_000, 24), probability=0.25)
    changed = (result != 9).any(dim=1)
    erased = changed.flatten(1).any(dim=1)
    assert abs(erased.float().mean() - 0.25) < 0.025
    areas = changed[erased].flatten(1).sum(dim=1) / (12 * 16)
    assert 0.01 < areas.min() and areas.max() < 0.37  # up to the rounding of the sides
    assert abs(areas.mean() - (0.02 + 1 / 3) / 2) < 0.02
    for mask in changed[erased][:50]:  # one full rectangle each
        rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
        assert mask.sum() == (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
    noise = result[(result != 9)]
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    first, second = result[erased][:2]
    assert not torch.equal(first[first != 9][:8], second[second != 9][:8])  # each image has noise of its own
    zeroed = random_erasing(images[:40], random_uniforms(40, 24), probability=1.0, mode="const")
    assert set(zeroed.unique().tolist()) == {0.0, 9.0} and (zeroed == 0).flatten(1).any(dim=1).all()
    with pytest.raises(ValueError, match="mode of random_erasing"):
        random_erasing(images, random_uniforms(4_000, 24), mode="rand")


def coordinates(count: int, size: int = 32) -> torch.Tensor:
    """Images whose pixels say where they come from: channel 0 the row, 1 the column, both from 1."""
    steps = torch.arange(1, size + 1, dtype=torch.uint8)
    image = torch.stack(
        (steps[:, None].expand(size, size), steps[None].expand(size, size), steps.new_ones(size, size))
    )
    return image.expand(count, -1, -1, -1).contiguous()


def recovered(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(top, left, flipped) of crops of `coordinates`, read off the pixel in the middle."""
    rows, columns = images[:, 0].long(), images[:, 1].long()
    flipped = columns[:, 16, 16] < columns[:, 16, 15]
    top = rows[:, 16, 16] - 1 - 16 + 4
    left = torch.where(flipped, columns[:, 16, 15] - 1, columns[:, 16, 16] - 1) - 16 + 4
    return top, left, flipped


def test_crop_and_flip_have_the_per_sample_distribution():
    """Marginals and independence of offsets and flips, ours against the torchvision v2 recipe image by image."""
    count = 9_000
    images = coordinates(count)
    ours = recovered(Augmentation(["random_crop", "horizontal_flip"]).apply(images, keys(count), seed=0))
    torch.manual_seed(0)
    recipe = v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()])
    theirs = recovered(torch.stack([recipe(image) for image in images[:2_000]]))
    for top, left, flipped in (ours, theirs):
        number = len(top)
        for offsets in (top, left):
            assert offsets.min() == 0 and offsets.max() == 8
            expected = number / 9
            assert ((torch.bincount(offsets, minlength=9) - expected) ** 2 / expected).sum() < 27
        assert abs(flipped.float().mean() - 0.5) < 4 * 0.5 / math.sqrt(number)
        pairs = torch.bincount(top * 9 + left, minlength=81)
        assert ((pairs - number / 81) ** 2 / (number / 81)).sum() < 140  # 80 degrees of freedom
        joint = torch.stack((top.float(), left.float(), flipped.float()))
        assert (torch.corrcoef(joint) - torch.eye(3)).abs().max() < 0.1


def test_an_image_does_not_depend_on_its_batch():
    names = [name for name in OPERATIONS if OPERATIONS[name].stage != "policy"]
    augmentation = Augmentation(names, image_size=(9, 9))
    images, all_keys = random_images(16, height=12, width=12), keys(16)

    def run(part):
        pixels = augmentation.apply(images[part], all_keys[part], 3).float() / 255
        return augmentation.apply_normalized(pixels, all_keys[part], 3)

    whole = run(slice(None))
    assert whole.shape == (16, 3, 9, 9)
    for part in (slice(0, 8), slice(8, 16), slice(5, 6), [3, 11, 2]):
        assert torch.equal(run(part), whole[part])


def test_epoch_occurrence_seed_and_view_change_the_draws():
    augmentation = Augmentation(["random_crop"])
    images = coordinates(64)
    once_more = pack_keys(0, torch.ones(64, dtype=torch.int64), torch.arange(64))
    results = [
        augmentation.apply(images, keys(64), 0),
        augmentation.apply(images, keys(64, epoch=1), 0),
        augmentation.apply(images, once_more, 0),
        augmentation.apply(images, keys(64), 1),
        augmentation.apply(images, keys(64), 0, view=1),
    ]
    assert torch.equal(results[0], augmentation.apply(images, keys(64), 0))
    for i, first in enumerate(results):
        for second in results[:i]:
            assert (first != second).flatten(1).any(dim=1).float().mean() > 0.8


def test_operations_do_not_disturb_each_other():
    """Adding an operation to a recipe leaves the random numbers of the others as they were."""
    alone = Augmentation(["horizontal_flip"]).uniforms("pixel", keys(8), 0)
    with_crop = Augmentation(["random_crop", "horizontal_flip"]).uniforms("pixel", keys(8), 0)
    assert torch.equal(alone["horizontal_flip"], with_crop["horizontal_flip"])
    everything = Augmentation([name for name in OPERATIONS if OPERATIONS[name].draws])
    draws = torch.cat(
        [*everything.uniforms("pixel", keys(8), 0).values(), *everything.uniforms("normalized", keys(8), 0).values()],
        1,
    )
    assert draws.unique().numel() == draws.numel()


def test_options():
    augmentation = Augmentation(
        ["random_resized_crop", "cutout"],
        {"random_resized_crop": {"scale": [0.2, 1.0], "interpolation": "bicubic"}, "cutout": {"size": 8}},
        image_size=(7, 5),
    )
    assert augmentation.options["random_resized_crop"]["scale"] == (0.2, 1.0)
    assert augmentation.apply(random_images(), keys(6), 0).shape == (6, 3, 7, 5)
    boxes = augmentation.boxes(keys(500), torch.full((500,), 100), torch.full((500,), 100), 0)
    assert (boxes[:, 2] * boxes[:, 3]).min() > 1_900
    pixels = torch.ones(6, 3, 40, 40)
    assert (augmentation.apply_normalized(pixels, keys(6), 0) == 0).flatten(1).sum(dim=1).max() <= 8 * 8 * 3


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["random_corp"], {}, "Unknown augmentation: 'random_corp'. Did you mean 'random_crop'"),
        (["cutout"], {"cutout": {"sise": 3}}, "Unknown option of cutout: 'sise'. Did you mean 'size'"),
        (["cutout"], {"cutot": {}}, "Did you mean 'cutout'"),
        (["cutout"], {"rotation": {"degrees": 3}}, "options for 'rotation', which is not in the augmentation list"),
        (["cutout", "cutout"], {}, "may be given once"),
        ("cutout", {}, "must be a list"),
        (["autoaugment"], {"autoaugment": {"policy": "cifar100"}}, "Did you mean 'cifar10'"),
        (["randaugment"], {"randaugment": {"policy": "augmix"}}, "timm string"),
    ],
)
def test_errors(names, options, message):
    with pytest.raises(ValueError) as caught:
        Augmentation(names, options)
    assert message in str(caught.value)


POLICIES = {
    "autoaugment": {"policy": "cifar10"},
    "randaugment": {"policy": "rand-m9-mstd0.5-inc1"},
}


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_policies_follow_the_key(name, channels):
    augmentation = Augmentation([name], {name: POLICIES[name]}, image_size=(32, 32))
    images = random_images(12, channels, 32, 32)
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    result = augmentation.apply(images, keys(12), 0)
    assert random.getstate() == states[0] and (np.random.get_state()[1] == states[1]).all()
    assert torch.equal(torch.get_rng_state(), states[2])
    random.seed(6)
    np.random.seed(6)
    torch.manual_seed(6)
    assert torch.equal(augmentation.apply(images[4:6], keys(12)[4:6], 0), result[4:6])
    assert not torch.equal(augmentation.apply(images, keys(12), 0, view=1), result)
    assert not torch.equal(augmentation.apply(images, keys(12, epoch=1), 0), result)
    same = images[:1].expand(12, -1, -1, -1).contiguous()
    different = {tuple(image.flatten().tolist()) for image in augmentation.apply(same, keys(12), 0)}
    assert len(different) > 4  # other images, other operations


def test_torchvision_randaugment():
    augmentation = Augmentation(["randaugment"], {"randaugment": {"policy": None, "num_ops": 2, "magnitude": 10}})
    images = random_images(8, 3, 16, 16)
    assert not torch.equal(augmentation.apply(images, keys(8), 0), images)
    assert not torch.equal(
        augmentation.apply(images, keys(8), 0),
        apply_policy(images, randaugment_policy(policy=None, num_ops=1, magnitude=10), keys(8), 0),
    )


def test_policies_refuse_what_they_cannot_do():
    with pytest.raises(ValueError, match="uint8 images on the CPU"):
        apply_policy(random_images().float(), autoaugment_policy("cifar10"), keys(6), 0)
    with pytest.raises(ValueError, match="4 channels"):
        apply_policy(random_images(channels=4), autoaugment_policy("cifar10"), keys(6), 0)


def test_random_state_is_restored_after_an_error():
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError), isolated_random_state() as seed:
        seed(3)
        torch.rand(3)
        raise RuntimeError
    assert torch.equal(torch.get_rng_state(), state)


def test_split_gives_the_same_result():
    names = ["random_crop", "autoaugment", "horizontal_flip", "cutout"]
    augmentation = Augmentation(names, image_size=(16, 16))
    assert augmentation.has_policy
    host, device = augmentation.split()
    assert host.names == ["random_crop", "autoaugment"] and device.names == ["horizontal_flip", "cutout"]
    images = random_images(6, 3, 16, 16)
    whole = augmentation.apply(images, keys(6), 0)
    assert torch.equal(device.apply(host.apply(images, keys(6), 0), keys(6), 0), whole)
    assert torch.equal(
        device.apply_normalized(whole.float(), keys(6), 0), augmentation.apply_normalized(whole.float(), keys(6), 0)
    )
    host, device = Augmentation(["random_crop", "cutout"]).split()
    assert host.names == [] and device.names == ["random_crop", "cutout"]


def test_color_jitter_with_hue_against_torchvision():
    images, uniforms = random_images(24).float() / 255, random_uniforms(24, 8)
    images[0, :, :3] = images[0, :1, :3]  # gray pixels have no hue
    result = color_jitter(images * 255, uniforms, 0.4, 0.3, 1.5, hue=0.3) / 255
    adjustments = [
        functional.adjust_brightness,
        functional.adjust_contrast,
        functional.adjust_saturation,
        functional.adjust_hue,
    ]
    places = set()
    for image, draws, out in zip(images, uniforms, result, strict=True):
        order = draws[[3, 4, 5, 7]].argsort().tolist()
        places.add(order.index(3))
        expected = image
        for which in order:
            if which == 3:
                factor = (draws[6].item() * 2 - 1) * 0.3
            else:
                strength = (0.4, 0.3, 1.5)[which]
                low = max(0.0, 1 - strength)
                factor = low + (1 + strength - low) * draws[which].item()
            expected = adjustments[which](expected, factor)
        torch.testing.assert_close(out, expected, atol=2e-4, rtol=0)
    assert places == {0, 1, 2, 3}


def test_color_jitter_hue_alone_and_limits():
    images, uniforms = random_images(), random_uniforms(6, 8)
    alone = color_jitter(images, uniforms, 0, 0, 0, hue=0.5)
    assert alone.dtype == torch.uint8
    for image, draw, out in zip(images, uniforms[:, 6].tolist(), alone, strict=True):
        expected = functional.adjust_hue(image.float() / 255, (draw * 2 - 1) * 0.5) * 255
        assert (out.float() - expected).abs().max() <= 0.51
    gray = random_images(channels=1)
    assert torch.equal(color_jitter(gray, uniforms, hue=0.5), color_jitter(gray, uniforms[:, :6]))
    with pytest.raises(ValueError, match="hue of color_jitter"):
        color_jitter(images, uniforms, hue=0.6)


def test_hue_leaves_the_other_draws_alone():
    images = random_images()
    without = Augmentation(["color_jitter", "horizontal_flip"])
    draws = without.uniforms("pixel", keys(6), seed=3)
    assert torch.equal(
        without.apply(images, keys(6), seed=3),
        horizontal_flip(color_jitter(images, draws["color_jitter"][:, :6]), draws["horizontal_flip"]),
    )


@pytest.mark.parametrize("shape", [(40, 40), (40, 61), (75, 33), (20, 24)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_random_window_against_torchvision(shape, interpolation):
    images, uniforms = random_images(height=shape[0], width=shape[1]), random_uniforms(6, 2)
    result = random_window(images, uniforms, (28, 28), interpolation=interpolation)
    assert result.shape == (6, 3, 28, 28) and result.dtype == torch.uint8
    resize = v2.Resize(32, interpolation=functional.InterpolationMode(interpolation), antialias=True)
    for image, (row, column), out in zip(images, uniforms.tolist(), result, strict=True):
        resized = resize(image)
        assert min(resized.shape[1:]) == 32
        top, left = int(row * (resized.shape[1] - 27)), int(column * (resized.shape[2] - 27))
        assert torch.equal(out, functional.crop(resized, top, left, 28, 28))


def test_random_window_reaches_every_place():
    ramp = torch.arange(32 * 40, dtype=torch.float64).view(1, 1, 32, 40)
    uniforms = torch.tensor([[0.0, 0.0], [0.9999, 0.9999], [0.0, 0.9999]])
    corners = random_window(ramp.expand(3, -1, -1, -1), uniforms, (28, 30), shorter_side=32)[:, 0, 0, 0]
    assert corners.tolist() == [0, 4 * 40 + 10, 10]


def test_random_window_per_image_equals_the_batch():
    images, augmentation = random_images(height=50, width=41), Augmentation(["random_window"], image_size=(28, 28))
    batch = augmentation.apply(images, keys(6), seed=5)
    each = augmentation.windows(list(images), keys(6), seed=5)
    assert torch.equal(torch.stack(each), batch)
    assert not torch.equal(augmentation.apply(images, keys(6, epoch=1), seed=5), batch)


def test_random_window_refuses():
    with pytest.raises(ValueError, match="shorter_side=20 of random_window is smaller"):
        Augmentation(["random_window"], {"random_window": {"shorter_side": 20}}, image_size=(28, 28))
    with pytest.raises(ValueError, match="interpolation must be one of"):
        random_window(random_images(), random_uniforms(6, 2), (8, 8), interpolation="lanczos")


def test_randaugment_is_handed_what_timm_hands_on():
    """Translations up to 0.45 of the side, the mean colour, the interpolation: as timm's own `create_transform`."""
    from timm.data import create_transform
    from timm.data.auto_augment import RandAugment

    policy = "rand-m9-mstd0.5-inc1"
    whole = create_transform(100, is_training=True, auto_augment=policy, interpolation="bicubic", mean=(0.5, 0.4, 0.3))
    theirs = next(step for step in whole.transforms if isinstance(step, RandAugment)).ops
    apply = randaugment_policy(policy, interpolation="bicubic", image_mean=(0.5, 0.4, 0.3), image_side=100)
    ours = next(cell.cell_contents for cell in apply.__closure__ if isinstance(cell.cell_contents, RandAugment)).ops
    assert len(ours) == len(theirs) == 15
    for mine, other in zip(ours, theirs, strict=True):
        for name in ("aug_fn", "level_fn", "prob", "magnitude", "magnitude_std"):
            assert getattr(mine, name) == getattr(other, name), (mine.name, name)
        for name in ("translate_const", "fillcolor", "resample"):
            first, second = (one.hparams.get(name, one.kwargs.get(name)) for one in (mine, other))
            assert first == second, (mine.name, name)
    assert {op.hparams["translate_const"] for op in ours} == {45}


def test_one_image_in_four_is_erased_by_default():
    images = torch.ones(4_000, 1, 8, 8)
    erased = (random_erasing(images, random_uniforms(4_000, 24)) != images).flatten(1).any(1)
    assert erased.float().mean() == pytest.approx(0.25, abs=0.03)  # facebookresearch/mae: --reprob 0.25
