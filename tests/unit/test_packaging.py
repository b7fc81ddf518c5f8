"""The tag of a Bento follows from the names and bytes of all that is packed, and from nothing else."""

import shutil
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relu_pipeline.packaging import content_digest

NAMES = st.sampled_from(["a", "b", "d/a", "d/c", "d/e/a"])
FILES = st.dictionaries(NAMES, st.binary(max_size=3), min_size=1)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=FILES, second=FILES)
def test_two_folders_have_the_same_digest_where_they_hold_the_same(
    tmp_path: Path, first: dict[str, bytes], second: dict[str, bytes]
) -> None:
    digests = {content_digest(write(tmp_path / "1", first)), content_digest(write(tmp_path / "2", second))}
    assert len(digests) == (1 if first == second else 2)
    assert content_digest(write(tmp_path / "3", dict(reversed(first.items())))) in digests
