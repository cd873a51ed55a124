"""What methods demand of the network."""

import pytest

from hf_ltr import LongTailConfig
from hf_ltr.methods.network import require_linear_head, require_module


def make_config(**fields) -> LongTailConfig:
    return LongTailConfig(backbone="resnet20_cifar", class_counts=[9, 5, 2], **fields)


def test_a_module_gets_what_the_config_does_not_say():
    config = make_config(modules={"modulator": {"width": 16}})
    config.modules["modulator"].pop("top_k")
    require_module(config, "modulator", {"width": 16, "top_k": 2, "heads": None}, "mem")
    require_module(config, "modulator", {"width": 16, "top_k": 2}, "mem")
    assert config.modules["modulator"]["top_k"] == 2 and config.modules["modulator"]["heads"] == 1
    with pytest.raises(ValueError, match=r"mem was asked for width=8 but config.modules\['modulator'\] has 16"):
        require_module(config, "modulator", {"width": 8}, "mem")


def test_another_head_is_refused_with_the_reason():
    require_linear_head(make_config(), "tau_norm", "divides rows")
    with pytest.raises(ValueError, match="tau_norm divides rows, but config.head is 'cosine'"):
        require_linear_head(make_config(head="cosine"), "tau_norm", "divides rows")
