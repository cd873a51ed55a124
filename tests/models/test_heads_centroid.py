"""The nearest-class-mean head: golden values, the linear form, loading and half precision."""

import pytest
import torch

from hf_ltr.models import CentroidHead, LongTailConfig, LongTailForImageClassification, as_linear

from ..methods.experts_golden import CASES, assert_close, names, values

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def random_head(transform="cl2n", metric="l2", features=5, classes=7):
    generator = torch.Generator().manual_seed(1)
    head = CentroidHead(features, classes, transform, metric).double()
    head.centroids.copy_(torch.randn(classes, features, generator=generator))
    head.mean.copy_(torch.randn(features, generator=generator))
    return head


def model(**fields):
    torch.manual_seed(0)
    config = LongTailConfig(backbone="resnet20_cifar", num_labels=3, head="centroid", **fields)
    made = LongTailForImageClassification(config).eval()
    made.classifier.centroids.uniform_(-1, 1)
    made.classifier.mean.uniform_(-1, 1)
    return made


@pytest.mark.parametrize("case", names("ncm_"))
def test_equals_the_public_code(case):
    params = CASES[case]["params"]
    features, centroids = values(case, "inputs", "features"), values(case, "inputs", "centroids")
    head = CentroidHead(6, len(centroids), params["feat_type"], params["dist_type"]).double()
    head.centroids.copy_(centroids)
    head.mean.copy_(values(case, "inputs", "mean").reshape(-1))
    assert_close(head(features), values(case, "outputs", "logits"))


@pytest.mark.parametrize("metric", ["l2", "cos"])
@pytest.mark.parametrize("transform", ["un", "l2n", "cl2n"])
def test_equals_a_loop_over_rows_and_classes(transform, metric):
    head = random_head(transform, metric)
    features = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    expected = torch.empty(4, 7, dtype=torch.float64)
    for row, feature in enumerate(features):
        if transform == "cl2n":
            feature = feature - head.mean
        if transform != "un":
            feature = feature / feature.norm()
        for label, centroid in enumerate(head.centroids):
            squared = ((feature - centroid) ** 2).sum()
            expected[row, label] = -squared if metric == "l2" else (feature * centroid).sum() / 5
    torch.testing.assert_close(head(features), expected, rtol=1e-10, atol=1e-10)


def test_a_zero_feature_stays_zero_and_finite():
    head = random_head("l2n")
    scores = head(torch.zeros(2, 5, dtype=torch.float64))
    torch.testing.assert_close(scores[0], -head.centroids.square().sum(1))


@pytest.mark.parametrize("metric", ["l2", "cos"])
def test_untransformed_it_is_linear(metric):
    head = random_head("un", metric)
    features = torch.randn(4, 5, dtype=torch.float64)
    linear = as_linear(head)
    torch.testing.assert_close(linear(features).softmax(1), head(features).softmax(1), rtol=1e-10, atol=1e-12)
    if metric == "l2":
        torch.testing.assert_close(linear.weight, 2 * head.centroids)
        torch.testing.assert_close(linear.bias, -head.centroids.square().sum(1))


@pytest.mark.parametrize("transform", ["l2n", "cl2n"])
def test_normalised_it_is_not(transform):
    with pytest.raises(ValueError, match=f"{transform!r} normalises the features.*Only transform 'un'"):
        as_linear(random_head(transform))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_distances_are_float32_under_autocast(dtype):
    head = random_head("un", features=64).float()
    # Far from the origin: in half precision, the difference of these squares would be noise.
    features = torch.randn(8, 64, generator=torch.Generator().manual_seed(3)) * 4 + 20
    exact = head.double()(features.double())
    head = head.float()
    with torch.autocast("cpu", dtype=dtype):
        scores = head(features)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.double(), exact, rtol=0, atol=0.05)


def test_it_survives_saving_and_the_model_casts_as_before(tmp_path):
    made = model(head_options={"transform": "cl2n", "metric": "cos"})
    assert not dict(made.classifier.named_parameters())
    made.save_pretrained(tmp_path)
    loaded = LongTailForImageClassification.from_pretrained(tmp_path).eval()
    assert (loaded.classifier.transform, loaded.classifier.metric) == ("cl2n", "cos")
    assert torch.equal(loaded(IMAGES).logits, made(IMAGES).logits)
    half = LongTailForImageClassification.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    assert half.classifier.centroids.dtype == torch.bfloat16
    assert torch.isfinite(half(IMAGES).logits).all()


def test_from_a_checkpoint_without_centroids_it_knows_nothing(tmp_path):
    torch.manual_seed(0)
    linear = LongTailForImageClassification(LongTailConfig(backbone="resnet20_cifar", num_labels=3))
    linear.save_pretrained(tmp_path)
    loaded = LongTailForImageClassification.from_pretrained(tmp_path, head="centroid").eval()
    assert torch.equal(loaded.classifier.centroids, torch.zeros(3, 64))
    assert torch.equal(loaded.classifier.mean, torch.zeros(64))
    logits = loaded(IMAGES).logits
    torch.testing.assert_close(logits, logits[:, :1].expand(-1, 3))


def test_reset_classifier_forgets_the_centroids():
    made = model()
    made.reset_classifier()
    assert not made.classifier.centroids.any() and not made.classifier.mean.any()


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="l2n"):
        CentroidHead(5, 7, transform="l2")
    with pytest.raises(ValueError, match="cos"):
        CentroidHead(5, 7, metric="cosine")
    with pytest.raises(ValueError, match="option of a centroid head"):
        model(head_options={"scale": 2})
    with pytest.raises(ValueError, match="transform"):
        model(head_options={"transform": "norm"})
    with pytest.raises(ValueError, match="head_init_std belongs to a linear head, but head is 'centroid'"):
        model(head_init_std=0.1)
