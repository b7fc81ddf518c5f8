"""The tag of a Bento follows from the names and bytes of all that is packed, and from nothing else; a build that fails
leaves no file.
"""

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relu_pipeline.errors import PackageError
from relu_pipeline.packaging import build_bento, content_digest

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


def test_a_build_that_fails_leaves_no_file_and_ends_with_the_last_lines_of_bentoml(tmp_path: Path) -> None:
    (tmp_path / "bentofile.yaml").write_text("service: no_such:Service\ninclude: []\n")
    with pytest.raises(PackageError, match=r"`bentoml build --version [0-9a-f]{16}` failed:\n") as caught:
        build_bento(tmp_path, [], tmp_path / "out.bento")
    assert "No module named 'no_such'" in str(caught.value)
    assert 2 <= len(str(caught.value).splitlines()) <= 1 + 5
    assert [path.name for path in tmp_path.iterdir()] == ["bentofile.yaml"]
