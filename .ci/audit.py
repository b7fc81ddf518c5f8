"""Known vulnerabilities in the locks, by pip-audit; where its database cannot be reached, how old each lock is.

`make audit`; exit status 1 if a locked package has a vulnerability that a newer version mends.
"""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LOCKS = (Path("requirements/full.txt"), Path("requirements/serve.txt"), Path("deploy/cuda.txt"))
WORDS = ("--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json")


def main() -> None:
    mendable = [audit(lock) for lock in LOCKS]
    if any(mendable):
        sys.exit("error: locked packages have vulnerabilities that newer versions mend; run `make lock`")


def audit(lock: Path) -> bool:
    """Whether there is something to mend; what was found is printed."""
    done = subprocess.run(["pip-audit", *WORDS, "--requirement", lock], capture_output=True, text=True, check=False)
    packages = json.loads(done.stdout)["dependencies"] if done.stdout.strip() else []
    audited = [package for package in packages if "vulns" in package]
    if not audited:
        reason = (done.stderr.strip().splitlines() or ["no advisory database can be reached"])[-1]
        print(f"{lock}: not audited, {reason}; {age(lock)}")
        return False
    found = [(package, one) for package in audited for one in package["vulns"]]
    print(f"{lock}: {len(audited)} packages audited", *(describe(*one) for one in found), sep="\n  ")
    return any(one["fix_versions"] for _, one in found)


def describe(package: dict[str, Any], found: dict[str, Any]) -> str:
    mended = ", ".join(found["fix_versions"])
    return f"{package['name']} {package['version']}: {found['id']}, {f'mended in {mended}' if mended else 'not mended'}"


def age(lock: Path) -> str:
    committed = subprocess.run(
        ["git", "log", "-1", "--format=%cI", "--", lock], capture_output=True, text=True, check=True
    ).stdout.strip()
    days = (datetime.now(UTC) - datetime.fromisoformat(committed)).days
    return f"locked {days} days ago, on {committed[:10]}"


if __name__ == "__main__":
    main()
