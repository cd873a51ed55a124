"""Names are checked before anything heavy is imported."""

import subprocess
import sys

from hf_ltr.data.sources.source_names import BENCHMARKS, DATASETS


def test_which_names_are_datasets_is_known_without_heavy_imports():
    code = (
        "import sys; from hf_ltr.recipe import early; "
        "early.check_paths(['--dataset', 'digits']); "
        "print([name for name in ('torch', 'datasets', 'pyarrow', 'transformers', 'timm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_datasets_known_by_name():
    assert DATASETS == ("digits", *BENCHMARKS, "imagenet_lt", "places_lt", "inat18")
