"""Known vulnerabilities in the locks, by pip-audit; where its database cannot be reached, how old each lock is.

`make audit`; exit status 1 if a locked package has a vulnerability that a newer version mends.
"""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LOCKS = (Path("requirements/full.txt"), Path("requirements/serve.txt"))
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
        print(f"{lock}: not audited, no advisory database can be reached; {age(lock)}")
    mendable = [describe(package, found) for package in audited for found in package["vulns"] if found["fix_versions"]]
    print(*(f"{lock}: {line}" for line in mendable), sep="\n", end="\n" if mendable else "")
    if audited and not mendable:
        print(f"{lock}: {len(audited)} packages audited, nothing to mend")
    return bool(mendable)


def describe(package: dict[str, Any], found: dict[str, Any]) -> str:
    return f"{package['name']} {package['version']}: {found['id']}, mended in {', '.join(found['fix_versions'])}"


def age(lock: Path) -> str:
    committed = subprocess.run(
        ["git", "log", "-1", "--format=%cI", "--", lock], capture_output=True, text=True, check=True
    ).stdout.strip()
    days = (datetime.now(UTC) - datetime.fromisoformat(committed)).days
    return f"locked {days} days ago, on {committed[:10]}"


if __name__ == "__main__":
    main()
