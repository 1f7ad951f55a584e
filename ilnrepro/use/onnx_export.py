"""A trained network as an ONNX file, for runtimes other than TensorFlow."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path

from ilnrepro.console import one_line
from ilnrepro.errors import InputError
from ilnrepro.storage import files
from ilnrepro.use import segmenter

OPSET = 17


def export(path: str | PathLike[str], target: str | PathLike[str]) -> None:
    """Writes the network of a run file, or those of an ensemble, as an ONNX file.

    It takes and gives what an exported SavedModel does, see `segmenter.export`; its metadata `about` is what
    `about.json` is there.

    Raises:
      InputError: tf2onnx is not installed; a network of volumes, or without weights; the file is there already or
        cannot be written.
    """
    target = Path(target)
    if target.exists():
        raise InputError(f"{target}: is there already; choose another name")
    try:
        import tf2onnx
    except ImportError as error:
        raise InputError('export: tf2onnx is not installed; pip install "ilnrepro[onnx]"') from error
    network = segmenter.for_export(path)
    function = network.from_source
    try:
        model, _ = tf2onnx.convert.from_function(function, input_signature=function.input_signature, opset=OPSET)
    except Exception as error:  # the converter raises all kinds
        raise InputError(f"{path}: cannot be converted ({one_line(error)[:200]}); export a SavedModel: give --output a "
                         "folder's name") from error
    model.metadata_props.add(key="about", value=json.dumps(network.about))
    files.write(target, model.SerializeToString())
