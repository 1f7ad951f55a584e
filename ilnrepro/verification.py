"""Are the files of a results folder whole, current, and there once?"""

from pathlib import Path

from ilnrepro import runfile
from ilnrepro.errors import InputError
from ilnrepro.protocols import PROTOCOL_VERSION


def problems(results):
    """(kind, path, what is wrong and what to do) for every file that is damaged, stale, duplicate or incomplete.

    damaged: its content is not what was written. stale: of another protocol version, or not where its configuration
    belongs. duplicate: of the same configuration as another file. incomplete: left by a run that has not ended.
    """
    results = Path(results)
    if not (results / "runs").is_dir():
        raise InputError(f"{results}: holds no runs; check the path")
    found, seen = [], {}
    for path in sorted(results.glob("runs/**/*.h5")):
        if path.name.startswith("."):
            continue
        try:
            run = runfile.read(path)
        except InputError as error:
            found.append(("damaged", path, str(error).partition(": ")[2]))
            continue
        configuration = run.configuration
        if run.versions != (PROTOCOL_VERSION,):
            found.append(("stale", path, f"protocol version {run.versions[0]}, now {PROTOCOL_VERSION}: run it again"))
        elif path != results / configuration.path:
            found.append(("stale", path, f"its configuration belongs at {configuration.path}: move or repeat it"))
        if configuration.hash in seen:
            found.append(("duplicate", path, f"the same run as {seen[configuration.hash]}: remove one"))
        seen.setdefault(configuration.hash, path)
    for pattern in (".*.checkpoint", ".*.part"):
        for path in sorted(results.glob(f"runs/**/{pattern}")):
            found.append(("incomplete", path, "its run has not ended: give its command again"))
    return found
