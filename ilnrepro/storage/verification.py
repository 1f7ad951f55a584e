"""The check of a results folder: whether its files are whole, current, and there once."""

from pathlib import Path

from ilnrepro.errors import InputError
from ilnrepro.protocols import PROTOCOL_VERSION
from ilnrepro.storage import ensemble, runfile


def problems(results):
    """[(kind, path, fault and remedy)] of the files that are damaged, stale, duplicate or incomplete.

    damaged: the content is not what was written. stale: the file is of another protocol version, or not in its
    configuration's place. duplicate: another file has the same configuration. incomplete: a run left it unfinished.
    """
    results = Path(results)
    if results.is_file():
        return _problems_of(results)
    if not (results / "runs").is_dir():
        raise InputError(f"{results}: holds no runs; check the path")
    listed, seen = [], {}
    for path in sorted(results.glob("runs/**/*.h5")):
        if path.name.startswith("."):
            continue
        run, kind, text = examine(path, results)
        if kind:
            listed.append((kind, path, text))
        if run is None:
            continue
        if run.configuration.hash in seen:
            listed.append(("duplicate", path, f"the same run as {seen[run.configuration.hash]}: remove one"))
        seen.setdefault(run.configuration.hash, path)
    for pattern in (".*.checkpoint", ".*.part"):
        for path in sorted(results.glob(f"runs/**/{pattern}")):
            listed.append(("incomplete", path, "its run has not ended: give its command again"))
    return listed


def _problems_of(path):
    """The problems of the file of a trained network or an ensemble, which may lie anywhere."""
    try:
        versions = {run.versions for run in ensemble.networks(path)}
    except InputError as error:
        return [("damaged", path, str(error).partition(": ")[2])]
    return [("stale", path, _stale(version)) for version, in sorted(versions) if version != PROTOCOL_VERSION]


def _stale(version):
    return f"protocol version {version}, now {PROTOCOL_VERSION}: move it away and run it again"


def examine(path, results):
    """(run, kind, fault and remedy) of the run file `path` of a results folder.

    The kind is 'damaged' (and the run None), 'stale', or None where nothing is wrong.
    """
    try:
        run = runfile.read(path)
    except InputError as error:
        return None, "damaged", str(error).partition(": ")[2]
    if run.versions != (PROTOCOL_VERSION,):
        return run, "stale", _stale(run.versions[0])
    if Path(path) != Path(results) / run.configuration.path:
        return run, "stale", f"its configuration belongs at {run.configuration.path}: move or repeat it"
    return run, None, ""
