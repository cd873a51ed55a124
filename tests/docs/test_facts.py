"""What a page says a user must know is what the method itself answers."""

from __future__ import annotations

from docs.facts import method_facts


def test_facts_are_asked_of_the_method():
    names = ("crt", "ldam", "pc_softmax", "mem", "balanced_softmax", "lade", "cdb", "ncm")
    facts = {name: " ".join(method_facts(name)) for name in names}
    assert "whole batch" in facts["lade"] and "whole batch" not in facts["balanced_softmax"]
    assert "validation images" in facts["cdb"] and "validation images" not in facts["crt"]
    assert "`classifier` (nothing is trained)" in facts["ncm"] and "FSDP" in facts["ncm"]
    assert "2 stages: `representation` (`cross_entropy`), then `classifier`" in facts["crt"]
    assert "head `cosine` of scale 30" in facts["ldam"] and "Hard labels only" in facts["ldam"]
    assert "in the model's config" in facts["pc_softmax"] and "possible" in facts["pc_softmax"]
    assert "3 stages" in facts["mem"]
    assert "corrects twice" in facts["balanced_softmax"] and "at least one training image" in facts["balanced_softmax"]
    assert "at least one training image" not in facts["crt"] and "corrects twice" not in facts["crt"]
